package judge

import (
	"cmp"
	"fmt"
	"slices"
)

// catchUp is how many missed slots may wait to be run, by misfire policy.
var catchUp = map[string]int{"run_once": 1, "run_all": 10, "skip": 1}

// checkBeside holds what a job had under way, by its records, against its policies.
func (b *bench) checkBeside(j *Job) {
	if j.ShareMillis < 0 || j.ShareMillis > j.JitterMillis {
		b.fail("too much jitter", "", fmt.Sprintf("%s puts its runs off by %d ms, it may by %d", j.ID, j.ShareMillis, j.JitterMillis))
	}
	var runs []*Run // that may have run, by their begin
	for i := range b.log.Runs {
		switch r := &b.log.Runs[i]; {
		case r.JobID != j.ID:
		case ran(r):
			runs = append(runs, r)
		case j.Misfire == "run_all":
			b.checkPassed(j, r)
		}
	}
	slices.SortStableFunc(runs, func(x, y *Run) int {
		return cmp.Or(cmp.Compare(x.CreatedAt, y.CreatedAt), cmp.Compare(x.Slot, y.Slot))
	})
	for i, r := range runs {
		if r.Trigger != "schedule" {
			continue
		}
		behind := b.checkCatchUp(j, r, runs[i:])
		var others []*Run // that had not ended when it came
		for _, o := range runs[:i] {
			if o.ID != r.ID && (o.FinishedAt > r.CreatedAt || o.State != "done") {
				others = append(others, o)
			}
		}
		b.checkOthers(j, r, others, behind)
	}
}

// checkOthers: what was under way when a run was created is as its job wants it.
func (b *bench) checkOthers(j *Job, r *Run, others []*Run, behind bool) {
	overlaps := func(o *Run, why string) {
		b.fail("runs overlap", r.ID, fmt.Sprintf("%s had not ended when it came, %s", o.ID, why))
	}
	if j.Misfire == "run_all" && behind {
		b.report.Policies["caught up with"]++
		for _, o := range others {
			overlaps(o, fmt.Sprintf("to be caught up with %d ms after it was due", r.CreatedAt-j.due(r)))
		}
		return
	}
	scheduled := func(o *Run) bool { return o.Trigger == "schedule" }
	switch j.Overlap {
	case "skip":
		for _, o := range others {
			overlaps(o, "and the job skips such slots")
		}
	case "cancel_previous": // a manual run stays
		for _, o := range others {
			if scheduled(o) {
				overlaps(o, "and the job cancels it then")
			}
		}
	case "queue_one":
		// All but the first of them are behind it; a manual run does not queue.
		if len(others) > 1 && slices.ContainsFunc(others[1:], scheduled) {
			b.fail("two queued", r.ID, fmt.Sprintf("it came when %d others had not ended", len(others)))
		}
		for _, o := range others {
			if r.StartedAt != 0 && r.StartedAt < o.FinishedAt {
				overlaps(o, "and it began before that")
			}
		}
		if len(others) > 0 {
			b.report.Policies["queued"]++
		}
	case "allow":
		if len(others) > 0 {
			b.report.Policies["beside others"]++
		}
	}
}

// checkCatchUp: of missed slots only so many run. One more is that whose task stood in
// the queue already. It reports whether the run was behind: over a minute late, or
// with another due that was yet to run.
func (b *bench) checkCatchUp(j *Job, r *Run, from []*Run) (behind bool) {
	waiting := 0 // with itself, due at that instant
	for _, o := range from {
		if o.Trigger == "schedule" && j.due(o) <= r.CreatedAt {
			waiting++
		}
	}
	if most := catchUp[j.Misfire] + 1; waiting > most {
		b.fail("too many late runs", r.ID, fmt.Sprintf("when it came %d slots waited that ran later; %s allows %d", waiting, j.Misfire, most))
	}
	return waiting > 1 || r.CreatedAt-j.due(r) > minute
}

// checkPassed: a job that wants all of its missed slots passes over none because of a run
// in front, and over none but for ten that are newer or because it is too old.
func (b *bench) checkPassed(j *Job, r *Run) {
	last := max(r.Slot, r.LastSlot)
	late := r.FinishedAt - last - j.ShareMillis
	newer, surely := 0, 0                              // due by then
	slots, _ := b.slots(j, r.FinishedAt-j.ShareMillis) // an error is reported elsewhere
	for _, s := range slots {
		if s.at > last {
			newer++
			if s.sure {
				surely++
			}
		}
	}
	switch {
	case r.Reason == "overlap" && (late > minute || surely > 0):
		b.fail("not caught up with", r.ID, fmt.Sprintf("%s was skipped for a run in front when it was %d ms late", clock(last), late))
	case r.Reason == "superseded" && late <= j.GraceMillis && newer < catchUp[j.Misfire]:
		b.fail("not caught up with", r.ID, fmt.Sprintf("%s was passed over for %d newer ones", clock(last), newer))
	}
}

// checkRetries: after so many attempts that count there is no other. Being told to wait,
// or stopped before the call, does not count.
func (b *bench) checkRetries(j *Job, r *Run) {
	counted := 0
	for _, a := range r.Attempts[:max(len(r.Attempts)-1, 0)] {
		if a.Result == "ambiguous" || a.Cause == "ai_error" {
			counted++
		}
	}
	if counted > j.MaxRetries {
		b.fail("too many attempts", r.ID, fmt.Sprintf("%d failed and were followed by another, the job wants %d retries", counted, j.MaxRetries))
	}
}

// checkCancels: a run is cancelled if that was confirmed, and only if it was asked for.
// That nothing of it is committed or delivered then follows from its outcome.
func (b *bench) checkCancels() {
	asked := map[string]int64{} // by run, for the first time
	for _, c := range b.log.Cancels {
		if asked[c.Run] == 0 || c.Asked < asked[c.Run] {
			asked[c.Run] = c.Asked
		}
		if c.Acked == 0 {
			continue
		}
		b.report.Policies["cancelled by request"]++
		r := b.runs[c.Run]
		if r == nil || r.Outcome != "cancelled" || r.Reason != "requested" || r.FinishedAt > c.Acked+b.off(r.FinishedAt) {
			b.fail("cancel ignored", c.Run, fmt.Sprintf("it was confirmed at %s and is on record otherwise", clock(c.Acked)))
		}
	}
	for i := range b.log.Runs {
		r := &b.log.Runs[i]
		if r.Outcome == "cancelled" && r.Reason == "requested" && (asked[r.ID] == 0 || asked[r.ID] > r.FinishedAt+b.off(r.FinishedAt)) {
			b.fail("cancelled by nobody", r.ID, "it ended as cancelled by request, and nobody had asked")
		}
	}
}

// cancelled reports whether the run of a call had been cancelled by then, for its
// successor or because somebody asked: neither waits for the ai-server.
func (b *bench) cancelled(c *Call, at int64) bool {
	r, j := b.runs[c.Run], b.jobOf(c)
	return j != nil && r.Outcome == "cancelled" && r.FinishedAt <= at &&
		(r.Reason == "requested" || r.Reason == "overlap" && j.Overlap == "cancel_previous")
}

// unheard is how long after its run was cancelled a process may still make the call:
// that old may be what it knows of its lease.
const unheard = 2_500

// unheardOf reports whether who made a call could not have heard yet that its run was
// cancelled.
func (b *bench) unheardOf(c *Call) bool {
	return b.cancelled(c, c.At) && c.At-b.runs[c.Run].FinishedAt < unheard
}
