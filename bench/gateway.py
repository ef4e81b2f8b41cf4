#!/usr/bin/env python3
"""Measures a governed call: `database:listTables` through the gateway, over REST and over MCP,
without and with an idempotency key, from 1 and from 64 connections.

    FASTMCP_BIN=target/dist/fastmcp bench/gateway.py [--rounds 3] [--seconds 2] [--instructions]

Starts `fastmcp serve` with an empty data folder, a policy of 50 rules and rate limits out of the way;
everything else is as by default, strict audit included. Each stage's share of the time is told by /metrics
(`fastmcp_stage_seconds`). Where a `raw-axum` of this folder is built, a call of `add` on it stands
beside: the least that a request costs on this machine. With --instructions also what each stage costs
in instructions, which no neighbour disturbs; for that the binary needs its symbols
(CARGO_PROFILE_DIST_STRIP=none) and the machine valgrind. Writes the section `governed` of
bench/RESULTS.md.
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
# Those that are built in, and as many more about the same caller as make so many.
RULES = 50
BUILT_IN = ROOT / "crates" / "policy" / "policies.yml"
# The most CPU that a call may take, in microseconds, at 64 connections.
WANTED = {"REST, no key": 45, "MCP, no key": 45, "REST, a key each": 90, "MCP, a key each": 90}
# What is one stage for who counts instructions: what is told, and the functions in which they are, all below them included.
PARTS = {
    "the caller (token, from the cache)": ["Door::admit::{{closure}}"],
    "policy": ["policy::Policy::decide"],
    "limits, idempotency": ["Pipeline::placed::{{closure}}"],
    "credential, intent, fence": ["Pipeline::act::{{closure}}"],
    "what the record says": ["audit::Record::permit", "Audit::open"],
    "the record closed and put into the queue": ["Audit::close::{{closure}}"],
    "the pipeline in all": ["Pipeline::invoke::{{closure}}"],
    "the worker in all: connection, HTTP and pipeline": ["multi_thread::worker::Context::run_task"],
    "the provider: its tables, unchanged": ["connection::Pool::listed"],
}
COUNTED = 400
SAMPLE = re.compile(r"^fastmcp_stage_seconds_(sum|count)\{(.*)\} ([0-9.eE+-]+)$", re.MULTILINE)
STAGE = re.compile(r'stage="([^"]*)"')


def binary():
    """FASTMCP_BIN, or the best build that there is."""
    named = os.environ.get("FASTMCP_BIN")
    candidates = [named] if named else [ROOT / "target" / kind / "fastmcp" for kind in ("dist", "release", "ci")]
    for candidate in candidates:
        if pathlib.Path(candidate).is_file():
            return pathlib.Path(candidate).resolve()
    raise Failed("there is no built `fastmcp`; name it: FASTMCP_BIN=target/dist/fastmcp bench/gateway.py")


def mint(fastmcp, folder):
    """A token for somebody who may list tables."""
    command = [fastmcp, "token", "mint", "--sub", "bench", "--role", "data-analyst", "--data-dir", folder]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    found = re.search(r"[\w-]+\.[\w-]+\.[\w-]+", done.stdout)
    if done.returncode or not found:
        raise Failed(f"`fastmcp token mint` printed no token:\n{done.stdout}{done.stderr}")
    return found.group()


def policy(folder):
    """Writes a policy of so many rules, and says by which variable it is named."""
    text = BUILT_IN.read_text(encoding="utf-8")
    missing = RULES - len(re.findall(r"^  - id:", text, re.MULTILINE))
    more = "".join(
        f"  - id: team-{n}\n    effect: allow\n    when: {{action: tools.invoke, subject.roles_any: [data-analyst], "
        f"resource.safety_tags_any: [team-{n}], context.arguments.budget: {n}}}\n"
        for n in range(missing)
    )
    path = pathlib.Path(folder) / "policies.yml"
    path.write_text(text.rstrip("\n") + "\n" + more, encoding="utf-8")
    return {"FASTMCP_POLICY": str(path)}


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


def raw(options):
    """CPU of a call of `add` on raw axum; nothing where that is not built."""
    found = [HERE / "target" / kind / "raw-axum" for kind in ("release", "gate")]
    found = [path for path in found if path.is_file()]
    if not found:
        return None
    with Server([found[0]]) as server:
        figures = [harness.measure(server, "/mcp", "modern-add", 64, options.seconds) for _ in range(options.rounds + 1)]
    return median(figures[1:], "cpu")


def instructions(fastmcp, folder, label):
    """Instructions of a call, in all and by part; one connection, one call after the other."""
    path, request, keyed = CALLS[label]
    profile = pathlib.Path(folder) / "callgrind"
    command = ["valgrind", "--tool=callgrind", "--fair-sched=yes", "--instr-atstart=no"]
    command += [f"--callgrind-out-file={profile}", fastmcp, "serve", "--bind", "127.0.0.1:0", "--data-dir", folder]
    with Server(command, UNLIMITED | policy(folder)) as server:
        token = mint(fastmcp, folder)

        def calls(count):
            for _ in range(count):
                status, body, _ = harness.exchange(server.url, path, request, token, secrets.token_hex(12) if keyed else "")
                if status != 200:
                    raise Failed(f"{label}: {status} {body}")

        def switch(to):
            subprocess.run(["callgrind_control", "-i", to, str(server.process.pid)], check=True, capture_output=True)

        calls(COUNTED // 4)
        switch("on")
        calls(COUNTED)
        switch("off")
    command = ["callgrind_annotate", "--inclusive=yes", "--threshold=100", profile]
    rows = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    costs = [(int(found[1].replace(",", "")), row) for row in rows if (found := re.match(r" *([\d,]+) ", row))]

    def cost(name):
        # The greatest: what calls itself is listed once more for each depth.
        return max((cost for cost, row in costs if name in row), default=0) / COUNTED

    return {"all": cost("PROGRAM TOTALS"), **{part: sum(map(cost, names)) for part, names in PARTS.items()}}


def report_instructions(fastmcp):
    labels = list(CALLS)
    seen = {}
    for label in labels:
        with tempfile.TemporaryDirectory(dir=HERE / "target", prefix="gateway-") as folder:
            seen[label] = instructions(fastmcp, folder, label)
    rows = [[part, *(f"{seen[label][part]:,.0f}" for label in labels)] for part in seen[labels[0]]]
    text = (
        "Instructions of a call in user space, all threads, by callgrind; one connection, one call after the other. Where a row "
        "names a part, what it calls is included. Valgrind has no SHA instructions, so digests count about ten times what they cost."
    )
    return f"### Instructions\n\n{text}\n\n{harness.table(['part', *labels], rows)}"


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


def report_targets(seen, least):
    lines = []
    for label, most in WANTED.items():
        cpu = median(seen[label, 64], "cpu")
        met = "met" if cpu <= most else "**missed**"
        ratio = f", {cpu / least:.1f} times raw axum's `add`" if least else ""
        lines.append(f"- CPU of a governed call, {label}, 64 connections: {cpu:.1f} µs{ratio}, at most {most} wanted: {met}.")
    if least:
        lines.append(f"- CPU of `add` on raw axum beside it, 64 connections: {least:.1f} µs.")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--instructions", action="store_true")
    options = parser.parse_args()
    harness.require_wrk()
    fastmcp = binary()
    scratch = HERE / "target"
    scratch.mkdir(exist_ok=True)
    load = os.getloadavg()[0]
    # On the disk of the build, not in memory: audit and idempotency are only as fast as their disk.
    with tempfile.TemporaryDirectory(dir=scratch, prefix="gateway-") as folder:
        command = [fastmcp, "serve", "--bind", "127.0.0.1:0", "--data-dir", folder]
        with Server(command, UNLIMITED | policy(folder)) as server:
            token = mint(fastmcp, folder)
            verify(server, token)
            seen, spent = rounds(server, token, options)
    least = raw(options)
    parts = [
        f"## Governed call: `database:listTables`\n\n{harness.setting((load, os.getloadavg()[0]))}\n"
        f"Repeat with `FASTMCP_BIN={harness.shown(fastmcp)} {' '.join(['bench/gateway.py', *sys.argv[1:]])}`: "
        f"{options.rounds} interleaved rounds of {options.seconds} s after one that warms up, medians; "
        f"{RULES} rules, rate limits raised, all else as by default.",
        f"### Targets\n\n{report_targets(seen, least)}",
        f"### Loads\n\n{report_loads(seen)}",
        f"### Stages\n\n{report_stages(spent)}",
    ]
    if options.instructions:
        parts.append(report_instructions(fastmcp))
    text = "\n\n".join(parts)
    harness.write_section("governed", text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except (Failed, subprocess.CalledProcessError, OSError) as error:
        sys.exit(f"gateway.py: {error}")
