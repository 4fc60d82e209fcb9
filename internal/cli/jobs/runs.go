package jobs

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

func runFilters() []filter {
	return []filter{
		{"outcome", "outcome", "only runs that ended so", outcomes()},
		{"delivery", "delivery", "only runs whose reply was delivered so", []string{"pending", "delivered", "failed", "unknown", "suppressed", "not_requested"}},
		{"trigger", "trigger", "only runs that were started so", []string{"schedule", "manual"}},
		{"state", "state", "only runs in this state", []string{"waiting", "parked", "queued", "running", "done"}},
		{"agent", "agentId", "only runs of this agent", nil},
		{"session", "sessionKey", "only runs of this conversation", nil},
		{"after", "after", "only runs since this time", nil},
		{"before", "before", "only runs before this time", nil},
	}
}

func (t *tool) jobRuns() *cobra.Command {
	var p *pages
	cmd := t.command("runs JOB", "list the runs of a job, the newest first", `  gateway-cron job runs JOB
  gateway-cron job runs JOB --limit 100 --json`, one("job"),
		func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return t.onJob(ctx, args[0], func(id string) error {
				runs, next, err := fetch[client.Run](ctx, t, cmd, p, client.Path("jobs", id, "runs"), "runs")
				if err != nil || t.json {
					return err
				}
				t.runTable(runs, t.zoneOf(ctx, id))
				t.more(next)
				return nil
			})
		})
	p = newPages(cmd, 20, 100, runFilters()...)
	normalise(cmd)
	t.completeFlags(cmd)
	cmd.ValidArgsFunction = t.completeJobs
	return t.watched(cmd)
}

func (t *tool) runList() *cobra.Command {
	var p *pages
	cmd := t.command("list", "list runs of all jobs, the newest first", `  gateway-cron run list --outcome failed
  gateway-cron run list --job JOB --after 2027-01-01T00:00:00Z`, none,
		func(cmd *cobra.Command, _ []string) error {
			list := func(job string) error {
				*p.values["job"] = job
				runs, next, err := fetch[client.Run](cmd.Context(), t, cmd, p, client.Path("runs"), "runs")
				if err != nil || t.json {
					return err
				}
				t.runTable(runs, nil)
				t.more(next)
				return nil
			}
			if job := *p.values["job"]; job != "" {
				return t.onJob(cmd.Context(), job, list)
			}
			return list("")
		})
	p = newPages(cmd, 20, 100, append(runFilters(), filter{"job", "jobId", "only runs of this job", nil})...)
	_ = cmd.RegisterFlagCompletionFunc("job", t.completeJobs) // the flag exists
	t.completeFlags(cmd)
	return t.watched(cmd)
}

// zoneOf is the zone of a job's times: UTC if it is gone, or cannot be asked at once.
func (t *tool) zoneOf(ctx context.Context, jobID string) *time.Location {
	a, err := t.callNow(ctx, client.Request{Method: http.MethodGet, Path: client.Path("jobs", jobID)})
	if err != nil {
		return time.UTC
	}
	j, err := answer[client.Job](a)
	if err != nil {
		return time.UTC
	}
	return zone(j.Timezone)
}

// runTable prints runs of one job or, without the job's zone, of several.
func (t *tool) runTable(runs []client.Run, of *time.Location) {
	if len(runs) == 0 {
		fmt.Fprintln(t.Stderr, "no runs")
		return
	}
	title := "FOR"
	if of == nil {
		title = "FOR (UTC)"
	}
	rows := make([][]cell, len(runs))
	for i, r := range runs {
		at := r.Slot
		if at == 0 {
			at = r.CreatedAt
		}
		said := r.Reply
		if r.Error != "" {
			said = r.Error
		}
		rows[i] = []cell{{text: r.ID}, {text: r.JobName}, {text: t.slotClock(at, of)}, outcome(r), {text: t.took(r.StartedAt, r.FinishedAt)},
			{r.Delivery, deliveryStyle(r.Delivery)}, {text: said}}
		if of != nil {
			rows[i] = without(rows[i], 1)
		}
	}
	cols := []column{{title: "RUN", short: shortRuns(runs)}, {title: "JOB", cut: 10}, {title: title}, {title: "OUTCOME", cut: 9}, {title: "TOOK", spare: 3},
		{title: "DELIVERY", spare: 1}, {title: "REPLY OR ERROR", cut: 14, spare: 2}}
	if of != nil {
		cols = without(cols, 1)
	}
	t.table(cols, rows)
}

// outcome says how a run ended, or how it stands.
func outcome(r client.Run) cell {
	if r.State != "done" {
		return cell{text: r.State}
	}
	text := r.Outcome
	if r.Reason != "" {
		text += " (" + r.Reason + ")"
	}
	if r.Empty {
		text += " (empty)"
	}
	if r.Count > 1 {
		text += fmt.Sprintf(" x%d", r.Count)
	}
	return cell{text, outcomeStyle(r.Outcome)}
}

