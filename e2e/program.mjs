// A program under test: started with an environment of its own, asked for its address, stopped again.

import { spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { check, show } from "./check.mjs";

/** How long it may take to listen, in milliseconds. */
const START_MS = 30_000;
/** How long it may take to drain and leave after SIGTERM, in milliseconds. */
const STOP_MS = 15_000;
/** How much of its output is kept for an error, in characters. */
const LOG_TAIL = 8_000;

const LISTENING = /listening on (http:\/\/[^\s"]+)/;

/** The programs that the scripts test, by flag. */
const PROGRAMS = {
  binary: "cargo build -p fastmcp-cli",
  "conformance-server": "cargo build -p fastmcp-conformance",
  "stdio-server": "cargo build -p fastmcp --example demo",
};

/** The numbers that the scripts take. */
const NUMBERS = ["kills", "seed"];

function flags() {
  const options = Object.fromEntries([...Object.keys(PROGRAMS), ...NUMBERS].map((name) => [name, { type: "string" }]));
  return parseArgs({ options }).values;
}

/** Reads the flag `name`, a whole number. */
export function number(name, otherwise) {
  const value = flags()[name] ?? String(otherwise);
  check(/^[0-9]{1,10}$/.test(value), `--${name} takes a number`, value);
  return Number(value);
}

/** Reads the flags that `needed` names; refuses paths that cannot be executed. */
export function programs(...needed) {
  const values = flags();
  return needed.map((name) => {
    check(values[name], `name the program to test: --${name} PATH`);
    const path = resolve(values[name]);
    try {
      accessSync(path, constants.X_OK);
    } catch {
      check(false, `\`${path}\` is not an executable file: build it with \`${PROGRAMS[name]}\``);
    }
    return path;
  });
}

/** A running program over a folder of its own. */
export class Program {
  #path;
  #args;
  #child;
  #folder;
  #log = "";
  #left;

  /** Where it listens, for example `http://127.0.0.1:43117`. */
  url;

  /** `args` is called with the folder. */
  constructor(path, args) {
    this.#path = path;
    this.#folder = mkdtempSync(join(tmpdir(), "fastmcp-e2e-"));
    this.#args = args(this.#folder);
  }

  /** The MCP endpoint. */
  get mcp() {
    return new URL("/mcp", this.url).href;
  }

  /** The folder that holds what it writes; a peer may use it as its home. */
  get folder() {
    return this.#folder;
  }

  // Only what a process needs: a developer's own configuration must not reach the program under test.
  get environment() {
    return { PATH: process.env.PATH ?? "", HOME: this.#folder, TMPDIR: tmpdir() };
  }

  get #name() {
    return `\`${[this.#path, ...this.#args].join(" ")}\``;
  }

  /** Starts it and waits until it names its address. */
  async start() {
    this.#child = spawn(this.#path, this.#args, {
      cwd: this.#folder,
      env: this.environment,
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
    check(outcome !== undefined, `${this.#name} printed no \`listening on http://...\` within ${START_MS} ms`, this.#log);
    check(outcome.url, `${this.#name} left before it listened (${describe(outcome)})`, this.#log);
    this.url = outcome.url;
  }

  /** Asks it to leave, and checks that it drained and left with 0. */
  async stop() {
    if (this.#child === undefined) return;
    this.#child.kill("SIGTERM");
    const outcome = await within(STOP_MS, this.#left);
    if (outcome === undefined) this.#child.kill("SIGKILL");
    check(outcome !== undefined, `${this.#name} did not leave within ${STOP_MS} ms of SIGTERM`, this.#log);
    check(outcome.code === 0, `${this.#name} did not leave cleanly (${describe(outcome)})`, this.#log);
  }

  /** Kills it, without a moment for last things, and waits until it is gone. */
  async kill() {
    this.#child.kill("SIGKILL");
    const outcome = await this.#left;
    check(outcome.signal === "SIGKILL", `${this.#name} left before it was killed (${describe(outcome)})`, this.#log);
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

/** Runs `body` over a started program; its output is printed when something fails. */
export async function withProgram(program, body) {
  try {
    await program.start();
    await body(program);
    await program.stop();
  } catch (error) {
    console.error(`--- the program's last output ---\n${program.log()}\n---`);
    throw error;
  } finally {
    program.discard();
  }
}

/** The server with the fixtures of the conformance suite. */
export function fixtures(path) {
  return new Program(path, () => ["--bind", "127.0.0.1:0"]);
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
