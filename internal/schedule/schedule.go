// Package schedule owns the arithmetic of schedules: what a cron expression and
// a zone mean, which instants they name, and how they are told to a person.
//
// It is pure: it reads no clock, keeps no state but the Cache a caller asks for,
// and imports the standard library and gronx only. Nothing outside this package
// may compute a slot.
//
// # The rules
//
// An expression has the five fields of standard cron. If day-of-month or
// day-of-week starts with *, a day must match both; otherwise either is enough.
//
// A schedule is *wild* if its minute or hour field starts with *, else *fixed*.
// Where a zone changes its offset by at most three hours,
//
//   - a fixed schedule that has a match inside the skipped wall time runs once,
//     at the first instant after the gap, and does not run again at wall times
//     that come a second time;
//   - a wild schedule follows real time: skipped minutes are lost, repeated ones
//     run in both passes.
//
// A larger change is a country that crossed the date line and not daylight
// saving time: what it skips is lost and what it repeats is run again.
package schedule

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/adhocore/gronx"
)

const (
	dayMinutes = 24 * 60

	// horizonMinutes is how far Next looks ahead: 100 years. The widest real
	// distance between two matches is 40 years (29 February on one day of the
	// week, across 2100).
	horizonMinutes = 100 * 366 * dayMinutes

	// dstMinutes is the largest offset change that counts as daylight saving.
	dstMinutes = 3 * 60
)

// Slots exist in the years 1 to 9999 only: others cannot be written as RFC 3339.
var (
	minMinute = floorDiv(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), 60)
	maxMinute = floorDiv(time.Date(9999, 12, 30, 0, 0, 0, 0, time.UTC).Unix(), 60)
)

// Schedule is a parsed expression in its zone. It is immutable and safe for
// concurrent use.
type Schedule struct {
	expr string
	loc  *time.Location

	minute, hour, dom, month, dow field

	clock     string // the expression as gronx is given it, see fieldKind.parse
	lastOfDay int    // the last match of a matching day, in minutes since midnight

	// Jobs of one schedule ask for the slot after one and the same, thousands within a
	// second.
	last atomic.Pointer[answer]
}

// answer is what Next said.
type answer struct {
	from int64 // the first minute that could be
	next time.Time
	ok   bool
}

// Expr returns the expression with single spaces and macros expanded.
func (s *Schedule) Expr() string { return s.expr }

// Location returns the zone, UTC when none was given.
func (s *Schedule) Location() *time.Location { return s.loc }

// Next returns the first slot strictly after the given instant: a whole minute,
// in UTC. It returns false if there is none within the next 100 years or before
// the end of the year 9999.
//
// The work is bounded for any schedule: the horizon holds a few hundred offset
// changes, each costs at most two searches on the wall clock, and a search is one
// step a month and, where it finds a day, one call of gronx.
func (s *Schedule) Next(after time.Time) (time.Time, bool) {
	t := max(floorDiv(after.Unix(), 60)+1, minMinute)
	if a := s.last.Load(); a != nil && a.from == t {
		return a.next, a.ok
	}
	next, ok := s.from(t)
	s.last.Store(&answer{t, next, ok})
	return next, ok
}

// from finds the first slot that is not before a minute.
func (s *Schedule) from(t int64) (time.Time, bool) {
	limit := min(t+horizonMinutes, maxMinute)

	// The walk starts early enough to have seen any change whose repeated wall
	// time still lasts at t.
	at := t - dstMinutes
	offset := s.offsetAt(at)
	done := int64(math.MinInt64) // a fixed schedule has had its runs before this wall minute
	for at < limit {
		before, end := offset, min(s.offsetUntil(at), limit)
		offset = s.offsetAt(at)

		switch change := offset - before; {
		case s.wild():
		case change < 0 && change >= -dstMinutes:
			done = at + before
		case change > 0 && change <= dstMinutes && at >= t:
			if _, ok := s.nextWall(at+before, at+offset); ok {
				return instant(at), true
			}
		}
		if w, ok := s.nextWall(max(max(at, t)+offset, done), end+offset); ok {
			return instant(w - offset), true
		}
		at = end
	}
	return time.Time{}, false
}

