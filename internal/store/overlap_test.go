package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// overlapping is a job under way whose next slot is due as well.
func (f *fixture) overlapping(id string, overlap job.Overlap) (previous job.Begun, next job.Millis) {
	f.t.Helper()
	spec := everyMinute()
	spec.Overlap = overlap
	j := f.create(id, spec)
	first := f.minute(-2)
	f.rewind(id, first)
	previous = f.claim(j, first, newToken())
	if previous.Verdict != job.BeginOK {
		f.t.Fatalf("claim: %s", previous.Verdict)
	}
	return previous, first + 60_000
}

func TestOverlapAllow(t *testing.T) {
	f := setup(t, Options{})
	previous, next := f.overlapping("a", job.OverlapAllow)
	second := f.claim(f.job("a"), next, newToken())
	// The same session: not beside each other.
	if second.Verdict != job.BeginParked {
		t.Fatalf("the next slot: %s", second.Verdict)
	}
	carriers := f.commit(previous, "one")
	if len(carriers) != 1 || carriers[0].ID != job.RunID("a", next) {
		t.Fatalf("carriers %v", carriers)
	}
	f.commit(f.begin(carriers[0].ID), "two")
	for _, r := range f.runs("a") {
		if r.Outcome != job.Succeeded {
			t.Errorf("%s: %s (%s)", r.ID, r.Outcome, r.Reason)
		}
	}
}

// TestOverlapAllowIsBounded: a job whose runs never end must not fill Redis.
func TestOverlapAllowIsBounded(t *testing.T) {
	f := setup(t, Options{})
	previous, next := f.overlapping("crowd", job.OverlapAllow)
	for n := range maxUnfinishedRuns {
		f.must(f.rdb.SAdd(f.ctx, f.keys.active("crowd", previous.Job.UID), fmt.Sprint("crowd:manual:", n)).Err())
		f.must(f.rdb.HSet(f.ctx, f.keys.run(fmt.Sprint("crowd:manual:", n)), "state", "waiting").Err())
	}
	if v := f.claim(f.job("crowd"), next, newToken()).Verdict; v != job.BeginDropped {
		t.Errorf("over the bound: %s", v)
	}
	if r := f.record(job.RunID("crowd", next)); r.Outcome != job.Skipped || r.Reason != job.ReasonOverlap {
		t.Errorf("record %+v", r)
	}
}

func TestOverlapCancelPrevious(t *testing.T) {
	f := setup(t, Options{})
	previous, next := f.overlapping("a", job.OverlapCancelPrevious)
	_, manual, err := f.RunJob(f.ctx, "a")
	f.must(err)
	f.must(f.rdb.SAdd(f.ctx, f.keys.active("a", previous.Job.UID), "a:lost").Err())
	second := f.claim(f.job("a"), next, newToken())
	if second.Verdict != job.BeginOK {
		t.Fatalf("the next slot: %s", second.Verdict)
	}
	r := f.record(previous.Run.ID)
	if r.Outcome != job.Cancelled || r.Reason != job.ReasonOverlap || r.Attempts[0].Result != job.ResultCancelled || r.Attempts[0].Cause != job.CauseOverlap {
		t.Errorf("the previous run: %+v", r)
	}
	active := f.rdb.SMembers(f.ctx, f.keys.active("a", previous.Job.UID)).Val()
	slices.Sort(active)
	if want := []string{second.Run.ID, manual}; !slices.Equal(active, want) { // a lost one must not keep the job for ever
		t.Errorf("unfinished are %q, want %q", active, want)
	}
	if _, err := f.Commit(f.ctx, commitOf(previous, "too late")); !errors.Is(err, job.ErrFenced) {
		t.Errorf("its commit: %v", err)
	}
	if r := f.record(manual); r.State == job.StateDone {
		t.Errorf("a manual run was cancelled: %+v", r)
	}
	f.commit(second, "two")

	// What is committed stays.
	if v := f.claim(f.job("a"), next+60_000, newToken()).Verdict; v != job.BeginOK {
		t.Errorf("the slot after it: %s", v)
	}
	if r := f.record(second.Run.ID); r.Outcome != job.Succeeded || r.Reply != "two" {
		t.Errorf("the committed run: %+v", r)
	}
}
