package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// TestStopOverTheTools: an agent that has asked as often as it may stops its jobs all the
// same, and its tools' looks by the way use up no status.
func TestStopOverTheTools(t *testing.T) {
	const times = 20
	url := redistest.Start(t).URL()
	p := boot(t, Roles{API: true}, func(c *config.Config) { c.RedisURL, c.RateLimitPerMinute, c.RateLimitBurst = url, 1, 2*times+2 })
	eventually(t, "the ready line", p.ready)
	tool := func(name, arguments string) string {
		t.Helper()
		status, body := p.message(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, name, arguments), nil)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", name, status, body)
		}
		return body
	}
	var ids []string
	for len(ids) < times+1 {
		id := fmt.Sprint("job-", len(ids))
		if body := tool("create_cron_job", `{"id":"`+id+`","schedule":"0 9 * * *","task":"x"}`); !strings.Contains(body, "Created "+id) {
			t.Fatal(body)
		}
		ids = append(ids, id)
	}
	for _, refused := range []string{"create_cron_job", "list_cron_jobs"} {
		if body := tool(refused, `{}`); !strings.Contains(body, "Too many requests") {
			t.Errorf("%s: %s", refused, body)
		}
	}
	for n := range times {
		for name, want := range map[string]string{"pause_cron_job": "Paused job-20", "resume_cron_job": "Resumed job-20", "update_cron_job": "Updated job-20", "get_cron_status": "state"} {
			arguments := `{"jobId":"job-20"}`
			switch name {
			case "update_cron_job":
				arguments = `{"jobId":"job-20","enabled":false}`
			case "get_cron_status":
				arguments = `{}`
			}
			if body := tool(name, arguments); !strings.Contains(body, want) {
				t.Fatalf("%s, time %d: %s", name, n+1, body)
			}
		}
		if body := tool("delete_cron_job", `{"jobId":"`+ids[n]+`"}`); !strings.Contains(body, "Deleted "+ids[n]) {
			t.Fatalf("delete, time %d: %s", n+1, body)
		}
	}
}

// TestStopWithoutAConnection: whoever holds all connections to Redis keeps nobody from
// stopping things.
func TestStopWithoutAConnection(t *testing.T) {
	url := redistest.Start(t).URL()
	p := boot(t, Roles{API: true}, on(url))
	eventually(t, "the ready line", p.ready)
	id := p.create("hello")
	start := func() string {
		t.Helper()
		var started struct{ RunID string }
		status, _, body := p.call("POST", "/api/cron/jobs/"+id+"/run", "")
		if err := json.Unmarshal([]byte(body), &started); err != nil || status != http.StatusAccepted {
			t.Fatalf("run: %d %s", status, body)
		}
		return started.RunID
	}
	run := start()
	for range redisPool {
		conn := p.rdb.(*redis.Client).Conn()
		defer conn.Close()
		if err := conn.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if pool := p.rdb.PoolStats(); pool.IdleConns != 0 || pool.TotalConns < redisPool {
		t.Fatalf("not all connections are taken: %+v", pool)
	}
	for _, line := range []string{
		"GET /api/cron/status", "POST /api/cron/runs/" + run + "/cancel", "POST /api/cron/jobs/" + id + "/pause",
		"POST /api/cron/jobs/" + id + "/resume", "POST /api/cron/all/pause", "POST /api/cron/all/resume", "DELETE /api/cron/jobs/" + id,
	} {
		method, path, _ := strings.Cut(line, " ")
		if status, _, body := p.call(method, path, ""); status != http.StatusOK {
			t.Errorf("%s: %d %s", line, status, body)
		}
	}
}

// TestRefusalsAreProblems: whoever refuses, and whenever.
func TestRefusalsAreProblems(t *testing.T) {
	o, out, log := options(t, Roles{API: true}, on(redistest.Start(t).URL()))
	a, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{App: a, t: t}
	is := func(when, method, path, body string, want int) {
		t.Helper()
		var said struct {
			Title, Detail string
			Status        int
		}
		status, header, text := p.call(method, path, body)
		err := json.Unmarshal([]byte(text), &said)
		if status != want || err != nil || said.Status != want || said.Title != http.StatusText(want) || said.Detail == "" ||
			header.Get("Content-Type") != "application/problem+json" || (header.Get("Retry-After") != "") != (want == 503) {
			t.Errorf("%s: %s %s: %d %v %s", when, method, path, status, header, text)
		}
	}
	for _, path := range []string{"/api/cron/jobs", "/api/cron/status", "/readyz", "/mcp", "/nowhere"} {
		is("starting", "GET", path, "", 503)
		if path != "/readyz" {
			is("starting", "POST", path, "{}", 503)
		}
	}
	p = serve(t, a, out, log)
	eventually(t, "the ready line", p.ready)
	is("up", "BREW", "/api/cron/jobs", "", 405)
	is("up", "PUT", "/api/cron/jobs", "", 405)
	is("up", "GET", "/nowhere", "", 404)
	is("up", "POST", "/api/cron/jobs", strings.Repeat(" ", 2<<20), 413)
	is("up", "POST", "/mcp", `[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]`, 400)
}
