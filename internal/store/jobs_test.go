package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

func TestCreateReadsBackWhole(t *testing.T) {
	f := setup(t, Options{})
	group := true
	spec := job.Spec{Name: "Morning", Schedule: "0 9 * * 1-5", Timezone: "Europe/Berlin", Enabled: true, Task: "höre 🐦\nzu",
		AgentID: "main", SessionKey: "agent:main:telegram:dm:1", Model: "m", Effort: "low", Channel: "telegram", ChatID: "1",
		PeerID: "2", ThreadID: "3", IsGroup: &group, MaxRuns: 5, Misfire: job.MisfireSkip, MisfireGraceSeconds: 7,
		Labels: []string{"team:ops", "daily"}, TimeoutSeconds: 8, OnAmbiguous: job.OnAmbiguousFail,
		Context: job.ContextSession, AllowScheduling: true, MaxRetries: new(0), RetryDelaysSeconds: []int{5, 86400}, Overlap: job.OverlapAllow, Deliver: job.DeliverOnFailure}
	j := f.create("", spec)
	spec.Session = spec.SessionKey
	if d := cmp.Diff(spec, j.Spec); d != "" {
		t.Error(d)
	}
	if !job.ValidID(j.ID) || j.Revision != 1 || j.NextSlot <= f.now() || j.CreatedAt == 0 {
		t.Errorf("stored %+v", j)
	}
	if at, ok := f.score(f.keys.due(), j.ID); !ok || at != j.NextSlot {
		t.Errorf("due at %d, want the next slot %d", at, j.NextSlot)
	}
	if _, err := f.CreateJob(f.ctx, j.ID, spec); !errors.Is(err, job.ErrExists) {
		t.Errorf("creating it again: %v", err)
	}
}

// TestCreateResent: the answer was lost, and the client library asks again.
func TestCreateResent(t *testing.T) {
	f := setup(t, Options{})
	for _, c := range []struct {
		uid, token string
		want       error
	}{{"u", "t", nil}, {"u", "t", nil}, {"other", "t2", job.ErrExists}} {
		said, j, err := f.put(f.ctx, put{id: "a", mode: "create", uid: c.uid, token: c.token, cursor: cursorSet,
			next: slot{At: f.minute(5), Due: f.minute(5)}, fields: specFields("a", everyMinute())})
		if !errors.Is(err, c.want) || (err == nil && (said != saidOK || j.Revision != 1 || j.Task != "say hello")) {
			t.Errorf("%s: %s %+v, %v", c.uid, said, j, err)
		}
	}
}

// TestEditResent is done once, and one of another job of the id not at all.
func TestEditResent(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	for _, c := range []struct {
		uid, token string
		want       word
	}{{"other", "t0", saidGone}, {j.UID, "t", saidOK}, {j.UID, "t", saidOK}, {j.UID, "t2", saidChanged}} {
		said, got, err := f.put(f.ctx, put{id: "a", mode: "edit", uid: c.uid, token: c.token, rev: j.Revision, seen: j.NextSlot,
			cursor: cursorKeep, fields: map[string]string{"task": c.token}})
		if said != c.want || (said == saidGone) != errors.Is(err, job.ErrNotFound) || (said == saidOK && (got.Revision != 2 || got.Task != "t")) {
			t.Errorf("%s: %s %+v, %v", c.token, said, got, err)
		}
	}
	if word, _, err := f.answer(f.ctx, f.scripts.deleteJob, "a", "other", optional(j.NextSlot), "", "", 0, optional(j.NextSlot), j.Revision, "", "me", "", "t"); err != nil || word != "gone" {
		t.Errorf("delete of another job of the id: %s %v", word, err)
	}
}

func TestEditMovesTheCursorOnlyWithTheSlots(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	f.rewind("a", f.minute(0)) // due and unclaimed
	edit := func(change func(*job.Spec)) job.Job {
		t.Helper()
		out, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { change(&s); return s, nil })
		f.must(err)
		return out
	}
	due := f.minute(0)
	renamed := edit(func(s *job.Spec) { s.Name, s.Task = "x", "other" })
	if renamed.NextSlot != due || renamed.Revision != j.Revision+1 || renamed.Task != "other" {
		t.Fatalf("an edit of the name left %+v", renamed)
	}
	if n := len(f.runs("a")); n != 0 {
		t.Fatalf("an edit of the name wrote %d records", n)
	}
	moved := edit(func(s *job.Spec) { s.Schedule = "0 0 1 1 *" })
	if moved.NextSlot <= f.now() || moved.LastSlot < due {
		t.Fatalf("an edit of the schedule left the cursor at %v, last %v", moved.NextSlot.Time(), moved.LastSlot.Time())
	}
	runs := f.runs("a")
	if len(runs) != 1 || runs[0].Outcome != job.Skipped || runs[0].Reason != job.ReasonEdited || runs[0].Slot != due {
		t.Fatalf("the due slot became %+v", runs)
	}
}

