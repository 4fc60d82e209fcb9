package jobs

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const editable = `{"id":"a","revision":7,"name":"n","schedule":"0 9 * * *","timezone":"UTC","enabled":true,"task":"x <&>","maxRuns":3,"retryDelaysSeconds":[30,60],"nextRunAt":1,"next":["x"]}`

// TestEditor: what is different in the editor is sent, to be applied to what was shown.
func TestEditor(t *testing.T) {
	for _, tt := range []struct {
		name, script string // of a shell; the file is $1
		job          string
		reply        reply
		code         int
		want         string // the change, "" for none
		kept         bool   // the file, for another attempt
		said         string
	}{
		{"a change", `edit 's/"n"/"new"/'`, editable, reply{body: editable}, 0, `{"name":"new"}`, false, ""},
		{"a field that goes", `edit '/maxRuns/d'`, editable, reply{body: editable}, 0, `{"maxRuns":null}`, false, ""},
		{"a field that comes, and a space", `edit 's/"x <&>"/"x <\&>",  "model" : "m"/'`, editable, reply{body: editable}, 0, `{"model":"m"}`, false, ""},
		{"another timing", `edit 's/"schedule": "0 9 \* \* \*"/"every": 60/'`, editable, reply{body: editable}, 0, `{"every":60}`, false, ""},
		{"a job without a schedule", `edit 's/"n"/"new"/'`, strings.Replace(editable, `"0 9 * * *"`, `"","every":60`, 1), reply{body: editable}, 0, `{"name":"new"}`, false, ""},
		{"nothing", `true`, editable, reply{}, 0, "", false, "nothing changed"},
		{"not JSON", `echo '{' > "$1"`, editable, reply{}, exitUsage, "", true, "is not JSON"},
		{"an editor that fails", `exit 3`, editable, reply{}, exitFailed, "", true, "run the editor"},
		{"a change that is refused", `edit 's/"n"/"new"/'`, editable, reply{status: 412, body: `{"detail":"changed meanwhile"}`}, exitRefused, `{"name":"new"}`, true, "changed meanwhile"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("TMPDIR", dir)
			b := setup(t, map[string][]reply{"GET /api/cron/jobs/a": {{body: tt.job, header: map[string]string{"ETag": `"u-7.x"`}}}, "PATCH /api/cron/jobs/a": {tt.reply}})
			b.env["EDITOR"] = b.file("editor", "#!/bin/sh\nfile=$1\nedit() { sed \"$1\" \"$file\" > \"$file.new\" && mv \"$file.new\" \"$file\"; }\n"+tt.script+"\n")
			code := b.run(t.Context(), "job", "edit", "a", "--editor")
			if code != tt.code || !strings.Contains(b.stderr.String(), tt.said) {
				t.Errorf("exit code %d: %s", code, b.stderr.String())
			}
			last := b.api.last()
			if tt.want == "" {
				if last.Method != http.MethodGet {
					t.Errorf("sent %s", last.Body)
				}
			} else if last.Method != http.MethodPatch || last.Header.Get("If-Match") != `"u-7.x"` {
				t.Errorf("%+v", last)
			} else {
				sameBody(t, tt.want, last.Body)
			}
			left, _ := filepath.Glob(filepath.Join(dir, "gateway-cron-job-*"))
			if len(left) > 0 != tt.kept || tt.kept && !strings.Contains(b.stderr.String(), left[0]) {
				t.Errorf("left %q, said %s", left, b.stderr.String())
			}
		})
	}
}

