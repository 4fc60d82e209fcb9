package alert

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redact"
	"github.com/gatewaycron/gatewaycron/internal/wire"
)

const (
	// maxUnits bounds an alert, in UTF-16 units: one message in every chat.
	maxUnits = 3500
	// maxName bounds the name of a job within it, in bytes.
	maxName = 80
	// maxSentence bounds a sentence that was handed in, in bytes.
	maxSentence = 500
	// named is how many jobs of a group are named, and explained how many of their errors
	// are quoted.
	named, explained = 5, 3

	trouble, relief = "⚠️ ", "✅ "
)

// group is what is told together of several jobs.
type group struct {
	kinds  []job.NoticeKind
	mark   string
	header func(jobs, slots int) string
	all    string // the command that lists them
	quoted bool   // with their errors
}

// groups are in the order in which they are told.
var groups = []group{
	{kinds: []job.NoticeKind{job.NoticeHealth}},
	{kinds: []job.NoticeKind{job.NoticeAbsent}, mark: trouble, all: "gateway-cron job list",
		header: func(jobs, _ int) string { return fmt.Sprintf("%d jobs were not heard of for too long", jobs) }},
	{kinds: []job.NoticeKind{job.NoticeDisabled}, mark: trouble, all: "gateway-cron job list --enabled=false", quoted: true,
		header: func(jobs, _ int) string { return fmt.Sprintf("%d jobs were disabled, because they keep failing", jobs) }},
	{kinds: []job.NoticeKind{job.NoticeFailure}, mark: trouble, all: "gateway-cron job list --outcome failed", quoted: true,
		header: func(jobs, _ int) string { return fmt.Sprintf("%d jobs fail", jobs) }},
	{kinds: []job.NoticeKind{job.NoticeNotRun, job.NoticeMissed}, mark: trouble, all: "gateway-cron run list --outcome missed",
		header: func(jobs, slots int) string { return fmt.Sprintf("%d slots of %d jobs did not run", slots, jobs) }},
	{kinds: []job.NoticeKind{job.NoticeUndelivered}, mark: trouble, all: "gateway-cron run list --delivery failed", quoted: true,
		header: func(jobs, _ int) string { return fmt.Sprintf("replies of %d jobs did not arrive", jobs) }},
	{kinds: []job.NoticeKind{job.NoticeRecovered}, mark: relief,
		header: func(jobs, _ int) string { return fmt.Sprintf("%d jobs work again", jobs) }},
}

// Text words facts as one message for a person, perhaps on a phone; more is how many others
// were only counted. "" says that there is nothing to tell that can be read.
func Text(notices []job.Notice, more int) string {
	notices = distinct(notices)
	var parts []string
	for _, g := range groups {
		parts = append(parts, g.tell(notices)...)
	}
	if more > 0 {
		parts = append(parts, fmt.Sprintf("%s%d more were too many to tell. All: gateway-cron run list", trouble, more))
	}
	return cut(redact.Text(strings.Join(parts, "\n\n")))
}

// distinct drops what cannot be read, and what is there twice: one chat may be a job's and
// the deployment's.
func distinct(notices []job.Notice) []job.Notice {
	type identity struct {
		kind                job.NoticeKind
		key, job, run, text string
		slot                job.Millis
	}
	seen, kept := map[identity]bool{}, []job.Notice(nil)
	for _, n := range notices {
		id := identity{n.Kind, n.Key, n.JobID, n.Run, n.Text, n.Slot}
		if n.Kind == "" || seen[id] {
			continue
		}
		seen[id] = true
		kept = append(kept, n)
	}
	return kept
}

// tell words the facts of a group: one by one, or all jobs in a sentence.
func (g group) tell(notices []job.Notice) []string {
	var mine []job.Notice
	at := map[string]int{} // the place of each job
	slots := 0
	var parts []string
	for _, n := range notices {
		if !slices.Contains(g.kinds, n.Kind) {
			continue
		}
		if g.header == nil || n.JobID == "" { // about the deployment
			parts = append(parts, one(n))
			continue
		}
		slots += max(n.Count, 1)
		if i, there := at[n.JobID]; there {
			n.Count += max(mine[i].Count, 1)
			mine[i] = n // the newest
			continue
		}
		at[n.JobID] = len(mine)
		mine = append(mine, n)
	}
	switch len(mine) {
	case 0:
		return parts
	case 1:
		return append(parts, one(mine[0]))
	}
	lines := []string{g.mark + g.header(len(mine), slots) + ": " + names(mine) + "."}
	for _, n := range mine[:min(explained, len(mine))] {
		if g.quoted && n.Error != "" {
			lines = append(lines, name(n)+": "+sentence(n.Error))
		}
	}
	if g.all != "" {
		lines = append(lines, "All: "+g.all)
	}
	return append(parts, strings.Join(lines, "\n"))
}

// names lists jobs, the first few by name.
func names(notices []job.Notice) string {
	var list []string
	for _, n := range notices[:min(named, len(notices))] {
		list = append(list, name(n))
	}
	text := strings.Join(list, ", ")
	if left := len(notices) - len(list); left > 0 {
		text += fmt.Sprintf(" and %d more", left)
	}
	return text
}