func deliveryStyle(state string) style {
	switch state {
	case "delivered":
		return good
	case "failed", "unknown":
		return bad
	}
	return plain
}

func (t *tool) runShow() *cobra.Command {
	cmd := t.command("show RUN", "show all of a run: its attempts, its reply, its deliveries", "  gateway-cron run show RUN", one("run"),
		func(cmd *cobra.Command, args []string) error {
			return t.onRun(cmd.Context(), args[0], nil, func(id string) error {
				return t.changeRun(cmd.Context(), "", client.Request{Method: http.MethodGet, Path: client.Path("runs", id)})
			})
		})
	cmd.ValidArgsFunction = t.completeRuns
	return cmd
}

func (t *tool) runCancel() *cobra.Command {
	cmd := t.command("cancel RUN", "cancel a run, also one under way", "  gateway-cron run cancel RUN", one("run"),
		func(cmd *cobra.Command, args []string) error {
			return t.onRun(cmd.Context(), args[0], underWay, func(id string) error {
				return t.changeRun(cmd.Context(), "cancelled", client.Request{Method: http.MethodPost, Path: client.Path("runs", id, "cancel")})
			})
		})
	cmd.ValidArgsFunction = t.completeRuns
	cmd.Long = "Cancel a run, also one under way.\n" + goesOn
	return cmd
}

func (t *tool) runRedeliver() *cobra.Command {
	cmd := t.command("redeliver RUN", "send the reply of a run once more, without the model", "  gateway-cron run redeliver RUN", one("run"),
		func(cmd *cobra.Command, args []string) error {
			return t.onRun(cmd.Context(), args[0], nil, func(id string) error {
				a, err := t.create(cmd.Context(), client.Path("runs", id, "redeliver"), nil)
				if err != nil {
					return err
				}
				return t.tellRun(cmd.Context(), "sending the reply of", a)
			})
		})
	cmd.ValidArgsFunction = t.completeRuns
	return cmd
}

func (t *tool) changeRun(ctx context.Context, done string, r client.Request) error {
	a, err := t.call(ctx, r)
	if err != nil {
		return err
	}
	return t.tellRun(ctx, done, a)
}

// tellRun prints the run of an answer, and first what was done with it.
func (t *tool) tellRun(ctx context.Context, done string, a client.Answer) error {
	if t.json {
		t.printJSON(a.Raw)
		return nil
	}
	r, err := answer[client.Run](a)
	if err != nil {
		return err
	}
	loc := t.zoneOf(ctx, r.JobID)
	fmt.Fprintln(t.Stdout, strings.TrimSpace(done+" "+r.ID))
	facts := []fact{
		{"outcome", outcome(r)},
		{"note", cell{r.Note, bad}},
		{"error", cell{r.Error, bad}},
		{"job", cell{text: strings.TrimSpace(r.JobID + "  " + oneLine(r.JobName))}},
		{"trigger", cell{text: r.Trigger}},
		{"slot", cell{text: t.clock(r.Slot, loc)}},
	}
	if r.Count > 1 {
		facts = append(facts, fact{"last slot", cell{text: fmt.Sprintf("%s, %d slots", t.clock(r.LastSlot, loc), r.Count)}})
	}
	facts = append(facts,
		fact{"not before", cell{text: t.clockAndDistance(r.NotBefore, loc)}},
		fact{"started", cell{text: t.clockAndDistance(r.StartedAt, loc)}},
		fact{"took", cell{text: t.took(r.StartedAt, r.FinishedAt)}},
		fact{"session", cell{text: r.SessionKey}},
	)
	for _, a := range r.Attempts {
		facts = append(facts, fact{fmt.Sprintf("attempt %d", a.N), t.attempt(a)})
	}
	facts = append(facts, fact{"delivery", cell{r.Delivery, deliveryStyle(r.Delivery)}})
	for _, d := range r.Deliveries {
		text := d.Kind + " " + d.State
		if d.Error != "" {
			text += ": " + d.Error
		}
		if len(d.MessageIDs) > 0 {
			text += ", message " + strings.Join(d.MessageIDs, ", ")
		}
		facts = append(facts, fact{fmt.Sprintf("delivery %d", d.N), cell{text, deliveryStyle(d.State)}})
	}
	if r.Empty {
		facts = append(facts, fact{"reply", cell{text: "none: the agent ended its turn without a text"}})
	}
	t.facts(facts)
	if r.Reply != "" && !r.Empty {
		fmt.Fprintf(t.Stdout, "\n%s\n", indent(r.Reply, "  "))
	}
	return nil
}

func (t *tool) attempt(a client.Attempt) cell {
	text := a.Result
	if text == "" {
		text = "under way"
	}
	if a.Cause != "" {
		text += " (" + a.Cause + ")"
	}
	if lasted := t.took(a.StartedAt, a.EndedAt); lasted != "" {
		text += ", " + lasted
	}
	if a.Error != "" {
		text += ": " + a.Error
	}
	return cell{text, outcomeStyle(a.Result)}
}
