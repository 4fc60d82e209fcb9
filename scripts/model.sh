#!/usr/bin/env bash
# Checks the models of the protocol in model/ with spin, two things at a time:
#
#   holds  every execution, with any number of faults: no promise is broken
#   ends   every execution with a few faults comes to an end (no cycle), and in the
#          end everything has its record
#   breaks with one rule taken out, the promise that it keeps is broken, and no other
#
# A search that was cut short counts as failed. MODEL_KEEP=dir keeps what a check left
# behind, for spin -t -p to walk through.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install-spin.sh

readonly MEMORY=450 # MB for one search
readonly DEPTH=20000

# kind | model | options | with breaks: the promise
checks='
holds|run|-DWORKERS=3
ends|run|-DFAULTS=3
breaks|run|-DMUTANT_NO_CURSOR_CHECK|one_record
breaks|run|-DMUTANT_COLLAPSE_BLIND|one_record
breaks|run|-DMUTANT_OVERLAP_IGNORED|no_overlap
breaks|run|-DMUTANT_NO_TOKEN|one_call
breaks|run|-DMUTANT_NO_EPOCH|never_overtaken
breaks|run|-DMUTANT_ONE_LOOK|never_overtaken
breaks|run|-DMUTANT_NO_GAP|never_overtaken
breaks|run|-DMUTANT_NO_LEASE|never_overtaken
breaks|run|-DMUTANT_NO_COMMIT_TOKEN|never_overtaken
breaks|run|-DMUTANT_COMMIT_ANY_EPOCH|own_epoch
breaks|run|-DMUTANT_COMMIT_TWICE|one_commit
breaks|run|-DMUTANT_COMMIT_AFTER_END|ends_once
breaks|run|-DENDING -DFAULTS=1 -DMUTANT_DONE_BEGINS|paid_once
breaks|run|-DMUTANT_RETRIES_UNBOUNDED|bounded
breaks|run|-DENDING -DMUTANT_NO_WAKE|every_slot_ends
holds|run|-DAMBIGUOUS_FAILS
breaks|run|-DAMBIGUOUS_FAILS -DMUTANT_AMBIGUOUS_RETRIED|ambiguous_ends
holds|run|-DPAUSE
ends|run|-DPAUSE -DFAULTS=1
breaks|run|-DPAUSE -DMUTANT_JOB_NOT_READ|pause_holds
breaks|run|-DPAUSE -DMUTANT_EDIT_BLIND|one_record
holds|run|-DOTHERS=1 -DMAX_ATTEMPTS=2
ends|run|-DOTHERS=1 -DMAX_ATTEMPTS=2 -DFAULTS=1
holds|run|-DOVERLAP=ALLOW -DSLOTS=3 -DMAX_ATTEMPTS=2
ends|run|-DOVERLAP=ALLOW -DSLOTS=3 -DMAX_ATTEMPTS=2 -DFAULTS=1
breaks|run|-DOVERLAP=ALLOW -DMUTANT_LOCK_IGNORED|one_holder
breaks|run|-DOVERLAP=ALLOW -DENDING -DMUTANT_LOCK_NOT_HANDED_ON|every_slot_ends
holds|run|-DOVERLAP=QUEUE_ONE -DCANCEL -DSLOTS=3 -DMAX_ATTEMPTS=2
ends|run|-DOVERLAP=QUEUE_ONE -DCANCEL -DSLOTS=3 -DMAX_ATTEMPTS=2 -DFAULTS=1
breaks|run|-DOVERLAP=QUEUE_ONE -DSLOTS=3 -DMUTANT_QUEUE_MANY|no_overlap
breaks|run|-DOVERLAP=QUEUE_ONE -DENDING -DMUTANT_QUEUED_NOT_WOKEN|every_slot_ends
holds|run|-DOVERLAP=CANCEL_PREVIOUS -DOTHERS=1 -DMAX_ATTEMPTS=2
ends|run|-DOVERLAP=CANCEL_PREVIOUS -DOTHERS=1 -DMAX_ATTEMPTS=2 -DFAULTS=1
breaks|run|-DOVERLAP=CANCEL_PREVIOUS -DMUTANT_CANCEL_UNFENCED|cancelled_stays
breaks|run|-DOVERLAP=CANCEL_PREVIOUS -DMUTANT_CANCEL_DONE|committed_stays
holds|run|-DRUN_ALL -DSLOTS=3 -DMAX_ATTEMPTS=2
ends|run|-DRUN_ALL -DSLOTS=3 -DMAX_ATTEMPTS=2
breaks|run|-DRUN_ALL -DMUTANT_CATCH_UP_AT_ONCE|no_overlap
breaks|run|-DRUN_ALL -DENDING -DMUTANT_NOT_DUE_AGAIN|every_slot_ends
holds|deliver|-DFAULTS=4
ends|deliver|-DFAULTS=3
holds|deliver|-DFAILOVER
ends|deliver|-DFAILOVER -DFAULTS=2
breaks|deliver|-DMUTANT_REPEAT_BEGUN|sent_once
breaks|deliver|-DMUTANT_NO_EPOCH|never_overtaken
breaks|deliver|-DMUTANT_ONE_LOOK|never_overtaken
breaks|deliver|-DENDING -DMUTANT_NO_LEASE|told_right
breaks|deliver|-DMUTANT_SEND_RESENT|told_right
breaks|deliver|-DFAILOVER -DMUTANT_BEGIN_NOT_WAITED_FOR|sent_once
breaks|deliver|-DFAILOVER -DMUTANT_FORGET_ANY_PART|sent_once
breaks|deliver|-DENDING -DMUTANT_WAITING_NOT_CARRIED|delivery_ends
breaks|deliver|-DMUTANT_WAITS_FOR_EVER|non-progress cycle
'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
models=$PWD/model

