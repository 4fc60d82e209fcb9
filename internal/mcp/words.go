package mcp

import (
	"fmt"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// ref names a job: its id, and its name if it has one.
func ref(j job) string {
	if j.Name == "" {
		return j.ID
	}
	return fmt.Sprintf("%s %q", j.ID, oneLine(j.Name, lineRunes))
}

// story says when a job runs, what will happen next, and how it went.
func (c *call) story(j job) string {
	sentences := []string{lowerFirst(when(j)) + ".", c.nextRun(j)}
	switch left := j.MaxRuns - j.RunsUsed; {
	case j.At != 0 && j.NextRunAt != 0:
		sentences = append(sentences, "It is deleted after that run.")
	case j.MaxRuns > 0 && left == 1:
		sentences = append(sentences, "It is deleted after one more run.")
	case j.MaxRuns > 0 && left > 1:
		sentences = append(sentences, fmt.Sprintf("It is deleted after %d more runs.", left))
	}
	sentences = append(sentences, target(j))
	if j.LastOutcome != "" {
		sentences = append(sentences, lastOutcome(j, true))
	}
	if j.Failures > 1 {
		sentences = append(sentences, fmt.Sprintf("It failed %d times in a row; after ten it is disabled.", j.Failures))
	}
	return strings.Join(sentences, " ")
}

// lastOutcome says what became of a job last, and how its newest reply is doing.
func lastOutcome(j job, whole bool) string {
	text := "Its last run " + did(j.LastOutcome)
	switch {
	case j.LastOutcomeSlot != 0:
		text = fmt.Sprintf("Its time of %s %s passed without a run (%s)", moment(j.LastOutcomeSlot, j.Timezone), j.Timezone, j.LastOutcome)
	case whole && j.LastRunID != "":
		text += " (" + j.LastRunID + ")"
	}
	switch text += "."; j.LastDelivery {
	case "failed":
		text += " Its newest reply could not be delivered."
	case "unknown":
		text += " Whether its newest reply arrived is unknown."
	}
	return text
}

// when is the job's timing in words, with its zone.
func when(j job) string {
	if j.Description == "" {
		return whenShort(j)
	}
	if j.Every != 0 {
		return j.Description // no zone has a say
	}
	return inZone(j.Description, j.Timezone)
}

// whenShort is the job's timing as its definition has it: a list has no descriptions.
func whenShort(j job) string {
	switch {
	case j.At != 0:
		return "once, on " + moment(j.At, j.Timezone) + " " + j.Timezone
	case j.Every != 0:
		return "every " + span(time.Duration(j.Every)*time.Second)
	}
	return j.Schedule + " (" + j.Timezone + ")"
}

// nextRun says what happens next.
func (c *call) nextRun(j job) string {
	due := j.NextRunAt
	if j.NextDueAt != 0 {
		due = j.NextDueAt
	}
	switch {
	case !j.Enabled && j.PauseReason != "":
		return fmt.Sprintf("It is paused (%s) and does not run until resume_cron_job.", oneLine(j.PauseReason, lineRunes))
	case !j.Enabled:
		return "It is paused and does not run until resume_cron_job."
	case j.Ended:
		return "It has ended: no time is left for it to run. update_cron_job gives it another."
	case due == 0:
		return "It has no time left and does not run again."
	}
	in := time.UnixMilli(due).Sub(c.Now())
	if in <= 0 {
		return "It is due now."
	}
	text := "Runs next " + moment(j.NextRunAt, j.Timezone) + " " + j.Timezone
	if j.NextDueAt != 0 {
		text += ", put off by its jitter to " + moment(j.NextDueAt, j.Timezone)
	}
	return text + ", in " + span(in) + "."
}

// target says where the reply goes.
func target(j job) string {
	chat := j.Channel + " chat " + j.ChatID
	switch {
	case j.Channel == "":
		return "The reply goes to no chat: get_cron_run shows it."
	case j.Deliver == "on_failure":
		return "Only word of failures goes to " + chat + "."
	case j.Deliver == "never":
		return "Nothing goes to " + chat + ": get_cron_run shows the reply."
	}
	return "The reply goes to " + chat + "."
}

// runLine says in one line how a run stands.
func (c *call) runLine(r client.Run) string {
	text := r.ID
	if r.Count > 1 {
		text = fmt.Sprintf("%d times from %s to %s UTC", r.Count, moment(r.Slot, "UTC"), moment(r.LastSlot, "UTC"))
	} else if begun := orElse(r.Slot, orElse(r.StartedAt, r.CreatedAt)); begun != 0 {
		text += " (" + moment(begun, "UTC") + " UTC)"
	}
	text += ": " + c.standing(r)
	if r.Reason != "" {
		text += " (" + r.Reason + ")"
	}
	if r.State == "done" && r.StartedAt != 0 && r.FinishedAt >= r.StartedAt {
		text += " after " + span(time.Duration(r.FinishedAt-r.StartedAt)*time.Millisecond)
	}
	if r.Error != "" {
		text += ": " + oneLine(r.Error, 2*lineRunes)
	}
	text = strings.TrimRight(text, ".") + "."
	if r.AbandonedTurns > 0 {
		text += " Its request was dropped in the middle of the turn: the ai-server may have gone on with it, and have acted."
	}
	return text + delivered(r)
}

func (c *call) standing(r client.Run) string {
	switch r.State {
	case "done":
		return did(r.Outcome)
	case "waiting":
		if in := time.UnixMilli(r.NotBefore).Sub(c.Now()); r.NotBefore != 0 && in > time.Second {
			return "tries again in " + span(in)
		}
		return "is about to begin"
	case "parked":
		return "waits for another run of its session or of its agent"
	case "queued":
		return "waits for the job's run before it"
	case "running":
		return "is running"
	}
	return orElse(r.State, "is in an unknown state")
}

// did puts an outcome behind a subject.
func did(outcome string) string {
	switch outcome {
	case "timed_out":
		return "timed out"
	case "cancelled", "skipped", "missed":
		return "was " + outcome
	}
	return orElse(outcome, "ended")
}

// delivered says what became of the reply, with a space in front; "" if there is
// nothing to say.
func delivered(r client.Run) string {
	if r.Empty {
		return " The agent ended its turn without a text, so nothing was sent."
	}
	switch r.Delivery {
	case "delivered":
		return " The reply was delivered."
	case "pending":
		return " The reply is on its way."
	case "failed":
		return " The reply could not be delivered."
	case "unknown":
		return " Whether the reply arrived is unknown."
	case "suppressed":
		return " The agent chose to send nothing."
	}
	return ""
}

// moment is an instant as people of a zone write it, without the zone's name.
func moment(millis int64, zone string) string {
	t := time.UnixMilli(millis).In(location(zone))
	if t.Second() != 0 {
		return t.Format("Mon 2006-01-02 15:04:05")
	}
	return t.Format("Mon 2006-01-02 15:04")
}

// rfc3339 is an instant for programs; "" for none.
func rfc3339(millis int64, zone string) string {
	if millis == 0 {
		return ""
	}
	return time.UnixMilli(millis).In(location(zone)).Format(time.RFC3339)
}

// location is UTC for a zone that is unknown here: the offset is shown either way.
func location(zone string) *time.Location {
	loc, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		return time.UTC
	}
	return loc
}

// span is a length of time, as exact as people say it.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return "under 1 s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// inZone adds the zone to a description that does not name it.
func inZone(description, zone string) string {
	if zone == "" || strings.Contains(description, "("+zone+")") {
		return description
	}
	return description + " (" + zone + ")"
}

// lowerFirst makes a sentence a part of one; an expression stays as it is.
func lowerFirst(s string) string {
	for _, word := range []string{"At ", "Every ", "Once"} {
		if strings.HasPrefix(s, word) {
			return strings.ToLower(s[:1]) + s[1:]
		}
	}
	return s
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// oneLine is s without line breaks, cut to n runes.
func oneLine(s string, n int) string { return cut(strings.Join(strings.Fields(s), " "), n) }

// cut is the first n runes of s, with a mark where it left any out.
func cut(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i] + "…"
		}
		n--
	}
	return s
}

// orElse is v, or other if v is the zero value.
func orElse[T comparable](v, other T) T {
	if v == *new(T) {
		return other
	}
	return v
}
