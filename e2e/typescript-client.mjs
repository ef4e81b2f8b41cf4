// The official TypeScript client against the built gateway: legacy, and pinned to 2026-07-28.
// Run with: npm run typescript-client -- --binary ../target/ci/fastmcp

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

import { check, find, main, refusal, step } from "./check.mjs";
import { withGateway } from "./gateway.mjs";
import { programs } from "./program.mjs";

/** The two ways a client of today connects, and what each must have negotiated. */
const MODES = [
  { name: "legacy", mode: "legacy", version: "2025-11-25" },
  { name: "2026-07-28", mode: { pin: "2026-07-28" }, version: "2026-07-28" },
];
/** One request, in milliseconds. */
const REQUEST_MS = 30_000;
/** The JSON-RPC code of an unknown tool. Source: MCP 2026-07-28, server/tools, "Error Handling". */
const INVALID_PARAMS = -32602;

/** Values for a campaign's well-known inputs; any other required input is filled from its schema. */
const CAMPAIGN = { name: "end to end", campaign_name: "end to end", campaignName: "end to end", currency: "EUR" };

/** Fills a tool's required inputs: known names first, then the smallest value that the schema allows. */
function argumentsFor(tool) {
  const { properties = {}, required = [] } = tool.inputSchema;
  return Object.fromEntries(required.map((name) => [name, CAMPAIGN[name] ?? sample(properties[name] ?? {})]));
}

function sample(schema) {
  if (schema.const !== undefined) return schema.const;
  if (schema.default !== undefined) return schema.default;
  if (schema.enum !== undefined) return schema.enum[0];
  const type = Array.isArray(schema.type) ? schema.type.find((one) => one !== "null") : schema.type;
  switch (type) {
    case "integer":
    case "number":
      return schema.minimum ?? (schema.exclusiveMinimum === undefined ? 10 : schema.exclusiveMinimum + 1);
    case "boolean":
      return true;
    case "array":
      return Array.from({ length: schema.minItems ?? 0 }, () => sample(schema.items ?? {}));
    case "object":
      return Object.fromEntries((schema.required ?? []).map((name) => [name, sample(schema.properties?.[name] ?? {})]));
    default:
      return schema.format === "date" ? "2026-12-01" : "x".repeat(Math.max(schema.minLength ?? 0, 4));
  }
}

/** Connects a client as `token`'s owner. `answer` decides every question; the questions are kept. */
async function connect(gateway, mode, token, answer) {
  const asked = [];
  const options = { versionNegotiation: { mode }, capabilities: answer ? { elicitation: { form: {} } } : {} };
  const client = new Client({ name: "fastmcp-e2e", version: "1.0.0" }, options);
  if (answer) {
    client.setRequestHandler("elicitation/create", async (request) => {
      asked.push(request.params);
      return answer(request.params);
    });
  }
  const transport = new StreamableHTTPClientTransport(new URL(gateway.mcp), {
    requestInit: { headers: { Authorization: `Bearer ${token}` } },
  });
  await client.connect(transport, { timeout: REQUEST_MS });
  return { client, asked };
}

/** Accepts a question: fills whatever its form requires, and says yes. */
function accept({ requestedSchema }) {
  const { properties = {}, required = Object.keys(properties) } = requestedSchema ?? {};
  const content = Object.fromEntries(required.map((name) => [name, properties[name]?.type === "boolean" ? true : sample(properties[name] ?? {})]));
  return { action: "accept", content };
}

async function using(gateway, mode, token, answer, body) {
  const { client, asked } = await connect(gateway, mode, token, answer);
  try {
    return await body(client, asked);
  } finally {
    await client.close();
  }
}

const call = (client, name, args) => client.callTool({ name, arguments: args }, { timeout: REQUEST_MS });

