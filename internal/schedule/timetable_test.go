package schedule_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

func timetable(t rapid.TB, timing schedule.Timing) *schedule.Timetable {
	t.Helper()
	tt, err := schedule.NewCache(8).Timetable(timing)
	if err != nil {
		t.Fatalf("%+v: %v", timing, err)
	}
	return tt
}

// day is an instant of one day.
func day(hour, minute, second int) time.Time {
	return time.Date(2026, 5, 5, hour, minute, second, 0, time.UTC)
}

func TestTimetable(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		timing schedule.Timing
		after  time.Time
		want   []time.Time // at most three
		words  string
	}{
		{"cron", schedule.Timing{Cron: "0 9 * * *"}, day(9, 0, 0),
			[]time.Time{day(33, 0, 0), day(57, 0, 0), day(81, 0, 0)}, "At 09:00 every day"},
		{"cron from a slot on, which counts", schedule.Timing{Cron: "0 * * * *", From: day(12, 0, 0)}, day(9, 0, 0),
			[]time.Time{day(12, 0, 0), day(13, 0, 0), day(14, 0, 0)}, "Every hour, from 5 May 2026 at 12:00:00 (UTC)"},
		{"cron up to a slot, which counts", schedule.Timing{Cron: "0 * * * *", Until: day(11, 0, 0)}, day(9, 0, 0),
			[]time.Time{day(10, 0, 0), day(11, 0, 0)}, "Every hour, until 5 May 2026 at 11:00:00 (UTC)"},
		{"cron between bounds that hold no slot", schedule.Timing{Cron: "0 9 * * *", From: day(10, 0, 0), Until: day(20, 0, 0)}, day(0, 0, 0), nil,
			"At 09:00 every day, from 5 May 2026 at 10:00:00 (UTC), until 5 May 2026 at 20:00:00 (UTC)"},
		{"every, not at its anchor", schedule.Timing{Every: 90 * time.Second, Anchor: day(9, 0, 0)}, day(8, 0, 0),
			[]time.Time{day(9, 1, 30), day(9, 3, 0), day(9, 4, 30)}, "Every 90 seconds"},
		{"every, long after its anchor", schedule.Timing{Every: time.Hour, Anchor: day(0, 0, 7)}, day(9, 0, 7),
			[]time.Time{day(10, 0, 7), day(11, 0, 7), day(12, 0, 7)}, "Every hour"},
		{"every, from its start", schedule.Timing{Every: 48 * time.Hour, Anchor: day(9, 0, 0), From: day(9, 0, 0), Until: day(60, 0, 0), Zone: "Asia/Kolkata"}, day(0, 0, 0),
			[]time.Time{day(9, 0, 0), day(57, 0, 0)},
			"Every 2 days, from 5 May 2026 at 14:30:00 (Asia/Kolkata), until 7 May 2026 at 17:30:00 (Asia/Kolkata)"},
		{"at", schedule.Timing{At: day(9, 0, 5)}, day(9, 0, 4), []time.Time{day(9, 0, 5)}, "Once, on 5 May 2026 at 09:00:05 (UTC)"},
		{"at, over", schedule.Timing{At: day(9, 0, 5)}, day(9, 0, 5), nil, "Once, on 5 May 2026 at 09:00:05 (UTC)"},
	} {
		tt := timetable(t, tc.timing)
		if d := cmp.Diff(tc.want, tt.Upcoming(tc.after, 3)); d != "" {
			t.Errorf("%s: %s", tc.name, d)
		}
		if got := tt.Describe(); got != tc.words {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.words)
		}
	}
}

func TestTimetableRefuses(t *testing.T) {
	t.Parallel()
	for _, timing := range []schedule.Timing{{}, {Cron: "nonsense"}, {At: day(1, 0, 0), Zone: "Mars/Base"}, {Every: time.Hour, Zone: "Mars/Base"}} {
		if _, err := schedule.NewCache(1).Timetable(timing); err == nil {
			t.Errorf("%+v was accepted", timing)
		}
	}
}

func TestDue(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		timing    schedule.Timing
		slot, due time.Time
	}{
		{"no jitter", schedule.Timing{Cron: "* * * * *"}, day(9, 0, 0), day(9, 0, 0)},
		{"jitter", schedule.Timing{Cron: "0 * * * *", Jitter: 90 * time.Second}, day(9, 0, 0), day(9, 1, 30)},
		{"never as late as the next slot", schedule.Timing{Cron: "* * * * *", Jitter: time.Hour}, day(9, 0, 0), day(9, 0, 59)},
		{"exactly the next slot", schedule.Timing{Every: 30 * time.Second, Anchor: day(0, 0, 0), Jitter: 30 * time.Second}, day(9, 0, 0), day(9, 0, 29)},
		{"the last slot has no next", schedule.Timing{At: day(9, 0, 0), Jitter: time.Hour}, day(9, 0, 0), day(10, 0, 0)},
	} {
		if got := timetable(t, tc.timing).Due(tc.slot); !got.Equal(tc.due) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.due)
		}
	}
}

