package schedule_test

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// tester is what the helpers need of a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// walker is the judge of the arithmetic. It knows neither gronx nor the package:
// it walks over every minute of real time, reads the wall clock there, and keeps
// the furthest wall minute that the clock has shown. A fixed schedule runs in the
// first minute in which the clock reaches or passes a match; a wild one in each
// minute that shows a match.
type walker struct {
	sets       [5][60]bool // minute, hour, day, month, weekday
	wild, both bool
	loc        *time.Location
}

func newWalker(t tester, expr string, loc *time.Location) *walker {
	t.Helper()
	w := &walker{loc: loc}
	texts := strings.Fields(expr)
	low, high := [5]int{0, 0, 1, 1, 0}, [5]int{59, 23, 31, 12, 7}
	for i, text := range texts {
		for part := range strings.SplitSeq(text, ",") {
			span, step, _ := strings.Cut(part, "/")
			every, err := strconv.Atoi(step)
			if err != nil {
				every = 1
			}
			from, to, ranged := strings.Cut(span, "-")
			a, b := low[i], high[i]
			if span != "*" {
				a = walkerValue(t, from)
				b = a
				if ranged {
					b = walkerValue(t, to)
				}
			}
			for n := a; n <= b; n++ {
				if (n-a)%every == 0 {
					w.sets[i][n] = true
				}
			}
		}
	}
	if w.sets[4][7] {
		w.sets[4][0] = true
	}
	w.wild = texts[0][0] == '*' || texts[1][0] == '*'
	w.both = texts[2][0] == '*' || texts[4][0] == '*'
	return w
}

func walkerValue(t tester, text string) int {
	t.Helper()
	names := strings.Fields("sun mon tue wed thu fri sat jan feb mar apr may jun jul aug sep oct nov dec")
	if i := slices.Index(names, strings.ToLower(text)); i >= 7 {
		return i - 6
	} else if i >= 0 {
		return i
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("walker: %v", err)
	}
	return n
}

// wallAt reads the wall clock: a time labelled UTC that shows what the wall shows.
func wallAt(at time.Time, loc *time.Location) time.Time {
	_, offset := at.In(loc).Zone()
	seconds := at.Unix() + int64(offset)
	return time.Unix(seconds-(seconds%60+60)%60, 0).UTC()
}

func (w *walker) onDay(wall time.Time) bool {
	if !w.sets[3][int(wall.Month())] {
		return false
	}
	date, weekday := w.sets[2][wall.Day()], w.sets[4][int(wall.Weekday())]
	if w.both {
		return date && weekday
	}
	return date || weekday
}

func (w *walker) matches(wall time.Time) bool {
	return w.sets[0][wall.Minute()] && w.sets[1][wall.Hour()] && w.onDay(wall)
}

// upcoming returns the slots in (after, upTo].
func (w *walker) upcoming(after, upTo time.Time) []time.Time {
	var slots []time.Time
	start := after.Truncate(time.Minute).Add(time.Minute)
	w.walk(start.Add(-4*time.Hour), upTo, func(at time.Time) {
		if !at.Before(start) {
			slots = append(slots, at)
		}
	})
	return slots
}

func (w *walker) walk(at, upTo time.Time, visit func(time.Time)) {
	const dst = 3 * time.Hour
	before := wallAt(at.Add(-time.Minute), w.loc)
	furthest := before
	for ; !at.After(upTo); at = at.Add(time.Minute) {
		for at.Hour() == 0 && at.Minute() == 0 && w.idleAround(at) && !at.AddDate(0, 0, 1).After(upTo) {
			at = at.AddDate(0, 0, 1)
			before = wallAt(at.Add(-time.Minute), w.loc)
			furthest = before
		}
		wall := wallAt(at, w.loc)
		jump := wall.Sub(before) - time.Minute
		before = wall
		switch {
		case w.wild, jump > dst, jump < -dst:
			furthest = wall
			if w.matches(wall) {
				visit(at)
			}
		case wall.After(furthest):
			due := false
			for furthest.Before(wall) {
				furthest = furthest.Add(time.Minute)
				due = due || w.matches(furthest)
			}
			if due {
				visit(at)
			}
		}
	}
}

// idleAround reports that no day near the UTC day of at matches, so that whatever
// the zone does, the walk may step over that day.
func (w *walker) idleAround(at time.Time) bool {
	for day := -2; day <= 3; day++ {
		if w.onDay(at.AddDate(0, 0, day)) {
			return false
		}
	}
	return true
}
