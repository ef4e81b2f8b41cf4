// A second reader of the audit log, written from docs/audit-format.md alone: it shares no code with the
// gateway and needs nothing but Node's own SHA-256 and Ed25519. Whatever is wrong is thrown as `AuditFault`.

import { createHash, createPublicKey, verify as verifySignature } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** Why a log, a proof or a note does not hold. */
export class AuditFault extends Error {}

const MAX_LINE = 65_535;
const MAX_PROOF = 524_288;
const MAX_DEPTH = 16;
const ZERO = "0".repeat(64);
const TILE = 256;

const hex = (digits) => ({ form: "string", is: (text) => new RegExp(`^[0-9a-f]{${digits}}$`).test(text) });
const text = { form: "string", is: () => true };
const choice = (...words) => ({ form: "string", is: (word) => words.includes(word) });
const object = { form: "object", is: () => true };
const bytes = (text) => Buffer.byteLength(text, "utf8");

/** "The record": its members in their order; those marked `must` are never left out. */
const MEMBERS = [
  ["seq", { form: "number", is: (n) => n >= 0n, must: true }],
  ["ts", { form: "string", is: (ts) => day(ts) !== undefined, must: true }],
  ["corr_id", text],
  ["phase", { ...choice("intent", "outcome", "event"), must: true }],
  ["action", { form: "string", is: (t) => bytes(t) >= 1 && bytes(t) <= 128, must: true }],
  ["status", { ...choice("success", "failed", "denied", "pending", "unknown"), must: true }],
  ...["reason", "resource_type", "resource_id", "toolId", "user_id", "sub", "tenant_id", "tenant"].map((n) => [n, text]),
  ...["ip_address", "user_agent", "request_hash", "result_hash", "policy_decision"].map((n) => [n, text]),
  ["policy_ids", { form: "list", is: (list) => list.length > 0 && list.every((id) => typeof id === "string") }],
  ["policy_version", text],
  ["rate_limit", object],
  ["provider_call_meta", object],
  ["details", object],
  ["operation_id", text],
  ["instance", { form: "string", is: (t) => /^[A-Za-z0-9._:/-]{1,128}$/.test(t), must: true }],
  ["prev_hash", { ...hex(64), must: true }],
  ["event_hash", { ...hex(64), must: true }],
];

function refuse(problem) {
  throw new AuditFault(problem);
}

function sha256(...parts) {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** The day of a time, as it stands in a file's name; nothing for what is no time. */
function day(ts) {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(ts)) return undefined;
  const time = new Date(ts);
  if (Number.isNaN(time.getTime()) || time.toISOString() !== ts) return undefined;
  return ts.slice(0, 10).replaceAll("-", "");
}

/** Reads JSON in the one spelling that the format knows; every other spelling is a fault. */
class Canonical {
  #text;
  #at = 0;

  constructor(text) {
    this.#text = text;
  }

