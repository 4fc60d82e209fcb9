package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// asked is a request that the fake API got.
type asked struct {
	Method, URI, Body string
	Header            http.Header
}

// reply is an answer of the fake API.
type reply struct {
	status int // 0 is 200
	body   string
	header map[string]string
	serve  http.HandlerFunc // instead of all that
}

// fakeAPI answers what it is told to by method and path, the replies to one request in
// turn and the last of them for ever.
type fakeAPI struct {
	mu      sync.Mutex
	replies map[string][]reply
	got     []asked
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	key := r.Method + " " + r.URL.EscapedPath()
	f.mu.Lock()
	f.got = append(f.got, asked{r.Method, r.URL.RequestURI(), string(body), r.Header.Clone()})
	answers, ok := f.replies[key]
	if len(answers) > 1 {
		f.replies[key] = answers[1:]
	}
	f.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"title":"Not Found","status":404,"detail":"There is no such path."}`)
		return
	}
	a := answers[0]
	if a.serve != nil {
		a.serve(w, r)
		return
	}
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	io.WriteString(w, a.body)
}

// requests are the requests so far, as "METHOD URI BODY".
func (f *fakeAPI) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for _, a := range f.got {
		lines = append(lines, strings.TrimSpace(a.Method+" "+a.URI+" "+a.Body))
	}
	return lines
}

// last is the last request, but for whether everything is paused, which others ask along.
func (f *fakeAPI) last() asked {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range slices.Backward(f.got) {
		if a.URI != "/api/cron/status" {
			return a
		}
	}
	return asked{}
}

// bench is a command line with an API of its own, at a fixed time.
type bench struct {
	t              *testing.T
	api            *fakeAPI
	options        Options
	stdin          string
	env            map[string]string
	stdout, stderr strings.Builder
}

// monday is when everything in these tests happens.
func monday() time.Time { return time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC) }

func setup(t *testing.T, replies map[string][]reply) *bench {
	t.Helper()
	b := &bench{t: t, api: &fakeAPI{replies: replies}, env: map[string]string{}}
	b.options = Options{
		Settings: func(string) (string, string, error) { return "http://127.0.0.1:19790", "secret", nil },
		Getenv:   func(name string) string { return b.env[name] },
		Now:      monday, Transport: client.Handler(b.api),
	}
	return b
}

// run runs a command and answers its exit code, as main does.
func (b *bench) run(ctx context.Context, args ...string) int {
	b.t.Helper()
	b.stdout.Reset()
	b.stderr.Reset()
	o := b.options
	o.Stdin, o.Stdout, o.Stderr = strings.NewReader(b.stdin), &b.stdout, &b.stderr
	root := &cobra.Command{Use: "gateway-cron", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(Commands(o)...)
	root.SetArgs(args)
	root.SetOut(&b.stdout)
	root.SetErr(&b.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	b.stderr.WriteString(err.Error() + "\n")
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Code
	}
	return exitFailed
}

// ok runs a command that must succeed.
func (b *bench) ok(args ...string) string {
	b.t.Helper()
	if code := b.run(b.t.Context(), args...); code != 0 {
		b.t.Fatalf("%q: exit code %d: %s", args, code, b.stderr.String())
	}
	return b.stdout.String()
}

func (b *bench) file(name, content string) string {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func one200(body string) []reply { return []reply{{body: body}} }

const aJob = `{"id":"job_a","name":"Morning summary","schedule":"0 9 * * 1-5","timezone":"Europe/Berlin","enabled":true,"labels":["team:ops","daily"],
"channel":"telegram","chatId":"-100","isGroup":true,"task":"Summarise my inbox\n\nBe brief","maxRuns":10,"runsUsed":3,"misfire":"run_once","misfireGraceSeconds":3600,
"timeoutSeconds":600,"overlap":"skip","maxRetries":3,"retryDelaysSeconds":[30,60,300],"startAt":1793000000000,"failures":2,"madeBy":"digest",
"createdAt":1795420800000,"updatedAt":1795424400000,"lastRunAt":1795420800000,"lastRunId":"job_a:1795420800","lastOutcome":"failed","nextRunAt":1795507200000,
"next":["2026-11-24T08:00:00Z","2026-11-25T08:00:00Z","2026-11-26T08:00:00Z","2026-11-27T08:00:00Z","2026-11-30T08:00:00Z"],
"nextLocal":["x"],"description":"At 09:00 on weekdays"}`

func TestAddBody(t *testing.T) {
	const plainTask = `"task":"x"`
	for _, tt := range []struct {
		name, stdin string
		args        []string
		want        string
	}{
		{"schedule and task", "", []string{"0 9 * * 1-5", "Summarise my inbox"}, `{"schedule":"0 9 * * 1-5","task":"Summarise my inbox"}`},
		{"every", "", []string{"--every", "5m", "x"}, `{"every":300,` + plainTask + `}`},
		{"several units", "", []string{"--every", "1d12h", "x"}, `{"every":129600,` + plainTask + `}`},
		{"at", "", []string{"--at", "2027-01-01T09:00:00+01:00", "x"}, `{"at":"2027-01-01T09:00:00+01:00",` + plainTask + `}`},
		{"at on the clocks of a zone", "", []string{"x", "--at", "2027-01-01 09:00", "--tz", "Europe/Berlin"}, `{"at":"2027-01-01T09:00:00+01:00",` + plainTask + `,"timezone":"Europe/Berlin"}`},
		{"in", "", []string{"--in", "20m", "x"}, `{"at":"2026-11-23T14:20:00Z",` + plainTask + `}`},
		{"all by flags", "", []string{"--schedule", "@daily", "--task", "x"}, `{"schedule":"@daily",` + plainTask + `}`},
		{"the task from stdin", "line\nline\n", []string{"@daily", "-"}, `{"schedule":"@daily","task":"line\nline"}`},
		{"the task of a flag from stdin", "x", []string{"@daily", "--task", "-"}, `{"schedule":"@daily",` + plainTask + `}`},
		{"the task file from stdin", "x\r\n", []string{"@daily", "--task-file", "-"}, `{"schedule":"@daily",` + plainTask + `}`},
		{"an id", "", []string{"@daily", "x", "--id", "morning"}, `{"id":"morning","schedule":"@daily",` + plainTask + `}`},
		{"everything", "", []string{"@daily", "x", "--tz", "Europe/Berlin", "--start", "2027-01-01T00:00:00Z", "--end", "2027-02-01T00:00Z", "--jitter", "90s",
			"--name", "n", "--label", "a", "--label", "b", "--enabled=false", "--channel", "telegram", "--chat", "-100", "--peer", "1", "--thread", "2", "--group",
			"--deliver", "never", "--agent", "main", "--session", "s", "--context", "isolated", "--model", "m", "--effort", "high", "--allow-scheduling", "--max-runs", "3",
			"--overlap", "allow", "--misfire", "skip", "--misfire-grace", "2h", "--timeout", "1h", "--max-retries", "0", "--retry-delays", "30s,1m", "--on-ambiguous", "fail"},
			`{"schedule":"@daily","task":"x","timezone":"Europe/Berlin","startAt":"2027-01-01T00:00:00Z","endAt":"2027-02-01T00:00:00Z","jitterSeconds":90,
			"name":"n","labels":["a","b"],"enabled":false,"channel":"telegram","chatId":"-100","peerId":"1","threadId":"2","isGroup":true,"deliver":"never","agentId":"main",
			"sessionKey":"s","context":"isolated","model":"m","reasoningEffort":"high","allowScheduling":true,"maxRuns":3,"overlap":"allow","misfire":"skip",
			"misfireGraceSeconds":7200,"timeoutSeconds":3600,"maxRetries":0,"retryDelaysSeconds":[30,60],"onAmbiguous":"fail"}`},
		{"flags as the API writes them", "", []string{"--cron", "@daily", "--prompt", "x", "--timezone", "UTC", "--chatId", "1", "--agent_id", "a", "--timeoutSeconds", "5m", "--max_runs", "2"},
			`{"schedule":"@daily",` + plainTask + `,"timezone":"UTC","chatId":"1","agentId":"a","timeoutSeconds":300,"maxRuns":2}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t, map[string][]reply{"POST /api/cron/jobs": {{status: 201, body: aJob}}})
			b.stdin = tt.stdin
			b.ok(append([]string{"job", "add"}, tt.args...)...)
			sameBody(t, tt.want, b.api.last().Body)
			if key := b.api.last().Header.Get("Idempotency-Key"); len(key) < 20 || b.api.last().Header.Get("Authorization") != "Bearer secret" {
				t.Errorf("headers %v", b.api.last().Header)
			}
		})
	}
}

