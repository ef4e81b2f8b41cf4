#!/usr/bin/env python3
"""Measures `tools/list` of 200 tools: this framework beside a handler on axum that sends the same bytes.

    bench/lists.py [--rounds 3] [--seconds 2] [--profile release|gate] [--no-loads] [--no-build]

Builds both servers, proves that they give the same answers, loads them in turn, counts instructions,
and writes the section `lists` of bench/RESULTS.md. BENCH_TARGET_DIR: where to build. `--no-loads` counts
instructions alone, which a busy machine does not disturb.
"""

import argparse
import itertools
import os
import pathlib
import statistics
import subprocess
import sys

import harness
from harness import HERE, Failed, Server
from run import ERAS, PATH, instructions

SERVERS = {"list-server": "this framework", "raw-axum": "raw axum"}
CONNECTIONS = (1, 32)
REQUEST = "tools"
# The most that ours may cost, in what the handler by hand costs.
LIMIT = 1.25


def build(target, profile):
    command = ["cargo", "build", "--profile", profile, "--bins", "--target-dir", target]
    subprocess.run(command, cwd=HERE, check=True)


def verify(folder, servers):
    """Both give the same answer; how long each one's response is."""
    sizes = {}
    for era in ERAS:
        urls = [f"{server.url}{PATH}" for server in servers.values()]
        request = HERE / f"requests/{era}-{REQUEST}.http"
        same = [folder / "bench-client", "same", "--request", request, *urls]
        subprocess.run(same, check=True, stdout=subprocess.DEVNULL)
        for name, server in servers.items():
            sizes[name, era] = harness.exchange(server.url, PATH, f"{era}-{REQUEST}")[2]
    return sizes


def rounds(servers, sizes, options):
    seen = {}
    for _, era, connections, name in itertools.product(range(options.rounds), ERAS, CONNECTIONS, servers):
        size = sizes[name, era]
        request = f"{era}-{REQUEST}"
        figures = harness.measure(servers[name], PATH, request, connections, options.seconds, size)
        seen.setdefault((era, connections, name), []).append(figures)
    return seen


def report_loads(seen):
    rows = []
    for era, connections, name in itertools.product(ERAS, CONNECTIONS, SERVERS):
        cell = seen[era, connections, name]
        median = {figure: statistics.median(one[figure] for one in cell) for figure in cell[0]}
        raw = statistics.median(one["cpu"] for one in seen[era, connections, "raw-axum"])
        rows.append([
            SERVERS[name],
            ERAS[era],
            connections,
            f"{median['rate']:,.0f}",
            f"{median['p50']:.0f}",
            f"{median['p99']:.0f}",
            f"**{median['cpu']:.1f}**",
            f"{median['user']:.1f} + {median['system']:.1f}",
            f"{median['cpu'] / raw:.2f}",
        ])
    head = ["server", "revision", "connections", "req/s", "p50 µs", "p99 µs", "CPU µs/req", "user + kernel", "/ raw axum"]
    return harness.table(head, rows)


def report_instructions(counted):
    rows = []
    for era, revision in ERAS.items():
        ours, raw = counted["list-server", era], counted["raw-axum", era]
        met = "met" if ours <= raw * LIMIT else "**missed**"
        rows.append([revision, f"{ours:,}", f"{raw:,}", f"**{ours / raw:.2f}**", f"at most {LIMIT:.2f}: {met}"])
    return harness.table(["revision", "this framework", "raw axum", "ratio", "wanted"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--profile", choices=["release", "gate"], default="release")
    parser.add_argument("--no-loads", action="store_true", help="count instructions alone")
    parser.add_argument("--no-build", action="store_true", help="measure what was built before")
    options = parser.parse_args()
    target = pathlib.Path(os.environ.get("BENCH_TARGET_DIR", HERE / "target"))
    if not options.no_build:
        build(target, options.profile)
    folder = target / options.profile
    if not options.no_loads:
        harness.require_wrk()
    before = os.getloadavg()[0]
    servers, seen = {}, {}
    try:
        for name in SERVERS:
            servers[name] = Server([folder / name, "--bind", "127.0.0.1:0"])
        sizes = verify(folder, servers)
        if not options.no_loads:
            seen = rounds(servers, sizes, options)
    finally:
        for server in servers.values():
            server.stop()
    after = os.getloadavg()[0]
    counted = {}
    for name, era in itertools.product(SERVERS, ERAS):
        print(f"instructions of {name}, {era}", file=sys.stderr)
        counted[name, era] = instructions(folder, name, era, REQUEST)
    command = " ".join(["bench/lists.py", *sys.argv[1:]])
    size = sizes["list-server", "modern"]
    sections = [
        f"## `tools/list` of 200 tools\n\n{harness.setting((before, after))}\n"
        f"Repeat with `{command}`. A response has {size:,} bytes; both servers send the same, which neither "
        "writes anew: the list is encoded once, the id with each answer.",
        "### Instructions of the list\n\nFor each request, user space, by callgrind; profile "
        f"`{options.profile}`.\n\n{report_instructions(counted)}",
    ]
    if seen:
        sections.append(
            f"### Loads of the list\n\n{options.rounds} interleaved rounds of {options.seconds} s, medians.\n\n"
            f"{report_loads(seen)}"
        )
    text = "\n\n".join(sections)
    harness.write_section("lists", text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except (Failed, subprocess.CalledProcessError) as error:
        sys.exit(f"lists.py: {error}")
