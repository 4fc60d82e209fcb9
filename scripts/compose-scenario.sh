#!/usr/bin/env bash
# The inner half of compose-test.sh, run by it in namespaces of its own: starts
# the engine, loads the base images from the directory given, and plays the
# scenario.
set -euo pipefail
cd "$(dirname "$0")/.."

work=${1:?usage: compose-scenario.sh DIRECTORY, by compose-test.sh alone}
export DOCKER_HOST="unix://$work/docker.sock"
export COMPOSE_PROJECT_NAME=gateway-cron-test
token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
channel_token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
export GATEWAY_CRON_TOKEN=$token
export GATEWAY_CRON_CHANNEL_MANAGER_URL=http://host.docker.internal:39300
export GATEWAY_CRON_CHANNEL_MANAGER_TOKEN=$channel_token
export JOURNAL_DIR="$work/journal"
cgroup=$(basename "$work")
api=http://127.0.0.1:19790

say() { printf '%s  %s\n' "$(date -u +%H:%M:%S)" "$*"; }

fail() {
  say "FAILED: $*"
  say "the containers' last words:"
  compose ps || true
  compose logs --no-color --tail=15 || true
  exit 1
}

# compose is the plugin where the client has it, else the older program of its own.
compose() {
  local program=(docker-compose)
  if docker compose version >/dev/null 2>&1; then program=(docker compose); fi
  "${program[@]}" -f docker-compose.yml -f scripts/compose-test.yml "$@"
}

# wait_for repeats a command once a second until it succeeds.
wait_for() {
  local seconds=$1 what=$2 i
  shift 2
  for ((i = 0; i < seconds; i++)); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 1
  done
  fail "$what: not within $seconds s"
}

call() { curl --fail-with-body -sS -m 10 -H "Authorization: Bearer $token" -H 'Content-Type: application/json' "$@"; }

start_engine() {
  ip link set lo up
  mount -t tmpfs tmpfs /run # sockets of the engine's parts
  # The stand-ins listen on loopback, as the servers that they stand for; in this
  # namespace alone, containers that ask for the host are led there.
  echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
  iptables -t nat -A PREROUTING -p tcp -m addrtype --dst-type LOCAL -m multiport --dports 39200,39300 \
    -j DNAT --to-destination 127.0.0.1
  dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/dockerd.pid" \
    -H "$DOCKER_HOST" --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$cgroup" >"$work/dockerd.log" 2>&1 &
  engine=$!
  trap stop_engine EXIT
  local i
  for ((i = 0; i < 60; i++)); do
    if docker info >/dev/null 2>&1; then return; fi
    sleep 0.5
  done
  tail -20 "$work/dockerd.log"
  say "FAILED: the engine did not start"
  exit 1
}

# stop_engine leaves no container behind: the namespaces end processes and
# mounts, but control groups outlive them.
stop_engine() {
  compose down --volumes --timeout 5 >/dev/null 2>&1 || true
  kill "$engine" 2>/dev/null || true
  wait "$engine" 2>/dev/null || true
  find /sys/fs/cgroup -depth -type d -path "*/$cgroup*" -exec rmdir {} + 2>/dev/null || true
}

# load_image imports tree $2 as image $1, with the settings that the rest give.
load_image() {
  local name=$1 tree=$2 change changes=()
  shift 2
  for change in "$@"; do changes+=(--change "$change"); done
  tar -C "$tree" --numeric-owner -c . | docker import "${changes[@]}" - "$name" >/dev/null
  rm -rf "$tree"
}

containers() { docker ps -q --filter "label=com.docker.compose.service=$1" "${@:2}"; }
healthy() { [ "$(containers "$1" --filter health=healthy | wc -l)" -eq "$2" ]; }

# succeeded counts the scheduled runs of the job that succeeded and whose reply
# the channel took.
runs() { call "$api/api/cron/jobs/$job/runs?limit=100"; }
succeeded() { runs | jq '[.runs[] | select(.trigger == "schedule" and .outcome == "succeeded" and .delivery == "delivered")] | length'; }
succeeded_at_least() { [ "$(succeeded)" -ge "$1" ]; }

finished() { runs | jq -e 'all(.runs[]; .state == "done" and .delivery != "pending")'; }

