package mcp_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/api"
	"github.com/gatewaycron/gatewaycron/internal/client"
)

// morning is a job as the API answers it.
const morning = `{"id":"job_1","name":"Morning summary","schedule":"0 9 * * 1-5","timezone":"Europe/Berlin","enabled":true,
	"channel":"telegram","chatId":"123","task":"Summarise my unread mail","deliver":"always","overlap":"skip","nextRunAt":1796025600000,
	"next":["2026-11-30T08:00:00Z","2026-12-01T08:00:00Z"],"nextLocal":["2026-11-30T09:00:00+01:00","2026-12-01T09:00:00+01:00"],
	"description":"At 09:00 on weekdays","createdAt":1,"updatedAt":1,"revision":1}`

// with is morning with other fields; null takes one away.
func with(t *testing.T, fields string) string {
	t.Helper()
	j := map[string]any{}
	for _, text := range []string{morning, fields} {
		if err := json.Unmarshal([]byte(text), &j); err != nil {
			t.Fatal(err)
		}
	}
	raw, _ := json.Marshal(j)
	return string(raw)
}

// clocked are tools whose clock stands at now.
func clocked(t *testing.T, f *fakeAPI) func(tool, arguments string) (string, map[string]any, bool) {
	t.Helper()
	c, err := client.New("http://127.0.0.1", "", client.Handler(f))
	if err != nil {
		t.Fatal(err)
	}
	session := connect(t, c, func() time.Time { return now })
	return func(tool, arguments string) (string, map[string]any, bool) {
		t.Helper()
		return call(t, session, tool, arguments)
	}
}

