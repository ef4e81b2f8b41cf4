#!/usr/bin/env python3
"""Measures what a user of the framework meets besides a server over HTTP: a call within the process, and
the start of an example.

    bench/framework.py [--rounds 5] [--calls 100000] [--starts 20] [--profile release|gate] [--no-build]

`in-memory` calls a tool through `Client::connect(&server)`, an async one and an inline one, in turn; its
CPU, and its instructions by callgrind. `demo`, the example of that name, is started again and again: how
long until its first answer on standard output, what CPU that took, and what is resident afterwards. Writes
the section `framework` of bench/RESULTS.md. BENCH_TARGET_DIR: where to build.
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
    command = ["cargo", "build", "--profile", profile, "--bin", "in-memory", "--bin", "demo"]
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
    """Starts the example once: milliseconds to its answer, milliseconds of CPU for it, resident MiB."""
    request = (HERE / "requests/start.json").read_bytes()
    began = time.perf_counter()
    with subprocess.Popen([folder / "demo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(request)
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        took = time.perf_counter() - began
        proc = pathlib.Path(f"/proc/{process.pid}")
        # All its threads: each has a clock of its own.
        ran = sum(int((task / "schedstat").read_text().split()[0]) for task in (proc / "task").iterdir())
        resident = next(line for line in (proc / "status").read_text().splitlines() if line.startswith("VmRSS:"))
        process.stdin.close()
    if answer.get("result", {}).get("structuredContent") != {"result": 8}:
        raise Failed(f"demo answers {answer}")
    return took * 1e3, ran / 1e6, int(resident.split()[1]) / 1024


def verdict(value, most):
    return "met" if value <= most else "**missed**"


def report(calls, counted, starts, loads, options):
    rows = []
    for tool, label in TOOLS.items():
        median, least = statistics.median(calls[tool]), min(calls[tool])
        rows.append([label, f"**{median:.2f}**", f"{least:.2f}", f"{counted[tool]:,.0f}"])
    worst = max(statistics.median(calls[tool]) for tool in TOOLS)
    took, ran, resident = ([one[at] for one in starts] for at in range(3))
    wall = statistics.median(took)
    yield "## Within the process, and at the start"
    yield (
        f"{harness.setting(loads)}\nRepeat with `bench/framework.py --profile {options.profile}`: "
        f"{options.rounds} interleaved rounds of {options.calls:,} calls, {options.starts} starts, profile "
        f"`{options.profile}`; medians, and the least of all."
    )
    yield (
        "### Targets\n\n"
        f"- CPU of `call_tool` in memory: {worst:.2f} µs, less than {CALL_US:.0f} wanted: {verdict(worst, CALL_US)}.\n"
        f"- start of `demo` to its first answer: {wall:.1f} ms, less than {START_MS:.0f} wanted: "
        f"{verdict(wall, START_MS)}.\n"
        f"- resident afterwards: {max(resident):.1f} MiB, less than {RESIDENT_MIB:.0f} wanted: "
        f"{verdict(max(resident), RESIDENT_MIB)}."
    )
    head = ["`call_tool` through `Client::connect(&server)`", "CPU µs/call", "least", "instructions"]
    yield harness.table(head, rows)
    row = [f"{wall:.1f}", f"{min(took):.1f}", f"{statistics.median(ran):.1f}", f"{max(resident):.1f}"]
    head = ["start of `demo`", "ms to the first answer", "least", "ms of CPU", "RSS MiB"]
    yield harness.table(head, [["standard input and output", *row]])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--profile", default="release")
    parser.add_argument("--no-build", action="store_true")
    options = parser.parse_args()
    target = pathlib.Path(os.environ.get("BENCH_TARGET_DIR", HERE / "target"))
    if not options.no_build:
        build(target, options.profile)
    folder = target / options.profile
    before = os.getloadavg()[0]
    calls = {tool: [] for tool in TOOLS}
    for _ in range(options.rounds):
        for tool, seen in calls.items():
            seen.append(call(folder, tool, options.calls))
    starts = [start(folder) for _ in range(options.starts)]
    loads = (before, os.getloadavg()[0])
    counted = {tool: instructions(folder, tool) for tool in TOOLS}
    text = "\n\n".join(report(calls, counted, starts, loads, options))
    harness.write_section("framework", text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"framework.py: {failed}")
