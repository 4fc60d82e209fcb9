package jobs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// records is an API of some jobs and their runs, which looks at two records a request.
type records struct {
	jobs []client.Job
	runs []client.Run
}

func (a records) replies() map[string][]reply {
	const most = 2
	page := func(w http.ResponseWriter, r *http.Request, name string, n int, pick func(i int) (any, bool)) {
		from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		some := []any{}
		for i := from; i < min(from+most, n); i++ {
			if x, ok := pick(i); ok {
				some = append(some, x)
			}
		}
		answer := map[string]any{name: some}
		if from+most < n {
			answer["nextCursor"] = strconv.Itoa(from + most)
		}
		_ = json.NewEncoder(w).Encode(answer)
	}
	runs := func(of string) []reply {
		return []reply{{serve: func(w http.ResponseWriter, r *http.Request) {
			match, id := r.URL.Query().Get("match"), r.URL.Query().Get("jobId")
			if id != "" && !slices.ContainsFunc(a.jobs, func(j client.Job) bool { return j.ID == id }) {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			page(w, r, "runs", len(a.runs), func(i int) (any, bool) {
				run := a.runs[i]
				begun, own, _ := strings.Cut(match, ":")
				id, rest, _ := strings.Cut(run.ID, ":")
				ok := strings.HasPrefix(id, begun) && (strings.HasPrefix(rest, own) || strings.HasPrefix(strings.TrimPrefix(rest, "manual:"), own))
				return run, (of == "" || of == id) && (match == run.JobName || ok)
			})
		}}}
	}
	all := map[string][]reply{"GET /api/cron/runs": runs("")}
	all["GET /api/cron/jobs"] = []reply{{serve: func(w http.ResponseWriter, r *http.Request) {
		match := r.URL.Query().Get("match")
		page(w, r, "jobs", len(a.jobs), func(i int) (any, bool) {
			return a.jobs[i], a.jobs[i].Name == match || strings.HasPrefix(a.jobs[i].ID, match)
		})
	}}}
	for _, j := range a.jobs {
		path := " /api/cron/jobs/" + j.ID
		body, _ := json.Marshal(j)
		for _, request := range []string{"GET" + path, "PATCH" + path, "DELETE" + path, "POST" + path + "/pause", "POST" + path + "/resume", "POST" + path + "/run"} {
			all[request] = one200(string(body))
		}
		all["GET"+path+"/runs"] = runs(j.ID)
	}
	for _, r := range a.runs {
		path := " /api/cron/runs/" + r.ID
		body, _ := json.Marshal(r)
		for _, request := range []string{"GET" + path, "POST" + path + "/cancel", "POST" + path + "/redeliver"} {
			all[request] = one200(string(body))
		}
	}
	return all
}

func someRecords() records {
	return records{
		jobs: []client.Job{
			{ID: firstID, Name: "Morning summary"}, {ID: thirdID, Name: "twice"}, {ID: "job_01m9zzzzzz4cp4pd476svfty9z", Name: "twice"},
			{ID: "backup-2", Name: "Old backup"}, {ID: "twins", Name: "x"}, {ID: "report", Name: "backup-2"}, {ID: "report-weekly", Name: "A: B"},
		},
		runs: []client.Run{
			{ID: firstID + ":manual:01M8ABCDEF4CP4PD476SVFTY9Z", JobID: firstID, JobName: "Morning summary", State: "running"},
			{ID: firstID + ":1795420800", JobID: firstID, JobName: "Morning summary", State: "done", Outcome: "failed"},
			{ID: firstID + ":1795334400", JobID: firstID, JobName: "Morning summary", State: "done", Outcome: "succeeded"},
			{ID: "gone:1795420800", JobID: "gone", JobName: "Of a deleted job", State: "done", Outcome: "succeeded"},
			{ID: "backup-2:1795420800", JobID: "backup-2", JobName: "Old backup", State: "done", Outcome: "succeeded"},
		},
	}
}

// TestMeantJob: which job a text means, in every command that takes one.
func TestMeantJob(t *testing.T) {
	for _, command := range []string{"GET job show %s", "GET job next %s", "PATCH job edit %s --name n", "DELETE job rm %s", "POST job pause %s",
		"POST job resume %s", "POST job run %s", "GET job runs %s", "GET run list --job %s"} {
		method, line, _ := strings.Cut(command, " ")
		for _, tt := range []struct {
			text, want string // the id, or "" and why none
			code       int
			said       []string
		}{
			{firstID, firstID, 0, nil},
			{"job_01m8", firstID, 0, nil},
			{"Morning summary", firstID, 0, nil},
			{"A: B", "report-weekly", 0, nil},
			{"report", "report", 0, nil},     // an id before the beginning of another
			{"backup-2", "backup-2", 0, nil}, // an id before a name
			{"twice", "", exitRefused, []string{`"twice" may be one of several jobs; write the id of one:`, "\n  " + thirdID + "  twice", "\n  job_01m9zzzzzz4cp4pd476svfty9z  twice"}},
			{"job_01m9", "", exitRefused, []string{thirdID}},
			{"repor", "", exitRefused, []string{"report-weekly  A: B"}},
			{"morning", "", exitNotFound, nil},
			{"job_01m8z", "", exitNotFound, nil},
			{"Mörning", "", exitNotFound, []string{`no job of the name "Mörning"`}},
		} {
			b := setup(t, someRecords().replies())
			var args []string
			for word := range strings.FieldsSeq(line) {
				args = append(args, strings.ReplaceAll(word, "%s", tt.text))
			}
			code := b.run(t.Context(), args...)
			if code != tt.code {
				t.Errorf("%q: exit code %d: %s", args, code, b.stderr.String())
			}
			for _, said := range tt.said {
				if !strings.Contains(b.stderr.String(), said) {
					t.Errorf("%q said %s", args, b.stderr.String())
				}
			}
			did := slices.DeleteFunc(b.api.requests(), func(r string) bool { return !strings.HasPrefix(r, method) || strings.Contains(r, "match=") })
			found := slices.ContainsFunc(did, func(r string) bool { return tt.want != "" && strings.Contains(r, tt.want) })
			if found != (tt.want != "") {
				t.Errorf("%q did %q", args, did)
			}
			if method == "GET" {
				continue
			}
			for _, r := range did { // nothing else is changed
				if id := strings.FieldsFunc(r, func(r rune) bool { return r == '/' || r == ' ' })[4]; id != tt.want && slices.ContainsFunc(someRecords().jobs, func(j client.Job) bool { return j.ID == id }) {
					t.Errorf("%q did %q", args, r)
				}
			}
		}
	}
}

// TestRemoveMeans: what cannot be undone is done to what is meant beyond doubt.
func TestRemoveMeans(t *testing.T) {
	for _, tt := range []struct {
		text        string
		interactive bool
		code        int
		deleted     string
	}{
		{"backup", false, exitNotFound, ""}, // a script that deletes it for the second time
		{"backup", true, 0, "backup-2"},     // who was shown what it is, and said yes
		{"job_01m83mjkge", false, 0, firstID},
		{"Old backup", false, 0, "backup-2"},
		{"tw", false, exitNotFound, ""},
	} {
		b := setup(t, someRecords().replies())
		b.options.Terminal.Interactive, b.stdin = tt.interactive, "y\n"
		code := b.run(t.Context(), "job", "rm", tt.text)
		got := strings.TrimSpace(strings.TrimPrefix(b.stdout.String(), "deleted "))
		if code != tt.code || got != tt.deleted {
			t.Errorf("%s, interactive %t: exit code %d, deleted %q: %s", tt.text, tt.interactive, code, got, b.stderr.String())
		}
	}
	// A name that is also the beginning of another id is not beyond doubt.
	a := someRecords()
	a.jobs[3].Name = "repor"
	if code := setup(t, a.replies()).run(t.Context(), "job", "show", "repor"); code != 0 {
		t.Errorf("show: exit code %d", code)
	}
	b := setup(t, a.replies())
	if code := b.run(t.Context(), "job", "rm", "repor"); code != exitRefused || !strings.Contains(b.stderr.String(), "backup-2  repor\n  report  backup-2") {
		t.Errorf("rm: exit code %d: %s", code, b.stderr.String())
	}
}

func TestMeantRun(t *testing.T) {
	const manual = firstID + ":manual:01M8ABCDEF4CP4PD476SVFTY9Z"
	for _, tt := range []struct {
		command, text, want string
		code                int
	}{
		{"show", firstID + ":1795420800", firstID + ":1795420800", 0},
		{"show", "job_01m83mjkge:1795420800", firstID + ":1795420800", 0},
		{"show", "job_01m8:17953", firstID + ":1795334400", 0},
		{"show", "job_01m8:01M8ABCDEF", manual, 0},
		{"show", "job_01m8:manual", manual, 0},
		{"show", "Morning summary:1795334400", firstID + ":1795334400", 0},
		{"show", "gone:17954", "gone:1795420800", 0},
		{"show", "Of a deleted job", "gone:1795420800", 0},
		{"show", "Old backup", "backup-2:1795420800", 0},
		{"redeliver", "backup-2", "backup-2:1795420800", 0},
		{"cancel", "Morning summary", manual, 0}, // the one that is under way
		{"follow", "gone", "gone:1795420800", 0},
		{"show", "Morning summary", "", exitRefused},
		{"show", "job_01m8:1795", "", exitRefused},
		{"cancel", "job_01m8:1795", "", exitRefused},
		{"show", "job_01m8:18", "", exitNotFound},
		{"show", "nothing", "", exitNotFound},
	} {
		b := setup(t, someRecords().replies())
		code := b.run(t.Context(), "run", tt.command, tt.text)
		if code != tt.code || tt.want != "" && !strings.Contains(b.stdout.String(), tt.want+"\n") {
			t.Errorf("run %s %s: exit code %d\n%s%s", tt.command, tt.text, code, b.stdout.String(), b.stderr.String())
		}
		if tt.code == exitRefused && !strings.Contains(b.stderr.String(), "\n  "+firstID+":1795334400  succeeded, ") {
			t.Errorf("run %s %s said %s", tt.command, tt.text, b.stderr.String())
		}
	}
}

func TestMeantToken(t *testing.T) {
	const tokens = `{"tokens":[{"id":"abcdefghijklmnop","name":"tools","revokedAt":1},{"id":"abcdefghijklmnoq","name":"tools"},{"id":"abzzzzzzzzzzzzzz","name":"chat"},{"id":"ad","name":"chat"}]}`
	for text, want := range map[string]string{
		"abcdefghijklmnop": "abcdefghijklmnop", "abcdefghijklmno": "abcdefghijklmnoq", "tools": "abcdefghijklmnoq", "abz": "abzzzzzzzzzzzzzz",
		"ab": "", "chat": "", "x": "",
	} {
		b := setup(t, map[string][]reply{"GET /api/cron/tokens": one200(tokens), "DELETE /api/cron/tokens/abcdefghijklmnop": one200("{}"),
			"DELETE /api/cron/tokens/abcdefghijklmnoq": one200("{}"), "DELETE /api/cron/tokens/abzzzzzzzzzzzzzz": one200("{}")})
		code := b.run(t.Context(), "token", "revoke", text)
		switch {
		case want != "" && (code != 0 || b.stdout.String() != "revoked "+want+"\n"),
			want == "" && code != exitRefused && code != exitNotFound,
			text == "chat" && !strings.Contains(b.stderr.String(), "abzzzzzzzzzzzzzz  chat, for agent"):
			t.Errorf("%s: exit code %d: %s%s", text, code, b.stdout.String(), b.stderr.String())
		}
	}
}

// TestSearchOfMany: the pages of 100,000 jobs are gone through at the pace that the API
// asks for, and a search without end is given up, with a word.
func TestSearchOfMany(t *testing.T) {
	for _, tt := range []struct {
		pages int
		busy  string // Retry-After of every other request
		code  int
		said  string
	}{
		{100, "", 0, ""},
		{100, "1", 0, ""},
		{maxLooks + 1, "", exitFailed, "gave up looking for \"needle\""},
		{100, "30", exitFailed, "gave up looking for \"needle\""},
	} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			b := setup(t, map[string][]reply{"GET /api/cron/jobs": {{serve: func(w http.ResponseWriter, r *http.Request) {
				if asked++; tt.busy != "" && asked%2 == 0 {
					w.Header().Set("Retry-After", tt.busy)
					w.WriteHeader(http.StatusTooManyRequests)
					return
				}
				page, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
				if page++; page == tt.pages {
					fmt.Fprintf(w, `{"jobs":[{"id":%q,"name":"needle"}]}`, firstID)
					return
				}
				fmt.Fprintf(w, `{"jobs":[],"nextCursor":"%d"}`, page)
			}}}, "GET /api/cron/jobs/" + firstID: one200(aJob)})
			code := b.run(t.Context(), "job", "show", "needle")
			if code != tt.code || !strings.Contains(b.stderr.String(), tt.said) {
				t.Errorf("%+v: exit code %d after %d requests: %s", tt, code, asked, b.stderr.String())
			}
		})
	}
}

// TestFewCandidatesAreListed, however many there are.
func TestFewCandidatesAreListed(t *testing.T) {
	var a records
	for i := range 40 {
		a.jobs = append(a.jobs, client.Job{ID: fmt.Sprintf("job-%02d", i), Name: "same\x1b[2J\u202e " + strings.Repeat("long ", 40)})
	}
	b := setup(t, a.replies())
	code := b.run(t.Context(), "job", "rm", "job")
	said := b.stderr.String()
	if code != exitRefused || strings.Count(said, "\n  job-") != maxCandidates || !strings.HasSuffix(said, "\n  and more\n") || strings.ContainsAny(said, "\x1b\u202e") {
		t.Errorf("exit code %d: %s", code, said)
	}
}
