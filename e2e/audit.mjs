// The audit log that the gateway writes, read by others: `audit-log.mjs`, written from docs/audit-format.md alone,
// and @sigstore/verify, which knows nothing of this product but C2SP checkpoints and RFC 9162 inclusion proofs.
// Both must accept what the gateway wrote and refuse every tampering of it.
// Run with: node audit.mjs --binary ../target/ci/fastmcp

import { execFile } from "node:child_process";
import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { AuditFault, checkpoint, proof, verifierKey, verifyLog } from "./audit-log.mjs";
import { check, main, step } from "./check.mjs";
import { Gateway } from "./gateway.mjs";
import { programs } from "./program.mjs";

// Its parts that check a log have no public entry of their own.
const require = createRequire(import.meta.url);
const { verifyMerkleInclusion } = require("./node_modules/@sigstore/verify/dist/tlog/merkle.js");
const { verifyCheckpoint } = require("./node_modules/@sigstore/verify/dist/tlog/checkpoint.js");

const run = promisify(execFile);
/** Calls, so that the tree has more than one tile of 256 hashes. */
const CALLS = 320;
/** The record that is proved and forged: in the first tile, and neither first nor last. */
const SEQ = 100;

/** Sends `count` calls of every outcome: done, denied and unknown. */
async function call(gateway, token, count) {
  const tools = ["database:executeQuery", "database:executeQuery", "filesystem:writeFile", "database:noSuch"];
  const answered = new Set();
  for (let n = 0; n < count; n += 1) {
    const tool = tools[n % tools.length];
    const reply = await fetch(new URL(`/tools/${tool}/invoke`, gateway.url), {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify(tool === "filesystem:writeFile" ? { path: "f", content: "x" } : { query: `SELECT ${n} AS "grüße \\ \u0001"` }),
    });
    await reply.arrayBuffer();
    answered.add(reply.status);
  }
  return answered;
}

/** A log whose first days were archived, as the gateway leaves it; the files that went lie in `cold`. */
const ARCHIVED = fileURLToPath(new URL("./fixtures/archived/", import.meta.url));

/** What must be refused of it. */
const MISSING = {
  "a file more than the record says is gone": (folder) => rmSync(join(folder, "audit-20261122.jsonl")),
  "the hash of a record that is gone was changed": (folder) => {
    const name = readdirSync(join(folder, "tile/0/000.p")).sort((one, other) => other - one)[0];
    edit(join(folder, "tile/0/000.p", name), (tile) => {
      tile[0] ^= 1;
      return tile;
    });
  },
  "the record that says so is not the one that was signed": (folder) =>
    edit(join(folder, "audit-20261123.1.jsonl"), (content) => {
      const [first, ...rest] = lines(content);
      return [...rehashed(first.replace('"first_kept":7', '"first_kept":8')), ...rest].join("");
    }),
  "a file was put back with another record in it": (folder) => {
    cpSync(join(ARCHIVED, "cold/audit-20261121.jsonl"), join(folder, "audit-20261121.jsonl"));
    edit(join(folder, "audit-20261121.jsonl"), (content) => {
      const [first, ...rest] = lines(content);
      return [...rehashed(first.replace("agent-1", "agent-2")), ...rest].join("");
    });
  },
};

