package jobs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const someJobs = `{"jobs":[` + aJob + `,
{"id":"b","schedule":"","timezone":"UTC","every":5400,"enabled":true,"task":"Look after\nthe build and \u001b[31mall of its dependencies, every one of them","nextRunAt":1795443300000},
{"id":"reminder","schedule":"","timezone":"Asia/Kolkata","at":1798775400000,"enabled":false,"pauseReason":"on holiday","task":"面包","lastOutcome":"succeeded","lastRunAt":1795442280000}],
"nextCursor":"abc"}`

const aRun = `{"id":"job_a:1795420800","jobId":"job_a","jobName":"Morning summary","trigger":"schedule","state":"done","outcome":"failed","error":"the model said no","slot":1795420800000,
"createdAt":1795420800100,"startedAt":1795420801000,"finishedAt":1795420865000,"sessionKey":"agent:main:cron:job_a",
"attempts":[{"n":1,"startedAt":1795420801000,"endedAt":1795420801250,"result":"failed","cause":"ai_error","error":"busy"},{"n":2,"startedAt":1795420831000,"endedAt":1795420835300,"result":"succeeded"}],
"reply":"Two mails.\n\nNone is \u001b]0;urgent.\u0007","delivery":"unknown","deliveries":[{"n":1,"kind":"reply","state":"unknown","error":"no answer","messageIds":["7","8"]}]}`

