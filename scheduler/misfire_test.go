package scheduler

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

func parse(t interface{ Fatal(...any) }, expr, zone string) *schedule.Timetable {
	return timetable(t, schedule.Timing{Cron: expr, Zone: zone})
}

func timetable(t interface{ Fatal(...any) }, timing schedule.Timing) *schedule.Timetable {
	s, err := schedule.NewCache(1).Timetable(timing)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDecide(t *testing.T) {
	const (
		once    = job.MisfireRunOnce
		skip    = job.MisfireSkip
		all     = job.MisfireRunAll
		minutes = "* * * * *"
		hourly  = "0 * * * *"
		daily   = "0 12 * * *"
		yearly  = "0 0 1 1 *"
		hour    = time.Hour
	)
	noon := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	// What becomes of the slots from the cursor on, relative to the cursor.
	type passes struct {
		reason     string
		last, next time.Duration
		count      int
	}
	runs := passes{}

	for _, tc := range []struct {
		name    string
		misfire job.Misfire
		grace   time.Duration
		expr    string
		emitted bool
		late    time.Duration // of now after the cursor, which is noon
		want    passes
	}{
		{"on time", once, hour, minutes, false, 0, runs},
		{"late, no newer slot", once, hour, minutes, false, time.Minute - 1, runs},
		{"a newer slot this instant", once, hour, minutes, false, time.Minute, passes{job.ReasonSuperseded, 0, time.Minute, 1}},
		{"five newer slots", once, hour, minutes, false, 5*time.Minute + 30*time.Second,
			passes{job.ReasonSuperseded, 4 * time.Minute, 5 * time.Minute, 5}},
		{"older than the grace, the newest is not", once, hour, minutes, false, 3*hour + 10*time.Second,
			passes{job.ReasonSuperseded, 179 * time.Minute, 3 * hour, 180}},
		{"hourly, just before the next", once, hour, hourly, false, hour - 1, runs},
		{"hourly, at the next", once, hour, hourly, false, hour, passes{job.ReasonSuperseded, 0, hour, 1}},
		{"daily, at the end of the grace", once, hour, daily, false, hour, runs},
		{"daily, past the grace", once, hour, daily, false, hour + 1, passes{job.ReasonStale, 0, 24 * hour, 1}},
		{"daily, a longer grace", once, 3 * hour, daily, false, 2 * hour, runs},
		{"daily, days later, the newest is fresh", once, hour, daily, false, 72*hour + 30*time.Minute,
			passes{job.ReasonSuperseded, 48 * hour, 72 * hour, 3}},
		{"daily, days later, the newest is stale", once, hour, daily, false, 73*hour + 1,
			passes{job.ReasonStale, 72 * hour, 96 * hour, 4}},
		{"more slots than one decision walks", once, hour, minutes, false, 8 * 24 * hour,
			passes{job.ReasonSuperseded, maxWalk * time.Minute, (maxWalk + 1) * time.Minute, maxWalk + 1}},
		{"as many slots as one decision walks", once, hour, minutes, false, maxWalk * time.Minute,
			passes{job.ReasonSuperseded, (maxWalk - 1) * time.Minute, maxWalk * time.Minute, maxWalk}},
		{"a grace under a minute", once, 10 * time.Second, hourly, false, 10*time.Second + 1, passes{job.ReasonStale, 0, hour, 1}},

		{"skip on time", skip, hour, minutes, false, time.Minute - 1, runs},
		{"skip with a newer slot", skip, hour, minutes, false, time.Minute, passes{job.ReasonLate, 0, time.Minute, 1}},
		{"skip a minute late", skip, hour, hourly, false, time.Minute, runs},
		{"skip over a minute late", skip, hour, hourly, false, time.Minute + 1, passes{job.ReasonLate, 0, hour, 1}},
		{"skip does not know the grace", skip, 0, hourly, false, 30 * time.Second, runs},
		{"skip after hours", skip, hour, hourly, false, 3*hour + 5*time.Minute, passes{job.ReasonLate, 3 * hour, 4 * hour, 4}},
		{"skip after hours, the newest on time", skip, hour, hourly, false, 3*hour + 30*time.Second,
			passes{job.ReasonLate, 2 * hour, 3 * hour, 3}},

		{"emitted, newer slots wait", once, hour, minutes, true, 5 * time.Minute, runs},
		{"emitted, at the end of the grace", once, hour, minutes, true, hour, runs},
		{"emitted, past the grace", once, hour, minutes, true, hour + 1, passes{job.ReasonSuperseded, 59 * time.Minute, hour, 60}},
		{"emitted, nothing newer, past the grace", once, hour, daily, true, hour + 1, passes{job.ReasonStale, 0, 24 * hour, 1}},
		{"emitted, skip, at its grace", skip, hour, minutes, true, time.Minute, runs},
		{"all, two are due", all, hour, minutes, false, time.Minute, runs},
		{"all, as many as may be", all, hour, minutes, false, 9*time.Minute + 59*time.Second, runs},
		{"all, one too many", all, hour, minutes, false, 10 * time.Minute, passes{job.ReasonSuperseded, 0, time.Minute, 1}},
		{"all, many too many", all, hour, minutes, false, 30 * time.Minute,
			passes{job.ReasonSuperseded, 20 * time.Minute, 21 * time.Minute, 21}},
		{"all, some too late", all, 5 * time.Minute, minutes, false, 8*time.Minute + time.Second, passes{job.ReasonSuperseded, 3 * time.Minute, 4 * time.Minute, 4}},
		{"all, all too late", all, time.Minute, hourly, false, 59 * time.Minute, passes{job.ReasonStale, 0, time.Hour, 1}},
		{"emitted, skip, past it", skip, hour, minutes, true, time.Minute + 1, passes{job.ReasonLate, 0, time.Minute, 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := job.Cursor{JobID: "a", UID: "u", Revision: 7, NextSlot: job.ToMillis(noon), NextDue: job.ToMillis(noon), Emitted: tc.emitted,
				Misfire: tc.misfire, Grace: tc.grace}
			got := decide(c, parse(t, tc.expr, ""), noon.Add(tc.late))
			var want *job.Collapse
			if tc.want != runs {
				grace := tc.grace
				if tc.misfire == skip {
					grace = time.Minute
				}
				want = &job.Collapse{JobID: "a", UID: "u", Revision: 7, Seen: c.NextSlot, First: c.NextSlot,
					Last: job.ToMillis(noon.Add(tc.want.last)), Count: tc.want.count, Outcome: job.Missed, Reason: tc.want.reason,
					Next: job.ToMillis(noon.Add(tc.want.next)), NextDue: job.ToMillis(noon.Add(tc.want.next)), EmittedGrace: grace}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}

	t.Run("the last slot there is", func(t *testing.T) {
		last := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
		c := job.Cursor{NextSlot: job.ToMillis(last), NextDue: job.ToMillis(last), Misfire: once, Grace: hour}
		got := decide(c, parse(t, yearly, ""), last.Add(24*hour))
		if got == nil || got.Next != 0 || got.Last != c.NextSlot || got.Count != 1 {
			t.Errorf("got %+v, want no slot after it", got)
		}
	})
}

// TestDecideSettlesEachSlotOnce walks a cursor through time: whatever is emitted,
// claimed late or never, the slots that run and the ranges that are passed are
// together exactly the slots of the schedule, in order.
func TestDecideSettlesEachSlotOnce(t *testing.T) {
	type sample struct {
		expr string
		pace time.Duration // about the distance of two slots
	}
	samples := []sample{{"* * * * *", time.Minute}, {"*/7 * * * *", 7 * time.Minute}, {"0 * * * *", time.Hour},
		{"15,45 1-3 * * *", 4 * time.Hour}, {"30 2 * * *", 24 * time.Hour}, {"0 9 * * 1-5", 24 * time.Hour}}
	zones := []string{"UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe"}
	// Around changes to and from summer time, and an ordinary day.
	starts := []time.Time{
		time.Date(2026, 3, 28, 20, 0, 0, 0, time.UTC), time.Date(2026, 10, 24, 20, 0, 0, 0, time.UTC),
		time.Date(2026, 4, 4, 10, 0, 0, 0, time.UTC), time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC),
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom(samples).Draw(t, "schedule")
		sched := timetable(t, schedule.Timing{Cron: s.expr, Zone: rapid.SampledFrom(zones).Draw(t, "zone"),
			Jitter: time.Duration(rapid.SampledFrom([]int{0, 0, 1, 30_000, 3_600_000}).Draw(t, "jitter")) * time.Millisecond})
		c := job.Cursor{JobID: "a", UID: "u",
			Misfire: rapid.SampledFrom([]job.Misfire{job.MisfireRunOnce, job.MisfireRunAll, job.MisfireSkip}).Draw(t, "misfire"),
			Grace:   time.Duration(rapid.IntRange(1, 7200).Draw(t, "grace")) * time.Second}
		allowed := c.Grace
		if c.Misfire == job.MisfireSkip {
			allowed = time.Minute
		}
		now := rapid.SampledFrom(starts).Draw(t, "start").Add(time.Duration(rapid.IntRange(0, 86_400).Draw(t, "offset")) * time.Second)
		began := now
		next, _ := sched.Next(now)

		var settled []time.Time // each slot that ran or was passed, in order
		set := func(next job.Millis) {
			c.NextSlot, c.NextDue, c.Emitted = next, job.ToMillis(sched.Due(next.Time())), false
		}
		set(job.ToMillis(next))
		step := func() {
			slot, due := c.NextSlot.Time(), c.NextDue.Time()
			if due.After(now) {
				return
			}
			d := decide(c, sched, now)
			if d == nil {
				_, newest, newer, _ := sched.Passed(slot, now, job.MaxCatchUp)
				if late := now.Sub(due); late > allowed {
					t.Fatalf("%v runs %v late, allowed is %v", slot, late, allowed)
				}
				if newer > 0 && !c.Emitted && (c.Misfire != job.MisfireRunAll || newer >= job.MaxCatchUp) {
					t.Fatalf("%v runs although %d slots up to %v are due", slot, newer, newest)
				}
				switch rapid.SampledFrom([]string{"claim", "emit", "lose"}).Draw(t, "then") {
				case "claim":
					settled = append(settled, slot)
					after, _ := sched.Next(slot)
					set(job.ToMillis(after))
				case "emit":
					c.Emitted = true
				}
				return
			}
			if c.Emitted && now.Sub(due) <= allowed {
				t.Fatalf("%v is passed within its grace", slot)
			}
			if _, _, kept, _ := sched.Passed(d.Last.Time(), now, 2*job.MaxCatchUp); c.Misfire == job.MisfireRunAll && kept < job.MaxCatchUp &&
				now.Sub(sched.Due(d.Last.Time())) <= allowed {
				t.Fatalf("%v is passed within its grace, and only %d slots after it are due", d.Last.Time(), kept)
			}
			if d.First != c.NextSlot || d.Seen != c.NextSlot || d.Last < d.First || d.Next <= d.Last || d.EmittedGrace != allowed {
				t.Fatalf("at %v from %v: %+v", now, slot, d)
			}
			settled = append(settled, slot)
			for s := slot; s.Before(d.Last.Time()); settled = append(settled, s) {
				s, _ = sched.Next(s)
			}
			if _, _, n, _ := sched.Passed(d.First.Time(), sched.Due(d.Last.Time()), 1<<20); d.Count != n+1 {
				t.Fatalf("count %d of %v to %v, want %d", d.Count, d.First.Time(), d.Last.Time(), n+1)
			}
			set(d.Next)
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, 1, time.Second, time.Minute, time.Minute + 1, s.pace, 2*s.pace - 1, 9 * s.pace}).Draw(t, "pass"))
			step()
		}

		want := sched.Upcoming(began, len(settled)+1)
		if !slices.Equal(want[:len(settled)], settled) {
			t.Fatal(cmp.Diff(want[:len(settled)], settled))
		}
		if open := want[len(settled)]; c.NextSlot != job.ToMillis(open) {
			t.Fatalf("the cursor is at %v, the first unsettled slot is %v", c.NextSlot.Time(), open)
		}
	})
}

