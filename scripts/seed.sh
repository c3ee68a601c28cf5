#!/usr/bin/env bash
# The life of one async step by curl alone, against a Sluice that runs: register a step, start a flow, receive the invocation, post its
# result, post it again, post another one, try another token, read the flow. Fails at the first answer that is not as it should be.
#
#   seed.sh CONSOLE GATEWAY [LISTEN [HOST [COMMAND...]]]
#
# CONSOLE and GATEWAY are base URLs; the dispatcher reaches the step's endpoint, which listens here on LISTEN (127.0.0.1), by the name
# HOST (127.0.0.1). The command, if there is one, is run between invocation and result, to break something. What is answered by a 503, as
# while engines share out their work anew, is sent again for OUTAGE_LIMIT seconds, as the contract says; where something was broken also
# what gets no answer, for each gateway finds its way back by itself. Needs curl and Go.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

[ $# -ge 2 ] || die "usage: seed.sh CONSOLE GATEWAY [LISTEN [HOST [COMMAND...]]]"
readonly console=${1%/} gateway=${2%/} listen=${3:-127.0.0.1} host=${4:-127.0.0.1}
shift "$(($# < 4 ? $# : 4))"
readonly OUTAGE_LIMIT=30
readonly run=seed-$$-$SECONDS-$RANDOM
readonly step=$run-step flow=$run-flow
readonly result='{"success":true,"outputs":{"result":"ok"}}'

tmp=$(mktemp -d)
receiver=
broken=
cleanup() {
  if [ -n "$receiver" ]; then stop_pid "$receiver"; fi
  rm -rf "$tmp"
}
trap cleanup EXIT

# call METHOD URL [JSON]: sets status and body.
call() {
  local data=()
  if [ $# -gt 2 ]; then data=(-H 'Content-Type: application/json' -d "$3"); fi
  status=$(curl -sS --max-time 20 -o "$tmp/body" -D "$tmp/head" -w '%{http_code}' -X "$1" "${data[@]}" "$2")
  body=$(cat "$tmp/body")
}

# expect STATUS TEXT WHAT: the last call's answer has the status, and its body or headers hold the text.
expect() {
  if [ "$status" != "$1" ] || ! grep -qiF -- "$2" "$tmp/body" "$tmp/head"; then
    die "$3: wanted $1 with $2, got $status: $body"
  fi
  say "ok   $3: $status $2"
}

invoked() { grep -qF "\"flow_id\":\"$flow\"" "$tmp/record"; }
completed() {
  call GET "$console/engine/flow/$flow"
  [ "$status" = 200 ] && grep -qF '"status":"completed"' "$tmp/body"
}

# answered URL JSON: it is posted, and the answer is not that the same is to be sent again.
answered() {
  tries=$((tries + 1))
  call POST "$1" "$2" || status=000
  case $status in
    503) return 1 ;;
    000 | 502 | 504) [ -z "$broken" ] ;;
  esac
}

# send URL JSON: posts it, again and again while the answer is that this is to be done, and counts the tries.
send() {
  tries=0
  wait_for "$OUTAGE_LIMIT" answered "$1" "$2" || true
}

# created: prints the status to expect of what was created: 201, or 200 where an earlier try did it.
created() { if [ "$tries" -gt 1 ] && [ "$status" = 200 ]; then echo 200; else echo 201; fi; }

start_receiver() {
  go build -o "$tmp/receiver" ./bench/receiver
  : >"$tmp/record"
  "$tmp/receiver" -listen "$listen:0" -addr "$tmp/addr" -record "$tmp/record" &
  receiver=$!
  wait_for 10 test -s "$tmp/addr" || die "the step's endpoint does not listen"
  port=$(sed -n '1s/.*://p' "$tmp/addr")
}

start_receiver

send "$console/engine/step" '{"id":"'"$step"'","name":"Seed","type":"async",
  "attributes":{"seed":{"role":"required","type":"string"},"result":{"role":"output","type":"string"}},
  "http":{"endpoint":"http://'"$host:$port"'/step"}}'
expect "$(created)" "$step" "register an async step"

send "$console/engine/flow" '{"id":"'"$flow"'","goals":["'"$step"'"],"init":{"seed":"s"}}'
expect "$(created)" "\"flow_id\":\"$flow\"" "start a flow"

wait_for 60 invoked || die "no invocation came"
webhook=$(grep -F "\"flow_id\":\"$flow\"" "$tmp/record" | head -n 1 | sed -n 's/.*"webhook_url":"\([^"]*\)".*/\1/p')
case $webhook in
  "$gateway/webhook/$flow/$step/"*) say "ok   receive the invocation, with its webhook URL" ;;
  *) die "the invocation has the webhook URL '$webhook', not one of $gateway" ;;
esac

if [ $# -gt 0 ]; then
  say "now: $*"
  "$@" >/dev/null
  broken=yes
fi
began=$SECONDS
send "$webhook" "$result"
# What had no answer, or a 503, may have been accepted.
first=accepted
if [ "$tries" -gt 1 ] && grep -qF '"status":"replayed"' "$tmp/body"; then first=replayed; fi
expect 200 "\"status\":\"$first\"" "post the result (after $((SECONDS - began)) s)"
send "$webhook" "$result"
expect 200 '"status":"replayed"' "post the same again"
expect 200 'Idempotency-Replayed: true' "its header"
send "$webhook" '{"success":true,"outputs":{"result":"other"}}'
expect 409 urn:sluice:problem: "post another result"

# The first character of the token becomes another one.
token=${webhook##*/}
case $token in A*) forged=B${token#?} ;; *) forged=A${token#?} ;; esac
send "${webhook%/*}/$forged" "$result"
expect 404 urn:sluice:problem: "post with a changed token"

wait_for 60 completed || die "the flow did not complete: $body"
# The value and then the step that gave it, in whichever order.
tr -d ' \n' <"$tmp/body" | grep -qE '"result":\{[^{}]*"value":"ok"' || die "the flow's state does not show the result: $body"
say "ok   the flow's state: completed, result is ok"
