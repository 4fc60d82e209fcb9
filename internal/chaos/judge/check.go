package judge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Violation is a promise that was not kept.
type Violation struct {
	Kind   string
	Run    string // the run it is about; may be empty
	Detail string
}

func (v Violation) String() string { return strings.TrimSpace(v.Kind + " " + v.Run + ": " + v.Detail) }

// bench is the log, sorted for the questions that are asked of it.
type bench struct {
	log      Log
	jobs     map[string]*Job
	runs     map[string]*Run
	calls    map[string][]*Call    // by run, in the order of arrival
	nonces   map[string]*Call      // by nonce
	messages map[string][]*Message // by run, in the order of arrival
	alerts   []*Message            // in the order of arrival
	report   *Report
}

// Check holds the log against the promises.
func Check(l Log) *Report {
	b := &bench{log: l, jobs: map[string]*Job{}, runs: map[string]*Run{}, calls: map[string][]*Call{},
		nonces: map[string]*Call{}, messages: map[string][]*Message{}, report: newReport(l)}
	slices.SortStableFunc(b.log.Calls, func(x, y Call) int { return cmp.Compare(x.At, y.At) })
	slices.SortStableFunc(b.log.Messages, func(x, y Message) int { return cmp.Compare(x.At, y.At) })
	for i := range b.log.Jobs {
		b.jobs[b.log.Jobs[i].ID] = &b.log.Jobs[i]
	}
	for i := range b.log.Runs {
		r := &b.log.Runs[i]
		if b.runs[r.ID] != nil {
			b.fail("slot recorded twice", r.ID, "two records of one id")
		}
		b.runs[r.ID] = r
	}
	for i := range b.log.Calls {
		c := &b.log.Calls[i]
		b.calls[c.Run] = append(b.calls[c.Run], c)
		b.nonces[c.Nonce] = c
	}
	for i := range b.log.Messages {
		m := &b.log.Messages[i]
		if m.Alert {
			b.alerts = append(b.alerts, m)
			continue
		}
		run := b.runOf(m)
		if run == "" {
			b.fail("phantom message", "", fmt.Sprintf("message %s to %s %s has the reply of no call", m.MessageID, m.Channel, m.ChatID))
			continue
		}
		b.messages[run] = append(b.messages[run], m)
	}

	for i := range b.log.Jobs {
		b.noteDisabled(&b.log.Jobs[i])
		b.checkSlots(&b.log.Jobs[i])
		b.checkOrder(&b.log.Jobs[i])
		b.checkBeside(&b.log.Jobs[i])
	}
	for i := range b.log.Runs {
		b.checkRun(&b.log.Runs[i])
		b.checkDeliveries(&b.log.Runs[i])
	}
	b.checkAlerts()
	b.checkStrangers()
	b.checkCancels()
	b.checkOverlaps()
	b.checkSessions()
	return b.report
}

func (b *bench) fail(kind, run, detail string) {
	b.report.Violations = append(b.report.Violations, Violation{kind, run, detail})
}

// runOf is the run whose reply a message brings: the one whose call had its nonce.
// A key that says otherwise is a reply in the wrong envelope.
func (b *bench) runOf(m *Message) string {
	c := b.nonces[m.Nonce]
	if c == nil {
		return ""
	}
	if m.Key != "" && !strings.HasPrefix(m.Key, c.Run+":") {
		b.fail("phantom message", c.Run, fmt.Sprintf("its reply was sent with the key %s", m.Key))
	}
	return c.Run
}