func TestWords(t *testing.T) {
	for _, tc := range []struct {
		name, tool, arguments string
		api                   map[string]string
		sent                  string // the one request, "" to leave it out
		want                  string
	}{
		{
			name: "create", tool: "create_cron_job", arguments: `{"schedule":"0 9 * * 1-5","chat_id":"123","model":null}`,
			api:  map[string]string{"POST /jobs": "201 " + morning},
			sent: `POST /jobs {"chatId":"123","schedule":"0 9 * * 1-5"}`,
			want: `Created job_1 "Morning summary": at 09:00 on weekdays (Europe/Berlin). Runs next Mon 2026-11-30 09:00 Europe/Berlin, in 14 h. The reply goes to telegram chat 123.`,
		},
		{
			name: "create for once", tool: "create_cron_job", arguments: `{}`,
			api: map[string]string{"POST /jobs": "201 " + with(t, `{"at":1796025600000,"schedule":"","name":null,"channel":null,"description":"Once, on 30 November 2026 at 09:00:00 (Europe/Berlin)"}`)},
			want: `Created job_1: once, on 30 November 2026 at 09:00:00 (Europe/Berlin). Runs next Mon 2026-11-30 09:00 Europe/Berlin, in 14 h. It is deleted after that run. ` +
				`The reply goes to no chat: get_cron_run shows it.`,
		},
		{
			name: "create with jitter, a number of runs, and words of failures only", tool: "create_cron_job", arguments: `{}`,
			api: map[string]string{"POST /jobs": "201 " + with(t, `{"every":7200,"schedule":"","timezone":"UTC","nextDueAt":1796025683000,"maxRuns":5,"runsUsed":2,"deliver":"on_failure","description":"Every 2 hours"}`)},
			want: `Created job_1 "Morning summary": every 2 hours. Runs next Mon 2026-11-30 08:00 UTC, put off by its jitter to Mon 2026-11-30 08:01:23, in 14 h. It is deleted after 3 more runs. ` +
				`Only word of failures goes to telegram chat 123.`,
		},
		{
			name: "everything is paused", tool: "resume_cron_job", arguments: `{"jobId":"job_1"}`,
			api: map[string]string{"POST /jobs/job_1/resume": "200 " + with(t, `{"nextRunAt":1795975200000,"deliver":"never"}`),
				"GET /status": `200 {"paused":true,"pausedSince":1795971600000,"reason":"the agents\nwent mad"}`},
			want: `Resumed job_1 "Morning summary": at 09:00 on weekdays (Europe/Berlin). It is due now. Nothing goes to telegram chat 123: get_cron_run shows the reply. ` +
				`But everything is paused since Sun 2026-11-29 17:00 UTC (the agents went mad): no job runs until an operator resumes it all.`,
		},
		{
			name: "update, with a field that is cleared", tool: "update_cron_job", arguments: `{"job_id":"job_1","max_runs":null,"task":"x","clear":["end_at"]}`,
			api:  map[string]string{"PATCH /jobs/job_1": "200 " + with(t, `{"maxRuns":1,"lastOutcome":"timed_out","lastRunId":"job_1:5","failures":3}`)},
			sent: `PATCH /jobs/job_1 {"endAt":null,"task":"x"}`,
			want: `Updated job_1 "Morning summary": at 09:00 on weekdays (Europe/Berlin). Runs next Mon 2026-11-30 09:00 Europe/Berlin, in 14 h. It is deleted after one more run. ` +
				`The reply goes to telegram chat 123. Its last run timed out (job_1:5). It failed 3 times in a row; after ten it is disabled.`,
		},
		{
			name: "pause", tool: "pause_cron_job", arguments: `{"id":"job_1","reason":"on holiday"}`,
			api:  map[string]string{"POST /jobs/job_1/pause": "200 " + with(t, `{"enabled":false,"pauseReason":"on holiday"}`)},
			sent: `POST /jobs/job_1/pause {"reason":"on holiday"}`,
			want: `Paused job_1 "Morning summary": at 09:00 on weekdays (Europe/Berlin). It is paused (on holiday) and does not run until resume_cron_job. The reply goes to telegram chat 123.`,
		},
		{
			name: "delete", tool: "delete_cron_job", arguments: `{"jobId":"job_1"}`,
			api:  map[string]string{"DELETE /jobs/job_1": `200 {"id":"job_1","deleted":true}`},
			sent: `DELETE /jobs/job_1`,
			want: `Deleted job_1: it does not run again. A run under way finishes, one that waits is cancelled; list_cron_runs still shows its history.`,
		},
		{
			name: "read", tool: "get_cron_job", arguments: `{"jobId":"job_1"}`,
			api: map[string]string{"GET /jobs/job_1": "200 " + morning},
			want: `job_1 "Morning summary": at 09:00 on weekdays (Europe/Berlin). Runs next Mon 2026-11-30 09:00 Europe/Berlin, in 14 h. The reply goes to telegram chat 123.
The next times: 2026-11-30T09:00:00+01:00, 2026-12-01T09:00:00+01:00
Settings: {"channel":"telegram","chatId":"123","deliver":"always","overlap":"skip","schedule":"0 9 * * 1-5"}
Task:
Summarise my unread mail`,
		},
		{
			name: "list", tool: "list_cron_jobs", arguments: `{"label":"team:ops","enabled":true}`,
			api: map[string]string{"GET /jobs": `200 {"jobs":[` + with(t, `{"lastOutcome":"succeeded"}`) + `,` +
				with(t, `{"id":"job_2","name":"","nextRunAt":0,"task":"one\ntwo"}`) + `],"nextCursor":"c1"}`},
			sent: `GET /jobs?enabled=true&label=team%3Aops&limit=20`,
			want: `2 jobs:
- job_1 "Morning summary": 0 9 * * 1-5 (Europe/Berlin). Runs next Mon 2026-11-30 09:00 Europe/Berlin, in 14 h. Its last run succeeded. Task: Summarise my unread mail
- job_2: 0 9 * * 1-5 (Europe/Berlin). It has no time left and does not run again. Task: one two
There is more: call list_cron_jobs with "cursor":"c1".`,
		},
		{
			name: "a list of jobs that have ended", tool: "list_cron_jobs", arguments: `{"ended":true}`,
			api: map[string]string{"GET /jobs": `200 {"jobs":[` + with(t, `{"at":1795942800000,"schedule":"","nextRunAt":0,"ended":true,"lastOutcome":"missed","lastOutcomeSlot":1795942800000}`) + `,` +
				with(t, `{"id":"job_2","name":"","nextRunAt":0,"ended":true,"lastOutcome":"succeeded","lastRunAt":1795942800000,"lastDelivery":"failed"}`) + `]}`},
			sent: `GET /jobs?ended=true&limit=20`,
			want: `2 jobs:
- job_1 "Morning summary": once, on Sun 2026-11-29 10:00 Europe/Berlin. It has ended: no time is left for it to run. update_cron_job gives it another. Its time of Sun 2026-11-29 10:00 Europe/Berlin passed without a run (missed). Task: Summarise my unread mail
- job_2: 0 9 * * 1-5 (Europe/Berlin). It has ended: no time is left for it to run. update_cron_job gives it another. Its last run succeeded. Its newest reply could not be delivered. Task: Summarise my unread mail`,
		},
		{
			name: "an empty list", tool: "list_cron_jobs", arguments: `{"limit":"3"}`,
			api: map[string]string{"GET /jobs": `200 {"jobs":[]}`}, sent: `GET /jobs?limit=3`,
			want: `There are no jobs. create_cron_job makes one.`,
		},
		{
			name: "preview", tool: "preview_schedule", arguments: `{"schedule":"0 9 * * 1-5","count":2}`,
			api:  map[string]string{"POST /preview": `200 {"schedule":"0 9 * * 1-5","timezone":"Europe/Berlin","next":["2026-11-30T08:00:00Z"],"local":["2026-11-30T09:00:00+01:00"],"description":"At 09:00 on weekdays"}`},
			sent: `POST /preview {"count":2,"schedule":"0 9 * * 1-5"}`,
			want: "At 09:00 on weekdays (Europe/Berlin). The next times:\n- Mon 2026-11-30T09:00:00+01:00 (2026-11-30T08:00:00Z)",
		},
		{
			name: "preview of nothing", tool: "preview_schedule", arguments: `{"at":"2020-01-01T00:00:00Z"}`,
			api:  map[string]string{"POST /preview": `200 {"timezone":"UTC","next":[],"local":[],"description":"Once, on 1 January 2020 at 00:00:00 (UTC)"}`},
			want: "Once, on 1 January 2020 at 00:00:00 (UTC). It has no time left: a job of it would never run.",
		},
		{
			name: "run", tool: "run_cron_job", arguments: `{"jobId":"job_1"}`,
			api:  map[string]string{"POST /jobs/job_1/run": "202 " + with(t, `{"runId":"job_1:manual:7"}`)},
			sent: `POST /jobs/job_1/run`,
			want: `Started a run of job_1 "Morning summary": job_1:manual:7. It goes on by itself; get_cron_run with this runId tells how it ended. The reply goes to telegram chat 123.`,
		},
		{
			name: "status", tool: "get_cron_status", arguments: `{}`,
			api:  map[string]string{"GET /status": `200 {"paused":false,"health":{"state":"failing","reasons":[{"code":"no_worker","state":"failing","text":"no worker gives a sign of life: nothing runs","remedy":"start one"}]}}`},
			want: "The scheduler is failing: what comes due does not start, or cannot be written down.\n- no worker gives a sign of life: nothing runs. What to do: start one.",
		},
		{
			name: "read a run", tool: "get_cron_run", arguments: `{"runId":"job_1:1796025600"}`,
			api: map[string]string{"GET /runs/job_1:1796025600": `200 {"id":"job_1:1796025600","jobId":"job_1","state":"done","outcome":"succeeded","slot":1796025600000,
				"startedAt":1796025600100,"finishedAt":1796025612500,"attempts":[{"n":1,"result":"succeeded"}],"reply":"Two\nmails","delivery":"delivered"}`},
			want: "job_1:1796025600 (Mon 2026-11-30 08:00 UTC): succeeded after 12 s. The reply was delivered.\nReply:\nTwo\nmails",
		},
		{
			name: "read a run without a reply", tool: "get_cron_run", arguments: `{"runId":"job_1:1796025600"}`,
			api: map[string]string{"GET /runs/job_1:1796025600": `200 {"id":"job_1:1796025600","jobId":"job_1","state":"done","outcome":"succeeded","slot":1796025600000,
				"startedAt":1796025600100,"finishedAt":1796025612500,"attempts":[{"n":1,"result":"succeeded"}],"reply":"\n","empty":true,"delivery":"suppressed"}`},
			want: "job_1:1796025600 (Mon 2026-11-30 08:00 UTC): succeeded after 12 s. The agent ended its turn without a text, so nothing was sent.",
		},
		{
			name: "read a run that fails", tool: "get_cron_run", arguments: `{"runId":"job_1:1"}`,
			api: map[string]string{"GET /runs/job_1:1": `200 {"id":"job_1:1","state":"waiting","slot":1795975140000,"notBefore":1795975290000,
				"attempts":[{"n":1,"result":"failed","cause":"ai_error","error":"Unknown model: x"},{"n":2}]}`},
			want: "job_1:1 (Sun 2026-11-29 17:59 UTC): tries again in 90 s.\n- attempt 1: failed (ai_error): Unknown model: x\n- attempt 2: under way",
		},
		{
			name: "list runs", tool: "list_cron_runs", arguments: `{"jobId":"job_1","limit":2}`,
			api: map[string]string{"GET /jobs/job_1/runs": `200 {"runs":[
				{"id":"job_1:manual:7","state":"running","createdAt":1795975140000},
				{"id":"job_1:3","state":"done","outcome":"skipped","reason":"overlap","slot":1795974600000,"lastSlot":1795975140000,"count":10},
				{"id":"job_1:2","state":"done","outcome":"failed","error":"Unknown model: x.","slot":1795974540000,"startedAt":1795974540000,"finishedAt":1795974541000,"delivery":"not_requested"},
				{"id":"job_1:1","state":"done","outcome":"succeeded","slot":1795974480000,"reply":"Good\nmorning","delivery":"unknown"}]}`},
			sent: `GET /jobs/job_1/runs?limit=2`,
			want: `4 runs of job_1, the newest first:
- job_1:manual:7 (Sun 2026-11-29 17:59 UTC): is running.
- 10 times from Sun 2026-11-29 17:50 to Sun 2026-11-29 17:59 UTC: was skipped (overlap).
- job_1:2 (Sun 2026-11-29 17:49 UTC): failed after 1 s: Unknown model: x.
- job_1:1 (Sun 2026-11-29 17:48 UTC): succeeded. Whether the reply arrived is unknown. Reply: Good morning`,
		},
		{
			name: "no runs", tool: "list_cron_runs", arguments: `{"jobId":"job_1"}`,
			api:  map[string]string{"GET /jobs/job_1/runs": `200 {"runs":[]}`},
			want: `job_1 has not run yet; get_cron_job says when it will.`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &fakeAPI{}
			for path, answer := range tc.api {
				f.answer(path, answer)
			}
			text, fields, isError := clocked(t, f)(tc.tool, tc.arguments)
			if d := cmp.Diff(tc.want, text); d != "" || isError {
				t.Errorf("isError %t (-want +got):\n%s", isError, d)
			}
			if tc.sent != "" && (len(f.seen) == 0 || f.seen[0] != tc.sent) {
				t.Errorf("the API was sent %q, want %q", f.seen, tc.sent)
			}
			if fields == nil {
				t.Error("there is no structured content")
			}
		})
	}
}

