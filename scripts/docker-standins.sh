#!/usr/bin/env bash
# Makes local stand-ins for the images that the Dockerfile and docker-compose.yml name, under the same tags, for a machine that cannot
# pull them: Debian's redis-server and haproxy, nats-server from the module proxy, this machine's Go toolchain and the modules that the
# build needs. They hold what is used of the originals and no more; never push them. Needs root, Debian, Go and a Docker daemon.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# tag NAME: the image of that name as docker-compose.yml spells it, tag included.
tag() { sed -n "s|^ *image: \($1:[^ ]*\)\$|\1|p" docker-compose.yml | head -n 1; }

# add_program ROOT PROGRAM: puts a program and the libraries that it is linked with into the file system ROOT.
add_program() {
  local root=$1 program=$2 library
  mkdir -p "$root/usr/local/bin"
  cp -L "$program" "$root/usr/local/bin/"
  { ldd "$program" 2>/dev/null || true; } | grep -oE '/[^ ]+' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
}

# new_root NAME: a file system with a shell and the small tools that the originals bring from Alpine. Prints where.
new_root() {
  local root=$tmp/$1
  mkdir -p "$root/bin" "$root/etc" "$root/tmp" "$root/data"
  chmod 1777 "$root/tmp"
  cp "$(command -v busybox)" "$root/bin/busybox"
  for tool in sh wget cp mkdir ls cat; do ln -s busybox "$root/bin/$tool"; done
  printf '%s\n' "$root"
}

# image TAG ROOT [DOCKERFILE LINE]...: makes the file system an image.
image() {
  local name=$1 root=$2
  shift 2
  printf '%s\n' 'FROM scratch' 'COPY . /' 'ENV PATH=/usr/local/go/bin:/usr/local/bin:/bin' "$@" >"$root.Dockerfile"
  # The file comes by standard input with the context, so that it is not copied into the image.
  DOCKER_BUILDKIT=0 docker build -q -t "$name" -f "$root.Dockerfile" "$root" >/dev/null
  rm -rf "$root"
  say "stand-in for $name"
}

redis() {
  local root
  root=$(new_root redis)
  add_program "$root" "$(command -v redis-server)"
  add_program "$root" "$(command -v redis-cli)"
  image "$(tag redis)" "$root"
}

haproxy() {
  local root
  root=$(new_root haproxy)
  add_program "$root" "$(type -P haproxy)"
  image "$(tag haproxy)" "$root"
}

nats() {
  local root version
  root=$(new_root nats)
  # The version that the tests run against.
  version=$(GOWORK=off go -C services list -m -f '{{.Version}}' github.com/nats-io/nats-server/v2)
  GOBIN="$root/usr/local/bin" CGO_ENABLED=0 go install "github.com/nats-io/nats-server/v2@$version"
  image "$(tag nats)" "$root"
}

golang() {
  local root name
  root=$(new_root golang)
  name=$(sed -n 's/^ARG GO_IMAGE=//p' deployments/Dockerfile)
  mkdir -p "$root/usr/local" "$root/etc/ssl/certs" "$root/modules"
  cp -a "$(go env GOROOT)" "$root/usr/local/go"
  rm -rf "$root/usr/local/go/test" "$root/usr/local/go/doc" "$root/usr/local/go/api"
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  # The build in the container then needs no network: a cache of exactly the modules of services/.
  GOWORK=off GOFLAGS=-modcacherw GOMODCACHE="$root/modules" GOPROXY="file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)" \
    go -C services mod download
  rm -rf "$root/modules/cache/vcs"
  image "$name" "$root" 'ENV GOMODCACHE=/modules GOPROXY=off GOSUMDB=off GOCACHE=/tmp/go-build GOFLAGS=-mod=readonly'
}

scripts/apt-install.sh busybox:busybox-static redis-server:redis-server redis-cli:redis-tools haproxy:haproxy
case "$*" in
  '') redis; haproxy; nats; golang ;;
  *) for name in "$@"; do "$name"; done ;;
esac