// TestPages: how answers look to people, at a fixed time and width.
func TestPages(t *testing.T) {
	for _, tt := range []struct {
		name    string
		args    string
		width   int
		replies map[string][]reply
		stderr  string
	}{
		{"a list in a pipe", "job list --limit 3", 0, map[string][]reply{"GET /api/cron/jobs": one200(someJobs)}, "There are more: --all, or --cursor abc\n"},
		{"a list in a terminal", "job list --limit 3", 90, map[string][]reply{"GET /api/cron/jobs": one200(someJobs)}, "There are more: --all, or --cursor abc\n"},
		{"no jobs", "job list", 80, map[string][]reply{"GET /api/cron/jobs": one200(`{"jobs":[]}`)}, `no jobs; make one: gateway-cron job add "0 9 * * 1-5" "Summarise my inbox"` + "\n"},
		{"a job", "job show job_a", 0, map[string][]reply{"GET /api/cron/jobs/job_a": one200(aJob)}, ""},
		{"a job that was made", "job add @daily x --timeout 10m", 0, map[string][]reply{"POST /api/cron/jobs": one200(aJob)}, ""},
		{"a job that was paused", "job pause reminder", 0, map[string][]reply{"POST /api/cron/jobs/reminder/pause": one200(`{"id":"reminder","every":60,"timezone":"UTC","pauseReason":"on holiday"}`)}, ""},
		{"a run", "run show job_a:1795420800", 0, map[string][]reply{"GET /api/cron/runs/job_a:1795420800": one200(aRun), "GET /api/cron/jobs/job_a": one200(aJob)}, ""},
		{"runs", "job runs job_a", 100, map[string][]reply{"GET /api/cron/jobs/job_a/runs": one200(`{"runs":[` + aRun + `,
{"id":"job_a:1795334400","state":"done","outcome":"skipped","reason":"overlap","count":3,"slot":1795334400000,"lastSlot":1795334600000},
{"id":"job_a:manual:01M","state":"running","createdAt":1795442340000,"startedAt":1795442340000,"attempts":[{"n":1}]}]}`), "GET /api/cron/jobs/job_a": one200(aJob)}, ""},
		{"what comes next", "job next", 0, map[string][]reply{"GET /api/cron/upcoming": one200(`{"paused":true,"upcoming":[
{"jobId":"job_a","name":"Morning","at":1795507200000,"dueAt":1795507260000,"timezone":"Europe/Berlin","description":"At 09:00 on weekdays"}]}`)},
			"everything is paused: what comes due is skipped until 'gateway-cron resume-all'\n"},
		{"the next times of a job", "job next job_a", 0, map[string][]reply{"GET /api/cron/jobs/job_a": one200(aJob)}, ""},
		{"the next times of a job that never runs", "job next b", 0, map[string][]reply{"GET /api/cron/jobs/b": one200(`{"id":"b","every":60,"timezone":"UTC","description":"Every minute"}`)}, ""},
		{"the next times of a schedule", "job next --every 1h --tz Europe/Berlin", 0, map[string][]reply{"POST /api/cron/preview": one200(`{"timezone":"Europe/Berlin","description":"Every hour","next":["2026-11-23T15:00:00Z"]}`)}, ""},
		{"the status", "status", 0, map[string][]reply{"GET /api/cron/status": one200(`{"paused":false,"jobs":3,"due":1,"unfinished":2}`)}, ""},
		{"the status of a job that fails", "status", 0, map[string][]reply{"GET /api/cron/status": one200(`{"paused":false,"jobs":5,"health":{"state":"degraded","reasons":[
{"code":"job_failing","state":"degraded","text":"job a keeps failing","remedy":"GET /api/cron/jobs/a/runs","command":"gateway-cron job runs a"}]}}`)}, ""},
		{"the status for the holder of a token", "status", 0, map[string][]reply{"GET /api/cron/status": one200(`{"paused":false,"token":{"id":"abc","name":"tools","agentId":"main","maxJobs":20}}`)}, ""},
		{"the status of what is stopped", "pause-all --reason x --cancel-runs", 0, map[string][]reply{"POST /api/cron/all/pause": one200(`{"paused":true,"pausedSince":1795442340000,"reason":"wrong chat","jobs":3,"due":0,"unfinished":0,"cancelledRuns":4,
"repaired":{"b":2,"a":1},"quarantined":[{"entry":"job:x","since":1795442340000,"reason":"not readable"}],"quarantinedCount":3}`)}, ""},
		{"what was imported", "job import - --dry-run", 0, map[string][]reply{"POST /api/cron/import": one200(`{"dryRun":true,"created":1,"updated":2,"unchanged":3,"failed":0,"problems":[]}`)}, ""},
		{"tokens", "token list", 0, map[string][]reply{"GET /api/cron/tokens": one200(`{"tokens":[
{"id":"abc","name":"tools","agentId":"main","jobs":2,"maxJobs":20,"minIntervalSeconds":900,"maxRunsPerDay":50,"createdAt":1795442340000,"lastUsedAt":1795442340000},
{"id":"def","name":"chat","sessionKey":"agent:main:telegram:dm:1","jobs":0,"maxJobs":100,"createdAt":1795442340000,"revokedAt":1795442340000}]}`)}, ""},
		{"a token that was made", "token create --name n --session s --max-jobs 5 --min-interval 1h", 0, map[string][]reply{"POST /api/cron/tokens": one200(`{"id":"abc","token":"gct_abc_SECRET"}`)},
			"made token abc; it is shown only now:\n"},
		{"a token that was revoked", "token revoke abc", 0, map[string][]reply{"DELETE /api/cron/tokens/abc": one200(`{"id":"abc"}`)}, ""},
		{"what was deleted", "job rm a --cancel-runs", 0, map[string][]reply{"DELETE /api/cron/jobs/a": one200(`{"id":"a","deleted":true,"cancelledRuns":2}`)}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t, tt.replies)
			b.options.Terminal.Width = tt.width
			b.env["NO_COLOR"] = "1"
			out := b.ok(strings.Fields(tt.args)...)
			if d := cmp.Diff(golden(t, tt.name, out), out); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.stderr, b.stderr.String()); d != "" {
				t.Errorf("stderr (-want +got):\n%s", d)
			}
			for line := range strings.Lines(out) {
				if strings.Contains(line, "\x1b") || tt.width > 0 && columns(strings.TrimSuffix(line, "\n")) > tt.width {
					t.Errorf("not for this terminal: %q", line)
				}
			}
		})
	}
}

// golden is the page that is kept for a test. UPDATE_GOLDEN=1 keeps what was got.
func golden(t *testing.T, name, got string) string {
	t.Helper()
	path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "_")+".txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(want)
}

func TestColours(t *testing.T) {
	for _, tt := range []struct {
		width    int
		env      map[string]string
		coloured bool
	}{
		{120, nil, true},
		{120, map[string]string{"TERM": "xterm"}, true},
		{120, map[string]string{"NO_COLOR": "1"}, false},
		{120, map[string]string{"TERM": "dumb"}, false},
		{0, nil, false},
	} {
		b := setup(t, map[string][]reply{"GET /api/cron/jobs": one200(someJobs)})
		b.options.Terminal.Width, b.env = tt.width, tt.env
		if out := b.ok("job", "list"); strings.Contains(out, "\x1b[31mfailed") != tt.coloured || strings.Contains(out, "\x1b") != tt.coloured {
			t.Errorf("%+v: %q", tt, out)
		}
	}
}

