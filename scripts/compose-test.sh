#!/usr/bin/env bash
# Proves docker-compose.yml with a real engine and no image registry.
#
# A Docker engine of its own runs in namespaces of its own (network, mounts,
# processes): it touches no other engine, no firewall rule and no interface of
# this machine, and all of it ends with this script. The base images are made of
# what the machine has, under the names that the Dockerfile and the compose file
# use, so that both are tested as they are.
#
# The judge is the journal of the stand-ins, an ai-server and a channel that
# write down what they receive: for each slot one question and one message, with
# three workers, with one of them killed, and after down and up again.
#
# Needs Linux and root (sudo make compose-test).
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(uname -s)" != Linux ] || [ "$(id -u)" -ne 0 ]; then
  echo "compose-test needs Linux and root: sudo make compose-test" >&2
  exit 1
fi

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need dockerd docker.io
need docker docker.io
docker compose version >/dev/null 2>&1 || need docker-compose docker-compose
need redis-server redis-server
need busybox busybox-static
need iptables iptables
need ip iproute2
need unshare util-linux
need curl curl
need jq jq
if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "install these first: ${missing[*]}" >&2
    exit 1
  fi
  echo "installing: ${missing[*]}"
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/compose-test.XXXXXX")
trap 'rm -rf "$work"' EXIT

scripts/base-images.sh "$work"

# When the first process of the namespace ends, the kernel ends all the others.
unshare --net --mount --pid --fork --kill-child --mount-proc scripts/compose-scenario.sh "$work"
