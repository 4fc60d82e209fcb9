package store

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// noted is a note as a test writes it.
type noted struct {
	Actor, Action, Target string
	Before, After         any // as JSON has them
}

// wrote is a note of before and after as JSON, "" for none.
func wrote(actor, action, target, before, after string) noted {
	return noted{actor, action, target, object(before), object(after)}
}

func object(text string) any {
	var v any
	_ = json.Unmarshal([]byte(text), &v) // nil, if it is none
	return v
}

// notes are those of a target, oldest first.
func (f *fixture) notes(target string) []noted {
	f.t.Helper()
	page, next, err := f.Audit(f.ctx, target, "", 1000)
	f.must(err)
	if next != "" {
		f.t.Fatalf("%d notes, and more", len(page))
	}
	var out []noted
	for _, n := range slices.Backward(page) {
		if n.At < f.now()-60_000 || n.At > f.now() {
			f.t.Errorf("noted at %d", n.At)
		}
		out = append(out, wrote(n.Actor, n.Action, n.Target, string(n.Before), string(n.After)))
	}
	return out
}

func TestAuditOfAJob(t *testing.T) {
	f := setup(t, Options{})
	f.ctx = job.WithActor(f.ctx, "ada")
	edit := func(change func(*job.Spec)) {
		_, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { change(&s); return s, nil })
		f.must(err)
	}
	spec := everyMinute()
	spec.TimeoutSeconds, spec.IsGroup, spec.RetryDelaysSeconds = 7, new(true), []int{5}
	f.create("a", spec)
	edit(func(s *job.Spec) { s.Task, s.Name, s.MaxRuns = "my password is xyzzy", "Näme", 5 })
	edit(func(s *job.Spec) { s.Name, s.TimeoutSeconds = "", 0 })
	edit(func(*job.Spec) {})
	edit(func(s *job.Spec) { *s = s.Paused("holiday") })
	edit(func(s *job.Spec) { *s = s.Resumed() })
	edit(func(s *job.Spec) { *s = s.Paused(""); s.Name = "b" })
	_, run, err := f.RunJob(f.ctx, "a")
	f.must(err)
	_, err = f.CancelRun(f.ctx, run)
	f.must(err)
	f.must(f.DeleteJob(context.Background(), "a"))

	// The beginnings of the SHA-256 of the two tasks.
	const task = `"task":{"bytes":9,"sha256":"3cad3da3dbbe"}`
	const secret = `"task":{"bytes":20,"sha256":"f2502d46c8e3"}`
	want := []noted{
		wrote("ada", "create", "a", "", `{"isGroup":true,"retryDelaysSeconds":[5],"schedule":"* * * * *",`+task+`,"timeoutSeconds":7}`),
		wrote("ada", "edit", "a", `{`+task+`}`, `{"maxRuns":5,"name":"Näme",`+secret+`}`),
		wrote("ada", "edit", "a", `{"name":"Näme","timeoutSeconds":7}`, `{"timeoutSeconds":900}`),
		wrote("ada", "pause", "a", `{"enabled":true}`, `{"enabled":false,"pauseReason":"holiday"}`),
		wrote("ada", "resume", "a", `{"enabled":false,"pauseReason":"holiday"}`, `{"enabled":true}`),
		wrote("ada", "edit", "a", `{"enabled":true}`, `{"enabled":false,"name":"b"}`),
		wrote("ada", "run", "a", "", `{"runId":"`+run+`"}`),
		wrote("ada", "cancel", run, `{"state":"waiting"}`, ""),
		wrote("api", "delete", "a", `{"enabled":false,"isGroup":true,"maxRuns":5,"name":"b","retryDelaysSeconds":[5],"schedule":"* * * * *",`+secret+`}`, ""),
	}
	if d := cmp.Diff(want, f.notes("a")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want[7:8], f.notes(run)); d != "" {
		t.Errorf("of the run alone: %s", d)
	}
	if got := f.notes("b"); got != nil {
		t.Errorf("of another job: %v", got)
	}
}

func TestAuditOfEverything(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	_, _, err := f.RunJob(f.ctx, "a")
	f.must(err)
	f.must(f.Pause(f.ctx, "harm"))
	f.must(f.Pause(f.ctx, ""))
	for range 2 {
		_, err = f.CancelPaused(f.ctx)
		f.must(err)
	}
	since, err := f.Resume(f.ctx)
	f.must(err)
	_, err = f.Resume(f.ctx)
	f.must(err)
	was := strings.Replace(`{"reason":"harm","paused":true,"pausedSince":SINCE}`, "SINCE", optional(since), 1)
	want := []noted{
		wrote("api", "pause-all", "*", `{"paused":false}`, `{"reason":"harm","paused":true}`),
		wrote("api", "cancel", "*", "", `{"cancelledRuns":1}`),
		wrote("api", "resume-all", "*", was, `{"paused":false}`),
	}
	if d := cmp.Diff(want, f.notes(job.AuditAll)); d != "" {
		t.Error(d)
	}
}

