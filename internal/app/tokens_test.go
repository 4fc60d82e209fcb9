package app

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// caller is somebody with a token.
type caller struct {
	p      *process
	token  string
	header map[string]string // besides the token
}

// call asks the API and answers the status and the body.
func (c caller) call(method, path, body string) (int, string) {
	c.p.t.Helper()
	req, err := http.NewRequestWithContext(c.p.t.Context(), method, "http://"+c.p.Addr()+path, strings.NewReader(body))
	if err != nil {
		c.p.t.Fatal(err)
	}
	req.Close = true
	req.Header.Set("Authorization", "Bearer "+c.token)
	for name, value := range c.header {
		req.Header.Set(name, value)
	}
	res, err := (&http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		c.p.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.p.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// want asks, and demands a status; it answers the body, decoded if into is not nil.
func (c caller) want(status int, method, path, body string, into any) string {
	c.p.t.Helper()
	got, answer := c.call(method, path, body)
	if got != status {
		c.p.t.Fatalf("%s %s %s: %d, want %d: %s", method, path, body, got, status, answer)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(answer), into); err != nil {
			c.p.t.Fatalf("%s %s: %v: %s", method, path, err, answer)
		}
	}
	return answer
}

// make has the administrator make a token.
func (c caller) make(definition string) (id string, holder caller) {
	c.p.t.Helper()
	var made struct{ ID, Token string }
	c.want(http.StatusCreated, "POST", "/api/cron/tokens", definition, &made)
	return made.ID, caller{p: c.p, token: made.Token}
}

func guardedDeployment(t *testing.T) caller {
	t.Helper()
	_, ai := echoAI(t)
	url := redistest.Start(t).URL()
	p := boot(t, AllRoles(), func(c *config.Config) { c.RedisURL, c.Token, c.AIServerURL = url, "administrator", ai })
	eventually(t, "the ready line", p.ready)
	return caller{p: p, token: "administrator"}
}

// TestAnothersTokenSeesAndChangesNothing walks every route of the port, so that one without
// a rule fails it, with tokens of another agent and of another session of the same agent.
func TestAnothersTokenSeesAndChangesNothing(t *testing.T) {
	admin := guardedDeployment(t)
	const define = `,"schedule":"0 9 1 1 *","task":"the secret of other","name":"secret name","agentId":"other","sessionKey":"agent:other:secret"}`
	const run = "?wait=60"
	var first, gone struct{ ID string }
	admin.want(http.StatusCreated, "POST", "/api/cron/jobs", `{"id":"theirs"`+define, nil)
	admin.want(http.StatusOK, "POST", "/api/cron/jobs/theirs/run"+run, "", &first)
	admin.want(http.StatusCreated, "POST", "/api/cron/jobs", `{"id":"deleted"`+define, nil)
	admin.want(http.StatusOK, "POST", "/api/cron/jobs/deleted/run"+run, "", &gone)
	admin.want(http.StatusOK, "DELETE", "/api/cron/jobs/deleted", "", nil)
	tokenID, _ := admin.make(`{"name":"of unheard","agentId":"unheard"}`)

	// A route that takes any method says in its paths which is tried.
	type try struct {
		path, body string
		want       int
	}
	const another = `{"schedule":"0 9 1 1 *","task":"x","agentId":"other","sessionKey":"agent:other:secret"}`
	tries := map[string][]try{
		"POST /api/cron/jobs":                {{"/api/cron/jobs", another, 403}},
		"GET /api/cron/jobs":                 {{"/api/cron/jobs", "", 200}, {"/api/cron/jobs?agentId=other", "", 200}, {"/api/cron/jobs?sessionKey=agent:other:secret", "", 200}},
		"GET /api/cron/jobs/{id}":            {{"/api/cron/jobs/theirs", "", 404}},
		"PATCH /api/cron/jobs/{id}":          {{"/api/cron/jobs/theirs", `{"task":"x"}`, 404}, {"/api/cron/jobs/theirs", `{"agentId":"main","sessionKey":null}`, 404}},
		"DELETE /api/cron/jobs/{id}":         {{"/api/cron/jobs/theirs", "", 404}, {"/api/cron/jobs/theirs?cancelRuns=true", "", 404}},
		"POST /api/cron/jobs/{id}/run":       {{"/api/cron/jobs/theirs/run", "", 404}, {"/api/cron/jobs/theirs/run?wait=1", "", 404}},
		"POST /api/cron/jobs/{id}/pause":     {{"/api/cron/jobs/theirs/pause", "", 404}},
		"POST /api/cron/jobs/{id}/resume":    {{"/api/cron/jobs/theirs/resume", "", 404}},
		"GET /api/cron/jobs/{id}/runs":       {{"/api/cron/jobs/theirs/runs", "", 404}, {"/api/cron/jobs/deleted/runs", "", 404}},
		"GET /api/cron/runs":                 {{"/api/cron/runs", "", 200}, {"/api/cron/runs?jobId=theirs", "", 404}, {"/api/cron/runs?jobId=deleted", "", 404}},
		"GET /api/cron/runs/{id}":            {{"/api/cron/runs/" + first.ID, "", 404}, {"/api/cron/runs/" + gone.ID + "?wait=1", "", 404}},
		"GET /api/cron/runs/{id}/events":     {{"/api/cron/runs/" + first.ID + "/events", "", 404}},
		"POST /api/cron/runs/{id}/cancel":    {{"/api/cron/runs/" + first.ID + "/cancel", "", 404}},
		"POST /api/cron/runs/{id}/redeliver": {{"/api/cron/runs/" + first.ID + "/redeliver", "", 404}, {"/api/cron/runs/" + gone.ID + "/redeliver", "", 404}},
		"GET /api/sessions/{key}":            {{"/api/sessions/agent:other:secret", "", 404}},
		"POST /api/cron/preview":             {{"/api/cron/preview", `{"schedule":"0 9 1 1 *"}`, 200}},
		"GET /api/cron/upcoming":             {{"/api/cron/upcoming", "", 200}},
		"GET /api/cron/status":               {{"/api/cron/status", "", 200}},
		"GET /api/cron/doctor":               {{"/api/cron/doctor", "", 200}},
		"GET /api/cron/jobs/{id}/explain":    {{"/api/cron/jobs/theirs/explain", "", 404}, {"/api/cron/jobs/deleted/explain", "", 404}},
		"GET /api/cron/audit":                {{"/api/cron/audit", "", 403}, {"/api/cron/audit?target=*", "", 403}, {"/api/cron/audit?target=theirs", "", 404}, {"/api/cron/audit?target=deleted", "", 404}, {"/api/cron/audit?target=" + first.ID, "", 404}},
		"GET /api/cron/export":               {{"/api/cron/export", "", 200}},
		"POST /api/cron/import":              {{"/api/cron/import", `{"id":"theirs"` + define, 403}},
		"POST /api/cron/all/pause":           {{"/api/cron/all/pause", "", 403}},
		"POST /api/cron/all/resume":          {{"/api/cron/all/resume", "", 403}},
		"POST /api/cron/tokens":              {{"/api/cron/tokens", `{"name":"more","agentId":"other"}`, 403}},
		"GET /api/cron/tokens":               {{"/api/cron/tokens", "", 403}},
		"DELETE /api/cron/tokens/{id}":       {{"/api/cron/tokens/" + tokenID, "", 403}},
		"GET /health":                        {{"/health", "", 200}},
		"GET /readyz":                        {{"/readyz", "", 200}},
		"GET /openapi.json":                  {{"/openapi.json", "", 200}},
		"GET /docs":                          {{"/docs", "", 200}},
		"any /mcp":                           {{"GET /mcp", "", 405}, {"POST /mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_cron_jobs"}}`, 200}},
		// The dashboard is the administrator's. It answers ten wrong tokens at once, and then
		// has an address wait.
		"any /":             {{"GET /", "", 200}},
		"any /login":        {{"GET /login", "", 200}},
		"any /logout":       {{"POST /logout", "", 303}},
		"any /monitoring":   {{"GET /monitoring", "", 303}},
		"any /monitoring/*": {{"GET /monitoring/api/queues", "", 401}, {"DELETE /monitoring/api/queues/cron/completed_tasks:delete_all", "", 401}},
	}
	walked := map[string]bool{}
	routes, ok := (*admin.p.front.Load()).(chi.Routes)
	if !ok {
		t.Fatal("the front is no router that could be walked")
	}
	if err := chi.Walk(routes, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		walked[method+" "+route] = true
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for route := range maps.Clone(walked) {
		if method, path, _ := strings.Cut(route, " "); walked["TRACE "+path] || walked["any "+path] {
			delete(walked, method+" "+path)
			walked["any "+path] = true
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(walked)), slices.Sorted(maps.Keys(tries))); diff != "" {
		t.Errorf("routes (-) and those tried here (+): say what the holder of a token may do there:\n%s", diff)
	}

	_, agents := admin.make(`{"name":"of an agent","agentId":"main"}`)
	_, sessions := admin.make(`{"name":"of a session","sessionKey":"agent:other:public"}`)
	_, alike := admin.make(`{"name":"of an agent whose name begins alike","agentId":"othe"}`)
	look := func() string {
		return admin.want(200, "GET", "/api/cron/export", "", nil) + admin.want(200, "GET", "/api/cron/runs", "", nil) +
			admin.want(200, "GET", "/api/cron/audit", "", nil) + admin.want(200, "GET", "/api/sessions/agent:other:secret", "", nil)
	}
	before := look()
	for _, who := range []caller{agents, sessions, alike} {
		who.header = map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream"} // for the tools
		for route, all := range tries {
			for _, try := range all {
				method, _, _ := strings.Cut(route, " ")
				path := try.path
				if method == "any" {
					method, path, _ = strings.Cut(try.path, " ")
				}
				status, answer := who.call(method, path, try.body)
				if status != try.want {
					t.Errorf("%s %s: %d, want %d: %s", method, path, status, try.want, answer)
				}
				for _, secret := range []string{"secret of", "secret name", "theirs", "unheard"} {
					if strings.Contains(answer, secret) {
						t.Errorf("%s %s tells %q: %.500s", method, path, secret, answer)
					}
				}
			}
		}
		who.cannotTellByTools(map[string]string{"theirs": "theirx", "deleted": "deletex"}, map[string]string{first.ID: "x" + first.ID, gone.ID: "x" + gone.ID})
	}
	agents.header = map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	agents.want(http.StatusUnauthorized, "POST", "/login", "token="+agents.token, nil)
	if diff := cmp.Diff(before, look()); diff != "" {
		t.Errorf("something changed:\n%s", diff)
	}
}

// cannotTellByTools calls each tool with ids that there are, and with others that there are
// not: the answers are refusals, and alike but for the id.
func (c caller) cannotTellByTools(jobs, runs map[string]string) {
	c.p.t.Helper()
	call := func(message string) string {
		c.p.t.Helper()
		return c.want(http.StatusOK, "POST", "/mcp", `{"jsonrpc":"2.0","id":1,`+message+"}", nil)
	}
	// What is sent beside the id; "-" where there is none.
	beside := map[string]string{
		"get_cron_job": "", "update_cron_job": `,"task":"x"`, "delete_cron_job": "", "run_cron_job": "", "pause_cron_job": "", "resume_cron_job": "",
		"list_cron_runs": "", "get_cron_run": "", "create_cron_job": "-", "list_cron_jobs": "-", "preview_schedule": "-", "get_cron_status": "-",
	}
	var list struct {
		Result struct {
			Tools []struct {
				Name        string
				InputSchema struct{ Properties map[string]any }
			}
		}
	}
	if err := json.Unmarshal([]byte(call(`"method":"tools/list"`)), &list); err != nil {
		c.p.t.Fatal(err)
	}
	for _, tool := range list.Result.Tools {
		more, known := beside[tool.Name]
		delete(beside, tool.Name)
		ids, name := jobs, "jobId"
		if _, ok := tool.InputSchema.Properties["runId"]; ok {
			ids, name = runs, "runId"
		}
		if _, takes := tool.InputSchema.Properties[name]; !known || takes == (more == "-") {
			c.p.t.Errorf("%s: say what the holder of a token may do with it", tool.Name)
			continue
		} else if !takes {
			continue
		}
		for theirs, nobodys := range ids {
			with := func(id string) string {
				return call(`"method":"tools/call","params":{"name":"` + tool.Name + `","arguments":{"` + name + `":"` + id + `"` + more + `}}`)
			}
			answer, want := with(theirs), strings.ReplaceAll(with(nobodys), nobodys, theirs)
			if answer != want || !strings.Contains(answer, `"isError":true`) {
				c.p.t.Errorf("%s of %s: %s\nas if it were not there: %s", tool.Name, theirs, answer, want)
			}
		}
	}
	if len(beside) > 0 {
		c.p.t.Errorf("tools that there are not: %v", beside)
	}
	// The token is taken, so that nothing above was refused for another reason.
	if answer := call(`"method":"tools/call","params":{"name":"list_cron_jobs"}`); strings.Contains(answer, `"isError":true`) || !strings.Contains(answer, `"jobs":[]`) {
		c.p.t.Errorf("list_cron_jobs: %s", answer)
	}
	const create = `"method":"tools/call","params":{"name":"create_cron_job","arguments":{"schedule":"0 9 1 1 *","task":"x","agentId":"other","sessionKey":"agent:other:secret"}}`
	if answer := call(create); !strings.Contains(answer, `"isError":true`) {
		c.p.t.Errorf("a job of another was made: %s", answer)
	}
}

func TestATokenIsAsGoodAsTheAdministratorsForItsOwn(t *testing.T) {
	admin := guardedDeployment(t)
	_, agent := admin.make(`{"name":"own","agentId":"other"}`)
	_, session := admin.make(`{"name":"own","sessionKey":"agent:other:talk"}`)
	for key, who := range map[string]caller{"agent:other:cron:mine": agent, "agent:other:talk": session} {
		var run struct{ ID, SessionKey string }
		who.want(201, "POST", "/api/cron/jobs", `{"id":"mine","schedule":"0 9 1 1 *","task":"x","channel":null}`, nil)
		who.want(200, "PATCH", "/api/cron/jobs/mine", `{"task":"hello there"}`, nil)
		who.want(200, "POST", "/api/cron/jobs/mine/run?wait=60", "", &run)
		if run.SessionKey != key {
			t.Errorf("it ran in %s, want %s", run.SessionKey, key)
		}
		for _, path := range []string{"/api/cron/jobs", "/api/cron/jobs/mine", "/api/cron/jobs/mine/runs", "/api/cron/runs", "/api/cron/runs/" + run.ID,
			"/api/cron/runs/" + run.ID + "/events", "/api/cron/upcoming", "/api/cron/export", "/api/cron/audit?target=mine", "/api/cron/audit?target=" + run.ID} {
			if answer := who.want(200, "GET", path, "", nil); !strings.Contains(answer, "mine") && !strings.Contains(path, "target="+run.ID) {
				t.Errorf("GET %s does not tell of the job: %s", path, answer)
			}
		}
		if answer := who.want(200, "GET", "/api/sessions/"+key, "", nil); !strings.Contains(answer, "hello there") {
			t.Errorf("session: %s", answer)
		}
		for _, out := range []string{`{"agentId":"main"}`, `{"agentId":null}`, `{"sessionKey":"agent:main:talk"}`} {
			who.want(403, "PATCH", "/api/cron/jobs/mine", out, nil)
		}
		who.want(200, "POST", "/api/cron/jobs/mine/pause", "", nil)
		who.want(200, "POST", "/api/cron/jobs/mine/resume", "", nil)
		who.want(200, "DELETE", "/api/cron/jobs/mine", "", nil)
		who.want(200, "GET", "/api/cron/runs/"+run.ID, "", nil)
		who.want(404, "GET", "/api/cron/audit?target=mine", "", nil)
	}
	if audit := admin.want(200, "GET", "/api/cron/audit", "", nil); !regexp.MustCompile(`"actor":"token:[a-z0-9]+ own"`).MatchString(audit) {
		t.Errorf("the audit does not name the token: %s", audit)
	}
}

// TestAJobOfTheSameIdHasNoPast: what was under an id before belongs to who was there.
func TestAJobOfTheSameIdHasNoPast(t *testing.T) {
	admin := guardedDeployment(t)
	_, agent := admin.make(`{"name":"own","agentId":"main"}`)
	admin.want(201, "POST", "/api/cron/jobs", `{"id":"again","schedule":"0 9 1 1 *","task":"x","name":"a secret","agentId":"other"}`, nil)
	admin.want(200, "POST", "/api/cron/jobs/again/run?wait=60", "", nil)
	admin.want(200, "DELETE", "/api/cron/jobs/again", "", nil)
	agent.want(201, "POST", "/api/cron/jobs", `{"id":"again","schedule":"0 9 1 1 *","task":"x"}`, nil)
	for _, path := range []string{"/api/cron/jobs/again/runs", "/api/cron/runs?jobId=again", "/api/cron/audit?target=again"} {
		if answer := agent.want(200, "GET", path, "", nil); strings.Contains(answer, "secret") || strings.Contains(answer, "manual") {
			t.Errorf("GET %s tells of the job before: %s", path, answer)
		}
	}
}

func TestTheQuotasOfAToken(t *testing.T) {
	admin := guardedDeployment(t)
	id, who := admin.make(`{"name":"small","agentId":"main","maxJobs":2,"minIntervalSeconds":3600,"maxRunsPerDay":1}`)
	for _, often := range []string{`"every":3599`, `"schedule":"*/30 * * * *"`, `"schedule":"0,59 0,23 1,2 * *"`} {
		if status, answer := who.call("POST", "/api/cron/jobs", `{"task":"x",`+often+`}`); status != 400 || !strings.Contains(answer, "3600 seconds") {
			t.Errorf("%s: %d %s", often, status, answer)
		}
	}
	who.want(201, "POST", "/api/cron/jobs", `{"id":"a","task":"x","schedule":"0 * * * *","timezone":"Europe/Berlin"}`, nil)
	who.want(201, "POST", "/api/cron/jobs", `{"id":"b","task":"x","every":3600}`, nil)
	who.want(400, "PATCH", "/api/cron/jobs/b", `{"every":60}`, nil)
	who.want(403, "POST", "/api/cron/jobs", `{"id":"c","task":"x","every":3600}`, nil)
	who.want(200, "DELETE", "/api/cron/jobs/a", "", nil)
	who.want(201, "POST", "/api/cron/jobs", `{"id":"c","task":"x","every":3600}`, nil)

	who.want(202, "POST", "/api/cron/jobs/b/run", "", nil)
	who.want(429, "POST", "/api/cron/jobs/c/run", "", nil)
	admin.want(202, "POST", "/api/cron/jobs/c/run", "", nil)

	if list := admin.want(200, "GET", "/api/cron/tokens", "", nil); !strings.Contains(list, `"jobs":2`) || strings.Contains(list, who.token) {
		t.Errorf("tokens: %s", list)
	}
	admin.want(200, "DELETE", "/api/cron/tokens/"+id, "", nil)
	who.want(401, "GET", "/api/cron/jobs", "", nil)
	admin.want(200, "DELETE", "/api/cron/tokens/"+id, "", nil)
	admin.want(404, "DELETE", "/api/cron/tokens/none", "", nil)
	admin.want(200, "GET", "/api/cron/jobs/c", "", nil)
	if log := admin.p.log.String(); strings.Contains(log, who.token) {
		t.Error("the token is in the log")
	}
}
