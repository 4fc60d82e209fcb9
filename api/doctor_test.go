package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/api"
	"github.com/gatewaycron/gatewaycron/internal/doctor"
	"github.com/gatewaycron/gatewaycron/internal/health"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

// fakeDeployment stands as it is told.
type fakeDeployment struct {
	report health.Report
	jobs   []health.Reason // of the holder of a token
}

func (d *fakeDeployment) Health(context.Context) health.Report {
	if d.report.State == "" {
		return health.Report{State: health.OK}
	}
	return d.report
}

func (d *fakeDeployment) Jobs(context.Context) ([]health.Reason, error) { return d.jobs, nil }

func (d *fakeDeployment) Doctor(context.Context) []doctor.Finding {
	findings := []doctor.Finding{{Level: doctor.OK, What: "time zones", Found: "loaded"}}
	for _, r := range d.report.Reasons {
		findings = append(findings, doctor.Of(r, "deployment"))
	}
	return findings
}

// late is a deployment that lacks workers, and failing one that has none.
var (
	late = health.Report{State: health.Degraded, Reasons: []health.Reason{{Code: health.SlotsLate, State: health.Degraded, Late: true,
		Text: "4 slots late on secret-host", Count: 4, Since: nowMillis, Fix: health.Fix{Command: "a command", Call: "a call"}}}}
	failing = health.Report{State: health.Failing, Reasons: []health.Reason{{Code: health.NoWorker, State: health.Failing,
		Text: "no worker on secret-host", Count: 1, Fix: health.Fix{Command: "start one", Call: "start one"}}}}
)

const lateView = `{"state":"degraded","reasons":[{"code":"slots_late","state":"degraded","text":"4 slots late on secret-host","count":4,
	"since":1774612800000,"late":true,"remedy":"a call","command":"a command"}]}`

// wantJSON compares a part of an answer.
func wantJSON(t *testing.T, got any, want string) {
	t.Helper()
	var w any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(w, got); d != "" {
		t.Error(d)
	}
}

// One truth behind the status, the doctor and the readiness page.
func TestHealthIsTold(t *testing.T) {
	b := setup(t)
	wantJSON(t, b.call("GET", "/api/cron/status", "").want(200).body["health"], `{"state":"ok","reasons":[]}`)
	wantJSON(t, b.call("GET", "/readyz?full=true", "").want(200).body, `{"status":"ready","health":{"state":"ok","reasons":[]}}`)

	b.stands.report = late
	wantJSON(t, b.call("GET", "/api/cron/status", "").want(200).body["health"], lateView)
	wantJSON(t, b.call("GET", "/readyz?full=true&other=1", "").want(200).body["health"], lateView)
	wantJSON(t, b.call("GET", "/api/cron/doctor", "").want(200).body, `{"ok":false,"state":"degraded","findings":[
		{"level":"ok","what":"time zones","found":"loaded"},
		{"level":"fail","code":"slots_late","what":"deployment","found":"4 slots late on secret-host (since 2026-03-27 12:00:00 UTC)","remedy":"a call","command":"a command"}]}`)

	b.stands.report = failing
	a := b.call("GET", "/readyz?full=true", "").want(503)
	if detail := a.body["detail"]; detail != "The deployment is failing: no worker on secret-host." || a.header.Get("Retry-After") == "" {
		t.Errorf("%v, retry after %q", detail, a.header.Get("Retry-After"))
	}
	for _, plain := range []string{"/readyz", "/readyz?full=false", "/readyz?x=y"} {
		wantJSON(t, b.call("GET", plain, "").want(200).body, `{"status":"ready"}`)
	}
	b.call("GET", "/readyz?full=maybe", "").want(400)
}

// A status that cannot be read says why all the same.
func TestStatusOfAStoreThatIsAway(t *testing.T) {
	b := setup(t)
	b.store.err = context.DeadlineExceeded
	b.stands.report = health.Report{State: health.Failing, Reasons: []health.Reason{{Code: health.RedisAway, State: health.Failing,
		Text: "Redis does not answer", Count: 1, Fix: health.Fix{Command: "bring it back", Call: "bring it back"}}}}
	a := b.call("GET", "/api/cron/status", "").want(503)
	if a.body["detail"] != "The deployment is failing: Redis does not answer." {
		t.Error(a.raw)
	}
	wantJSON(t, a.body["health"], `{"state":"failing","reasons":[{"code":"redis_away","state":"failing","text":"Redis does not answer","count":1,"remedy":"bring it back"}]}`)
}

// Who is not the administrator learns states and codes.
func TestHealthForOthers(t *testing.T) {
	b := setup(t, func(o *api.Options) { o.Token = "secret" })
	b.stands.report = late
	outline := `{"state":"degraded","reasons":[{"code":"slots_late","state":"degraded","text":"slots are late","late":true}]}`
	wantJSON(t, b.call("GET", "/readyz?full=true", "").want(200).body["health"], outline)
	wantJSON(t, b.call("GET", "/readyz?full=true", "", header("Authorization", "Bearer secret")).want(200).body["health"], lateView)
	wantJSON(t, b.call("GET", "/readyz?full=true", "", header("Authorization", "Bearer wrong")).want(200).body["health"], outline)

	b.tokens.tokens["gct_bound"] = job.Token{ID: "t", Name: "tools", AgentID: "main"}
	bound := header("Authorization", "Bearer gct_bound")
	b.seed("a")
	wantJSON(t, b.call("GET", "/readyz?full=true", "", bound).want(200).body["health"], outline)
	wantJSON(t, b.call("GET", "/api/cron/status", "", bound).want(200).body["health"], outline)
	b.stands.jobs = []health.Reason{{Code: health.JobFailing, State: health.Degraded, Text: "job a keeps failing", Count: 1}}
	if a := b.call("GET", "/api/cron/status", "", bound).want(200); !strings.Contains(a.raw, "job a keeps failing") {
		t.Error(a.raw)
	}
	for _, path := range []string{"/api/cron/doctor", "/api/cron/jobs/a/explain"} {
		if a := b.call("GET", path, "", bound).want(200); strings.Contains(a.raw, "secret-host") || a.body["state"] != "degraded" {
			t.Errorf("%s: %s", path, a.raw)
		}
	}
	b.call("GET", "/api/cron/doctor", "").want(401)
}

func TestExplainOverTheAPI(t *testing.T) {
	b := setup(t)
	b.seed("a")
	for _, target := range []string{"", "?at=2026-03-30T07:00:00Z", "?at=1774854000000"} {
		a := b.call("GET", "/api/cron/jobs/a/explain"+target, "").want(200)
		if !strings.Contains(a.raw, `"what":"schedule"`) {
			t.Errorf("%s: %s", target, a.raw)
		}
	}
	b.call("GET", "/api/cron/jobs/a/explain?at=yesterday", "").want(400)
	b.call("GET", "/api/cron/jobs/none/explain", "").want(http.StatusNotFound)
	b.store.err = errors.New("boom")
	b.call("GET", "/api/cron/jobs/a/explain", "").want(500)
}
