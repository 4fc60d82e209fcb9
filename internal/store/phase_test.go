package store

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// edit applies a change to a job.
func (f *fixture) edit(id string, change func(*job.Spec)) job.Job {
	f.t.Helper()
	j, err := f.UpdateJob(f.ctx, id, func(s job.Spec) (job.Spec, error) { change(&s); return s, nil })
	f.must(err)
	return j
}

func every(seconds int) job.Spec {
	return job.Spec{EverySeconds: seconds, Enabled: true, Task: "say hello"}
}

// sameSlots are edits that leave the slots of a job as they are.
var sameSlots = map[string]func(*job.Spec){
	"timezone UTC":     func(s *job.Spec) { s.Timezone = "UTC" },
	"timezone none":    func(s *job.Spec) { s.Timezone = "" },
	"jitter":           func(s *job.Spec) { s.JitterSeconds = 7 },
	"another jitter":   func(s *job.Spec) { s.JitterSeconds = 3 },
	"no jitter":        func(s *job.Spec) { s.JitterSeconds = 0 },
	"end":              func(s *job.Spec) { s.EndAt = job.ToMillis(time.Now().AddDate(1, 0, 0)) },
	"no end":           func(s *job.Spec) { s.EndAt = 0 },
	"name":             func(s *job.Spec) { s.Name = "another" },
	"task and retries": func(s *job.Spec) { s.Task, s.MaxRetries = "say more", new(1) },
}

func edits() []string {
	var names []string
	for name := range sameSlots {
		names = append(names, name)
	}
	return names
}

// TestOnlyEveryAndStartMoveTheAnchor: what a client sends beside them, or sends back as it
// was told, begins no new count.
func TestOnlyEveryAndStartMoveTheAnchor(t *testing.T) {
	f := setup(t, Options{})
	start := f.now() - 3600_000
	start -= start % 1000
	for name, change := range map[string]func(*job.Spec){
		"every":    func(s *job.Spec) { s.EverySeconds = 7000 },
		"start":    func(s *job.Spec) { s.StartAt = start + 1000 },
		"no start": func(s *job.Spec) { s.StartAt = 0 },
		"cron":     func(s *job.Spec) { s.EverySeconds, s.StartAt, s.Schedule = 0, 0, "* * * * *" },
	} {
		spec := every(86400)
		spec.StartAt = start
		f.create(name, spec)
		before := f.job(name)
		if j := f.edit(name, change); j.NextSlot == before.NextSlot {
			t.Errorf("%s left the anchor at %v and the cursor at %v", name, j.Anchor.Time(), j.NextSlot.Time())
		}
	}
	other := func(s *job.Spec) { s.Timezone = "Europe/Berlin" }
	for name, change := range sameSlots {
		spec := every(86400)
		f.create("plain", spec)
		f.must(f.rdb.HSet(f.ctx, f.keys.job("plain"), "anchor", int64(start)).Err())
		f.rewind("plain", start+86400_000)
		for _, change := range []func(*job.Spec){change, other} { // a zone that only tells the times
			if j := f.edit("plain", change); j.Anchor != start || j.NextSlot != start+86400_000 {
				t.Errorf("%s: the anchor moved by %v, the cursor by %v", name,
					(j.Anchor - start), j.NextSlot-start-86400_000)
			}
		}
		f.must(f.DeleteJob(f.ctx, "plain"))
	}
}

// TestEditsThatChangeNoSlotPassNone: a slot that is due stays, is due when it was, or when
// the new jitter says if it has not been yet, and has no record.
func TestEditsThatChangeNoSlotPassNone(t *testing.T) {
	f := setup(t, Options{})
	for kind, spec := range map[string]job.Spec{"cron": everyMinute(), "every": every(60), "hourly": {Schedule: "@hourly", Enabled: true, Task: "x"}} {
		for name, change := range sameSlots {
			f.create(kind, spec)
			due := f.minute(0) - 60_000
			if kind == "hourly" {
				due = job.ToMillis(f.now().Time().Truncate(time.Hour))
			}
			f.must(f.rdb.HSet(f.ctx, f.keys.job(kind), "anchor", int64(due-3600_000)).Err())
			f.rewind(kind, due)
			if j := f.edit(kind, change); j.NextSlot != due || j.NextDue != due {
				t.Errorf("%s, %s: the cursor moved by %v, due %v later", kind, name, j.NextSlot-due, j.NextDue-due)
			}
			if look, _ := f.score(f.keys.due(), kind); look != due {
				t.Errorf("%s, %s: the look moved by %v", kind, name, look-due)
			}
			if runs := f.runs(kind); len(runs) != 0 {
				t.Errorf("%s, %s: records %+v", kind, name, runs)
			}
			f.must(f.DeleteJob(f.ctx, kind))
			f.must(f.rdb.FlushDB(f.ctx).Err())
		}
	}
}