func sameBody(t *testing.T, want, got string) {
	t.Helper()
	var w, g any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("%v in %s", err, want)
	}
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	wanted, _ := json.Marshal(w)
	sent, _ := json.Marshal(g)
	if string(wanted) != string(sent) {
		t.Errorf("sent\n%s\nwant\n%s", sent, wanted)
	}
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string // in what is said
	}{
		{[]string{"job", "add"}, `when and what are missing, like: gateway-cron job add "0 9 * * 1-5" "Summarise my inbox"`},
		{[]string{"job", "add", "@daily"}, "there is one of schedule and task"},
		{[]string{"job", "add", "--task", "x"}, "the schedule is missing, one of:"},
		{[]string{"job", "add", "--every", "5m"}, "the task is missing"},
		{[]string{"job", "add", "--every", "5m", "--task", "x", "y"}, `"y" is too much`},
		{[]string{"job", "add", "0", "9", "*", "*", "1-5", "x"}, "quote the schedule"},
		{[]string{"job", "add", "@daily", "Summarise", "my"}, "quote the schedule and the task"},
		{[]string{"job", "add", "--every", "5m", "--in", "1h", "x"}, "--every and --in exclude each other"},
		{[]string{"job", "add", "--at", "2027-01-01T09:00:00Z", "--in", "1h", "x"}, "--at are the same thing"},
		{[]string{"job", "add", "--every", "5", "x"}, "needs a unit: 5s, 5m, 5h or 5d"},
		{[]string{"job", "add", "--every", "often", "x"}, "must be a duration like 90s"},
		{[]string{"job", "add", "--at", "tomorrow", "x"}, "--at must be a time like 2027-01-01T09:00:00+01:00"},
		{[]string{"job", "add", "--at", "2027-01-01 09:00", "x"}, "say with --tz"},
		{[]string{"job", "add", "@daily", "x", "--max-runs", "two"}, "must be a whole number"},
		{[]string{"job", "add", "@daily", "x", "--group=maybe"}, "must be true or false"},
		{[]string{"job", "add", "@daily", "--task", "x", "--task-file", "y"}, "exclude each other"},
		{[]string{"job", "add", "@daily", "--task-file", "/does/not/exist"}, "the task cannot be read"},
		{[]string{"job", "add", "@daily", "-"}, "the task is empty"},
		{[]string{"job", "add", "@daily", "x", "--frob"}, "unknown flag: --frob"},
		{[]string{"token", "create", "--agent", "a"}, "--name is missing"},
		{[]string{"token", "create", "--name", "n"}, "one of --agent and --session is needed"},
		{[]string{"token", "create", "--name", "n", "--agent", "a", "--min-interval", "5"}, "needs a unit"},
		{[]string{"token", "revoke"}, "the id of a token is missing"},
		{[]string{"job", "frob"}, `unknown command "frob"`},
		{[]string{"job", "show"}, "the id of a job is missing"},
		{[]string{"job", "show", ""}, "the id of a job is empty"},
		{[]string{"job", "rm", "a", "b"}, `one job at a time, not "b" too`},
		{[]string{"run", "show"}, "the id of a run is missing"},
		{[]string{"job", "list", "a"}, "takes no argument"},
		{[]string{"job", "list", "--limit", "0"}, "--limit must be at least 1"},
		{[]string{"job", "edit", "a"}, "nothing to change"},
		{[]string{"job", "edit", "a", "--editor", "--name", "n"}, "--editor goes without"},
		{[]string{"job", "edit", "a", "--clear", "frob"}, "there is no such field"},
		{[]string{"job", "edit", "a", "--clear", "name", "--name", "n"}, "exclude each other"},
		{[]string{"job", "next", "a", "--schedule", "@daily"}, "either a job or a schedule"},
		{[]string{"job", "next", "a", "--count", "9"}, "--count is for"},
		{[]string{"job", "import"}, "name one file"},
		{[]string{"job", "import", "/does/not/exist"}, "the file cannot be read"},
		{[]string{"status", "now"}, "takes no argument"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			b := setup(t, nil)
			code := b.run(t.Context(), tt.args...)
			if said := b.stderr.String(); code != exitUsage || !strings.Contains(said, tt.want) || !strings.Contains(said, " --help' for usage.") {
				t.Errorf("exit code %d: %s", code, said)
			}
			if len(b.api.requests()) > 0 || b.stdout.String() != "" {
				t.Errorf("it did something: %q %s", b.api.requests(), b.stdout.String())
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	problem := func(status int, problems string) []reply {
		return []reply{{status: status, body: `{"title":"T","detail":"What to do."` + problems + `}`}}
	}
	for _, tt := range []struct {
		name    string
		replies []reply
		code    int
		want    string
	}{
		{"no such job", problem(404, ""), exitNotFound, "What to do.\n"},
		{"a job that has had its runs", problem(410, `,"ended":{"id":"a"}`), exitNotFound, "What to do.\nSee 'gateway-cron job runs a'.\n"},
		{"a key that was used", problem(410, ""), exitRefused, "What to do.\n"},
		{"conflict", problem(409, ""), exitRefused, "What to do.\n"},
		{"changed meanwhile", problem(412, ""), exitRefused, "What to do.\n"},
		{"too many", problem(429, ""), exitRefused, "What to do.\n"},
		{"no token", problem(401, ""), exitRefused, "What to do.\nSet GATEWAY_CRON_TOKEN or GATEWAY_CRON_TOKEN_FILE, or give --token-file.\n"},
		{"not for terminals", []reply{{status: 409, body: `{"detail":"a\u001b[2Jb"}`}}, exitRefused, "a[2Jb\n"},
		{"broken", problem(500, ""), exitFailed, "What to do.\n"},
		{"no store", problem(503, ""), exitUnreachable, "What to do.\n"},
		{"no API", []reply{{status: 502, body: "<html>"}}, exitUnreachable, "127.0.0.1:19790 answered 502 Bad Gateway; is it the API?\n"},
		{"a redirect", []reply{{status: 302}}, exitFailed, "127.0.0.1:19790 answered 302 Found; is it the API?\n"},
		{"problems", problem(400, `,"problems":[{"field":"maxRuns","detail":"must be more.","example":"1"},{"field":"timeoutSeconds","detail":"is too much","example":"900"},{"field":"at","detail":"must stand alone","example":"null"},{"field":"body","detail":"is \u001b[31modd"}]`),
			exitRefused, "not accepted:\n  --max-runs must be more, for example 1\n  --timeout is too much (seconds), for example 15m\n  --at must stand alone\n  body is [31modd\n"},
		{"a schedule", problem(400, `,"problems":[{"field":"schedule","detail":"is none"}]`),
			exitRefused, "not accepted:\n  --schedule is none\nDid you mean \"0 9 * * 1-5\"?\n"},
		{"not JSON", one200("<html>"), exitFailed, "the API's answer is not what it should be: invalid character '<' looking for beginning of value\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t, map[string][]reply{"POST /api/cron/jobs": tt.replies})
			code := b.run(t.Context(), "job", "add", "every weekday at 9", "x")
			if code != tt.code || b.stderr.String() != tt.want || b.stdout.String() != "" {
				t.Errorf("exit code %d, want %d; said\n%q, want\n%q", code, tt.code, b.stderr.String(), tt.want)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"jobs":[],"path":"`+r.URL.Path+" "+r.Header.Get("Authorization")+`"}`)
	}))
	defer srv.Close()
	b := setup(t, nil)
	b.options.Transport = nil
	b.options.Settings = func(tokenFile string) (string, string, error) { return "http://127.0.0.1:1", tokenFile, nil }
	if out := b.ok("job", "list", "--json", "--url", srv.URL+"/prefix/", "--token-file", "T"); !strings.Contains(out, `"/prefix/api/cron/jobs Bearer T"`) {
		t.Errorf("%s", out)
	}
	for _, tt := range []struct {
		args     []string
		settings error
		code     int
		want     string
	}{
		{[]string{"status"}, nil, exitUnreachable, "Is it running ('gateway-cron serve')?"},
		{[]string{"status", "--url", "localhost:1"}, nil, exitUsage, "--url or GATEWAY_CRON_URL names it"},
		{[]string{"status"}, errors.New("the settings are wrong"), exitUsage, "the settings are wrong"},
	} {
		b.options.Settings = func(string) (string, string, error) { return "http://127.0.0.1:1", "hunter2", tt.settings }
		if code := b.run(t.Context(), tt.args...); code != tt.code || !strings.Contains(b.stderr.String(), tt.want) || strings.Contains(b.stderr.String(), "hunter2") {
			t.Errorf("%q: %d %s", tt.args, code, b.stderr.String())
		}
	}
}

// TestManyCommandsInARow: a loop of commands succeeds whatever the limit is, and says when it
// takes its time.
func TestManyCommandsInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var served time.Time
		made := 0
		b := setup(t, map[string][]reply{"POST /api/cron/jobs": {{serve: func(w http.ResponseWriter, _ *http.Request) {
			if wait := 7*time.Second - time.Since(served); wait > 0 {
				w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
				w.WriteHeader(http.StatusTooManyRequests)
				io.WriteString(w, `{"detail":"Too many requests."}`)
				return
			}
			served = time.Now()
			made++
			w.WriteHeader(http.StatusCreated)
			io.WriteString(w, `{"id":"a"}`)
		}}}})
		for n := range 40 {
			b.ok("job", "add", "@daily", "x")
			told := "the API asks to wait: trying again in 7s; Ctrl-C gives up\n"
			if n == 0 {
				told = ""
			}
			if got := b.stderr.String(); got != told {
				t.Fatalf("command %d said %q", n+1, got)
			}
		}
		if made != 40 {
			t.Errorf("%d jobs", made)
		}
	})
}

// TestStopsWaitForNoOtherRequest: what a command wants to know besides is left out where the
// API has no time for it.
func TestStopsWaitForNoOtherRequest(t *testing.T) {
	busy := reply{status: http.StatusTooManyRequests, body: `{"detail":"Too many requests."}`, header: map[string]string{"Retry-After": "60"}}
	synctest.Test(t, func(t *testing.T) {
		const note = "The ai-server may go on with 1 turn, and act: it cannot be stopped from here, only by ending the ai-server."
		b := setup(t, map[string][]reply{
			"GET /api/cron/jobs/a":           {busy},
			"POST /api/cron/runs/a:1/cancel": {{body: `{"id":"a:1","jobId":"a","state":"done","outcome":"cancelled","abandonedTurns":1,"note":"` + note + `"}`}},
			"DELETE /api/cron/jobs/a":        {{body: `{"id":"a","deleted":true,"cancelledRuns":1,"abandonedTurns":1,"note":"` + note + `"}`}},
			"POST /api/cron/all/pause":       {{body: `{"paused":true,"cancelledRuns":2,"abandonedTurns":1,"note":"` + note + `"}`}},
		})
		b.options.Terminal.Interactive = true
		b.stdin = "y\n"
		start := time.Now()
		for _, args := range []string{"run cancel a:1", "job rm a --cancel-runs", "pause-all --cancel-runs"} {
			if out := b.ok(strings.Fields(args)...); !strings.Contains(out, note) {
				t.Errorf("%s: %s", args, out)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("waited %v", took)
		}
	})
}
