package mcp

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// runAnswer is a run in fields.
type runAnswer struct {
	ID             string `json:"id"`
	JobID          string `json:"jobId,omitempty"`
	State          string `json:"state"`
	Outcome        string `json:"outcome,omitempty"`
	Reason         string `json:"reason,omitempty"`
	Error          string `json:"error,omitempty"`
	Slot           string `json:"slot,omitempty"` // RFC 3339, UTC
	StartedAt      string `json:"startedAt,omitempty"`
	FinishedAt     string `json:"finishedAt,omitempty"`
	Delivery       string `json:"delivery,omitempty"`
	Summary        string `json:"summary"`
	Reply          string `json:"reply,omitempty"`
	ReplyTruncated bool   `json:"replyTruncated,omitempty"`
	Empty          bool   `json:"empty,omitempty"`
}

func runJob(ctx context.Context, c *call) (answer, error) {
	id, err := c.args.jobID()
	if err != nil {
		return answer{}, err
	}
	seconds, err := c.args.number("waitSeconds", 0, maxWaitSeconds)
	if err == nil {
		err = c.args.done("jobId", "waitSeconds")
	}
	if err != nil {
		return answer{}, err
	}
	wait := time.Duration(seconds) * time.Second
	deadline := c.Now().Add(wait)
	var query url.Values
	if seconds > 0 {
		query = url.Values{"wait": {fmt.Sprint(seconds)}}
	}
	// The job with a runId, or the run itself if the API has waited for it.
	var started struct {
		job
		State string `json:"state"`
	}
	if err := c.doFor(ctx, wait+callTimeout, http.MethodPost, client.Path("jobs", id, "run"), query, nil, &started); err != nil {
		return answer{}, missingJob(err, id)
	}
	runID := started.RunID
	if runID == "" {
		runID = started.ID
	}
	if seconds == 0 {
		text := fmt.Sprintf("Started a run of %s: %s. It goes on by itself; get_cron_run with this runId tells how it ended. %s", ref(started.job), runID, target(started.job))
		return answer{text: text, data: runAnswer{ID: runID, JobID: id, State: "waiting", Summary: text}}, nil
	}
	r, err := c.await(ctx, runID, deadline)
	if err != nil {
		text := fmt.Sprintf("Started the run %s, but how it stands could not be read (%s). get_cron_run tells how it ended; do not start it again.", runID, explain(err))
		return answer{text: text, data: runAnswer{ID: runID, JobID: id, State: "waiting", Summary: text}}, nil
	}
	a := c.tellRun(r)
	if r.State != "done" {
		a.text += fmt.Sprintf("\nIt has not ended within %d s and goes on by itself: call get_cron_run later, do not start it again.", seconds)
	}
	return a, nil
}

// await reads a run until nothing more happens to it, or until deadline. The API may
// have waited already; one that cannot is asked again and again, ever more seldom.
func (c *call) await(ctx context.Context, id string, deadline time.Time) (client.Run, error) {
	pause := 200 * time.Millisecond
	for {
		var r client.Run
		err := c.do(ctx, http.MethodGet, client.Path("runs", id), nil, nil, &r)
		rest := min(pause, deadline.Sub(c.Now()))
		if rest <= 0 || (err == nil && r.Ended()) {
			return r, err
		}
		pause = min(2*pause, 2*time.Second)
		timer := time.NewTimer(rest)
		select {
		case <-ctx.Done():
			timer.Stop()
			return r, ctx.Err()
		case <-timer.C:
		}
	}
}

func getRun(ctx context.Context, c *call) (answer, error) {
	id, err := c.args.runID()
	if err == nil {
		err = c.args.done("runId")
	}
	if err != nil {
		return answer{}, err
	}
	var r client.Run
	if err := c.do(ctx, http.MethodGet, client.Path("runs", id), nil, nil, &r); err != nil {
		return answer{}, missingRun(err, id)
	}
	return c.tellRun(r), nil
}

func listRuns(ctx context.Context, c *call) (answer, error) {
	id, err := c.args.jobID()
	if err != nil {
		return answer{}, err
	}
	limit, err := c.args.number("limit", runsPage, maxRunsPage)
	if err != nil {
		return answer{}, err
	}
	query := c.args.query()
	query.Set("limit", fmt.Sprint(max(1, limit)))
	var page struct {
		Runs       []client.Run `json:"runs"`
		NextCursor string       `json:"nextCursor"`
	}
	if err := c.do(ctx, http.MethodGet, client.Path("jobs", id, "runs"), query, nil, &page); err != nil {
		return answer{}, missing(err, "There is neither a job %q nor a history of one. list_cron_jobs lists the jobs with their ids.", cut(id, 80))
	}
	data := struct {
		Runs       []runAnswer `json:"runs"`
		NextCursor string      `json:"nextCursor,omitempty"`
	}{Runs: []runAnswer{}, NextCursor: page.NextCursor}
	var b strings.Builder
	for _, r := range page.Runs[:min(len(page.Runs), maxRunsPage)] {
		line := c.runLine(r)
		data.Runs = append(data.Runs, fields(r, line, lineRunes))
		fmt.Fprintf(&b, "- %s", line)
		if r.Reply != "" && !r.Empty {
			b.WriteString(" Reply: " + oneLine(r.Reply, lineRunes))
		}
		b.WriteByte('\n')
	}
	text := b.String()
	switch {
	case len(data.Runs) > 0:
		text = fmt.Sprintf("%s of %s, the newest first:\n%s", count(len(data.Runs), "run"), id, text)
	case page.NextCursor == "" && len(query) == 1:
		text = fmt.Sprintf("%s has not run yet; get_cron_job says when it will.\n", id)
	default:
		text = "No run on this page.\n"
	}
	if page.NextCursor != "" {
		text += fmt.Sprintf("There is more: call list_cron_runs with \"cursor\":%q.\n", page.NextCursor)
	}
	return answer{text: strings.TrimSpace(text), data: data}, nil
}

// tellRun says how a run stands, with its reply.
func (c *call) tellRun(r client.Run) answer {
	text := c.runLine(r)
	if len(r.Attempts) > 1 || r.Outcome == "failed" {
		for _, a := range r.Attempts {
			text += fmt.Sprintf("\n- attempt %d: %s", a.N, orElse(a.Result, "under way"))
			if a.Cause != "" {
				text += " (" + a.Cause + ")"
			}
			if a.Error != "" {
				text += ": " + oneLine(a.Error, 2*lineRunes)
			}
		}
	}
	data := fields(r, text, replyRunes)
	if r.Reply != "" && !r.Empty {
		text += "\nReply:\n" + cut(r.Reply, replyRunes)
	}
	return answer{text: text, data: data}
}

// fields are those of a run that matter, its reply cut to so many runes.
func fields(r client.Run, summary string, runes int) runAnswer {
	reply := cut(r.Reply, runes)
	return runAnswer{
		ID: r.ID, JobID: r.JobID, State: r.State, Outcome: r.Outcome, Reason: r.Reason, Error: cut(r.Error, 4*lineRunes),
		Slot: rfc3339(r.Slot, "UTC"), StartedAt: rfc3339(r.StartedAt, "UTC"), FinishedAt: rfc3339(r.FinishedAt, "UTC"),
		Delivery: r.Delivery, Summary: summary, Reply: reply, ReplyTruncated: r.ReplyTruncated || reply != r.Reply, Empty: r.Empty,
	}
}
