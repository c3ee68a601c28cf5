#!/usr/bin/env bash
# Plays scripts/seed.sh against docker compose with two engines and two gateways, in each mode of durability, kills NATS servers
# meanwhile, and takes all down again. Where no Docker daemon answers, it starts one of its own (needs root) with local stand-ins for
# the images; else the images are those of docker-compose.yml.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

export COMPOSE_PROJECT_NAME=sluice-test-$$
readonly READY_LIMIT=180
# Services with a health check where there is one NATS server: nats, redis, two gateways, two engines, dispatcher, console, edge.
readonly ALL=9
tmp=$(mktemp -d)
export LAST_WORDS=$tmp/last-words
daemon=
up=
files=(-f docker-compose.yml)

# compose ARGUMENTS...: with the files of the mode that is on.
compose() { timeout 900 scripts/compose.sh "${files[@]}" --profile example "$@"; }

down() {
  timeout 120 scripts/compose.sh "${files[@]}" --profile example down --volumes --remove-orphans >"$tmp/down" 2>&1 || cat "$tmp/down" >&2
  up=
}

cleanup() {
  local status=$?
  trap - EXIT INT TERM
  if [ -n "$up" ]; then
    if [ "$status" -ne 0 ]; then
      timeout 60 scripts/compose.sh "${files[@]}" ps >&2 || true
      timeout 60 scripts/compose.sh "${files[@]}" logs --no-color --tail=30 >&2 || true
    fi
    down
  fi
  if [ -n "$daemon" ]; then scripts/dockerd.sh stop "$daemon"; fi
  # Once more, where it is found: below all the logs.
  if [ "$status" -ne 0 ] && [ -s "$LAST_WORDS" ]; then cat "$LAST_WORDS" >&2; fi
  rm -rf "$tmp" || true
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
while [ "$CONSOLE_PORT" = "$GATEWAY_PORT" ]; do CONSOLE_PORT=$(free_port); done
export GATEWAY_PORT CONSOLE_PORT
export WEBHOOK_BASE_URL=http://localhost:$GATEWAY_PORT
readonly console=http://localhost:$CONSOLE_PORT
set -a
# shellcheck source=/dev/null
source <(scripts/passwords.sh)
set +a

# container SERVICE: its id, also while it does not run.
container() {
  docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter "label=com.docker.compose.service=$1"
}

# healthy N: so many containers of the project are healthy.
healthy() {
  [ "$(docker ps -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter health=healthy | wc -l)" -eq "$1" ]
}

# The edge takes webhooks once it has seen a gateway ready: a token that is none is then refused, not unavailable.
edge_serves() {
  [ "$(curl -sS --max-time 5 -o "$tmp/edge" -w '%{http_code}' -H 'Content-Type: application/json' -d '{"success":true}' \
    "$WEBHOOK_BASE_URL/webhook/none/none/none")" = 404 ]
}

# promises PROMISE: each role says at /ready that it runs on this one. The container of NATS is the one that has a client and reaches all.
promises() {
  local role
  for role in gateway:8080 engine:8082 dispatcher:8083 console:8081; do
    docker exec "$(container nats)" wget -q -O - "http://$role/ready" | grep -qF "\"durability\":\"$1\"" || return 1
  done
}

# status_says PROMISE: sluice status does, too.
status_says() {
  docker exec "$(container console)" /sluice status --console-url http://127.0.0.1:8081 >"$tmp/status"
  grep -q "^durability  *$1" "$tmp/status"
}

# begin MODE PROMISE HEALTHY [ARGUMENT...]: brings the mode up and waits until it serves and says what it promises.
begin() {
  local mode=$1 promise=$2 all=$3
  shift 3
  say "=== $mode"
  up=yes
  compose up -d "$@" --scale engine=2 --scale gateway=2
  wait_for "$READY_LIMIT" healthy "$all" || die "$mode: not healthy in $READY_LIMIT s"
  wait_for 60 curl -fsS --max-time 2 "$console/ready" || die "$mode: the console is not ready"
  wait_for 60 edge_serves || die "$mode: the edge finds no gateway"
  wait_for 60 promises "$promise" || die "$mode: not every role promises $promise: $(curl -sS "$console/ready")"
  wait_for 60 status_says "$promise" || die "$mode: sluice status says: $(cat "$tmp/status")"
  say "ok   $(grep '^durability' "$tmp/status")"
}

# seed [COMMAND...]: the scenario, with something that breaks in the middle of it.
seed() { scripts/seed.sh "$console" "$WEBHOOK_BASE_URL" 0.0.0.0 host.docker.internal "$@"; }

# again: the whole scenario succeeds, soon if not at once.
again() {
  local since=$SECONDS
  wait_for 60 seed || seed
  say "ok   the scenario again, with a server gone: $((SECONDS - since)) s"
}

# The worker of the profile example takes an order through its three steps. It registers them when it can.
start_order() {
  curl -fsS --max-time 10 -X POST "$console/engine/flow" -H 'Content-Type: application/json' \
    -d '{"id":"order","goals":["send-receipt"],"init":{"item":"teapot","quantity":2,"amount":39.9,"email":"ada@example.org"}}'
}
order_completed() { curl -fsS --max-time 10 "$console/engine/flow/order/status" | grep -qF '"status":"completed"'; }
order() {
  wait_for 60 start_order || die "no order can be started"
  wait_for 60 order_completed || die "the order did not complete: $(curl -sS "$console/engine/flow/order")"
  say "ok   the example's order is completed"
}

# leader STREAM: the server that leads it.
leader() {
  docker exec "$(container nats)" wget -q -O - 'http://127.0.0.1:8222/jsz?streams=true' | tr -d ' \n' |
    sed -n "s/.*\"name\":\"$1\",\"created\":\"[^\"]*\",\"cluster\":{[^}]*\"leader\":\"\([^\"]*\)\".*/\1/p"
}

has_leader() { [ -n "$(leader "$1")" ]; }

# node_back SERVICE: starts it again, and waits until all are well.
node_back() {
  docker start "$(container "$1")" >/dev/null
  wait_for 90 healthy $((ALL + 2)) || die "$1 does not come back"
  wait_for 60 promises replicated || die "not every role promises replicated once $1 is back"
}

synced() {
  begin "synced: the compose file as it is" synced "$ALL" --build
  seed
  order
}

# The same streams on another setting.
fast() {
  local nats
  files+=(-f deployments/compose.fast.yml)
  begin "fast: the sync interval relaxed" fast "$ALL"
  wait_for 60 order_completed || die "what was there before is gone"
  nats=$(container nats)
  # The end of the process is no power cut: nothing may be lost.
  # shellcheck disable=SC2016 # the inner shell's
  seed bash -c 'docker kill -s KILL "$1" && docker start "$1"' kill-nats "$nats"
  wait_for 60 healthy "$ALL" || die "not healthy after NATS was killed"
  wait_for 60 order_completed || die "what was there before the kill is gone"
  down
}

replicated() {
  local leads follows
  files=(-f docker-compose.yml -f deployments/compose.replicated.yml)
  begin "replicated: three NATS servers" replicated $((ALL + 2))
  seed
  wait_for 60 has_leader COMMANDS_0 || die "COMMANDS_0 has no leader"
  leads=$(leader COMMANDS_0)
  case $leads in
    nats) follows='nats-2' ;;
    nats-2 | nats-3) follows=nats ;;
    *) die "COMMANDS_0 has no leader: '$leads'" ;;
  esac
  seed docker kill -s KILL "$(container "$leads")"
  again # with the leader gone
  node_back "$leads"
  seed docker kill -s KILL "$(container "$follows")"
  again
  node_back "$follows"
  down
}

for mode in synced fast replicated; do
  began=$SECONDS
  "$mode"
  say "=== $mode took $((SECONDS - began)) s"
done