// TestDeleteOverAJitteredSlot: its time has come, though it may not be due yet.
func TestDeleteOverAJitteredSlot(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.Schedule, spec.JitterSeconds = "0 * * * *", 3599
	first := job.ToMillis(f.now().Time().Truncate(time.Hour).Add(-time.Hour))
	for n := range 20 { // each put off by something else
		f.create(id(n), spec)
		f.rewind(id(n), first)
		f.must(f.DeleteJob(f.ctx, id(n)))
		if runs := f.runs(id(n)); len(runs) != 1 || runs[0].Slot != first || runs[0].LastSlot != first+3600_000 || runs[0].Count != 2 {
			t.Errorf("history %+v", runs)
		}
	}
}

func TestPauseAndResume(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	f.rewind("a", f.minute(-3))
	set := func(on bool) job.Job {
		j, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { s.Enabled = on; return s, nil })
		f.must(err)
		return j
	}
	first := f.minute(-3)
	if j := set(false); j.NextSlot != 0 || j.Enabled {
		t.Fatalf("paused: %+v", j)
	}
	if _, ok := f.score(f.keys.due(), "a"); ok {
		t.Error("a paused job is in the due index")
	}
	runs := f.runs("a")
	if len(runs) != 1 || runs[0].Reason != job.ReasonDisabled || runs[0].Slot != first || runs[0].Count < 4 ||
		runs[0].LastSlot != runs[0].Slot+job.Millis(runs[0].Count-1)*60_000 {
		t.Fatalf("the due slots became %+v", runs)
	}
	resumed := set(true)
	if resumed.NextSlot <= f.now() || resumed.NextSlot <= resumed.LastSlot {
		t.Errorf("resume put the cursor at %v", resumed.NextSlot.Time())
	}
	if len(f.runs("a")) != 1 {
		t.Error("resume replayed the pause")
	}
}

func TestLastSlotNeverGoesBack(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	future := f.minute(90)
	f.must(f.rdb.HSet(f.ctx, f.keys.job("a"), "lastSlot", int64(future)).Err())
	j, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { s.Schedule = "*/2 * * * *"; return s, nil })
	f.must(err)
	if j.NextSlot <= future || j.LastSlot != future {
		t.Errorf("cursor %v, last %v: must stay behind %v", j.NextSlot.Time(), j.LastSlot.Time(), future.Time())
	}
}

func TestDeleteRecordsTheDueSlotAndKeepsHistory(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	f.rewind("a", f.minute(0))
	f.must(f.DeleteJob(f.ctx, "a"))
	if _, err := f.Job(f.ctx, "a"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("deleted job: %v", err)
	}
	if f.rdb.Exists(f.ctx, f.keys.job("a")).Val() != 0 {
		t.Error("the record of its slot was noted on a job that is gone")
	}
	runs := f.runs("a")
	if len(runs) != 1 || runs[0].Outcome != job.Skipped || runs[0].Reason != job.ReasonDeleted {
		t.Errorf("history %+v", runs)
	}
	if err := f.DeleteJob(f.ctx, "a"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("deleting it again: %v", err)
	}
	for _, key := range []string{f.keys.due(), f.keys.jobs()} {
		if _, ok := f.score(key, "a"); ok {
			t.Errorf("a deleted job is in %s", key)
		}
	}
}

func TestMaxRunsCannotBeSetBelowTheRunsHad(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("a", everyMinute())
	f.commit(b, "hi")
	_, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { s.MaxRuns = 1; return s, nil })
	var invalid *job.InvalidError
	if !errors.As(err, &invalid) || invalid.Problems[0].Field != "maxRuns" {
		t.Errorf("got %v", err)
	}
}

func TestEditsAtOnceAreAllApplied(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) {
				s.Task += strconv.Itoa(i)
				return s, nil
			})
		})
	}
	wg.Wait()
	f.must(errors.Join(errs...))
	j := f.job("a")
	got := []byte(j.Task[len("say hello"):])
	slices.Sort(got)
	if string(got) != "01234567" || j.Revision != 9 {
		t.Errorf("task %q at revision %d: an edit was lost", j.Task, j.Revision)
	}
}

