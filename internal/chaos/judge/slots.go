package judge

import "slices"

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

// doubtful is for how long before the processes came to read other rules of a zone a slot
// may be one by either: what had not run by then is found anew, by the new rules. It is more
// than lies between two slots of any job of the suite.
const doubtful = 10 * minute

// reading is what a schedule means by the rules of its zone, while they may be in force.
type reading struct {
	cron
	from, to int64
}

// readings reads the schedule of a definition, if it has one, by all rules of its zone.
func (b *bench) readings(d Definition) (all []reading, err error) {
	if d.Deleted || !d.Enabled || d.Schedule == "" {
		return nil, nil
	}
	zone, from := d.Zone, int64(0)
	for _, t := range append(slices.Clone(b.log.Troubles), Trouble{Kind: Rules, Process: d.Zone, To: b.log.Until}) {
		if t.Kind != Rules || t.Process != d.Zone {
			continue
		}
		c, err := parseCron(d.Schedule, zone)
		if err != nil {
			return nil, err
		}
		all = append(all, reading{c, from, t.To})
		zone, from = t.Detail, t.From-doubtful
	}
	return all, nil
}

// slots tries every second of a job's life.
func (b *bench) slots(j *Job, until int64) ([]slot, error) {
	readings := make([][]reading, len(j.Definitions))
	for i, d := range j.Definitions {
		var err error
		if readings[i], err = b.readings(d); err != nil {
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
			if !d.Enabled || d.Deleted {
				silent = true
				continue
			}
			some, all := d.rings(readings[i], at)
			rings, silent = rings || some, silent || !all
		}
		if rings {
			out = append(out, slot{at: at, sure: !silent})
		}
	}
	return out, nil
}

// rings reports whether an instant on a whole second may be a slot of a definition, and
// whether it surely is.
func (d Definition) rings(readings []reading, at int64) (some, all bool) {
	switch {
	case d.At != 0:
		return at == d.At, at == d.At
	case at < d.StartAt || d.EndAt != 0 && at > d.EndAt:
		return false, false
	case d.Every != 0:
		is := (at-d.StartAt)%d.Every == 0
		return is, is
	case at%minute != 0:
		return false, false
	}
	all = true
	for _, s := range readings {
		if s.from <= at && at <= s.to {
			is := s.rings(at)
			some, all = some || is, all && is
		}
	}
	return some, some && all
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