// checkSlots matches every slot of a job with exactly one record.
func (b *bench) checkSlots(j *Job) {
	slots, err := b.slots(j, b.log.Until)
	if err != nil {
		b.fail("unreadable job", "", fmt.Sprintf("%s: %v", j.ID, err))
		return
	}
	var records []*Run
	var claims []int64
	manual := 0
	for i := range b.log.Runs {
		r := &b.log.Runs[i]
		switch {
		case r.JobID != j.ID:
			continue
		case r.Trigger == "manual":
			manual++
			continue
		}
		records = append(records, r)
		if ran(r) {
			claims = append(claims, r.Slot)
		}
	}
	if manual > j.Manual {
		b.fail("phantom run", "", fmt.Sprintf("%s: %d manual runs, asked for %d times", j.ID, manual, j.Manual))
	}
	for _, id := range j.Started {
		if r := b.runs[id]; r == nil || r.JobID != j.ID || r.Trigger != "manual" {
			b.fail("run lost", id, "it was started by hand and acknowledged, and is not on record")
		}
	}
	b.checkLife(j, len(claims))
	if most := j.most(); most > 0 && len(claims) >= most {
		// The last claim ends the schedule.
		last := slices.Max(claims)
		slots = slices.DeleteFunc(slots, func(s slot) bool { return s.at > last })
	}

	known := map[int64]bool{}
	for _, s := range slots {
		known[s.at] = true
	}
	covered := map[int64]string{}
	for _, r := range records {
		first, last := r.Slot, max(r.Slot, r.LastSlot)
		count, sure := 0, 0
		for _, s := range slots {
			if s.at < first || s.at > last {
				continue
			}
			count++
			if s.sure {
				sure++
			}
			if other := covered[s.at]; other != "" {
				b.fail("slot recorded twice", r.ID, fmt.Sprintf("slot %s has the record %s, too", clock(s.at), other))
			}
			covered[s.at] = r.ID
		}
		stands := max(r.Count, 1)
		switch {
		case !known[first] || !known[last]:
			b.fail("phantom run", r.ID, fmt.Sprintf("%s to %s are no slots of %s", clock(first), clock(last), j.ID))
		case stands > count || stands < sure:
			b.fail("wrong range", r.ID, fmt.Sprintf("it counts %d slots from %s to %s, where %d are", stands, clock(first), clock(last), count))
		}
		b.report.count(r, stands)
	}
	for _, s := range slots {
		if s.sure {
			b.report.Slots++
			if covered[s.at] == "" {
				b.fail("slot without an outcome", fmt.Sprintf("%s:%d", j.ID, s.at/1000), fmt.Sprintf("nothing is on record for %s of %s", clock(s.at), j.Name))
			}
		}
	}
}

// checkLife: a job that was acknowledged is there until it is deleted, and not
// after.
func (b *bench) checkLife(j *Job, claims int) {
	deleted := j.Definitions[len(j.Definitions)-1].Deleted
	most := j.most()
	over := most > 0 && claims >= most
	switch {
	case most > 0 && claims > most:
		b.fail("too many runs", "", fmt.Sprintf("%s ran %d times, it may %d times", j.ID, claims, most))
	case !j.Listed && !deleted && !over:
		b.fail("job lost", "", fmt.Sprintf("%s (%s) was acknowledged and is gone", j.ID, j.Name))
	case j.Listed && (deleted || over):
		b.fail("job not gone", "", fmt.Sprintf("%s (%s) is still there", j.ID, j.Name))
	}
}

// ran reports whether a record is that of a run, rather than of slots that did
// not become one.
func ran(r *Run) bool { return r.Outcome != "skipped" && r.Outcome != "missed" }

