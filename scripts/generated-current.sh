#!/usr/bin/env bash
# Fails when the checked-in Go of proto/ is not what its .proto files give.
set -euo pipefail
cd "$(dirname "$0")/../proto"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/checked-in" "$tmp/generated"

# Whole trees are compared: what no .proto file gives any more counts too.
find . -name '*.pb.go' -exec cp --parents -t "$tmp/checked-in" {} +
../bin/buf generate -o "$tmp/generated"
if ! (cd "$tmp" && diff -ru checked-in generated); then
  echo "the generated code is not current: run make generate" >&2
  exit 1
fi
