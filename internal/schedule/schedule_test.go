package schedule_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// TestEndOfTime checks the ends of the range of years, where a schedule has its
// first slot and its last.
func TestEndOfTime(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"UTC", "Europe/Berlin", "Africa/Monrovia", "Pacific/Apia"} {
		s := mustParse(t, "0 12 1 * *", zone)
		for _, after := range []time.Time{{}, time.Unix(math.MinInt64/2, 0), time.Date(-500, 1, 1, 0, 0, 0, 0, time.UTC)} {
			next, ok := s.Next(after)
			if !ok || next.Year() != 1 || next.Month() != time.January {
				t.Errorf("%s: Next(%v) = %v, %v", zone, after, next, ok)
			}
		}
		for _, after := range []time.Time{time.Date(9999, 12, 2, 0, 0, 0, 0, time.UTC), time.Unix(math.MaxInt64/2, 0)} {
			if next, ok := s.Next(after); ok {
				t.Errorf("%s: Next(%v) = %v", zone, after, next)
			}
		}
		last := timetable(t, schedule.Timing{Cron: s.Expr(), Zone: zone}).Upcoming(time.Date(9999, 10, 15, 0, 0, 0, 0, time.UTC), 10)
		if len(last) != 2 || last[1].Month() > time.December || last[1].Year() != 9999 {
			t.Errorf("%s: the last slots are %v", zone, last)
		}
	}
}

// TestNeverAgain checks a schedule whose last slot has passed.
func TestNeverAgain(t *testing.T) {
	t.Parallel()
	s := mustParse(t, "0 0 29 2 */7", "UTC")
	if next, ok := s.Next(time.Date(9989, 1, 1, 0, 0, 0, 0, time.UTC)); ok {
		t.Errorf("a 29 February that is a Sunday before the year 10000: %v", next)
	}
}

// TestLastDayOfLeapYear pins the reason for which offsets are compared instead of
// the ends of time.Time.ZoneBounds being believed: on that day they lie in the
// past in every zone whose rule is extrapolated.
func TestLastDayOfLeapYear(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"America/New_York", "Europe/Berlin", "Australia/Sydney", "Australia/Lord_Howe"} {
		s := mustParse(t, "0 * * * *", zone)
		start := time.Date(2096, 12, 30, 20, 0, 0, 0, time.UTC)
		var want []time.Time
		for hour := range 60 {
			want = append(want, start.Add(time.Duration(hour+1)*time.Hour))
		}
		got := timetable(t, schedule.Timing{Cron: s.Expr(), Zone: zone}).Upcoming(start, len(want))
		if diff := cmp.Diff(inZone(s, want), inZone(s, got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", zone, diff)
		}
	}
}

// TestWorkIsBounded holds the cost of the worst schedules, counted in memory
// allocations, which grow with each step of gronx and do not depend on the
// machine.
func TestWorkIsBounded(t *testing.T) {
	tests := []struct {
		expr, zone string
		after      time.Time
		most       float64
	}{
		{"0 9 * * 1-5", "Europe/Berlin", time.Date(2026, 5, 5, 0, 0, 0, 0, time.UTC), 200},
		{"0 0 29 2 */7", "America/New_York", time.Date(2088, 3, 1, 0, 0, 0, 0, time.UTC), 200},
		{"59 23 31 12 *", "Europe/Berlin", time.Date(2026, 12, 31, 22, 59, 0, 0, time.UTC), 1_000},
		{longList(60, 0), "UTC", time.Date(2026, 5, 5, 0, 0, 0, 0, time.UTC), 2_000},
		// Only where the clock jumps over it on most of its days.
		{"*/90 2 24-31 3 */7", "Europe/Berlin", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), 5_000},
	}
	for _, tt := range tests {
		s := mustParse(t, tt.expr, tt.zone)
		if got := testing.AllocsPerRun(5, func() { s.Next(tt.after) }); got > tt.most {
			t.Errorf("%q in %s: %v allocations, at most %v expected", tt.expr, tt.zone, got, tt.most)
		}
	}
	refused := testing.AllocsPerRun(2, func() {
		if _, err := schedule.Parse("*/90 2 25-31 3 */7", "Europe/Berlin"); err == nil {
			t.Error("accepted a schedule that never fires")
		}
	})
	if refused > 20_000 {
		t.Errorf("%v allocations to refuse a schedule that never fires", refused)
	}
}

// longList is an expression of one field that lists n minutes from first on.
func longList(n, first int) string {
	text := fmt.Sprint(first)
	for m := first + 1; m < first+n; m++ {
		text += fmt.Sprintf(",%d", m)
	}
	return text + " 23 * * *"
}

func BenchmarkNext(b *testing.B) {
	for _, expr := range []string{"* * * * *", "0 9 * * 1-5", "0 0 29 2 */7"} {
		b.Run(expr, func(b *testing.B) {
			s := mustParse(b, expr, "Europe/Berlin")
			after := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			for b.Loop() {
				s.Next(after)
			}
		})
	}
}
