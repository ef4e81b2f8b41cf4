#!/usr/bin/env python3
"""Measures a call of a tool: this framework, raw axum, raw hyper and rmcp, side by side.

    bench/run.py [--rounds 5] [--seconds 2] [--tool echo|add] [--no-instructions] [--no-build]

Builds the servers (profile `release`), proves that they give the same answers, loads them in turn,
round by round (A B C D A B C D ...), and writes the section `servers` of bench/RESULTS.md: medians,
and the least CPU of all rounds. BENCH_TARGET_DIR: where to build. Installs wrk from Debian where it is missing and we are root.
"""

import argparse
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys

import harness
from harness import HERE, Failed, Server

# The binary, and what it is called. The first is ours, the second the yardstick.
SERVERS = {
    "bench-server": "this framework",
    "raw-axum": "raw axum",
    "raw-hyper": "raw hyper",
    "rmcp-server": "rmcp 3.9.0",
}
PEER = "rmcp-server"
ERAS = {"modern": "2026-07-28", "legacy": "2025-11-25"}
CONNECTIONS = (1, 32)
PATH = "/mcp"


def build(target):
    command = ["cargo", "build", "--release", "--features", "peers", "--bins", "--target-dir", target]
    subprocess.run(command, cwd=HERE, check=True)
    return target / "release"


def verify(servers, tool):
    """All servers give the same answer; how long each one's response is."""
    sizes = {}
    for era in ERAS:
        answers = {}
        for name, server in servers.items():
            status, body, size = harness.exchange(server.url, PATH, f"{era}-{tool}")
            if status != 200:
                raise Failed(f"{name} answers {era} with {status}: {body}")
            answers[name], sizes[name, era] = json.loads(body), size
        for name, answer in answers.items():
            ours = dict(answers["bench-server"]["result"])
            if name == PEER:
                # `_meta` is the framework's own and no part of what the tool says.
                ours.pop("_meta")
            if answer.get("result") != ours:
                raise Failed(f"{name} does not answer {era} as bench-server does:\n  {answer}\n  {ours}")
    return sizes


def instructions(folder, name, era, tool):
    command = [HERE / "instructions.sh", folder / "bench-client", folder / name, HERE / f"requests/{era}-{tool}.http"]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def rounds(servers, sizes, options):
    """Every server under every load, in turn, round by round."""
    seen = {}
    cells = list(itertools.product(ERAS, CONNECTIONS))
    for era, name in itertools.product(ERAS, servers):
        harness.load(servers[name].url, PATH, f"{era}-{options.tool}", max(CONNECTIONS), 1)
    for nth in range(options.rounds):
        print(f"round {nth + 1} of {options.rounds}", file=sys.stderr)
        for (era, connections), name in itertools.product(cells, servers):
            request = f"{era}-{options.tool}"
            size = sizes[name, era]
            figures = harness.measure(servers[name], PATH, request, connections, options.seconds, size)
            seen.setdefault((era, connections, name), []).append(figures)
    return seen


def median(seen, cell, figure):
    return statistics.median(one[figure] for one in seen[cell])


def least(seen, cell):
    return min(one["cpu"] for one in seen[cell])


def report_loads(seen):
    for era, revision in ERAS.items():
        for connections in CONNECTIONS:
            noun = "connection" if connections == 1 else "connections"
            rows = []
            axum = median(seen, (era, connections, "raw-axum"), "cpu")
            for name, label in SERVERS.items():
                cell = era, connections, name
                cpu = median(seen, cell, "cpu")
                rows.append([
                    label,
                    f"{median(seen, cell, 'rate'):,.0f}",
                    f"{median(seen, cell, 'p50'):.0f}",
                    f"{median(seen, cell, 'p99'):.0f}",
                    f"**{cpu:.1f}**",
                    f"{least(seen, cell):.1f}",
                    f"{median(seen, cell, 'user'):.1f} + {median(seen, cell, 'system'):.1f}",
                    f"{median(seen, cell, 'rss'):.1f}",
                    f"{cpu / axum:.2f}",
                ])
            head = [
                "server", "req/s", "p50 µs", "p99 µs", "CPU µs/req", "least", "user + kernel", "RSS MiB", "CPU / raw axum",
            ]
            yield f"### {revision} ({era}), {connections} {noun}\n\n{harness.table(head, rows)}"


def report_instructions(counted):
    rows = []
    for name, label in SERVERS.items():
        row = [label]
        for era in ERAS:
            row += [f"{counted[name, era]:,}", f"{counted[name, era] / counted['raw-axum', era]:.2f}"]
        rows.append(row)
    head = ["server", *(cell for revision in ERAS.values() for cell in (revision, "/ raw axum"))]
    text = "Instructions for each request, user space, by callgrind; one connection, one request after the other."
    return f"### Instructions\n\n{text}\n\n{harness.table(head, rows)}"


def verdict(name, value, bound):
    met = "met" if value <= bound else "**missed**"
    return f"- {name}: {value:.2f}, at most {bound:.2f} wanted: {met}."


def report_targets(seen, counted):
    cell = "modern", max(CONNECTIONS)
    cpu = {name: median(seen, (*cell, name), "cpu") for name in SERVERS}
    lines = [
        verdict(f"CPU of `tools/call` over raw axum ({cell[1]} connections)", cpu["bench-server"] / cpu["raw-axum"], 1.4),
        verdict(f"CPU of `tools/call` over rmcp ({cell[1]} connections)", cpu["bench-server"] / cpu[PEER], 0.6),
    ]
    if counted:
        ratio = counted["bench-server", "modern"] / counted["raw-axum", "modern"]
        lines.append(verdict("instructions over raw axum", ratio, 1.25))
    return "### Targets\n\n" + "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--tool", choices=["echo", "add"], default="echo")
    parser.add_argument("--no-instructions", action="store_true")
    parser.add_argument("--no-build", action="store_true", help="measure what was built before")
    options = parser.parse_args()
    harness.require_wrk()
    target = pathlib.Path(os.environ.get("BENCH_TARGET_DIR", HERE / "target"))
    folder = target / "release" if options.no_build else build(target)
    before = os.getloadavg()[0]
    servers = {}
    try:
        for name in SERVERS:
            servers[name] = Server([folder / name, "--bind", "127.0.0.1:0"])
        seen = rounds(servers, verify(servers, options.tool), options)
    finally:
        for server in servers.values():
            server.stop()
    after = os.getloadavg()[0]
    counted = {}
    if not options.no_instructions:
        for name, era in itertools.product(SERVERS, ERAS):
            print(f"instructions of {name}, {era}", file=sys.stderr)
            counted[name, era] = instructions(folder, name, era, options.tool)
    command = " ".join(["bench/run.py", *sys.argv[1:]])
    sections = [
        f"## `tools/call` of `{options.tool}`\n\n{harness.setting((before, after))}\n"
        f"Repeat with `{command}`: {options.rounds} interleaved rounds of {options.seconds} s, medians; "
        "`least` is the least CPU of all rounds.\nAll servers give the same answer (compared as JSON), "
        "and every response had the length of the one that was compared.",
        report_targets(seen, counted),
        *report_loads(seen),
    ]
    if counted:
        sections.append(report_instructions(counted))
    text = "\n\n".join(sections)
    harness.write_section("servers", text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except (Failed, subprocess.CalledProcessError) as error:
        sys.exit(f"run.py: {error}")
