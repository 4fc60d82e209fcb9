package schedule_test

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// mustZones returns every name the package knows.
func mustZones(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile("zones.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))
}

// changes lists the instants in [from, to) at which the zone's offset changes,
// if they lie at least three days apart.
func changes(loc *time.Location, from, to time.Time) []time.Time {
	const stride = 3 * 24 * time.Hour
	var out []time.Time
	before := offset(from, loc)
	for ; from.Before(to); from = from.Add(stride) {
		low, high := from, from.Add(stride)
		now := offset(high, loc)
		if now == before {
			continue
		}
		for high.Sub(low) > time.Minute {
			middle := low.Add(high.Sub(low) / 2).Truncate(time.Minute)
			if offset(middle, loc) == before {
				low = middle
			} else {
				high = middle
			}
		}
		out = append(out, high)
		before = now
	}
	return out
}

func offset(at time.Time, loc *time.Location) int {
	_, seconds := at.In(loc).Zone()
	return seconds
}

// compare checks every slot of a window and a few instants between them against
// the walk over every minute.
func compare(t tester, s *schedule.Schedule, after, upTo time.Time) {
	t.Helper()
	const most = 100
	want := newWalker(t, s.Expr(), s.Location()).upcoming(after, upTo)
	if len(want) > most {
		want = want[:most]
		upTo = want[most-1]
	}
	var got []time.Time
	for at := after; ; {
		next, ok := s.Next(at)
		if !ok || next.After(upTo) {
			break
		}
		if !next.After(at) || next.Second() != 0 || next.Nanosecond() != 0 || next.Location() != time.UTC {
			t.Fatalf("%q in %s: Next(%v) = %v", s.Expr(), s.Location(), at, next)
		}
		got = append(got, next)
		at = next
	}
	if diff := cmp.Diff(inZone(s, want), inZone(s, got)); diff != "" {
		t.Fatalf("%q in %s after %v (-walked +got):\n%s", s.Expr(), s.Location(), after, diff)
	}
	for i := 1; i < len(want); i++ {
		middle := want[i-1].Add(want[i].Sub(want[i-1])/2 + 17*time.Second)
		if next, ok := s.Next(middle); middle.Before(want[i]) && (!ok || !next.Equal(want[i])) {
			t.Fatalf("%q in %s: Next(%v) = %v, %v; want %v", s.Expr(), s.Location(), middle, next, ok, want[i])
		}
	}
}

// TestEveryZone walks through two offset changes of every zone, drawn by the
// zone's name, with schedules of each kind.
func TestEveryZone(t *testing.T) {
	t.Parallel()
	from, to := time.Date(1995, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	const daily = "%d %d * * *"
	seen := 0
	for _, zone := range mustZones(t) {
		loc := mustParse(t, "* * * * *", zone).Location()
		all := changes(loc, from, to)
		seen += len(all)
		seed := fnv.New64a()
		fmt.Fprint(seed, zone)
		random := rand.New(rand.NewPCG(seed.Sum64(), 1))
		for range min(len(all), 2) {
			change := all[random.IntN(len(all))]
			wall := change.Add(time.Duration(offset(change, loc))*time.Second - 30*time.Minute).UTC()
			for _, expr := range []string{
				fmt.Sprintf(daily, wall.Minute(), wall.Hour()),
				fmt.Sprintf("%d 0-23 * * *", wall.Minute()),
				"*/20 * * * *",
			} {
				s := mustParse(t, expr, zone)
				compare(t, s, change.Add(-5*time.Hour), change.Add(7*time.Hour))
			}
		}
	}
	if seen < 5_000 {
		t.Errorf("only %d offset changes in the whole tz database", seen)
	}
}

// hardZones are those whose offset changes differ in kind.
var hardZones = []string{
	"UTC", "Europe/Berlin", "Europe/Dublin", "America/New_York", "America/St_Johns", "America/Havana",
	"America/Santiago", "America/Sao_Paulo", "America/Nuuk", "Atlantic/Azores", "Africa/Casablanca",
	"Africa/Cairo", "Africa/Monrovia", "Asia/Beirut", "Asia/Gaza", "Asia/Kathmandu", "Asia/Kolkata",
	"Asia/Pyongyang", "Asia/Tehran", "Asia/Ust-Nera", "Antarctica/Troll", "Antarctica/Casey",
	"Antarctica/Vostok", "Australia/Lord_Howe", "Australia/Sydney", "Pacific/Apia", "Pacific/Chatham",
	"Pacific/Enderbury", "Pacific/Kwajalein",
}

// exprs draws expressions that are likely to fire within days.
func exprs() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		fields := []string{
			drawField(t, "minute", 0, 59, 1),
			drawField(t, "hour", 0, 23, 1),
			drawField(t, "dom", 1, 31, 3),
			drawField(t, "month", 1, 12, 6),
			drawField(t, "dow", 0, 7, 3),
		}
		return strings.Join(fields, " ")
	})
}

