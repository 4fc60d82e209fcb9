package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/api"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

func TestPauseAndResumeEverything(t *testing.T) {
	b := setup(t)
	b.store.status = job.Status{Jobs: 7, Due: 2, Unfinished: 3}
	going := map[string]any{"paused": false, "jobs": 7.0, "due": 2.0, "unfinished": 3.0}
	is := func(what string, a answer, want map[string]any) {
		t.Helper()
		got := a.want(http.StatusOK).body
		delete(got, "health") // TestHealthIsTold
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	is("before", b.call("GET", "/api/cron/status", ""), going)
	is("resumed for nothing", b.call("POST", "/api/cron/all/resume", ""), going)
	if b.log.Len() != 0 {
		t.Errorf("log of nothing: %s", b.log)
	}

	paused := map[string]any{"paused": true, "pausedSince": float64(nowMillis), "reason": "wrong chat",
		"jobs": 7.0, "due": 2.0, "unfinished": 3.0, "cancelledRuns": 0.0}
	is("paused", b.call("POST", "/api/cron/all/pause", `{"reason":"wrong chat"}`), paused)
	if log := b.log.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, `msg="everything paused"`) ||
		!strings.Contains(log, `reason="wrong chat"`) {
		t.Errorf("log: %s", log)
	}
	paused["unfinished"], paused["cancelledRuns"] = 0.0, 3.0
	is("cancelled", b.call("POST", "/api/cron/all/pause", `{"reason":"wrong chat","cancel_runs":true}`), paused)
	delete(paused, "cancelledRuns")
	is("paused, read", b.call("GET", "/api/cron/status", ""), paused)

	b.log.Reset()
	going["unfinished"] = 0.0
	is("resumed", b.call("POST", "/api/cron/all/resume", "{}"), going)
	if log := b.log.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, `msg="everything resumed"`) {
		t.Errorf("log: %s", log)
	}
}

// TestWhatACancelDoesNotStop: each answer to a cancel says with how many turns the
// ai-server may go on, also to one that is sent again, and of what only waited nothing.
func TestWhatACancelDoesNotStop(t *testing.T) {
	is := func(a answer, turns any, note string) {
		t.Helper()
		a.want(http.StatusOK)
		if got, _ := a.body["note"].(string); a.body["abandonedTurns"] != turns || got != note {
			t.Errorf("%v turns, %q; want %v, %q: %s", a.body["abandonedTurns"], got, turns, note, a.raw)
		}
	}
	const one = "The ai-server may go on with 1 turn, and act: it cannot be stopped from here, only by ending the ai-server."
	two := strings.Replace(one, "1 turn", "2 turns", 1)

	b := setup(t)
	is(b.call("POST", "/api/cron/all/pause", `{"cancelRuns":true}`), nil, "")
	b.store.abandoned = 2
	is(b.call("POST", "/api/cron/all/pause", ""), nil, "")
	is(b.call("POST", "/api/cron/all/pause", `{"cancelRuns":true}`), 2.0, two)
	b.store.abandoned = 0 // it is sent again
	is(b.call("POST", "/api/cron/all/pause", `{"cancelRuns":true}`), 2.0, two)
	is(b.call("GET", "/api/cron/status", ""), 2.0, two)
	is(b.call("POST", "/api/cron/all/resume", ""), nil, "")

	b.seed("a")
	is(b.call("DELETE", "/api/cron/jobs/a", ""), nil, "")
	b.seed("a")
	is(b.call("DELETE", "/api/cron/jobs/a?cancelRuns=true", ""), nil, "")
	b.seed("a")
	b.store.abandoned = 1
	is(b.call("DELETE", "/api/cron/jobs/a?cancelRuns=true", ""), 1.0, one)

	for result, turns := range map[job.Result]any{job.ResultCancelled: 1.0, job.ResultFailed: nil, "": nil} {
		r := job.Run{ID: "a:1", JobID: "a", State: job.StateWaiting}
		if result != "" {
			r.Attempts = []job.Attempt{{N: 1, Result: job.ResultFailed}, {N: 2, Result: result}}
		}
		b.store.runs["a"] = []job.Run{r}
		note := ""
		if turns != nil {
			note = one
		}
		is(b.call("POST", "/api/cron/runs/a:1/cancel", ""), turns, note)
		is(b.call("GET", "/api/cron/runs/a:1", ""), turns, "") // it is past
	}
}

