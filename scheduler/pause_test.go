package scheduler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

func TestHold(t *testing.T) {
	const hour = time.Hour
	noon := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	type passes struct {
		last, next time.Duration // relative to the cursor, which is noon
		count      int
	}
	for _, tc := range []struct {
		name   string
		expr   string
		jitter time.Duration
		until  time.Duration // of the pause, after the cursor
		want   passes        // the zero value: nothing is held
	}{
		{"never paused", "* * * * *", 0, -noon.Sub(time.Time{}), passes{}},
		{"over before the slot", "* * * * *", 0, -1, passes{}},
		{"over in the moment of the slot", "* * * * *", 0, 0, passes{0, time.Minute, 1}},
		{"not yet at the next", "* * * * *", 0, time.Minute - 1, passes{0, time.Minute, 1}},
		{"hours of minutes", "* * * * *", 0, 3 * hour, passes{3 * hour, 3*hour + time.Minute, 181}},
		{"a day of hours", "0 * * * *", 0, 24*hour + 1, passes{24 * hour, 25 * hour, 25}},
		{"more than one decision walks", "* * * * *", 0, 20 * 24 * hour,
			passes{maxWalk * time.Minute, (maxWalk + 1) * time.Minute, maxWalk + 1}},
		{"the last slot is put off beyond the end", "0 * * * *", 10 * time.Minute, hour + 9*time.Minute, passes{0, hour, 1}},
		{"all are put off beyond the end", "0 * * * *", 10 * time.Minute, 9 * time.Minute, passes{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tt := timetable(t, schedule.Timing{Cron: tc.expr, Jitter: tc.jitter})
			c := job.Cursor{JobID: "a", UID: "u", Revision: 7, NextSlot: job.ToMillis(noon), NextDue: job.ToMillis(noon.Add(tc.jitter)),
				Emitted: true, Misfire: job.MisfireRunOnce, Grace: hour}
			var want *job.Collapse
			if tc.want.count > 0 {
				want = &job.Collapse{JobID: "a", UID: "u", Revision: 7, Seen: c.NextSlot, First: c.NextSlot,
					Last: job.ToMillis(noon.Add(tc.want.last)), Count: tc.want.count, Outcome: job.Skipped, Reason: job.ReasonPaused,
					Next: job.ToMillis(noon.Add(tc.want.next)), NextDue: job.ToMillis(noon.Add(tc.want.next + tc.jitter)), EmittedGrace: -1}
			}
			if d := cmp.Diff(want, hold(c, tt, noon.Add(tc.until))); d != "" {
				t.Error(d)
			}
		})
	}

	t.Run("the one slot there is", func(t *testing.T) {
		c := job.Cursor{NextSlot: job.ToMillis(noon), NextDue: job.ToMillis(noon)}
		got := hold(c, timetable(t, schedule.Timing{At: noon}), noon)
		if got == nil || got.Next != 0 || got.Count != 1 {
			t.Errorf("got %+v, want no slot after it", got)
		}
	})
}

// TestHoldPassesWhatWasDue: piece by piece, exactly the slots that were due by the end
// of the pause are passed, whatever the schedule.
func TestHoldPassesWhatWasDue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tt := timetable(t, schedule.Timing{Cron: rapid.SampledFrom([]string{"* * * * *", "*/7 * * * *", "0 3 * * *"}).Draw(t, "schedule"),
			Zone:   rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "Australia/Lord_Howe"}).Draw(t, "zone"),
			Jitter: time.Duration(rapid.IntRange(0, 7_200).Draw(t, "jitter")) * time.Second})
		start := time.Date(2026, 3, 27, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 86_400).Draw(t, "start")) * time.Second)
		until := start.Add(time.Duration(rapid.IntRange(0, 2*86_400).Draw(t, "pause")) * time.Second)
		first, _ := tt.Next(start)
		c := job.Cursor{NextSlot: job.ToMillis(first), NextDue: job.ToMillis(tt.Due(first))}
		passed := 0
		for d := hold(c, tt, until); d != nil; d = hold(c, tt, until) {
			if d.First != c.NextSlot || d.Last < d.First || d.Next <= d.Last {
				t.Fatalf("from %v: %+v", c.NextSlot.Time(), d)
			}
			passed += d.Count
			c.NextSlot, c.NextDue = d.Next, d.NextDue
		}
		_, last, want, _ := tt.Passed(start, until, 1<<20)
		if passed != want {
			t.Fatalf("passed %d slots, want %d", passed, want)
		}
		if want == 0 {
			last = start
		}
		if next, _ := tt.Next(last); c.NextSlot != job.ToMillis(next) {
			t.Fatalf("the cursor is at %v, want %v", c.NextSlot.Time(), next)
		}
	})
}

