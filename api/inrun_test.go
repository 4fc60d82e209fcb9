package api_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

func inRun(id string) option { return header("X-Gateway-Cron-Run", id) }

const everyHour = `{"task":"x","every":3600}`

func TestTheRunOfARequest(t *testing.T) {
	b := setup(t)
	b.seed("j")
	for _, id := range []string{"", " ", "j", "j:", ":1", "J:1", "j:1 ", "j:1\nx", "j:" + strings.Repeat("1", 101), "../j:1"} {
		for _, path := range []string{"POST /api/cron/jobs", "PATCH /api/cron/jobs/j", "DELETE /api/cron/jobs/j", "POST /api/cron/jobs/j/run"} {
			method, path, _ := strings.Cut(path, " ")
			a := b.call(method, path, everyHour, inRun(id)).want(http.StatusBadRequest)
			if diff := cmp.Diff([]string{"X-Gateway-Cron-Run"}, a.fields()); diff != "" {
				t.Errorf("%s in run %q: %s", path, id, diff)
			}
		}
		b.call("GET", "/api/cron/jobs", "", inRun(id)).want(http.StatusOK) // nothing is asked of it
	}
	b.call("POST", "/api/cron/jobs", everyHour, func(r *http.Request) { r.Header["X-Gateway-Cron-Run"] = []string{"j:1", "j:1"} }).want(http.StatusBadRequest)
	b.call("POST", "/api/cron/jobs", everyHour, inRun("j:manual:01JZ")).want(http.StatusCreated)
}

// TestWhatARunMayNot: each reason has a code that is described, and says what to do.
func TestWhatARunMayNot(t *testing.T) {
	remedies := map[job.InRunCode]string{
		job.RunUnknown: "leave it out", job.RunNotRunning: "not under way", job.SchedulingNotAllowed: `set "allowScheduling":true on it`,
		job.MadeInARun: "by hand", job.TooManyMade: "delete one", job.SchedulingIsFixed: "Leave it out", job.NoImport: "one by one",
	}
	var codes []string
	for code, remedy := range remedies {
		codes = append(codes, string(code))
		b := setup(t)
		b.store.err = &job.InRunError{Code: code, Run: "digest:1774854000"}
		a := b.call("POST", "/api/cron/jobs", everyHour, inRun("digest:1774854000")).want(http.StatusForbidden)
		if a.body["code"] != string(code) || !strings.Contains(a.body["detail"].(string), remedy) {
			t.Errorf("%s: %s", code, a.raw)
		}
	}
	var described struct {
		Components struct {
			Schemas struct {
				Problem struct {
					Properties struct{ Code struct{ Enum []string } }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(setup(t).call("GET", "/openapi.json", "").raw), &described); err != nil {
		t.Fatal(err)
	}
	enum := described.Components.Schemas.Problem.Properties.Code.Enum
	slices.Sort(codes)
	slices.Sort(enum)
	if diff := cmp.Diff(codes, enum); diff != "" {
		t.Errorf("codes (-) and their descriptions (+):\n%s", diff)
	}
}

func TestAnImportIsNotForARun(t *testing.T) {
	b := setup(t)
	a := b.call("POST", "/api/cron/import", `{"id":"a","every":60,"task":"x"}`, inRun("j:1")).want(http.StatusForbidden)
	if a.body["code"] != "no_import" || len(b.store.jobs) != 0 {
		t.Errorf("%s, %d jobs", a.raw, len(b.store.jobs))
	}
}

// TestWhoMadeAJobIsImported, and neither a client nor a line can change it.
func TestWhoMadeAJobIsImported(t *testing.T) {
	b := setup(t)
	b.call("POST", "/api/cron/import", `{"id":"a","every":60,"task":"x","madeBy":"digest"}`).want(http.StatusOK)
	b.call("POST", "/api/cron/import", `{"id":"a","every":90,"task":"x","made_by":"other"}`+"\n"+`{"id":"b","every":90,"task":"x"}`).want(http.StatusOK)
	if got := b.store.jobs["a"]; got.MadeBy != "digest" || got.EverySeconds != 90 || b.store.jobs["b"].MadeBy != "" {
		t.Errorf("%+v", b.store.jobs)
	}
	a := b.call("POST", "/api/cron/import", `{"id":"c","every":60,"task":"x","madeBy":"a:1"}`).want(http.StatusOK)
	if a.body["failed"] != 1.0 || !strings.Contains(a.raw, `"field":"madeBy"`) {
		t.Errorf("%s", a.raw)
	}
	for _, request := range []string{"POST /api/cron/jobs", "PATCH /api/cron/jobs/a"} {
		method, path, _ := strings.Cut(request, " ")
		a := b.call(method, path, `{"every":60,"task":"x","madeBy":"digest"}`).want(http.StatusBadRequest)
		if !strings.Contains(a.raw, "madeBy is set by the server") {
			t.Errorf("%s: %s", request, a.raw)
		}
	}
	if got := b.call("GET", "/api/cron/jobs/a", "").body["madeBy"]; got != "digest" {
		t.Errorf("made by %v", got)
	}
}

// TestATokenBoundsWhatTheRunsOfItsJobsMake, whoever carries the request.
func TestATokenBoundsWhatTheRunsOfItsJobsMake(t *testing.T) {
	f := &fakeTokens{ofRuns: map[string]job.Token{"digest:1": {ID: "ida", AgentID: "a", MaxJobs: 5, MinIntervalSeconds: 600}}}
	b := setup(t, withTokens(f, "s3cret"))
	a := b.call("POST", "/api/cron/jobs", `{"task":"x","every":599}`, as("s3cret"), inRun("digest:1")).want(http.StatusBadRequest)
	if diff := cmp.Diff([]string{"every"}, a.fields()); diff != "" {
		t.Error(diff)
	}
	if made := b.call("POST", "/api/cron/jobs", everyHour, as("s3cret"), inRun("digest:1")).want(http.StatusCreated); made.body["agentId"] != "a" {
		t.Errorf("made for %v", made.body["agentId"])
	}
	b.call("POST", "/api/cron/jobs", `{"task":"x","every":599}`, as("s3cret"), inRun("digest:2")).want(http.StatusCreated)
}

// TestAKeyIsOfOneRun: the same request in another run is another request.
func TestAKeyIsOfOneRun(t *testing.T) {
	b := setup(t, withTokens(&fakeTokens{}, "s3cret"))
	first := b.call("POST", "/api/cron/jobs", everyHour, as("gct_a"), key("k"), inRun("j:1")).want(http.StatusCreated)
	again := b.call("POST", "/api/cron/jobs", everyHour, as("gct_a"), key("k"), inRun("j:1")).want(http.StatusCreated)
	if first.body["id"] != again.body["id"] {
		t.Errorf("%v and %v", first.body["id"], again.body["id"])
	}
	b.call("POST", "/api/cron/jobs", everyHour, as("gct_a"), key("k"), inRun("j:2")).want(http.StatusUnprocessableEntity)
	b.call("POST", "/api/cron/jobs", everyHour, as("gct_a"), key("k")).want(http.StatusUnprocessableEntity)
}