func TestDamageIsShown(t *testing.T) {
	b := setup(t)
	b.store.status.Repairs.Counts = map[job.Damage]int64{job.DueMissing: 3}
	for i := range 25 {
		b.store.status.Repairs.Quarantined = append(b.store.status.Repairs.Quarantined, job.Quarantined{
			Unreadable: job.Unreadable{Entry: "job:a", Reason: "uid is missing"}, Since: nowMillis + job.Millis(i)})
	}
	body := b.call("GET", "/api/cron/status", "").want(http.StatusOK).body
	if d := cmp.Diff(map[string]any{"due_missing": 3.0}, body["repaired"]); d != "" {
		t.Error(d)
	}
	listed, _ := body["quarantined"].([]any)
	if len(listed) != 20 || body["quarantinedCount"] != 25.0 {
		t.Fatalf("%d of %v listed", len(listed), body["quarantinedCount"])
	}
	if d := cmp.Diff(map[string]any{"entry": "job:a", "since": float64(nowMillis), "reason": "uid is missing"}, listed[0]); d != "" {
		t.Error(d)
	}
}

func TestWhatIsSaidWithAPause(t *testing.T) {
	for _, tt := range []struct {
		body   string
		status int
		calls  []string
	}{
		{"", http.StatusOK, []string{"pause ", "status "}},
		{"{}", http.StatusOK, []string{"pause ", "status "}},
		{`{"reason":null,"cancelRuns":false}`, http.StatusOK, []string{"pause ", "status "}},
		{`{"cancelRuns":true}`, http.StatusOK, []string{"pause ", "cancel all", "status "}},
		{`{"cancelRuns":"yes"}`, http.StatusBadRequest, nil},
		{`{"cancel":true}`, http.StatusBadRequest, nil},
		{`{"reason":5}`, http.StatusBadRequest, nil},
		{`{"reason":"` + strings.Repeat("x", job.MaxReasonBytes+1) + `"}`, http.StatusBadRequest, nil},
		{`[]`, http.StatusBadRequest, nil},
	} {
		t.Run(clipped(tt.body), func(t *testing.T) {
			b := setup(t)
			b.call("POST", "/api/cron/all/pause", tt.body).want(tt.status)
			if d := cmp.Diff(tt.calls, b.store.calls); d != "" {
				t.Errorf("calls (-want +got):\n%s", d)
			}
		})
	}
	b := setup(t)
	b.call("POST", "/api/cron/all/resume", `{"reason":"x"}`).want(http.StatusBadRequest)
	if len(b.store.calls) != 0 {
		t.Errorf("a resume with words asked the store to %v", b.store.calls)
	}
}

func clipped(s string) string { return s[:min(len(s), 40)] }

// brokenCancel is a store that can pause and not cancel.
type brokenCancel struct{ *fakeStore }

func (brokenCancel) CancelPaused(context.Context) (int, error) { return 1, errUnknown }

// TestPausedAndNotCancelled: everything is paused whatever becomes of the rest, and the
// log says so.
func TestPausedAndNotCancelled(t *testing.T) {
	store := newFakeStore()
	b := setup(t, func(o *api.Options) { o.Switch = brokenCancel{store} })
	b.call("POST", "/api/cron/all/pause", `{"cancelRuns":true}`).want(http.StatusInternalServerError)
	if store.status.PausedSince == 0 || !strings.Contains(b.log.String(), "everything paused") {
		t.Errorf("status %+v, log: %s", store.status, b.log)
	}
}
