package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// callTimeout is more than the API allows itself for an answer.
const callTimeout = 20 * time.Second

// job is what the tools tell of a job.
type job struct {
	client.Job
	Deliver string `json:"deliver"`
}

// jobAnswer is a job in fields. Its summary says all that the text says.
type jobAnswer struct {
	ID           string         `json:"id"`
	Name         string         `json:"name,omitempty"`
	Enabled      bool           `json:"enabled"`
	Description  string         `json:"description,omitempty"`
	Timezone     string         `json:"timezone"`
	NextRunAt    string         `json:"nextRunAt,omitempty"`    // RFC 3339, in the job's zone
	NextRunAtUTC string         `json:"nextRunAtUtc,omitempty"` // RFC 3339
	Summary      string         `json:"summary"`
	Task         string         `json:"task,omitempty"`     // of a job that is read
	Settings     map[string]any `json:"settings,omitempty"` // of a job that is read
}

func createJob(ctx context.Context, c *call) (answer, error) {
	var j job
	if err := c.do(ctx, http.MethodPost, client.Path("jobs"), nil, c.args, &j); err != nil {
		return answer{}, err
	}
	return c.tellJob(ctx, "Created", j), nil
}

func updateJob(ctx context.Context, c *call) (answer, error) {
	id, err := c.args.jobID()
	if err != nil {
		return answer{}, err
	}
	if raw, ok := c.args["clear"]; ok {
		delete(c.args, "clear")
		var names []string
		if json.Unmarshal(raw, &names) != nil {
			return answer{}, usageError(`clear must be an array of field names, for example ["maxRuns"].`)
		}
		for _, name := range names {
			if c.args[camelCase(name)] != nil {
				return answer{}, usageError(fmt.Sprintf("%s is both set and cleared; send one of them.", cut(name, 40)))
			}
			c.args[camelCase(name)] = json.RawMessage("null")
		}
	}
	if len(c.args) == 0 {
		return answer{}, usageError(`Nothing to change was sent: add a field, for example "schedule":"30 8 * * 1-5".`)
	}
	var j job
	if err := c.do(ctx, http.MethodPatch, client.Path("jobs", id), nil, c.args, &j); err != nil {
		return answer{}, missingJob(err, id)
	}
	return c.tellJob(ctx, "Updated", j), nil
}

func pauseJob(ctx context.Context, c *call) (answer, error) {
	id, err := c.args.jobID()
	if err != nil {
		return answer{}, err
	}
	var j job
	if err := c.do(ctx, http.MethodPost, client.Path("jobs", id, "pause"), nil, c.args, &j); err != nil {
		return answer{}, missingJob(err, id)
	}
	return c.tellJob(ctx, "Paused", j), nil
}

func resumeJob(ctx context.Context, c *call) (answer, error) {
	id, err := c.args.jobID()
	if err == nil {
		err = c.args.done("jobId")
	}
	if err != nil {
		return answer{}, err
	}
	var j job
	if err := c.do(ctx, http.MethodPost, client.Path("jobs", id, "resume"), nil, nil, &j); err != nil {
		return answer{}, missingJob(err, id)
	}
	return c.tellJob(ctx, "Resumed", j), nil
}

func deleteJob(ctx context.Context, c *call) (answer, error) {
	id, err := c.args.jobID()
	if err == nil {
		err = c.args.done("jobId")
	}
	if err != nil {
		return answer{}, err
	}
	if err := c.do(ctx, http.MethodDelete, client.Path("jobs", id), nil, nil, nil); err != nil {
		return answer{}, missingJob(err, id)
	}
	return answer{
		text: fmt.Sprintf("Deleted %s: it does not run again. A run under way finishes, one that waits is cancelled; list_cron_runs still shows its history.", id),
		data: map[string]any{"id": id, "deleted": true},
	}, nil
}

