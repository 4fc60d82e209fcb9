package app

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/oapitest"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// These tests write what the ai-server's tools send, byte for byte, on a connection of
// their own: no client between them and the product tidies anything up.

// wire is a connection to a process.
type wire struct {
	t       testing.TB
	conn    net.Conn
	r       *bufio.Reader
	headers string // of every request
}

// style is how a client puts its requests.
type style struct {
	headers       string // %s is the host
	authorization string // %s is the token
	onDelete      string // header of a DELETE, which has no body
}

// The tools are run by Node, and shipped in a binary with a fetch of its own. Both send
// their content type with every method, also without a body.
var (
	asNode = style{"host: %s\r\nconnection: keep-alive\r\ncontent-type: application/json\r\naccept: */*\r\n" +
		"accept-language: *\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\naccept-encoding: gzip, deflate\r\n",
		"authorization: Bearer %s", ""}
	asShipped = style{"Content-Type: application/json\r\nConnection: keep-alive\r\nUser-Agent: Bun/1.3.5\r\nAccept: */*\r\n" +
		"Host: %s\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n",
		"Authorization: Bearer %s", noBody}
)

func dial(t testing.TB, p *process, headers ...string) *wire {
	t.Helper()
	return asNode.dial(t, p, headers...)
}

func (s style) dial(t testing.TB, p *process, headers ...string) *wire {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf(s.headers, p.Addr())
	for _, h := range headers {
		all += h + "\r\n"
	}
	return &wire{t, conn, bufio.NewReader(conn), all}
}

// answered is an answer as it came.
type answered struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

// send writes a request, its headers as they are given, and reads the answer. In slices
// of so many bytes, 0 for all at once.
func (w *wire) send(method, path, headers, body string, slice int) answered {
	w.t.Helper()
	text := method + " " + path + " HTTP/1.1\r\n" + w.headers + headers + "\r\n" + body
	for part := range slices.Chunk([]byte(text), max(slice, 1)) {
		if slice == 0 {
			part = []byte(text)
		}
		if _, err := w.conn.Write(part); err != nil {
			w.t.Fatalf("%s %s: %v", method, path, err)
		}
		if slice == 0 {
			break
		}
	}
	return w.read(method, path)
}

