package jobs

import (
	"strings"
	"testing"
)

// TestAliases: what people type does what they mean.
func TestAliases(t *testing.T) {
	for line, want := range map[string]string{
		"jobs": "GET /api/cron/jobs?limit=50", "job ls": "GET /api/cron/jobs?limit=50", "jobs --label a -n 3": "GET /api/cron/jobs?label=a&limit=3",
		"job create @daily x": `POST /api/cron/jobs {"schedule":"@daily","task":"x"}`, "job new @daily x": `POST /api/cron/jobs {"schedule":"@daily","task":"x"}`,
		"job get a": "GET /api/cron/jobs/a", "job describe a": "GET /api/cron/jobs/a",
		"job update a --name n": `PATCH /api/cron/jobs/a {"name":"n"}`,
		"job delete a":          "DELETE /api/cron/jobs/a", "job remove a": "DELETE /api/cron/jobs/a",
		"job trigger a": "POST /api/cron/jobs/a/run", "job disable a": "POST /api/cron/jobs/a/pause", "job enable a": "POST /api/cron/jobs/a/resume",
		"job logs a": "GET /api/cron/jobs/a/runs?limit=20", "job history a": "GET /api/cron/jobs/a/runs?limit=20", "job upcoming": "GET /api/cron/upcoming",
		"runs": "GET /api/cron/runs?limit=20", "run ls": "GET /api/cron/runs?limit=20", "run get a:1": "GET /api/cron/runs/a:1", "run stop a:1": "POST /api/cron/runs/a:1/cancel",
		"run resend a:1": "POST /api/cron/runs/a:1/redeliver", "run watch a:1": "GET /api/cron/runs/a:1/events",
		"tokens": "GET /api/cron/tokens", "token ls": "GET /api/cron/tokens", "token rm a": "DELETE /api/cron/tokens/a",
	} {
		b := setup(t, nil)
		b.run(t.Context(), strings.Fields(line)...)
		if got := b.api.requests(); len(got) == 0 || got[0] != want {
			t.Errorf("%s: %q, want %s; %s", line, got, want, b.stderr.String())
		}
	}
}

func TestSuggestions(t *testing.T) {
	for line, want := range map[string]string{
		"job lsit": "did you mean job list?", "job shwo a": "did you mean job show?", "job start a": "did you mean job resume, or job run?",
		"job stop a": "did you mean job pause?", "job cancel a": "did you mean run cancel?", "job follow a": "did you mean run follow?",
		"jobs show a": "did you mean job show?", "run add": "did you mean job add", "token craete": "did you mean token create?",
		"job frobnicate": `unknown command "frobnicate" for "gateway-cron job"` + "\nRun", "job \x1b[2J": `unknown command "[2J" for`,
	} {
		b := setup(t, nil)
		if code := b.run(t.Context(), strings.Fields(line)...); code != exitUsage || !strings.Contains(b.stderr.String(), want) || len(b.api.requests()) > 0 {
			t.Errorf("%s: exit code %d: %s", line, code, b.stderr.String())
		}
	}
}
