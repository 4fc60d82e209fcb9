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
// Late is over a minute after the slot, or when a newer slot is due. An emitted
// slot is left to its claim until it is older than the grace: otherwise a job
// whose queue waits longer than its period would never run.
func decide(c job.Cursor, sched *schedule.Schedule, now time.Time) *job.Collapse {
	slot := c.NextSlot.Time()
	grace, reason := graceOf(c), job.ReasonStale
	if c.Misfire == job.MisfireSkip {
		reason = job.ReasonLate
	}
	if c.Emitted && now.Sub(slot) <= grace {
		return nil
	}
	collapse := &job.Collapse{JobID: c.JobID, UID: c.UID, Revision: c.Revision, Seen: c.NextSlot,
		First: c.NextSlot, Last: c.NextSlot, Count: 1, Reason: reason, EmittedGrace: grace}

	_, newest, count, more := sched.Between(slot, now, maxWalk)
	if count == 0 {
		newest = slot
	}
	if more || now.Sub(newest) > grace {
		// None of what was walked runs.
		collapse.Count += count
		collapse.Last = job.ToMillis(newest)
		if more {
			collapse.Reason = job.ReasonSuperseded
		}
		if next, ok := sched.Next(newest); ok {
			collapse.Next = job.ToMillis(next)
		}
		return collapse
	}
	if count == 0 {
		return nil
	}
	// The newest runs, the others do not.
	collapse.Next = job.ToMillis(newest)
	if c.Misfire != job.MisfireSkip {
		collapse.Reason = job.ReasonSuperseded
	}
	if _, before, passed, _ := sched.Between(slot, newest.Add(-time.Minute), maxWalk); passed > 0 {
		collapse.Last, collapse.Count = job.ToMillis(before), 1+passed
	}
	return collapse
}

// graceOf is how long after its slot a job's run may still begin.
func graceOf(c job.Cursor) time.Duration {
	if c.Misfire == job.MisfireSkip {
		return job.LateAfter
	}
	return c.Grace
}