func (w *wire) read(method, path string) answered {
	w.t.Helper()
	res, err := http.ReadResponse(w.r, &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	a := answered{status: res.StatusCode, header: res.Header, raw: string(raw)}
	if err := json.Unmarshal(raw, &a.body); err != nil {
		w.t.Fatalf("%s %s: %d, no JSON: %v\n%s", method, path, a.status, err, raw)
	}
	return a
}

func (w *wire) post(path, body string) answered {
	w.t.Helper()
	return w.send("POST", path, fmt.Sprintf("content-length: %d\r\n", len(body)), body, 0)
}

const noBody = "content-length: 0\r\n"

// bootWired is a process that only serves, and knows a channel. The clock and the store
// are real.
func bootWired(t testing.TB, token string) *process {
	t.Helper()
	p := boot(t, Roles{API: true}, func(c *config.Config) {
		c.RedisURL, c.Token, c.ChannelManagerURL = redistest.Fresh(t).URL(), token, "http://127.0.0.1:9"
	})
	eventually(t, "the API is ready", func() bool { return p.status("/readyz") == http.StatusOK })
	return p
}

// TestTools has each of the tools do what it is for, on one connection.
func TestTools(t *testing.T) {
	for _, tc := range []struct {
		name, token string
		style       style
	}{
		{"by Node, without a token", "", asNode},
		{"by Node, with a token", "s3cret-token-of-some-length", asNode},
		{"as shipped, without a token", "", asShipped},
		{"as shipped, with a token", "s3cret-token-of-some-length", asShipped},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := bootWired(t, tc.token)
			var headers []string
			if tc.token != "" {
				headers = append(headers, fmt.Sprintf(tc.style.authorization, tc.token))
				for _, wrong := range [][]string{nil, {"authorization: Bearer wrong"}, {"authorization: " + tc.token}} {
					a := tc.style.dial(t, p, wrong...).send("GET", "/api/cron/jobs", "", "", 0)
					if a.status != http.StatusUnauthorized || a.header.Get("Content-Type") != "application/problem+json" {
						t.Errorf("with %v: %d %s", wrong, a.status, a.raw)
					}
				}
			}
			for _, slice := range []int{0, 1, 7} {
				w := tc.style.dial(t, p, headers...)
				body := `{"schedule":"0 9 * * 1-5","agent_id":"main","session_key":"agent:main:telegram:dm:123","channel":"telegram","chat_id":"123","peer_id":"123","is_group":false,"task":"Morning summary – ☀️"}`
				made := w.send("POST", "/api/cron/jobs", fmt.Sprintf("content-length: %d\r\n", len(body)), body, slice)
				id, _ := made.body["id"].(string)
				if made.status != http.StatusCreated || id == "" || made.body["chatId"] != "123" || made.body["isGroup"] != false ||
					made.body["sessionKey"] != "agent:main:telegram:dm:123" || made.body["task"] != "Morning summary – ☀️" || made.body["nextRunAt"] == nil {
					t.Fatalf("create: %d %s", made.status, made.raw)
				}
				list := w.send("GET", "/api/cron/jobs", "", "", slice)
				if jobs, _ := list.body["jobs"].([]any); list.status != http.StatusOK || len(jobs) != 1 {
					t.Errorf("list: %d %s", list.status, list.raw)
				}
				if got := w.send("GET", "/api/cron/jobs/"+id, "", "", slice); got.status != http.StatusOK || got.body["id"] != id {
					t.Errorf("get: %d %s", got.status, got.raw)
				}
				ran := w.send("POST", "/api/cron/jobs/"+id+"/run", noBody, "", slice)
				if run, _ := ran.body["runId"].(string); ran.status != http.StatusAccepted || ran.body["id"] != id || !strings.HasPrefix(run, id+":") {
					t.Errorf("run: %d %s", ran.status, ran.raw)
				}
				// An id may come percent-encoded.
				gone := w.send("DELETE", "/api/cron/jobs/"+strings.Replace(id, "_", "%5F", 1), tc.style.onDelete, "", slice)
				if gone.status != http.StatusOK || gone.body["deleted"] != true {
					t.Errorf("delete: %d %s", gone.status, gone.raw)
				}
				if again := w.send("DELETE", "/api/cron/jobs/"+id, tc.style.onDelete, "", slice); again.status != http.StatusNotFound {
					t.Errorf("delete again: %d %s", again.status, again.raw)
				}
			}
		})
	}
}

// TestOddIDsOnTheWire is about ids that are none: no job may be touched, none be meant by
// mistake, and no redirect may turn a POST into a GET.
func TestOddIDsOnTheWire(t *testing.T) {
	p := bootWired(t, "")
	w := dial(t, p)
	made := w.post("/api/cron/jobs", `{"id":"a","schedule":"0 9 * * *","task":"x"}`)
	if made.status != http.StatusCreated {
		t.Fatalf("create: %d %s", made.status, made.raw)
	}
	asked := 0
	for _, id := range []string{"", "..", ".", "%2e%2e", "%2E", "%2F", "..%2F..", "a%2Frun", "%2Fa", "a%00", "%00", "%20", "%0d%0a", "*", "%2A", "A", "%C3%A4", "%ff",
		"%2561", "a%3Fx", "a%23", "undefined", "null", "[object%20Object]", "-1", strings.Repeat("a", 65), strings.Repeat("a", 4000), "a;b", "a,b", "a:b", "'a'", "%22a%22"} {
		for _, request := range []string{"GET /api/cron/jobs/" + id + "?", "DELETE /api/cron/jobs/" + id + "?", "POST /api/cron/jobs/" + id + "/run"} {
			if request == "GET /api/cron/jobs/?" {
				request = "GET /api/cron/jobs/"
			}
			method, path, _ := strings.Cut(strings.TrimSuffix(request, "?"), " ")
			a := w.send(method, path, noBody, "", 0)
			if (a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed) || a.header.Get("Location") != "" ||
				a.header.Get("Content-Type") != "application/problem+json" || len(a.raw) > 2<<10 {
				t.Errorf("%.100s: %d %v %s", request, a.status, a.header, a.raw)
			}
			asked++
		}
	}
	// What clients make of `..` before they send it.
	for _, request := range []string{"GET /api/cron/", "DELETE /api/cron/", "POST /api/cron/run", "POST /api/cron/jobs/run", "DELETE /api/cron/jobs", "PUT /api/cron/jobs/a",
		"POST /api/cron/pause", "POST /api/cron/resume",
		"GET /api/agents/subagents", "POST /api/agents/subagents/x/stop"} {
		method, path, _ := strings.Cut(request, " ")
		if a := w.send(method, path, noBody, "", 0); a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d %s", request, a.status, a.raw)
		}
		asked++
	}
	if a := w.send("GET", "/api/cron/jobs/a", "", "", 0); a.status != http.StatusOK || a.body["revision"] != made.body["revision"] || a.body["lastRunId"] != nil {
		t.Errorf("after %d requests: %d %s", asked, a.status, a.raw)
	}
}

