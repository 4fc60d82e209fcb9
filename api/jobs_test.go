package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/api"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

func TestAJobOnTheWire(t *testing.T) {
	b := setup(t)
	b.seed("morning", func(j *job.Job) {
		j.Name, j.Channel, j.ChatID, j.IsGroup, j.Labels = "Morning", "telegram", "-100", new(false), []string{"daily"}
		j.MaxRuns, j.Claims = 4, 1
		j.LastRunAt, j.LastRunID, j.LastOutcome, j.Failures = nowMillis, "morning:1", job.TimedOut, 2
	})
	want := map[string]any{
		"id": "morning", "name": "Morning", "labels": []any{"daily"}, "schedule": "0 9 * * 1-5", "timezone": "Europe/Berlin", "enabled": true,
		"channel": "telegram", "chatId": "-100", "isGroup": false, "task": "Morning summary",
		"maxRuns": 4.0, "runsUsed": 1.0,
		"misfire": "run_once", "misfireGraceSeconds": 3600.0, "timeoutSeconds": 900.0, "onAmbiguous": "retry", "deliver": "always",
		"context": "session", "maxRetries": 3.0, "retryDelaysSeconds": []any{30.0, 60.0, 300.0}, "overlap": "skip",
		"revision": 3.0, "createdAt": float64(nowMillis), "updatedAt": float64(nowMillis),
		"lastRunAt": float64(nowMillis), "lastRunId": "morning:1", "lastOutcome": "timed_out", "failures": 2.0,
		"nextRunAt": float64(slotMillis),
		// Three, since one of four runs is used up; the clocks have moved by then.
		"next":        []any{"2026-03-30T07:00:00Z", "2026-03-31T07:00:00Z", "2026-04-01T07:00:00Z"},
		"nextLocal":   []any{"2026-03-30T09:00:00+02:00", "2026-03-31T09:00:00+02:00", "2026-04-01T09:00:00+02:00"},
		"description": "At 09:00 on weekdays",
	}
	got := b.call("GET", "/api/cron/jobs/morning", "").want(http.StatusOK).body
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("GET (-want +got):\n%s", diff)
	}

	a := b.call("POST", "/api/cron/jobs/morning/run", "").want(http.StatusAccepted)
	want["runId"] = "morning:manual:01JABCDE1"
	delete(want, "next")
	delete(want, "nextLocal")
	delete(want, "description")
	if diff := cmp.Diff(want, a.body); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	if got := a.header.Get("Location"); got != "/api/cron/runs/morning:manual:01JABCDE1" {
		t.Errorf("Location of the run = %q", got)
	}
}

func TestASparseJobOnTheWire(t *testing.T) {
	b := setup(t)
	b.seed("bare", func(j *job.Job) { j.Timezone, j.Enabled, j.NextSlot = "", false, 0 })
	want := map[string]any{
		"id": "bare", "schedule": "0 9 * * 1-5", "timezone": "UTC", "enabled": false, "task": "Morning summary",
		"misfire": "run_once", "misfireGraceSeconds": 3600.0, "timeoutSeconds": 900.0, "onAmbiguous": "retry", "deliver": "always",
		"context": "session", "maxRetries": 3.0, "retryDelaysSeconds": []any{30.0, 60.0, 300.0}, "overlap": "skip",
		"revision": 3.0, "createdAt": float64(nowMillis), "updatedAt": float64(nowMillis),
		"description": "At 09:00 on weekdays",
	}
	got := b.call("GET", "/api/cron/jobs/bare", "").want(http.StatusOK).body
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("GET (-want +got):\n%s", diff)
	}
}

