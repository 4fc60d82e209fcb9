package app

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// toolsOfAnAgent is an ai-server whose tools pass on the run that they are called in: what
// do answers is the agent's reply.
type toolsOfAnAgent struct {
	*httptest.Server
	mu sync.Mutex
	do func(run string) string
}

func newToolsOfAnAgent(t *testing.T) *toolsOfAnAgent {
	a := &toolsOfAnAgent{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"status":"ok"}`) })
	mux.HandleFunc("POST /api/gateway/chat", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		a.mu.Lock()
		do := a.do
		a.mu.Unlock()
		fmt.Fprintf(w, `{"text":%q,"sessionId":"s"}`, do(r.Header.Get("X-Gateway-Cron-Run")))
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

// TestAnAgentMakesJobs, by both ways that it has, in the runs of a job that may and of others.
func TestAnAgentMakesJobs(t *testing.T) {
	agent := newToolsOfAnAgent(t)
	url := redistest.Start(t).URL()
	p := boot(t, AllRoles(), func(c *config.Config) { c.RedisURL, c.Token, c.AIServerURL = url, "administrator", agent.URL })
	eventually(t, "the ready line", p.ready)
	admin := caller{p: p, token: "administrator"}

	// asked is what the agent does in a run of the job, and what it was answered.
	asked := func(id string, do func(run string) string) string {
		t.Helper()
		agent.mu.Lock()
		agent.do = do
		agent.mu.Unlock()
		var run struct{ Outcome, RunID string }
		admin.want(200, "POST", "/api/cron/jobs/"+id+"/run?wait=60", "", &run)
		if run.Outcome != "succeeded" {
			t.Fatalf("run %+v", run)
		}
		var record struct{ Reply string }
		admin.want(200, "GET", "/api/cron/runs/"+run.RunID, "", &record)
		return record.Reply
	}
	create := func(body string) func(string) string {
		return func(run string) string {
			in := admin
			in.header = map[string]string{"X-Gateway-Cron-Run": run}
			status, answer := in.call("POST", "/api/cron/jobs", body)
			return fmt.Sprint(status, " ", answer)
		}
	}
	wants := func(got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("%s\nhas no %s", got, want)
		}
	}

	admin.want(201, "POST", "/api/cron/jobs", `{"id":"digest","schedule":"0 9 1 1 *","task":"x"}`, nil)
	wants(asked("digest", create(`{"id":"made","schedule":"0 9 1 1 *","task":"y"}`)), `"code":"scheduling_not_allowed"`)
	wants(asked("digest", func(run string) string {
		in := admin
		in.header = map[string]string{"X-Gateway-Cron-Run": run}
		_, answer := in.call("PATCH", "/api/cron/jobs/digest", `{"allowScheduling":true}`)
		return answer
	}), `"code":"scheduling_is_fixed"`)
	admin.want(404, "GET", "/api/cron/jobs/made", "", nil)

	admin.want(200, "PATCH", "/api/cron/jobs/digest", `{"allowScheduling":true}`, nil)
	wants(asked("digest", create(`{"id":"made","schedule":"0 9 1 1 *","task":"y"}`)), `201 {"id":"made"`)
	wants(asked("digest", create(`{"schedule":"0 9 1 1 *","task":"y","allowScheduling":true}`)), `"code":"scheduling_is_fixed"`)
	wants(asked("digest", func(run string) string {
		_, answer := p.message(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create_cron_job","arguments":{"id":"by-tool","every":86400,"task":"z"}}}`,
			map[string]string{"Authorization": "Bearer administrator", "X-Gateway-Cron-Run": run})
		return answer
	}), "Created by-tool")
	for _, id := range []string{"made", "by-tool"} {
		wants(admin.want(200, "GET", "/api/cron/jobs/"+id, "", nil), `"madeBy":"digest"`)
	}
	wants(admin.want(200, "GET", "/api/cron/jobs", "", nil), `"madeBy":"digest"`)
	wants(admin.want(200, "GET", "/api/cron/export", "", nil), `"madeBy":"digest"`)
	wants(admin.want(200, "GET", "/api/cron/audit?target=made", "", nil), `"actor":"run:digest:manual:`)
	_, listed := p.message(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_cron_jobs"}}`,
		map[string]string{"Authorization": "Bearer administrator"})
	wants(listed, "Made in a run of digest.")

	admin.want(200, "PATCH", "/api/cron/jobs/made", `{"allowScheduling":true}`, nil)
	wants(asked("made", create(`{"every":86400,"task":"z"}`)), `"code":"made_in_a_run"`)

	// What the token of the job that runs is bound to, its runs are bound to, whoever's tools.
	var hourly struct{ Token string }
	admin.want(201, "POST", "/api/cron/tokens", `{"name":"hourly","agentId":"main","minIntervalSeconds":3600}`, &hourly)
	caller{p: p, token: hourly.Token}.want(201, "POST", "/api/cron/jobs", `{"id":"hourly","every":86400,"task":"x","allowScheduling":true}`, nil)
	wants(asked("hourly", create(`{"id":"often","every":60,"task":"y"}`)), "every 3600 seconds at most")
	wants(asked("hourly", create(`{"id":"often","every":3600,"task":"y"}`)), `201 {"id":"often"`)
	wants(asked("hourly", func(run string) string {
		in := admin
		in.header = map[string]string{"X-Gateway-Cron-Run": run}
		status, answer := in.call("PATCH", "/api/cron/jobs/often", `{"every":60}`)
		return fmt.Sprint(status, " ", answer)
	}), "every 3600 seconds at most")
	admin.want(200, "PATCH", "/api/cron/jobs/often", `{"every":60}`, nil)

	admin.want(200, "DELETE", "/api/cron/jobs/digest", "", nil)
	admin.want(200, "GET", "/api/cron/jobs/made", "", nil)
	late := admin
	late.header = map[string]string{"X-Gateway-Cron-Run": "digest:1"}
	wants(late.want(403, "POST", "/api/cron/jobs", `{"every":86400,"task":"z"}`, nil), `"code":"run_unknown"`)
}
