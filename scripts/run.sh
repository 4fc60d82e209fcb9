#!/usr/bin/env bash
# Runs the binary that it is given: for real where an ai-server is to be had,
# else as the demo. Says which, and why.
set -euo pipefail

binary=${1:?usage: run.sh path/to/gateway-cron}
default_host=127.0.0.1
default_port=39200

# ai_server_answers asks GET /health of the default address, with bash alone:
# curl is not on every machine.
ai_server_answers() (
  exec 3<>"/dev/tcp/$default_host/$default_port" || exit 1
  printf 'GET /health HTTP/1.0\r\nHost: %s\r\n\r\n' "$default_host" >&3
  read -r -t 3 status <&3 || exit 1
  case $status in
    HTTP/1.?" 200"*) exit 0 ;;
    *) exit 1 ;;
  esac
) 2>/dev/null

# Without a Redis of the operator's, the binary runs one of its own.
if [ -z "${GATEWAY_CRON_REDIS_URL:-}" ]; then
  "$(dirname "$0")/install-redis.sh"
fi

# try_it prints commands to copy. The job that they make is paused, so that only its runs
# by hand cost a turn.
try_it() {
  printf '%s\n' 'When it is ready, in another terminal, from here and with the same GATEWAY_CRON_ variables:' '' \
    "  $binary job add @daily 'Say hello in one sentence' --id hello --enabled=false; $binary job run hello --wait" \
    "  $binary jobs" \
    "  $binary doctor" ''
}

if [ -n "${GATEWAY_CRON_AI_SERVER_URL:-}" ]; then
  try_it
  echo "Serving with the ai-server of GATEWAY_CRON_AI_SERVER_URL."
  exec "$binary" serve
fi
if ai_server_answers; then
  try_it
  echo "Serving with the ai-server found at http://$default_host:$default_port."
  exec "$binary" serve
fi
echo "No ai-server: GATEWAY_CRON_AI_SERVER_URL is not set and http://$default_host:$default_port/health does not answer."
echo "Running the demo instead: an ai-server that echoes the task and a channel that only writes down."
exec "$binary" demo