func TestFields(t *testing.T) {
	f := &fakeAPI{}
	f.answer("POST /jobs", "201 "+morning)
	text, got, _ := clocked(t, f)("create_cron_job", `{}`)
	want := map[string]any{"id": "job_1", "name": "Morning summary", "enabled": true, "description": "At 09:00 on weekdays",
		"timezone": "Europe/Berlin", "nextRunAt": "2026-11-30T09:00:00+01:00", "nextRunAtUtc": "2026-11-30T08:00:00Z", "summary": text}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestErrors(t *testing.T) {
	const five = `{"status":400,"detail":"Not accepted: a is bad; b is bad; c is bad; and 2 more.","problems":[{"field":"a"},{"field":"b"},{"field":"c"},
		{"field":"d","detail":"must be a string","example":"\"x\""},{"field":"e","detail":"is not a field here"}]}`
	for _, tc := range []struct{ tool, arguments, answer, want string }{
		{"create_cron_job", `{"cron":"x"}`, `400 {"status":400,"detail":"Not accepted: cron is not a field here (did you mean schedule?)."}`,
			"Not accepted: cron is not a field here (did you mean schedule?)."},
		{"create_cron_job", `{}`, "400 " + five, "Not accepted: a is bad; b is bad; c is bad; and 2 more.\n- d must be a string, for example \"x\"\n- e is not a field here"},
		{"create_cron_job", `{}`, `429 7|{"detail":"Too many requests."}`, "Too many requests. Try again in 7 s."},
		{"create_cron_job", `{}`, `401 {"detail":"no"}`, "Gateway Cron does not accept the token. Tell the user to set the one of its GATEWAY_CRON_TOKEN for these tools: in that variable over stdio, in the header Authorization: Bearer <token> over HTTP."},
		{"create_cron_job", `{}`, `panic broken`, "127.0.0.1 answered 500 Internal Server Error; is it the API?"},
		{"create_cron_job", `{}`, `201 <html>`, "There was no answer (the answer to POST /api/cron/jobs is not the API's: invalid character '<' looking for beginning of value). Try again in a moment."},
		{"create_cron_job", `{"name":"a","name":"b"}`, ``, "name is there twice; send it once."},
		{"create_cron_job", `{"name":null,"name":"b"}`, ``, "name is there twice; send it once."},
		{"pause_cron_job", `{"jobId":"a","reason":"\ud83d"}`, ``, `reason has half a character (\u with one surrogate of two); send the whole one.`},
		{"update_cron_job", `{"jobId":"a","labels":["x\udc00"]}`, ``, `labels has half a character (\u with one surrogate of two); send the whole one.`},
		{"create_cron_job", `{"chatId":"1","chat_id":"2"}`, ``, "chatId is there twice; send it once."},
		{"get_cron_job", `{"jobId":"nope"}`, ``, `There is no job "nope" (any more). list_cron_jobs lists the jobs with their ids.`},
		{"get_cron_run", `{"runId":"nope:1"}`, ``, `There is no run "nope:1" (any more). list_cron_runs lists the runs of a job with their ids.`},
		{"list_cron_runs", `{"jobId":"nope"}`, ``, `There is neither a job "nope" nor a history of one. list_cron_jobs lists the jobs with their ids.`},
		{"delete_cron_job", `{}`, ``, `jobId is missing: send the id, for example "job_01m83mjkge4cp4pd476svfty9y". list_cron_jobs lists the jobs with their ids.`},
		{"delete_cron_job", `{"jobId":7}`, ``, `jobId must be a string.`},
		{"resume_cron_job", `{"jobId":"a","force":true}`, ``, `force is no argument here; there is jobId.`},
		{"run_cron_job", `{"jobId":"a","waitSeconds":600}`, ``, `waitSeconds must be a whole number up to 50, for example 1.`},
		{"update_cron_job", `{"jobId":"a"}`, ``, `Nothing to change was sent: add a field, for example "schedule":"30 8 * * 1-5".`},
		{"update_cron_job", `{"jobId":"a","name":"x","clear":["name"]}`, ``, `name is both set and cleared; send one of them.`},
		{"update_cron_job", `{"jobId":"a","clear":"name"}`, ``, `clear must be an array of field names, for example ["maxRuns"].`},
	} {
		t.Run(tc.tool+" "+tc.arguments, func(t *testing.T) {
			f := &fakeAPI{}
			if tc.answer != "" {
				f.answer("POST /jobs", tc.answer)
			}
			text, _, isError := clocked(t, f)(tc.tool, tc.arguments)
			if d := cmp.Diff(tc.want, text); d != "" || !isError {
				t.Errorf("isError %t (-want +got):\n%s", isError, d)
			}
		})
	}
}

// TestGone: every tool says what became of a job that has had its runs.
func TestGone(t *testing.T) {
	const answer = `410 {"status":410,"detail":"x","ended":{"id":"job_1","name":"Bread","runs":2,"maxRuns":2,"lastRunId":"job_1:5","lastOutcome":"succeeded","lastDelivery":"delivered","endedAt":1795942800000}}`
	const want = `job_1 "Bread" ran 2 of 2 times and is gone, as it was meant to be: its last run succeeded, at Sun 2026-11-29 09:00 UTC. The reply was delivered. ` +
		`list_cron_runs with its jobId shows its history; create_cron_job makes another one.`
	for tool, request := range map[string]string{"get_cron_job": "GET /jobs/job_1", "update_cron_job": "PATCH /jobs/job_1", "delete_cron_job": "DELETE /jobs/job_1",
		"pause_cron_job": "POST /jobs/job_1/pause", "resume_cron_job": "POST /jobs/job_1/resume", "run_cron_job": "POST /jobs/job_1/run"} {
		f := &fakeAPI{}
		f.answer(request, answer)
		arguments := `{"jobId":"job_1"}`
		if tool == "update_cron_job" {
			arguments = `{"jobId":"job_1","task":"x"}`
		}
		text, _, isError := clocked(t, f)(tool, arguments)
		if d := cmp.Diff(want, text); d != "" || !isError {
			t.Errorf("%s: isError %t (-want +got):\n%s", tool, isError, d)
		}
	}
}

// TestNoAnswer: what cannot be known is said, and so is that nothing was done.
func TestNoAnswer(t *testing.T) {
	broken := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		w.Write([]byte(`{"id":`))
		panic(http.ErrAbortHandler)
	})
	text, _, isError := call(t, tools(t, broken), "create_cron_job", `{}`)
	if !isError || !strings.HasPrefix(text, "Nobody knows whether this was done") {
		t.Errorf("a change without an answer: %q", text)
	}
	text, _, isError = call(t, tools(t, broken), "list_cron_jobs", `{}`)
	if !isError || !strings.HasPrefix(text, "There was no answer") {
		t.Errorf("a read without an answer: %q", text)
	}
	c, err := client.New("http://127.0.0.1:1", "hunter2", nil)
	if err != nil {
		t.Fatal(err)
	}
	text, _, isError = call(t, connect(t, c, time.Now), "create_cron_job", `{}`)
	if !isError || !strings.HasPrefix(text, "Gateway Cron does not answer, so nothing was done") || strings.Contains(text, "hunter2") {
		t.Errorf("nobody listens: %q", text)
	}
}

