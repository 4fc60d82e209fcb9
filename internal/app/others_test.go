package app

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// TestWhatIsForeignIsAsIfItWereNotThere asks each route that takes an id, and each parameter
// that does, for what others have and for what nobody has: the answers are the same but for
// the id, whatever headers come along.
func TestWhatIsForeignIsAsIfItWereNotThere(t *testing.T) {
	admin := guardedDeployment(t)
	const define = `,"schedule":"0 9 1 1 *","task":"x","agentId":"other","sessionKey":"agent:other:secret"}`
	var first, gone struct{ ID string }
	for id, run := range map[string]any{"theirs": &first, "deleted": &gone} {
		admin.want(http.StatusCreated, "POST", "/api/cron/jobs", `{"id":"`+id+`"`+define, nil)
		admin.want(http.StatusOK, "POST", "/api/cron/jobs/"+id+"/run?wait=60", "", run)
	}
	admin.want(http.StatusOK, "DELETE", "/api/cron/jobs/deleted", "", nil)
	tokenID, _ := admin.make(`{"name":"n","agentId":"other"}`)

	// What there is, and what is like it and is not.
	jobs := map[string]string{"theirs": "theirx", "deleted": "deletex"}
	runs := map[string]string{}
	for _, id := range []string{first.ID, gone.ID} {
		runs[id] = id[:len(id)-1] + map[bool]string{true: "1", false: "0"}[id[len(id)-1] == '0']
	}
	pairs := map[string]map[string]string{
		"/api/cron/jobs/{id}":   jobs,
		"/api/cron/runs/{id}":   runs,
		"/api/cron/tokens/{id}": {tokenID: strings.Repeat("a", len(tokenID))},
		"/api/sessions/{key}":   {"agent:other:secret": "agent:other:secrex"},
	}
	type try struct{ method, path, body, theirs, nobodys string }
	var tries []try
	add := func(method, path, body string, ids map[string]string) {
		for theirs, nobodys := range ids {
			tries = append(tries, try{method, path, body, theirs, nobodys})
		}
	}
	routes, ok := (*admin.p.front.Load()).(chi.Routes)
	if !ok {
		t.Fatal("the front is no router that could be walked")
	}
	if err := chi.Walk(routes, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if !strings.Contains(route, "{") {
			return nil
		}
		end := strings.Index(route, "}") + 1
		ids, known := pairs[route[:end]]
		if !known {
			t.Errorf("%s takes an id: say which there are", route)
		}
		bodies := []string{""}
		if method == http.MethodPatch {
			bodies = []string{`{"task":"x"}`, `{"agentId":"main","sessionKey":null}`, `{}`}
		}
		for _, body := range bodies {
			for _, query := range []string{"", "?cancelRuns=true", "?wait=1", "?limit=1"} {
				add(method, route[:strings.Index(route, "{")]+"<id>"+route[end:]+query, body, ids)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(tries) < 50 {
		t.Fatalf("%d tries", len(tries))
	}
	for _, of := range []string{"/api/cron/runs?jobId=<id>", "/api/cron/runs?match=<id>", "/api/cron/jobs?match=<id>", "/api/cron/audit?target=<id>"} {
		add("GET", of, "", jobs)
	}
	for _, of := range []string{"/api/cron/runs?match=<id>", "/api/cron/audit?target=<id>"} {
		add("GET", of, "", runs)
	}

	_, agent := admin.make(`{"name":"of an agent","agentId":"main"}`)
	_, session := admin.make(`{"name":"of a session","sessionKey":"agent:other:public"}`)
	for whose, who := range map[string]caller{"an agent": agent, "a session": session} {
		// Its key is used for something of its own.
		used := caller{p: who.p, token: who.token, header: map[string]string{"Idempotency-Key": "used"}}
		own := strings.ReplaceAll(whose, " ", "-")
		who.want(http.StatusCreated, "POST", "/api/cron/jobs", `{"id":"`+own+`","schedule":"0 9 1 1 *","task":"x"}`, nil)
		used.want(http.StatusAccepted, "POST", "/api/cron/jobs/"+own+"/run", "", nil)
		for _, header := range []map[string]string{{}, {"If-Match": "*"}, {"If-Match": `"1-0"`}, {"If-None-Match": "*"},
			{"Idempotency-Key": "used"}, {"Idempotency-Key": "fresh"}, {job.RunHeader: first.ID}} {
			who.header = header
			for _, x := range tries {
				ask := func(id string) string {
					status, answer := who.call(x.method, strings.Replace(x.path, "<id>", id, 1), x.body)
					return fmt.Sprint(status, " ", answer)
				}
				answer, want := ask(x.theirs), strings.ReplaceAll(ask(x.nobodys), x.nobodys, x.theirs)
				if answer != want {
					t.Errorf("%s, %v: %s %s of %s: %s\nas if it were not there: %s", whose, header, x.method, x.path, x.theirs, answer, want)
				}
			}
		}
		for theirs, nobodys := range runs { // in whose run it says to make a job
			create := func(run string) string {
				who.header = map[string]string{job.RunHeader: run}
				status, answer := who.call("POST", "/api/cron/jobs", `{"id":"made-in-a-run","schedule":"0 9 1 1 *","task":"x"}`)
				return fmt.Sprint(status, " ", answer)
			}
			if answer, want := create(theirs), strings.ReplaceAll(create(nobodys), nobodys, theirs); answer != want || !strings.Contains(answer, "run_unknown") {
				t.Errorf("%s: in the run %s: %s\nas if it were not there: %s", whose, theirs, answer, want)
			}
		}
	}
}

// TestOthersChangeNothingOfWhatATokenIsTold compares all that the holder of a token can read,
// page by page with its cursors, before and after there is much of others, in any state.
func TestOthersChangeNothingOfWhatATokenIsTold(t *testing.T) {
	_, ai := echoAI(t)
	server := redistest.Start(t)
	p := boot(t, Roles{API: true, Scheduler: true, Worker: true}, func(c *config.Config) {
		c.RedisURL, c.Token, c.AIServerURL = server.URL(), "administrator", ai
	})
	eventually(t, "the ready line", p.ready)
	admin := caller{p: p, token: "administrator"}
	const public = "agent:other:public"
	create := func(id, agent, session string) {
		t.Helper()
		admin.want(http.StatusCreated, "POST", "/api/cron/jobs",
			fmt.Sprintf(`{"id":%q,"name":"a name","schedule":"0 9 1 1 *","task":"x","agentId":%q,"sessionKey":%q}`, id, agent, session), nil)
		admin.want(http.StatusOK, "POST", "/api/cron/jobs/"+id+"/run?wait=60", "", nil)
	}
	for i := range 3 {
		create(fmt.Sprint("own-a", i), "main", "")
		create(fmt.Sprint("own-s", i), "other", public)
	}
	_, agent := admin.make(`{"name":"of an agent","agentId":"main"}`)
	_, session := admin.make(`{"name":"of a session","sessionKey":"` + public + `"}`)
	holders := map[string]caller{"agent:main:cron:own-a0": agent, public: session}
	told := func() map[string]string {
		t.Helper()
		all := map[string]string{}
		for key, who := range holders {
			own := "own-s0"
			if key != public {
				own = "own-a0"
			}
			maps.Copy(all, who.told(own, key))
		}
		return all
	}
	before := told()
	if d := gocmp.Diff(before, told()); d != "" {
		t.Fatalf("it is told something else each time:\n%s", d)
	}

	rdb := server.Client()
	for i := range 12 {
		id := fmt.Sprint("theirs", i)
		create(id, "other", cmp.Or([]string{"agent:other:secret", "agent:other:publi", ""}[i%3]))
		const prefix = "{gateway-cron}:"
		for key, value := range map[string][]any{
			"failures": {"HSET", prefix + "job:" + id, "failures", 9}, "failing": {"ZADD", prefix + "failing", 1, id},
			"delivery": {"HSET", prefix + "job:" + id, "lastDelivery", "failed"}, "undelivered": {"ZADD", prefix + "undelivered", 1, id},
		} {
			if err := rdb.Do(t.Context(), value...).Err(); err != nil {
				t.Fatalf("%s: %v", key, err)
			}
		}
		switch i % 4 {
		case 0:
			admin.want(http.StatusOK, "POST", "/api/cron/jobs/"+id+"/pause", "", nil)
		case 1:
			admin.want(http.StatusOK, "DELETE", "/api/cron/jobs/"+id, "", nil)
		case 2:
			admin.want(http.StatusOK, "PATCH", "/api/cron/jobs/"+id, `{"schedule":"* * * * *"}`, nil)
		}
	}
	eventually(t, "the deployment suffers", func() bool {
		return strings.Contains(admin.want(http.StatusOK, "GET", "/api/cron/status", "", nil), "job_failing")
	})
	if d := gocmp.Diff(before, told()); d != "" {
		t.Errorf("others have changed what is told (- before, + after):\n%s", d)
	}
}

// told is all that a caller can read, by what it asks; own is a job of its own.
func (c caller) told(own, session string) map[string]string {
	c.p.t.Helper()
	all := map[string]string{}
	for _, path := range []string{"/api/cron/jobs", "/api/cron/jobs?match=a+name", "/api/cron/jobs?ended=true", "/api/cron/runs", "/api/cron/runs?outcome=succeeded",
		"/api/cron/jobs/" + own + "/runs", "/api/cron/audit?target=" + own, "/api/sessions/" + url.PathEscape(session)} {
		and := "?"
		if strings.Contains(path, "?") {
			and = "&"
		}
		for cursor, page := "", 0; page == 0 || cursor != ""; page++ {
			var v struct{ NextCursor string }
			one := path + and + "limit=1"
			if cursor != "" {
				one += "&cursor=" + url.QueryEscape(cursor)
			}
			all[session+" "+one] = c.want(http.StatusOK, "GET", one, "", &v)
			if cursor = v.NextCursor; page > 20 {
				c.p.t.Fatalf("%s does not end", path)
			}
		}
	}
	for _, path := range []string{"/api/cron/upcoming", "/api/cron/status", "/api/cron/doctor", "/api/cron/export", "/api/cron/jobs/" + own, "/api/cron/jobs/" + own + "/explain"} {
		all[session+" "+path] = c.want(http.StatusOK, "GET", path, "", nil)
	}
	c.header = map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
	for _, tool := range []string{"list_cron_jobs", "list_cron_runs", "get_cron_job", "get_cron_status"} {
		arguments := map[string]any{}
		if strings.HasPrefix(tool, "get_cron_job") || strings.HasPrefix(tool, "list_cron_runs") {
			arguments["jobId"] = own
		}
		body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": map[string]any{"name": tool, "arguments": arguments}})
		if err != nil {
			c.p.t.Fatal(err)
		}
		all[session+" "+tool] = c.want(http.StatusOK, "POST", "/mcp", string(body), nil)
	}
	for what, text := range all {
		if slices.ContainsFunc([]string{"theirs", "secret"}, func(s string) bool { return strings.Contains(text, s) }) {
			c.p.t.Errorf("%s tells of others: %s", what, text)
		}
	}
	return all
}