func TestJobsPagesCoverAllOnce(t *testing.T) {
	f := setup(t, Options{})
	rapid.Check(t, func(rt *rapid.T) {
		f.must(f.rdb.FlushDB(f.ctx).Err())
		n, limit := rapid.IntRange(0, 12).Draw(rt, "n"), rapid.IntRange(1, 5).Draw(rt, "limit")
		var want, got []string
		for i := range n {
			want = append(want, f.create(id(i), everyMinute()).ID)
		}
		for cursor := ""; ; {
			jobs, next, err := f.FindJobs(f.ctx, job.JobFilter{}, cursor, limit)
			f.must(err)
			for _, j := range jobs {
				got = append(got, j.ID)
			}
			if cursor = next; cursor == "" {
				break
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			rt.Fatal(d)
		}
	})
	for _, bad := range []string{"x", "-1", "0", "1e9", "99999999999999999999"} {
		var invalid *job.InvalidError
		if _, _, err := f.FindJobs(f.ctx, job.JobFilter{}, bad, 1); !errors.As(err, &invalid) {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
}

func TestBadRecordsStopNobody(t *testing.T) {
	f := setup(t, Options{})
	f.create("good", everyMinute())
	f.create("bad", everyMinute())
	f.create("newer", everyMinute())
	f.must(f.rdb.Del(f.ctx, f.keys.job("bad")).Err())
	f.must(f.rdb.Set(f.ctx, f.keys.job("bad"), "not a hash", 0).Err())
	f.must(f.rdb.HSet(f.ctx, f.keys.job("newer"), "v", 99).Err())

	jobs, _, err := f.FindJobs(f.ctx, job.JobFilter{}, "", 10)
	f.must(err)
	if len(jobs) != 1 || jobs[0].ID != "good" {
		t.Errorf("listed %v", jobs)
	}
	cursors, err := f.Cursors(f.ctx, []string{"bad", "good", "newer", "none"})
	f.must(err)
	if cursors[0].UID != "" || cursors[1].UID == "" || !cursors[2].Newer || cursors[3].UID != "" {
		t.Errorf("cursors %+v", cursors)
	}
	f.must(f.Redue(f.ctx, "bad", 0))
	if _, ok := f.score(f.keys.due(), "bad"); ok {
		t.Error("an unreadable job stays in the due index")
	}
	if err := f.DeleteJob(f.ctx, "newer"); !errors.Is(err, job.ErrNewerVersion) {
		t.Errorf("a newer job is deleted: %v", err)
	}
}

func TestManualRun(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.Enabled = false
	f.create("a", spec)
	before := f.job("a")
	_, run, err := f.RunJob(f.ctx, "a")
	f.must(err)
	b := f.begin(run)
	if b.Verdict != job.BeginOK || b.Run.ID != run || b.Run.Trigger != job.TriggerManual {
		t.Fatalf("begin: %+v", b)
	}
	f.commit(b, "done")
	if r := f.record(run); r.Outcome != job.Succeeded || r.Reply != "done" {
		t.Errorf("run %+v", r)
	}
	if after := f.job("a"); after.NextSlot != before.NextSlot || after.Claims != 0 || after.LastOutcome != job.Succeeded {
		t.Errorf("a manual run left the job at %+v", after)
	}
	if _, _, err := f.RunJob(f.ctx, "none"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("running a missing job: %v", err)
	}
}

func TestUnfinishedRunsOfAJobAreBounded(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	var err error
	for n := 0; err == nil; n++ {
		if n > maxUnfinishedRuns {
			t.Fatal("no bound")
		}
		_, _, err = f.RunJob(f.ctx, "a")
	}
	if !errors.Is(err, job.ErrTooMany) {
		t.Error(err)
	}
}

func TestReadsWriteNothing(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("a", everyMinute())
	f.commit(b, "x")
	before := dump(f)
	_, _, err := f.FindJobs(f.ctx, job.JobFilter{}, "", 10)
	f.must(err)
	f.job("a")
	f.runs("a")
	f.record(b.Run.ID)
	_, err = f.Session(f.ctx, b.Run.SessionKey, 10)
	f.must(err)
	_, err = f.DueWindow(f.ctx, 0, time.Hour, 10)
	f.must(err)
	_, err = f.Cursors(f.ctx, []string{"a"})
	f.must(err)
	if d := cmp.Diff(before, dump(f)); d != "" {
		t.Error(d)
	}
}

// dump is everything in the database.
// dump is all there is. What has no order is sorted: a hash table that Redis is growing
// lists its entries in another order each time.
func dump(f *fixture) map[string][]string {
	f.t.Helper()
	out := map[string][]string{}
	for _, key := range f.rdb.Keys(f.ctx, "*").Val() {
		switch kind := f.rdb.Type(f.ctx, key).Val(); kind {
		case "string":
			out[key] = []string{f.rdb.Get(f.ctx, key).Val()}
		case "list":
			out[key] = f.rdb.LRange(f.ctx, key, 0, -1).Val()
		case "set":
			out[key] = slices.Sorted(slices.Values(f.rdb.SMembers(f.ctx, key).Val()))
		case "zset":
			for _, z := range f.rdb.ZRangeWithScores(f.ctx, key, 0, -1).Val() {
				out[key] = append(out[key], fmt.Sprint(z.Score, z.Member))
			}
		case "hash":
			for field, value := range f.rdb.HGetAll(f.ctx, key).Val() {
				out[key] = append(out[key], field+"="+value)
			}
			slices.Sort(out[key])
		case "stream":
			for _, m := range f.rdb.XRange(f.ctx, key, "-", "+").Val() {
				out[key] = append(out[key], fmt.Sprint(m.ID, m.Values))
			}
		default:
			f.t.Fatalf("%s is a %s", key, kind)
		}
	}
	return out
}

func TestOutageIsAnError(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	for name, call := range map[string]func() error{
		"create": func() error { _, err := f.CreateJob(ctx, "b", everyMinute()); return err },
		"job":    func() error { _, err := f.Job(ctx, "a"); return err },
		"delete": func() error { return f.DeleteJob(ctx, "a") },
		"look":   func() error { _, _, err := f.Look(ctx, 1); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := f.Job(f.ctx, "b"); !errors.Is(err, job.ErrNotFound) {
		t.Error(fmt.Errorf("half-written: %w", err))
	}
}

// TestEditRacesAClaim: what was computed for a cursor holds for that cursor alone, and no
// edit puts a slot into the past.
func TestEditRacesAClaim(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	stale := f.minute(0)
	f.rewind("a", stale)
	f.claim(j, stale, "t")
	far := slot{At: f.minute(60), Due: f.minute(60)}
	edit := put{id: "a", mode: "edit", uid: j.UID, token: "t", rev: j.Revision, seen: stale, next: far}
	for _, mode := range []cursorMode{cursorSet, cursorCheck} {
		p := edit
		p.cursor = mode
		if word, _, err := f.put(f.ctx, p); err != nil || word != "changed" {
			t.Errorf("%s over a claim: %s %v", mode, word, err)
		}
	}
	if word, _, err := f.answer(f.ctx, f.scripts.deleteJob, "a", j.UID, optional(stale), optional(stale), optional(stale), 1, optional(far.At), j.Revision, "", "me", "", "t"); err != nil || word != "changed" {
		t.Errorf("delete over a claim: %s %v", word, err)
	}
	edit.cursor, edit.seen, edit.next = cursorSet, f.job("a").NextSlot, slot{At: f.now() - 1, Due: f.now() - 1}
	if word, _, err := f.put(f.ctx, edit); err != nil || word != "late" {
		t.Errorf("a next slot that has come: %s %v", word, err)
	}
	if got := f.job("a"); got.NextSlot != stale+60_000 || got.Revision != j.Revision {
		t.Errorf("a refused edit left %+v", got)
	}
	edit.cursor = cursorKeep // of the task alone: no matter
	if word, _, err := f.put(f.ctx, edit); err != nil || word != "ok" {
		t.Errorf("an edit that leaves the cursor alone: %s %v", word, err)
	}
}

// TestNewestJobIsLast, also after the clock went back.
func TestNewestJobIsLast(t *testing.T) {
	f := setup(t, Options{})
	f.create("ahead", everyMinute())
	f.must(f.rdb.ZAdd(f.ctx, f.keys.jobs(), redis.Z{Score: float64(f.now()+3600_000) * 1000, Member: "ahead"}).Err())
	f.create("new", everyMinute())
	jobs, _, err := f.FindJobs(f.ctx, job.JobFilter{}, "", 10)
	f.must(err)
	if len(jobs) != 2 || jobs[1].ID != "new" {
		t.Errorf("jobs %+v", jobs)
	}
}
