// MCP Inspector's command line against the built gateway, in both eras.
// Run with: npm run inspector -- --binary ../target/ci/fastmcp

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";

import { check, find, main, refusal, step } from "./check.mjs";
import { binaryFromArguments, withGateway } from "./gateway.mjs";

const INSPECTOR = fileURLToPath(
  new URL("./node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js", import.meta.url),
);
/** One Inspector command, in milliseconds. */
const COMMAND_MS = 60_000;
const OUTPUT_BYTES = 8 * 1024 * 1024;

/** Inspector's exit codes. Source: MCP Inspector 2.12.0, README of the CLI. */
const EXIT = { ok: 0, auth: 3, toolError: 5 };

/** Runs one Inspector command; resolves with exit code, stdout and stderr. */
function inspector(gateway, era, token, ...method) {
  const header = token === undefined ? [] : ["--header", `Authorization: Bearer ${token}`];
  const args = [INSPECTOR, "--cli", gateway.mcp, "--transport", "http", "--protocol-era", era, ...header];
  // Its own home: Inspector would otherwise read and write the developer's catalogue and key store.
  const env = { PATH: process.env.PATH ?? "", HOME: gateway.folder, MCP_INSPECTOR_SECRET_STORE: "memory", NO_COLOR: "1" };
  if (token === undefined) args.push("--stored-auth-only");
  return new Promise((settle) => {
    execFile(
      process.execPath,
      [...args, ...method, "--format", "json"],
      { cwd: gateway.folder, env, timeout: COMMAND_MS, maxBuffer: OUTPUT_BYTES },
      (error, stdout, stderr) => settle({ code: error === null ? 0 : (error.code ?? error.signal), stdout, stderr }),
    );
  });
}

/** Parses the JSON document an Inspector command printed. */
function document(outcome) {
  try {
    const parsed = JSON.parse(outcome.stdout);
    return parsed.result ?? parsed;
  } catch {
    check(false, "expected one JSON document on Inspector's stdout", outcome);
  }
}

async function tools(gateway, era, token) {
  const outcome = await inspector(gateway, era, token, "--method", "tools/list");
  check(outcome.code === EXIT.ok, "expected tools/list to succeed", outcome);
  const listed = document(outcome).tools;
  check(Array.isArray(listed), "expected a list of tools", outcome);
  return listed.map((tool) => tool.name);
}

function query(gateway, era, token, sql) {
  const args = JSON.stringify({ query: sql });
  return inspector(gateway, era, token, "--method", "tools/call", "--tool-name", "database_executeQuery", "--tool-args-json", args);
}

async function era(gateway, name, analyst, campaigner) {
  await step(`${name}: the handshake names the server`, async () => {
    const outcome = await inspector(gateway, name, analyst, "--method", "initialize");
    check(outcome.code === EXIT.ok, "expected initialize to succeed", outcome);
    const server = find(document(outcome), "serverInfo");
    check(typeof server?.name === "string" && server.name !== "", "expected a serverInfo with a name", outcome);
  });
  await step(`${name}: a data analyst sees the database's tools and no other's`, async () => {
    const seen = await tools(gateway, name, analyst);
    for (const tool of ["database_listTables", "database_getSchema", "database_executeQuery"]) {
      check(seen.includes(tool), `expected \`${tool}\` among the tools`, seen);
    }
    check(!seen.includes("ads_createCampaign"), "expected `ads_createCampaign` to stay hidden", seen);
  });
  await step(`${name}: who may write campaigns sees that tool`, async () => {
    const seen = await tools(gateway, name, campaigner);
    check(seen.includes("ads_createCampaign"), "expected `ads_createCampaign` among the tools", seen);
    check(!seen.includes("database_executeQuery"), "expected `database_executeQuery` to stay hidden", seen);
  });
  await step(`${name}: a query is answered`, async () => {
    const outcome = await query(gateway, name, analyst, "select 1 as one");
    check(outcome.code === EXIT.ok, "expected the query to succeed", outcome);
    const result = document(outcome);
    check(result.isError !== true, "expected no error", result);
    check(find(result, "one") === 1 || /\b1\b/.test(JSON.stringify(find(result, "rows"))), "expected a row with one = 1", result);
  });
  await step(`${name}: a writing statement is refused without database.write`, async () => {
    const outcome = await query(gateway, name, analyst, "create table stolen (id integer)");
    check(outcome.code === EXIT.toolError, `expected exit code ${EXIT.toolError}`, outcome);
    const error = refusal(document(outcome));
    check(error.code === "FORBIDDEN", "expected FORBIDDEN", error);
    check(error.message.startsWith("Access denied"), "expected the message to begin with `Access denied`", error);
  });
  await step(`${name}: no token, no answer`, async () => {
    const outcome = await inspector(gateway, name, undefined, "--method", "tools/list");
    check(outcome.code === EXIT.auth, `expected exit code ${EXIT.auth} (authentication required)`, outcome);
  });
}

await main("inspector", async () => {
  await withGateway(binaryFromArguments(), async (gateway) => {
    const analyst = await gateway.mint("agent-1", "data-analyst");
    const campaigner = await gateway.mint("agent-2", "finance-write");
    for (const name of ["modern", "legacy"]) await era(gateway, name, analyst, campaigner);
  });
});
