package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/chaos/judge"
)

// operator is the client of the API: it makes, edits and deletes jobs while
// everything around it fails, and remembers what it asked for and what it was
// told.
type operator struct {
	t    testing.TB
	plan *plan
	api  func() string
	http *http.Client
	// cancels has what was asked for; the answers to it are in it, too.
	cancels *journal

	mu   sync.Mutex
	jobs map[int]*judge.Job // by index in plan.Jobs
}

func newOperator(t testing.TB, p *plan, dir string, api func() string) *operator {
	return &operator{t: t, plan: p, api: api, http: &http.Client{Timeout: 10 * time.Second}, jobs: map[int]*judge.Job{},
		cancels: openJournal(t, dir, judge.CancelsFile)}
}

var (
	errGone     = errors.New("no such job")
	errConflict = errors.New("not as things are")
)

// refusal is an answer that trying again would not change.
type refusal struct{ text string }

func (r refusal) Error() string { return r.text }

// once asks the API one time.
func (o *operator) once(ctx context.Context, method, path string, body, out any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return refusal{err.Error()}
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, o.api()+path, content)
	if err != nil {
		return fmt.Errorf("the API is not there yet: %w", err)
	}
	req.GetBody = nil
	req.Header.Set("Content-Type", "application/json")
	res, err := o.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode == http.StatusNotFound, res.StatusCode == http.StatusGone: // deleted, or after its last run
		return errGone
	case res.StatusCode/100 == 2:
		if raw, ok := out.(*json.RawMessage); ok {
			*raw = text
			return nil
		}
		if out == nil {
			return nil
		}
		return json.Unmarshal(text, out)
	case res.StatusCode == http.StatusConflict:
		return fmt.Errorf("%s %s: %w: %s", method, path, errConflict, text)
	case res.StatusCode/100 == 5, res.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, text)
	}
	return refusal{fmt.Sprintf("%s %s: %s: %s", method, path, res.Status, text)}
}

// insist asks until it is answered, and reports how often it asked.
func (o *operator) insist(ctx context.Context, method, path string, body, out any) (asked int, err error) {
	for {
		err := o.once(ctx, method, path, body, out)
		asked++
		var refused refusal
		if err == nil || errors.Is(err, errGone) || errors.As(err, &refused) || ctx.Err() != nil {
			return asked, err
		}
		o.wait(ctx, 300*time.Millisecond)
	}
}

func (o *operator) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// jobView is what the operator reads of a job: none of the options that it asked for, or
// one that was ignored would be judged by what the product made of it.
type jobView struct {
	ID, Name  string
	CreatedAt int64
	NextRunAt int64
	NextDueAt int64
}

// list reads all jobs, those that have ended too.
func (o *operator) list(ctx context.Context) (jobs []jobView, err error) {
	for _, ended := range []string{"false", "true"} { // first the one that jobs leave for the other
		for cursor := ""; ; {
			var page struct {
				Jobs       []jobView
				NextCursor string
			}
			path := "/api/cron/jobs?limit=200&ended=" + ended
			if cursor != "" {
				path += "&cursor=" + url.QueryEscape(cursor)
			}
			if _, err := o.insist(ctx, http.MethodGet, path, nil, &page); err != nil {
				return nil, err
			}
			jobs = append(jobs, page.Jobs...)
			if cursor = page.NextCursor; cursor == "" {
				break
			}
		}
	}
	return jobs, nil
}

// fields are those of a planned job, with its instants.
func (o *operator) fields(p jobPlan) map[string]any {
	fields := maps.Clone(p.Fields)
	for name, offset := range p.Instants {
		fields[name] = o.plan.at(offset).UnixMilli()
	}
	return fields
}

// over reports whether a planned job could have no slot any more.
func (o *operator) over(p jobPlan) bool {
	return p.has("at") && !o.plan.at(p.Instants["at"]).After(time.Now()) ||
		p.has("endAt") && !o.plan.at(p.Instants["endAt"]-time.Minute).After(time.Now())
}

// create makes a job. After an answer that was lost it looks for the job's name
// before it asks again: the request may have been carried out, or still be.
func (o *operator) create(ctx context.Context, index int) error {
	planned := o.plan.Jobs[index]
	for {
		var made jobView
		err := o.once(ctx, http.MethodPost, "/api/cron/jobs", o.fields(planned), &made)
		if err == nil {
			o.remember(index, made)
			return nil
		}
		var refused refusal
		if errors.As(err, &refused) && o.over(planned) {
			return nil // the machine was too slow for it: there is no such job
		}
		if errors.As(err, &refused) || ctx.Err() != nil {
			return err
		}
		o.wait(ctx, 12*time.Second) // longer than a request lasts over there
		jobs, err := o.list(ctx)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			if j.Name == planned.name() {
				o.remember(index, j)
				return nil
			}
		}
	}
}

