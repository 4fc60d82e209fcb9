package app

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// TestStoredNamesMayStay: what a release before took can be edited and resumed, though a new
// job is refused for it.
func TestStoredNamesMayStay(t *testing.T) {
	db := redistest.Fresh(t)
	p := boot(t, Roles{API: true}, func(c *config.Config) { c.RedisURL = db.URL() })
	eventually(t, "the API is ready", func() bool { return p.status("/readyz") == http.StatusOK })
	const joined = "\U0001F469\u200d\U0001F680 daily"
	if _, err := p.store.CreateJob(t.Context(), "old", job.Spec{Name: joined, Schedule: "0 9 * * *", Task: "x"}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.store.CreateJob(t.Context(), "dot", job.Spec{SessionKey: ".", Schedule: "0 9 * * *", Task: "x"}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, path, body string
		want               int
	}{
		{"PATCH", "/api/cron/jobs/old", `{"schedule":"0 10 * * *"}`, http.StatusOK},
		{"POST", "/api/cron/jobs/old/resume", "", http.StatusOK},
		{"PATCH", "/api/cron/jobs/old", `{"task":"y"}`, http.StatusOK},
		{"POST", "/api/cron/jobs/dot/resume", "", http.StatusOK},
		{"PATCH", "/api/cron/jobs/dot", `{"task":"y"}`, http.StatusOK},
		{"PATCH", "/api/cron/jobs/old", `{"agentId":"a\u200b"}`, http.StatusBadRequest},
		{"POST", "/api/cron/jobs", `{"name":"a\u200bb","schedule":"0 9 * * *","task":"x"}`, http.StatusBadRequest},
	} {
		if status, _, body := p.call(tt.method, tt.path, tt.body); status != tt.want {
			t.Errorf("%s %s %s: %d %s", tt.method, tt.path, tt.body, status, body)
		}
	}
	_, _, lines := p.call("GET", "/api/cron/export", "")
	fresh := redistest.Fresh(t)
	q := boot(t, Roles{API: true}, func(c *config.Config) { c.RedisURL = fresh.URL() })
	eventually(t, "the API is ready", func() bool { return q.status("/readyz") == http.StatusOK })
	if status, _, report := q.call("POST", "/api/cron/import", lines); status != http.StatusOK || !strings.Contains(report, `"created":2`) {
		t.Errorf("its export is imported: %d %s", status, report)
	}
}
