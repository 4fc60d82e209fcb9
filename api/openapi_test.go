package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/api"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/oapitest"
)

func loadDocument(t *testing.T) *oapitest.Document {
	t.Helper()
	doc, err := oapitest.Load([]byte(setup(t).call("GET", "/openapi.json", "").raw))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// furnished is an API with what the examples of the document speak of.
func furnished(t *testing.T) *bundle {
	b := setup(t, func(o *api.Options) { o.Logger = slog.New(slog.DiscardHandler) })
	b.furnish()
	return b
}

func (b *bundle) furnish() {
	yes := true
	b.seed("morning-summary", func(j *job.Job) {
		j.Name, j.Labels, j.Channel, j.ChatID, j.IsGroup = "Morning", []string{"team:ops"}, "telegram", "123456", &yes
		j.MaxRuns, j.Claims, j.LastRunAt, j.LastRunID, j.LastOutcome = 10, 1, nowMillis, "morning-summary:1774854000", job.Succeeded
	})
	run := job.Run{ID: "morning-summary:1774854000", JobID: "morning-summary", Trigger: job.TriggerSchedule, State: job.StateDone, Outcome: job.Succeeded,
		Slot: slotMillis, CreatedAt: nowMillis, StartedAt: nowMillis, FinishedAt: nowMillis, SessionKey: "agent:main:telegram:dm:123", Reply: "Three new messages.",
		DeliveryState: job.DeliveryDelivered, Attempts: []job.Attempt{{N: 1, StartedAt: nowMillis, EndedAt: nowMillis, Result: job.ResultSucceeded}},
		Deliveries: []job.Delivery{{N: 1, Kind: job.KindReply, State: job.DeliveryDelivered, Target: job.Target{Channel: "telegram", ChatID: "123456"},
			Attempts: 1, Parts: 1, MessageIDs: []string{"7"}, CreatedAt: nowMillis, FinishedAt: nowMillis}}}
	b.store.runs["morning-summary"] = []job.Run{run}
	b.store.runs[""] = b.store.runs["morning-summary"] // the same records
	b.store.sessions["agent:main:telegram:dm:123"] = job.Session{Key: "agent:main:telegram:dm:123", UpdatedAt: nowMillis,
		Messages: []job.Message{{Role: "assistant", Text: "Three new messages.", Timestamp: nowMillis, RunID: run.ID}}}
	b.tokens.tokens["gct_a"] = job.Token{ID: "ida", Name: "tools", AgentID: "a", MaxJobs: 5}
	b.store.status = job.Status{Jobs: 1, Unfinished: 2}
	b.store.audit = []job.Audited{{ID: "1-0", At: nowMillis, Actor: "api", Action: "pause", Target: "morning-summary", Before: json.RawMessage(`{"enabled":true}`)}}
}

// prepare makes what the operation is for: only a run that has not ended can be cancelled.
func (b *bundle) prepare(op *oapitest.Operation) {
	if op.ID == "cancelRun" {
		b.store.runs["morning-summary"][0].State = job.StateRunning
		b.store.runs[""][0].State = job.StateRunning
	}
}

// existing are the values of path parameters that furnish makes, by what stands before
// them.
var existing = map[string][]string{
	"/api/cron/jobs/":   {"morning-summary"},
	"/api/cron/runs/":   {"morning-summary:1774854000"},
	"/api/cron/tokens/": {"ida"},
	"/api/sessions/":    {"agent:main:telegram:dm:123"},
}

// ask sends a request and holds the answer against the document.
func (b *bundle) ask(t interface{ Errorf(string, ...any) }, op *oapitest.Operation, r oapitest.Request) (status int, body string) {
	req := httptest.NewRequest(r.Method, "http://127.0.0.1:19790/", nil)
	u, err := url.ParseRequestURI(r.Target) // as a server reads it: nothing is cleaned
	if err != nil {
		t.Errorf("no address: %s: %v", r.Target, err)
		return 0, ""
	}
	req.URL = u
	req.Body = io.NopCloser(strings.NewReader(string(r.Body)))
	req.ContentLength = int64(len(r.Body))
	for name, value := range r.Header {
		req.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, req)
	if w.Code >= 500 {
		t.Errorf("%v\nanswered %d %s", r, w.Code, w.Body)
	}
	if err := op.CheckAnswer(w.Code, w.Header(), w.Body.Bytes()); err != nil {
		t.Errorf("%v\nanswered %d %s\n%v", r, w.Code, w.Body, err)
	}
	return w.Code, w.Body.String()
}

// TestExamplesWork sends every example of the document: what it shows works, and is
// answered as it says. Operations without a body are asked as they stand.
func TestExamplesWork(t *testing.T) {
	doc := loadDocument(t)
	for _, op := range doc.Operations {
		if op.ID == "readyz" || op.ID == "docs" || op.ID == "openapi" {
			continue
		}
		path := concrete(op.Path)
		bodies := map[string][]byte{"nothing": nil}
		if op.Body != nil && len(op.Body.Examples) > 0 {
			bodies = map[string][]byte{}
			for name, example := range op.Body.Examples {
				text, err := json.Marshal(example)
				if err != nil {
					t.Fatal(err)
				}
				bodies[name] = text
			}
		}
		for name, body := range bodies {
			t.Run(op.ID+"/"+name, func(t *testing.T) {
				b := furnished(t)
				b.prepare(op)
				if err := op.CheckBody(body); err != nil {
					t.Errorf("the example is none: %v", err)
				}
				contentType := "application/json"
				if op.Body != nil {
					contentType = op.Body.Type
				}
				status, answer := b.ask(t, op, oapitest.Request{Method: op.Method, Target: path, Header: map[string]string{"Content-Type": contentType}, Body: body})
				if status >= 300 {
					t.Errorf("answered %d %s", status, answer)
				}
				if op.ID == "importJobs" && !strings.Contains(answer, `"failed":0`) {
					t.Errorf("the line was not accepted: %s", answer)
				}
			})
		}
	}
}

// TestExamplesOfAnswers checks that what the document shows as an answer is one.
func TestExamplesOfAnswers(t *testing.T) {
	shown := 0
	for _, op := range loadDocument(t).Operations {
		for status, contents := range op.Answers {
			for _, c := range contents {
				for name, example := range c.Examples {
					text, err := json.Marshal(example)
					if err != nil {
						t.Fatal(err)
					}
					code := http.StatusTeapot // which "default" stands for
					_, _ = fmt.Sscan(status, &code)
					if err := op.CheckAnswer(code, http.Header{"Content-Type": {c.Type}}, text); err != nil {
						t.Errorf("%s, answer %s, example %s: %v", op.ID, status, name, err)
					}
					shown++
				}
			}
		}
	}
	if shown < 15 {
		t.Errorf("only %d examples of answers", shown)
	}
}

// TestBoundsAreThoseOfTheDocument sends each field of a job on its bounds and beside
// them: the document and the handler accept and refuse the same.
func TestBoundsAreThoseOfTheDocument(t *testing.T) {
	doc := loadDocument(t)
	for id, target := range map[string]string{"createJob": "/api/cron/jobs", "preview": "/api/cron/preview", "editJob": "/api/cron/jobs/morning-summary"} {
		op := doc.Operation(id)
		bounds := op.Bounds()
		if len(bounds) == 0 {
			t.Fatalf("%s has no bounds", id)
		}
		for _, field := range slices.Sorted(maps.Keys(bounds)) {
			t.Run(id+"/"+field, func(t *testing.T) {
				for _, value := range bounds[field] {
					if field == "schedule" && len(value) > 12 && value[0] == '"' {
						value = `"* * * * *` + strings.Repeat(" ", len(value)-11) + `"`
					}
					if beyondDocument(id, field, value) {
						continue
					}
					body := boundsBody(id, field, value)
					b := furnished(t)
					status, answer := b.ask(t, op, oapitest.Request{Method: op.Method, Target: target, Header: map[string]string{"Content-Type": "application/json"}, Body: []byte(body)})
					if err := op.CheckBody([]byte(body)); (err == nil) != (status < 300) {
						t.Errorf("%.200s\nanswered %d %.500s\nby the document: %v", body, status, answer, err)
					}
				}
			})
		}
	}
}

// TestParametersAreThoseOfTheDocument does the same with the parameters of queries.
func TestParametersAreThoseOfTheDocument(t *testing.T) {
	asked := 0
	for _, op := range loadDocument(t).Operations {
		for _, p := range op.Parameters {
			if p.In != "query" || p.Name == "cursor" { // which cursors there are, only the handler knows
				continue
			}
			for _, value := range op.ParameterBounds(p) {
				if p.Name == "wait" && value == "60" {
					continue // it takes its time
				}
				b := furnished(t)
				target := concrete(op.Path) + "?" + p.Name + "=" + url.QueryEscape(value)
				status, answer := b.ask(t, op, oapitest.Request{Method: op.Method, Target: target})
				if p.Allows(value) != (status != http.StatusBadRequest) {
					t.Errorf("%s %.200s\nanswered %d %.500s\nallowed by the document: %t", op.Method, target, status, answer, p.Allows(value))
				}
				var refused struct{ Problems []job.Problem }
				if err := json.Unmarshal([]byte(answer), &refused); status == http.StatusBadRequest && (err != nil || len(refused.Problems) != 1 || refused.Problems[0].Field != p.Name) {
					t.Errorf("%s %.200s\nanswered %.500s, which is not one problem of it", op.Method, target, answer)
				}
				asked++
			}
		}
	}
	if asked < 100 {
		t.Errorf("only %d requests", asked)
	}
}

// concrete is a path with what furnish makes.
func concrete(path string) string {
	for before, values := range existing {
		if rest, ok := strings.CutPrefix(path, before+"{"); ok {
			_, after, _ := strings.Cut(rest, "}")
			return before + values[0] + after
		}
	}
	return path
}

// beyondDocument holds for what the document cannot say: which schedules, zones and
// channels there are, what needs another field, and null, which is for edits.
func beyondDocument(operation, field, value string) bool {
	switch {
	case value == "null" && operation != "editJob":
		return true
	case value == "null":
		return slices.Contains([]string{"schedule", "channel", "chatId", "alertChatId"}, field)
	case value == `"x"`:
		return slices.Contains([]string{"schedule", "timezone", "channel", "alertChannel"}, field) || field == "id" && operation == "editJob"
	}
	return false
}

// boundsBody is a body in which one field has a value, and all that it needs is there.
func boundsBody(operation, field, value string) string {
	fields := map[string]string{}
	if operation == "createJob" {
		fields["task"] = `"x"`
	}
	if operation != "editJob" {
		fields["schedule"] = `"* * * * *"`
	}
	if operation != "preview" && field != "context" { // or the longest agentId makes one that is too long
		fields["sessionKey"] = `"x"`
	}
	switch field {
	case "every", "at":
		delete(fields, "schedule")
	case "chatId", "threadId":
		if operation == "createJob" {
			fields["channel"], fields["chatId"] = `"telegram"`, `"1"`
		}
	case "alertChatId", "alertThreadId":
		fields["alertChannel"], fields["alertChatId"] = `"telegram"`, `"1"`
	}
	fields[field] = value
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		parts = append(parts, fmt.Sprintf("%q:%s", name, fields[name]))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// TestAnyRequest sends what the document allows, and what it does not: no answer is a
// failure of ours, each is one of the document, and what makes a job is a body that the
// document allows.
func TestAnyRequest(t *testing.T) {
	for _, op := range loadDocument(t).Operations {
		t.Run(op.ID, func(t *testing.T) {
			accepted, refused := 0, 0
			defer func() {
				if accepted == 0 || refused == 0 && len(op.Parameters) > 0 {
					t.Errorf("%d were accepted and %d refused: this tests little", accepted, refused)
				} else {
					t.Logf("%d were accepted and %d refused", accepted, refused)
				}
			}()
			rapid.Check(t, func(rt *rapid.T) {
				b := furnished(t)
				b.prepare(op)
				r := op.Request(rt, existing)
				status, answer := b.ask(rt, op, r)
				if status < 400 {
					accepted++
				} else {
					refused++
				}
				if status >= 400 && len(answer) > 8<<10 {
					rt.Errorf("%v\nanswered %d with %d bytes", r, status, len(answer))
				}
				if body, plain := inCamelCase(r.Body); plain && status < 300 && op.Body != nil && op.ID != "importJobs" {
					if err := op.CheckBody(body); err != nil {
						rt.Errorf("%v\nwas accepted: %d %s\n%v", r, status, answer, err)
					}
				}
			})
		})
	}
}

// inCamelCase is a body as the document has it, without the fields that are null where
// that means nothing. It is not plain if it names something in snake_case.
func inCamelCase(body []byte) (camel []byte, plain bool) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return nil, false
	}
	for name, value := range fields {
		if strings.Contains(name, "_") {
			return nil, false
		}
		if empty := string(value) == `""` || string(value) == "null"; empty {
			delete(fields, name)
		}
	}
	camel, err := json.Marshal(fields)
	return camel, err == nil && len(fields) > 0
}

// TestOpenToEverybody is about the document and its page: they are served where nothing
// else is.
func TestOpenToEverybody(t *testing.T) {
	b := setup(t, func(o *api.Options) { o.Token = "secret" })
	for path, contentType := range map[string]string{"/openapi.json": "application/json", "/docs": "text/html; charset=utf-8"} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			r := httptest.NewRequest(method, path, nil)
			r.Host = "gateway.example.com"
			w := httptest.NewRecorder()
			b.handler.ServeHTTP(w, r)
			if w.Code != http.StatusOK || w.Header().Get("Content-Type") != contentType || w.Header().Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%s %s: %d %v", method, path, w.Code, w.Header())
			}
			if policy := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") {
				t.Errorf("%s: Content-Security-Policy = %q", path, policy)
			}
		}
	}
}
