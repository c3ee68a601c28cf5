#!/usr/bin/env bash
# A Docker daemon of one's own, for a machine where none runs. Needs root.
#
#   dockerd.sh start DIR   starts it with all its state in DIR; then DOCKER_HOST=unix://DIR/docker.sock
#   dockerd.sh stop DIR    ends it and removes DIR
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

start() {
  local dir=$1
  mkdir -p "$dir"
  # A session of its own, so that an interrupt at the terminal does not end it before its containers.
  setsid dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" --host "unix://$dir/docker.sock" \
    >"$dir/log" 2>&1 </dev/null &
  local pid=$!
  printf '%s\n' "$pid" >"$dir/pid"
  if ! wait_for 60 docker --host "unix://$dir/docker.sock" info; then
    tail -n 20 "$dir/log" >&2
    stop_pid "$pid"
    die "dockerd did not start"
  fi
}

stop() {
  local dir=$1 pid
  [ -f "$dir/pid" ] || return 0
  pid=$(cat "$dir/docker.pid" 2>/dev/null || cat "$dir/pid")
  stop_pid "$pid" 60
  wait_for 10 gone "$pid" || true
  rm -rf "$dir" || say "left: $dir"
}

[ $# -eq 2 ] || die "usage: start DIR | stop DIR"
case $1 in
  start | stop) "$1" "$2" ;;
  *) die "usage: start DIR | stop DIR" ;;
esac