// TestJSON: programs get what the API said, byte for byte, and nothing besides.
func TestJSON(t *testing.T) {
	const said = `{"id":"a","jobId":"a","jobs":[],"runs":[],"upcoming":[],"new":{"a":[1]},"failed":0}`
	for request, commands := range map[string][]string{
		"POST /api/cron/jobs":               {"job add @daily x"},
		"GET /api/cron/jobs":                {"job list", "job list --all"},
		"GET /api/cron/jobs/a":              {"job show a", "job next a"},
		"PATCH /api/cron/jobs/a":            {"job edit a --name n"},
		"DELETE /api/cron/jobs/a":           {"job rm a"},
		"POST /api/cron/jobs/a/run":         {"job run a"},
		"POST /api/cron/jobs/a/pause":       {"job pause a"},
		"POST /api/cron/jobs/a/resume":      {"job resume a"},
		"GET /api/cron/jobs/a/runs":         {"job runs a"},
		"GET /api/cron/runs":                {"run list"},
		"GET /api/cron/upcoming":            {"job next"},
		"POST /api/cron/preview":            {"job next --every 5m"},
		"GET /api/cron/export":              {"job export"},
		"POST /api/cron/import":             {"job import -"},
		"GET /api/cron/runs/a:1":            {"run show a:1"},
		"POST /api/cron/runs/a:1/cancel":    {"run cancel a:1"},
		"POST /api/cron/runs/a:1/redeliver": {"run redeliver a:1"},
		"GET /api/cron/status":              {"status"},
		"POST /api/cron/tokens":             {"token create --name n --agent a"},
		"GET /api/cron/tokens":              {"token list"},
		"DELETE /api/cron/tokens/a":         {"token revoke a"},
		"POST /api/cron/all/pause":          {"pause-all"},
		"POST /api/cron/all/resume":         {"resume-all"},
	} {
		for _, command := range commands {
			b := setup(t, map[string][]reply{request: one200(said + "\n")})
			if out := b.ok(append(strings.Fields(command), "--json")...); out != said+"\n" || b.stderr.String() != "" {
				t.Errorf("%s: %q %q", command, out, b.stderr.String())
			}
		}
	}
}

// TestRequests: what a command asks for.
func TestRequests(t *testing.T) {
	for _, tt := range []struct{ command, want string }{
		{"token create --name n --session s --max-jobs 5 --min-interval 1h --max-runs-per-day 24",
			`POST /api/cron/tokens {"maxJobs":5,"maxRunsPerDay":24,"minIntervalSeconds":3600,"name":"n","sessionKey":"s"}`},
		{"token create --name n --agent a", `POST /api/cron/tokens {"agentId":"a","name":"n"}`},
		{"job list", "GET /api/cron/jobs?limit=50"},
		{"job list --enabled --agent main --label team:ops --channel telegram --outcome failed --session s --next-before 2027-01-01T00:00:00+01:00",
			"GET /api/cron/jobs?agentId=main&channel=telegram&enabled=true&label=team%3Aops&lastOutcome=failed&limit=50&nextBefore=2027-01-01T00%3A00%3A00%2B01%3A00&sessionKey=s"},
		{"job list --enabled=false --limit 7 --cursor c", "GET /api/cron/jobs?cursor=c&enabled=false&limit=7"},
		{"job list --limit 1000", "GET /api/cron/jobs?limit=200"},
		{"run list --job a --outcome failed --delivery unknown --trigger manual --state done --agent main --session s --after A --before B",
			"GET /api/cron/runs?after=A&agentId=main&before=B&delivery=unknown&jobId=a&limit=20&outcome=failed&sessionKey=s&state=done&trigger=manual"},
		{"job show a/../b", "GET /api/cron/jobs/a%2F..%2Fb"},
		{"job edit a --schedule @daily --clear model,--chat,peerId", `PATCH /api/cron/jobs/a {"chatId":null,"model":null,"peerId":null,"schedule":"@daily"}`},
		{"job edit a --label x --enabled=false", `PATCH /api/cron/jobs/a {"enabled":false,"labels":["x"]}`},
		{"job pause a --reason r", `POST /api/cron/jobs/a/pause {"reason":"r"}`},
		{"job pause a", `POST /api/cron/jobs/a/pause`},
		{"job resume a", `POST /api/cron/jobs/a/resume`},
		{"job rm a --cancel-runs", `DELETE /api/cron/jobs/a?cancelRuns=true`},
		{"job run a", `POST /api/cron/jobs/a/run`},
		{"job next --count 3", `GET /api/cron/upcoming?limit=3`},
		{"job next --schedule @daily --count 3 --start 2027-01-01T00:00:00Z", `POST /api/cron/preview {"count":3,"schedule":"@daily","startAt":"2027-01-01T00:00:00Z"}`},
		{"job import - --dry-run", `POST /api/cron/import?dryRun=true {"id":"a"}`},
		{"run cancel a:1", `POST /api/cron/runs/a:1/cancel`},
		{"run redeliver a:1", `POST /api/cron/runs/a:1/redeliver`},
		{"pause-all --reason r --cancel-runs", `POST /api/cron/all/pause {"cancelRuns":true,"reason":"r"}`},
		{"pause-all", `POST /api/cron/all/pause {}`},
		{"resume-all", `POST /api/cron/all/resume`},
	} {
		b := setup(t, nil) // what is not there is exit code 3, whatever was asked
		b.stdin = `{"id":"a"}`
		if code := b.run(t.Context(), strings.Fields(tt.command)...); code != exitNotFound {
			t.Errorf("%s: exit code %d: %s", tt.command, code, b.stderr.String())
		}
		if got := b.api.requests(); !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%s:\n%q, want\n%q", tt.command, got, tt.want)
		}
		if b.api.last().Header.Get("If-Match") != "" {
			t.Errorf("%s: If-Match without having shown anything", tt.command)
		}
	}
}