  whole() {
    const value = this.#object(0);
    if (this.#at !== this.#text.length) refuse("something stands after the record");
    return value;
  }

  #take(token) {
    if (!this.#text.startsWith(token, this.#at)) return false;
    this.#at += token.length;
    return true;
  }

  #expect(token) {
    if (!this.#take(token)) refuse(`expected \`${token}\` at character ${this.#at}`);
  }

  #value(depth) {
    const next = this.#text[this.#at];
    if (next === '"') return this.#string();
    if (next === "{") return this.#object(depth + 1);
    if (next === "[") return this.#list(depth + 1);
    for (const [word, value] of [["null", null], ["true", true], ["false", false]]) if (this.#take(word)) return value;
    return this.#number();
  }

  #object(depth) {
    if (depth > MAX_DEPTH) refuse("nested too deeply");
    this.#expect("{");
    const members = new Map();
    let before;
    while (!this.#take("}")) {
      if (members.size > 0) this.#expect(",");
      const key = this.#string();
      if (members.has(key)) refuse(`\`${key}\` stands twice`);
      // The record's own members have an order of their own.
      if (depth > 0 && before !== undefined && Buffer.compare(Buffer.from(before), Buffer.from(key)) >= 0) refuse(`\`${key}\` is out of order`);
      this.#expect(":");
      members.set(key, this.#value(depth));
      before = key;
    }
    return members;
  }

  #list(depth) {
    if (depth > MAX_DEPTH) refuse("nested too deeply");
    this.#expect("[");
    const values = [];
    while (!this.#take("]")) {
      if (values.length > 0) this.#expect(",");
      values.push(this.#value(depth));
    }
    return values;
  }

  #number() {
    const token = /^-?(0|[1-9][0-9]*)/.exec(this.#text.slice(this.#at, this.#at + 24))?.[0];
    if (token === undefined || token === "-0") refuse(`no value at character ${this.#at}`);
    this.#at += token.length;
    const number = BigInt(token);
    if (number < -(2n ** 63n) || number > 2n ** 64n - 1n) refuse("a number is out of range");
    return number;
  }

  #string() {
    this.#expect('"');
    let value = "";
    for (;;) {
      const plain = /[^"\\\u0000-\u001f]*/y;
      plain.lastIndex = this.#at;
      value += plain.exec(this.#text)[0];
      this.#at = plain.lastIndex;
      if (this.#take('"')) return value;
      const escape = /^\\(?:(["\\btnfr])|u00([01][0-9a-f]))/.exec(this.#text.slice(this.#at, this.#at + 6));
      if (escape === null) refuse(`a string is wrong at character ${this.#at}`);
      const [whole, short, long] = escape;
      const escaped = short === undefined ? String.fromCharCode(parseInt(long, 16)) : { b: "\b", t: "\t", n: "\n", f: "\f", r: "\r" }[short] ?? short;
      if (long !== undefined && "\b\t\n\f\r".includes(escaped)) refuse("a control character is escaped the long way");
      value += escaped;
      this.#at += whole.length;
    }
  }
}

/** "The record" and its part of "The chain": reads one line, given as bytes without its newline. */
export function record(line) {
  if (line.length > MAX_LINE) refuse("the line is too long");
  let whole;
  try {
    whole = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(line);
  } catch {
    refuse("the line is not UTF-8");
  }
  const members = new Canonical(whole).whole();
  const names = [...members.keys()];
  let at = 0;
  for (const [name, rule] of MEMBERS) {
    if (names[at] !== name) {
      if (rule.must) refuse(`\`${name}\` is missing or not in its place`);
      continue;
    }
    const value = members.get(name);
    const form = value instanceof Map ? "object" : Array.isArray(value) ? "list" : typeof value === "bigint" ? "number" : typeof value;
    if (form !== rule.form || !rule.is(value)) refuse(`\`${name}\` is not as the format wants it`);
    at += 1;
  }
  if (at !== names.length) refuse(`\`${names[at]}\` is not in its place`);
  for (const [one, other] of [["user_id", "sub"], ["tenant_id", "tenant"]]) {
    if (members.get(one) !== members.get(other)) refuse(`\`${one}\` and \`${other}\` differ`);
  }
  const suffix = `,"event_hash":"${members.get("event_hash")}"}`;
  const body = Buffer.concat([line.subarray(0, line.length - bytes(suffix)), Buffer.from("}")]);
  const found = sha256("fastmcp-audit/record/v1", Buffer.of(0), body).toString("hex");
  if (found !== members.get("event_hash")) refuse("event_hash does not match");
  return members;
}

/** "The tree": leaf and node hashes, and a tree that grows. */
export const leafHash = (line) => sha256(Buffer.of(0), line);
const nodeHash = (left, right) => sha256(Buffer.of(1), left, right);

class Tree {
  /** Roots of full subtrees, the largest first, with their heights. */
  #peaks = [];
  size = 0;

  push(leaf) {
    let peak = { height: 0, hash: leaf };
    while (this.#peaks.at(-1)?.height === peak.height) {
      const left = this.#peaks.pop();
      peak = { height: peak.height + 1, hash: nodeHash(left.hash, peak.hash) };
    }
    this.#peaks.push(peak);
    this.size += 1;
  }

  root() {
    if (this.#peaks.length === 0) return sha256("");
    return this.#peaks.map((peak) => peak.hash).reduceRight((right, left) => nodeHash(left, right));
  }
}

/** "The checkpoint": the key, and what it signed. */
export function verifierKey(vkey) {
  const match = /^([^+\s]+)\+([0-9a-f]{8})\+(\S+)$/.exec(vkey.trim()) ?? refuse("the key is no vkey");
  const [, name, id, encoded] = match;
  const key = Buffer.from(encoded, "base64");
  if (key.length !== 33 || key[0] !== 1) refuse("the key is not of Ed25519");
  const found = sha256(name, "\n", key).subarray(0, 4).toString("hex");
  if (found !== id) refuse("the key's id does not match");
  const publicKey = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: key.subarray(1).toString("base64url") }, format: "jwk" });
  return { name, id, publicKey };
}

/** Opens a signed note that `key` signed as a checkpoint of its log. */
export function checkpoint(note, key) {
  const end = note.indexOf("\n\n");
  if (end < 0) refuse("not a signed note");
  const signed = note.slice(0, end + 1);
  const signatures = note.slice(end + 2).split("\n").map((line) => /^\u2014 (\S+) (\S+)$/.exec(line)).filter((match) => match !== null);
  const ours = signatures
    .map(([, name, value]) => ({ name, value: Buffer.from(value, "base64") }))
    .find(({ name, value }) => name === key.name && value.subarray(0, 4).toString("hex") === key.id);
  if (ours === undefined) refuse(`no signature by ${key.name}`);
  if (!verifySignature(null, Buffer.from(signed), key.publicKey, ours.value.subarray(4))) refuse(`bad signature by ${key.name}`);
  const [origin, size, root] = signed.split("\n");
  if (origin !== key.name) refuse(`the checkpoint is of ${origin}`);
  if (!/^(0|[1-9][0-9]*)$/.test(size)) refuse("the size is no number");
  return { origin, size: Number(size), root: Buffer.from(root, "base64") };
}

/** "Proof files": returns the record that the file proves. */
export function proof(file, key) {
  if (file.length > MAX_PROOF) refuse("the proof is too long");
  let told;
  try {
    told = JSON.parse(file.toString("utf8"));
  } catch {
    refuse("the proof is no JSON");
  }
  const wanted = ["checkpoint", "format", "inclusion_path", "leaf_index", "line", "tree_size"];
  if (JSON.stringify(Object.keys(told).sort()) !== JSON.stringify(wanted)) refuse("the proof has other members");
  if (told.format !== "fastmcp-audit-proof/v1") refuse("the proof is of another format");
  const signed = checkpoint(told.checkpoint, key);
  const line = Buffer.from(told.line, "utf8");
  const members = record(line);
  if (members.get("seq") !== BigInt(told.leaf_index)) refuse("leaf_index is not the record's seq");
  if (told.tree_size !== signed.size) refuse("tree_size is not the checkpoint's");
  const path = told.inclusion_path;
  if (!Array.isArray(path) || path.length > 64 || !path.every((hash) => /^[0-9a-f]{64}$/.test(hash))) refuse("inclusion_path is wrong");
  // RFC 9162, 2.1.3.2.
  let [index, last, hash] = [told.leaf_index, signed.size - 1, leafHash(line)];
  if (index > last) refuse("leaf_index is beyond the tree");
  for (const sibling of path.map((text) => Buffer.from(text, "hex"))) {
    if (last === 0) refuse("inclusion_path is too long");
    if (index % 2 === 1 || index === last) {
      hash = nodeHash(sibling, hash);
      while (index % 2 === 0 && index !== 0) [index, last] = [Math.floor(index / 2), Math.floor(last / 2)];
    } else {
      hash = nodeHash(hash, sibling);
    }
    [index, last] = [Math.floor(index / 2), Math.floor(last / 2)];
  }
  if (last !== 0 || !hash.equals(signed.root)) refuse("the path does not lead to the root");
  return members;
}

/** The lines of a file of records, as far as it counts. */
function linesOf(file) {
  const found = [];
  for (let start = 0; start < file.valid; ) {
    const end = file.bytes.indexOf(0x0a, start);
    if (end < 0 || end >= file.valid) refuse(`${file.name}: torn: its last line does not end`);
    found.push(file.bytes.subarray(start, end));
    start = end + 1;
  }
  return found;
}

/** "Room": what a file of records holds before the zeros at its end. */
function withoutRoom(bytes) {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end -= 1;
  return bytes.subarray(0, end);
}

/** "Files" and "Void bytes": the files of a log in the order of their records, and what they say of themselves. */
function survey(folder, size) {
  const files = [];
  for (const name of readdirSync(folder)) {
    if (!name.startsWith("audit-")) continue;
    const match = /^audit-(\d{8})(?:\.([1-9][0-9]*))?\.jsonl$/.exec(name) ?? refuse(`unexpected file ${name}`);
    const content = withoutRoom(readFileSync(join(folder, name)));
    if (content.length > 0) files.push({ name, day: match[1], bytes: content, valid: content.length });
  }
  const voids = new Map();
  let archived;
  for (const file of files) {
    const end = file.bytes.indexOf(0x0a);
    if (end < 0) continue;
    try {
      file.head = record(file.bytes.subarray(0, end));
    } catch {
      // The walk says what is wrong with it, unless another file declares it void.
      continue;
    }
    if (file.head.get("phase") !== "event" || file.head.get("status") !== "success") continue;
    const details = file.head.get("details") ?? new Map();
    if (file.head.get("action") === "audit.recovered") {
      for (const one of details.get("voided") ?? []) {
        const valid = Number(one.get("valid_bytes"));
        voids.set(one.get("segment"), Math.min(valid, voids.get(one.get("segment")) ?? valid));
      }
    }
    if (file.head.get("action") === "audit.archived") {
      const first = details.get("first_kept");
      const covered = file.head.get("seq") < BigInt(size);
      if (covered && (archived === undefined || first > archived.first)) archived = { first, prev: details.get("prev_hash"), seq: file.head.get("seq") };
    }
  }
  for (const file of files) file.valid = Math.min(file.valid, voids.get(file.name) ?? file.valid);
  const counted = files.filter((file) => file.valid > 0);
  for (const file of counted) if (file.head === undefined) linesOf(file).slice(0, 1).forEach(record);
  if (counted.some((file) => file.head === undefined)) refuse("a file begins with no record");
  const order = (one, other) => (one.head.get("seq") < other.head.get("seq") ? -1 : 1);
  return { files: counted.sort(order), archived };
}

/** The path of a tile of `width` hashes. */
function tilePath(level, index, width) {
  let path = String(index % 1000).padStart(3, "0");
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) path = `x${String(rest % 1000).padStart(3, "0")}/${path}`;
  return `tile/${level}/${path}${width === TILE ? "" : `.p/${width}`}`;
}

/** The hashes of a tile, from its file or from the full one that replaced it. */
function readTile(folder, level, index, width) {
  for (const name of [tilePath(level, index, width), tilePath(level, index, TILE)]) {
    try {
      const found = readFileSync(join(folder, name));
      return Array.from({ length: width }, (_, n) => found.subarray(32 * n, 32 * n + 32));
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
  }
  return refuse(`${tilePath(level, index, width)} is missing`);
}

/** Checks that the tiles of a tree are those of its leaves. */
function checkTiles(folder, leaves) {
  let hashes = leaves;
  for (let level = 0; hashes.length > 0; level += 1) {
    const above = [];
    for (let index = 0; index * TILE < hashes.length; index += 1) {
      const wanted = hashes.slice(index * TILE, (index + 1) * TILE);
      const found = readTile(folder, level, index, wanted.length);
      if (!wanted.every((hash, n) => hash.equals(found[n]))) refuse(`${tilePath(level, index, wanted.length)} is not what the records give`);
      if (wanted.length === TILE) {
        const tree = new Tree();
        wanted.forEach((hash) => tree.push(hash));
        above.push(tree.root());
      }
    }
    hashes = above;
  }
}

/** "Verifying a log". `kept` are checkpoints that were kept elsewhere, as notes. */
export function verifyLog(folder, key, kept = []) {
  const signed = checkpoint(readFileSync(join(folder, "checkpoint"), "utf8"), key);
  const { files, archived } = survey(folder, signed.size);
  const anchors = [signed, ...kept.map((note) => checkpoint(note, key))];
  const first = files[0]?.head.get("seq") ?? 0n;
  const tree = new Tree();
  const leaves = [];
  const reached = () => {
    for (const { size, root } of anchors) if (size === tree.size && !root.equals(tree.root())) refuse(`rewritten: the first ${size} records are not those that were signed`);
  };
  const grow = (leaf) => {
    reached();
    tree.push(leaf);
    if (leaves.length < signed.size) leaves.push(leaf);
  };
  let [next, prev] = [0n, ZERO];
  if (first > 0n) {
    if (archived === undefined || first > archived.first) refuse("records are missing at the beginning, and no signed record says that they were archived");
    for (let seq = 0; seq < Number(first); seq += TILE) {
      const width = Math.min(TILE, signed.size - seq);
      readTile(folder, 0, seq / TILE, width).slice(0, Number(first) - seq).forEach(grow);
    }
    next = first;
    prev = first === archived.first ? archived.prev : files[0].head.get("prev_hash");
  }
  for (const file of files) {
    linesOf(file).forEach((line, n) => {
      const where = `${file.name} line ${n + 1}`;
      let members;
      try {
        members = record(line);
      } catch (error) {
        refuse(`${where}: ${error.message}`);
      }
      if (members.get("seq") !== next) refuse(`${where}: expected seq ${next}`);
      if (members.get("prev_hash") !== prev) refuse(`${where}: prev_hash is not the event_hash before it`);
      if (day(members.get("ts")) !== file.day) refuse(`${where}: ts is not on the day of its file`);
      grow(leafHash(line));
      [next, prev] = [next + 1n, members.get("event_hash")];
    });
  }
  reached();
  for (const { size } of anchors) if (size > tree.size) refuse(`truncated: ${tree.size} records of ${size}`);
  checkTiles(folder, leaves);
  return { records: tree.size, archived: Number(first), size: signed.size };
}