// checkRun holds one record against the calls that arrived for it.
func (b *bench) checkRun(r *Run) {
	j := b.jobs[r.JobID]
	if j == nil {
		b.fail("phantom run", r.ID, "of a job that nobody made")
		return
	}
	calls := b.calls[r.ID]
	b.report.PerRun[len(calls)]++
	switch {
	case r.Outcome == "" || r.State != "done":
		b.fail("slot without an outcome", r.ID, fmt.Sprintf("it is still %s", r.State))
		return
	case !ran(r) && len(calls) > 0:
		b.fail("phantom run", r.ID, fmt.Sprintf("it is on record as %s(%s), but %d calls arrived", r.Outcome, r.Reason, len(calls)))
		return
	case len(calls) > len(r.Attempts):
		b.fail("call without an attempt", r.ID, fmt.Sprintf("%d calls arrived, %d attempts are on record", len(calls), len(r.Attempts)))
	}
	if len(calls) > 0 && r.Trigger == "schedule" {
		b.report.Lag = append(b.report.Lag, calls[0].At-j.due(r))
		if calls[0].At < j.due(r)-early {
			b.fail("call before its time", r.ID, fmt.Sprintf("it arrived %d ms before it was due", j.due(r)-calls[0].At))
		}
	}
	if r.Outcome == "succeeded" {
		b.checkReply(r)
	}
	b.checkEmpty(r, calls)
	ended := r.FinishedAt
	for _, m := range b.messages[r.ID] {
		ended = min(ended, m.At) // the chat knows better than the record
	}
	for _, c := range calls {
		if c.At <= ended {
			continue
		}
		if b.troubled(c.Process, c.At-thawed, c.At, Frozen) || b.unheardOf(c) {
			b.report.LateCalls++
			continue
		}
		b.fail("call after the end", r.ID, fmt.Sprintf("call %d by %s arrived %d ms after the run ended as %s", c.N, c.Process, c.At-ended, r.Outcome))
	}
	b.checkPolicies(j, r)
	b.checkClock(j, r)
}

// heard is how long after a clock was set somebody may still do what was under way.
const heard = 1_000

// checkClock: no slot is claimed while the clock of Redis is wrong, and no record has a time
// by it. What was claimed before that goes on.
func (b *bench) checkClock(j *Job, r *Run) {
	times := []int64{r.CreatedAt, r.StartedAt, r.FinishedAt}
	for _, a := range r.Attempts {
		times = append(times, a.StartedAt, a.EndedAt)
	}
	for _, t := range b.log.Troubles {
		if t.Kind == Clock && ran(r) && r.Trigger == "schedule" && t.From+heard < r.CreatedAt && r.CreatedAt < t.To {
			b.fail("claimed by a wrong clock", r.ID, fmt.Sprintf("it was claimed %d ms after that was set by %s, and before it was right again", r.CreatedAt-t.From, t.Detail))
		}
	}
	for _, at := range times {
		if at != 0 && (at < j.Definitions[0].Sent-minute || at > b.log.Until+minute) {
			b.fail("time by a wrong clock", r.ID, "it is on record with "+clock(at))
		}
	}
}

// off is how far the time of a record may be from ours, in milliseconds: while the clock of
// Redis is wrong, it is what its writer reckoned from the last reading.
func (b *bench) off(at int64) int64 {
	for _, t := range b.log.Troubles {
		if t.Kind == Clock && t.From <= at && at <= t.To+heard {
			return 100
		}
	}
	return 0
}

// thawed is how long after a freeze a call may still be the one that the process
// was about to make when it froze.
const thawed = 10_000

// checkReply: what is on record as the reply came from a call for this very run.
func (b *bench) checkReply(r *Run) {
	if r.Empty && r.Reply == "" {
		if !slices.ContainsFunc(b.calls[r.ID], func(c *Call) bool { return c.How == HowEmpty }) {
			b.fail("foreign reply", r.ID, "it is on record as empty, and none of its calls was answered so")
		}
		return
	}
	nonce := nonceOf(r.Reply)
	c := b.nonces[nonce]
	switch {
	case c == nil || c.Run != r.ID:
		b.fail("foreign reply", r.ID, fmt.Sprintf("its reply %.60q was not given to any of its calls", r.Reply))
	case c.How != HowOK:
		b.fail("foreign reply", r.ID, fmt.Sprintf("its reply was never answered: the call was %s", c.How))
	}
}

