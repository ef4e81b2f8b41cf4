// Assertions that say what was expected, what came, and where.

/** A check that did not hold. */
export class CheckFailed extends Error {}

/** How much of an unexpected value an error prints, in characters. */
const SHOWN = 2000;

/** Renders any value for an error message, bounded. */
export function show(value) {
  const text = typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? String(value));
  return text.length > SHOWN ? `${text.slice(0, SHOWN)} ... (${text.length} characters)` : text;
}

/** Fails unless `condition` holds; `seen` is what there was instead. */
export function check(condition, expectation, seen) {
  if (!condition) {
    throw new CheckFailed(seen === undefined ? expectation : `${expectation}; got ${show(seen)}`);
  }
}

/** Runs one named step, so that a failure says which one it was. */
export async function step(name, body) {
  const started = performance.now();
  try {
    const value = await body();
    console.log(`  ok  ${name} (${Math.round(performance.now() - started)} ms)`);
    return value;
  } catch (error) {
    console.error(`  FAIL ${name}`);
    throw new CheckFailed(`${name}: ${error.message}`, { cause: error });
  }
}

/** Finds the first value under `key` anywhere inside `value`, the key of JSON inside text blocks included. */
export function find(value, key) {
  if (typeof value === "string") {
    try {
      const inner = JSON.parse(value);
      return inner !== null && typeof inner === "object" ? find(inner, key) : undefined;
    } catch {
      return undefined;
    }
  }
  if (value === null || typeof value !== "object") return undefined;
  if (!Array.isArray(value) && Object.hasOwn(value, key)) return value[key];
  for (const inner of Object.values(value)) {
    const found = find(inner, key);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The error object of a refused or failed call (`structuredContent.error`). */
export function refusal(result) {
  check(result?.isError === true, "expected a tool result with isError: true", result);
  const error = result.structuredContent?.error;
  check(typeof error?.code === "string", "expected structuredContent.error.code", result);
  check(typeof error.message === "string" && error.message !== "", "expected structuredContent.error.message", error);
  check(typeof error.corr_id === "string" && error.corr_id !== "", "expected structuredContent.error.corr_id", error);
  return error;
}

/** Runs a script's body: prints a last line and sets the exit code. */
export async function main(name, body) {
  try {
    await body();
    console.log(`${name}: passed`);
  } catch (error) {
    console.error(`${name}: FAILED: ${error instanceof CheckFailed ? error.message : (error.stack ?? error)}`);
    process.exitCode = 1;
  }
}