// TestWait: an API that waits is asked once more at most, one that does not is polled,
// and a run that lasts is left to itself.
func TestWait(t *testing.T) {
	const (
		running = `200 {"id":"job_1:manual:7","jobId":"job_1","state":"running","createdAt":1795975140000}`
		pending = `200 {"id":"job_1:manual:7","jobId":"job_1","runId":"job_1:manual:7","state":"done","outcome":"succeeded","createdAt":1795975140000,"reply":"Hi","delivery":"pending"}`
		ended   = `200 {"id":"job_1:manual:7","jobId":"job_1","state":"done","outcome":"succeeded","createdAt":1795975140000,"reply":"Hi","delivery":"delivered"}`
	)
	for _, tc := range []struct {
		name    string
		started string
		then    []string
		want    string
		took    time.Duration // at most
	}{
		{"the API waits", pending, []string{pending, ended}, "succeeded. The reply was delivered.\nReply:\nHi", time.Second},
		{"the API does not", `202 ` + with(t, `{"runId":"job_1:manual:7"}`), []string{running, running, "503 {}", ended}, "succeeded. The reply was delivered.\nReply:\nHi", 4 * time.Second},
		{"the run lasts", `202 ` + with(t, `{"runId":"job_1:manual:7"}`), []string{running},
			"is running.\nIt has not ended within 30 s and goes on by itself: call get_cron_run later, do not start it again.", 30 * time.Second},
		{"it cannot be read", `202 ` + with(t, `{"runId":"job_1:manual:7"}`), []string{`503 {"detail":"No store."}`},
			"could not be read (No store.). get_cron_run tells how it ended; do not start it again.", 30 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeAPI{}
				f.answer("POST /jobs/job_1/run", tc.started)
				f.answer("GET /runs/job_1:manual:7", tc.then...)
				begun := time.Now()
				text, fields, isError := call(t, tools(t, f), "run_cron_job", `{"jobId":"job_1","waitSeconds":30}`)
				if isError || !strings.HasSuffix(text, tc.want) || fields["id"] != "job_1:manual:7" {
					t.Errorf("%t %q %v", isError, text, fields)
				}
				if took := time.Since(begun); took > tc.took {
					t.Errorf("it took %s", took)
				}
				if f.seen[0] != "POST /jobs/job_1/run?wait=30" || len(f.seen) > 22 {
					t.Errorf("%d requests, %q first", len(f.seen), f.seen[0])
				}
			})
		})
	}
}

