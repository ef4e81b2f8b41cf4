#!/usr/bin/env python3
"""Measures a governed call: `database:listTables` through the gateway, over REST and over MCP,
without and with an idempotency key, from 1 and from 64 connections.

    FASTMCP_BIN=target/release/fastmcp bench/gateway.py [--rounds 3] [--seconds 2]

Starts `fastmcp serve` with an empty data folder and rate limits out of the way; everything else is
as by default, strict audit included. Where /metrics holds histograms `fastmcp_stage_seconds`, each
stage's share is told too. Writes the section `governed` of bench/RESULTS.md.
"""

import argparse
import itertools
import json
import os
import pathlib
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import urllib.request

import harness
from harness import HERE, ROOT, Failed, Server

REST, MCP = "/tools/database:listTables/invoke", "/mcp"
# What it is called, the path, the request, whether each call has a key of its own.
CALLS = {
    "REST, no key": (REST, "rest-list", False),
    "REST, a key each": (REST, "rest-list-keyed", True),
    "MCP, no key": (MCP, "mcp-list", False),
    "MCP, a key each": (MCP, "mcp-list-keyed", True),
}
CONNECTIONS = (1, 64)
# Out of the way; more calls for each second than one core could serve.
UNLIMITED = {"RATE_LIMIT_DEFAULT_RPS": "1000000", "RATE_BUCKET_BURST": "1000000", "LOG_LEVEL": "warn"}
SAMPLE = re.compile(r"^fastmcp_stage_seconds_(sum|count)\{(.*)\} ([0-9.eE+-]+)$", re.MULTILINE)
STAGE = re.compile(r'stage="([^"]*)"')


def binary():
    """FASTMCP_BIN, or the best build that there is."""
    named = os.environ.get("FASTMCP_BIN")
    candidates = [named] if named else [ROOT / "target" / kind / "fastmcp" for kind in ("release", "ci")]
    for candidate in candidates:
        if pathlib.Path(candidate).is_file():
            return pathlib.Path(candidate).resolve()
    raise Failed("there is no built `fastmcp`; name it: FASTMCP_BIN=target/release/fastmcp bench/gateway.py")


def mint(fastmcp, folder):
    """A token for somebody who may list tables."""
    command = [fastmcp, "token", "mint", "--sub", "bench", "--role", "data-analyst", "--data-dir", folder]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    found = re.search(r"[\w-]+\.[\w-]+\.[\w-]+", done.stdout)
    if done.returncode or not found:
        raise Failed(f"`fastmcp token mint` printed no token:\n{done.stdout}{done.stderr}")
    return found.group()


def verify(server, token):
    """Every call is answered with tables, not with a refusal."""
    for label, (path, request, _) in CALLS.items():
        status, body, _ = harness.exchange(server.url, path, request, token, secrets.token_hex(12))
        answer = json.loads(body)
        if path == MCP:
            answer = answer.get("result", answer)
            good = status == 200 and "content" in answer and not answer.get("isError")
        else:
            good = status == 200 and answer.get("toolId") == "database:listTables" and "result" in answer
        if not good:
            raise Failed(f"{label}: {status} {body}")


