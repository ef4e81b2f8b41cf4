#!/usr/bin/env bash
# Instructions that a server spends on one request, in user space, by callgrind.
#
#   bench/instructions.sh CLIENT SERVER REQUEST
#
# Two runs that differ only in how many requests they serve: the difference holds no start-up.
# The client checks every answer. Prints one number. CALLGRIND_OUT=FILE keeps the profile of the
# longer run for callgrind_annotate.
set -euo pipefail

client=$1 server=$2 request=$3
few=200 many=1200

folder=$(mktemp -d)
pid=""
finish() {
    if [[ -n $pid ]]; then
        kill -KILL "$pid" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap finish EXIT

# One core: the runtime starts one worker, and the order of events is the same each time.
pin=()
if [[ $(nproc) -gt 1 ]]; then
    pin=(taskset -c 0)
fi

fail() {
    echo "instructions.sh: $1" >&2
    cat "$folder/stdout" "$folder/stderr" >&2 || true
    exit 1
}

# The instructions that the server spent from start to end, with $1 requests.
count() {
    local url="" profile=$folder/profile.$1
    # Here, not when the server opens it: what the run before said must be gone.
    : >"$folder/stdout"
    "${pin[@]}" valgrind --tool=callgrind --callgrind-out-file="$profile" \
        "$server" --bind 127.0.0.1:0 >"$folder/stdout" 2>"$folder/stderr" &
    pid=$!
    for _ in $(seq 600); do
        url=$(sed -n 's/^listening on //p' "$folder/stdout")
        [[ -n $url ]] && break
        kill -0 "$pid" 2>/dev/null || fail "$server ended before it listened"
        sleep 0.1
    done
    [[ -n $url ]] || fail "$server did not listen within 60 s"
    "$client" send --request "$request" --requests "$1" "$url/mcp" >/dev/null ||
        fail "$server did not answer as it should"
    kill -TERM "$pid"
    wait "$pid" || fail "$server did not end as it should"
    pid=""
    total=$(sed -n 's/^\(summary\|totals\): *//p' "$profile" | tail -1)
    [[ -n $total ]] || fail "$profile has no total"
}

count "$few"
first=$total
count "$many"
if [[ -n ${CALLGRIND_OUT:-} ]]; then
    cp "$folder/profile.$many" "$CALLGRIND_OUT"
fi
echo $(((total - first) / (many - few)))