func (o *operator) remember(index int, v jobView) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.jobs[index] = asPlanned(o.fields(o.plan.Jobs[index]), v)
}

// known answers a job by its index, once it is made.
func (o *operator) known(index int) *judge.Job {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.jobs[index]
}

// prepare makes the jobs that are there from the beginning and need no instant.
func (o *operator) prepare(ctx context.Context) error {
	var early []int
	for i, j := range o.plan.Jobs {
		if j.At == beforehand {
			early = append(early, i)
		}
	}
	return o.sideBySide(early, func(i int) error { return o.create(ctx, i) })
}

// run makes the other jobs, the edits and the cancels, each at its time.
func (o *operator) run(ctx context.Context) error {
	type deed struct {
		at time.Duration
		do func() error
	}
	var deeds []deed
	for i, j := range o.plan.Jobs {
		if j.At != beforehand {
			deeds = append(deeds, deed{j.At, func() error { return o.create(ctx, i) }})
		}
	}
	for _, e := range o.plan.Edits {
		deeds = append(deeds, deed{e.At, func() error { return o.edit(ctx, e) }})
	}
	for i, at := range o.plan.Cancels {
		deeds = append(deeds, deed{at, func() error { return o.cancelSome(ctx, i) }})
	}
	var all []int
	for i := range deeds {
		all = append(all, i)
	}
	return o.atOnce(all, func(i int) error {
		o.wait(ctx, time.Until(o.plan.at(deeds[i].at)))
		return deeds[i].do()
	})
}

// sideBySide does something for each index, eight at a time; atOnce, all of them.
func (o *operator) sideBySide(indexes []int, do func(int) error) error {
	places := make(chan struct{}, 8)
	return o.atOnce(indexes, func(i int) error {
		places <- struct{}{}
		defer func() { <-places }()
		return do(i)
	})
}

