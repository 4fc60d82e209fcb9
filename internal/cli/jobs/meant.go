package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// What somebody writes for a job, a run or a token is its id, a name, or the beginning of
// an id. It is tried as an id first: an id is right whatever has it for a name, and costs
// no search.

const (
	// maxCandidates is how many of those that may be meant are listed.
	maxCandidates = 10
	// maxLooks is how many pages of a list are looked through for what is meant. A page
	// is of 1,000 records that the API looks at, so that more jobs than there should be are
	// found, and a search ends.
	maxLooks = 250
	// searchPage is how many of them a page may have.
	searchPage = "100"
	// searchWithin is how long a search goes on at the pace that the API asks for.
	searchWithin = 2 * time.Minute
)

var (
	jobIDForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)
	runIDForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}:[A-Za-z0-9:_-]{1,100}$`)
	ownForm   = regexp.MustCompile(`^[A-Za-z0-9:_-]*$`) // what a run's id has after the job's
)

// onJob does something with the job that is meant. It must be one call: after a refusal
// because there is no such job it is made again.
func (t *tool) onJob(ctx context.Context, text string, call func(id string) error) error {
	return t.onMeantJob(ctx, text, false, call)
}

// onMeantJob is onJob; with sure, what is done cannot be undone and nobody is asked first.
func (t *tool) onMeantJob(ctx context.Context, text string, sure bool, call func(id string) error) error {
	unknown := notThere("job", text)
	if jobIDForm.MatchString(text) {
		if unknown = call(text); !isNotThere(unknown) {
			return unknown
		}
	}
	found, err := t.findJobs(ctx, text)
	switch {
	case isNotThere(err):
		return unknown
	case err != nil:
		return err
	}
	j, err := found.one(sure, unknown)
	if err != nil {
		return err
	}
	return call(j.ID)
}

// MeantJob returns the id of the job that is meant, which has not that id: by its name or
// the beginning of its id.
func MeantJob(ctx context.Context, api *client.Client, text string) (string, error) {
	t := &tool{api: api}
	found, err := t.findJobs(ctx, text)
	if err != nil {
		return "", err
	}
	j, err := found.one(false, notThere("job", text))
	return j.ID, err
}

// notThere is the failure of a search.
func notThere(what, text string) error {
	return &Failure{Code: exitNotFound, Err: fmt.Errorf("there is no %s of the name %q, and none whose id begins so", what, text)}
}

func isNotThere(err error) bool {
	f, ok := errors.AsType[*Failure](err)
	return ok && f.Code == exitNotFound
}

// meantJobs are the jobs that may be meant by a text.
type meantJobs struct {
	text         string
	named, begun []client.Job // by the name; by the beginning of the id
	exact        []client.Job // by the whole id: one or none
}

// findJobs looks through all jobs, of which there may be many: a name may be there twice.
func (t *tool) findJobs(ctx context.Context, text string) (meantJobs, error) {
	found := meantJobs{text: text}
	err := search(ctx, t, client.Path("jobs"), "jobs", text, func(j client.Job) bool {
		switch {
		case j.ID == text:
			found.exact = append(found.exact, j)
		case j.Name == text:
			found.named = append(found.named, j)
		case len(found.begun) <= maxCandidates:
			found.begun = append(found.begun, j)
		}
		return len(found.named) <= maxCandidates
	})
	return found, err
}

// one is the job that is meant: a name goes before the beginning of an id, unless one must
// be sure. A script that deletes the same job twice must not delete another the second
// time, whose id somebody chose to begin so.
func (m meantJobs) one(sure bool, unknown error) (client.Job, error) {
	all := m.named
	if len(m.named) == 0 || sure {
		all = slices.Concat(m.named, m.begun)
	}
	switch {
	case len(m.exact) > 0:
		return m.exact[0], nil
	case len(all) == 0:
		return client.Job{}, unknown
	case len(all) > 1:
		return client.Job{}, ambiguous("job", m.text, len(all), func(i int) (string, string) { return all[i].ID, called(all[i]) })
	case sure && len(m.named) == 0 && !madeID.MatchString(all[0].ID):
		return client.Job{}, &Failure{Code: exitNotFound, Err: fmt.Errorf("there is no job %q", m.text),
			Hint: "The id " + all[0].ID + " begins so; where nobody is asked first, write all of it."}
	}
	return all[0], nil
}

// ambiguous lists what may be meant, and so what to write instead.
func ambiguous(what, text string, n int, candidate func(i int) (id, about string)) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%q may be one of several %ss; write the id of one:", text, what)
	for i := range min(n, maxCandidates) {
		id, about := candidate(i)
		fmt.Fprintf(&b, "\n  %s", strings.TrimSpace(id+"  "+fit(oneLine(about), 60)))
	}
	if n > maxCandidates {
		b.WriteString("\n  and more")
	}
	return &Failure{Code: exitRefused, Err: &ambiguousError{b.String()}}
}

// ambiguousError says what may be meant.
type ambiguousError struct{ text string }

func (e *ambiguousError) Error() string { return e.text }

// search reads those of a list that may be meant by a text until take has seen enough.
func search[T any](ctx context.Context, t *tool, path, name, text string, take func(T) bool) error {
	q := url.Values{"match": {text}, "limit": {searchPage}}
	deadline := time.Now().Add(searchWithin)
	for range maxLooks {
		a, err := t.patiently(ctx, deadline, func() (client.Answer, error) {
			return t.callNow(ctx, client.Request{Method: http.MethodGet, Path: path, Query: q})
		})
		if refused, ok := errors.AsType[*client.Error](err); ok {
			switch refused.Status {
			case http.StatusBadRequest: // an API that knows no match, or for which it is too long
				return notThere(strings.TrimSuffix(name, "s"), text)
			case http.StatusTooManyRequests:
				return gaveUp(text)
			}
		}
		if err != nil {
			return err
		}
		page, err := answer[map[string]json.RawMessage](a)
		if err != nil {
			return err
		}
		var some []T
		var next string
		if err := errors.Join(optional(page[name], &some), optional(page["nextCursor"], &next)); err != nil {
			return fmt.Errorf("the API's answer has no list of %s: %w", name, err)
		}
		for _, x := range some {
			if !take(x) {
				return nil
			}
		}
		if next == "" {
			return nil
		}
		q.Set("cursor", next)
	}
	return gaveUp(text)
}

func gaveUp(text string) error {
	return &Failure{Code: exitFailed, Err: fmt.Errorf("gave up looking for %q: there is too much to look through", text), Hint: "Write the whole id."}
}

// optional decodes what may be missing.
func optional(raw json.RawMessage, into any) error {
	if raw == nil {
		return nil
	}
	return json.Unmarshal(raw, into)
}

// patiently calls again when the API has asked to wait, as it does of whoever asks often.
func (t *tool) patiently(ctx context.Context, deadline time.Time, call func() (client.Answer, error)) (client.Answer, error) {
	for said := false; ; said = true {
		a, err := call()
		refused, ok := errors.AsType[*client.Error](err)
		if !ok || refused.Status != http.StatusTooManyRequests {
			return a, err
		}
		pause := max(refused.RetryAfter, lookEvery)
		if ctx.Err() != nil || time.Now().Add(pause).After(deadline) {
			return a, err
		}
		if !said && t.Terminal.Interactive {
			fmt.Fprintln(t.Stderr, "still looking; the API asks for patience")
		}
		wait(ctx, pause)
	}
}

// onRun does something with the run that is meant, as onJob does. With prefer, of several
// runs that may be meant the only one that it holds for is.
func (t *tool) onRun(ctx context.Context, text string, prefer func(client.Run) bool, call func(id string) error) error {
	unknown := notThere("run", text)
	if runIDForm.MatchString(text) {
		if unknown = call(text); !isNotThere(unknown) {
			return unknown
		}
	}
	runs, err := t.findRuns(ctx, text)
	switch {
	case isNotThere(err):
		return unknown
	case err != nil:
		return err
	}
	if len(runs) > 1 && prefer != nil {
		if some := slices.DeleteFunc(slices.Clone(runs), func(r client.Run) bool { return !prefer(r) }); len(some) > 0 {
			runs = some
		}
	}
	switch len(runs) {
	case 0:
		return unknown
	case 1:
		return call(runs[0].ID)
	}
	return ambiguous("run", text, len(runs), func(i int) (string, string) {
		r := runs[i]
		at := r.Slot
		if at == 0 {
			at = r.CreatedAt
		}
		return r.ID, fmt.Sprintf("%s, %s  %s", outcome(r).text, t.distance(at), r.JobName)
	})
}

func underWay(r client.Run) bool { return r.State != "done" }

// findRuns finds the runs that may be meant: of the job that the text, or what of it is
// before the colon, means; else in the list of all, which has those of deleted jobs too.
func (t *tool) findRuns(ctx context.Context, text string) (runs []client.Run, err error) {
	take := func(r client.Run) bool {
		runs = append(runs, r)
		return len(runs) < 100 // the newest of them
	}
	begun, own, cut := strings.Cut(text, ":")
	if !cut || !ownForm.MatchString(own) {
		begun, own = text, ""
	}
	found, err := t.findJobs(ctx, begun)
	if err != nil {
		return nil, err
	}
	if j, err := found.one(false, errors.New("none")); err == nil {
		err := search(ctx, t, client.Path("jobs", j.ID, "runs"), "runs", j.ID+":"+own, take)
		if isNotThere(err) {
			err = nil // it was deleted meanwhile
		}
		return runs, err
	}
	return runs, search(ctx, t, client.Path("runs"), "runs", text, take)
}

// onToken does something with the token that is meant; one that was revoked can only be
// meant by its id.
func (t *tool) onToken(ctx context.Context, text string, call func(id string) error) error {
	unknown := call(text)
	if !isNotThere(unknown) {
		return unknown
	}
	a, err := t.get(ctx, client.Path("tokens"), nil)
	if err != nil {
		return err
	}
	list, err := answer[struct{ Tokens []client.Token }](a)
	if err != nil {
		return err
	}
	valid := slices.DeleteFunc(list.Tokens, func(k client.Token) bool {
		return k.RevokedAt != 0 || k.Name != text && !strings.HasPrefix(k.ID, text)
	})
	switch len(valid) {
	case 0:
		return unknown
	case 1:
		return call(valid[0].ID)
	}
	return ambiguous("token", text, len(valid), func(i int) (string, string) { return valid[i].ID, valid[i].Name + ", for " + whose(valid[i]) })
}
