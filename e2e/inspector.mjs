// MCP Inspector's command line, in its three modes of eras: against the built gateway, against the
// fixtures of the conformance suite, and against a server on standard input and output.
// Run with: node inspector.mjs --binary ../target/ci/fastmcp \
//   --conformance-server ../target/ci/conformance-server --stdio-server ../target/debug/examples/demo

import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { check, find, main, refusal, step } from "./check.mjs";
import { withGateway } from "./gateway.mjs";
import { fixtures, programs, withProgram } from "./program.mjs";

const INSPECTOR = fileURLToPath(
  new URL("./node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js", import.meta.url),
);
/** Its modes: a revision of 2026, one of before, and whichever the server has. */
const ERAS = ["modern", "legacy", "auto"];
/** One Inspector command, in milliseconds. */
const COMMAND_MS = 60_000;
const OUTPUT_BYTES = 8 * 1024 * 1024;

/** Inspector's exit codes. Source: MCP Inspector 2.12.0, README of the CLI. */
const EXIT = { ok: 0, auth: 3, toolError: 5 };

/** A server as Inspector is told of it, in one era. */
class Target {
  constructor(folder, era, ...flags) {
    this.folder = folder;
    this.era = era;
    this.flags = flags;
  }

  /** A gateway or another HTTP server; without a token Inspector must not look for one. */
  static http(program, era, token) {
    const credentials = token === undefined ? ["--stored-auth-only"] : ["--header", `Authorization: Bearer ${token}`];
    return new Target(program.folder, era, program.mcp, "--transport", "http", ...credentials);
  }

  /** Runs one Inspector command; resolves with exit code, stdout and stderr. */
  run(...method) {
    // Its own home: Inspector would otherwise read and write the developer's catalogue and key store.
    const env = { PATH: process.env.PATH ?? "", HOME: this.folder, MCP_INSPECTOR_SECRET_STORE: "memory", NO_COLOR: "1" };
    const args = [INSPECTOR, "--cli", ...this.flags, "--protocol-era", this.era, "--method", ...method, "--format", "json"];
    return new Promise((settle) => {
      execFile(
        process.execPath,
        args,
        { cwd: this.folder, env, timeout: COMMAND_MS, maxBuffer: OUTPUT_BYTES },
        (error, stdout, stderr) => settle({ code: error === null ? 0 : (error.code ?? error.signal), stdout, stderr }),
      );
    });
  }

  /** Runs a command that must succeed; resolves with its result. */
  async result(...method) {
    const outcome = await this.run(...method);
    check(outcome.code === EXIT.ok, `expected ${method[0]} to succeed`, outcome);
    return document(outcome);
  }

  /** The names of the tools; with `--strict`, so that schemas that other clients cannot read fail. */
  async tools() {
    const { tools } = await this.result("tools/list", "--strict");
    check(Array.isArray(tools), "expected a list of tools", tools);
    return tools.map((tool) => tool.name);
  }

