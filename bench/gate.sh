#!/usr/bin/env bash
# The gate: a call of a tool, and the list of 200 tools, cost at most LIMIT per cent of the instructions
# that the same endpoint costs by hand on axum. Instructions, unlike microseconds, do not depend on who else uses the machine.
#
#   bench/gate.sh
#
# Builds what it needs (profile `gate`), proves that both servers give the same answers, counts.
# BENCH_TARGET_DIR: where to build. Exit 1: over the limit.
set -euo pipefail

limit=125
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${BENCH_TARGET_DIR:-$here/target}
requests=$here/requests

if ! command -v valgrind >/dev/null; then
    if [[ $(id -u) -ne 0 ]]; then
        echo "gate.sh: valgrind is missing; install it: apt-get install valgrind" >&2
        exit 1
    fi
    apt-get update -qq && apt-get install -qq -y valgrind
fi

# Not --locked: a dependency that a crate of the product gains would fail the gate for no reason of its own.
(cd "$here" && cargo build --quiet --profile gate --target-dir "$target" \
    --bin bench-client --bin bench-server --bin list-server --bin raw-axum)
bin=$target/gate

pids=()
logs=$(mktemp -d)
finish() {
    for pid in "${pids[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    rm -rf "$logs"
}
trap finish EXIT

# All servers at once, one answer to each request, compared.
urls=()
for server in bench-server list-server raw-axum; do
    : >"$logs/$server"
    "$bin/$server" --bind 127.0.0.1:0 >"$logs/$server" &
    pids+=($!)
    for _ in $(seq 100); do
        grep -q '^listening on ' "$logs/$server" && break
        sleep 0.1
    done
    urls+=("$(sed -n 's/^listening on //p' "$logs/$server")/mcp")
done
for request in modern-echo modern-add legacy-echo legacy-add; do
    "$bin/bench-client" same --request "$requests/$request.http" "${urls[0]}" "${urls[2]}" >/dev/null
done
for request in modern-tools legacy-tools; do
    "$bin/bench-client" same --request "$requests/$request.http" "${urls[1]}" "${urls[2]}" >/dev/null
done
echo "the servers give the same answers"

over=0
for pair in bench-server:modern-echo bench-server:legacy-echo list-server:modern-tools list-server:legacy-tools; do
    server=${pair%%:*} request=${pair#*:}
    ours=$("$here/instructions.sh" "$bin/bench-client" "$bin/$server" "$requests/$request.http")
    raw=$("$here/instructions.sh" "$bin/bench-client" "$bin/raw-axum" "$requests/$request.http")
    thousandths=$((ours * 1000 / raw))
    printf '%-12s ours %6d   raw axum %6d   %d.%03dx of at most %d.%02dx\n' "$request" \
        "$ours" "$raw" $((thousandths / 1000)) $((thousandths % 1000)) $((limit / 100)) $((limit % 100))
    if ((ours * 100 > raw * limit)); then
        over=1
    fi
done
if ((over)); then
    echo "gate.sh: over the limit; see where it goes: CALLGRIND_OUT=/tmp/profile" \
        "bench/instructions.sh $bin/bench-client $bin/bench-server $requests/modern-echo.http;" \
        "callgrind_annotate --inclusive=yes /tmp/profile" >&2
    exit 1
fi
