package scheduler

import (
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// TestManyAreReadBeforeTheyAreDue: at the slot itself nothing is left to read.
func TestManyAreReadBeforeTheyAreDue(t *testing.T) {
	f := setup(t)
	f.warm()
	w, clock := f.emitter()
	f.create("x", func(s *job.Spec) { s.Schedule = yearly })
	slot := f.minute(0)
	ids := f.clone("x", "job", headSize+10, all(slot))

	before := len(f.runTasks())
	clock.now = job.ToMillis(slot.Time().Add(-aheadFor - time.Millisecond))
	f.refresh(w)
	if clock.reads > preview { // those to be armed
		t.Fatalf("%d cursors were read too early", clock.reads)
	}
	clock.reads = 0
	clock.now = job.ToMillis(slot.Time().Add(-aheadFor))
	f.refresh(w)
	if clock.reads != len(ids) || len(f.runTasks()) != before {
		t.Fatalf("%d of %d cursors were read ahead, %d slots are in the queue", clock.reads, len(ids), len(f.runTasks())-before)
	}
	clock.now = slot
	f.refresh(w)
	if clock.reads != len(ids) {
		t.Errorf("%d cursors were read once more", clock.reads-len(ids))
	}
	queued := f.runTasks()
	for _, id := range ids {
		if queued[job.RunID(id, slot)] == nil || !f.cursor(id).Emitted {
			t.Fatalf("%s: in the queue %t, cursor %+v", id, queued[job.RunID(id, slot)] != nil, f.cursor(id))
		}
	}
	if w.ahead != nil {
		t.Error("what was read ahead is kept")
	}
}

// TestChangesAfterTheReading: what was read ahead says what goes into a carrier, and never
// whether there is a slot.
func TestChangesAfterTheReading(t *testing.T) {
	f := setup(t)
	f.warm()
	w, clock := f.emitter()
	f.create("x", func(s *job.Spec) { s.Schedule = yearly })
	slot := f.minute(0)
	ids := f.clone("x", "job", headSize, all(slot))
	clock.now = job.ToMillis(slot.Time().Add(-time.Second))
	f.refresh(w)

	deleted, moved, edited, held := ids[0], ids[1], ids[2], ids[3]
	f.must(f.DeleteJob(f.ctx, deleted))
	f.put(moved, slot+60_000)
	f.must(f.rdb.HSet(f.ctx, f.key("job", edited), "rev", 7).Err())
	clock.now = slot
	f.refresh(w)
	queued := f.runTasks()
	for id, want := range map[string]bool{deleted: false, moved: false, edited: true, held: true} {
		if got := queued[job.RunID(id, slot)] != nil; got != want {
			t.Errorf("%s is in the queue: %t", id, got)
		}
	}
	b, err := f.Claim(f.ctx, job.Claim{JobID: edited, UID: f.cursor(edited).UID, Slot: slot, Revision: 1, Token: "t", Worker: "w"})
	if f.must(err); b.Verdict != job.BeginStale {
		t.Errorf("a carrier of the old definition is answered %s", b.Verdict)
	}
}