func name(n job.Notice) string {
	if n.Job == "" {
		return n.JobID
	}
	return wire.Printable(n.Job, maxName)
}

// one words a single fact.
func one(n job.Notice) string {
	switch n.Kind {
	case job.NoticeFailure, job.NoticeDisabled:
		return failure(n)
	case job.NoticeNotRun:
		return fmt.Sprintf("%s%s did not run (%s): %s.\nRun it now: gateway-cron job run %s", trouble, name(n), slot(n), why(n.Reason), n.JobID)
	case job.NoticeMissed:
		if n.Count <= 1 {
			return fmt.Sprintf("%s%s did not run at its slot %s: %s.", trouble, name(n), slot(n), why(n.Reason))
		}
		return fmt.Sprintf("%s%s did not run at %d of its slots, the last of them %s: %s.", trouble, name(n), n.Count, slot(n), why(n.Reason))
	case job.NoticeUndelivered:
		text := fmt.Sprintf("%sthe reply of %s did not arrive in %s", trouble, name(n), wire.Printable(n.Chat, maxName))
		if n.Outcome == job.Outcome(job.DeliveryUnknown) {
			text = fmt.Sprintf("%sthe reply of %s may not have arrived in %s", trouble, name(n), wire.Printable(n.Chat, maxName))
		}
		return text + ": " + sentence(n.Error) + "\nSend it once more: gateway-cron run redeliver " + n.Run
	case job.NoticeRecovered:
		if n.Text == "" {
			times := "1 failure"
			if n.Failures != 1 {
				times = fmt.Sprintf("%d failures", n.Failures)
			}
			return fmt.Sprintf("%s%s works again after %s.", relief, name(n), times)
		}
		return relief + sentence(n.Text)
	case job.NoticeAbsent, job.NoticeHealth:
	}
	lines := []string{trouble + sentence(n.Text)}
	if n.Remedy != "" {
		lines = append(lines, sentence(n.Remedy))
	}
	if n.Command != "" {
		lines = append(lines, wire.Printable(n.Command, maxSentence))
	}
	return strings.Join(lines, "\n")
}

// why says in words why slots did not run.
func why(reason string) string {
	switch reason {
	case job.ReasonSuperseded:
		return "a newer slot took their place"
	case job.ReasonLate:
		return "it was over a minute late, and the job skips what is"
	case job.ReasonStale:
		return "nothing could run it in time, and then it was older than misfireGraceSeconds allows"
	default:
		return wire.Printable(reason, maxName)
	}
}

func failure(n job.Notice) string {
	a := n.Alert
	a.Job = name(n)
	text := Failure(a)
	if n.Disabled && n.JobID != "" {
		text = strings.TrimSuffix(text, ".") + " (gateway-cron job resume " + n.JobID + ")."
	}
	return text
}

// Failure tells that one job fails: what, since when, why, and what follows. It depends on
// a alone and on no clock: every attempt at a delivery must cut the same text into the same
// parts. "" says that a cannot be read.
func Failure(a job.Alert) string {
	if a.Outcome == "" {
		return "" // a damaged record tells nothing
	}
	what, when := "failed", wallClock(a.Slot, a.Timezone)
	switch {
	case a.Failures > 1:
		what, when = fmt.Sprintf("failed %d times in a row", a.Failures), "last: "+when
	case a.Outcome == job.TimedOut:
		what = "timed out"
	}
	lines := []string{fmt.Sprintf("%s%s %s (%s).", trouble, a.Job, what, when)}
	if a.Error != "" {
		why := strings.TrimSuffix(a.Error, ".") + "."
		if a.Attempts > 1 {
			why = fmt.Sprintf("After %d attempts: %s", a.Attempts, why)
		}
		lines = append(lines, why)
	}
	switch {
	case a.Disabled:
		lines = append(lines, "The job is disabled now, until somebody resumes it.")
	case a.Next != 0:
		lines = append(lines, "Next run: "+wallClock(a.Next, a.Timezone)+".")
	}
	return strings.Join(lines, "\n")
}

func slot(n job.Notice) string { return wallClock(n.Slot, n.Timezone) }

// wallClock is an instant as the clocks of a zone show it, with the zone.
func wallClock(m job.Millis, timezone string) string {
	zone, err := time.LoadLocation(timezone)
	if err != nil {
		zone = time.UTC
	}
	layout, t := "2006-01-02 15:04", m.Time().In(zone)
	if t.Second() != 0 { // of a job that runs every so many seconds
		layout += ":05"
	}
	return t.Format(layout) + " " + zone.String()
}

func sentence(text string) string {
	return strings.TrimSuffix(wire.Printable(text, maxSentence), ".") + "."
}

// cut bounds a text, between two characters.
func cut(text string) string {
	units := 0
	for i, r := range text {
		if units += max(utf16.RuneLen(r), 1); units > maxUnits-3 {
			return text[:i] + "..."
		}
	}
	return text
}
