package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/api"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

// export asks for an export and answers it.
func (b *bundle) export() string {
	b.t.Helper()
	r := httptest.NewRequestWithContext(b.t.Context(), "GET", "/api/cron/export", nil)
	r.Host = "127.0.0.1"
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	if h := w.Header(); w.Code != http.StatusOK || h.Get("Content-Type") != "application/x-ndjson" || h.Get("Cache-Control") != "no-store" {
		b.t.Fatalf("export: %d %v", w.Code, h)
	}
	return w.Body.String()
}

// take imports lines and answers the report.
func (b *bundle) take(query, lines string) answer {
	b.t.Helper()
	return b.call("POST", "/api/cron/import"+query, lines, header("Content-Type", "application/x-ndjson"))
}

// counts are created, updated, unchanged and failed.
func (a answer) counts() [4]int {
	var n [4]int
	for i, name := range []string{"created", "updated", "unchanged", "failed"} {
		n[i] = int(a.body[name].(float64))
	}
	return n
}

func TestExport(t *testing.T) {
	b := setup(t)
	if got := b.export(); got != "" {
		t.Errorf("no jobs: %q", got)
	}
	b.seed("a", func(j *job.Job) { j.Task, j.Claims, j.Failures = "two\nlines", 3, 2 })
	b.seed("b", func(j *job.Job) { j.Spec = j.Paused("on holiday") })
	const want = `{"id":"a","schedule":"0 9 * * 1-5","timezone":"Europe/Berlin","task":"two\nlines","enabled":true,"deliver":"always","context":"session","overlap":"skip","misfire":"run_once","misfireGraceSeconds":3600,"timeoutSeconds":900,"maxRetries":3,"onAmbiguous":"retry","sessionForm":2}
{"id":"b","schedule":"0 9 * * 1-5","timezone":"Europe/Berlin","task":"Morning summary","enabled":false,"deliver":"always","context":"session","overlap":"skip","misfire":"run_once","misfireGraceSeconds":3600,"timeoutSeconds":900,"maxRetries":3,"onAmbiguous":"retry","pauseReason":"on holiday","sessionForm":2}
`
	if d := cmp.Diff(want, b.export()); d != "" {
		t.Error(d)
	}

	for i := range 120 { // over several pages
		b.seed(fmt.Sprintf("c%03d", i))
	}
	b.store.limits = nil
	if n := strings.Count(b.export(), "\n"); n != 122 {
		t.Errorf("%d lines", n)
	}
	if d := cmp.Diff([]int{50, 50, 50}, b.store.limits); d != "" {
		t.Errorf("pages: %s", d)
	}
	b.store.err = job.ErrNotFound
	b.call("GET", "/api/cron/export", "").want(http.StatusNotFound)
}

// brokenStore fails from the second page on.
type brokenStore struct{ *fakeStore }

func (s brokenStore) FindJobs(ctx context.Context, filter job.JobFilter, cursor string, limit int) ([]job.Job, string, error) {
	if cursor != "" {
		return nil, "", errUnknown
	}
	return s.fakeStore.FindJobs(ctx, filter, cursor, limit)
}

// TestAnExportThatFailsIsNoWholeOne: its end must not look like one.
func TestAnExportThatFailsIsNoWholeOne(t *testing.T) {
	b := setup(t, func(o *api.Options) { o.Find = brokenStore{o.Find.(*fakeStore)} })
	for i := range 60 {
		b.seed(fmt.Sprintf("c%03d", i))
	}
	server := httptest.NewServer(b.handler)
	defer server.Close()
	res, err := server.Client().Get(server.URL + "/api/cron/export")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil || bytes.Count(body, []byte("\n")) != 50 {
		t.Errorf("%d lines, and then %v", bytes.Count(body, []byte("\n")), err)
	}
	server.Close()
	if !strings.Contains(b.log.String(), "export broken off") {
		t.Errorf("log: %s", b.log)
	}
}

