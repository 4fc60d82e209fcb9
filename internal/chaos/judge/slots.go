package judge

// slot is an instant at which a job is to run.
type slot struct {
	at   int64
	sure bool // not, if an edit came around that instant and nobody knows which was first
}

const (
	second = 1000
	minute = 60 * second
)

// early is how long before it is due a slot may be claimed.
const early = 1 * second

// slots tries every second of a job's life.
func (j *Job) slots(until int64) ([]slot, error) {
	crons := make([]cron, len(j.Definitions))
	for i, d := range j.Definitions {
		if d.Deleted || !d.Enabled || d.Schedule == "" {
			continue
		}
		var err error
		if crons[i], err = parseCron(d.Schedule, d.Zone); err != nil {
			return nil, err
		}
	}
	var out []slot
	for at := (j.Definitions[0].Sent/second + 1) * second; at <= until; at += second {
		// In force are the definitions from the last one that surely came before
		// this instant to the last one that may have.
		rings, silent := false, false
		for i, d := range j.Definitions {
			replaced := i+1 < len(j.Definitions) && j.Definitions[i+1].Acked < at-early
			if replaced || d.Sent >= at {
				continue
			}
			if i == 0 && d.Acked >= at {
				silent = true // perhaps it was not there yet
			}
			if d.Enabled && !d.Deleted && d.rings(crons[i], at) {
				rings = true
			} else {
				silent = true
			}
		}
		if rings {
			out = append(out, slot{at: at, sure: !silent})
		}
	}
	return out, nil
}

// rings reports whether an instant on a whole second is a slot of a definition.
func (d Definition) rings(c cron, at int64) bool {
	switch {
	case d.At != 0:
		return at == d.At
	case at < d.StartAt || d.EndAt != 0 && at > d.EndAt:
		return false
	case d.Every != 0:
		return (at-d.StartAt)%d.Every == 0
	default:
		return at%minute == 0 && c.rings(at)
	}
}

// most is how many runs a job has at most, 0 for any number: one for one instant.
func (j *Job) most() int {
	if j.Definitions[0].At != 0 {
		return 1
	}
	return j.MaxRuns
}

// due is when the slot of a run is due: later than the slot by the job's share of
// jitter, which stays below any distance of two slots in the suite.
func (j *Job) due(r *Run) int64 { return r.Slot + j.ShareMillis }
