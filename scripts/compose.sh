#!/usr/bin/env bash
# docker compose, or docker-compose where that is what there is. Arguments: as for either.
set -euo pipefail
cd "$(dirname "$0")/.."

if docker compose version >/dev/null 2>&1; then
  exec docker compose "$@"
fi
# The build that 1.29 calls by default.
exec env DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0 docker-compose "$@"