// drawField draws a field that is a plain * in stars of stars + 1 cases.
func drawField(t *rapid.T, name string, low, high, stars int) string {
	if rapid.IntRange(0, stars).Draw(t, name+" open") > 0 {
		return "*"
	}
	items := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
		a := rapid.IntRange(low, high).Draw(t, "a")
		b := rapid.IntRange(a, high).Draw(t, "b")
		step := rapid.IntRange(1, high+2).Draw(t, "step")
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			return fmt.Sprintf("*/%d", step)
		case 1:
			return fmt.Sprintf("%d-%d", a, b)
		case 2:
			return fmt.Sprintf("%d-%d/%d", a, b, step)
		default:
			return fmt.Sprint(a)
		}
	}), 1, 4).Draw(t, name)
	return strings.Join(items, ",")
}

// TestNextAgainstWalk draws expressions and instants around the offset changes of
// the hard zones.
func TestNextAgainstWalk(t *testing.T) {
	t.Parallel()
	from, to := time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2110, 1, 1, 0, 0, 0, 0, time.UTC)
	around := map[string][]time.Time{}
	for _, zone := range hardZones {
		loc := mustParse(t, "* * * * *", zone).Location()
		around[zone] = append(changes(loc, from, to),
			time.Date(2028, 12, 31, 0, 0, 0, 0, time.UTC), time.Date(2100, 2, 28, 0, 0, 0, 0, time.UTC))
	}
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom(hardZones).Draw(t, "zone")
		after := rapid.SampledFrom(around[zone]).Draw(t, "change").
			Add(-time.Duration(rapid.IntRange(-6*3600, 30*3600).Draw(t, "seconds before")) * time.Second)
		for _, expr := range rapid.SliceOfN(exprs(), 5, 5).Draw(t, "exprs") {
			s, err := schedule.Parse(expr, zone)
			if neverFires(err) {
				continue
			}
			if err != nil {
				t.Fatalf("Parse(%q, %q): %v", expr, zone, err)
			}
			compare(t, s, after, after.Add(48*time.Hour))
		}
	})
}

func neverFires(err error) bool {
	var pe *schedule.ParseError
	return errors.As(err, &pe) && len(pe.Problems) == 1 && strings.Contains(pe.Problems[0].Detail, "never fires")
}

// TestFarAgainstWalk draws expressions that fire seldom and compares four months
// of each with the walk.
func TestFarAgainstWalk(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		expr := fmt.Sprintf("%d %d %s %s %s",
			rapid.IntRange(0, 59).Draw(t, "minute"), rapid.IntRange(0, 23).Draw(t, "hour"),
			drawField(t, "dom", 1, 31, 1), drawField(t, "month", 1, 12, 1), drawField(t, "dow", 0, 7, 1))
		zone := rapid.SampledFrom(hardZones).Draw(t, "zone")
		after := time.Unix(rapid.Int64Range(0, 4_000_000_000).Draw(t, "after"), 0).UTC()
		s, err := schedule.Parse(expr, zone)
		if neverFires(err) {
			return
		}
		if err != nil {
			t.Fatalf("Parse(%q, %q): %v", expr, zone, err)
		}
		compare(t, s, after, after.AddDate(0, 4, 0))
	})
}