func (f *fixture) pause() {
	f.t.Helper()
	f.must(f.Pause(f.ctx, ""))
}

func (f *fixture) resume() {
	f.t.Helper()
	_, err := f.Resume(f.ctx)
	f.must(err)
}

// skipped is the one record of a job, that of slots of a pause.
func (f *fixture) skipped(id string) job.Run {
	f.t.Helper()
	runs, _, err := f.Runs(f.ctx, id, "", 100)
	f.must(err)
	if len(runs) != 1 || runs[0].Outcome != job.Skipped || runs[0].Reason != job.ReasonPaused {
		f.t.Fatalf("history of %s: %+v, want one skipped(paused)", id, runs)
	}
	return runs[0]
}

// TestSlotsOfAPause: what is due while everything is paused is recorded, a job's slots
// in one record, and nothing is enqueued; nor is what a resume finds unrecorded.
func TestSlotsOfAPause(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	for _, id := range []string{"fresh", "old", "emitted", "unseen", "after"} {
		f.create(id)
	}
	f.put("emitted", f.minute(0))
	f.refresh(w)
	if c := f.cursor("emitted"); !c.Emitted || len(f.runTasks()) != 1 {
		t.Fatalf("not emitted before the pause: %+v", c)
	}

	f.pause()
	f.index("emitted", f.now()) // as a refused claim leaves it
	f.put("fresh", f.minute(0))
	f.put("old", f.minute(-3))
	f.refresh(w)
	if n := len(f.runTasks()); n != 0 {
		t.Errorf("%d tasks during the pause", n)
	}
	for id, atLeast := range map[string]int{"fresh": 1, "old": 4, "emitted": 1} {
		r := f.skipped(id)
		if r.Count < atLeast || r.Count != int(r.LastSlot-r.Slot)/60_000+1 {
			t.Errorf("%s: %d slots from %d to %d", id, r.Count, r.Slot, r.LastSlot)
		}
		if c := f.cursor(id); c.NextSlot != r.LastSlot+60_000 {
			t.Errorf("%s: the cursor is at %d after %d", id, c.NextSlot, r.LastSlot)
		}
	}
	first := f.skipped("fresh")
	f.put("fresh", first.LastSlot) // a longer pause is still one record
	f.refresh(w)
	if r := f.skipped("fresh"); r.Count <= first.Count {
		t.Errorf("the record stands for %d slots", r.Count)
	}

	f.put("unseen", f.minute(-1))
	f.resume()
	f.refresh(w)
	f.skipped("unseen")
	if n := len(f.runTasks()); n != 0 {
		t.Errorf("%d tasks for slots of the pause", n)
	}
	if f.logs.count("slots missed") != 0 || f.logs.count("slots skipped", "reason=paused") == 0 {
		t.Error("what was wanted is logged as missed")
	}
	clock.now = f.minute(2)
	f.put("after", clock.now)
	f.refresh(w)
	if c := f.cursor("after"); !c.Emitted {
		t.Error("a slot after the resume is not emitted")
	}
}