func (o *operator) atOnce(indexes []int, do func(int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(indexes))
	for n, i := range indexes {
		wg.Go(func() { errs[n] = do(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// edit changes a job. Two edits of one job are never under way at once: the plan
// has a pause and its resume at most, and the resume waits for the pause.
func (o *operator) edit(ctx context.Context, e edit) error {
	j := o.known(e.Job)
	if j == nil {
		return nil // not made yet; then there is nothing to change
	}
	last := func() judge.Definition {
		o.mu.Lock()
		defer o.mu.Unlock()
		return j.Definitions[len(j.Definitions)-1]
	}
	path := "/api/cron/jobs/" + url.PathEscape(j.ID)
	switch e.Kind {
	case "run":
		var started struct{ RunID string }
		asked, err := o.insist(ctx, http.MethodPost, path+"/run", nil, &started)
		o.mu.Lock()
		defer o.mu.Unlock()
		j.Manual += asked
		if err == nil {
			j.Started = append(j.Started, started.RunID)
		}
		return err
	case "delete":
		return o.change(ctx, j, http.MethodDelete, path, nil, func(d *judge.Definition) { d.Deleted = true })
	case "task":
		text := strings.TrimSuffix(last().Task, "1") + "2"
		return o.change(ctx, j, http.MethodPatch, path, map[string]any{"task": text}, func(d *judge.Definition) { d.Task = text })
	}
	resume := e.Kind == "resume"
	for resume && last().Enabled { // the pause is still being asked for
		if o.wait(ctx, time.Second); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return o.change(ctx, j, http.MethodPatch, path, map[string]any{"enabled": resume}, func(d *judge.Definition) { d.Enabled = resume })
}

// change asks for an edit until it is confirmed, and remembers when.
func (o *operator) change(ctx context.Context, j *judge.Job, method, path string, body any, how func(*judge.Definition)) error {
	o.mu.Lock()
	next := j.Definitions[len(j.Definitions)-1]
	o.mu.Unlock()
	how(&next)
	next.Sent = now()
	_, err := o.insist(ctx, method, path, body, nil)
	if errors.Is(err, errGone) && method == http.MethodDelete {
		err = nil // by the time before, whose answer was lost
	}
	if err != nil {
		return err
	}
	next.Acked = now() + 1
	o.mu.Lock()
	defer o.mu.Unlock()
	j.Definitions = append(j.Definitions, next)
	return nil
}

// stopFiring gives every job a schedule that lies half a year ahead, so that the
// runs under way end as they would. A job for one instant is left to it.
func (o *operator) stopFiring(ctx context.Context) error {
	far := fmt.Sprintf("0 0 1 %d *", (int(time.Now().UTC().Month())+5)%12+1)
	listed, err := o.adopt(ctx)
	if err != nil {
		return err
	}
	var live []int
	for i, j := range o.jobs {
		if last := j.Definitions[len(j.Definitions)-1]; listed[j.ID] && !last.Deleted && last.At == 0 {
			live = append(live, i)
		}
	}
	return o.sideBySide(live, func(i int) error {
		j := o.known(i)
		err := o.change(ctx, j, http.MethodPatch, "/api/cron/jobs/"+url.PathEscape(j.ID), map[string]any{"schedule": far, "endAt": nil},
			func(d *judge.Definition) { d.Schedule, d.Every, d.EndAt = far, 0, 0 })
		if errors.Is(err, errGone) && j.MaxRuns > 0 {
			return nil // it had its last run just now
		}
		return err
	})
}

// adopt takes in the jobs that a lost answer left behind a second time: they are
// there, and have slots like any other.
func (o *operator) adopt(ctx context.Context) (listed map[string]bool, err error) {
	jobs, err := o.list(ctx)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	ours := map[string]bool{}
	for _, j := range o.jobs {
		ours[j.ID] = true
	}
	listed = map[string]bool{}
	for _, v := range jobs {
		if listed[v.ID] {
			continue // it ended between the two lists
		}
		listed[v.ID] = true
		if ours[v.ID] {
			continue
		}
		for _, p := range o.plan.Jobs {
			if p.name() == v.Name {
				o.jobs[len(o.plan.Jobs)+len(listed)] = asPlanned(o.fields(p), v)
			}
		}
	}
	return listed, nil
}

// collect reads everything on record and writes it down for the judge.
func (o *operator) collect(ctx context.Context, dir string) error {
	listed, err := o.adopt(ctx)
	if err != nil {
		return err
	}
	jobs, runs, sessions := openJournal(o.t, dir, judge.JobsFile), openJournal(o.t, dir, judge.RunsFile), openJournal(o.t, dir, judge.SessionsFile)
	var (
		indexes []int
		mu      sync.Mutex
		keys    = map[string]bool{}
	)
	for i, j := range o.jobs {
		j.Listed = listed[j.ID]
		jobs.add(j)
		indexes = append(indexes, i)
	}
	err = o.sideBySide(indexes, func(i int) error {
		ids, err := o.history(ctx, o.known(i).ID)
		if err != nil {
			return err
		}
		for _, id := range ids {
			var (
				record json.RawMessage
				fields struct{ Outcome, SessionKey string }
			)
			if _, err := o.insist(ctx, http.MethodGet, "/api/cron/runs/"+url.PathEscape(id), nil, &record); err != nil {
				return fmt.Errorf("read run %s: %w", id, err)
			}
			if err := json.Unmarshal(record, &fields); err != nil {
				return err
			}
			runs.add(record)
			if fields.Outcome == "succeeded" {
				mu.Lock()
				keys[fields.SessionKey] = true
				mu.Unlock()
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for key := range keys {
		var session json.RawMessage
		_, err := o.insist(ctx, http.MethodGet, "/api/sessions/"+url.PathEscape(key)+"?limit=200", nil, &session)
		if errors.Is(err, errGone) {
			continue // the judge misses it
		}
		if err != nil {
			return err
		}
		sessions.add(session)
	}
	return nil
}

// history lists the ids of a job's runs.
func (o *operator) history(ctx context.Context, job string) (ids []string, err error) {
	for cursor := ""; ; {
		var page struct {
			Runs       []struct{ ID string }
			NextCursor string
		}
		path := "/api/cron/jobs/" + url.PathEscape(job) + "/runs?limit=100"
		if cursor != "" {
			path += "&cursor=" + url.QueryEscape(cursor)
		}
		_, err := o.insist(ctx, http.MethodGet, path, nil, &page)
		if errors.Is(err, errGone) {
			return nil, nil // deleted before its first slot
		}
		if err != nil {
			return nil, err
		}
		for _, r := range page.Runs {
			ids = append(ids, r.ID)
		}
		if cursor = page.NextCursor; cursor == "" {
			return ids, nil
		}
	}
}
