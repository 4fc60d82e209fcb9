package store

import (
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

func TestEmittedAndCollapse(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	slot := f.minute(-10)
	f.rewind("a", slot)
	f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: "a", At: slot}, {JobID: "none", At: slot}}))
	if at, _ := f.score(f.keys.due(), "a"); at < f.now()+50_000 {
		t.Errorf("re-check at %d", at)
	}
	cursors, err := f.Cursors(f.ctx, []string{"a"})
	f.must(err)
	if !cursors[0].Emitted || cursors[0].NextSlot != slot {
		t.Errorf("cursor %+v", cursors[0])
	}
	c := job.Collapse{JobID: "a", UID: j.UID, Revision: 1, Seen: slot, First: slot, Last: slot + 60_000, Count: 2,
		Outcome: job.Missed, Reason: job.ReasonSuperseded, Next: slot + 120_000, NextDue: slot + 120_000, EmittedGrace: time.Hour}
	moved, err := f.Collapse(f.ctx, c)
	f.must(err)
	if moved {
		t.Fatal("collapse passed an emitted slot within its grace")
	}
	c.EmittedGrace = time.Minute
	if moved, err = f.Collapse(f.ctx, c); err != nil || !moved {
		t.Fatalf("collapse: %v %v", moved, err)
	}
	if moved, err = f.Collapse(f.ctx, c); err != nil || moved {
		t.Errorf("collapse, again: %v %v", moved, err)
	}
	if got := f.job("a"); got.NextSlot != slot+120_000 || got.LastSlot != slot+60_000 {
		t.Errorf("cursor %+v", got)
	}
	// A mark that comes after the claim changes nothing.
	before, _ := f.score(f.keys.due(), "a")
	f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: "a", At: slot}}))
	if after, _ := f.score(f.keys.due(), "a"); after != before {
		t.Error("a late mark moved the due entry")
	}
	runs := f.runs("a")
	if len(runs) != 1 || runs[0].Outcome != job.Missed || runs[0].Count != 2 {
		t.Errorf("history %+v", runs)
	}
}

func TestEmitterLease(t *testing.T) {
	f := setup(t, Options{})
	hold := func(who string) bool {
		ok, err := f.HoldEmitter(f.ctx, who, time.Minute)
		f.must(err)
		return ok
	}
	for who, want := range map[string]bool{"a": true, "b": false} {
		if !hold("a") || hold(who) != want {
			t.Fatal("the lease is not exclusive")
		}
	}
	f.must(f.ReleaseEmitter(f.ctx, "b"))
	if hold("b") {
		t.Error("released by another")
	}
	f.must(f.ReleaseEmitter(f.ctx, "a"))
	if !hold("b") {
		t.Error("not released")
	}
}
