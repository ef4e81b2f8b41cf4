#!/usr/bin/env python3
"""Measures what a user of the framework meets besides a server over HTTP: a call within the process, what
each layer adds to it, and the start of an example.

    bench/framework.py [--rounds 15] [--calls 20000] [--starts 20] [--profile release|gate] [--no-build]

`in-memory` calls a tool through `Client::connect(&server)` in one process on one thread: an async one and an
inline one, through each built-in layer, beside ten layers that are around something else, and by hand
(`src/by_hand.rs`). Each is a process of its own, as a user's server is: two dozen of them in one heap cost one
another a third of the time. In each round every one of them has a short turn, one after the other on one core,
so that a busy neighbour falls on all of them; CPU is counted, by the thread's own clock. What a layer costs is
the difference of two medians, beside the middle half of the differences within each round; and instructions and
allocations by callgrind, which no neighbour changes. `bench-server` is started again and again: how long until
its first answer over HTTP, what CPU that took, and what is resident afterwards. Writes the section `framework`
of bench/RESULTS.md. BENCH_TARGET_DIR: where to build. `--no-calls`: the starts alone. `--json FILE`: everything
that was measured, too.
"""

import argparse
import json
import os
import pathlib
import re
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
CORE = {harness.CORES[-1]}


def build(target, profile):
    command = ["cargo", "build", "--locked", "--profile", profile, "--bin", "in-memory", "--bin", "bench-server"]
    subprocess.run([*command, "--target-dir", target], cwd=HERE, check=True)


def in_memory(folder, *options):
    """What `in-memory` prints, alone on its core."""
    done = subprocess.run(
        [folder / "in-memory", *options],
        check=True,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, CORE),
    )
    return json.loads(done.stdout)


def calls(folder, options):
    """Microseconds of CPU for each call, of each way, round by round."""
    seen = {way: [] for way in in_memory(folder)}
    for _ in range(options.rounds):
        for way, turns in seen.items():
            (nanos,) = in_memory(folder, "--only", way, "--calls", str(options.calls))
            turns.append(nanos / 1e3)
    return seen


def allocations(lines):
    """How often memory was asked for, in a profile of callgrind: it names a function once and numbers it."""
    names, asked, callee = {}, 0, ""
    for line in lines:
        if found := re.match(r"c?fn=\((\d+)\)(?: (.*))?", line):
            number, name = found.groups()
            if name:
                names[number] = name
            if line.startswith("cfn"):
                callee = names[number]
        elif line.startswith("calls=") and re.fullmatch(r"(malloc|calloc|realloc|posix_memalign)('\d+)?", callee):
            asked += int(line.removeprefix("calls=").split()[0])
    return asked


def counted(folder, way):
    """Instructions of one call in user space, and how often it asks for memory."""
    totals = []
    for number in (FEW, MANY):
        with tempfile.NamedTemporaryFile(prefix="bench-") as profile:
            command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile.name}"]
            command += [folder / "in-memory", "--only", way, "--calls", str(number)]
            subprocess.run(command, check=True, capture_output=True)
            lines = pathlib.Path(profile.name).read_text().splitlines()
            summary = [line.split()[1] for line in lines if line.startswith(("summary:", "totals:"))]
            totals.append((int(summary[-1]), allocations(lines)))
    # A tenth more than was asked for: they warm up.
    number = (MANY - FEW) * 1.1
    return [(many - few) / number for few, many in zip(*totals)]


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
    return "met" if value < most else "**missed**"


def added(seen, way):
    """What a way adds to `add`: the difference of their medians."""
    return statistics.median(seen[way]) - statistics.median(seen["add"])


def spread(seen, way):
    """The middle half of what it added within each round."""
    within = sorted(one - plain for one, plain in zip(seen[way], seen["add"]))
    quarter = len(within) // 4
    return f"{within[quarter]:.2f} to {within[-1 - quarter]:.2f}"


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


def rows_of_tools(seen, costs):
    by_hand = statistics.median(seen["by-hand"])
    for way, what in TOOLS.items():
        median, (instructions, asked) = statistics.median(seen[way]), costs[way]
        row = [what, f"**{median:.2f}**", f"{min(seen[way]):.2f}", f"{median / by_hand:.2f}"]
        yield [*row, f"{instructions:,.0f}", f"{asked:.0f}"]


def rows_of_layers(seen, costs):
    ways = [way for way in [*seen] if way.startswith(LAYER) or way == "ten-elsewhere"]
    for way in sorted(ways, key=lambda way: -costs[way][0]):
        name = way.removeprefix(LAYER)
        what = "ten around prompts" if name == way else f"`{name}`"
        what += ", which writes a line" if name in WRITE else ""
        more = [cost - plain for cost, plain in zip(costs[way], costs["add"])]
        row = [what, f"**{added(seen, way):.2f}**", spread(seen, way), f"{statistics.median(seen[way]):.2f}"]
        yield [*row, f"{more[0]:,.0f}", f"{more[1]:.0f}"]


def report(seen, costs, starts, loads, options):
    took, ran, resident = ([one[at] for one in starts] for at in range(3))
    wall = statistics.median(took)
    yield "## Within the process, and at the start"
    rounds = f"{options.rounds} interleaved rounds, each way a process of {options.calls:,} calls on one core, "
    yield (
        f"{harness.setting(loads)}\nRepeat with `bench/framework.py --profile {options.profile}`: "
        f"{rounds if seen else ''}{options.starts} starts; medians, and the least of all."
    )
    met = list(targets(seen)) if seen else []
    met.append(f"start to the first answer: {wall:.1f} ms, less than {START_MS:.0f} wanted: {verdict(wall, START_MS)}.")
    most = max(resident)
    met.append(f"resident afterwards: {most:.1f} MiB, less than {RESIDENT_MIB:.0f} wanted: {verdict(most, RESIDENT_MIB)}.")
    yield "### Targets\n\n" + "\n".join(f"- {target}" for target in met)
    if seen:
        head = ["`call_tool` through `Client::connect(&server)`", "CPU µs/call", "least", "/ by hand"]
        yield harness.table([*head, "instructions", "allocations"], rows_of_tools(seen, costs))
        head = ["layers around `add`", "add CPU µs", "middle half of the rounds", "CPU µs/call"]
        yield harness.table([*head, "add instructions", "allocations"], rows_of_layers(seen, costs))
    row = [f"**{wall:.1f}**", f"{min(took):.1f}", f"{statistics.median(ran):.1f}", f"{most:.1f}"]
    head = ["start", "ms to the first answer", "least", "ms of CPU", "RSS MiB"]
    yield harness.table(head, [["`bench-server`, over HTTP", *row]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--profile", default="release")
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--no-calls", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    target = pathlib.Path(os.environ.get("BENCH_TARGET_DIR", HERE / "target"))
    if not options.no_build:
        build(target, options.profile)
    folder = target / options.profile
    before = os.getloadavg()[0]
    seen = {} if options.no_calls else calls(folder, options)
    starts = [start(folder) for _ in range(options.starts)]
    loads = (before, os.getloadavg()[0])
    costs = {way: counted(folder, way) for way in seen}
    if options.json:
        options.json.write_text(json.dumps({"microseconds": seen, "counted": costs, "starts": starts}))
    text = "\n\n".join(report(seen, costs, starts, loads, options))
    harness.write_section("framework", text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"framework.py: {failed}")