func TestImport(t *testing.T) {
	b := setup(t)
	b.seed("a")
	b.seed("paused", func(j *job.Job) { j.Spec = j.Paused("on holiday") })
	whole := b.export()

	other := setup(t)
	a := other.take("", whole).want(http.StatusOK)
	if got := a.counts(); got != [4]int{2, 0, 0, 0} {
		t.Errorf("into nothing: %s", a.raw)
	}
	if d := cmp.Diff(whole, other.export()); d != "" {
		t.Errorf("exported again: %s", d)
	}
	again := other.take("", whole).want(http.StatusOK)
	if got := again.counts(); got != [4]int{0, 0, 2, 0} || other.store.jobs["a"].Revision != 1 {
		t.Errorf("again: %s", again.raw)
	}
	if strings.TrimSpace(again.raw) != `{"created":0,"updated":0,"unchanged":2,"failed":0,"problems":[]}` {
		t.Errorf("report: %s", again.raw)
	}

	a = other.take("", "\n\r\n"+`{"id":"a","schedule":"@daily","task":"another","max_runs":3}`+"\r\n\n"+`  {"id":"new","every":60,"task":"y"}`).want(http.StatusOK)
	if got := a.counts(); got != [4]int{1, 1, 0, 0} {
		t.Errorf("one changed, one new: %s", a.raw)
	}
	// A line is the whole definition: what it leaves out has its default.
	if d := cmp.Diff(job.Spec{Schedule: "0 0 * * *", Task: "another", MaxRuns: 3, Enabled: true}, other.store.jobs["a"].Spec); d != "" {
		t.Error(d)
	}
	if got := other.take("", "").want(http.StatusOK).counts(); got != [4]int{} {
		t.Errorf("nothing: %v", got)
	}
}

func TestImportRefusesLines(t *testing.T) {
	const good = `{"id":"good","schedule":"0 9 * * *","task":"x"}`
	for _, tt := range []struct {
		name, line string
		fields     []string
		detail     string
	}{
		{"no object", `[]`, []string{"body"}, "must be a JSON object"},
		{"cut off", `{"id":"a","schedule":"0 9`, []string{"body"}, "is not one valid JSON object"},
		{"two objects", good + good, []string{"body"}, "after top-level value"},
		{"no id", `{"schedule":"0 9 * * *","task":"x"}`, []string{"id"}, "is required"},
		{"what cannot be an id", `{"id":"A b","schedule":"0 9 * * *","task":"x"}`, []string{"id"}, "lower-case"},
		{"an id of another kind", `{"id":7,"schedule":"0 9 * * *","task":"x"}`, []string{"id"}, "must be a string"},
		{"everything at once", `{"id":"a","schedule":"61 9 * * *","task":"","max_runs":0,"agent_id":"a b"}`, []string{"max_runs", "schedule", "task", "agent_id"}, ""},
		{"what the server sets", `{"id":"a","schedule":"0 9 * * *","task":"x","revision":3}`, []string{"revision"}, "set by the server"},
		{"a channel that is not connected", `{"id":"a","schedule":"0 9 * * *","task":"x","channel":"slack","chatId":"1"}`, []string{"channel"}, "not connected"},
		{"a reason without a pause", `{"id":"a","schedule":"0 9 * * *","task":"x","pause_reason":"r"}`, []string{"pause_reason"}, "not enabled"},
		{"a reason of two lines", `{"id":"a","schedule":"0 9 * * *","task":"x","enabled":false,"pauseReason":"a\nb"}`, []string{"pauseReason"}, "one line"},
		{"a job twice", `{"id":"good","schedule":"0 9 * * *","task":"y"}`, []string{"id"}, "is on line 1 already"},
		{"too long", `{"id":"a","schedule":"0 9 * * *","task":"` + strings.Repeat("x", 2000) + `"}`, []string{"line"}, "too long"},
	} {
		for _, query := range []string{"", "?dryRun=true"} {
			t.Run(tt.name+query, func(t *testing.T) {
				b := setup(t, func(o *api.Options) { o.MaxBodyBytes = 1024 })
				a := b.take(query, good+"\n"+tt.line+"\n"+strings.ReplaceAll(good, "good", "after")).want(http.StatusOK)
				if got := a.counts(); got != [4]int{2, 0, 0, 1} {
					t.Fatalf("%s", a.raw)
				}
				refused := a.body["problems"].([]any)[0].(map[string]any)
				var fields []string
				for _, p := range refused["problems"].([]any) {
					fields = append(fields, p.(map[string]any)["field"].(string))
				}
				if d := cmp.Diff(tt.fields, fields); d != "" || refused["line"] != 2.0 || !strings.Contains(a.raw, tt.detail) {
					t.Errorf("%s%s", d, a.raw)
				}
				if _, made := b.store.jobs["after"]; made == (query != "") || len(b.store.jobs) > 2 {
					t.Errorf("made: %v", b.store.jobs)
				}
			})
		}
	}
}

