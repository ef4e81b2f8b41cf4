// Questions that a server asks, answered through `mcpdo`, MCP Inspector's daemon: a call waits in one
// command and is answered by another.
// Run with: node mcpdo.mjs --binary ../target/ci/fastmcp --conformance-server ../target/ci/conformance-server

import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { check, find, main, step } from "./check.mjs";
import { withGateway } from "./gateway.mjs";
import { fixtures, programs, withProgram } from "./program.mjs";

const MCPDO = fileURLToPath(new URL("./node_modules/@modelcontextprotocol/inspector/clients/mcpdo/build/mcp-bin.js", import.meta.url));
const ERAS = ["modern", "legacy"];
/** One command, in milliseconds. */
const COMMAND_MS = 60_000;
const OUTPUT_BYTES = 8 * 1024 * 1024;

/** A daemon of our own, in a folder of its own. */
class Daemon {
  #folder = mkdtempSync(join(tmpdir(), "mcpdo-"));
  #environment = {
    PATH: process.env.PATH ?? "",
    HOME: this.#folder,
    NO_COLOR: "1",
    MCP_INSPECTOR_SECRET_STORE: "file",
    MCP_INSPECTOR_DAEMON_DIR: this.#folder,
    MCP_INSPECTOR_DAEMON_TOKEN: randomBytes(32).toString("base64url"),
  };

  /** Runs one command; resolves with what it printed. */
  run(...args) {
    return new Promise((settle, fail) => {
      execFile(
        process.execPath,
        [MCPDO, ...args],
        { cwd: this.#folder, env: this.#environment, timeout: COMMAND_MS, maxBuffer: OUTPUT_BYTES },
        (error, stdout, stderr) => {
          // A tool that refuses makes the command fail, but its result is printed all the same.
          if (error === null || stdout.startsWith("{")) return settle(stdout);
          fail(new Error(`\`mcpdo ${args.join(" ")}\` failed: ${stdout}${stderr}`));
        },
      );
    });
  }

  /** Opens a connection; the commands that it returns end in JSON. */
  async connect(name, url, era, ...flags) {
    await this.run("connect", `@${name}`, url, "--era", era, ...flags);
    const command = async (...args) => JSON.parse(await this.run("--connection", name, ...args, "--format", "json"));
    return {
      call: (tool, args) => command("tools/call", tool, JSON.stringify(args)),
      prompt: (prompt) => command("prompts/get", prompt),
      answer: (asked, content) => command("elicitation/respond", asked.elicitationId, JSON.stringify(content)),
      decline: (asked) => command("elicitation/respond", asked.elicitationId, "--decline"),
    };
  }

  async discard() {
    await this.run("daemon", "stop").catch(() => undefined);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The question that an outcome waits for. */
function asked(outcome) {
  const question = outcome.elicitationPending;
  check(typeof question?.elicitationId === "string", "expected a question", outcome);
  check(typeof question.message === "string" && question.message !== "", "expected the question to say what it asks", question);
  return question;
}

function said(result, words) {
  const text = result.content?.[0]?.text ?? result.messages?.[0]?.content?.text;
  check(text?.includes(words), `expected \`${words}\` in the answer`, result);
}

async function fixturesIn(era, daemon, server) {
  const on = await step(`fixtures, ${era}: connects`, () => daemon.connect(`fixtures-${era}`, server.mcp, era));
  await step(`fixtures, ${era}: one question`, async () => {
    const question = asked(await on.call("test_input_required_result_elicitation", {}));
    said(await on.answer(question, { name: "Ada" }), "Ada");
  });
  await step(`fixtures, ${era}: two questions, one after the other`, async () => {
    const first = asked(await on.call("test_input_required_result_multi_round", {}));
    const second = asked(await on.answer(first, { name: "Ada" }));
    said(await on.answer(second, { color: "green" }), "Ada likes green");
  });
  await step(`fixtures, ${era}: a prompt asks as well`, async () => {
    const question = asked(await on.prompt("test_input_required_result_prompt"));
    said(await on.answer(question, { context: "gardening" }), "gardening");
  });
}

async function gatewayIn(era, daemon, gateway, token) {
  const on = await step(`gateway, ${era}: connects`, () =>
    daemon.connect(`gateway-${era}`, gateway.mcp, era, "--header", `Authorization: Bearer ${token}`),
  );
  const campaign = (name) => on.call("ads_createCampaign", { name: `${name} ${era}`, budget: 10, startDate: "2026-12-01" });
  await step(`gateway, ${era}: a declined confirmation acts not`, async () => {
    const outcome = await on.decline(asked(await campaign("declined")));
    check(outcome.isError === true && find(outcome, "campaignId") === undefined, "expected a refusal", outcome);
  });
  await step(`gateway, ${era}: a confirmed call acts once`, async () => {
    const question = asked(await campaign("accepted"));
    const fields = Object.keys(question.requestedSchema?.properties ?? {});
    const outcome = await on.answer(question, Object.fromEntries(fields.map((field) => [field, true])));
    check(outcome.isError !== true && find(outcome, "campaignId") !== undefined, "expected a campaignId", outcome);
  });
}

await main("mcpdo", async () => {
  const [binary, conformance] = programs("binary", "conformance-server");
  const daemon = new Daemon();
  try {
    await withProgram(fixtures(conformance), async (server) => {
      for (const era of ERAS) await fixturesIn(era, daemon, server);
    });
    await withGateway(binary, async (gateway) => {
      const token = await gateway.mint("agent-2", "finance-write");
      for (const era of ERAS) await gatewayIn(era, daemon, gateway, token);
    });
  } finally {
    await daemon.discard();
  }
});