async function asAnalyst(gateway, { name, mode, version }, token) {
  await using(gateway, mode, token, undefined, async (client) => {
    await step(`${name}: the revision is negotiated`, () => {
      check(client.getNegotiatedProtocolVersion() === version, `expected ${version}`, client.getNegotiatedProtocolVersion());
    });
    const listed = await step(`${name}: tools are listed with their schemas`, async () => {
      const { tools } = await client.listTools();
      const query = tools.find((tool) => tool.name === "database_executeQuery");
      check(query, "expected `database_executeQuery` among the tools", tools.map((tool) => tool.name));
      check(query.inputSchema?.type === "object", "expected an object as its input schema", query.inputSchema);
      check(Object.hasOwn(query.inputSchema.properties ?? {}, "query"), "expected an input called `query`", query.inputSchema);
      return tools.map((tool) => tool.name);
    });
    await step(`${name}: a query is answered`, async () => {
      const result = await call(client, "database_executeQuery", { query: "select 1 as one" });
      check(result.isError !== true, "expected no error", result);
      check(find(result, "one") === 1 || /\b1\b/.test(JSON.stringify(find(result, "rows"))), "expected a row with one = 1", result);
    });
    await step(`${name}: arguments that the schema forbids are named`, async () => {
      const error = refusal(await call(client, "database_executeQuery", { query: 7 }));
      check(error.code === "VALIDATION_ERROR", "expected VALIDATION_ERROR", error);
    });
    await step(`${name}: a tool that policy denies is hidden and refused`, async () => {
      check(!listed.includes("ads_createCampaign"), "expected `ads_createCampaign` to stay hidden", listed);
      // Not even what it would take to call it is told.
      const error = refusal(await call(client, "ads_createCampaign", {}));
      check(error.code === "FORBIDDEN", "expected FORBIDDEN", error);
    });
    await step(`${name}: an unknown tool is an invalid parameter`, async () => {
      const outcome = await call(client, "nobody_knows", {}).then(
        (result) => ({ result }),
        (error) => ({ error }),
      );
      check(outcome.error?.code === INVALID_PARAMS, `expected the JSON-RPC error ${INVALID_PARAMS}`, outcome.error?.message ?? outcome.result);
    });
  });
}

async function asCampaigner(gateway, { name, mode }, token) {
  const campaign = async (client, label) => {
    const { tools } = await client.listTools();
    const tool = tools.find((one) => one.name === "ads_createCampaign");
    check(tool, "expected `ads_createCampaign` among the tools", tools.map((one) => one.name));
    // Its own name each time: a repeated call would attach to the operation of the one before.
    const args = argumentsFor(tool);
    for (const key of Object.keys(args)) if (/name/i.test(key)) args[key] = `${label} ${name}`;
    return call(client, tool.name, args);
  };
  await step(`${name}: a declined question creates no campaign`, () =>
    using(gateway, mode, token, () => ({ action: "decline" }), async (client, asked) => {
      const result = await campaign(client, "declined");
      check(asked.length === 1, "expected exactly one question", asked);
      check(find(result, "campaignId") === undefined, "expected no campaignId", result);
      check(result.isError === true, "expected a refusal", result);
    }),
  );
  await step(`${name}: an accepted question creates one campaign`, () =>
    using(gateway, mode, token, accept, async (client, asked) => {
      const result = await campaign(client, "accepted");
      check(asked.length === 1, "expected exactly one question", asked);
      check(typeof asked[0].message === "string" && asked[0].message !== "", "expected the question to say what it asks", asked[0]);
      check(result.isError !== true, "expected no error", result);
      const id = find(result, "campaignId");
      check(id !== undefined && id !== null && id !== "", "expected a campaignId in the result", result);
    }),
  );
}

await main("typescript client", async () => {
  const [binary] = programs("binary");
  await withGateway(binary, async (gateway) => {
    const analyst = await gateway.mint("agent-1", "data-analyst");
    const campaigner = await gateway.mint("agent-2", "finance-write");
    for (const mode of MODES) {
      await asAnalyst(gateway, mode, analyst);
      await asCampaigner(gateway, mode, campaigner);
    }
    await step("a wrong token is refused at the door", async () => {
      const wrong = `${analyst.slice(0, -8)}AAAAAAAA`;
      const outcome = await connect(gateway, { pin: "2026-07-28" }, wrong).then(
        ({ client }) => client.close().then(() => "connected"),
        (error) => error,
      );
      check(outcome !== "connected", "expected the connection to be refused");
      check(/401|unauthor/i.test(`${outcome.code} ${outcome.name} ${outcome.message}`), "expected 401 Unauthorized", outcome.message);
    });
  });
});
