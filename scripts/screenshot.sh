#!/usr/bin/env bash
# Takes a picture of a page of a running gateway-cron with headless Chromium:
#
#   scripts/screenshot.sh http://127.0.0.1:19790 "" /monitoring/schedulers out.png
#
# Arguments: base URL (http), token, path, PNG file. An empty token means
# $GATEWAY_CRON_TOKEN, and if that is empty too, none: the page is then seen as
# by a stranger. SIZE=1280,800 is the default window; the browser's messages,
# among them refusals by the Content-Security-Policy, go to standard error.
# Needs chromium, Node.js and nothing from npm.
#
# The browser talks to a small proxy on a free local port, which adds the token
# as a header: so the token stands in no URL, no file and no argument of the
# browser. The browser runs without its sandbox, which containers do not allow;
# it only opens this one page.
set -euo pipefail

if [ $# -ne 4 ]; then
  echo "usage: screenshot.sh <base URL> <token or empty> <path> <out.png>" >&2
  exit 2
fi
base=${1%/} path=$3 out=$4
token=${2:-${GATEWAY_CRON_TOKEN:-}}
size=${SIZE:-1280,800}

browser=${CHROMIUM:-}
for name in chromium chromium-browser google-chrome; do
  browser=${browser:-$(command -v "$name" || true)}
done
if [ -z "$browser" ] || ! command -v node >/dev/null; then
  echo "screenshot.sh: needs chromium (or CHROMIUM=path) and node" >&2
  exit 1
fi

work=$(mktemp -d)
proxy=
cleanup() {
  if [ -n "$proxy" ]; then kill "$proxy" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap cleanup EXIT

BASE=$base TOKEN=$token node -e '
  const http = require("node:http");
  const base = new URL(process.env.BASE);
  http.createServer((req, res) => {
    const headers = { ...req.headers, host: base.host };
    if (process.env.TOKEN) headers.authorization = "Bearer " + process.env.TOKEN;
    const up = http.request(
      { host: base.hostname.replace(/^\[|\]$/g, ""), port: base.port || 80, method: req.method, path: req.url, headers },
      (answer) => { res.writeHead(answer.statusCode, answer.headers); answer.pipe(res); });
    up.on("error", (err) => { console.error(err.message); res.writeHead(502).end(); });
    req.pipe(up);
  }).listen(0, "127.0.0.1", function () { console.log(this.address().port); });
' >"$work/port" &
proxy=$!

for _ in $(seq 100); do
  [ -s "$work/port" ] && break
  kill -0 "$proxy" # the proxy ended: give up
  sleep 0.1
done
port=$(cat "$work/port")

"$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
  --disable-background-networking --disable-component-update --disable-sync \
  --hide-scrollbars --enable-logging=stderr --user-data-dir="$work/profile" \
  --window-size="$size" --virtual-time-budget=15000 --screenshot="$work/page.png" \
  "http://127.0.0.1:$port$path"
mv "$work/page.png" "$out"