  call(name, args) {
    return this.run("tools/call", "--tool-name", name, "--tool-args-json", JSON.stringify(args));
  }
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

async function handshake(target) {
  const server = find(await target.result("initialize"), "serverInfo");
  check(typeof server?.name === "string" && server.name !== "", "expected a serverInfo with a name", server);
}

async function gatewayIn(era, gateway, analyst, campaigner) {
  const asAnalyst = Target.http(gateway, era, analyst);
  const query = (sql) => asAnalyst.call("database_executeQuery", { query: sql });
  await step(`gateway, ${era}: the handshake names the server`, () => handshake(asAnalyst));
  await step(`gateway, ${era}: a data analyst sees the database's tools and no other's`, async () => {
    const seen = await asAnalyst.tools();
    for (const tool of ["database_listTables", "database_getSchema", "database_executeQuery"]) {
      check(seen.includes(tool), `expected \`${tool}\` among the tools`, seen);
    }
    check(!seen.includes("ads_createCampaign"), "expected `ads_createCampaign` to stay hidden", seen);
  });
  await step(`gateway, ${era}: who may write campaigns sees that tool`, async () => {
    const seen = await Target.http(gateway, era, campaigner).tools();
    check(seen.includes("ads_createCampaign"), "expected `ads_createCampaign` among the tools", seen);
    check(!seen.includes("database_executeQuery"), "expected `database_executeQuery` to stay hidden", seen);
  });
  await step(`gateway, ${era}: a query is answered`, async () => {
    const outcome = await query("select 1 as one");
    check(outcome.code === EXIT.ok, "expected the query to succeed", outcome);
    const result = document(outcome);
    check(result.isError !== true, "expected no error", result);
    check(find(result, "one") === 1 || /\b1\b/.test(JSON.stringify(find(result, "rows"))), "expected a row with one = 1", result);
  });
  await step(`gateway, ${era}: a writing statement is refused without database.write`, async () => {
    const outcome = await query("create table stolen (id integer)");
    check(outcome.code === EXIT.toolError, `expected exit code ${EXIT.toolError}`, outcome);
    const error = refusal(document(outcome));
    check(error.code === "FORBIDDEN", "expected FORBIDDEN", error);
    check(error.message.startsWith("Access denied"), "expected the message to begin with `Access denied`", error);
  });
  await step(`gateway, ${era}: no token, no answer`, async () => {
    const outcome = await Target.http(gateway, era, undefined).run("tools/list");
    check(outcome.code === EXIT.auth, `expected exit code ${EXIT.auth} (authentication required)`, outcome);
  });
}

async function fixturesIn(era, server) {
  const target = Target.http(server, era, undefined);
  const text = (blocks) => blocks?.find((block) => block.type === "text")?.text;
  await step(`http, ${era}: every tool's schema is portable`, async () => {
    const seen = await target.tools();
    check(seen[0] === "test_simple_text", "expected `test_simple_text` first", seen);
  });
  await step(`http, ${era}: a tool is called`, async () => {
    const outcome = await target.call("test_mirrored_argument", { region: "eu-west-1" });
    check(outcome.code === EXIT.ok, "expected the call to succeed", outcome);
    check(text(document(outcome).content) === "Looked in eu-west-1", "expected the argument in the answer", outcome);
  });
  await step(`http, ${era}: a tool that fails says so`, async () => {
    const outcome = await target.call("test_error_handling", {});
    check(outcome.code === EXIT.toolError, `expected exit code ${EXIT.toolError}`, outcome);
  });
  await step(`http, ${era}: resources are listed and read`, async () => {
    const { resources } = await target.result("resources/list");
    check(resources?.some((one) => one.uri === "test://static-text"), "expected `test://static-text`", resources);
    const { resourceTemplates } = await target.result("resources/templates/list");
    check(resourceTemplates?.some((one) => one.uriTemplate === "test://template/{id}/data"), "expected the template", resourceTemplates);
    const { contents } = await target.result("resources/read", "--uri", "test://template/42/data");
    check(find(contents?.[0]?.text, "id") === "42", "expected the id of the URI in the content", contents);
  });
  await step(`http, ${era}: prompts are listed and filled in`, async () => {
    const { prompts } = await target.result("prompts/list");
    check(prompts?.some((one) => one.name === "test_prompt_with_arguments"), "expected the prompt", prompts);
    const { messages } = await target.result("prompts/get", "--prompt-name", "test_prompt_with_arguments", "--prompt-args", "arg1=one", "arg2=two");
    const said = messages?.[0]?.content?.text ?? "";
    check(said.includes("one") && said.includes("two"), "expected the arguments in the message", messages);
  });
}

async function extensionsIn(era, server) {
  const target = Target.http(server, era, undefined);
  await step(`http, ${era}: skills are what their digests say`, async () => {
    const outcome = await target.run("skills/list", "--verify", "--require-digests");
    check(outcome.code === EXIT.ok, "expected every skill to be verified", outcome);
    check(outcome.stdout.includes("code-review"), "expected a report on `code-review`", outcome);
  });
  await step(`http, ${era}: an app's document is found by its tool`, async () => {
    const outcome = await target.run("tools/call", "--tool-name", "test_show_weather", "--app-info", "--advertise-apps");
    check(outcome.code === EXIT.ok, "expected the tool to have an app", outcome);
    check(outcome.stdout.includes("ui://weather/view.html"), "expected the document's URI", outcome);
  });
}

async function stdioIn(era, folder, program) {
  const target = new Target(folder, era, program);
  await step(`stdio, ${era}: the handshake names the server`, () => handshake(target));
  await step(`stdio, ${era}: a tool is listed and called`, async () => {
    check((await target.tools()).includes("add"), "expected `add` among the tools");
    const outcome = await target.call("add", { a: 1, b: 2 });
    check(outcome.code === EXIT.ok, "expected the call to succeed", outcome);
    check(find(document(outcome), "structuredContent")?.result === 3, "expected the sum", outcome);
  });
}

await main("inspector", async () => {
  const [binary, conformance, stdio] = programs("binary", "conformance-server", "stdio-server");
  await withGateway(binary, async (gateway) => {
    const analyst = await gateway.mint("agent-1", "data-analyst");
    const campaigner = await gateway.mint("agent-2", "finance-write");
    for (const era of ERAS) await gatewayIn(era, gateway, analyst, campaigner);
  });
  await withProgram(fixtures(conformance), async (server) => {
    for (const era of ERAS) await fixturesIn(era, server);
    for (const era of ["modern", "legacy"]) await extensionsIn(era, server);
  });
  const home = mkdtempSync(join(tmpdir(), "fastmcp-e2e-"));
  try {
    for (const era of ERAS) await stdioIn(era, home, stdio);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
});