// TestBounds: the longest answers stay short.
func TestBounds(t *testing.T) {
	f := &fakeAPI{}
	long := strings.Repeat("ä", 60_000)
	f.answer("GET /jobs/job_1", "200 "+with(t, fmt.Sprintf(`{"task":%q,"model":%q}`, long, long)))
	f.answer("GET /runs/job_1:1", fmt.Sprintf(`200 {"id":"job_1:1","state":"done","outcome":"failed","error":%q,"reply":%q,"attempts":[{"n":1,"error":%q}]}`, long, long, long))
	jobs := strings.Repeat(with(t, fmt.Sprintf(`{"task":%q,"name":%q}`, long, long))+",", 60)
	f.answer("GET /jobs", `200 {"jobs":[`+strings.TrimSuffix(jobs, ",")+`]}`)
	do := clocked(t, f)
	for call, most := range map[string]int{`get_cron_job {"jobId":"job_1"}`: 14_000, `get_cron_run {"runId":"job_1:1"}`: 10_000, `list_cron_jobs {}`: 50 * 500} {
		tool, arguments, _ := strings.Cut(call, " ")
		text, _, isError := do(tool, arguments)
		if n := len([]rune(text)); isError || n > most || n < most/3 {
			t.Errorf("%s answers %d characters", tool, n)
		}
	}
}

