package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// What a model is told of a job that has had its runs, whatever it wanted with it.
func TestJobThatHasHadItsRunsIsGone(t *testing.T) {
	b := setup(t)
	b.store.err = &job.GoneError{ID: "bread", Name: "Bread", Runs: 2, Of: 2, LastRunID: "bread:1774612800", Outcome: job.Succeeded,
		Delivery: job.DeliveryFailed, At: nowMillis}
	for _, request := range []struct{ method, path, body string }{
		{"GET", "", ""}, {"PATCH", "", `{"task":"x"}`}, {"DELETE", "", ""}, {"DELETE", "?cancelRuns=true", ""},
		{"POST", "/run", ""}, {"POST", "/pause", ""}, {"POST", "/resume", ""},
	} {
		a := b.call(request.method, "/api/cron/jobs/bread"+request.path, request.body).want(http.StatusGone)
		want := map[string]any{"id": "bread", "name": "Bread", "runs": 2.0, "maxRuns": 2.0, "lastRunId": "bread:1774612800", "lastOutcome": "succeeded",
			"lastDelivery": "failed", "endedAt": float64(nowMillis), "history": "/api/cron/jobs/bread/runs"}
		if d := cmp.Diff(want, a.body["ended"]); d != "" {
			t.Errorf("%s %s: %s", request.method, request.path, d)
		}
		const detail = `The job bread "Bread" ran 2 of 2 times and is gone, as it was meant to be: its last run ended 2026-03-27T12:00:00Z (succeeded), ` +
			`and its reply did not arrive. Its history is at /api/cron/jobs/bread/runs; to run it again, make a new job.`
		if a.body["detail"] != detail {
			t.Errorf("%s %s: %s", request.method, request.path, a.body["detail"])
		}
	}
}

// A name is somebody's text: it is quoted, and its length bounded.
func TestNameOfAJobThatIsGone(t *testing.T) {
	b := setup(t)
	b.store.err = &job.GoneError{ID: "a", Name: strings.Repeat("\"é", 100), Runs: 1, Of: 1, Outcome: job.Failed, At: nowMillis}
	detail := b.call("GET", "/api/cron/jobs/a", "").want(http.StatusGone).body["detail"].(string)
	if !strings.Contains(detail, `The job a "\"é`) || len(detail) > 500 {
		t.Error(detail)
	}
}

func TestEndedJobOnTheWire(t *testing.T) {
	b := setup(t)
	b.seed("a", func(j *job.Job) {
		j.NextSlot, j.At, j.Schedule = 0, nowMillis-3600_000, ""
		j.LastOutcome, j.LastOutcomeSlot, j.LastDelivery = job.Missed, nowMillis-3600_000, job.DeliveryUnknown
	})
	for _, body := range []map[string]any{
		b.call("GET", "/api/cron/jobs/a", "").want(http.StatusOK).body,
		b.call("GET", "/api/cron/jobs?ended=true", "").want(http.StatusOK).body["jobs"].([]any)[0].(map[string]any),
	} {
		for name, want := range map[string]any{"ended": true, "enabled": true, "lastOutcome": "missed", "lastOutcomeSlot": float64(nowMillis - 3600_000), "lastDelivery": "unknown"} {
			if body[name] != want {
				t.Errorf("%s is %v, want %v", name, body[name], want)
			}
		}
	}
	refused := b.call("PATCH", "/api/cron/jobs/a", `{"ended":false,"lastOutcomeSlot":1,"lastDelivery":"unknown"}`).want(http.StatusBadRequest)
	if strings.Count(refused.raw, `"is set by the server and cannot be sent; leave it out"`) != 3 {
		t.Error(refused.raw)
	}
}
