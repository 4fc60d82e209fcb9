package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// plain is what every good row of TestCreateAccepts stores, but for its change.
func plain(change func(*job.Spec)) job.Spec {
	s := job.Spec{Schedule: "0 9 * * 1-5", Task: "x", Enabled: true}
	if change != nil {
		change(&s)
	}
	return s
}

func TestCreateAccepts(t *testing.T) {
	tests := []struct {
		name, body string
		want       job.Spec
	}{
		{"the least", `{"schedule":"0 9 * * 1-5","task":"x"}`, plain(nil)},
		{"the ai-server's example", `{"schedule":"0 9 * * 1-5","agent_id":"main","session_key":"agent:main:telegram:dm:123","channel":"telegram","chat_id":"123","peer_id":"123","is_group":false,"task":"x"}`,
			plain(func(s *job.Spec) {
				s.AgentID, s.SessionKey, s.Channel, s.ChatID, s.PeerID, s.IsGroup = "main", "agent:main:telegram:dm:123", "telegram", "123", "123", new(false)
			})},
		{"the same in camelCase", `{"schedule":"0 9 * * 1-5","agentId":"main","sessionKey":"agent:main:telegram:dm:123","channel":"telegram","chatId":"123","peerId":"123","isGroup":false,"task":"x"}`,
			plain(func(s *job.Spec) {
				s.AgentID, s.SessionKey, s.Channel, s.ChatID, s.PeerID, s.IsGroup = "main", "agent:main:telegram:dm:123", "telegram", "123", "123", new(false)
			})},
		{"both spellings, of different fields", `{"schedule":"0 9 * * 1-5","task":"x","max_runs":2,"timeoutSeconds":60}`,
			plain(func(s *job.Spec) { s.MaxRuns, s.TimeoutSeconds = 2, 60 })},
		{"everything in snake_case", `{"schedule":"0 9 * * 1-5","timezone":"Europe/Berlin","enabled":false,"name":"n","task":"x","agent_id":"a","session_key":"s","model":"m","reasoning_effort":"low","channel":"telegram","chat_id":"1","peer_id":"2","thread_id":"3","is_group":true,"max_runs":1,"misfire":"skip","misfire_grace_seconds":65,"timeout_seconds":6,"on_ambiguous":"fail"}`, everything},
		{"everything in camelCase", `{"schedule":"0 9 * * 1-5","timezone":"Europe/Berlin","enabled":false,"name":"n","task":"x","agentId":"a","sessionKey":"s","model":"m","reasoningEffort":"low","channel":"telegram","chatId":"1","peerId":"2","threadId":"3","isGroup":true,"maxRuns":1,"misfire":"skip","misfireGraceSeconds":65,"timeoutSeconds":6,"onAmbiguous":"fail"}`, everything},
		{"null is absent", `{"schedule":"0 9 * * 1-5","task":"x","enabled":null,"timezone":null,"max_runs":null,"is_group":null,"chat_id":null,"misfire":null}`, plain(nil)},
		{"empty strings are absent", `{"schedule":"0 9 * * 1-5","task":"x","timezone":"","channel":"","chat_id":"","misfire":""}`, plain(nil)},
		{"paused", `{"schedule":"0 9 * * 1-5","task":"x","enabled":false}`, plain(func(s *job.Spec) { s.Enabled = false })},
		{"a chat id as a number", `{"schedule":"0 9 * * 1-5","task":"x","channel":"telegram","chat_id":-1001234567890123456789}`,
			plain(func(s *job.Spec) { s.Channel, s.ChatID = "telegram", "-1001234567890123456789" })},
		{"peer and thread ids as numbers", `{"schedule":"0 9 * * 1-5","task":"x","channel":"telegram","chatId":1,"peerId":2,"threadId":3}`,
			plain(func(s *job.Spec) { s.Channel, s.ChatID, s.PeerID, s.ThreadID = "telegram", "1", "2", "3" })},
		{"a macro is expanded", `{"schedule":"@daily","task":"x"}`, plain(func(s *job.Spec) { s.Schedule = "0 0 * * *" })},
		{"space in the schedule", `{"schedule":"  0   9 * * 1-5 ","task":"x"}`, plain(nil)},
		{"space around the body", "\n\t {\"schedule\":\"0 9 * * 1-5\",\"task\":\"x\"} \n", plain(nil)},
		{"escapes in names and values", `{"sched\u0075le":"0 9 * * 1-5","task":"\u0078"}`, plain(nil)},
		{"text beyond ASCII", `{"schedule":"0 9 * * 1-5","task":"Guten Morgen ☀️\nzweite Zeile"}`, plain(func(s *job.Spec) { s.Task = "Guten Morgen ☀️\nzweite Zeile" })},
		{"the largest numbers", `{"schedule":"0 9 * * 1-5","task":"x","maxRuns":1000000,"timeoutSeconds":21600,"misfireGraceSeconds":604800}`,
			plain(func(s *job.Spec) { s.MaxRuns, s.TimeoutSeconds, s.MisfireGraceSeconds = 1000000, 21600, 604800 })},
		{"once, in RFC 3339", `{"at":"2027-03-28T12:00:00+01:00","task":"x"}`, plain(func(s *job.Spec) { s.Schedule, s.At = "", 1806231600000 })},
		{"once, in milliseconds, rounded up", `{"at":1806231600001,"task":"x"}`, plain(func(s *job.Spec) { s.Schedule, s.At = "", 1806231601000 })},
		{"every, between bounds", `{"every":90,"start_at":"2027-03-28T11:00:00Z","endAt":1806231600000,"task":"x"}`,
			plain(func(s *job.Spec) {
				s.Schedule, s.EverySeconds, s.StartAt, s.EndAt = "", 90, 1806231600000, 1806231600000
			})},
		{"jitter", with(`"jitter_seconds":300`), plain(func(s *job.Spec) { s.JitterSeconds = 300 })},
		{"no jitter", with(`"jitterSeconds":0`), plain(nil)},
		{"labels", with(`"labels":["team:ops","daily"]`), plain(func(s *job.Spec) { s.Labels = []string{"team:ops", "daily"} })},
		{"no labels", with(`"labels":[]`), plain(nil)},
		{"a task of the largest size", `{"schedule":"0 9 * * 1-5","task":"` + strings.Repeat("a", job.MaxTaskBytes) + `"}`,
			plain(func(s *job.Spec) { s.Task = strings.Repeat("a", job.MaxTaskBytes) })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			a := b.call("POST", "/api/cron/jobs", tt.body).want(http.StatusCreated)
			id, _ := a.body["id"].(string)
			if got := a.header.Get("Location"); got != "/api/cron/jobs/"+id {
				t.Errorf("Location = %q for the job %q", got, id)
			}
			if diff := cmp.Diff(tt.want, b.store.jobs[id].Spec); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
		})
	}
}