// sameSlots reports whether o, however it is spelt, has the slots of s.
func (s *Schedule) sameSlots(o *Schedule) bool {
	return s.minute == o.minute && s.hour == o.hour && s.dom == o.dom && s.month == o.month && s.dow == o.dow &&
		(s.loc.String() == o.loc.String() || rulesOf(s.loc) == rulesOf(o.loc))
}

// wild reports whether the schedule follows real time through offset changes.
func (s *Schedule) wild() bool { return s.minute.star || s.hour.star }

// nextWall returns the first match on the wall clock in [from, until), all in
// wall minutes: minutes since 1970-01-01 00:00 read off the wall, as if the wall
// were UTC.
//
// The wall clock is gronx's. Asked for a date that is far away or does not
// exist, it tries day by day with string work at each step (about 11 ms for a
// date that never comes); asked on a day that matches and has a match left, it
// is done in microseconds. So the bit sets pick the day, and gronx, which is
// given the whole expression, always answers within it.
func (s *Schedule) nextWall(from, until int64) (int64, bool) {
	for from < until {
		if from-startOfDay(from) > int64(s.lastOfDay) {
			from = startOfDay(from) + dayMinutes
		}
		day, ok := s.nextDay(from, until)
		if !ok {
			return 0, false
		}
		from = max(from, day)
		match, err := gronx.NextTickAfter(s.clock, instant(from), true)
		w := floorDiv(match.Unix(), 60)
		if err == nil && w >= from && w < day+dayMinutes {
			return w, w < until
		}
		// An answer outside the day would be a defect of gronx. Whatever it
		// says, the search goes forward.
		from = day + dayMinutes
	}
	return 0, false
}

// nextDay returns the start of the first day in [from, until) that the day and
// month fields allow, the day of from included. All are wall minutes.
func (s *Schedule) nextDay(from, until int64) (int64, bool) {
	year, month, day := instant(from).Date()
	for {
		first := time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
		start := first.Unix() / 60
		if start >= until {
			return 0, false
		}
		if left := s.daysOf(first) >> day << day; left != 0 {
			start += int64(bits.TrailingZeros64(left)-1) * dayMinutes
			return start, start < until
		}
		year, month, day = first.AddDate(0, 1, 0).Date()
	}
}

// daysOf returns the matching days of the month that begins at first: bit n is
// day n.
func (s *Schedule) daysOf(first time.Time) uint64 {
	if !s.month.has(int(first.Month())) {
		return 0
	}
	// The week, turned so that bit 0 is the weekday of day 1, repeated.
	const weeks = 1 | 1<<7 | 1<<14 | 1<<21 | 1<<28
	turn := int(first.Weekday())
	week := (s.dow.set>>turn | s.dow.set<<(7-turn)) & 0x7f
	byWeekday := week * weeks << 1

	days := s.dom.set | byWeekday
	if s.dom.star || s.dow.star {
		days = s.dom.set & byWeekday
	}
	inMonth := first.AddDate(0, 1, -1).Day()
	return days & (1<<(inMonth+1) - 2)
}

// offsetAt returns what the zone adds to UTC at a UTC minute, in minutes. A few
// historical offsets have seconds: rounded down, they still put each UTC minute
// into the wall minute that shows when it begins.
func (s *Schedule) offsetAt(minute int64) int64 {
	_, seconds := time.Unix(minute*60, 0).In(s.loc).Zone()
	return floorDiv(int64(seconds), 60)
}

// offsetUntil returns a later UTC minute up to which the offset stays as it is.
// It may still be the same there: where the zone's rule is extrapolated,
// ZoneBounds also ends a period at the turn of the year, which is why changes
// are seen by comparing offsets. It takes each year to have 365 days, so that on
// the last day of a leap year its end has passed already: the zone then stays as
// it is for the rest of that day.
func (s *Schedule) offsetUntil(minute int64) int64 {
	_, end := time.Unix(minute*60, 0).In(s.loc).ZoneBounds()
	if end.IsZero() {
		return maxMinute
	}
	if until := -floorDiv(-end.Unix(), 60); until > minute {
		return until
	}
	return startOfDay(minute) + dayMinutes
}

// instant returns the UTC time of a minute since the epoch.
func instant(minute int64) time.Time { return time.Unix(minute*60, 0).UTC() }

func startOfDay(minute int64) int64 { return floorDiv(minute, dayMinutes) * dayMinutes }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
