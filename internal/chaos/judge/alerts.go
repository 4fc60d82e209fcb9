package judge

import (
	"fmt"
	"slices"
	"strings"
)

// checkAlerts: what tells of failures is on record, was due, and comes once. A channel
// without keys says only which chat an alert went to, so they are counted by chat.
func (b *bench) checkAlerts() {
	type chat struct{ channel, id string }
	due, came := map[chat]int{}, map[chat]int{}
	keyed := map[string]int{}
	for _, m := range b.alerts {
		if m.How == HowRefused {
			continue // the channel said no, so that it may come again
		}
		came[chat{m.Channel, m.ChatID}]++
		if m.Key != "" {
			keyed[m.Key]++
		}
	}
	for i := range b.log.Runs {
		r := &b.log.Runs[i]
		j := b.jobs[r.JobID]
		if n := r.alerts(); j != nil && n > 0 {
			due[chat{j.Channel, j.ChatID}]++
			b.checkAlert(j, r, n)
		}
	}
	for c, n := range came {
		if n > due[c] {
			b.fail("phantom alert", "", fmt.Sprintf("%d came to %s %s, %d are on record", n, c.channel, c.id, due[c]))
		}
	}
	for key, n := range keyed {
		run, _, _ := strings.Cut(key, ":1:")
		if r := b.runs[run]; r == nil || r.alerts() == 0 {
			b.fail("phantom alert", run, "it is not on record")
		}
		if n > 1 {
			b.fail("alert twice", run, fmt.Sprintf("%d times with the key %s", n, key))
		}
	}
}

// alerts is how many alerts are on record for a run.
func (r *Run) alerts() (n int) {
	for _, d := range r.Deliveries {
		if d.Kind == "alert" {
			n++
		}
	}
	return n
}

func (b *bench) checkAlert(j *Job, r *Run, n int) {
	enough := 2
	if j.Deliver == "on_failure" || j.most() > 0 && !j.Listed { // or it was the last run
		enough = 1
	}
	switch {
	case n > 1 || len(r.Deliveries) > n:
		b.fail("alert twice", r.ID, fmt.Sprintf("%d of its %d deliveries are alerts", n, len(r.Deliveries)))
	case !failed(r) || j.Channel == "":
		b.fail("needless alert", r.ID, fmt.Sprintf("a %s run that ended as %s, with the chat %q", r.Trigger, r.Outcome, j.Channel))
	case b.failuresUpTo(r) < enough:
		b.fail("needless alert", r.ID, fmt.Sprintf("the job wants none before %d failures in a row", enough))
	}
	d := r.Deliveries[0]
	b.report.Alerts[d.State]++
	switch d.State {
	case "failed", "unknown":
	case "delivered":
		for _, id := range d.MessageIDs {
			if !slices.ContainsFunc(b.alerts, func(m *Message) bool { return m.MessageID == id && m.Delivered && m.How == HowOK }) {
				b.fail("false delivered", r.ID, fmt.Sprintf("the channel confirmed no alert %s", id))
			}
		}
	default:
		b.fail("delivery without an outcome", r.ID, fmt.Sprintf("its alert is %s", d.State))
	}
}

func failed(r *Run) bool {
	return r.Trigger == "schedule" && (r.Outcome == "failed" || r.Outcome == "timed_out")
}

// failuresUpTo is how many runs of a job had failed in a row when this one had, at most.
func (b *bench) failuresUpTo(r *Run) int {
	n := 0
	for _, x := range b.ended(r.JobID) {
		if x.FinishedAt > r.FinishedAt {
			break
		}
		if n++; !failed(x) {
			n = 0
		}
	}
	return n
}
