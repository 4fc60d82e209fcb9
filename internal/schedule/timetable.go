package schedule

import (
	"fmt"
	"time"
)

// Timing is all that says when a job runs. At, Every or Cron names its slots; the
// first of them that is set counts. Slots have whole seconds.
type Timing struct {
	Cron string // standard 5-field cron
	Zone string // IANA name; "" means UTC. Cron is read in it, the others are told in it

	Every  time.Duration // a slot each so many seconds, counted from Anchor
	Anchor time.Time     // a slot itself only where From is set

	At time.Time // the one slot

	// From and Until bound the slots of Cron and Every, both inclusive; zero is no
	// bound.
	From, Until time.Time

	// Jitter is how long after its slot a run is due, though never as late as the
	// next slot.
	Jitter time.Duration
}

// Timetable is a Timing that was read. It is immutable and safe for concurrent use.
type Timetable struct {
	timing Timing
	cron   *Schedule // nil for At and Every
	loc    *time.Location
}

// Timetable reads a timing. Errors are those of Parse.
func (c *Cache) Timetable(t Timing) (*Timetable, error) {
	expr := t.Cron
	if !t.At.IsZero() || t.Every > 0 {
		expr = "* * * * *" // for the zone alone
	}
	cron, err := c.Parse(expr, t.Zone)
	if err != nil {
		return nil, err
	}
	tt := &Timetable{timing: t, loc: cron.Location()}
	if expr == t.Cron && t.At.IsZero() && t.Every == 0 {
		tt.cron = cron
	}
	return tt, nil
}

// Location returns the zone.
func (tt *Timetable) Location() *time.Location { return tt.loc }

// Next returns the first slot strictly after the given instant, in UTC, and false
// if there is none.
func (tt *Timetable) Next(after time.Time) (time.Time, bool) {
	if !tt.timing.At.IsZero() {
		return tt.timing.At.UTC(), tt.timing.At.After(after)
	}
	if from := tt.timing.From; from.After(after) {
		after = from.Add(-time.Second) // the bound itself may be a slot
	}
	next, ok := tt.unbounded(after)
	if !ok || (!tt.timing.Until.IsZero() && next.After(tt.timing.Until)) {
		return time.Time{}, false
	}
	return next, true
}

func (tt *Timetable) unbounded(after time.Time) (time.Time, bool) {
	if tt.cron != nil {
		return tt.cron.Next(after)
	}
	anchor, every := tt.timing.Anchor.Unix(), int64(tt.timing.Every/time.Second)
	first := int64(1)
	if !tt.timing.From.IsZero() {
		first = 0
	}
	n := max(floorDiv(after.Unix()-anchor, every)+1, first)
	next := anchor + n*every
	return time.Unix(next, 0).UTC(), next < maxMinute*60
}

// Has reports whether an instant is a slot.
func (tt *Timetable) Has(slot time.Time) bool {
	next, ok := tt.Next(slot.Add(-time.Millisecond))
	return ok && next.Equal(slot)
}

// SameSlots reports whether o has the slots of tt, apart from what From and Until leave
// out of them.
func (tt *Timetable) SameSlots(o *Timetable) bool {
	a, b := tt.timing, o.timing
	switch {
	case !a.At.IsZero() || !b.At.IsZero():
		return a.At.Equal(b.At)
	case tt.cron != nil && o.cron != nil:
		return tt.cron.sameSlots(o.cron)
	default:
		return tt.cron == o.cron && a.Every == b.Every && a.Anchor.Equal(b.Anchor)
	}
}

// Due returns when the run of a slot is due: the slot itself, or later by the
// jitter, but at least a second before the next slot.
func (tt *Timetable) Due(slot time.Time) time.Time {
	if tt.timing.Jitter <= 0 {
		return slot
	}
	due := slot.Add(tt.timing.Jitter)
	if next, ok := tt.Next(slot); ok && !due.Before(next) {
		return next.Add(-time.Second)
	}
	return due
}

// Passed walks the slots after the given one that are due at now, at most limit of
// them. It returns the first and the last slot walked (zero if there is none),
// their number, and whether more follow.
func (tt *Timetable) Passed(after, now time.Time, limit int) (first, last time.Time, count int, more bool) {
	for {
		next, ok := tt.Next(after)
		if !ok || tt.Due(next).After(now) {
			return first, last, count, false
		}
		if count >= limit {
			return first, last, count, true
		}
		if count == 0 {
			first = next
		}
		last, after = next, next
		count++
	}
}

// Upcoming returns the next n slots after the given instant, in UTC; fewer if the
// timetable ends. The work grows with n: the caller bounds it.
func (tt *Timetable) Upcoming(after time.Time, n int) []time.Time {
	var slots []time.Time
	for len(slots) < n {
		next, ok := tt.Next(after)
		if !ok {
			break
		}
		slots = append(slots, next)
		after = next
	}
	return slots
}

// Describe says in words when the runs are.
func (tt *Timetable) Describe() string {
	t := tt.timing
	var words string
	switch {
	case !t.At.IsZero():
		return "Once, on " + tt.moment(t.At)
	case tt.cron != nil:
		words = tt.cron.Describe()
	default:
		words = "Every " + span(t.Every)
	}
	if !t.From.IsZero() {
		words += ", from " + tt.moment(t.From)
	}
	if !t.Until.IsZero() {
		words += ", until " + tt.moment(t.Until)
	}
	return words
}

func (tt *Timetable) moment(t time.Time) string {
	return t.In(tt.loc).Format("2 January 2006 at 15:04:05") + " (" + tt.loc.String() + ")"
}

// span tells whole seconds in the largest unit that divides them.
func span(d time.Duration) string {
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}} {
		switch {
		case d == unit.size:
			return unit.name
		case d%unit.size == 0:
			return fmt.Sprintf("%d %ss", d/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%d seconds", d/time.Second)
}