func TestDryRun(t *testing.T) {
	b := setup(t)
	b.seed("same")
	b.seed("other")
	b.seed("used", func(j *job.Job) { j.MaxRuns, j.Claims = 10, 5 })
	b.seed("over", func(j *job.Job) { j.Spec = job.Spec{At: 1000000000000, Enabled: true, Task: "x"} })
	whole := b.export()
	before := fmt.Sprint(b.store.jobs)
	for _, tt := range []struct {
		name, line string
		counts     [4]int
		detail     string
	}{
		{"everything as it is", whole, [4]int{0, 0, 4, 0}, ""},
		{"new", `{"id":"new","schedule":"@daily","task":"x"}`, [4]int{1, 0, 0, 0}, ""},
		{"changed", `{"id":"other","schedule":"@daily","task":"x"}`, [4]int{0, 1, 0, 0}, ""},
		{"more runs", `{"id":"used","schedule":"@daily","task":"x","maxRuns":6}`, [4]int{0, 1, 0, 0}, ""},
		{"fewer than it had", `{"id":"used","schedule":"@daily","task":"x","maxRuns":5}`, [4]int{0, 0, 0, 1}, "more than the 5 runs"},
		{"a new one whose time is over", `{"id":"new","at":"2026-03-27T11:59:59Z","task":"x"}`, [4]int{0, 0, 0, 1}, "is over already"},
		{"one whose end is over", `{"id":"new","schedule":"@daily","endAt":"2026-03-27T11:59:59Z","task":"x"}`, [4]int{0, 0, 0, 1}, "leaves no slot"},
		{"paused, its time over", `{"id":"new","at":"2026-03-27T11:59:59Z","task":"x","enabled":false}`, [4]int{1, 0, 0, 0}, ""},
		{"its time over, something else changed", `{"id":"over","at":1000000000000,"name":"n","task":"x"}`, [4]int{0, 1, 0, 0}, ""},
		{"another time that is over", `{"id":"over","at":1000000001000,"task":"x"}`, [4]int{0, 0, 0, 1}, "is over already"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, query := range []string{"?dryRun=true", "?dry_run=true"} {
				a := b.take(query, tt.line).want(http.StatusOK)
				if got := a.counts(); got != tt.counts || a.body["dryRun"] != true || !strings.Contains(a.raw, tt.detail) {
					t.Errorf("%s: %s", query, a.raw)
				}
			}
			if after := fmt.Sprint(b.store.jobs); after != before {
				t.Errorf("something was changed: %s", cmp.Diff(before, after))
			}
		})
	}
	for _, query := range []string{"?dryrun=true", "?dryRun=1", "?dryRun=", "?dryRun=true&dryRun=true", "?dry_run=yes"} {
		b.take(query, whole).want(http.StatusBadRequest)
	}
	if got := b.take("?dryRun=false", `{"id":"new","schedule":"@daily","task":"x"}`).want(http.StatusOK).counts(); got != [4]int{1, 0, 0, 0} || len(b.store.jobs) != 5 {
		t.Errorf("no dry run: %v", got)
	}
}

func TestAnImportIsBounded(t *testing.T) {
	b := setup(t)
	b.take("", strings.Repeat("0\n\n", 10_001)).want(http.StatusRequestEntityTooLarge)
	a := b.take("", strings.Repeat("0\n\n", 10_000)).want(http.StatusOK)
	if got := a.counts(); got != [4]int{0, 0, 0, 10_000} || len(a.body["problems"].([]any)) != 20 || len(a.raw) > 10_000 {
		t.Errorf("%v, %d bytes", got, len(a.raw))
	}
	a = b.call("POST", "/api/cron/import", "", func(r *http.Request) { r.ContentLength = 64<<20 + 1 }).want(http.StatusRequestEntityTooLarge)
	if !strings.Contains(a.raw, "10000 lines and 64 MiB") {
		t.Errorf("%s", a.raw)
	}
	// One that does not say how much it is going to be.
	endless := strings.NewReader(strings.Repeat(strings.Repeat(" ", 1<<20-1)+"\n", 65))
	b.call("POST", "/api/cron/import", "", func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(endless), -1 }).want(http.StatusRequestEntityTooLarge)
}

