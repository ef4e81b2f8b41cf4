#!/usr/bin/env python3
"""Measures what a user of the framework meets besides a server over HTTP: a call within the process, what
each layer adds to it, and the start of an example.

    bench/framework.py [--rounds 7] [--calls 20000] [--starts 20] [--profile release|gate] [--no-build]

`in-memory` calls a tool through `Client::connect(&server)` in one process on one thread: an async one and an
inline one, through each built-in layer, beside ten layers that are around something else, and by hand
(`src/by_hand.rs`). All have their turn in each round, so that a busy neighbour falls on all of them; CPU is
counted, by the thread's own clock, and instructions of some by callgrind. `bench-server` is started again and
again: how long until its first answer over HTTP, what CPU that took, and what is resident afterwards. Writes
the section `framework` of bench/RESULTS.md. BENCH_TARGET_DIR: where to build. `--no-calls`: the starts alone.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import harness
from harness import HERE, Failed

TOOLS = {
    "by-hand": "by hand: JSON-RPC both ways, a boxed future, nothing else",
    "add": "`async fn add`",
    "add-inline": "`#[tool(inline)] fn add`",
    "ten-elsewhere": "`async fn add`, beside ten layers around prompts",
}
LAYER = "layer:"
# Layers that write, or hand to who writes, a line for each call; nobody reads it here.
WRITE = {"audit", "detailed-timing", "logging", "structured-logging", "timing"}
# What was set out for.
CALL_US = 5.0
LAYER_US = 1.0
TEN_US = 0.2
START_MS = 20.0
RESIDENT_MIB = 12.0
# The difference of two runs holds no start.
FEW, MANY = 500, 2_500


def build(target, profile):
    command = ["cargo", "build", "--profile", profile, "--bin", "in-memory", "--bin", "bench-server"]
    subprocess.run([*command, "--target-dir", target], cwd=HERE, check=True)


def calls(folder, options):
    """Microseconds of CPU for each call, of each way, round by round."""
    command = [folder / "in-memory", "--rounds", str(options.rounds), "--calls", str(options.calls)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {way: [nanos / 1e3 for nanos in seen] for way, seen in json.loads(done.stdout).items()}


def instructions(folder, way):
    """Instructions of one call, in user space."""
    counted = []
    for number in (FEW, MANY):
        with tempfile.NamedTemporaryFile(prefix="bench-") as profile:
            command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile.name}"]
            command += [folder / "in-memory", "--only", way, "--rounds", "1", "--calls", str(number)]
            subprocess.run(command, check=True, capture_output=True)
            lines = pathlib.Path(profile.name).read_text().splitlines()
            totals = [line.split()[1] for line in lines if line.startswith(("summary:", "totals:"))]
            counted.append(int(totals[-1]))
    # A tenth more than was asked for: they warm up.
    return (counted[1] - counted[0]) / ((MANY - FEW) * 1.1)


def start(folder):
    """Starts the server once: milliseconds to its first answer, milliseconds of CPU for it, resident MiB."""
    began = time.perf_counter()
    command = [folder / "bench-server", "--bind", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().removeprefix("listening on ").strip()
            status, body, _ = harness.exchange(url, "/mcp", "modern-add")
            took = time.perf_counter() - began
            proc = pathlib.Path(f"/proc/{process.pid}")
            # Each of its threads has a clock of its own.
            ran = sum(int((task / "schedstat").read_text().split()[0]) for task in (proc / "task").iterdir())
            lines = (proc / "status").read_text().splitlines()
            resident = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
        finally:
            process.terminate()
    if status != 200 or json.loads(body)["result"]["structuredContent"] != {"result": 8}:
        raise Failed(f"the server answers {status}: {body}")
    return took * 1e3, ran / 1e6, resident / 1024


def verdict(value, most):
    return "met" if value <= most else "**missed**"


def added(seen, way):
    """What a way adds to `add`: the median of the differences within each round."""
    return statistics.median(one - plain for one, plain in zip(seen[way], seen["add"]))


def targets(seen):
    """What was set out for, of calls."""
    worst = max(statistics.median(seen[way]) for way in ("add", "add-inline"))
    yield f"CPU of `call_tool` in memory: {worst:.2f} µs, less than {CALL_US:.0f} wanted: {verdict(worst, CALL_US)}."
    layers = [way for way in seen if way.startswith(LAYER) and way.removeprefix(LAYER) not in WRITE]
    dearest = max(layers, key=lambda way: added(seen, way))
    most = added(seen, dearest)
    yield (
        f"a built-in layer that writes nothing adds at most {most:.2f} µs (`{dearest.removeprefix(LAYER)}`), "
        f"less than {LAYER_US:.0f} wanted: {verdict(most, LAYER_US)}."
    )
    ten = added(seen, "ten-elsewhere")
    yield f"ten layers without the hook add {ten * 1e3:.0f} ns, less than {TEN_US * 1e3:.0f} wanted: {verdict(ten, TEN_US)}."


def rows_of_tools(seen, counted):
    by_hand = statistics.median(seen["by-hand"])
    for way, what in TOOLS.items():
        median = statistics.median(seen[way])
        yield [what, f"**{median:.2f}**", f"{min(seen[way]):.2f}", f"{median / by_hand:.2f}", f"{counted[way]:,.0f}"]


def rows_of_layers(seen):
    for way in sorted((way for way in seen if way.startswith(LAYER)), key=lambda way: -added(seen, way)):
        name = way.removeprefix(LAYER)
        what = f"`{name}`, which writes a line" if name in WRITE else f"`{name}`"
        yield [what, f"**{added(seen, way):.2f}**", f"{statistics.median(seen[way]):.2f}"]


def report(seen, counted, starts, loads, options):
    took, ran, resident = ([one[at] for one in starts] for at in range(3))
    wall = statistics.median(took)
    yield "## Within the process, and at the start"
    rounds = f"{options.rounds} interleaved rounds of {options.calls:,} calls, " if seen else ""
    yield (
        f"{harness.setting(loads)}\nRepeat with `bench/framework.py --profile {options.profile}`: {rounds}"
        f"{options.starts} starts; medians, and the least of all."
    )
    met = list(targets(seen)) if seen else []
    met.append(f"start to the first answer: {wall:.1f} ms, less than {START_MS:.0f} wanted: {verdict(wall, START_MS)}.")
    most = max(resident)
    met.append(f"resident afterwards: {most:.1f} MiB, less than {RESIDENT_MIB:.0f} wanted: {verdict(most, RESIDENT_MIB)}.")
    yield "### Targets\n\n" + "\n".join(f"- {target}" for target in met)
    if seen:
        head = ["`call_tool` through `Client::connect(&server)`", "CPU µs/call", "least", "/ by hand", "instructions"]
        yield harness.table(head, rows_of_tools(seen, counted))
        yield harness.table(["a layer around `add`", "adds CPU µs", "CPU µs/call"], rows_of_layers(seen))
    row = [f"**{wall:.1f}**", f"{min(took):.1f}", f"{statistics.median(ran):.1f}", f"{most:.1f}"]
    head = ["start", "ms to the first answer", "least", "ms of CPU", "RSS MiB"]
    yield harness.table(head, [["`bench-server`, over HTTP", *row]])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--profile", default="release")
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--no-calls", action="store_true")
    options = parser.parse_args()
    target = pathlib.Path(os.environ.get("BENCH_TARGET_DIR", HERE / "target"))
    if not options.no_build:
        build(target, options.profile)
    folder = target / options.profile
    before = os.getloadavg()[0]
    seen = {} if options.no_calls else calls(folder, options)
    starts = [start(folder) for _ in range(options.starts)]
    loads = (before, os.getloadavg()[0])
    counted = {way: instructions(folder, way) for way in TOOLS} if seen else {}
    text = "\n\n".join(report(seen, counted, starts, loads, options))
    harness.write_section("framework", text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"framework.py: {failed}")
