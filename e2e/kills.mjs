// The gateway is killed with SIGKILL under load, again and again, on one data folder. Afterwards every effect has an
// intent in the audit log, no ticketed or keyed call had its effect twice, what was acknowledged is there, and the log
// verifies, here and by code that is not the gateway's.
// Run with: node kills.mjs --binary ../target/ci/fastmcp [--kills 100] [--seed N]

import { execFile } from "node:child_process";
import { copyFileSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

import { verifierKey, verifyLog } from "./audit-log.mjs";
import { check, main, step } from "./check.mjs";
import { Gateway } from "./gateway.mjs";
import { number, programs } from "./program.mjs";

const run = promisify(execFile);
/** Calls under way at the same time. */
const WORKERS = 8;
/** The most answers of one life. */
const MOST_ANSWERS = 32;
/** The longest time between the last of them and the kill, in milliseconds: less than a call takes. */
const LONGEST_PAUSE = 6;
/** How long an answer may take, in milliseconds. */
const PATIENCE = 60_000;
/** How often a call is repeated that was left in doubt, over all runs. */
const REPEATS = 3;
/** How many lives a caller has. A ticket that a kill kept from its caller awaits confirmation until it expires, and a caller
    may have 100 of those. */
const LIVES = 100;

/** A gateway whose limits are out of the way. */
class Victim extends Gateway {
  /** More settings, for the next start. */
  more = {};

  get environment() {
    return { ...super.environment, RATE_LIMIT_DEFAULT_RPS: "100000", RATE_BUCKET_BURST: "100000", LOG_LEVEL: "error", ...this.more };
  }
}

/** Small, and the same for the same seed: what went wrong can be done again. Source: mulberry32, T. Ettinger. */
function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One call that has an effect, over all its tries: by ticket, or by key. */
class Work {
  action = undefined;
  acknowledged = false;
  tries = 0;

  constructor(id, token, ticketed) {
    this.id = id;
    this.token = token;
    this.ticketed = ticketed;
  }

  get arguments() {
    return this.ticketed
      ? { name: this.id, budget: 10, startDate: "2026-03-01" }
      : { query: "INSERT INTO orders (customer_id, status, ordered_at) VALUES (1, 'pending', ?)", params: [this.id] };
  }

  /** Takes it as far as it gets; throws when the gateway is gone. */
  async go(gateway) {
    this.tries += 1;
    if (!this.ticketed) return this.#settle(await this.#send(gateway, "database:executeQuery/invoke", this.arguments, { "idempotency-key": this.id }));
    if (this.action === undefined) {
      const asked = await this.#send(gateway, "ads:createCampaign/invoke", this.arguments, {});
      check(asked.status === 202, `a ticket for ${this.id}`, asked);
      this.action = asked.body.action_token;
    }
    this.#settle(await this.#send(gateway, "ads:createCampaign/confirm", { ...this.arguments, action_token: this.action }, {}));
  }

  #settle({ status, body }) {
    const told = body?.error?.details?.status;
    // Done; done before and said so; under way or in doubt since a kill, which only a person settles.
    const fits = status === 200 || (status === 409 && this.tries > 1);
    check(fits, `an answer to ${this.id}, try ${this.tries}`, { status, body });
    if (status === 200 || told === "completed") this.acknowledged = true;
  }

  async #send(gateway, path, body, headers) {
    const reply = await fetch(new URL(`/tools/${path}`, gateway.url), {
      method: "POST",
      headers: { authorization: `Bearer ${this.token}`, "content-type": "application/json", "x-correlation-id": this.id, ...headers },
      body: JSON.stringify(body),
      // A gateway that hangs is a failure, not a wait without end.
      signal: AbortSignal.timeout(PATIENCE),
    });
    return { status: reply.status, body: await reply.json() };
  }
}

/** Works until the gateway is gone. What it takes up is kept in `all`, what is left in doubt in `doubtful`. */
async function work(gateway, all, doubtful, answered) {
  for (;;) {
    const again = doubtful.find((one) => one.tries < REPEATS);
    const one = again ?? new Work(`e-${all.length}`, gateway.token, all.length % 2 === 0);
    if (again === undefined) all.push(one);
    else doubtful.splice(doubtful.indexOf(again), 1);
    try {
      await one.go(gateway);
      answered();
    } catch (error) {
      // `fetch` fails with a TypeError when the connection does.
      if (!(error instanceof TypeError) && error.name !== "SyntaxError") throw error;
      doubtful.push(one);
      return;
    }
  }
}

/** One life: from its start to its kill, after so many answers and a moment. */
async function life(gateway, all, doubtful, next) {
  let left = Math.floor(next() * MOST_ANSWERS);
  const pause = next() * LONGEST_PAUSE;
  await gateway.start();
  let enough;
  const lived = new Promise((settle) => (enough = settle));
  const answered = () => {
    left -= 1;
    if (left <= 0) enough();
  };
  if (left === 0) enough();
  const workers = Promise.all(Array.from({ length: WORKERS }, () => work(gateway, all, doubtful, answered)));
  const killed = Promise.race([lived, workers]).then(async () => {
    await new Promise((settle) => setTimeout(settle, pause));
    await gateway.kill();
  });
  await Promise.all([workers, killed]);
}

