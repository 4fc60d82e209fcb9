#!/usr/bin/env bash
# Makes sure that redis-server is on this machine: does nothing where it is, and
# otherwise installs it with the machine's own package manager, through sudo
# where that is needed. The embedded default and the tests start their own
# server on a unix socket; one that the package may start is not used.
set -euo pipefail

if command -v redis-server >/dev/null; then
  exit 0
fi

# The whole command at once: who has no sudo is told all of it.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    echo "redis-server is missing; running: $1"
    sh -c "$1"
  elif command -v sudo >/dev/null; then
    echo "redis-server is missing; running with sudo: $1"
    sudo sh -c "$1"
  else
    echo "redis-server is missing. As root, run: $1" >&2
    exit 1
  fi
}

if command -v apt-get >/dev/null; then
  as_root 'apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y redis-server'
elif command -v brew >/dev/null; then
  echo "redis-server is missing; running: brew install redis"
  brew install redis # refuses to run as root
elif command -v dnf >/dev/null; then
  as_root 'dnf install -y redis'
elif command -v apk >/dev/null; then
  as_root 'apk add redis'
else
  echo "redis-server is missing and no package manager known here (apt, brew, dnf, apk) was found." >&2
  echo "Install Redis 7 or newer, or set GATEWAY_CRON_REDIS_URL to one that runs elsewhere." >&2
  exit 1
fi

if ! command -v redis-server >/dev/null; then
  echo "the package was installed, but redis-server is not on the PATH" >&2
  exit 1
fi
redis-server --version
