package judge

import (
	"fmt"
	"regexp"
	"slices"
)

// alertsApart is how far apart two alerts of one chat are, at least, in milliseconds: a
// minute from the end of the one, less what the clocks and the way there differ.
const alertsApart = 55_000

// chat is where alerts go.
type chat struct{ channel, id string }

// checkAlerts: what tells of trouble has a cause on record, comes once, and comes to a chat
// no more often than once a minute. One message tells of many things, and which, only its
// text says: so they are counted by chat. What can be told of one is a failure, that it is
// over, and slots that were missed.
func (b *bench) checkAlerts() {
	causes := map[chat]int{}
	for i := range b.log.Runs {
		r := &b.log.Runs[i]
		j := b.jobs[r.JobID]
		if j == nil {
			continue
		}
		if r.Outcome == "missed" {
			causes[chat{j.Channel, j.ChatID}]++
		}
		if n := r.alerts(); n > 0 {
			causes[chat{j.Channel, j.ChatID}] += 2
			b.checkAlert(j, r, n)
		}
	}
	came, last, keyed := map[chat]int{}, map[chat]int64{}, map[string]int{}
	for _, m := range b.alerts {
		if m.How == HowRefused {
			continue // the channel said no, so that it may come again
		}
		c := chat{m.Channel, m.ChatID}
		if before, ok := last[c]; ok && m.At-before < alertsApart {
			b.fail("alert too soon", "", fmt.Sprintf("%s to %s %s, %d ms after the one before", m.MessageID, m.Channel, m.ChatID, m.At-before))
		}
		last[c] = m.At
		came[c]++
		if m.Key != "" {
			keyed[m.Key]++
		}
	}
	for c, n := range came {
		if n > causes[c] {
			b.fail("phantom alert", "", fmt.Sprintf("%d came to %s %s, for which %d things are on record", n, c.channel, c.id, causes[c]))
		}
	}
	for key, n := range keyed {
		if n > 1 {
			b.fail("alert twice", "", fmt.Sprintf("%d times with the key %s", n, key))
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
	case b.failuresUpTo(r) < enough && !b.tellsTheFirst(j, r):
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

// tellsTheFirst holds where the first failure is told: the job has no slot within an hour
// that is not on record yet, or the same call would fail again.
func (b *bench) tellsTheFirst(j *Job, r *Run) bool {
	if n := len(r.Attempts); n > 0 && hopeless.MatchString(r.Attempts[n-1].Error) {
		return true
	}
	for _, x := range b.log.Runs {
		if x.JobID == j.ID && x.Trigger == "schedule" && max(x.CreatedAt, x.Slot) > r.FinishedAt && x.Slot <= r.FinishedAt+3_600_000 {
			return false
		}
	}
	return true
}

// hopeless finds an answer of the ai-server after which asking again is of no use: that it
// refuses, or one that is too large.
var hopeless = regexp.MustCompile(`answered 4(?:0[0-79]|1\d|2[0-8])\b|^the reply is larger than `)

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