// checkEmpty: a call that was answered without a text is no failure, which would be followed
// by another.
func (b *bench) checkEmpty(r *Run, calls []*Call) {
	for _, c := range calls {
		for _, a := range r.Attempts {
			if c.How == HowEmpty && a.Result == "failed" && a.StartedAt <= c.At && c.At <= a.EndedAt {
				b.fail("call repeated", r.ID, fmt.Sprintf("call %d was answered without a text, which ended the turn, and attempt %d is on record as failed", c.N, a.N))
			}
		}
	}
}

// nonceOf is the first word of a reply.
func nonceOf(reply string) string {
	nonce, _, _ := strings.Cut(reply, " ")
	return nonce
}

func (b *bench) checkPolicies(j *Job, r *Run) {
	if late := r.CreatedAt - j.due(r); ran(r) && r.Trigger == "schedule" {
		most := j.GraceMillis
		if j.Misfire == "skip" {
			most = minute
		}
		if late > most {
			b.fail("stale run", r.ID, fmt.Sprintf("it began %d ms after it was due, %s allows %d", late, j.Misfire, most))
		}
	}
	for _, a := range r.Attempts[:max(len(r.Attempts)-1, 0)] {
		if a.Result == "ambiguous" && j.OnAmbiguous == "fail" {
			b.fail("call repeated", r.ID, fmt.Sprintf("attempt %d was ambiguous, and the job wants no other", a.N))
		}
	}
	b.checkRetries(j, r)
	for i, d := range j.Definitions[:len(j.Definitions)-1] {
		next := j.Definitions[i+1]
		if r.StartedAt <= next.Acked {
			continue
		}
		for _, c := range b.calls[r.ID] {
			if d.Task != next.Task && c.Task == d.Task {
				b.fail("old definition", r.ID, fmt.Sprintf("it began %d ms after an edit was acknowledged, with the task from before", r.StartedAt-next.Acked))
			}
		}
		until := b.log.Until
		if i+2 < len(j.Definitions) {
			until = j.Definitions[i+2].Sent
		}
		if r.Trigger == "schedule" && (!next.Enabled || next.Deleted) && r.StartedAt < until {
			b.fail("old definition", r.ID, fmt.Sprintf("it began %d ms after a pause or delete was acknowledged", r.StartedAt-next.Acked))
		}
	}
}

// checkDeliveries holds what is on record of a run's deliveries against what
// arrived in the chat.
func (b *bench) checkDeliveries(r *Run) {
	j := b.jobs[r.JobID]
	messages := b.messages[r.ID]
	if j == nil {
		return
	}
	if r.Empty && len(r.Deliveries) > r.alerts() {
		b.fail("phantom message", r.ID, "it is on record as empty, and has a delivery")
	}
	if r.Outcome != "succeeded" || r.Empty || j.Channel == "" || j.Deliver == "on_failure" {
		if len(messages) > 0 {
			b.fail("phantom message", r.ID, fmt.Sprintf("%d messages arrived for a run that is %s, into %q", len(messages), r.Outcome, j.Channel))
		}
		return
	}
	if len(r.Deliveries) == 0 {
		b.fail("delivery lost", r.ID, "its reply has a chat and no delivery")
	}
	if replies := len(r.Deliveries) - r.alerts(); replies > 1 {
		b.fail("delivered twice", r.ID, fmt.Sprintf("%d deliveries of its reply are on record, and nobody asked for another", replies))
	}
	nonce := nonceOf(r.Reply)
	for i, m := range messages {
		if m.Nonce != nonce {
			b.fail("two replies", r.ID, fmt.Sprintf("message %s brings the reply %s, on record is %s", m.MessageID, m.Nonce, nonce))
		}
		if m.Channel != j.Channel || m.ChatID != j.ChatID {
			b.fail("wrong chat", r.ID, fmt.Sprintf("message %s went to %s %s", m.MessageID, m.Channel, m.ChatID))
		}
		if m.Key != "" && !slices.ContainsFunc(r.Deliveries, func(d Delivery) bool { return strings.HasPrefix(m.Key, fmt.Sprintf("%s:%d:", r.ID, d.N)) }) {
			b.fail("phantom message", r.ID, fmt.Sprintf("no delivery on record has the key %s", m.Key))
		}
		b.checkRepeat(r, messages[:i], m)
	}
	for _, d := range r.Deliveries {
		b.checkDelivery(r, d)
	}
}

