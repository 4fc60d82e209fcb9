package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

func (t *tool) show() *cobra.Command {
	cmd := t.command("show JOB", "show all of a job", "  gateway-cron job show JOB", one("job"),
		func(cmd *cobra.Command, args []string) error {
			a, err := t.getJob(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return t.tellJob("", nil, a)
		})
	cmd.ValidArgsFunction = t.completeJobs
	return cmd
}

// getJob reads the job that is meant.
func (t *tool) getJob(ctx context.Context, text string) (a client.Answer, err error) {
	err = t.onJob(ctx, text, func(id string) error {
		a, err = t.get(ctx, client.Path("jobs", id), nil)
		return err
	})
	return a, err
}

// tellJob prints the job of an answer: after something was done with it, when it runs and
// what was said about it; else all of it.
func (t *tool) tellJob(done string, said map[string]any, a client.Answer) error {
	if t.json {
		t.printJSON(a.Raw)
		return nil
	}
	j, err := answer[client.Job](a)
	if err != nil {
		return err
	}
	raw, err := answer[map[string]json.RawMessage](a)
	if err != nil {
		return err
	}
	fmt.Fprintln(t.Stdout, strings.TrimSpace(done+" "+strings.TrimSpace(j.ID+"  "+oneLine(j.Name))))
	if done != "" {
		maps.DeleteFunc(raw, func(name string, _ json.RawMessage) bool { _, ok := said[name]; return !ok })
		j.Next = j.Next[:min(len(j.Next), 3)]
		facts := append(t.timeFacts(j), t.fieldFacts(j, raw)...)
		if done == "created" {
			facts = append(facts, fact{"reply", cell{text: replyGoes(j)}})
		}
		t.facts(facts)
		return nil
	}
	t.facts(slices.Concat(t.timeFacts(j), t.historyFacts(j), t.fieldFacts(j, raw), t.recordFacts(j)))
	fmt.Fprintf(t.Stdout, "\n%s\n", indent(j.Task, "  "))
	return nil
}

// replyGoes says where the replies of a job go.
func replyGoes(j client.Job) string {
	chat := j.Channel + " chat " + j.ChatID
	if j.ThreadID != "" {
		chat += ", thread " + j.ThreadID
	}
	kept := "; it is kept with each run: gateway-cron job runs " + j.ID
	switch {
	case j.Channel == "":
		return "goes to no chat (there is no --channel and --chat)" + kept
	case j.Deliver == "never":
		return "goes to no chat (deliver never)" + kept
	case j.Deliver == "on_failure":
		return "goes to no chat, only an alert to " + chat + " when a run fails (deliver on_failure)" + kept
	}
	return "goes to " + chat
}

// timeFacts say how a job stands and when it runs.
func (t *tool) timeFacts(j client.Job) []fact {
	loc := zone(j.Timezone)
	facts := []fact{{"state", t.jobState(j)}, {"when", cell{text: t.when(j)}}}
	if j.Description != "" {
		facts = append(facts, fact{"in words", cell{text: j.Description}})
	}
	for i, at := range j.Next {
		name := ""
		if i == 0 {
			name = "next"
		}
		if instant, err := time.Parse(time.RFC3339, at); err == nil {
			facts = append(facts, fact{name, cell{text: t.clockAndDistance(instant.UnixMilli(), loc)}})
		}
	}
	return facts
}

// historyFacts say what has become of its runs.
func (t *tool) historyFacts(j client.Job) []fact {
	var facts []fact
	if last := t.lastOutcome(j); last.text != "" {
		if j.LastRunID != "" && j.LastOutcomeSlot == 0 {
			last.text += "  " + j.LastRunID
		}
		facts = append(facts, fact{"last", last})
	}
	if j.LastDelivery != "" && j.LastDelivery != "not_requested" {
		facts = append(facts, fact{"delivery", cell{j.LastDelivery, deliveryStyle(j.LastDelivery)}})
	}
	if j.Failures > 0 {
		facts = append(facts, fact{"failures", cell{fmt.Sprintf("%d in a row", j.Failures), bad}})
	}
	if j.MaxRuns > 0 {
		facts = append(facts, fact{"runs", cell{text: fmt.Sprintf("%d of %d", j.RunsUsed, j.MaxRuns)}})
	}
	return facts
}

// fieldFacts are the fields of a job, by the names of their flags.
func (t *tool) fieldFacts(j client.Job, raw map[string]json.RawMessage) []fact {
	var facts []fact
	for _, f := range fields() {
		switch f.api {
		case "schedule", "every", "at", "timezone", "task", "name", "enabled":
			continue // said elsewhere
		}
		if value, ok := raw[f.api]; ok {
			facts = append(facts, fact{f.flag, cell{text: t.formatField(f, value, zone(j.Timezone))}})
		}
	}
	return facts
}

// recordFacts say when a job was made and changed.
func (t *tool) recordFacts(j client.Job) []fact {
	loc := zone(j.Timezone)
	facts := []fact{{"created", cell{text: t.clock(j.CreatedAt, loc)}}}
	if j.MadeBy != "" {
		facts = append(facts, fact{"made by", cell{text: "a run of " + j.MadeBy}})
	}
	if j.UpdatedAt != j.CreatedAt {
		facts = append(facts, fact{"changed", cell{text: t.clock(j.UpdatedAt, loc)}})
	}
	return facts
}

func (t *tool) jobState(j client.Job) cell {
	switch {
	case !j.Enabled && j.PauseReason != "":
		return cell{"paused: " + j.PauseReason, faint}
	case !j.Enabled:
		return cell{"paused", faint}
	case j.Ended:
		return cell{"ended: no run is to come any more", faint}
	}
	return cell{"enabled", good}
}

// when is the timing of a job in the words of its flags.
func (t *tool) when(j client.Job) string {
	switch {
	case j.Every != 0:
		return "every " + formatDuration(j.Every)
	case j.At != 0:
		return "at " + t.clock(j.At, zone(j.Timezone))
	}
	return j.Schedule + "  " + j.Timezone
}

func outcomeStyle(outcome string) style {
	switch outcome {
	case "succeeded":
		return good
	case "failed", "timed_out", "missed":
		return bad
	case "cancelled", "skipped":
		return faint
	}
	return plain
}