// TestBadInputOnTheWire sends what models get wrong. Each is answered with one short
// problem that names the field and shows a value, and sending that works.
func TestBadInputOnTheWire(t *testing.T) {
	p := bootWired(t, "")
	w := dial(t, p)
	good := map[string]string{"schedule": `"0 9 * * 1-5"`, "task": `"x"`}
	long := func(n int) string { return `"` + strings.Repeat("a", n) + `"` }
	for _, tc := range []struct{ change, field string }{
		// A field and its value; - leaves it out. After semicolons, what else it needs. Then
		// the field that is named and, if another takes the value that is shown, that one: *
		// is the whole body.
		{"schedule -", "schedule"}, {`schedule ""`, "schedule"}, {`schedule "every day at 9"`, "schedule"}, {`schedule "0 9 * *"`, "schedule"},
		{`schedule "0 0 9 * * 1-5"`, "schedule"}, {`schedule "60 9 * * *"`, "schedule"}, {`schedule "0 25 * * *"`, "schedule"}, {`schedule "0 9 31 2 *"`, "schedule"},
		{`schedule "0 9 * * 8"`, "schedule"}, {`schedule "@reboot"`, "schedule"}, {`schedule "*/0 * * * *"`, "schedule"}, {"schedule 9", "schedule"}, {`schedule ["0 9 * * *"]`, "schedule"},
		{"schedule " + long(300), "schedule"}, {`timezone "CET+1"`, "timezone"}, {`timezone "europe/berlin!"`, "timezone"}, {`timezone "Local"`, "timezone"}, {"timezone 1", "timezone"},
		{"task -", "task"}, {`task ""`, "task"}, {`task "  "`, "task"}, {"task 7", "task"}, {`task {"text":"x"}`, "task"}, {"task " + long(65537), "task"}, {`task "\u0000"`, "task"},
		{"max_runs 0", "max_runs"}, {"max_runs -1", "max_runs"}, {"max_runs 1.5", "max_runs"}, {`max_runs "3"`, "max_runs"}, {"max_runs 1000001", "max_runs"}, {"maxRuns 1e9", "maxRuns"},
		{`enabled "true"`, "enabled"}, {"enabled 1", "enabled"}, {`is_group "no"`, "is_group"}, {`agent_id "a b"`, "agent_id"}, {"agent_id " + long(201), "agent_id"},
		{`session_key "a//b"`, "session_key"}, {`model "a\nb"`, "model"}, {"reasoning_effort 3", "reasoning_effort"}, {`channel "Tele gram"; chat_id "1"`, "channel"}, {`chat_id "123"`, "channel"},
		{`channel "telegram"`, "chatId"}, {`chat_id 1.5; channel "telegram"`, "chat_id"}, {`chat_id {"id":1}; channel "telegram"`, "chat_id"}, {`overlap "never"`, "overlap"}, {`misfire "all"`, "misfire"},
		{"timeout_seconds 0", "timeout_seconds"}, {"timeoutSeconds 99999", "timeoutSeconds"}, {"every 5", "every"}, {`every "1h"`, "every"}, {`at "tomorrow"`, "at"}, {"at 1774612800", "at"},
		{`at "2027-03-28 12:00"`, "at"}, {`labels "daily"`, "labels"}, {`labels ["Daily!"]`, "labels"}, {"retry_delays_seconds [0]", "retry_delays_seconds"}, {"maxRetries 11", "maxRetries"},
		{`id "Morning Summary"`, "id"}, {`shedule "0 9 * * *"`, "shedule schedule"}, {`prompt "x"`, "prompt task"}, {`cron "0 9 * * *"`, "cron schedule"}, {"nextRunAt 1", "nextRunAt *"}, {`name "a\nb"`, "name"},
		{"priority 1", "priority *"}, {`at "2090-01-01T00:00:00Z"; schedule "0 9 * * *"`, "at"}, {`every 60; schedule "0 9 * * *"`, "every"}, {`every 60; at "2090-01-01T00:00:00Z"`, "at"},
		{`max_runs 2; at "2090-01-01T00:00:00Z"; schedule -`, "max_runs"}, {`startAt "2089-01-01T00:00:00Z"; at "2090-01-01T00:00:00Z"; schedule -`, "startAt"},
		{`end_at "2089-01-01T00:00:00Z"; start_at "2090-01-01T00:00:00Z"`, "end_at"}, {`session_key "a"; context "isolated"`, "session_key"},
	} {
		t.Run(fmt.Sprintf("%.40s", tc.change), func(t *testing.T) {
			w.t = t
			fields := maps.Clone(good)
			if strings.HasPrefix(tc.change, "every ") || strings.HasPrefix(tc.change, "at ") {
				delete(fields, "schedule")
			}
			for change := range strings.SplitSeq(tc.change, "; ") {
				name, value, _ := strings.Cut(change, " ")
				if fields[name] = value; value == "-" {
					delete(fields, name)
				}
			}
			a := w.post("/api/cron/jobs", objectOf(fields))
			field, better, another := strings.Cut(tc.field, " ")
			shown := refusedFor(t, a, field)
			switch {
			case better == "*":
				checkWorks(w, a, shown, shown)
				return
			case another:
				delete(fields, field)
				fields[better] = shown
			default:
				fields[field] = shown
			}
			checkWorks(w, a, shown, objectOf(fields))
		})
	}
	for _, body := range []string{"", " ", "{", "[]", "null", `"x"`, "7", "schedule=x", `{"task":"x"}{}`, "\xff", "{'task':'x'}"} {
		t.Run("body "+body, func(t *testing.T) {
			w.t = t
			a := w.post("/api/cron/jobs", body)
			shown := refusedFor(t, a, "body")
			checkWorks(w, a, shown, shown)
		})
	}
	for field, twice := range map[string]string{"name": `"name":"a","name":"b"`, "agent_id": `"agentId":"a","agent_id":"b"`} {
		t.Run(field+" twice", func(t *testing.T) {
			w.t = t
			const rest = `{"schedule":"0 9 * * *","task":"x",`
			a := w.post("/api/cron/jobs", rest+twice+"}")
			shown := refusedFor(t, a, field)
			checkWorks(w, a, shown, rest+strconv.Quote(field)+":"+shown+"}")
		})
	}
}

