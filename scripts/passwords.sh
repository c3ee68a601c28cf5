#!/usr/bin/env bash
# Prints a random password for each user of docker-compose.yml on NATS and Redis, for the file .env, which compose reads:
#
#   (umask 077 && scripts/passwords.sh >.env)
set -euo pipefail

for name in NATS_{GATEWAY,ENGINE,DISPATCHER,CONSOLE,EVENTS,CLUSTER} REDIS_{GATEWAY,ENGINE,DISPATCHER}; do
  printf '%s_PASSWORD=%s\n' "$name" "$(od -An -tx1 -N16 /dev/urandom | tr -d ' \n')"
done
