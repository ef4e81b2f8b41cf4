// Starts the built `fastmcp` with an empty data folder, mints tokens with it, and stops it again.

import { execFile, spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs, promisify } from "node:util";

import { check, show } from "./check.mjs";

const run = promisify(execFile);

/** How long the gateway may take to listen, in milliseconds. */
const START_MS = 30_000;
/** How long it may take to drain and leave after SIGTERM, in milliseconds. */
const STOP_MS = 15_000;
/** How long minting a token may take, in milliseconds. */
const MINT_MS = 15_000;
/** How much of the gateway's own output is kept for an error, in characters. */
const LOG_TAIL = 8_000;

const LISTENING = /listening on (http:\/\/[^\s"]+)/;
const JWT = /[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}/;

/** Reads `--binary PATH` (or FASTMCP_BIN) and refuses a path that cannot be executed. */
export function binaryFromArguments() {
  const { values } = parseArgs({ options: { binary: { type: "string" } } });
  const given = values.binary ?? process.env.FASTMCP_BIN;
  check(given, "name the binary to test: --binary PATH or FASTMCP_BIN");
  const binary = resolve(given);
  try {
    accessSync(binary, constants.X_OK);
  } catch {
    check(false, `\`${binary}\` is not an executable file: build it with \`cargo build -p fastmcp-cli\``);
  }
  return binary;
}

/** A running gateway over a data folder of its own. */
export class Gateway {
  #binary;
  #child;
  #folder;
  #log = "";
  #left;

  /** Where it listens, for example `http://127.0.0.1:43117`. */
  url;

  constructor(binary) {
    this.#binary = binary;
    this.#folder = mkdtempSync(join(tmpdir(), "fastmcp-e2e-"));
  }

  /** The MCP endpoint. */
  get mcp() {
    return new URL("/mcp", this.url).href;
  }

  /** The folder that holds this gateway's data; a peer may use it as its home. */
  get folder() {
    return this.#folder;
  }

  // Only what a process needs: a developer's own configuration must not reach the gateway under test.
  get #environment() {
    return { PATH: process.env.PATH ?? "", HOME: this.#folder, TMPDIR: tmpdir() };
  }

  /** Starts it and waits until it names its address. */
  async start() {
    this.#child = spawn(this.#binary, ["serve", "--bind", "127.0.0.1:0", "--data-dir", this.#folder], {
      cwd: this.#folder,
      env: this.#environment,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#left = new Promise((settle) => {
      this.#child.once("error", (error) => settle({ error }));
      this.#child.once("exit", (code, signal) => settle({ code, signal }));
    });
    const listening = new Promise((found) => {
      for (const stream of [this.#child.stdout, this.#child.stderr]) {
        let line = "";
        stream.setEncoding("utf8");
        stream.on("data", (text) => {
          this.#log = (this.#log + text).slice(-LOG_TAIL);
          line = (line + text).slice(-LOG_TAIL);
          // A whole line only: a chunk may end inside the port.
          const match = LISTENING.exec(line.slice(0, line.lastIndexOf("\n") + 1));
          if (match) found({ url: match[1] });
        });
      }
    });
    const outcome = await within(START_MS, Promise.race([listening, this.#left]));
    check(outcome !== undefined, `\`fastmcp serve\` printed no \`listening on http://...\` within ${START_MS} ms`, this.#log);
    check(outcome.url, `\`fastmcp serve\` left before it listened (${describe(outcome)})`, this.#log);
    this.url = outcome.url;
  }

  /** Mints a token for `subject` with `roles`. */
  async mint(subject, ...roles) {
    const flags = roles.flatMap((role) => ["--role", role]);
    const args = ["token", "mint", "--sub", subject, ...flags, "--data-dir", this.#folder];
    const { stdout, stderr } = await run(this.#binary, args, {
      cwd: this.#folder,
      env: this.#environment,
      timeout: MINT_MS,
    }).catch((error) => check(false, `\`fastmcp ${args.join(" ")}\` failed`, `${error.message}\n${error.stderr ?? ""}`));
    const token = JWT.exec(stdout)?.[0];
    check(token, "`fastmcp token mint` printed no token on stdout", `${stdout}\n${stderr}`);
    return token;
  }

  /** Asks it to leave, and checks that it drained and left with 0. */
  async stop() {
    if (this.#child === undefined) return;
    this.#child.kill("SIGTERM");
    const outcome = await within(STOP_MS, this.#left);
    if (outcome === undefined) this.#child.kill("SIGKILL");
    check(outcome !== undefined, `\`fastmcp serve\` did not leave within ${STOP_MS} ms of SIGTERM`, this.#log);
    check(outcome.code === 0, `\`fastmcp serve\` did not leave cleanly (${describe(outcome)})`, this.#log);
  }

  /** Kills it if it still runs and removes its folder. */
  discard() {
    if (this.#child?.exitCode === null && this.#child.signalCode === null) this.#child.kill("SIGKILL");
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** The end of its output, for a failure's report. */
  log() {
    return show(this.#log);
  }
}

/** Runs `body` over a started gateway; its output is printed when something fails. */
export async function withGateway(binary, body) {
  const gateway = new Gateway(binary);
  try {
    await gateway.start();
    await body(gateway);
    await gateway.stop();
  } catch (error) {
    console.error(`--- the gateway's last output ---\n${gateway.log()}\n---`);
    throw error;
  } finally {
    gateway.discard();
  }
}

function describe({ code, signal, error }) {
  if (error) return error.message;
  return signal ? `signal ${signal}` : `exit code ${code}`;
}

/** The value of `promise`, or undefined after `ms`. */
async function within(ms, promise) {
  let timer;
  const late = new Promise((settle) => {
    timer = setTimeout(settle, ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