func TestAJobWithAnUnreadableScheduleStaysReadable(t *testing.T) {
	b := setup(t)
	b.seed("broken", func(j *job.Job) { j.Timezone = "Gone/Zone" })
	a := b.call("GET", "/api/cron/jobs/broken", "").want(http.StatusOK)
	if a.body["timezone"] != "Gone/Zone" || a.body["next"] != nil || a.body["description"] != nil {
		t.Errorf("answer: %s", a.raw)
	}
	b.call("PATCH", "/api/cron/jobs/broken", `{"name":"n"}`).want(http.StatusBadRequest)
	b.call("PATCH", "/api/cron/jobs/broken", `{"timezone":"Europe/Berlin"}`).want(http.StatusOK)
}

func TestCreateShowsTheNextTimes(t *testing.T) {
	a := setup(t).call("POST", "/api/cron/jobs", `{"schedule":"0 9 * * 1-5","timezone":"Europe/Berlin","task":"x"}`).want(http.StatusCreated)
	next, _ := a.body["next"].([]any)
	local, _ := a.body["nextLocal"].([]any)
	if len(next) != 5 || len(local) != 5 || next[0] != "2026-03-30T07:00:00Z" || local[0] != "2026-03-30T09:00:00+02:00" {
		t.Errorf("next = %v, nextLocal = %v", next, local)
	}
}

