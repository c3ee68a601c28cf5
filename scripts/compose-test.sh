#!/usr/bin/env bash
# Plays scripts/seed.sh against docker compose with two engines and two gateways, and takes all down again. Where no Docker daemon
# answers, it starts one of its own (needs root) with local stand-ins for the images; else the images are those of docker-compose.yml.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

export COMPOSE_PROJECT_NAME=sluice-test-$$
readonly READY_LIMIT=180
tmp=$(mktemp -d)
daemon=
up=

cleanup() {
  local status=$?
  trap - EXIT INT TERM
  if [ -n "$up" ]; then
    if [ "$status" -ne 0 ]; then
      timeout 60 scripts/compose.sh ps >&2 || true
      timeout 60 scripts/compose.sh logs --no-color --tail=30 >&2 || true
    fi
    timeout 120 scripts/compose.sh down --volumes --remove-orphans >"$tmp/down" 2>&1 || cat "$tmp/down" >&2
  fi
  if [ -n "$daemon" ]; then scripts/dockerd.sh stop "$daemon"; fi
  rm -rf "$tmp"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

if ! docker info >/dev/null 2>&1; then
  [ "$(id -u)" -eq 0 ] || die "no Docker daemon answers, and only root can start one"
  scripts/apt-install.sh dockerd:docker.io docker-compose:docker-compose iptables:iptables
  daemon=$tmp/docker
  scripts/dockerd.sh start "$daemon"
  export DOCKER_HOST=unix://$daemon/docker.sock
  scripts/docker-standins.sh
fi

GATEWAY_PORT=$(free_port)
CONSOLE_PORT=$(free_port)
export GATEWAY_PORT CONSOLE_PORT
export WEBHOOK_BASE_URL=http://localhost:$GATEWAY_PORT
readonly console=http://localhost:$CONSOLE_PORT

up=yes
timeout 900 scripts/compose.sh up -d --build --scale engine=2 --scale gateway=2

# healthy N: so many containers of the project run, and all of them are healthy.
healthy() {
  local want=$1 all good
  all=$(docker ps -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" | wc -l)
  good=$(docker ps -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter health=healthy | wc -l)
  [ "$all" -eq "$want" ] && [ "$good" -eq "$want" ]
}

# nats, redis, two gateways, two engines, dispatcher, console, edge.
wait_for "$READY_LIMIT" healthy 9 || die "not healthy in $READY_LIMIT s"
wait_for 60 curl -fsS --max-time 2 "$console/ready" || die "the console is not ready"
# The edge takes webhooks once it has seen a gateway ready: a token that is none is then refused, not unavailable.
edge_serves() {
  [ "$(curl -sS --max-time 5 -o "$tmp/edge" -w '%{http_code}' -H 'Content-Type: application/json' -d '{"success":true}' \
    "$WEBHOOK_BASE_URL/webhook/none/none/none")" = 404 ]
}
wait_for 60 edge_serves || die "the edge finds no gateway"

scripts/seed.sh "$console" "$WEBHOOK_BASE_URL" 0.0.0.0 host.docker.internal
