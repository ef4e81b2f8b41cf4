set -eu

self=${0##*/}
fastmcp=${FASTMCP:-fastmcp}

misuse() {
  printf '%s: %s\n' "$self" "$1" >&2
  exit 2
}