func TestTimingsOnTheWire(t *testing.T) {
	b := setup(t)
	b.seed("a", func(j *job.Job) {
		j.Schedule, j.EverySeconds, j.StartAt, j.EndAt, j.JitterSeconds = "", 3600, slotMillis, slotMillis+3600_000, 90
		j.Anchor, j.NextSlot, j.NextDue = slotMillis, slotMillis, slotMillis+45_000
	})
	got := b.call("GET", "/api/cron/jobs/a", "").want(http.StatusOK).body
	want := map[string]any{"schedule": "", "every": 3600.0, "startAt": float64(slotMillis), "endAt": float64(slotMillis + 3600_000),
		"jitterSeconds": 90.0, "nextRunAt": float64(slotMillis), "nextDueAt": float64(slotMillis + 45_000),
		"next": []any{"2026-03-30T07:00:00Z", "2026-03-30T08:00:00Z"}}
	for name, value := range want {
		if d := cmp.Diff(value, got[name]); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if _, there := got["at"]; there {
		t.Error("at is shown of a job that has none")
	}
}

func TestPatch(t *testing.T) {
	tests := []struct {
		name, body string
		change     func(*job.Spec)
	}{
		{"pause", `{"enabled":false}`, func(s *job.Spec) { s.Enabled = false }},
		{"labels", `{"labels":["b"]}`, func(s *job.Spec) { s.Labels = []string{"b"} }},
		{"null clears labels", `{"labels":null}`, func(s *job.Spec) { s.Labels = nil }},
		{"no labels", `{"labels":[]}`, func(s *job.Spec) { s.Labels = nil }},
		{"several", `{"name":"n","max_runs":3,"timezone":"UTC"}`, func(s *job.Spec) { s.Name, s.MaxRuns, s.Timezone = "n", 3, "UTC" }},
		{"null clears texts", `{"timezone":null,"channel":null,"chat_id":null,"peerId":null}`, func(s *job.Spec) { s.Timezone, s.Channel, s.ChatID, s.PeerID = "", "", "", "" }},
		{"null clears numbers", `{"maxRuns":null,"timeoutSeconds":null}`, func(s *job.Spec) { s.MaxRuns, s.TimeoutSeconds = 0, 0 }},
		{"null clears the unknown boolean", `{"isGroup":null}`, func(s *job.Spec) { s.IsGroup = nil }},
		{"null clears policies", `{"misfire":null,"on_ambiguous":null,"deliver":null}`, func(s *job.Spec) { s.Misfire, s.OnAmbiguous, s.Deliver = "", "", "" }},
		{"failures only", `{"deliver":"on_failure"}`, func(s *job.Spec) { s.Deliver = job.DeliverOnFailure }},
		{"no retries", `{"max_retries":0}`, func(s *job.Spec) { s.MaxRetries = new(0) }},
		{"null clears the retries", `{"maxRetries":null}`, func(s *job.Spec) { s.MaxRetries = nil }},
		{"delays of its own", `{"retry_delays_seconds":[5,86400]}`, func(s *job.Spec) { s.RetryDelaysSeconds = []int{5, 86400} }},
		{"null clears the delays", `{"retryDelaysSeconds":null}`, func(s *job.Spec) { s.RetryDelaysSeconds = nil }},
		{"null clears choices", `{"context":null,"allow_scheduling":null}`, func(s *job.Spec) { s.Context, s.AllowScheduling = "", false }},
		{"every takes the place of the schedule", `{"every":60}`, func(s *job.Spec) { s.Schedule, s.EverySeconds = "", 60 }},
		{"at takes the place of what it excludes", `{"at":1806231600000}`, func(s *job.Spec) {
			s.Schedule, s.StartAt, s.EndAt, s.MaxRuns, s.At = "", 0, 0, 0, 1806231600000
		}},
		{"null clears bounds", `{"start_at":null,"endAt":null,"jitterSeconds":null}`, func(s *job.Spec) { s.StartAt, s.EndAt, s.JitterSeconds = 0, 0, 0 }},
		{"a schedule is stored expanded", `{"schedule":"@hourly"}`, func(s *job.Spec) { s.Schedule = "0 * * * *" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			want := b.seed("a", func(j *job.Job) {
				j.Channel, j.ChatID, j.PeerID, j.IsGroup = "telegram", "1", "2", new(true)
				j.Context, j.AllowScheduling, j.MaxRetries = job.ContextSession, true, new(7)
				j.StartAt, j.EndAt, j.JitterSeconds = 1700000000000, 1900000000000, 60
				j.RetryDelaysSeconds, j.Labels = []int{9}, []string{"a"}
				j.MaxRuns, j.TimeoutSeconds, j.Misfire, j.OnAmbiguous = 9, 60, job.MisfireSkip, job.OnAmbiguousFail
				j.Deliver = job.DeliverNever
			}).Spec
			tt.change(&want)
			b.store.replays = 1 // the edit has to be repeatable
			a := b.call("PATCH", "/api/cron/jobs/a", tt.body).want(http.StatusOK)
			if diff := cmp.Diff(want, b.store.jobs["a"].Spec); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
			if a.body["id"] != "a" || a.body["description"] == nil {
				t.Errorf("answer: %s", a.raw)
			}
		})
	}
}

func TestPatchRefuses(t *testing.T) {
	tests := []struct {
		name, body, field, detail string
	}{
		{"an empty body", ``, "body", "is empty"},
		{"nothing", `{}`, "body", "names no field"},
		{"no task", `{"task":null}`, "task", "is required"},
		{"no schedule", `{"schedule":null}`, "schedule", "is required"},
		{"null for enabled", `{"enabled":null}`, "enabled", "cannot be null"},
		{"a zone for a schedule", `{"timezone":"Nowhere"}`, "timezone", ""},
		{"a channel without a chat", `{"chat_id":null}`, "chat_id", "is required with channel"},
		{"a channel that is not connected", `{"channel":"slack"}`, "channel", "not connected"},
		{"another id", `{"id":"b"}`, "id", "cannot be changed"},
		{"no id", `{"id":null}`, "id", "cannot be null"},
		{"its own id alone", `{"id":"a"}`, "body", "names no field"},
		{"at, with what it excludes", `{"at":1806231600000,"max_runs":2}`, "max_runs", "left out with at"},
		{"two timings", `{"at":1806231600000,"schedule":"* * * * *"}`, "at", "one of schedule, every and at"},
		{"zero", `{"maxRuns":0}`, "maxRuns", "from 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			before := b.seed("a", func(j *job.Job) { j.Channel, j.ChatID = "telegram", "1" })
			a := b.call("PATCH", "/api/cron/jobs/a", tt.body).want(http.StatusBadRequest)
			if f := a.fields(); len(f) != 1 || f[0] != tt.field || !strings.Contains(a.body["detail"].(string), tt.detail) {
				t.Errorf("want %q about %q: %s", tt.detail, tt.field, a.raw)
			}
			if diff := cmp.Diff(before, b.store.jobs["a"]); diff != "" {
				t.Errorf("a refused edit changed the job:\n%s", diff)
			}
		})
	}
}