func TestAuditOfWhatTheProductDoes(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.MaxRuns, spec.Name = 1, "once"
	f.commit(f.begun("last", spec), "done")
	want := wrote("gateway-cron", "delete", "last", `{"name":"once","runsUsed":1}`, "")
	if d := cmp.Diff(want, f.notes("last")[1]); d != "" {
		t.Errorf("after its last run: %s", d)
	}

	b := f.begun("bad", everyMinute())
	f.must(f.rdb.HSet(f.ctx, f.keys.job("bad"), "failures", 9).Err())
	f.fail(b, job.RetryNever, 0)
	want = wrote("gateway-cron", "pause", "bad", `{"enabled":true}`,
		`{"enabled":false,"pauseReason":"auto-disabled after 10 failures in a row; the last: no"}`)
	if d := cmp.Diff(want, f.notes("bad")[1]); d != "" {
		t.Errorf("after ten failures: %s", d)
	}
}

func TestAuditOfRedelivery(t *testing.T) {
	f := setup(t, Options{})
	run := f.delivery("a")
	f.sendEnd(run, f.beginDelivery(run), 0, job.SendEnd{Result: job.PartFailed, Message: "no"})
	before := len(f.notes(""))
	once := job.Once{Key: "k", Print: "p"}
	for range 3 {
		_, err := f.Redeliver(f.ctx, run, once)
		f.must(err)
	}
	if _, err := f.Redeliver(f.ctx, run, job.Once{Key: "k", Print: "other"}); !errors.Is(err, job.ErrOtherRequest) {
		t.Errorf("another request of that key: %v", err)
	}
	if d := cmp.Diff([]noted{wrote("api", "redeliver", run, "", `{"delivery":2}`)}, f.notes("")[before:]); d != "" {
		t.Error(d)
	}
}

