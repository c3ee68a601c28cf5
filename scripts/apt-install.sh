#!/usr/bin/env bash
# Installs Debian packages whose programs are missing, without starting their services.
# Arguments: program:package ..., such as redis-server:redis-server.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
source scripts/lib.sh
export DEBIAN_FRONTEND=noninteractive

packages=()
for pair in "$@"; do
  command -v "${pair%%:*}" >/dev/null || packages+=("${pair#*:}")
done
[ "${#packages[@]}" -gt 0 ] || exit 0
[ "$(id -u)" -eq 0 ] || die "missing, install them first: ${packages[*]}"

# Packages start their services unless this policy says no (invoke-rc.d asks it).
readonly policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi

readonly retries=Acquire::Retries=3
apt-get -o "$retries" update -q
apt-get -o "$retries" install -y -q --no-install-recommends "${packages[@]}"