// TestJitterOfASlotWhoseTimeHasCome: it is put off otherwise, but not before now, and runs.
func TestJitterOfASlotWhoseTimeHasCome(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", every(86400))
	slot := f.now()/1000*1000 - 60_000
	for seconds, want := range map[int]func(j job.Job, from, to job.Millis) bool{
		0:     func(j job.Job, from, to job.Millis) bool { return j.NextDue >= from && j.NextDue <= to },
		80000: func(j job.Job, _, to job.Millis) bool { return j.NextDue > to && j.NextDue < slot+86400_000 },
	} {
		f.must(f.rdb.HSet(f.ctx, f.keys.job("a"), "anchor", int64(slot-86400_000), "jitter", 40000,
			"nextSlot", int64(slot), "nextDue", int64(slot+30000_000)).Err())
		from := f.now()
		j := f.edit("a", func(s *job.Spec) { s.JitterSeconds = seconds })
		if look, _ := f.score(f.keys.due(), "a"); j.NextSlot != slot || !want(j, from, f.now()) || look != j.NextDue {
			t.Errorf("jitter %d: slot %v, due %v, look %v", seconds, j.NextSlot.Time(), j.NextDue.Time(), look.Time())
		}
	}
	if runs := f.runs("a"); len(runs) != 0 {
		t.Errorf("records %+v", runs)
	}
	// No second jitter counts from the first.
	f.edit("a", func(s *job.Spec) { s.JitterSeconds = 0 })
	if b := f.claim(f.job("a"), slot, "t"); b.Verdict != job.BeginOK {
		t.Errorf("claim: %s", b.Verdict)
	}
}

// TestBoundsThatCutADueSlot: the slots that are due and outside have their record.
func TestBoundsThatCutADueSlot(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	first := f.minute(-3)
	f.rewind("a", first)
	j := f.edit("a", func(s *job.Spec) { s.StartAt = f.minute(5) })
	if runs := f.runs("a"); j.NextSlot != j.StartAt || len(runs) != 1 || runs[0].Slot != first || runs[0].Reason != job.ReasonEdited {
		t.Errorf("cursor %v, records %+v", j.NextSlot.Time(), runs)
	}
}

// TestEditOfAJobForOneInstantThatRuns is no second run, and not refused.
func TestEditOfAJobForOneInstantThatRuns(t *testing.T) {
	f := setup(t, Options{})
	slot := f.minute(0)
	f.create("a", job.Spec{At: f.now() + 3600_000, Enabled: true, Task: "x"})
	f.must(f.rdb.HSet(f.ctx, f.keys.job("a"), "at", int64(slot)).Err())
	f.rewind("a", slot)
	j := f.job("a")
	b, err := f.Claim(f.ctx, job.Claim{JobID: "a", UID: j.UID, Slot: slot, Revision: j.Revision, Token: "t", Worker: "w"})
	f.must(err)
	if j := f.edit("a", func(s *job.Spec) { s.Timezone, s.JitterSeconds = "Europe/Berlin", 5 }); b.Verdict != job.BeginOK || j.NextSlot != 0 || j.Claims != 1 {
		t.Errorf("%s: %+v", b.Verdict, j)
	}
}

// TestEditsDoNotStarve: whatever changes no slot, in any order and at any time, leaves a
// job its slots: each is the cursor until it is claimed.
func TestEditsDoNotStarve(t *testing.T) {
	f := setup(t, Options{})
	rapid.Check(t, func(t *rapid.T) {
		spec := rapid.SampledFrom([]job.Spec{every(10), everyMinute(), {Schedule: "*/7 3 * * 1-5", Timezone: "Europe/Berlin", Enabled: true, Task: "x"}}).Draw(t, "spec")
		j, err := f.CreateJob(f.ctx, "", spec)
		if err != nil {
			t.Fatal(err)
		}
		timing := j.Timing(j.ID, j.Anchor)
		timing.Jitter = 0
		tt, err := f.schedules.Timetable(timing)
		if err != nil {
			t.Fatal(err)
		}
		// Some time has passed, as the job sees it.
		passed := j.NextSlot
		for range rapid.IntRange(0, 3).Draw(t, "due") {
			back := f.now().Time().Add(-time.Duration(rapid.IntRange(1, 600).Draw(t, "ago")) * time.Second)
			if spec.EverySeconds > 0 {
				f.must(f.rdb.HSet(f.ctx, f.keys.job(j.ID), "anchor", int64(j.Anchor)-600_000).Err())
			}
			if slot, ok := tt.Next(back); ok {
				passed = job.ToMillis(slot)
			}
			if spec.EverySeconds > 0 {
				passed = j.Anchor - job.Millis(rapid.IntRange(0, 50).Draw(t, "periods"))*10_000
			}
			f.rewind(j.ID, passed)
		}
		for _, name := range rapid.SliceOfN(rapid.SampledFrom(edits()), 1, 8).Draw(t, "edits") {
			if name == "timezone UTC" || name == "timezone none" {
				if spec.Timezone != "" {
					continue // which is another
				}
			}
			if got := f.edit(j.ID, sameSlots[name]); got.NextSlot != passed {
				t.Fatalf("%s: the cursor moved from %v to %v", name, passed.Time(), got.NextSlot.Time())
			}
		}
		if runs := f.runs(j.ID); len(runs) != 0 {
			t.Fatalf("records %+v", runs)
		}
	})
}