func TestAnImportBreaksOff(t *testing.T) {
	const good = `{"id":"good","schedule":"0 9 * * *","task":"x"}`
	b := setup(t)
	broken := io.MultiReader(strings.NewReader(good+"\n"+strings.ReplaceAll(good, "good", "half")), iotest.ErrReader(errors.New("reset")))
	b.call("POST", "/api/cron/import", "", func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(broken), -1 }).want(http.StatusBadRequest)
	if _, half := b.store.jobs["half"]; half || len(b.store.jobs) != 1 {
		t.Errorf("imported: %v", b.store.jobs)
	}

	b.store.err = context.DeadlineExceeded
	b.take("", good).want(http.StatusServiceUnavailable)
	b.take("?dryRun=true", good).want(http.StatusServiceUnavailable)
	b.store.err = job.ErrNewerVersion // of one record alone
	if a := b.take("", good).want(http.StatusOK); a.counts() != [4]int{0, 0, 0, 1} || !strings.Contains(a.raw, "newer release") {
		t.Errorf("%s", a.raw)
	}

	stopping := make(chan struct{})
	close(stopping)
	b = setup(t, func(o *api.Options) { o.Stopping = stopping })
	b.take("", good).want(http.StatusServiceUnavailable)
	if len(b.store.calls) > 0 {
		t.Errorf("a server that stops began %v", b.store.calls)
	}
}

// racingStore has a job come and go between two looks at it.
type racingStore struct {
	*fakeStore
	races int
}

func (s *racingStore) CreateJob(ctx context.Context, id string, spec job.Spec, once ...job.Once) (job.Job, error) {
	if s.races--; s.races >= 0 {
		return job.Job{}, job.ErrExists
	}
	return s.fakeStore.CreateJob(ctx, id, spec, once...)
}

func TestAnImportedJobThatComesAndGoes(t *testing.T) {
	for races, want := range map[int][4]int{1: {1, 0, 0, 0}, 1000: {0, 0, 0, 1}} {
		b := setup(t, func(o *api.Options) { o.Jobs = &racingStore{o.Jobs.(*fakeStore), races} })
		if a := b.take("", `{"id":"a","schedule":"@daily","task":"x"}`).want(http.StatusOK); a.counts() != want {
			t.Errorf("%d races: %s", races, a.raw)
		}
	}
}

func TestImportContentTypes(t *testing.T) {
	for contentType, status := range map[string]int{
		"application/x-ndjson": http.StatusOK, "application/x-ndjson; charset=utf-8": http.StatusOK, "application/jsonl": http.StatusOK,
		"application/json": http.StatusOK, "": http.StatusOK,
		"text/plain": http.StatusUnsupportedMediaType, "application/x-www-form-urlencoded": http.StatusUnsupportedMediaType, ";": http.StatusUnsupportedMediaType,
	} {
		b := setup(t)
		b.call("POST", "/api/cron/import", `{"id":"a","schedule":"@daily","task":"x"}`, func(r *http.Request) {
			if r.Header.Set("Content-Type", contentType); contentType == "" {
				r.Header.Del("Content-Type")
			}
		}).want(status)
	}
}

// TestALongImportOverTheWire: one that takes longer than the server's read timeout.
func TestALongImportOverTheWire(t *testing.T) {
	b := setup(t)
	server := httptest.NewUnstartedServer(b.handler)
	server.Config.ReadTimeout = 50 * time.Millisecond
	server.Start()
	defer server.Close()
	body, writer := io.Pipe()
	go func() {
		defer writer.Close()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := range 10 {
			<-tick.C
			fmt.Fprintf(writer, "{\"id\":\"j%d\",\"schedule\":\"@daily\",\"task\":\"x\"}\n", i)
		}
	}()
	res, err := server.Client().Post(server.URL+"/api/cron/import", "application/x-ndjson", body)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || !strings.Contains(string(answer), `"created":10`) {
		t.Errorf("%d %s %v", res.StatusCode, answer, err)
	}
	server.Close()
	if want := slices.Repeat([]string{"update", "create"}, 10); len(b.store.calls) != len(want) {
		t.Errorf("asked of the store: %v", b.store.calls)
	}
}