/** The log of a gateway that archives. */
async function archived() {
  const key = verifierKey(readFileSync(join(ARCHIVED, "audit.vkey"), "utf8"));
  const log = join(ARCHIVED, "audit");
  await step("a log whose first days were archived verifies, and with them", () => {
    check(verifyLog(log, key).archived === 7, "seven records are not there", verifyLog(log, key));
    const names = ["audit-20261121.jsonl", "audit-20261120.jsonl"];
    const left = names.map((_, n) => {
      const whole = copied(log, (folder) => names.slice(0, n + 1).forEach((name) => cpSync(join(ARCHIVED, "cold", name), join(folder, name))));
      try {
        return verifyLog(whole, key).archived;
      } finally {
        rmSync(whole, { recursive: true, force: true });
      }
    });
    check(left.join() === "4,0", "the files that were put back count", left);
  });
  for (const [what, tamper] of Object.entries(MISSING)) {
    await step(`noticed: ${what}`, () => {
      const folder = copied(log, tamper);
      try {
        refused(what, () => verifyLog(folder, key));
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });
  }
}

/** The same folder again, to be tampered with. */
function copied(folder, tamper) {
  const copy = mkdtempSync(join(tmpdir(), "fastmcp-audit-"));
  cpSync(folder, copy, { recursive: true });
  tamper(copy);
  return copy;
}

function edit(file, change) {
  writeFileSync(file, change(readFileSync(file)));
}

/** The lines of a file, each with its newline. */
function lines(content) {
  return content.toString("utf8").split(/(?<=\n)/);
}

/** Everything that somebody might do to a log who has the disk and not the key, and what it must be refused with. */
function tamperings(name, kept) {
  const records = (change) => (folder) => edit(join(folder, name), (content) => lines(content).flatMap(change).join(""));
  const other = generateKeyPairSync("ed25519");
  return {
    "a flipped byte": (folder) =>
      edit(join(folder, name), (content) => {
        const at = content.indexOf('"status":"') + 10;
        content[at] ^= 1;
        return content;
      }),
    "an edited record with a new hash of its own": records((line, n) => (n === SEQ ? rehashed(line.replace('"action":"', '"action":"x')) : [line])),
    "a removed record": records((line, n) => (n === SEQ ? [] : [line])),
    "a record twice": records((line, n) => (n === SEQ ? [line, line] : [line])),
    "an inserted space": records((line, n) => (n === SEQ ? [line.replace(":", ": ")] : [line])),
    "swapped records": (folder) =>
      edit(join(folder, name), (content) => {
        const all = lines(content);
        [all[SEQ], all[SEQ + 1]] = [all[SEQ + 1], all[SEQ]];
        return all.join("");
      }),
    "the first record gone": records((line, n) => (n === 0 ? [] : [line])),
    "a cut tail": (folder) => edit(join(folder, name), (content) => lines(content).slice(0, -3).join("")),
    "a torn tail": (folder) => edit(join(folder, name), (content) => content.subarray(0, -5)),
    "another day": (folder) => {
      cpSync(join(folder, name), join(folder, "audit-20200101.jsonl"));
      rmSync(join(folder, name));
    },
    "no checkpoint": (folder) => rmSync(join(folder, "checkpoint")),
    "an old checkpoint's size": (folder) => edit(join(folder, "checkpoint"), (note) => note.toString().replace(/\n(\d+)\n/, (_, size) => `\n${size - 1}\n`)),
    "a checkpoint by another key": (folder) =>
      edit(join(folder, "checkpoint"), (note) => {
        const [text, signature] = note.toString().split("\n\n");
        const [dash, name, value] = signature.trim().split(" ");
        const id = Buffer.from(value, "base64").subarray(0, 4);
        const forged = sign(null, Buffer.from(`${text}\n`), other.privateKey);
        return `${text}\n\n${dash} ${name} ${Buffer.concat([id, forged]).toString("base64")}\n`;
      }),
    "a tile that is not the records'": (folder) =>
      edit(join(folder, "tile/0/000"), (tile) => {
        tile[32 * SEQ] ^= 1;
        return tile;
      }),
    "a whole log put back to an older state": (folder) => {
      rmSync(folder, { recursive: true });
      cpSync(kept.older, folder, { recursive: true });
    },
  };
}

/** A record whose own hash is right again, as a forger would make it. */
function rehashed(line) {
  const at = line.lastIndexOf(',"event_hash":"');
  const body = `${line.slice(0, at)}}`;
  const hash = createHash("sha256").update("fastmcp-audit/record/v1").update(Buffer.of(0)).update(body).digest("hex");
  return [`${line.slice(0, at)},"event_hash":"${hash}"}\n`];
}

function refused(what, body) {
  try {
    body();
  } catch (error) {
    check(error instanceof AuditFault || error.code === "ENOENT", `${what}: refused by something else than the verifier`, error.stack);
    return;
  }
  check(false, `${what} was not noticed`);
}

/** What @sigstore/verify wants of a log's entry and of its key. */
function sigstore(told, { name, id, publicKey }) {
  const entry = {
    canonicalizedBody: Buffer.from(told.line),
    inclusionProof: {
      logIndex: String(told.leaf_index),
      treeSize: String(told.tree_size),
      hashes: told.inclusion_path.map((hash) => Buffer.from(hash, "hex")),
      checkpoint: { envelope: told.checkpoint },
    },
  };
  return { entry, logs: [{ logID: Buffer.from(id, "hex"), baseURL: name, publicKey }] };
}

function bySigstore(told, key) {
  const { entry, logs } = sigstore(told, key);
  verifyMerkleInclusion(entry, verifyCheckpoint(entry, logs));
}

await main("audit", async () => {
  const [binary] = programs("binary");
  await archived();
  const gateway = new Gateway(binary);
  const log = join(gateway.folder, "audit");
  const older = mkdtempSync(join(tmpdir(), "fastmcp-audit-"));
  const command = (...args) => run(binary, [...args, "--data-dir", gateway.folder], { cwd: gateway.folder, env: gateway.environment });
  try {
    // Its records stand in one file: no day ends meanwhile.
    const left = 86_400_000 - (Date.now() % 86_400_000);
    if (left < 60_000) await new Promise((settle) => setTimeout(settle, left));
    await gateway.start();
    const vkey = readFileSync(join(gateway.folder, "audit.vkey"), "utf8");
    const key = verifierKey(vkey);
    const token = await gateway.mint("agent-1", "data-analyst");
    await step("the gateway records calls of every outcome", async () => {
      const answered = await call(gateway, token, CALLS);
      check([200, 403, 404].every((status) => answered.has(status)), "calls that were done, denied and unknown", [...answered]);
    });
    await gateway.stop();
    cpSync(log, older, { recursive: true });
    await gateway.start();
    await call(gateway, token, 8);
    await gateway.stop();

    const name = readdirSync(log).filter((file) => file.startsWith("audit-")).sort()[0];
    const note = readFileSync(join(log, "checkpoint"), "utf8");
    await step("the log verifies, and against a checkpoint that was kept", () => {
      const kept = readFileSync(join(older, "checkpoint"), "utf8");
      const report = verifyLog(log, key, [kept]);
      check(report.records > 256 && report.size === report.records, "every record is signed", report);
      verifyLog(older, key);
    });
    for (const [what, tamper] of Object.entries(tamperings(name, { older }))) {
      await step(`noticed: ${what}`, () => {
        const folder = copied(log, tamper);
        try {
          refused(what, () => verifyLog(folder, key, [note]));
        } finally {
          rmSync(folder, { recursive: true, force: true });
        }
      });
    }
    const stranger = generateKeyPairSync("ed25519").publicKey.export({ format: "jwk" }).x;
    const raw = Buffer.concat([Buffer.of(1), Buffer.from(stranger, "base64url")]);
    const id = createHash("sha256").update(`${key.name}\n`).update(raw).digest("hex").slice(0, 8);
    const another = verifierKey(`${key.name}+${id}+${raw.toString("base64")}`);
    await step("noticed: another key", () => refused("another key", () => verifyLog(log, another)));

    const { stdout } = await command("audit", "prove", String(SEQ));
    const told = JSON.parse(stdout);
    await step("a proof file verifies, here and with @sigstore/verify", () => {
      const members = proof(Buffer.from(stdout), key);
      check(members.get("seq") === BigInt(SEQ), "the proof is of the record", String(members.get("seq")));
      bySigstore(told, key);
    });
    const [last] = [told.inclusion_path.at(-1)];
    const forgeries = {
      "another line": { line: told.line.replace('"action":"', '"action":"x') },
      "another record of the same log": { line: lines(readFileSync(join(log, name)))[SEQ + 1].trimEnd() },
      "another index": { leaf_index: SEQ + 1 },
      "another path": { inclusion_path: [...told.inclusion_path.slice(0, -1), last.replace(/^./, (digit) => (digit === "0" ? "1" : "0"))] },
      "a shorter path": { inclusion_path: told.inclusion_path.slice(0, -1) },
      "an older checkpoint": { checkpoint: readFileSync(join(older, "checkpoint"), "utf8") },
      "a checkpoint that nobody signed": { checkpoint: told.checkpoint.replace(/\n(\d+)\n/, (_, size) => `\n${Number(size) + 1}\n`) },
    };
    for (const [what, forged] of Object.entries(forgeries)) {
      await step(`refused as a proof: ${what}`, () => {
        const changed = { ...told, ...forged };
        refused(what, () => proof(Buffer.from(JSON.stringify(changed)), key));
        let accepted = true;
        try {
          bySigstore(changed, key);
        } catch {
          accepted = false;
        }
        check(!accepted, `@sigstore/verify accepts ${what}`);
      });
    }
    await step("a checkpoint verifies with @sigstore/verify and gives the same root", () => {
      const { entry, logs } = sigstore({ ...told, checkpoint: note }, key);
      const found = verifyCheckpoint(entry, logs);
      const ours = checkpoint(note, key);
      check(found.logSize === BigInt(ours.size) && found.logHash.equals(ours.root), "size and root", { found: String(found.logSize), ours: ours.size });
    });
  } finally {
    gateway.discard();
    rmSync(older, { recursive: true, force: true });
  }
});