func TestWhatTheStoreRefusesIsToldInTheClientsSpelling(t *testing.T) {
	b := setup(t)
	b.seed("a")
	b.store.err = &job.InvalidError{Problems: []job.Problem{{Field: "maxRuns", Detail: "must be more than the 3 runs the job has had"}}}
	for _, name := range []string{"max_runs", "maxRuns"} {
		for method, path := range map[string]string{"PATCH": "/api/cron/jobs/a", "POST": "/api/cron/jobs"} {
			a := b.call(method, path, with(`"`+name+`":2`)).want(http.StatusBadRequest)
			if diff := cmp.Diff([]string{name}, a.fields()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", method, diff)
			}
		}
	}
}

func TestAJobWhoseChannelHasGoneCanBePausedButNotResumed(t *testing.T) {
	b := setup(t)
	b.seed("a", func(j *job.Job) { j.Channel, j.ChatID = "gone", "1" })
	b.call("PATCH", "/api/cron/jobs/a", `{"enabled":false}`).want(http.StatusOK)
	b.call("PATCH", "/api/cron/jobs/a", `{"enabled":false,"chatId":null}`).want(http.StatusBadRequest)
	b.call("PATCH", "/api/cron/jobs/a", `{"enabled":true}`).want(http.StatusBadRequest)
	b.call("PATCH", "/api/cron/jobs/a", `{"enabled":true,"channel":"telegram"}`).want(http.StatusOK)
}

func TestAnEditLeavesAnOldSpellingOfTheScheduleAlone(t *testing.T) {
	b := setup(t)
	b.seed("a", func(j *job.Job) { j.Schedule = "@daily" })
	b.call("PATCH", "/api/cron/jobs/a", `{"name":"n"}`).want(http.StatusOK)
	if got := b.store.jobs["a"].Schedule; got != "@daily" {
		t.Errorf("schedule = %q: its slots would be worked out anew", got)
	}
}

func TestDelete(t *testing.T) {
	b := setup(t)
	b.seed("a")
	a := b.call("DELETE", "/api/cron/jobs/a", "").want(http.StatusOK)
	if diff := cmp.Diff(map[string]any{"id": "a", "deleted": true}, a.body); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	b.call("DELETE", "/api/cron/jobs/a", "").want(http.StatusNotFound)
}

func TestBodiesWhereNoneIsNeeded(t *testing.T) {
	for _, tt := range []struct {
		body string
		run  int
		del  int
	}{
		{"", http.StatusAccepted, http.StatusOK},
		{"  \n", http.StatusAccepted, http.StatusOK},
		{"{}", http.StatusAccepted, http.StatusOK},
		{`{"force":true}`, http.StatusBadRequest, http.StatusBadRequest},
		{`[]`, http.StatusBadRequest, http.StatusBadRequest},
		{`x`, http.StatusBadRequest, http.StatusBadRequest},
	} {
		t.Run(tt.body, func(t *testing.T) {
			b := setup(t)
			b.seed("a")
			b.call("POST", "/api/cron/jobs/a/run", tt.body).want(tt.run)
			b.call("DELETE", "/api/cron/jobs/a", tt.body).want(tt.del)
			if _, there := b.store.jobs["a"]; there != (tt.del != http.StatusOK) {
				t.Errorf("the job is there: %v", there)
			}
		})
	}
}