// TestSchemas: every tool is described, every argument teaches, and the API knows each
// field and accepts its example.
func TestSchemas(t *testing.T) {
	session := tools(t, &fakeAPI{})
	listed, err := session.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if text := session.InitializeResult().Instructions; !strings.Contains(text, "IANA") || len(text) > 2000 {
		t.Errorf("instructions: %q", text)
	}
	var got []string
	for _, tool := range listed.Tools {
		hints := ""
		for hint, is := range map[string]bool{"reads": tool.Annotations.ReadOnlyHint, "destroys": *orTrue(tool.Annotations.DestructiveHint) && !tool.Annotations.ReadOnlyHint,
			"idempotent": tool.Annotations.IdempotentHint} {
			if is {
				hints += " " + hint
			}
		}
		parts := strings.Fields(hints)
		slices.Sort(parts)
		got = append(got, strings.TrimSpace(tool.Name+": "+strings.Join(parts, " ")))
		if tool.Title == "" || len(tool.Description) < 60 {
			t.Errorf("%s is not described", tool.Name)
		}
		for name, p := range properties(tool.InputSchema) {
			if text, _ := p["description"].(string); len(text) < 20 || p["type"] == nil {
				t.Errorf("%s: %s is not described: %v", tool.Name, name, p)
			}
			if p["type"] == "object" {
				t.Errorf("%s: %s is not flat", tool.Name, name)
			}
		}
	}
	want := []string{
		"create_cron_job:", "delete_cron_job: destroys idempotent", "get_cron_job: idempotent reads", "get_cron_run: idempotent reads",
		"get_cron_status: idempotent reads", "list_cron_jobs: idempotent reads", "list_cron_runs: idempotent reads", "pause_cron_job: idempotent", "preview_schedule: idempotent reads",
		"resume_cron_job: idempotent", "run_cron_job:", "update_cron_job: destroys idempotent",
	}
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}

	// The real API, without a store: it finds what is wrong before it needs one.
	actual := tools(t, api.New(api.Options{Version: "v9", Now: time.Now, Logger: slog.New(slog.DiscardHandler)}))
	for _, tool := range listed.Tools {
		if tool.Name != "create_cron_job" && tool.Name != "preview_schedule" {
			continue
		}
		for name, p := range properties(tool.InputSchema) {
			examples, _ := p["examples"].([]any)
			if len(examples) != 1 {
				t.Errorf("%s: %s has no example", tool.Name, name)
				continue
			}
			for i, value := range []any{examples[0], map[string]any{}} {
				// A field that cannot be, so that nothing is made of it.
				arguments, _ := json.Marshal(map[string]any{name: value, "zzzzzzzzzz": 1})
				text, _, _ := call(t, actual, tool.Name, string(arguments))
				isExample := i == 0
				if refused := strings.Contains(text, name+" must be"); refused == isExample || strings.Contains(text, name+" is not a field") {
					t.Errorf("%s: %s: %v: %s", tool.Name, name, value, text)
				}
			}
		}
	}
}

