#!/usr/bin/env bash
# Makes sure that the model checker spin and the C compiler that it needs are on this
# machine: does nothing where they are, and otherwise installs them with the machine's
# own package manager, through sudo where that is needed.
set -euo pipefail

have_all() { command -v spin >/dev/null && command -v gcc >/dev/null; }

if have_all; then
  exit 0
fi

# The whole command at once: who has no sudo is told all of it.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    echo "spin or gcc is missing; running: $1"
    sh -c "$1"
  elif command -v sudo >/dev/null; then
    echo "spin or gcc is missing; running with sudo: $1"
    sudo sh -c "$1"
  else
    echo "spin or gcc is missing. As root, run: $1" >&2
    exit 1
  fi
}

if command -v apt-get >/dev/null; then
  as_root 'apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends spin gcc libc6-dev'
elif command -v brew >/dev/null; then
  echo "spin or gcc is missing; running: brew install spin"
  brew install spin # refuses to run as root; gcc comes with the command line tools
else
  echo "spin and gcc are needed: https://spinroot.com, or the package spin of your system." >&2
  exit 1
fi

if ! have_all; then
  echo "the packages were installed, but spin or gcc is not on the PATH" >&2
  exit 1
fi
spin -V