// checkWorks checks that a value was shown, and that the body with it is accepted.
func checkWorks(w *wire, refusal answered, shown, body string) {
	w.t.Helper()
	if shown == "" {
		w.t.Errorf("no value that works is shown: %s", refusal.raw)
		return
	}
	if a := w.post("/api/cron/jobs", body); a.status != http.StatusCreated {
		w.t.Errorf("%s\nand with %s: %d %s", refusal.raw, shown, a.status, a.raw)
	}
}

// TestBadRequestsOnTheWire does the same with what is not a new job.
func TestBadRequestsOnTheWire(t *testing.T) {
	p := bootWired(t, "")
	w := dial(t, p)
	if a := w.post("/api/cron/jobs", `{"id":"a","schedule":"0 9 * * *","task":"x"}`); a.status != http.StatusCreated {
		t.Fatalf("create: %d %s", a.status, a.raw)
	}
	const jobs, one = "/api/cron/jobs", "/api/cron/jobs/a"
	for _, tc := range []struct {
		method, path, header, body, field string
		// better is what of the request takes the value that is shown: a body or a query
		// with %s, or a header; "" where that is not tried.
		better string
	}{
		{"PATCH", one, "", `{}`, "body", "%s"},
		{"PATCH", one, "", `{"max_runs":0}`, "max_runs", `{"max_runs":%s}`},
		{"PATCH", one, "", `{"enabled":null}`, "enabled", `{"enabled":%s}`},
		{"PATCH", one, "", `{"schedule":"0 9 * * 9"}`, "schedule", `{"schedule":%s}`},
		{"PATCH", one, "", `{"id":"b"}`, "id", `{"id":%s,"name":"n"}`},
		{"PATCH", one, "", `{"timezone":"Mars"}`, "timezone", `{"timezone":%s}`},
		{"POST", one + "/pause", "", `{"reason":1}`, "reason", `{"reason":%s}`},
		{"POST", one + "/run", "", `{"x":1}`, "x", "%s"},
		{"POST", one + "/run?wait=0", "", "", "wait", ""},
		{"DELETE", one + "?all=true", "", "", "all", ""},
		{"DELETE", one, "if-match: 3\r\n", "", "If-Match", ""},
		{"POST", jobs, "idempotency-key: \r\n", `{"schedule":"0 9 * * *","task":"x"}`, "Idempotency-Key", "idempotency-key: %s\r\n"},
		{"GET", jobs + "?limit=0", "", "", "limit", "?limit=%s"},
		{"GET", jobs + "?enabled=yes", "", "", "enabled", "?enabled=%s"},
		{"GET", jobs + "?label=No!", "", "", "label", "?label=%s"},
		{"GET", jobs + "?nextBefore=soon", "", "", "nextBefore", "?nextBefore=%s"},
		{"GET", jobs + "?status=failed", "", "", "status", "?%s"},
		{"GET", "/api/cron/runs?outcome=bad", "", "", "outcome", "?outcome=%s"},
		{"GET", "/api/cron/runs?state=x", "", "", "state", "?state=%s"},
		{"GET", "/api/cron/upcoming?within=1d", "", "", "within", "?within=%s"},
		{"GET", "/api/cron/audit?target=A", "", "", "target", "?target=%s"},
		{"POST", "/api/cron/preview", "", `{"schedule":"0 9 * * *","count":51}`, "count", `{"schedule":"0 9 * * *","count":%s}`},
		{"POST", "/api/cron/preview", "", `{"schedule":"0 9 * * *","after":"now"}`, "after", `{"schedule":"0 9 * * *","after":%s}`},
		{"POST", "/api/cron/all/pause", "", `{"cancelRuns":"yes"}`, "cancelRuns", `{"cancelRuns":%s}`},
	} {
		t.Run(tc.method+" "+tc.path+" "+tc.body, func(t *testing.T) {
			w.t = t
			length := func(body string) string { return fmt.Sprintf("content-length: %d\r\n", len(body)) }
			shown := refusedFor(t, w.send(tc.method, tc.path, tc.header+length(tc.body), tc.body, 0), tc.field)
			if tc.better == "" {
				return
			}
			path, _, _ := strings.Cut(tc.path, "?")
			header, body, better := tc.header, tc.body, fmt.Sprintf(tc.better, shown)
			switch {
			case better[0] == '?':
				path += better
			case header != "":
				header = better
			default:
				body = better
			}
			if a := w.send(tc.method, path, header+length(body), body, 0); shown == "" || a.status >= 300 {
				t.Errorf("with %q: %d %s", better, a.status, a.raw)
			}
		})
	}
}

