package judge

import (
	"cmp"
	"slices"
)

// disableAfter is how many failed runs in a row disable a job.
const disableAfter = 10

// noteDisabled adds to a job's definitions what nobody asked for: that it is disabled
// when its tenth run in a row has failed, until somebody resumes it.
func (b *bench) noteDisabled(j *Job) {
	asked, n, seen := j.Definitions, 0, int64(0)
	for _, r := range b.ended(j.ID) {
		for i, d := range asked[1:] {
			if d.Enabled && !asked[i].Enabled && d.Acked > seen && d.Acked <= r.FinishedAt {
				n = 0 // resumed, which ends the row
			}
		}
		seen = r.FinishedAt
		if n++; !failed(r) {
			n = 0
		}
		if n == disableAfter {
			j.Definitions = disabledAt(j.Definitions, r.FinishedAt)
		}
	}
}

// disabledAt are the definitions of a job that was disabled at an instant: an edit that
// does not enable it leaves it so.
func disabledAt(asked []Definition, at int64) []Definition {
	next := slices.IndexFunc(asked, func(d Definition) bool { return d.Sent > at })
	if next < 0 {
		next = len(asked)
	}
	if !asked[next-1].Enabled || asked[next-1].Deleted {
		return asked
	}
	off := asked[next-1]
	off.Sent, off.Acked, off.Enabled = at-1, at, false
	all := append(slices.Clone(asked[:next]), off)
	for i := next; i < len(asked); i++ {
		if !asked[i-1].Enabled && asked[i].Enabled {
			return append(all, asked[i:]...)
		}
		d := asked[i]
		d.Enabled = false
		all = append(all, d)
	}
	return all
}

// ended are the runs of a job that failed or succeeded, in the order of their ends: of
// those that ended in one millisecond the failures come last.
func (b *bench) ended(job string) []*Run {
	var ended []*Run
	for i := range b.log.Runs {
		if r := &b.log.Runs[i]; r.JobID == job && (failed(r) || r.Outcome == "succeeded") {
			ended = append(ended, r)
		}
	}
	rank := func(r *Run) int {
		if failed(r) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(ended, func(x, y *Run) int {
		return cmp.Or(cmp.Compare(x.FinishedAt, y.FinishedAt), rank(x)-rank(y))
	})
	return ended
}