/** Every record of the log. */
function records(folder) {
  const files = readdirSync(folder).filter((name) => name.startsWith("audit-"));
  const lines = files.flatMap((name) => readFileSync(join(folder, name), "utf8").split("\n"));
  return lines.flatMap((line) => {
    try {
      return [JSON.parse(line)];
    } catch {
      // What a kill left of a line; the log says that it is void.
      return [];
    }
  });
}

/** How often each effect happened, read through the gateway from the file that it happened in. */
async function effects(gateway, query) {
  const reply = await fetch(new URL("/tools/database:executeQuery/invoke", gateway.url), {
    method: "POST",
    headers: { authorization: `Bearer ${gateway.token}`, "content-type": "application/json" },
    body: JSON.stringify({ query }),
    signal: AbortSignal.timeout(PATIENCE),
  });
  const body = await reply.json();
  check(reply.status === 200 && Array.isArray(body.result?.rows), "rows", body);
  check(body.result.truncated !== true, "all rows", body.result.truncated);
  return new Map(body.result.rows.map((row) => [row.id, row.n]));
}

await main("kills", async () => {
  const [binary] = programs("binary");
  const kills = number("kills", 100);
  const seed = number("seed", Date.now() % 2 ** 31);
  const next = random(seed);
  const gateway = new Victim(binary);
  gateway.more = { DATABASE_MAX_ROWS: "1000000" };
  const [all, doubtful] = [[], []];
  try {
    await gateway.start();
    const callers = [];
    for (let n = 0; n < kills; n += LIVES) {
      callers.push(await gateway.mint(`worker-${callers.length}`, "data-admin", "finance-write", "--ttl", "12h"));
    }
    await gateway.stop();
    await step(`${kills} kills (seed ${seed})`, async () => {
      for (let n = 0; n < kills; n += 1) {
        gateway.token = callers[Math.floor(n / LIVES)];
        await life(gateway, all, doubtful, next);
      }
    });
    console.log(`  ${all.length} calls, ${all.filter((one) => one.acknowledged).length} acknowledged, ${all.filter((one) => one.tries > 1).length} repeated`);

    await gateway.start();
    const rows = await effects(gateway, "SELECT ordered_at AS id, count(*) AS n FROM orders WHERE ordered_at LIKE 'e-%' GROUP BY 1");
    await gateway.stop();
    // The ticketed calls act in a database of their own: the gateway reads it as its own for a moment.
    const copy = join(gateway.folder, "campaigns.db");
    copyFileSync(join(gateway.folder, "ads.db"), copy);
    gateway.more = { ...gateway.more, DATABASE_PATH: copy };
    await gateway.start();
    const campaigns = await effects(gateway, "SELECT name AS id, count(*) AS n FROM campaigns GROUP BY 1");
    await gateway.stop();

    const written = records(join(gateway.folder, "audit"));
    const intents = new Set(written.filter((one) => one.phase === "intent").map((one) => one.corr_id));
    const outcomes = new Set(written.filter((one) => one.phase === "outcome").map((one) => one.corr_id));
    const happened = (one) => (one.ticketed ? campaigns : rows).get(one.id) ?? 0;
    await step("no effect without an intent", () => {
      const without = [...rows.keys(), ...campaigns.keys()].filter((id) => !intents.has(id));
      check(without.length === 0, "every effect has its intent", without);
    });
    await step("no effect twice", () => {
      const twice = [...rows, ...campaigns].filter(([, n]) => n !== 1);
      check(twice.length === 0, "every effect happened once", twice);
    });
    await step("what was acknowledged happened, and is recorded", () => {
      const lost = all.filter((one) => one.acknowledged && (happened(one) !== 1 || !intents.has(one.id)));
      check(lost.length === 0, "every acknowledged call had its effect", lost);
      const unsaid = all.filter((one) => one.acknowledged && one.tries === 1 && !outcomes.has(one.id));
      check(unsaid.length === 0, "every acknowledged call has its outcome", unsaid);
      check(all.filter((one) => one.acknowledged && one.ticketed).length >= kills, "enough was confirmed between the kills", all.length);
    });
    await step("the log verifies", async () => {
      const key = verifierKey(readFileSync(join(gateway.folder, "audit.vkey"), "utf8"));
      verifyLog(join(gateway.folder, "audit"), key);
      const recovered = written.filter((one) => one.action === "audit.recovered").length;
      check(recovered >= kills / 2, "kills left their record", recovered);
      await run(binary, ["audit", "verify", "--data-dir", gateway.folder], { cwd: gateway.folder, env: gateway.environment });
    });
  } catch (error) {
    console.error(`--- the gateway's last output ---\n${gateway.log()}\n---`);
    throw error;
  } finally {
    gateway.discard();
  }
});