func TestAuditPages(t *testing.T) {
	f := setup(t, Options{})
	for range 3 {
		for n := range 2 {
			f.create(id(n), everyMinute())
			f.must(f.DeleteJob(f.ctx, id(n)))
		}
	}
	for target, total := range map[string]int{"": 12, id(0): 6, id(1): 6, "none": 0} {
		var seen []string
		for cursor, first := "", true; first || cursor != ""; first = false {
			page, next, err := f.Audit(f.ctx, target, cursor, 5)
			f.must(err)
			if len(page) > 5 || (next != "" && len(page) < 5) {
				t.Fatalf("%s: a page of %d, then %q", target, len(page), next)
			}
			for _, a := range page {
				if target != "" && a.Target != target {
					t.Errorf("%s: %+v", target, a)
				}
				seen = append(seen, a.ID)
			}
			cursor = next
		}
		if unique := slices.Compact(slices.Clone(seen)); len(seen) != total || len(unique) != total {
			t.Errorf("%s: %v", target, seen)
		}
	}
	for _, cursor := range []string{"x", "1", "+", "-", "1-1 ", "(1-1", "0-0", "01-1", "1-00"} {
		if _, _, err := f.Audit(f.ctx, "", cursor, 5); !strings.Contains(err.Error(), "cursor") {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}

// Nobody may be kept from stopping things by a stream that cannot be written.
func TestADamagedAuditStopsNobody(t *testing.T) {
	f := setup(t, Options{})
	f.must(f.rdb.Set(f.ctx, f.keys.audit(), "x", 0).Err())
	f.create("a", everyMinute())
	f.must(f.Pause(f.ctx, "harm"))
	if st, err := f.Status(f.ctx); err != nil || st.PausedSince == 0 {
		t.Errorf("%+v, %v", st, err)
	}
	f.must(f.DeleteJob(f.ctx, "a"))
}

// fillShare has an actor change a job so often, as the scripts would note it.
func (f *fixture) fillShare(share, actor string, notes int) {
	f.t.Helper()
	fill := `for i = 1, tonumber(ARGV[2]) do
  redis.call('RPUSH', KEYS[2], redis.call('XADD', KEYS[1], '*', 'at', '1', 'actor', ARGV[1], 'target', 'a'))
  if ARGV[3] ~= 'api' then redis.call('ZINCRBY', KEYS[3], 1, ARGV[3]) redis.call('ZINCRBY', KEYS[3], 1, '*') end
end return 1`
	f.must(f.rdb.Eval(f.ctx, fill, []string{f.keys.audit(), f.keys.auditShare(share), f.keys.auditors()}, actor, notes, share).Err())
}

// byActor counts all notes.
func (f *fixture) byActor() map[string]int {
	f.t.Helper()
	found, err := f.rdb.XRange(f.ctx, f.keys.audit(), "-", "+").Result()
	f.must(err)
	count := map[string]int{}
	for _, m := range found {
		count[text(m.Values["actor"])]++
	}
	return count
}

func TestNobodyPushesOutTheNotesOfAnother(t *testing.T) {
	ada := &job.Token{ID: "ada1", Name: "tools", AgentID: "main", MaxJobs: 9}
	for name, tt := range map[string]struct {
		full map[string]int // notes by share, before the change
		by   string
		want map[string]int
	}{
		"a token loses its own": {map[string]int{"api": 3, "token:bob1": 900, "token:ada1": 1000}, "token",
			map[string]int{"api": 3, "token:bob1": 900, "token:ada1": 1000}},
		"the administrator is kept apart": {map[string]int{"api": 10_000, "token:ada1": 12}, "api",
			map[string]int{"api": 10_000, "token:ada1": 12}},
		"a run of a token counts as the token": {map[string]int{"run": 3, "token:ada1": 1000}, "run token",
			map[string]int{"run": 3, "token:ada1": 1000}},
		"runs without a token have a share": {map[string]int{"api": 3, "run": 5000}, "run",
			map[string]int{"api": 3, "run": 5000}},
		"where all are full, the largest gives way": {map[string]int{"api": 9000, "gateway-cron": 4900, "run": 4900, "token:bob1": 200}, "token",
			map[string]int{"api": 9000, "gateway-cron": 4900, "run": 4899, "token:bob1": 200, "token:ada1": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, Options{})
			j := f.create("a", everyMinute())
			f.must(f.rdb.Del(f.ctx, f.keys.audit(), f.keys.auditShare("api")).Err())
			for share, notes := range tt.full {
				f.fillShare(share, share, notes)
			}
			actor := map[string]string{"api": job.DefaultActor, "token": ada.Actor(), "run": "run:a:1774854000",
				"run token": "run:a:1774854000 " + ada.Actor()}[tt.by]
			_, err := f.UpdateJob(job.WithActor(f.ctx, actor), j.ID, func(s job.Spec) (job.Spec, error) { s.Name = "n"; return s, nil })
			f.must(err)
			got := f.byActor()
			if actor != job.DefaultActor && got[actor] != 1 {
				t.Errorf("%d notes of the change itself", got[actor])
			}
			share := map[string]string{"api": "api", "token": "token:ada1", "run": "run", "run token": "token:ada1"}[tt.by]
			if actor != share {
				got[share] += got[actor]
				delete(got, actor)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// What the product does to a token's jobs counts against the token: otherwise its holder
// would push out what the product did to the jobs of others.
func TestWhatTheProductDoesToATokensJobsIsInItsShare(t *testing.T) {
	f := setup(t, Options{})
	ada := &job.Token{ID: "ada1", Name: "tools", AgentID: "main", MaxJobs: 9}
	spec := everyMinute()
	spec.MaxRuns = 1
	f.commit(f.begun("other", spec), "done")
	f.ctx = job.WithActor(job.WithToken(f.ctx, ada), ada.Actor())
	f.commit(f.begun("own", spec), "done")
	for share, want := range map[string]int64{"api": 1, "gateway-cron": 1, "token:ada1": 2} {
		if n := f.rdb.LLen(f.ctx, f.keys.auditShare(share)).Val(); n != want {
			t.Errorf("%d notes in the share of %s, want %d", n, share, want)
		}
	}
}

func TestADamagedShareStopsNobody(t *testing.T) {
	f := setup(t, Options{})
	f.must(f.rdb.Set(f.ctx, f.keys.auditShare("api"), "x", 0).Err())
	f.must(f.rdb.Set(f.ctx, f.keys.auditors(), "x", 0).Err())
	f.create("a", everyMinute())
	f.must(f.DeleteJob(job.WithActor(f.ctx, "token:ada1 tools"), "a"))
	if n := len(f.notes("a")); n != 2 {
		t.Errorf("%d notes", n)
	}
}

// A page of one target looks at a part of the notes, and says how to go on.
func TestAuditOfOneTargetLooksAtAPart(t *testing.T) {
	f := setup(t, Options{})
	f.fillShare("api", "api", 1200)
	page, next, err := f.Audit(f.ctx, "none", "", 5)
	f.must(err)
	if len(page) != 0 || next == "" {
		t.Errorf("%d notes, then %q", len(page), next)
	}
}
