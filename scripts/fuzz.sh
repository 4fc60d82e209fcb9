#!/usr/bin/env bash
# Runs the fuzz targets of the module whose names match FUZZ (a regular expression;
# default all), one after the other, FUZZTIME each (default 30s). An input that fails
# is written to the package's testdata/fuzz: commit it with the fix, and every later
# test run repeats it.
set -euo pipefail
cd "$(dirname "$0")/.."

fuzztime=${FUZZTIME:-30s}
wanted=${FUZZ:-.}
found=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# seconds is a time as Go writes it, in whole seconds: 90 for 1m30s. Fractions and a number
# of inputs (100x) are no such time.
seconds() {
  [[ $1 =~ ^(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?$ ]] && [ -n "$1" ] &&
    echo $((10#0${BASH_REMATCH[2]} * 3600 + 10#0${BASH_REMATCH[4]} * 60 + 10#0${BASH_REMATCH[6]}))
}

# ended reports whether a target failed only because its time was up: Go (1.26 and
# before, golang/go#75804) now and then reports the end of -fuzztime as a failure.
# Then the deadline is all it has to say, and that no sooner than its time was up; an
# input that fails is named.
ended() {
  local least elapsed
  least=$(seconds "$fuzztime") &&
    elapsed=$(seconds "$(sed -nE 's/^fuzz: elapsed: ([^,]*),.*/\1/p' "$out" | tail -n 1)") &&
    [ "$elapsed" -ge "$least" ] &&
    [ "$(grep -A1 '^--- FAIL' "$out" | tail -n 1 | tr -d ' ')" = contextdeadlineexceeded ] &&
    ! grep -qE 'Failing input|hung or terminated|panic' "$out"
}

while IFS=: read -r file target; do
  found=$((found + 1))
  echo "fuzz ./$(dirname "$file") $target for $fuzztime"
  if go test -run='^$' -fuzz="^$target\$" -fuzztime="$fuzztime" "./$(dirname "$file")" >"$out" 2>&1; then
    grep -v '^fuzz: elapsed' "$out" # progress, every three seconds
  elif ended; then
    echo "ok: $(grep '^fuzz: elapsed' "$out" | tail -n 1), and the end of its time taken for a failure by Go"
  else
    cat "$out"
    exit 1
  fi
done < <(
  find . -path './.*' -prune -o -path ./tools -prune -o -name '*_test.go' -print0 |
    xargs -0 grep -HoE '^func Fuzz[A-Za-z0-9_]+' |
    sed 's|^\./||; s|func ||' | grep -E ":($wanted)" | sort
)

if [ "$found" -eq 0 ]; then
  echo "no fuzz target found: the search is broken" >&2
  exit 1
fi
