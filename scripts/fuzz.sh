#!/usr/bin/env bash
# Runs the fuzz targets of the module whose names match FUZZ (a regular expression;
# default all), one after the other, FUZZTIME each (default 30s). An input that fails is written to the package's testdata/fuzz:
# commit it with the fix, and every later test run repeats it.
set -euo pipefail
cd "$(dirname "$0")/.."

fuzztime=${FUZZTIME:-30s}
wanted=${FUZZ:-.}
found=0
while IFS=: read -r file target; do
  found=$((found + 1))
  echo "fuzz ./$(dirname "$file") $target for $fuzztime"
  go test -run='^$' -fuzz="^$target\$" -fuzztime="$fuzztime" "./$(dirname "$file")" |
    grep -v '^fuzz: elapsed' # progress, every three seconds
done < <(
  find . -path './.*' -prune -o -path ./tools -prune -o -name '*_test.go' -print0 |
    xargs -0 grep -HoE '^func Fuzz[A-Za-z0-9_]+' |
    sed 's|^\./||; s|func ||' | grep -E ":($wanted)" | sort
)

if [ "$found" -eq 0 ]; then
  echo "no fuzz target found: the search is broken" >&2
  exit 1
fi
