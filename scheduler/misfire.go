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
	grace, reason := graceOf(c), job.ReasonStale
	if c.Misfire == job.MisfireSkip {
		reason = job.ReasonLate
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
	first := newest // of those that run
	if c.Misfire == job.MisfireRunAll {
		first = oldest(timetable, slot, now, count, grace)
	}
	// What comes before it does not run.
	collapse.Next, collapse.NextDue = job.ToMillis(first), job.ToMillis(timetable.Due(first))
	if c.Misfire != job.MisfireSkip {
		collapse.Reason = job.ReasonSuperseded
	}
	if !first.After(slot) {
		return nil
	}
	if _, before, passed, _ := timetable.Passed(slot, timetable.Due(first).Add(-time.Millisecond), maxWalk); passed > 0 {
		collapse.Last, collapse.Count = job.ToMillis(before), 1+passed
	}
	return collapse
}

// oldest is the first slot to catch up with, of one and count more that are due: there
// are not too many, and none is too late.
func oldest(timetable *schedule.Timetable, slot, now time.Time, count int, grace time.Duration) time.Time {
	for left := count + 1; left > 1 && (left > job.MaxCatchUp || now.Sub(timetable.Due(slot)) > grace); left-- {
		slot, _ = timetable.Next(slot)
	}
	return slot
}

// graceOf is how long after it was due a job's run may still begin.
func graceOf(c job.Cursor) time.Duration {
	if c.Misfire == job.MisfireSkip {
		return job.LateAfter
	}
	return c.Grace
}

// until is the time by which a cursor's slots are decided about at now: a job that was
// disabled has none after that.
func until(c job.Cursor, now job.Millis) job.Millis {
	if c.DisabledAt != 0 {
		return min(c.DisabledAt, now)
	}
	return now
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
