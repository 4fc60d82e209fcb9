package judge

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Report is the verdict, and what was seen on the way to it.
type Report struct {
	Slots      int            // that had to have an outcome
	Outcomes   map[string]int // slots by outcome, and reason
	PerRun     map[int]int    // records by the number of their calls
	Calls      map[string]int // by how they were answered
	Messages   map[string]int // by how they were answered
	Deliveries map[string]int // by state
	Alerts     map[string]int // by state
	Attempts   map[string]int // by result and cause
	Troubles   map[string]int // by kind and detail
	Ambiguous  map[string]int // messages that are in the chat though not confirmed
	Repeats    int            // messages sent again because the channel, falsely, said no
	LateCalls  int            // calls after the end that nobody could prevent
	Overlaps   int            // calls in one session whose earlier caller was lost or cancelled
	Lag        []int64        // from when a slot was due to its first call, ms
	Policies   map[string]int // runs that began behind, instead of or beside others, or were caught up with
	Violations []Violation
}

func newReport(l Log) *Report {
	r := &Report{Outcomes: map[string]int{}, PerRun: map[int]int{}, Calls: map[string]int{}, Messages: map[string]int{},
		Deliveries: map[string]int{}, Alerts: map[string]int{}, Attempts: map[string]int{}, Troubles: map[string]int{}, Ambiguous: map[string]int{}, Policies: map[string]int{}}
	for _, c := range l.Calls {
		r.Calls[cmp.Or(c.How, "never answered")]++
	}
	for _, m := range l.Messages {
		how := cmp.Or(m.How, "never answered")
		if m.Delivered && m.How != HowOK {
			how += " after accepting"
		}
		r.Messages[how]++
	}
	for _, t := range l.Troubles {
		name, _, _ := strings.Cut(t.Process, ".")
		name = strings.TrimRight(name, "-0123456789")
		r.Troubles[strings.TrimSpace(t.Kind+" "+name+" "+t.Detail)]++
	}
	return r
}

func (r *Report) count(run *Run, slots int) {
	outcome := run.Outcome
	if run.Reason != "" {
		outcome += "(" + run.Reason + ")"
	}
	r.Outcomes[outcome] += slots
	for _, a := range run.Attempts {
		result := a.Result
		if a.Cause != "" {
			result += "(" + a.Cause + ")"
		}
		r.Attempts[result]++
	}
}

// Table is the report for people.
func (r *Report) Table() string {
	var b strings.Builder
	row := func(name string, value any) { fmt.Fprintf(&b, "%-34s %v\n", name, value) }
	rows := func(name string, counts map[string]int) {
		row(name, sum(counts))
		for _, k := range slices.Sorted(maps.Keys(counts)) {
			row("  "+k, counts[k])
		}
	}
	row("slots expected", r.Slots)
	rows("slots by outcome", r.Outcomes)
	rows("calls", r.Calls)
	row("calls per record", "")
	for _, n := range slices.Sorted(maps.Keys(r.PerRun)) {
		row(fmt.Sprintf("  %d", n), r.PerRun[n])
	}
	rows("attempts", r.Attempts)
	rows("messages", r.Messages)
	rows("deliveries", r.Deliveries)
	rows("alerts", r.Alerts)
	rows("ambiguous sends", r.Ambiguous)
	row("  of these sent again", r.Repeats)
	rows("policies at work", r.Policies)
	rows("troubles", r.Troubles)
	row("lag from due to first call", r.lag())
	row("late calls, explained", r.LateCalls)
	row("overlaps, explained", r.Overlaps)
	row("violations", len(r.Violations))
	return b.String()
}

func sum(counts map[string]int) (n int) {
	for _, v := range counts {
		n += v
	}
	return n
}

func (r *Report) lag() string {
	if len(r.Lag) == 0 {
		return "no call"
	}
	sorted := slices.Sorted(slices.Values(r.Lag))
	at := func(percent int) time.Duration {
		return time.Duration(sorted[(len(sorted)-1)*percent/100]) * time.Millisecond
	}
	return fmt.Sprintf("p50 %s, p99 %s, max %s", at(50), at(99), at(100))
}

// Story is everything that is known of a run, in the order in which it happened.
func (l *Log) Story(run string) string {
	var b strings.Builder
	type line struct {
		at   int64
		text string
	}
	var lines []line
	tell := func(at int64, format string, args ...any) {
		if at != 0 {
			lines = append(lines, line{at, fmt.Sprintf(format, args...)})
		}
	}
	jobID, _, _ := strings.Cut(run, ":")
	nonces := map[string]bool{}
	for _, j := range l.Jobs {
		if j.ID == jobID {
			text, _ := json.Marshal(j) // strings and numbers: cannot fail
			fmt.Fprintf(&b, "job %s\n", text)
		}
	}
	for _, r := range l.Runs {
		if r.ID != run {
			continue
		}
		text, _ := json.Marshal(r) //nolint:gosec // the name of a session is no secret
		fmt.Fprintf(&b, "record %s\n", text)
		tell(r.Slot, "slot")
		tell(r.CreatedAt, "run created")
		tell(r.FinishedAt, "run ended as %s(%s)", r.Outcome, r.Reason)
		for _, a := range r.Attempts {
			tell(a.StartedAt, "attempt %d began at worker %s", a.N, a.Worker)
			tell(a.EndedAt, "attempt %d booked as %s(%s) %s", a.N, a.Result, a.Cause, a.Error)
		}
	}
	for _, c := range l.Cancels {
		if c.Run == run {
			tell(c.Asked, "cancel asked for")
			tell(c.Acked, "cancel confirmed")
		}
	}
	for _, c := range l.Calls {
		if c.Run == run {
			nonces[c.Nonce] = true
			tell(c.At, "call %d by %s in session %s, its reply %s", c.N, c.Process, c.Session, c.Nonce)
			tell(c.EndedAt, "call %d answered: %s", c.N, c.How)
		}
	}
	for _, m := range l.Messages {
		if nonces[m.Nonce] {
			tell(m.At, "message %s by %s, reply %s, lines %d to %d of %d, in the chat: %t", m.MessageID, m.Process, m.Nonce, m.First, m.Last, m.Lines, m.Delivered)
			tell(m.EndedAt, "message %s answered: %s", m.MessageID, m.How)
		}
	}
	if len(lines) > 0 {
		slices.SortStableFunc(lines, func(x, y line) int { return cmp.Compare(x.at, y.at) })
		first, last := lines[0].at, lines[len(lines)-1].at
		for _, t := range l.Troubles {
			if t.To >= first-thawed && t.From <= last+thawed {
				tell(t.From, "%s %s %s, for %s", t.Kind, t.Process, t.Detail, time.Duration(t.To-t.From)*time.Millisecond)
			}
		}
	}
	slices.SortStableFunc(lines, func(x, y line) int { return cmp.Compare(x.at, y.at) })
	for _, x := range lines {
		fmt.Fprintf(&b, "  %s  %s\n", time.UnixMilli(x.at).UTC().Format("15:04:05.000"), x.text)
	}
	return b.String()
}

// clock is an instant for people.
func clock(at int64) string { return time.UnixMilli(at).UTC().Format("2006-01-02T15:04:05Z") }
