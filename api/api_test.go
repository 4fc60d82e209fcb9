package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/api"
	"github.com/gatewaycron/gatewaycron/internal/guess"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

// Every test lives on Friday 2026-03-27 at 12:00 UTC, two days before Berlin
// moves its clocks; the fake's next slot is Monday 09:00 there.
var (
	now        = time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC)
	nowMillis  = job.ToMillis(now)
	slotMillis = job.ToMillis(time.Date(2026, 3, 30, 7, 0, 0, 0, time.UTC))
)

// bundle is the API of one test with what it stands on.
type bundle struct {
	t       *testing.T
	store   *fakeStore
	tokens  *fakeTokens
	stands  *fakeDeployment
	handler http.Handler
	log     *bytes.Buffer
}

func setup(t *testing.T, change ...func(*api.Options)) *bundle {
	t.Helper()
	b := &bundle{t: t, store: newFakeStore(), tokens: &fakeTokens{tokens: map[string]job.Token{}}, stands: &fakeDeployment{}, log: &bytes.Buffer{}}
	o := api.Options{
		Jobs: b.store, History: b.store, Find: b.store, Sessions: b.store, Switch: b.store, Audit: b.store, Tokens: b.tokens,
		Deployment: b.stands, Records: b.store,
		CheckTarget: func(target job.Target) []job.Problem {
			if target.Channel == "telegram" {
				return nil
			}
			return []job.Problem{{Field: "channel", Detail: "is not connected; connected is telegram", Example: `"telegram"`}}
		},
		Ready:   func(context.Context) error { return b.store.err },
		Version: "1.2.3",
		Now:     func() time.Time { return now },
		Logger:  slog.New(slog.NewTextHandler(b.log, nil)),
	}
	for _, c := range change {
		c(&o)
	}
	if o.Guesses == nil {
		var waited time.Duration // who guesses waits no real time
		o.Guesses = guess.New(guess.Options{Now: func() time.Time { return o.Now().Add(waited) }, Logger: o.Logger,
			After: func(d time.Duration) <-chan time.Time { waited += d; return time.After(0) }})
	}
	b.handler = api.New(o)
	return b
}

// answer is a response, read.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	raw    string
	body   map[string]any
}

type option func(*http.Request)

func header(name, value string) option {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func host(h string) option { return func(r *http.Request) { r.Host = h } }

// call sends a request as the ai-server does: addressed to the loopback
// interface, with a JSON content type also where there is no body.
func (b *bundle) call(method, target, body string, options ...option) answer {
	b.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, reader)
	r.Host = "127.0.0.1:19790"
	r.Header.Set("Content-Type", "application/json")
	for _, o := range options {
		o(r)
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	a := answer{t: b.t, status: w.Code, header: w.Header(), raw: w.Body.String()}
	if err := json.Unmarshal(w.Body.Bytes(), &a.body); err != nil {
		b.t.Fatalf("%s %s: the answer is no JSON object: %v\n%s", method, target, err, a.raw)
	}
	if got := a.header.Get("X-Content-Type-Options"); got != "nosniff" {
		b.t.Errorf("%s %s: X-Content-Type-Options = %q", method, target, got)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		b.t.Errorf("%s %s: Cache-Control = %q", method, target, got)
	}
	wantType := "application/json"
	if a.status >= 400 {
		wantType = "application/problem+json"
	}
	if got := a.header.Get("Content-Type"); got != wantType {
		b.t.Errorf("%s %s: Content-Type = %q, want %q", method, target, got, wantType)
	}
	return a
}

// want checks the status and, for errors, that the problem repeats it and has a
// sentence to show.
func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status = %d, want %d\n%s", a.status, status, a.raw)
	}
	if status >= 400 {
		if got := a.body["status"]; got != float64(status) {
			a.t.Errorf("problem status = %v, want %d", got, status)
		}
		if a.body["title"] != http.StatusText(status) || a.body["detail"] == "" || a.body["detail"] == nil {
			a.t.Errorf("problem without title or detail: %s", a.raw)
		}
	}
	return a
}

// fields returns the fields of the problems, in order.
func (a answer) fields() []string {
	var names []string
	list, _ := a.body["problems"].([]any)
	for _, p := range list {
		names = append(names, p.(map[string]any)["field"].(string))
	}
	return names
}

// seed stores a job of the given id and returns it.
func (b *bundle) seed(id string, change ...func(*job.Job)) job.Job {
	b.t.Helper()
	j := job.Job{
		Spec:     job.Spec{Schedule: "0 9 * * 1-5", Timezone: "Europe/Berlin", Enabled: true, Task: "Morning summary"},
		ID:       id,
		UID:      "secret-uid",
		Revision: 3, CreatedAt: nowMillis, UpdatedAt: nowMillis, NextSlot: slotMillis,
	}
	for _, c := range change {
		c(&j)
	}
	b.store.jobs[id] = j
	return j
}
