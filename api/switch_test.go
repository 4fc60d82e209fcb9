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
