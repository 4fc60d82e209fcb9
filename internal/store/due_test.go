package store

import (
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// recheckIn is in how many ms a job is looked at again.
func (f *fixture) recheckIn(id string) int64 {
	at, _ := f.score(f.keys.due(), id)
	return int64(at) - int64(f.now())
}

func TestEmittedAndCollapse(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	slot := f.minute(-10)
	f.rewind("a", slot)
	f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: "a", At: slot}, {JobID: "none", At: slot}}))
	// Soon the first time: its task may be lost, and some slots must not be a minute late.
	if in := f.recheckIn("a"); in < 10_000 || in > 15_000 {
		t.Errorf("first looked at again in %d ms", in)
	}
	f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: "a", At: slot}}))
	if in := f.recheckIn("a"); in < 50_000 {
		t.Errorf("then looked at again in %d ms", in)
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

// TestCollapseIsRefused where the cursor, or the job, is no longer the one that was seen.
func TestCollapseIsRefused(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	slot := f.minute(-10)
	f.rewind("a", slot)
	base := job.Collapse{JobID: "a", UID: j.UID, Revision: j.Revision, Seen: slot, First: slot, Last: slot, Count: 1,
		Outcome: job.Missed, Reason: job.ReasonSuperseded, Next: slot + 60_000, NextDue: slot + 60_000}
	for name, change := range map[string]func(*job.Collapse){
		"another job of the id": func(c *job.Collapse) { c.UID = "other" },
		"another revision":      func(c *job.Collapse) { c.Revision-- },
		"another cursor":        func(c *job.Collapse) { c.Seen -= 60_000 },
	} {
		c := base
		change(&c)
		if moved, err := f.Collapse(f.ctx, c); err != nil || moved {
			t.Errorf("%s: moved %v, %v", name, moved, err)
		}
	}
	if got := f.job("a"); got.NextSlot != slot || len(f.runs("a")) != 0 {
		t.Errorf("a refused collapse left %+v", got)
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

// TestMovedCursor takes nothing of the old slot along, but for a mark that names it and so
// says nothing of another; and is looked at when it is due.
func TestMovedCursor(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	slot, next := f.minute(-1), f.minute(5)
	f.rewind("a", slot)
	f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: "a", At: slot}}))
	f.must(f.rdb.HSet(f.ctx, f.keys.job("a"), "nextDue", int64(slot)+1000, "after", "1", "afterDue", "1").Err())
	if b := f.claim(j, slot, "t"); b.Verdict != job.BeginOK {
		t.Fatalf("claim: %s", b.Verdict)
	}
	if left := f.rdb.HMGet(f.ctx, f.keys.job("a"), "nextDue", "after", "afterDue").Val(); left[0] != nil || left[1] != nil || left[2] != nil {
		t.Errorf("of the old slot are left: %v", left)
	}

	// By jitter the next one is due later than it is, and an older slot than the last
	// does not take lastSlot back.
	f.rewind("a", slot-60_000)
	f.must(f.rdb.HSet(f.ctx, f.keys.job("a"), "lastSlot", int64(slot)).Err())
	moved, err := f.Collapse(f.ctx, job.Collapse{JobID: "a", UID: j.UID, Revision: j.Revision, Seen: slot - 60_000, First: slot - 60_000,
		Last: slot - 60_000, Count: 1, Outcome: job.Missed, Reason: job.ReasonStale, Next: next, NextDue: next + 30_000})
	f.must(err)
	if !moved {
		t.Fatal("not moved")
	}
	if look, _ := f.score(f.keys.due(), "a"); look != next+30_000 {
		t.Errorf("looked at %d ms after it is due", look-next-30_000)
	}
	if got := f.job("a"); got.NextSlot != next || got.LastSlot != slot {
		t.Errorf("cursor %+v", got)
	}
}

// TestRedue puts an entry where its slot is due, unless the cursor has moved since.
func TestRedue(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	slot := f.minute(5)
	f.rewind("a", slot)
	f.must(f.rdb.HSet(f.ctx, f.keys.job("a"), "nextDue", int64(slot)+20_000).Err())
	f.must(f.Redue(f.ctx, "a", slot-60_000))
	if look, _ := f.score(f.keys.due(), "a"); look != slot {
		t.Errorf("by an old cursor, it is looked at %d ms after the slot", look-slot)
	}
	f.must(f.Redue(f.ctx, "a", slot))
	if look, _ := f.score(f.keys.due(), "a"); look != slot+20_000 {
		t.Errorf("it is looked at %d ms after the slot", look-slot)
	}
}