var everything = job.Spec{
	Name: "n", Schedule: "0 9 * * 1-5", Timezone: "Europe/Berlin", Task: "x",
	AgentID: "a", SessionKey: "s", Model: "m", Effort: "low",
	Channel: "telegram", ChatID: "1", PeerID: "2", ThreadID: "3", IsGroup: new(true),
	MaxRuns: 1, Misfire: job.MisfireSkip, MisfireGraceSeconds: 65, TimeoutSeconds: 6, OnAmbiguous: job.OnAmbiguousFail,
}

// with is a body that is good but for what is added.
func with(more string) string { return `{"schedule":"0 9 * * 1-5","task":"x",` + more + `}` }

func TestCreateRefuses(t *testing.T) {
	tests := []struct {
		name, body string
		fields     []string // of the problems, in order
		detail     string   // is in the detail
	}{
		{"no body", ``, []string{"body"}, `"schedule":"0 9 * * 1-5"`},
		{"only space", " \n", []string{"body"}, "is empty"},
		{"null", `null`, []string{"body"}, "not null"},
		{"an array", `[{"schedule":"0 9 * * 1-5","task":"x"}]`, []string{"body"}, "not an array"},
		{"a string", `"0 9 * * 1-5"`, []string{"body"}, "not a string"},
		{"a number", `5`, []string{"body"}, "not a number"},
		{"a boolean", `true`, []string{"body"}, "not a boolean"},
		{"cut off", `{"schedule":"0 9`, []string{"body"}, "is not one valid JSON object"},
		{"trailing comma", `{"schedule":"0 9 * * 1-5","task":"x",}`, []string{"body"}, "is not one valid JSON object"},
		{"single quotes", `{'schedule':'0 9 * * 1-5'}`, []string{"body"}, "is not one valid JSON object"},
		{"a second object", with(`"name":"n"`) + `{}`, []string{"body"}, "after top-level value"},
		{"trailing text", with(`"name":"n"`) + ` and more`, []string{"body"}, "after top-level value"},
		{"bytes that are no UTF-8", with("\"name\":\"\xff\""), []string{"body"}, "UTF-8"},
		{"half a character", with(`"name":"a\ud83d"`), []string{"name"}, "half a character"},
		{"half a character in a list", with(`"labels":["a","\udc00"]`), []string{"labels"}, "half a character"},
		{"a name twice", with(`"name":"a","name":"b"`), []string{"name"}, "is there twice"},
		{"a byte order mark", "\ufeff" + with(`"name":"n"`), []string{"body"}, "is not one valid JSON object"},
		{"very deep", strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000), []string{"body"}, "is not one valid JSON object"},

		{"an empty object", `{}`, []string{"schedule", "task"}, "schedule is required"},
		{"all at once, as sent", `{"schedule":"61 9 * * *","timezone":"Berlin","task":"","max_runs":0,"agent_id":"a b"}`,
			[]string{"max_runs", "schedule", "timezone", "task", "agent_id"}, "and 2 more"},
		{"all at once, in camelCase", `{"schedule":"61 9 * * *","task":"","maxRuns":0,"agentId":"a b"}`,
			[]string{"maxRuns", "schedule", "task", "agentId"}, "maxRuns must be"},
		{"a missing field in the client's style", with(`"channel":"telegram","is_group":true`), []string{"chat_id"}, "chat_id is required"},
		{"a missing field in camelCase", with(`"channel":"telegram","isGroup":true`), []string{"chatId"}, "chatId is required"},
		{"a label alone", with(`"labels":"daily"`), []string{"labels"}, "must be an array of strings, not a string"},
		{"a label that is a number", with(`"labels":["a",1]`), []string{"labels"}, "entry 2 must be a string"},
		{"a label in capitals", with(`"labels":["a","Team Ops"]`), []string{"labels"}, `entry 2 must be 1 to 63 lower-case letters, digits or _ . : / -, the first a letter or digit, for example ["team:ops","daily"]`},
		{"labels by another name", with(`"tags":["a"]`), []string{"tags"}, "did you mean labels?"},
		{"null is no task", `{"schedule":"0 9 * * 1-5","task":null}`, []string{"task"}, "task is required"},

		{"an unknown field", with(`"priority":1`), []string{"priority"}, "priority is not a field here"},
		{"a misspelt field", with(`"shedule":"* * * * *"`), []string{"shedule"}, "did you mean schedule?"},
		{"a misspelt snake_case field", with(`"max_run":1`), []string{"max_run"}, "did you mean maxRuns?"},
		{"the wrong case", with(`"Name":"n"`), []string{"Name"}, "did you mean name?"},
		{"somebody else's name", `{"cron":"0 9 * * 1-5","prompt":"x"}`, []string{"cron", "prompt", "schedule", "task"}, "did you mean schedule?"},
		{"a mix of the spellings", with(`"agent_Id":"a"`), []string{"agent_Id"}, "did you mean agentId?"},
		{"an id", with(`"id":"My Job"`), []string{"id"}, "a-z, 0-9"},
		{"an empty id", with(`"id":""`), []string{"id"}, "leave it out"},
		{"a number for an id", with(`"id":7`), []string{"id"}, "must be a string"},
		{"a revision", with(`"revision":7`), []string{"revision"}, "set by the server"},
		{"a field of answers", with(`"next_run_at":1`), []string{"next_run_at"}, "set by the server"},
		{"an empty name", with(`"":1`), []string{`""`}, "is not a field here"},
		{"control characters in a name", with(`"a\u0000\u001bb":1`), []string{"a\ufffd\ufffdb"}, "is not a field here"},
		{"a very long name", with(`"` + strings.Repeat("k", 5000) + `":1`), []string{strings.Repeat("k", 64) + "…"}, "is not a field here"},

		{"a key twice", with(`"name":"a","name":"b"`), []string{"name"}, "is there twice"},
		{"a key twice, once escaped", with(`"name":"a","n\u0061me":"b"`), []string{"name"}, "is there twice"},
		{"an unknown key twice", with(`"zzzzzzzz":1,"zzzzzzzz":2`), []string{"zzzzzzzz", "zzzzzzzz"}, "is there twice"},
		{"both spellings", with(`"agent_id":"a","agentId":"b"`), []string{"agentId"}, "agentId and agent_id are the same field"},
		{"both spellings, the other way round", with(`"maxRuns":1,"max_runs":1`), []string{"max_runs"}, "max_runs and maxRuns are the same field"},
		{"both spellings, one null", with(`"channel":"telegram","chatId":"a","chat_id":null`), []string{"chat_id"}, "chat_id and chatId are the same field"},

		{"a number for a string", `{"schedule":5,"task":"x"}`, []string{"schedule"}, "must be a string, not a number"},
		{"an object for a string", `{"schedule":{"kind":"cron"},"task":"x"}`, []string{"schedule"}, "must be a string, not an object"},
		{"an array for a string", `{"schedule":"0 9 * * 1-5","task":["x"]}`, []string{"task"}, "must be a string, not an array"},
		{"a boolean for an id", with(`"channel":"telegram","chat_id":true`), []string{"chat_id"}, "must be a string, not a boolean"},
		{"a fraction for an id", with(`"channel":"telegram","chat_id":1.5`), []string{"chat_id"}, "whole number"},
		{"an exponent for an id", with(`"channel":"telegram","chat_id":1e9`), []string{"chat_id"}, "whole number"},
		{"a number for a name", with(`"name":7`), []string{"name"}, "must be a string, not a number"},
		{"a quoted boolean", with(`"enabled":"true"`), []string{"enabled"}, "without quotes"},
		{"a number for a boolean", with(`"is_group":1`), []string{"is_group"}, "not a number"},
		{"a quoted number", with(`"max_runs":"3"`), []string{"max_runs"}, "whole number from 1 to 1000000, not a string"},
		{"zero runs", with(`"max_runs":0`), []string{"max_runs"}, "whole number from 1"},
		{"minus zero runs", with(`"max_runs":-0`), []string{"max_runs"}, "whole number from 1"},
		{"negative runs", with(`"maxRuns":-1`), []string{"maxRuns"}, "whole number from 1"},
		{"half a run", with(`"maxRuns":1.5`), []string{"maxRuns"}, "not 1.5"},
		{"too many runs", with(`"maxRuns":1000001`), []string{"maxRuns"}, "to 1000000"},
		{"more runs than an int", with(`"maxRuns":` + strings.Repeat("9", 400)), []string{"maxRuns"}, "…"},
		{"no time", with(`"timeout_seconds":0`), []string{"timeout_seconds"}, "whole number from 1 to 21600"},
		{"negative time", with(`"timeoutSeconds":-900`), []string{"timeoutSeconds"}, "whole number from 1"},
		{"too much time", with(`"timeoutSeconds":21601`), []string{"timeoutSeconds"}, "to 21600"},
		{"a delay that is no array", with(`"retryDelaysSeconds":30`), []string{"retryDelaysSeconds"}, "must be an array of at most 10 whole numbers from 1 to 86400, not a number"},
		{"too many delays", with(`"retryDelaysSeconds":[1,1,1,1,1,1,1,1,1,1,1]`), []string{"retryDelaysSeconds"}, "at most 10 whole numbers from 1 to 86400, not 11"},
		{"a delay that is no number", with(`"retry_delays_seconds":[1,"2"]`), []string{"retry_delays_seconds"}, "entry 2 must be a whole number from 1 to 86400, not a string"},
		{"a delay of nothing", with(`"retryDelaysSeconds":[null]`), []string{"retryDelaysSeconds"}, "entry 1 must be a whole number from 1 to 86400, not null"},
		{"no delay", with(`"retryDelaysSeconds":[0]`), []string{"retryDelaysSeconds"}, "not 0"},
		{"too long a delay", with(`"retryDelaysSeconds":[86401]`), []string{"retryDelaysSeconds"}, "not 86401"},
		{"no grace", with(`"misfireGraceSeconds":0`), []string{"misfireGraceSeconds"}, "whole number from 60"},
		{"an unknown misfire policy", with(`"misfire":"run_some"`), []string{"misfire"}, "run_once, run_all or skip"},
		{"an unknown answer to doubt", with(`"on_ambiguous":"ask"`), []string{"on_ambiguous"}, "retry or fail"},

		{"four cron fields", `{"schedule":"0 9 * *","task":"x"}`, []string{"schedule"}, `"0 9 * * 1-5"`},
		{"six cron fields", `{"schedule":"0 0 9 * * *","task":"x"}`, []string{"schedule"}, "6 fields"},
		{"a schedule that never fires", `{"schedule":"0 0 31 2 *","task":"x"}`, []string{"schedule"}, "never"},
		{"@every", `{"schedule":"@every 5m","task":"x"}`, []string{"schedule"}, "schedule"},
		{"words for a time", `{"at":"tomorrow","task":"x"}`, []string{"at"}, "RFC 3339"},
		{"a time without a zone", `{"at":"2027-03-28T12:00:00","task":"x"}`, []string{"at"}, "zone offset"},
		{"seconds for milliseconds", `{"at":1806231600,"task":"x"}`, []string{"at"}, "looks like seconds"},
		{"half a millisecond", `{"at":1806231600000.5,"task":"x"}`, []string{"at"}, "whole milliseconds"},
		{"a boolean for a time", `{"at":true,"task":"x"}`, []string{"at"}, "not a boolean"},
		{"a time in another age", with(`"start_at":"2200-01-01T00:00:00Z"`), []string{"start_at"}, "1970 and 2200"},
		{"a time that is no time", with(`"endAt":9223372036854775807`), []string{"endAt"}, "1970 and 2200"},
		{"every and a schedule", with(`"every":60`), []string{"every"}, "one of schedule, every and at"},
		{"words for every", `{"every":"5m","task":"x"}`, []string{"every"}, "whole number"},
		{"a blank schedule beside every", `{"every":60,"schedule":" ","task":"x"}`, []string{"schedule"}, "left out"},
		{"every second", `{"every":1,"task":"x"}`, []string{"every"}, "from 10 to"},
		{"somebody else's name for every", with(`"interval":60`), []string{"interval"}, "did you mean every?"},
		{"negative jitter", with(`"jitterSeconds":-1`), []string{"jitterSeconds"}, "from 0 to 86400"},
		{"an unknown zone", with(`"timezone":"Mars/Olympus"`), []string{"timezone"}, "timezone"},
		{"the server's zone", with(`"timezone":"Local"`), []string{"timezone"}, "timezone"},
		{"a task of space", `{"schedule":"0 9 * * 1-5","task":" \n "}`, []string{"task"}, "is required"},
		{"a task too long", `{"schedule":"0 9 * * 1-5","task":"` + strings.Repeat("a", job.MaxTaskBytes+1) + `"}`, []string{"task"}, "65537 bytes"},
		{"a task with NUL", `{"schedule":"0 9 * * 1-5","task":"a\u0000"}`, []string{"task"}, "NUL"},
		{"a name of two lines", with(`"name":"a\nb"`), []string{"name"}, "one line"},
		{"a space in the session key", with(`"session_key":"a b"`), []string{"session_key"}, "spaces"},
		{"a channel with a slash", with(`"channel":"../x","chatId":"1"`), []string{"channel"}, "lower-case"},
		{"a channel that is not connected", with(`"channel":"slack","chatId":"1"`), []string{"channel"}, "not connected"},
		{"a thread without a channel", with(`"threadId":"1"`), []string{"channel"}, "required with chatId or threadId"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			a := b.call("POST", "/api/cron/jobs", tt.body).want(http.StatusBadRequest)
			if diff := cmp.Diff(tt.fields, a.fields()); diff != "" {
				t.Errorf("fields (-want +got):\n%s\n%s", diff, a.raw)
			}
			if detail := a.body["detail"].(string); !strings.Contains(detail, tt.detail) {
				t.Errorf("detail %q does not say %q", detail, tt.detail)
			}
			if len(a.raw) > 2000 {
				t.Errorf("the answer is too long to show to a model: %d bytes", len(a.raw))
			}
			if len(b.store.calls) > 0 {
				t.Errorf("the store was asked to %v", b.store.calls)
			}
		})
	}
}

