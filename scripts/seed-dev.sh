#!/usr/bin/env bash
# Plays scripts/seed.sh against a `sluice dev` of its own, on a free port and an empty folder. Needs bin/sluice (make build).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

tmp=$(mktemp -d)
dev=
cleanup() {
  local status=$?
  if [ -n "$dev" ]; then stop_pid "$dev" 15; fi
  if [ "$status" -ne 0 ] && [ -f "$tmp/log" ]; then tail -n 40 "$tmp/log" >&2; fi
  rm -rf "$tmp"
}
trap cleanup EXIT

port=$(free_port)
readonly base=http://127.0.0.1:$port
bin/sluice dev --listen "127.0.0.1:$port" --data "$tmp/data" >"$tmp/log" 2>&1 </dev/null &
dev=$!
wait_for 30 curl -fsS --max-time 2 "$base/ready" || die "sluice dev is not ready"

scripts/seed.sh "$base" "$base"