// TestUntil: a job that was disabled has no slots since.
func TestUntil(t *testing.T) {
	for _, tc := range []struct{ disabled, now, want job.Millis }{{0, 9, 9}, {5, 9, 5}, {12, 9, 9}} {
		if got := until(job.Cursor{DisabledAt: tc.disabled}, tc.now); got != tc.want {
			t.Errorf("%+v: %d", tc, got)
		}
	}
}

// TestDecideInPieces catches up with a cursor that is further behind than one
// decision walks: piece follows piece, until the newest slot runs, also where the last one
// of a piece would not be too late.
func TestDecideInPieces(t *testing.T) {
	for name, grace := range map[string]time.Duration{"hour": time.Hour, "all of it": 30 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) { decideInPieces(t, grace) })
	}
}

func decideInPieces(t *testing.T, grace time.Duration) {
	t.Helper()
	const behind = 2*maxWalk + 500
	sched := parse(t, "* * * * *", "")
	first := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	now := first.Add(behind*time.Minute + 5*time.Second)
	c := job.Cursor{NextSlot: job.ToMillis(first), NextDue: job.ToMillis(first), Misfire: job.MisfireRunOnce, Grace: grace}
	passed, pieces := 0, 0
	for {
		d := decide(c, sched, now)
		if d == nil {
			break
		}
		if d.First != c.NextSlot || d.Next != d.Last+60_000 || d.Last != d.First+job.Millis(d.Count-1)*60_000 {
			t.Fatalf("piece %d: %+v", pieces, d)
		}
		c.NextSlot, c.NextDue = d.Next, d.NextDue
		passed, pieces = passed+d.Count, pieces+1
	}
	if passed != behind || pieces != 3 || c.NextSlot.Time() != now.Truncate(time.Minute) {
		t.Errorf("passed %d slots in %d pieces, now at %v", passed, pieces, c.NextSlot.Time())
	}
}
