# What the scripts share. To be sourced.
# shellcheck shell=bash

# say TEXT...: one line about what goes on, on standard error.
say() { printf '%s\n' "$*" >&2; }

# die TEXT...: the same, and the end. Where the environment names a file LAST_WORDS, they are put there too.
die() {
  say "${0##*/}: $*"
  if [ -n "${LAST_WORDS:-}" ]; then printf '%s\n' "${0##*/}: $*" >"$LAST_WORDS"; fi
  exit 1
}

# wait_for SECONDS COMMAND...: repeats the command until it succeeds; fails when the seconds are over.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ]; then return 1; fi
    sleep 0.2
  done
}

# stop_pid PID [SECONDS]: asks the process to end, and makes it end after the seconds (10).
stop_pid() {
  local pid=$1 limit=${2:-10}
  kill "$pid" 2>/dev/null || return 0
  if ! wait_for "$limit" gone "$pid"; then kill -9 "$pid" 2>/dev/null || true; fi
}

# gone PID: no such process, or one that only waits to be reaped.
gone() {
  local state
  state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 0
  [ -z "$state" ] || [ "$state" = Z ]
}

# free_port: prints a TCP port of 127.0.0.1 that nobody listens on at the moment.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    # Connecting fails where nobody listens.
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
  done
  printf '%s\n' "$port"
}