func TestListIsLeanAndPaged(t *testing.T) {
	b := setup(t)
	for _, id := range []string{"a", "b", "c"} {
		b.seed(id, func(j *job.Job) { j.Task = strings.Repeat("ä", 201) })
	}
	b.seed("d", func(j *job.Job) { j.Task = strings.Repeat("ä", 200) })
	first := b.call("GET", "/api/cron/jobs?limit=3", "").want(http.StatusOK)
	second := b.call("GET", "/api/cron/jobs?limit=3&cursor="+first.body["nextCursor"].(string), "").want(http.StatusOK)
	if _, more := second.body["nextCursor"]; more {
		t.Errorf("a cursor after the last page: %s", second.raw)
	}
	jobs := append(first.body["jobs"].([]any), second.body["jobs"].([]any)...)
	if len(jobs) != 4 {
		t.Fatalf("%d jobs", len(jobs))
	}
	for i, v := range jobs {
		j := v.(map[string]any)
		if j["next"] != nil || j["nextLocal"] != nil || j["description"] != nil {
			t.Errorf("a list entry is not lean: %v", j)
		}
		if j["task"] != strings.Repeat("ä", 200) || (j["taskTruncated"] == true) != (i < 3) {
			t.Errorf("task of %v = %v, truncated %v", j["id"], j["task"], j["taskTruncated"])
		}
	}

	empty := setup(t).call("GET", "/api/cron/jobs", "").want(http.StatusOK)
	if strings.TrimSpace(empty.raw) != `{"jobs":[]}` {
		t.Errorf("an empty list: %s", empty.raw)
	}
}