func objectOf(fields map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		parts = append(parts, strconv.Quote(name)+":"+fields[name])
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// refusedFor checks a refusal and returns the value that it shows, if it shows one.
func refusedFor(t *testing.T, a answered, field string) (shown string) {
	t.Helper()
	if a.status != http.StatusBadRequest || a.header.Get("Content-Type") != "application/problem+json" || len(a.raw) > 2<<10 {
		t.Fatalf("%d %v %d bytes: %s", a.status, a.header, len(a.raw), a.raw)
	}
	detail, _ := a.body["detail"].(string)
	problems, _ := a.body["problems"].([]any)
	if len(problems) != 1 || !strings.Contains(detail, field) {
		t.Fatalf("not one problem that names %s: %s", field, a.raw)
	}
	problem, _ := problems[0].(map[string]any)
	if problem["field"] != field {
		t.Errorf("the field is %v, not %s: %s", problem["field"], field, a.raw)
	}
	shown, _ = problem["example"].(string)
	return shown
}

// TestAnyRequestOnTheWire sends what the document of the API allows, and what it does
// not, to the product with a real store: no answer is a failure of ours, each is one of
// the document, and the connection goes on. The holder of a token is answered by the
// document as well, and hears nothing of others.
func TestAnyRequestOnTheWire(t *testing.T) {
	t.Run("of anybody", func(t *testing.T) { anyRequest(t, bootWired(t, ""), "") })
	t.Run("with a token", func(t *testing.T) {
		admin := caller{p: bootWired(t, "administrator"), token: "administrator"}
		_, agent := admin.make(`{"name":"tools","agentId":"main"}`)
		admin.want(http.StatusCreated, "POST", "/api/cron/jobs", `{"id":"gone","agentId":"other","schedule":"0 9 * * *","task":"a secret of other"}`, nil)
		anyRequest(t, agent.p, agent.token)
		admin.want(http.StatusOK, "GET", "/api/cron/jobs/gone", "", nil)
	})
}

func anyRequest(t *testing.T, p *process, token string) {
	_, _, document := p.call("GET", "/openapi.json", "")
	doc, err := oapitest.Load([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	var headers []string
	if token != "" {
		headers = append(headers, "authorization: Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	first := dial(t, p, headers...)
	known := map[string][]string{"/api/cron/jobs/": {"gone", "a", "b"}, "/api/cron/runs/": {"a:manual:01JZ0000000000000000000000"}, "/api/sessions/": {"agent:main:cron:a"}}
	for _, id := range []string{"a", "b"} {
		first.post("/api/cron/jobs", `{"id":"`+id+`","schedule":"0 9 * * *","task":"x","channel":"telegram","chatId":"1"}`)
		if run, ok := first.post("/api/cron/jobs/"+id+"/run", "").body["runId"].(string); ok {
			known["/api/cron/runs/"] = append(known["/api/cron/runs/"], run)
		}
	}
	var operations []*oapitest.Operation
	for _, op := range doc.Operations {
		// A stream of a run that nobody carries out has no end.
		if op.ID != "runEvents" {
			operations = append(operations, op)
		}
	}
	accepted := 0
	rapid.Check(t, func(rt *rapid.T) {
		for range 5 {
			op := rapid.SampledFrom(operations).Draw(rt, "operation")
			r := op.Request(rt, known)
			req, err := http.NewRequestWithContext(t.Context(), r.Method, "http://"+p.Addr()+r.Target, bytes.NewReader(r.Body))
			if err != nil {
				rt.Fatalf("%v: %v", r, err)
			}
			for name, value := range r.Header {
				req.Header.Set(name, value)
			}
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			res, err := client.Do(req)
			if err != nil {
				rt.Fatalf("%v: %v", r, err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil {
				rt.Fatalf("%v: %v", r, err)
			}
			// With full it says how the deployment stands, which here has no scheduler.
			notReady := op.ID == "readyz" && res.StatusCode == http.StatusServiceUnavailable
			if res.StatusCode >= 500 && !notReady || res.StatusCode >= 301 && res.StatusCode <= 308 && res.StatusCode != http.StatusNotModified {
				rt.Errorf("%v\nanswered %d %s", r, res.StatusCode, body)
			}
			if res.StatusCode < 300 {
				accepted++
			}
			if res.StatusCode == http.StatusUnauthorized || bytes.Contains(body, []byte("secret of other")) {
				rt.Errorf("%v\nanswered %d %s", r, res.StatusCode, body)
			}
			if err := op.CheckAnswer(res.StatusCode, res.Header, body); err != nil {
				rt.Errorf("%v\nanswered %d %s\n%v", r, res.StatusCode, body, err)
			}
		}
	})
	if t.Logf("%d requests were accepted", accepted); accepted < 50 {
		t.Error("those are too few to test much")
	}
	if a := dial(t, p, headers...).send("GET", "/api/cron/status", "", "", 0); a.status != http.StatusOK {
		t.Errorf("in the end: %d %s", a.status, a.raw)
	}
}