func getJob(ctx context.Context, c *call) (answer, error) {
	id, err := c.args.jobID()
	if err == nil {
		err = c.args.done("jobId")
	}
	if err != nil {
		return answer{}, err
	}
	var raw json.RawMessage
	if err := c.do(ctx, http.MethodGet, client.Path("jobs", id), nil, nil, &raw); err != nil {
		return answer{}, missingJob(err, id)
	}
	var j job
	all := map[string]any{}
	if err := errors.Join(json.Unmarshal(raw, &j), json.Unmarshal(raw, &all)); err != nil {
		return answer{}, fmt.Errorf("the answer is no job: %w", err)
	}
	for _, told := range []string{"id", "name", "enabled", "description", "timezone", "task", "next", "nextLocal", "nextRunAt", "nextDueAt",
		"pauseReason", "revision", "createdAt", "updatedAt", "lastRunAt", "lastRunId", "lastOutcome", "lastOutcomeSlot", "lastDelivery", "failures", "ended", "startAt", "endAt", "at"} {
		delete(all, told)
	}
	a := c.tellJob(ctx, "", j)
	data := a.data.(jobAnswer) //nolint:forcetypeassert // tellJob made it
	data.Task, data.Settings = cut(j.Task, taskRunes), all
	text := a.text
	if len(j.NextLocal) > 1 {
		text += "\nThe next times: " + strings.Join(j.NextLocal, ", ")
	}
	shown, _ := json.Marshal(all) // it was JSON
	a.text, a.data = text+"\nSettings: "+cut(string(shown), 2*taskRunes)+"\nTask:\n"+data.Task, data
	return a, nil
}

func listJobs(ctx context.Context, c *call) (answer, error) {
	limit, err := c.args.number("limit", jobsPage, maxJobsPage)
	if err != nil {
		return answer{}, err
	}
	query := c.args.query()
	query.Set("limit", fmt.Sprint(max(1, limit)))
	var page struct {
		Jobs       []job  `json:"jobs"`
		NextCursor string `json:"nextCursor"`
	}
	if err := c.do(ctx, http.MethodGet, client.Path("jobs"), query, nil, &page); err != nil {
		return answer{}, err
	}
	type entry struct {
		ID           string `json:"id"`
		Name         string `json:"name,omitempty"`
		Enabled      bool   `json:"enabled"`
		When         string `json:"when"`
		NextRunAt    string `json:"nextRunAt,omitempty"`
		NextRunAtUTC string `json:"nextRunAtUtc,omitempty"`
		Ended        bool   `json:"ended,omitempty"`
		LastOutcome  string `json:"lastOutcome,omitempty"`
		LastDelivery string `json:"lastDelivery,omitempty"`
		MadeBy       string `json:"madeBy,omitempty"`
		Task         string `json:"task"`
	}
	data := struct {
		Jobs       []entry `json:"jobs"`
		NextCursor string  `json:"nextCursor,omitempty"`
		Note       string  `json:"note,omitempty"`
	}{Jobs: []entry{}, NextCursor: page.NextCursor}

	var b strings.Builder
	for _, j := range page.Jobs[:min(len(page.Jobs), maxJobsPage)] {
		e := entry{ID: j.ID, Name: j.Name, Enabled: j.Enabled, When: whenShort(j), Ended: j.Ended, LastOutcome: j.LastOutcome, LastDelivery: j.LastDelivery, MadeBy: j.MadeBy, Task: oneLine(j.Task, lineRunes)}
		e.NextRunAt, e.NextRunAtUTC = rfc3339(j.NextRunAt, j.Timezone), rfc3339(j.NextRunAt, "UTC")
		data.Jobs = append(data.Jobs, e)
		fmt.Fprintf(&b, "- %s: %s. %s", ref(j), e.When, c.nextRun(j))
		if j.LastOutcome != "" {
			fmt.Fprintf(&b, " %s", lastOutcome(j, false))
		}
		if j.MadeBy != "" {
			fmt.Fprintf(&b, " Made in a run of %s.", j.MadeBy)
		}
		fmt.Fprintf(&b, " Task: %s\n", e.Task)
	}
	if slices.ContainsFunc(page.Jobs, waits) {
		data.Note = c.stopped(ctx)
	}
	text := b.String()
	switch {
	case len(data.Jobs) > 0:
		text = fmt.Sprintf("%s:\n%s", count(len(data.Jobs), "job"), text)
	case page.NextCursor == "" && len(query) == 1:
		text = "There are no jobs. create_cron_job makes one.\n"
	default:
		text = "No job on this page.\n"
	}
	if page.NextCursor != "" {
		text += fmt.Sprintf("There is more: call list_cron_jobs with \"cursor\":%q.\n", page.NextCursor)
	}
	return answer{text: strings.TrimSpace(text + data.Note), data: data}, nil
}