# search DIR WHAT compiles the search for assertions or for cycles in the model of DIR
# and runs it: its report is DIR/report. Without optimizing, which takes longer than it
# saves; without the reduction, which the models leave nothing to do.
search() {
  local compiler=-DSAFETY arguments=()
  if [ "$2" = cycles ]; then
    compiler=-DNP arguments=(-l)
  fi
  (
    cd "$1"
    gcc -O0 $compiler -DNOREDUCE -DNOFAIR -DMEMLIM=$MEMORY -w -o pan pan.c >compiled 2>&1 || { cat compiled && exit 1; }
    ./pan "${arguments[@]}" -m$DEPTH -w22
  ) >"$1/report" 2>&1 || true
}

# number NAME FILE is the number that the report in FILE gives for states or depth.
number() {
  case $1 in
    states) sed -nE 's/^ *([0-9.e+]+) states, stored.*/\1/p' "$2" ;;
    depth) sed -nE 's/.*depth reached ([0-9]+),.*/\1/p' "$2" ;;
  esac
}

# complete FILE: the search went through everything and found nothing.
complete() {
  grep -q 'errors: 0$' "$1" && ! grep -qE 'search depth too small|out of memory|not completed|^error:|^pan:1:' "$1"
}

check() {
  local kind=$1 model=$2 options=$3 promise=$4 dir=$5 defs=() result=FAILED what states depth
  read -ra defs <<<"$options"
  [ "$kind" != ends ] || defs+=(-DENDING)
  if ! (cd "$dir" && spin -a "${defs[@]}" "$models/$model.pml") >"$dir/spin" 2>&1; then
    cp "$dir/spin" "$dir/report"
  elif [ "$kind" = breaks ] && [ "$promise" = 'non-progress cycle' ]; then
    search "$dir" cycles
    ! grep -q "^pan:1: $promise" "$dir/report" || result='ok, breaks'
  elif [ "$kind" = breaks ]; then
    search "$dir" assertions
    ! grep -q "^pan:1: assertion violated ($promise||" "$dir/report" || result='ok, breaks'
  elif [ "$kind" = ends ]; then
    search "$dir" cycles
    ! complete "$dir/report" || result=ok
  else
    search "$dir" assertions
    ! complete "$dir/report" || result=ok
  fi
  states=$(number states "$dir/report")
  depth=$(number depth "$dir/report")
  case $kind in
    holds) what='nothing is broken' ;;
    ends) what='everything ends' ;;
    breaks) what=$promise ;;
  esac
  printf '%-8s %-66s %-18s %9.0f %6s  %s\n' "$model" "${options//-D/}" "$what" "${states:-0}" "${depth:-0}" "$result" >"$dir/row"
  [ "$result" != FAILED ] || touch "$dir/failed"
}

started=$SECONDS
width=$(getconf _NPROCESSORS_ONLN)
n=0
while IFS='|' read -r kind model options promise; do
  [ -n "$kind" ] || continue
  while [ "$(jobs -rp | wc -l)" -ge "$width" ]; do wait -n || true; done
  n=$((n + 1))
  dir=$work/$(printf %03d $n)
  mkdir "$dir"
  check "$kind" "$model" "$options" "${promise:-}" "$dir" &
done <<<"$checks"
wait

printf '%-8s %-66s %-18s %9s %6s  %s\n' model options promise states depth result
cat "$work"/*/row
printf '%d checks, %d s\n' "$n" $((SECONDS - started))

if [ -n "${MODEL_KEEP:-}" ]; then
  cp -r "$work/." "$MODEL_KEEP"
fi
if [ "$(cat "$work"/*/row | wc -l)" -ne "$n" ] || compgen -G "$work/*/failed" >/dev/null; then
  for failed in "$work"/*/failed; do
    dir=$(dirname "$failed")
    echo
    cat "$dir/row"
    head -30 "$dir/report"
  done
  exit 1
fi