func TestListParameters(t *testing.T) {
	b := setup(t)
	b.seed("a")
	b.store.runs["a"] = []job.Run{{ID: "a:1", JobID: "a"}}
	b.store.sessions["s"] = job.Session{Key: "s"}
	for _, tt := range []struct {
		target string
		limit  int // 0: refused
	}{
		{"/api/cron/jobs", 50},
		{"/api/cron/jobs?limit=200", 200},
		{"/api/cron/jobs?limit=201", 0},
		{"/api/cron/jobs?limit=0", 0},
		{"/api/cron/jobs?limit=", 0},
		{"/api/cron/jobs?limit=1&limit=2", 0},
		{"/api/cron/jobs?Limit=1", 0},
		{"/api/cron/jobs?cursor=nonsense", 50},
		{"/api/cron/jobs?cursor=" + strings.Repeat("1", 257), 0},
		{"/api/cron/jobs?limit=%zz", 0},
		{"/api/cron/jobs/a/runs", 20},
		{"/api/cron/jobs/a/runs?limit=100", 100},
		{"/api/cron/jobs/a/runs?limit=101", 0},
		{"/api/sessions/s", 50},
		{"/api/sessions/s?limit=200", 200},
		{"/api/sessions/s?limit=201", 0},
		{"/api/sessions/s?cursor=0", 50},
		{"/api/sessions/s?before=1", 0},
	} {
		t.Run(tt.target, func(t *testing.T) {
			b.store.limits = nil
			status := http.StatusOK
			if tt.limit == 0 || strings.Contains(tt.target, "nonsense") {
				status = http.StatusBadRequest
			}
			b.call("GET", tt.target, "").want(status)
			var want []int
			if tt.limit > 0 {
				want = []int{tt.limit}
			}
			if diff := cmp.Diff(want, b.store.limits); diff != "" {
				t.Errorf("limits asked of the store (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBodyLimit(t *testing.T) {
	b := setup(t, func(o *api.Options) { o.MaxBodyBytes = 100 })
	b.seed("a")
	big := `{"schedule":"0 9 * * 1-5","task":"` + strings.Repeat("x", 100) + `"}`
	b.call("POST", "/api/cron/jobs", big).want(http.StatusRequestEntityTooLarge)
	b.call("PATCH", "/api/cron/jobs/a", big).want(http.StatusRequestEntityTooLarge)
	b.call("POST", "/api/cron/preview", big).want(http.StatusRequestEntityTooLarge)
	b.call("POST", "/api/cron/jobs/a/run", strings.Repeat(" ", 101)).want(http.StatusRequestEntityTooLarge)
	b.call("DELETE", "/api/cron/jobs/a", strings.Repeat(" ", 101)).want(http.StatusRequestEntityTooLarge)
	b.call("POST", "/api/cron/jobs", `{"schedule":"0 9 * * 1-5","task":"x"}`).want(http.StatusCreated)

	standard := setup(t)
	standard.call("POST", "/api/cron/jobs", strings.Repeat(" ", 1<<20+1)).want(http.StatusRequestEntityTooLarge)
	standard.call("POST", "/api/cron/jobs", strings.Repeat(" ", 1<<20)).want(http.StatusBadRequest)
}

func TestPauseAndResume(t *testing.T) {
	paused := func(reason string) func(*job.Job) {
		return func(j *job.Job) { j.Spec, j.NextSlot = j.Paused(reason), 0 }
	}
	broken := func(j *job.Job) { j.Timezone = "Gone/Zone" }
	for _, tt := range []struct {
		name, request, body string
		before              func(*job.Job)
		status              int
		enabled             bool
		reason              string
	}{
		{"pause", "pause", "", nil, http.StatusOK, false, ""},
		{"pause, and say why", "pause", `{"reason":"on holiday"}`, nil, http.StatusOK, false, "on holiday"},
		{"pause what is paused", "pause", `{"reason":"ill"}`, paused("on holiday"), http.StatusOK, false, "ill"},
		{"pause what could not be saved today", "pause", "", broken, http.StatusOK, false, ""},
		{"pause with a reason of two lines", "pause", `{"reason":"a\nb"}`, nil, http.StatusBadRequest, true, ""},
		{"pause with a reason without end", "pause", `{"reason":"` + strings.Repeat("x", job.MaxReasonBytes+1) + `"}`, nil, http.StatusBadRequest, true, ""},
		{"pause with a word too many", "pause", `{"enabled":true}`, nil, http.StatusBadRequest, true, ""},
		{"resume", "resume", "{}", paused("on holiday"), http.StatusOK, true, ""},
		{"resume what is not paused", "resume", "", nil, http.StatusOK, true, ""},
		{"resume what could not be saved today", "resume", "", func(j *job.Job) { paused("x")(j); broken(j) }, http.StatusBadRequest, false, "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			b.seed("a", func(j *job.Job) {
				if tt.before != nil {
					tt.before(j)
				}
			})
			a := b.call("POST", "/api/cron/jobs/a/"+tt.request, tt.body).want(tt.status)
			if j := b.store.jobs["a"]; j.Enabled != tt.enabled || j.PauseReason != tt.reason {
				t.Errorf("enabled is %v, the reason %q", j.Enabled, j.PauseReason)
			}
			if reason, _ := a.body["pauseReason"].(string); tt.status == http.StatusOK && (a.body["enabled"] != tt.enabled || reason != tt.reason) {
				t.Errorf("answer: %s", a.raw)
			}
		})
	}
	t.Run("enabled by an edit", func(t *testing.T) {
		b := setup(t)
		b.seed("a", paused("on holiday"))
		b.call("PATCH", "/api/cron/jobs/a", `{"name":"n"}`).want(http.StatusOK)
		if j := b.store.jobs["a"]; j.PauseReason != "on holiday" {
			t.Errorf("after another edit: %q", j.PauseReason)
		}
		b.call("PATCH", "/api/cron/jobs/a", `{"enabled":true}`).want(http.StatusOK)
		if j := b.store.jobs["a"]; j.PauseReason != "" {
			t.Errorf("the reason stays: %q", j.PauseReason)
		}
		b.call("POST", "/api/cron/jobs/b/pause", "").want(http.StatusNotFound)
		b.call("POST", "/api/cron/jobs/b/resume", "").want(http.StatusNotFound)
	})
}