// repeats reports whether a message brings what another one brought. The key does not
// decide alone: the same lines under another key are in the chat twice all the same. Nor do
// the lines: a channel may drop other ones under a key that it knows.
func (m *Message) repeats(o *Message) bool {
	return m.Key != "" && m.Key == o.Key || m.Nonce == o.Nonce && m.First <= o.Last && o.First <= m.Last
}

// checkRepeat: what earlier messages brought is sent again only if the channel said no. If
// it lied, it is in the chat twice, and that is the channel's doing.
func (b *bench) checkRepeat(r *Run, earlier []*Message, m *Message) {
	if m.Delivered && m.How != HowOK {
		b.report.Ambiguous[m.How]++
	}
	for _, before := range slices.Backward(earlier) {
		if !m.repeats(before) {
			continue
		}
		switch {
		case before.How == HowRefused && before.Delivered:
			b.report.Repeats++
		case before.How == HowRefused:
		default:
			b.fail("message twice", r.ID, fmt.Sprintf("lines %d to %d came again as message %s with the key %q after %s with %q, which the channel answered %q",
				m.First, m.Last, m.MessageID, m.Key, before.MessageID, before.Key, before.How))
		}
		return // that one was held against those before it
	}
}

func (b *bench) checkDelivery(r *Run, d Delivery) {
	b.report.Deliveries[d.State]++
	var confirmed []*Message
	for _, m := range b.messages[r.ID] {
		if m.Delivered && m.How == HowOK {
			confirmed = append(confirmed, m)
		}
	}
	whole := complete(confirmed)
	switch d.State {
	case "delivered":
		for _, id := range d.MessageIDs {
			if !slices.ContainsFunc(confirmed, func(m *Message) bool { return m.MessageID == id }) {
				b.fail("false delivered", r.ID, fmt.Sprintf("the channel confirmed no message %s", id))
			}
		}
		if !whole || len(d.MessageIDs) != d.Parts {
			b.fail("false delivered", r.ID, fmt.Sprintf("%d of %d parts are confirmed, and they are not the whole reply", len(confirmed), d.Parts))
		}
	case "failed":
		if whole {
			b.fail("false failed", r.ID, "the channel confirmed all of it")
		}
	case "unknown":
	default:
		b.fail("delivery without an outcome", r.ID, fmt.Sprintf("delivery %d is %s", d.N, d.State))
	}
}

// complete reports whether messages hold every line of their reply.
func complete(messages []*Message) bool {
	if len(messages) == 0 {
		return false
	}
	seen := make([]bool, messages[0].Lines)
	for _, m := range messages {
		for line := m.First; line <= m.Last && line <= len(seen); line++ {
			seen[line-1] = true
		}
	}
	return !slices.Contains(seen, false)
}

// checkStrangers: nothing arrives for a run that is not on record.
func (b *bench) checkStrangers() {
	for id, calls := range b.calls {
		if b.runs[id] == nil {
			b.fail("phantom run", id, fmt.Sprintf("%d calls arrived, and nothing is on record", len(calls)))
		}
	}
	for id, messages := range b.messages {
		if b.runs[id] == nil {
			b.fail("phantom message", id, fmt.Sprintf("%d messages arrived, and nothing is on record", len(messages)))
		}
	}
}

// troubled reports whether one of these things was done to a process between two
// instants.
func (b *bench) troubled(process string, from, to int64, kinds ...string) bool {
	name, _, _ := strings.Cut(process, ".")
	return slices.ContainsFunc(b.log.Troubles, func(t Trouble) bool {
		return slices.Contains(kinds, t.Kind) && (t.Process == process || t.Process == name) && t.From <= to && t.To >= from
	})
}