// TestPaging: a page may be short, or empty, and have more after it.
func TestPaging(t *testing.T) {
	pages := func() map[string][]reply {
		return map[string][]reply{"GET /api/cron/jobs": {
			{body: `{"jobs":[{"id":"a"},{"id":"b"}],"nextCursor":"1"}`},
			{body: `{"jobs":[],"nextCursor":"2"}`},
			{body: `{"jobs":[{"id":"c"}],"nextCursor":"3"}`},
			{body: `{"jobs":[{"id":"d"}]}`},
		}}
	}
	for _, tt := range []struct {
		args string
		ids  string
		last string
		more bool
	}{
		{"--limit 3", "a b c", "/api/cron/jobs?cursor=2&limit=1", true},
		{"--limit 2", "a b", "/api/cron/jobs?limit=2", true},
		{"--limit 9", "a b c d", "/api/cron/jobs?cursor=3&limit=6", false},
		{"--all --limit 2", "a b c d", "/api/cron/jobs?cursor=3&limit=200", false},
		{"--limit 9 --json", `{"jobs":[{"id":"a"},{"id":"b"}],"nextCursor":"1"}`, "/api/cron/jobs?limit=9", false},
	} {
		b := setup(t, pages())
		out := b.ok(append([]string{"job", "list"}, strings.Fields(tt.args)...)...)
		var ids []string
		for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
			if i > 0 || strings.Contains(tt.args, "json") {
				ids = append(ids, strings.Fields(line)[0])
			}
		}
		if strings.Join(ids, " ") != tt.ids || b.api.last().URI != tt.last || strings.Contains(b.stderr.String(), "There are more") != tt.more {
			t.Errorf("%s: %q %s %s", tt.args, ids, b.api.last().URI, b.stderr.String())
		}
	}
	b := setup(t, pages())
	if out := b.ok("job", "list", "--all", "--json"); strings.Count(out, "\n") != 4 || !strings.HasSuffix(out, `{"jobs":[{"id":"d"}]}`+"\n") {
		t.Errorf("%s", out)
	}
}

// What must be acted on at once is an exit code, too; of a stop it is not.
func TestStatusOfADeploymentInTrouble(t *testing.T) {
	body := `{"paused":true,"pausedSince":1795442340000,"jobs":5,"health":{"state":"degraded","reasons":[
{"code":"paused","state":"degraded","text":"everything is paused"},
{"code":"slots_late","state":"degraded","late":true,"text":"4 slots late, the oldest 3 min; workers: 1 of 1 place taken","remedy":"start more workers"}]}}`
	for args, code := range map[string]int{"status": exitFailed, "status --json": exitFailed, "pause-all": 0} {
		b := setup(t, map[string][]reply{"GET /api/cron/status": one200(body), "POST /api/cron/all/pause": one200(body)})
		if got := b.run(t.Context(), strings.Fields(args)...); got != code || !strings.Contains(b.stdout.String(), "4 slots late, the oldest 3 min; workers: 1 of 1 place taken") {
			t.Errorf("%s: exit code %d, want %d:\n%s%s", args, got, code, &b.stdout, &b.stderr)
		}
	}
}
