#!/usr/bin/env bash
# Checks that what the pages name is there: tests and benchmarks in backticks, and files that links lead to.
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t pages < <(git ls-files --cached --others --exclude-standard '*.md')
status=0

defined=$(git grep --untracked -hoE '^func (Test|Benchmark|Fuzz)[A-Za-z0-9_]+' -- '*_test.go' | sed 's/^func //' | sort -u)
# shellcheck disable=SC2016 # the backticks are the pages'
while IFS=: read -r page name; do
  if ! grep -qx "$name" <<<"$defined"; then
    echo "$page names $name, which no test file defines"
    status=1
  fi
done < <(grep -HoE '`(Test|Benchmark|Fuzz)[A-Z][A-Za-z0-9_]*`' "${pages[@]}" | tr -d '`' | sort -u)

while IFS=: read -r page link; do
  target=${link#](}
  target=${target%)}
  target=${target%%#*}
  case $target in '' | *://* | mailto:*) continue ;; esac
  if [ ! -e "$(dirname "$page")/$target" ]; then
    echo "$page links to $target, which is not there"
    status=1
  fi
done < <(grep -HoE '\]\([^) ]+\)' "${pages[@]}" | sort -u)

exit "$status"