func properties(schema any) map[string]map[string]any {
	raw, _ := json.Marshal(schema)
	var s struct {
		Properties map[string]map[string]any `json:"properties"`
	}
	if json.Unmarshal(raw, &s) != nil {
		return nil
	}
	return s.Properties
}

func orTrue(b *bool) *bool {
	if b == nil {
		yes := true
		return &yes
	}
	return b
}

// TestALookByTheWay: the tools ask for the status without using up what is kept for those
// who want to know it.
func TestALookByTheWay(t *testing.T) {
	f := &fakeAPI{}
	f.answer("POST /jobs", "201 "+morning)
	var asides []string
	session := tools(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asides = append(asides, strings.TrimPrefix(r.URL.Path, "/api/cron")+" "+r.Header.Get(client.AsideHeader))
		f.ServeHTTP(w, r)
	}))
	if text, _, isError := call(t, session, "create_cron_job", `{"task":"x"}`); isError {
		t.Fatal(text)
	}
	if want := []string{"/jobs ", "/status 1"}; !slices.Equal(asides, want) {
		t.Errorf("asked %q, want %q", asides, want)
	}
}

// TestACancelledTurn: a model must not believe that nothing was done.
func TestACancelledTurn(t *testing.T) {
	f := &fakeAPI{}
	f.answer("GET /runs/a:1", `200 {"id":"a:1","jobId":"a","state":"done","outcome":"cancelled","reason":"requested","abandonedTurns":1}`)
	text, fields, _ := call(t, tools(t, f), "get_cron_run", `{"runId":"a:1"}`)
	const want = "the ai-server may have gone on with it, and have acted"
	if summary, _ := fields["summary"].(string); !strings.Contains(text, want) || !strings.Contains(summary, want) {
		t.Errorf("%s %v", text, fields)
	}
}
