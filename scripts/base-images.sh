#!/usr/bin/env bash
# Lays out, under the directory given, the file trees of the base images that the
# Dockerfile and docker-compose.yml name, from what this machine has:
#
#   golang/  a shell, the Go toolchain and the modules of go.mod
#   redis/   redis-server, redis-cli and the libraries that they load
#
# Nothing is pulled from an image registry.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:?usage: base-images.sh DIRECTORY}

# with_shell makes tree $1 one in which busybox stands for every command.
with_shell() {
  mkdir -p "$1/bin" "$1/tmp" "$1/etc"
  cp "$(command -v busybox)" "$1/bin/busybox"
  local name
  for name in sh mkdir ls cat; do ln -s busybox "$1/bin/$name"; done
  echo 'root:x:0:0:root:/root:/bin/sh' >"$1/etc/passwd"
  echo 'root:x:0:' >"$1/etc/group"
  chmod 1777 "$1/tmp"
}

# with_libraries copies the programs $2... into tree $1 with all they load.
with_libraries() {
  local tree=$1 program file
  shift
  for program in "$@"; do
    program=$(command -v "$program")
    mkdir -p "$tree/usr/local/bin"
    cp -L "$program" "$tree/usr/local/bin/"
    for file in $(ldd "$program" | grep -oE '/[^ ]+'); do
      mkdir -p "$tree$(dirname "$file")"
      cp -nL "$file" "$tree$file"
    done
  done
}

with_shell "$out/golang"
mkdir -p "$out/golang/usr/local" "$out/golang/etc/ssl/certs"
cp -a "$(go env GOROOT)" "$out/golang/usr/local/go"
cp -L /etc/ssl/certs/ca-certificates.crt "$out/golang/etc/ssl/certs/"
# From this machine's cache where it has them, else from the proxy in use.
GOMODCACHE="$out/golang/go/pkg/mod" GOFLAGS=-modcacherw \
  GOPROXY="file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)" \
  go mod download

with_shell "$out/redis"
with_libraries "$out/redis" redis-server redis-cli
echo 'redis:x:999:999:redis:/data:/bin/sh' >>"$out/redis/etc/passwd"
echo 'redis:x:999:' >>"$out/redis/etc/group"
mkdir "$out/redis/data"
chown 999:999 "$out/redis/data"