func preview(ctx context.Context, c *call) (answer, error) {
	var p struct {
		Timezone    string   `json:"timezone"`
		Next        []string `json:"next"`
		Local       []string `json:"local"`
		Description string   `json:"description"`
	}
	if err := c.do(ctx, http.MethodPost, client.Path("preview"), nil, c.args, &p); err != nil {
		return answer{}, err
	}
	when := inZone(p.Description, p.Timezone)
	var b strings.Builder
	b.WriteString(when + ".")
	if len(p.Next) == 0 {
		b.WriteString(" It has no time left: a job of it would never run.")
	} else {
		b.WriteString(" The next times:")
	}
	for i, utc := range p.Next {
		local := utc
		if i < len(p.Local) {
			local = p.Local[i]
		}
		day := ""
		if t, err := time.Parse(time.RFC3339, local); err == nil {
			day = t.Format("Mon ")
		}
		fmt.Fprintf(&b, "\n- %s%s (%s)", day, local, utc)
	}
	return answer{text: b.String(), data: map[string]any{
		"description": when, "timezone": p.Timezone, "next": p.Local, "nextUtc": p.Next,
	}}, nil
}

// tellJob says what was done with a job, if anything, and what will happen next.
func (c *call) tellJob(ctx context.Context, done string, j job) answer {
	text := strings.TrimSpace(done+" "+ref(j)) + ": " + c.story(j)
	if waits(j) {
		text = strings.TrimSpace(text + " " + c.stopped(ctx))
	}
	return answer{text: text, data: jobAnswer{
		ID: j.ID, Name: j.Name, Enabled: j.Enabled, Description: j.Description, Timezone: j.Timezone,
		NextRunAt: rfc3339(j.NextRunAt, j.Timezone), NextRunAtUTC: rfc3339(j.NextRunAt, "UTC"), Summary: text,
	}}
}

// waits reports whether a job has a run to come.
func waits(j job) bool { return j.Enabled && j.NextRunAt != 0 }

// stopped is a sentence if everything is paused, since no job runs then, whatever its
// own record says; else "". Nothing rests on it, so that its error is left out.
func (c *call) stopped(ctx context.Context) string {
	var st struct {
		Paused      bool   `json:"paused"`
		PausedSince int64  `json:"pausedSince"`
		Reason      string `json:"reason"`
	}
	aside := *c
	aside.header = c.header.Clone()
	aside.header.Set(client.AsideHeader, "1")
	if aside.do(ctx, http.MethodGet, client.Path("status"), nil, nil, &st) != nil || !st.Paused {
		return ""
	}
	text := "But everything is paused since " + moment(st.PausedSince, "UTC") + " UTC"
	if st.Reason != "" {
		text += " (" + oneLine(st.Reason, lineRunes) + ")"
	}
	return text + ": no job runs until an operator resumes it all."
}

// do calls the API and decodes its answer into out, if that is given.
func (c *call) do(ctx context.Context, method, path string, query url.Values, body, out any) error {
	return c.doFor(ctx, callTimeout, method, path, query, body, out)
}

func (c *call) doFor(ctx context.Context, limit time.Duration, method, path string, query url.Values, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	got, err := c.Client.Do(ctx, client.Request{Method: method, Path: path, Query: query, Header: c.header, Body: body})
	if _, refused := errors.AsType[*client.Error](err); err != nil && !refused && method != http.MethodGet {
		return unsureError{err}
	}
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(got.Raw, out); err != nil {
		return fmt.Errorf("the answer to %s %s is not the API's: %w", method, path, err)
	}
	return nil
}
