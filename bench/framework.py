#!/usr/bin/env python3
"""Measures what a user of the framework meets besides a server over HTTP: a call within the process, and
the start of an example.

    bench/framework.py [--rounds 5] [--calls 100000] [--starts 20] [--profile release|gate] [--no-build]

`in-memory` calls a tool through `Client::connect(&server)`, an async one and an inline one, in turn; its
CPU, and its instructions by callgrind. `bench-server` is started again and again: how long until its first
answer over HTTP, what CPU that took, and what is resident afterwards. Writes the section `framework` of
bench/RESULTS.md. BENCH_TARGET_DIR: where to build. `--no-calls`: the starts alone.
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

TOOLS = {"add": "`async fn add`", "add-inline": "`#[tool(inline)] fn add`"}
# What was set out for.
CALL_US = 5.0
START_MS = 20.0
RESIDENT_MIB = 12.0
# The difference of two runs holds no start.
FEW, MANY = 500, 2_500


def build(target, profile):
    command = ["cargo", "build", "--profile", profile, "--bin", "in-memory", "--bin", "bench-server"]
    subprocess.run([*command, "--target-dir", target], cwd=HERE, check=True)


def call(folder, tool, calls):
    """Microseconds of CPU for each call."""
    command = [folder / "in-memory", "--tool", tool, "--calls", str(calls)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout) / 1e3


def instructions(folder, tool):
    """Instructions of one call, in user space."""
    counted = []
    for calls in (FEW, MANY):
        with tempfile.NamedTemporaryFile(prefix="bench-") as profile:
            command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile.name}"]
            command += [folder / "in-memory", "--tool", tool, "--calls", str(calls)]
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


def report(calls, counted, starts, loads, options):
    took, ran, resident = ([one[at] for one in starts] for at in range(3))
    wall = statistics.median(took)
    yield "## Within the process, and at the start"
    rounds = f"{options.rounds} interleaved rounds of {options.calls:,} calls, " if calls else ""
    yield (
        f"{harness.setting(loads)}\nRepeat with `bench/framework.py --profile {options.profile}`: {rounds}"
        f"{options.starts} starts; medians, and the least of all."
    )
    targets = []
    if calls:
        worst = max(statistics.median(seen) for seen in calls.values())
        met = verdict(worst, CALL_US)
        targets.append(f"CPU of `call_tool` in memory: {worst:.2f} µs, less than {CALL_US:.0f} wanted: {met}.")
    met = verdict(wall, START_MS)
    targets.append(f"start to the first answer: {wall:.1f} ms, less than {START_MS:.0f} wanted: {met}.")
    most = max(resident)
    met = verdict(most, RESIDENT_MIB)
    targets.append(f"resident afterwards: {most:.1f} MiB, less than {RESIDENT_MIB:.0f} wanted: {met}.")
    yield "### Targets\n\n" + "\n".join(f"- {target}" for target in targets)
    if calls:
        rows = []
        for tool, seen in calls.items():
            row = [f"**{statistics.median(seen):.2f}**", f"{min(seen):.2f}", f"{counted[tool]:,.0f}"]
            rows.append([TOOLS[tool], *row])
        head = ["`call_tool` through `Client::connect(&server)`", "CPU µs/call", "least", "instructions"]
        yield harness.table(head, rows)
    row = [f"**{wall:.1f}**", f"{min(took):.1f}", f"{statistics.median(ran):.1f}", f"{most:.1f}"]
    head = ["start", "ms to the first answer", "least", "ms of CPU", "RSS MiB"]
    yield harness.table(head, [["`bench-server`, over HTTP", *row]])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=100_000)
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
    calls = {} if options.no_calls else {tool: [] for tool in TOOLS}
    for _ in range(options.rounds):
        for tool, seen in calls.items():
            seen.append(call(folder, tool, options.calls))
    starts = [start(folder) for _ in range(options.starts)]
    loads = (before, os.getloadavg()[0])
    counted = {tool: instructions(folder, tool) for tool in calls}
    text = "\n\n".join(report(calls, counted, starts, loads, options))
    harness.write_section("framework", text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"framework.py: {failed}")
