// Starts the built `fastmcp` with an empty data folder and mints tokens with it.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { check } from "./check.mjs";
import { Program, withProgram } from "./program.mjs";

const run = promisify(execFile);

/** How long minting a token may take, in milliseconds. */
const MINT_MS = 15_000;

const JWT = /[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}/;

/** A running gateway over a data folder of its own. */
export class Gateway extends Program {
  #binary;

  constructor(binary) {
    super(binary, (folder) => ["serve", "--bind", "127.0.0.1:0", "--data-dir", folder]);
    this.#binary = binary;
  }

  /** Mints a token for `subject` with `roles`; from the first flag on, what follows is for the command. */
  async mint(subject, ...rest) {
    const first = rest.findIndex((word) => word.startsWith("--"));
    const roles = first < 0 ? rest : rest.slice(0, first);
    const flags = [...roles.flatMap((role) => ["--role", role]), ...rest.slice(roles.length)];
    const args = ["token", "mint", "--sub", subject, ...flags, "--data-dir", this.folder];
    const { stdout, stderr } = await run(this.#binary, args, {
      cwd: this.folder,
      env: this.environment,
      timeout: MINT_MS,
    }).catch((error) => check(false, `\`fastmcp ${args.join(" ")}\` failed`, `${error.message}\n${error.stderr ?? ""}`));
    const token = JWT.exec(stdout)?.[0];
    check(token, "`fastmcp token mint` printed no token on stdout", `${stdout}\n${stderr}`);
    return token;
  }
}

/** Runs `body` over a started gateway; its output is printed when something fails. */
export function withGateway(binary, body) {
  return withProgram(new Gateway(binary), body);
}
