package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// After an outage everything that came due meanwhile is due at once. This file says
// at which pace it goes out.

const (
	// backlogAfter is how overdue a slot that nobody has emitted must be to belong to
	// the backlog of an outage. What is younger is on time and is never slowed.
	backlogAfter = 10 * time.Second
	// backlogRate is how many slots of a backlog are let go in a second, over the whole
	// deployment: the ai-server and the workers' queue must not get an hour of work in
	// one second, and what is on time must not queue behind it.
	backlogRate = 100
	// backlogMargin is how long before a slot would be too old to run it goes, whatever
	// the pace: as long as a tick may take in which much is decided, and then some.
	backlogMargin = 10 * time.Second
)

// inBacklog reports whether the slot of a due cursor has to keep to the pace.
func inBacklog(c job.Cursor, now job.Millis) bool {
	return !c.Emitted && now.Time().Sub(c.NextDue.Time()) > backlogAfter
}

// onTimeFirst cuts due entries into batches, each in its order, which is by the look:
// first those that have only just come due, so that they do not wait for what is decided
// about the others.
func onTimeFirst(due []job.Due, now job.Millis) [][]job.Due {
	first, _ := slices.BinarySearchFunc(due, now.Time().Add(-backlogAfter), func(d job.Due, t time.Time) int {
		return d.Look.Time().Compare(t)
	})
	return slices.AppendSeq(slices.Collect(slices.Chunk(due[first:], batch)), slices.Chunk(due[:first], batch))
}

// pace picks what of a backlog goes in this tick, those first that must soon, and says
// when the rest is looked at again: a second's worth in each of the next seconds. Every
// scheduler picks the same of the same backlog, and none finds the rest due, so that
// several keep to one pace.
//
// A slot waits no longer than it may run, and no longer than until the next slot of its
// job, which is on time then and takes its place.
func (w *window) pace(late []job.Cursor, looks map[string]job.Millis, now job.Millis) (ready []job.Cursor, rest []job.Later, err error) {
	expires := func(c job.Cursor) time.Time { return c.NextDue.Time().Add(graceOf(c) - backlogMargin) }
	slices.SortFunc(late, func(a, b job.Cursor) int {
		return cmp.Or(expires(a).Compare(expires(b)), cmp.Compare(a.JobID, b.JobID))
	})
	for _, c := range late {
		if len(ready) < backlogRate || !expires(c).After(now.Time()) {
			ready = append(ready, c)
			continue
		}
		timetable, err := w.schedules.Timetable(c.Timing)
		if err != nil {
			return nil, nil, fmt.Errorf("read the timing of %s: %w", c.JobID, err)
		}
		look := now.Time().Add(tick + time.Duration(len(rest))*time.Second/backlogRate)
		if e := expires(c); e.Before(look) {
			look = e
		}
		if next, ok := timetable.Next(c.NextSlot.Time()); ok && timetable.Due(next).Before(look) {
			look = timetable.Due(next)
		}
		rest = append(rest, job.Later{JobID: c.JobID, Seen: looks[c.JobID], Look: job.ToMillis(look)})
	}
	return ready, rest, nil
}