def stages(server):
    """Seconds and calls for each stage so far; nothing where the gateway does not tell."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as response:
        text = response.read().decode()
    totals = {}
    for kind, labels, value in SAMPLE.findall(text):
        stage = STAGE.search(labels)
        if stage:
            total = totals.setdefault(stage.group(1), {"sum": 0.0, "count": 0.0})
            total[kind] += float(value)
    return totals


def rounds(server, token, options):
    seen, spent = {}, {}
    for nth in range(options.rounds + 1):
        # The first round warms up: caches, the database's statements, the allocator.
        print(f"round {nth} of {options.rounds}", file=sys.stderr)
        for connections, (label, (path, request, keyed)) in itertools.product(CONNECTIONS, CALLS.items()):
            before = stages(server)
            run = secrets.token_hex(6)
            figures = harness.measure(
                server, path, request, connections, options.seconds, token=token, run=run if keyed else ""
            )
            after = stages(server)
            if nth == 0:
                continue
            seen.setdefault((label, connections), []).append(figures)
            for stage, total in after.items():
                earlier = before.get(stage, {"sum": 0.0, "count": 0.0})
                mine = spent.setdefault((label, connections), {}).setdefault(stage, 0.0)
                spent[label, connections][stage] = mine + total["sum"] - earlier["sum"]
    return seen, spent


def median(figures, name):
    return statistics.median(one[name] for one in figures)


def report_loads(seen):
    rows = []
    for connections, label in itertools.product(CONNECTIONS, CALLS):
        figures = seen[label, connections]
        rows.append([
            label,
            connections,
            f"{median(figures, 'rate'):,.0f}",
            f"{median(figures, 'p50') / 1000:.2f}",
            f"{median(figures, 'p99') / 1000:.2f}",
            f"**{median(figures, 'cpu'):.1f}**",
            f"{min(one['cpu'] for one in figures):.1f}",
            f"{median(figures, 'user'):.1f} + {median(figures, 'system'):.1f}",
            f"{median(figures, 'rss'):.1f}",
        ])
    head = ["call", "connections", "req/s", "p50 ms", "p99 ms", "CPU µs/req", "least", "user + kernel", "RSS MiB"]
    return harness.table(head, rows)


def report_stages(spent):
    names = sorted({stage for stages in spent.values() for stage in stages})
    if not names:
        return "The gateway's /metrics hold no `fastmcp_stage_seconds`, so the stages' shares are not known."
    rows = []
    for connections, label in itertools.product(CONNECTIONS, CALLS):
        mine = spent[label, connections]
        whole = sum(mine.values()) or 1.0
        rows.append([label, connections, *(f"{mine.get(name, 0.0) / whole * 100:.1f} %" for name in names)])
    text = "Share of the time that passes in each stage (waiting included), by `fastmcp_stage_seconds`."
    return f"{text}\n\n{harness.table(['call', 'connections', *names], rows)}"


def report_targets(seen):
    lines = []
    for label in ("REST, no key", "MCP, no key"):
        cpu = median(seen[label, 64], "cpu")
        met = "met" if cpu <= 60 else "**missed**"
        lines.append(f"- CPU of a governed call, {label}, 64 connections: {cpu:.1f} µs, at most 60 wanted: {met}.")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args()
    harness.require_wrk()
    fastmcp = binary()
    scratch = HERE / "target"
    scratch.mkdir(exist_ok=True)
    load = os.getloadavg()[0]
    # On the disk of the build, not in memory: audit and idempotency are only as fast as their disk.
    with tempfile.TemporaryDirectory(dir=scratch, prefix="gateway-") as folder:
        command = [fastmcp, "serve", "--bind", "127.0.0.1:0", "--data-dir", folder]
        with Server(command, UNLIMITED) as server:
            token = mint(fastmcp, folder)
            verify(server, token)
            seen, spent = rounds(server, token, options)
    text = "\n\n".join([
        f"## Governed call: `database:listTables`\n\n{harness.setting((load, os.getloadavg()[0]))}\n"
        f"Repeat with `FASTMCP_BIN={harness.shown(fastmcp)} {' '.join(['bench/gateway.py', *sys.argv[1:]])}`: "
        f"{options.rounds} interleaved rounds of {options.seconds} s after one that warms up, medians; "
        "rate limits raised, all else as by default.",
        f"### Targets\n\n{report_targets(seen)}",
        f"### Loads\n\n{report_loads(seen)}",
        f"### Stages\n\n{report_stages(spent)}",
    ])
    harness.write_section("governed", text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except (Failed, subprocess.CalledProcessError, OSError) as error:
        sys.exit(f"gateway.py: {error}")