func TestPassed(t *testing.T) {
	t.Parallel()
	hourly, yearly := schedule.Timing{Cron: "0 * * * *"}, schedule.Timing{Cron: "0 0 1 1 *"}
	late := schedule.Timing{Cron: "0 * * * *", Jitter: 10 * time.Minute}
	at := func(hour, minute int) time.Time { return day(hour, minute, 0) }
	for _, tc := range []struct {
		name        string
		timing      schedule.Timing
		after, now  time.Time
		limit       int
		first, last time.Time
		count       int
		more        bool
	}{
		{"none", yearly, at(0, 0), at(9, 0), 10, time.Time{}, time.Time{}, 0, false},
		{"one", hourly, at(8, 30), at(9, 30), 10, at(9, 0), at(9, 0), 1, false},
		{"after is left out and now is in", hourly, at(8, 0), at(10, 0), 10, at(9, 0), at(10, 0), 2, false},
		{"exactly the limit", hourly, at(0, 0), at(3, 0), 3, at(1, 0), at(3, 0), 3, false},
		{"over the limit", hourly, at(0, 0), at(4, 0), 3, at(1, 0), at(3, 0), 3, true},
		{"no limit left", hourly, at(0, 0), at(4, 0), 0, time.Time{}, time.Time{}, 0, true},
		{"no limit left and no slot", yearly, at(0, 0), at(4, 0), 0, time.Time{}, time.Time{}, 0, false},
		{"backwards", hourly, at(4, 0), at(0, 0), 10, time.Time{}, time.Time{}, 0, false},
		{"the newest is not due yet", late, at(8, 0), at(10, 9), 10, at(9, 0), at(9, 0), 1, false},
		{"the newest is just due", late, at(8, 0), at(10, 10), 10, at(9, 0), at(10, 0), 2, false},
	} {
		first, last, count, more := timetable(t, tc.timing).Passed(tc.after, tc.now, tc.limit)
		if !first.Equal(tc.first) || !last.Equal(tc.last) || count != tc.count || more != tc.more {
			t.Errorf("%s: %v, %v, %d, %v; want %v, %v, %d, %v", tc.name, first, last, count, more, tc.first, tc.last, tc.count, tc.more)
		}
	}
}

func TestUpcomingCounts(t *testing.T) {
	t.Parallel()
	tt := timetable(t, schedule.Timing{Cron: "0 9 * * *"})
	for _, n := range []int{-1, 0, 1, 5} {
		if got := len(tt.Upcoming(time.Unix(0, 0), n)); got != max(n, 0) {
			t.Errorf("Upcoming(%d) has %d slots", n, got)
		}
	}
}

// TestTimetableLaws: whatever the timing, slots grow, have whole seconds and lie
// within their bounds, and each is due before the next one.
func TestTimetableLaws(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		second := func(name string) time.Time {
			return time.Unix(rapid.Int64Range(0, 4_000_000_000).Draw(t, name), 0).UTC()
		}
		timing := schedule.Timing{
			Zone:   rapid.SampledFrom([]string{"", "Europe/Berlin", "America/Santiago", "Asia/Kolkata"}).Draw(t, "zone"),
			Jitter: time.Duration(rapid.Int64Range(0, 100_000_000).Draw(t, "jitter")) * time.Millisecond,
		}
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			timing.Cron = rapid.SampledFrom([]string{"* * * * *", "0 9 * * 1-5", "30 2 * * *", "*/7 */5 * * *"}).Draw(t, "cron")
		case 1:
			timing.Every, timing.Anchor = time.Duration(rapid.Int64Range(1, 1_000_000).Draw(t, "every"))*time.Second, second("anchor")
		case 2:
			timing.At = second("at")
		}
		if timing.At.IsZero() && rapid.Bool().Draw(t, "bounded") {
			timing.From = second("from")
			timing.Until = timing.From.Add(time.Duration(rapid.Int64Range(0, 10_000_000).Draw(t, "for")) * time.Second)
			if timing.Every > 0 {
				timing.Anchor = timing.From
			}
		}
		tt := timetable(t, timing)
		after := second("after")
		var last time.Time
		for _, slot := range tt.Upcoming(after, 20) {
			switch {
			case !slot.After(after), slot.Nanosecond() != 0, slot.Location() != time.UTC:
				t.Fatalf("%v after %v", slot, after)
			case !timing.From.IsZero() && slot.Before(timing.From), !timing.Until.IsZero() && slot.After(timing.Until):
				t.Fatalf("%v is not within its bounds", slot)
			case !last.IsZero() && !tt.Due(last).Before(slot):
				t.Fatalf("%v is due at %v, after the next slot %v", last, tt.Due(last), slot)
			case tt.Due(slot).Before(slot):
				t.Fatalf("%v is due before it", slot)
			}
			after, last = slot, slot
		}
	})
}
