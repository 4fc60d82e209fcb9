package scheduler

import (
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// maxWalk bounds the slots that one decision walks over. A cursor that is
// further behind takes several decisions, each with its own piece of the range.
const maxWalk = 10_000

// decide says what becomes of a cursor that is due at now (Redis time): nil means
// that its slot may run; otherwise these slots will not, and the cursor moves on.
//
// Late is over a minute after the slot was due, or when a newer slot is due. An emitted
// slot is left to its claim until it is older than the grace: otherwise a job whose
// queue waits longer than its period would never run.
func decide(c job.Cursor, timetable *schedule.Timetable, now time.Time) *job.Collapse {
	slot := c.NextSlot.Time()
	grace, reason := c.Grace, job.ReasonStale
	if c.Misfire == job.MisfireSkip {
		grace, reason = job.LateAfter, job.ReasonLate
	}
	if c.Emitted && now.Sub(c.NextDue.Time()) <= grace {
		return nil
	}
	collapse := &job.Collapse{JobID: c.JobID, UID: c.UID, Revision: c.Revision, Seen: c.NextSlot,
		First: c.NextSlot, Last: c.NextSlot, Count: 1, Outcome: job.Missed, Reason: reason, EmittedGrace: grace}

	_, newest, count, more := timetable.Passed(slot, now, maxWalk)
	if count == 0 {
		newest = slot
	}
	if more || now.Sub(timetable.Due(newest)) > grace {
		// None of what was walked runs.
		collapse.Count += count
		collapse.Last = job.ToMillis(newest)
		if more {
			collapse.Reason = job.ReasonSuperseded
		}
		if next, ok := timetable.Next(newest); ok {
			collapse.Next, collapse.NextDue = job.ToMillis(next), job.ToMillis(timetable.Due(next))
		}
		return collapse
	}
	if count == 0 {
		return nil
	}
	// The newest runs, the others do not.
	collapse.Next, collapse.NextDue = job.ToMillis(newest), job.ToMillis(timetable.Due(newest))
	if c.Misfire != job.MisfireSkip {
		collapse.Reason = job.ReasonSuperseded
	}
	if _, before, passed, _ := timetable.Passed(slot, timetable.Due(newest).Add(-time.Millisecond), maxWalk); passed > 0 {
		collapse.Last, collapse.Count = job.ToMillis(before), 1+passed
	}
	return collapse
}

// hold says which slots of a cursor do not run because everything was paused until then
// (Redis time); nil if its slot was not due yet. Unlike decide it leaves no slot to a
// claim, which would be refused, and none to the misfire policy: a pause is not made up
// for.
func hold(c job.Cursor, timetable *schedule.Timetable, until time.Time) *job.Collapse {
	if c.NextDue.Time().After(until) {
		return nil
	}
	held := &job.Collapse{JobID: c.JobID, UID: c.UID, Revision: c.Revision, Seen: c.NextSlot,
		First: c.NextSlot, Last: c.NextSlot, Count: 1, Outcome: job.Skipped, Reason: job.ReasonPaused, EmittedGrace: -1}
	if _, last, count, _ := timetable.Passed(c.NextSlot.Time(), until, maxWalk); count > 0 {
		held.Last, held.Count = job.ToMillis(last), 1+count
	}
	if next, ok := timetable.Next(held.Last.Time()); ok {
		held.Next, held.NextDue = job.ToMillis(next), job.ToMillis(timetable.Due(next))
	}
	return held
}