// TestEditable: somebody edits what can be changed, and only that.
func TestEditable(t *testing.T) {
	b := setup(t, map[string][]reply{"GET /api/cron/jobs/a": one200(editable)})
	b.env["EDITOR"] = "false"
	copied := filepath.Join(t.TempDir(), "copy")
	b.env["VISUAL"] = b.file("editor", "#!/bin/sh\ncp \"$2\" \"$1\"\n") + " " + copied
	b.ok("job", "edit", "a", "--editor")
	text, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
  "schedule": "0 9 * * *",
  "timezone": "UTC",
  "task": "x <&>",
  "name": "n",
  "enabled": true,
  "maxRuns": 3,
  "retryDelaysSeconds": [30,60]
}
`
	if d := cmp.Diff(want, string(text)); d != "" {
		t.Error(d)
	}
}

func TestRemove(t *testing.T) {
	for _, tt := range []struct {
		name        string
		interactive bool
		said        string
		args        []string
		code        int
		deleted     bool
		match       string
	}{
		{"yes", true, "y\n", nil, 0, true, `"u-7.x"`},
		{"Yes", true, "Yes\n", nil, 0, true, `"u-7.x"`},
		{"no", true, "n\n", nil, exitFailed, false, ""},
		{"nothing", true, "", nil, exitFailed, false, ""},
		{"not asked", true, "", []string{"--yes"}, 0, true, ""},
		{"nobody to ask", false, "", nil, 0, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t, map[string][]reply{"GET /api/cron/jobs/job_a": {{body: aJob, header: map[string]string{"ETag": `"u-7.x"`}}},
				"DELETE /api/cron/jobs/job_a": one200(`{"id":"a","deleted":true}`)})
			b.options.Terminal.Interactive, b.stdin = tt.interactive, tt.said
			code := b.run(t.Context(), append([]string{"job", "rm", "job_a"}, tt.args...)...)
			last := b.api.last()
			if code != tt.code || (last.Method == http.MethodDelete) != tt.deleted || last.Header.Get("If-Match") != tt.match {
				t.Errorf("exit code %d, %+v", code, last)
			}
			asked := strings.Contains(b.stderr.String(), "Morning summary\n  0 9 * * 1-5  Europe/Berlin\n  Summarise my inbox Be brief\nDelete this job? [y/N] ")
			if asked != (tt.interactive && tt.args == nil) || !tt.deleted && !strings.Contains(b.stderr.String(), "job_a was not deleted") {
				t.Errorf("said %s", b.stderr.String())
			}
		})
	}
}

// TestInterruptedQuestion: Ctrl-C is a no.
func TestInterruptedQuestion(t *testing.T) {
	in, silent := io.Pipe()
	defer silent.Close()
	b := setup(t, map[string][]reply{"GET /api/cron/jobs/job_a": one200(aJob)})
	ctx, interrupt := context.WithCancel(t.Context())
	asked := writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "[y/N]") {
			interrupt()
		}
		return len(p), nil
	})
	o := b.options
	o.Stdin, o.Stdout, o.Stderr, o.Terminal.Interactive = in, &b.stdout, asked, true
	cmd := Commands(o)[0]
	cmd.SetArgs([]string{"rm", "job_a"})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	if err := cmd.ExecuteContext(ctx); err == nil || err.Error() != "job_a was not deleted" {
		t.Errorf("%v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestExport(t *testing.T) {
	const lines = `{"id":"a"}` + "\n" + `{"id":"b"}` + "\n"
	broken := reply{serve: func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, lines)
		panic(http.ErrAbortHandler)
	}}
	dir := t.TempDir()
	file := filepath.Join(dir, "jobs.ndjson")

	b := setup(t, map[string][]reply{"GET /api/cron/export": {{body: lines}, {body: lines}, broken, broken, {status: 503, body: `{"detail":"later"}`}}})
	if out := b.ok("job", "export"); out != lines {
		t.Errorf("%q", out)
	}
	b.ok("job", "export", "--output", file)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 || b.stderr.String() != "wrote 2 jobs to "+file+"\n" {
		t.Errorf("%v %v %s", info.Mode(), err, b.stderr.String())
	}
	if err := os.WriteFile(file, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := b.run(t.Context(), "job", "export", "-o", file); code != exitFailed || !strings.Contains(b.stderr.String(), "was not written") {
		t.Errorf("exit code %d: %s", code, b.stderr.String())
	}
	if code := b.run(t.Context(), "job", "export"); code != exitFailed || !strings.Contains(b.stderr.String(), "What was written is not all.") {
		t.Errorf("exit code %d: %s", code, b.stderr.String())
	}
	if code := b.run(t.Context(), "job", "export", "-o", file); code != exitUnreachable {
		t.Errorf("exit code %d", code)
	}
	content, err := os.ReadFile(file)
	if left, _ := os.ReadDir(dir); err != nil || string(content) != "before" || len(left) != 1 {
		t.Errorf("%q %v %v", content, err, left)
	}
}

func TestImport(t *testing.T) {
	b := setup(t, map[string][]reply{"POST /api/cron/import": {
		{body: `{"created":2,"updated":0,"unchanged":0,"failed":0,"problems":[]}`},
		{body: `{"created":1,"updated":0,"unchanged":0,"failed":1,"problems":[{"line":2,"id":"b","problems":[{"field":"task","detail":"is required","example":"\"x\""},{"field":"id","detail":"is odd"}]}]}`},
	}})
	const lines = `{"id":"a"}` + "\n" + `{"id":"b"}` + "\n"
	b.ok("job", "import", b.file("jobs.ndjson", lines))
	if got := b.api.last(); got.Body != lines || got.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%+v", got)
	}
	code := b.run(t.Context(), "job", "import", b.file("jobs.ndjson", lines))
	const want = "1 lines were not accepted:\n  line 2 b: task is required, for example \"x\"\n  line 2 b: id is odd\n"
	if code != exitRefused || b.stderr.String() != want || b.stdout.String() != "1 created, 0 updated, 0 unchanged, 1 failed\n" {
		t.Errorf("exit code %d: %s%s", code, b.stdout.String(), b.stderr.String())
	}
}

// TestDistances: how far away something is, in the words of a table.
func TestDistances(t *testing.T) {
	b := setup(t, nil)
	tool := &tool{Options: b.options}
	for d, want := range map[time.Duration]string{
		0: "now", 500 * time.Millisecond: "now", 5 * time.Second: "in 5 s", -89 * time.Second: "89 s ago", 90 * time.Second: "in 2 min",
		89 * time.Minute: "in 89 min", -90 * time.Minute: "2 h ago", 14 * time.Hour: "in 14 h", 36 * time.Hour: "in 2 d", -1000 * time.Hour: "42 d ago",
	} {
		if got := tool.distance(monday().Add(d).UnixMilli()); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	if tool.distance(0) != "" || tool.clock(0, time.UTC) != "" {
		t.Error("never is not 1970")
	}
	years := regexp.MustCompile(`20\d\d`)
	for millis, year := range map[int64]bool{monday().UnixMilli(): false, monday().AddDate(1, 0, 0).UnixMilli(): true} {
		if got := tool.clock(millis, time.UTC); years.MatchString(got) != year {
			t.Errorf("%s", got)
		}
	}
}