# judge prints what is wrong between what the history says and what the
# stand-ins wrote down in directory $1; nothing if all is well.
judge() {
  jq -rn --argjson history "$(runs)" \
    --slurpfile calls "$1/ai.jsonl" --slurpfile messages "$1/channel.jsonl" '
    ($history.runs | sort_by(.slot)) as $runs
    | [$runs[] | range(.slot; (.lastSlot // .slot) + 1; 60000)] as $slots
    | [$runs[] | select(.outcome == "succeeded") | .id] as $succeeded
    | ([$calls[] | select(.kind == "chat") | .idempotencyKey] | sort) as $asked
    | ([$messages[].idempotencyKey | sub(":[0-9]+:[0-9]+$"; "")] | sort) as $sent # less delivery and part
    | if ($slots != [range($slots[0]; $slots[-1] + 1; 60000)]) then "slots recorded twice or not at all: \($slots)" else empty end,
      if ($asked != ($succeeded | sort)) then "asked \($asked), but succeeded \($succeeded)" else empty end,
      if ($sent != ($succeeded | sort)) then "sent \($sent), but succeeded \($succeeded)" else empty end'
}

summary() {
  runs | jq -r '[.runs[] | .count // 1] as $counts
    | "\($counts | add) slots, each recorded once; \([.runs[] | select(.outcome == "succeeded")] | length) runs, each asked once and sent once"'
}

# bring_up brings everything up, with what compose up is given, and waits until
# the number of workers that it is told is healthy.
bring_up() {
  local workers=$1
  shift
  compose up -d "$@" >"$work/up.log" 2>&1 || { cat "$work/up.log"; fail "compose up"; }
  wait_for 90 "redis is healthy" healthy redis 1
  wait_for 90 "the API is healthy" healthy api 1
  wait_for 90 "two schedulers are healthy" healthy scheduler 2
  wait_for 90 "$workers workers are healthy" healthy worker "$workers"
}

say "engine: $(dockerd --version)"
say "compose: $(compose version | head -1)"
start_engine
mkdir -m 0777 "$JOURNAL_DIR"
load_image redis:7 "$work/redis" 'WORKDIR /data' 'CMD ["redis-server"]'
load_image golang:1.26 "$work/golang" \
  'ENV PATH=/usr/local/go/bin:/bin GOPATH=/go GOTOOLCHAIN=local GOPROXY=off GOFLAGS=-modcacherw' 'WORKDIR /go'

say "building the image from the Dockerfile"
compose build api >"$work/build.log" 2>&1 || { tail -40 "$work/build.log"; fail "compose build"; }
say "image: $(docker image inspect -f '{{.Size}}' gateway-cron:latest | awk '{printf "%.1f MB", $1/1e6}')"

say "bringing it up as it is: redis, api, 2 schedulers, 2 workers"
bring_up 2
say "scaling to 3 workers"
bring_up 3 --scale worker=3

if curl -fsS -m 10 "$api/api/cron/jobs" >/dev/null 2>&1; then fail "the API answered without the token"; fi
created=$(call -X POST "$api/api/cron/jobs" -d '{"schedule":"* * * * *","task":"compose test","channel":"recorder","chat_id":"1"}') ||
  fail "create a job: $created"
job=$(jq -r .id <<<"$created")
say "job $job: every minute"
wait_for 90 "the first run is delivered" succeeded_at_least 1
say "the first run is delivered"

# The name of a worker begins with its host's, which is the container's id.
victim=$(runs | jq -r '.runs[0].attempts[-1].worker' | cut -d- -f1)
kill -9 "$(docker inspect -f '{{.State.Pid}}' "$victim")" || fail "kill worker $victim"
say "killed the worker that ran it, $victim"
wait_for 90 "the second run is delivered" succeeded_at_least 2
say "the second run is delivered"
wait_for 60 "the killed worker is back" healthy worker 3
[ "$(docker inspect -f '{{.RestartCount}}' "$victim")" -ge 1 ] || fail "worker $victim was not killed"

before=$(runs) || fail "read the history"
compose down --timeout 20 >/dev/null 2>&1 || fail "compose down"
say "everything down; up again with the same volume"
bring_up 3 --scale worker=3
[ "$(call "$api/api/cron/jobs/$job" | jq -r .id)" = "$job" ] || fail "the job is gone after down and up"
lost=$(jq -n --argjson a "$before" --argjson b "$(runs)" '[$a.runs[] | select(.state == "done") | .id] - [$b.runs[].id]')
[ "$lost" = "[]" ] || fail "runs lost from the history by down and up: $lost"
wait_for 120 "a run after the restart is delivered" succeeded_at_least "$(($(jq '[.runs[] | select(.outcome == "succeeded")] | length' <<<"$before") + 1))"
say "job and history kept; it fires again"

call -X PATCH "$api/api/cron/jobs/$job" -d '{"enabled":false}' >/dev/null || fail "pause the job"
wait_for 60 "no run is unfinished" finished
verdict=$(judge "$JOURNAL_DIR") || fail "the journals could not be read"
[ -z "$verdict" ] || fail "$verdict"
# What finds nothing must be able to find something.
for journal in ai channel; do
  cp -r "$JOURNAL_DIR" "$work/doubled-$journal"
  tail -n 1 "$JOURNAL_DIR/$journal.jsonl" >>"$work/doubled-$journal/$journal.jsonl"
  [ -n "$(judge "$work/doubled-$journal")" ] || fail "the judge does not see a doubled line in $journal.jsonl"
done
say "PASSED: $(summary)"