func TestTheNumberOfProblemsIsBounded(t *testing.T) {
	var body strings.Builder
	body.WriteString(`{"a":1`)
	for i := range 5000 {
		body.WriteString(`,"` + strings.Repeat("q", i%50) + string(rune('A'+i%26)) + `":1`)
	}
	body.WriteString("}")
	a := setup(t).call("POST", "/api/cron/jobs", body.String()).want(http.StatusBadRequest)
	if n := len(a.fields()); n < 20 || n > 25 {
		t.Errorf("%d problems", n)
	}
}

func TestContentTypes(t *testing.T) {
	body := `{"schedule":"0 9 * * 1-5","task":"x"}`
	for contentType, status := range map[string]int{
		"application/json":                  http.StatusCreated,
		"application/json; charset=utf-8":   http.StatusCreated,
		"Application/JSON":                  http.StatusCreated,
		"application/merge-patch+json":      http.StatusCreated,
		"":                                  http.StatusCreated,
		"text/plain":                        http.StatusUnsupportedMediaType,
		"application/x-www-form-urlencoded": http.StatusUnsupportedMediaType,
		"multipart/form-data; boundary=x":   http.StatusUnsupportedMediaType,
		"application/json;;":                http.StatusUnsupportedMediaType,
	} {
		t.Run(contentType, func(t *testing.T) {
			b := setup(t)
			b.call("POST", "/api/cron/jobs", body, func(r *http.Request) {
				if r.Header.Set("Content-Type", contentType); contentType == "" {
					r.Header.Del("Content-Type")
				}
			}).want(status)
		})
	}
}
