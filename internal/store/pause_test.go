package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

func (f *fixture) pause(reason string) {
	f.t.Helper()
	f.must(f.Pause(f.ctx, reason))
}

func (f *fixture) resume() job.Millis {
	f.t.Helper()
	since, err := f.Resume(f.ctx)
	f.must(err)
	return since
}

func (f *fixture) status() job.Status {
	f.t.Helper()
	s, err := f.Status(f.ctx)
	f.must(err)
	return s
}

func (f *fixture) runNow(id string) string {
	f.t.Helper()
	_, run, err := f.RunJob(f.ctx, id)
	f.must(err)
	return run
}

// soon is the next whole second, whose slot may be claimed already.
func (f *fixture) soon() job.Millis {
	f.t.Helper()
	return (f.now()/1000 + 1) * 1000
}

// wantPaused checks that a run was ended by the pause and nothing waits for it.
func (f *fixture) wantPaused(run string) job.Run {
	f.t.Helper()
	r := f.record(run)
	if r.State != job.StateDone || r.Outcome != job.Cancelled || r.Reason != job.ReasonPaused {
		f.t.Errorf("%s is %s: %s(%s), want cancelled(paused)", run, r.State, r.Outcome, r.Reason)
	}
	if _, ok := f.score(f.keys.wake(), "r:"+run); ok {
		f.t.Errorf("%s is still looked at", run)
	}
	return r
}

// TestNothingBeginsWhilePaused: every way to a begin.
func TestNothingBeginsWhilePaused(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("due", everyMinute())
	slot := f.minute(0)
	f.rewind("due", slot)
	f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: "due", At: slot}}))
	f.create("manual", everyMinute())
	queued := f.runNow("manual")
	dead := f.begun("dead", everyMinute())
	f.declareDead(dead.Run.ID)
	retried := f.begun("retried", everyMinute())
	f.fail(retried, job.RetryCounted, 0)
	f.letBegin(retried.Run.ID)
	under := f.begun("under-way", everyMinute())

	f.pause("")
	if v := f.claim(j, slot, "t").Verdict; v != job.BeginMoved {
		t.Errorf("a due slot: %s", v)
	}
	if at, _ := f.score(f.keys.due(), "due"); at > f.now() {
		t.Error("a refused slot waits for its record")
	}
	if got := f.job("due"); got.NextSlot != slot || got.Claims != 0 || len(f.runs("due")) != 0 {
		t.Errorf("a refused claim left %+v", got)
	}
	for _, run := range []string{queued, retried.Run.ID, dead.Run.ID} {
		if v := f.begin(run).Verdict; v != job.BeginEnded {
			t.Errorf("%s: %s", run, v)
		}
		f.wantPaused(run)
	}
	if a := f.record(dead.Run.ID).Attempts[0]; a.Result != job.ResultAmbiguous {
		t.Errorf("a dead attempt is %+v", a)
	}
	if _, _, err := f.RunJob(f.ctx, "manual"); !errors.Is(err, job.ErrPaused) {
		t.Errorf("run now: %v", err)
	}
	// A resend of a run that was written before, and of a begin that was answered.
	if word, _, err := f.answer(f.ctx, f.scripts.runNow, "job", "manual", "run", queued, "most", maxUnfinishedRuns, "actor", "me", "key", "", "print", ""); err != nil || word != "ok" {
		t.Errorf("a resend of a manual run: %s %v", word, err)
	}
	if b, err := f.Begin(f.ctx, under.Run.ID, "t-under-way", "w1"); err != nil || b.Verdict != job.BeginOK || b.Epoch != under.Epoch {
		t.Errorf("a resend of a begin: %s %v", b.Verdict, err)
	}

	// What is under way goes on to its end, and to its chat.
	f.must(f.Renew(f.ctx, under.Run.ID, under.Epoch))
	c := commitOf(under, "the reply")
	c.Delivery, c.Target = job.DeliveryPending, job.Target{Channel: "telegram", ChatID: "7"}
	_, err := f.Commit(f.ctx, c)
	f.must(err)
	if d, err := f.BeginDelivery(f.ctx, under.Run.ID, 1, "t"); err != nil || d.Verdict != job.BeginOK {
		t.Errorf("its delivery: %s %v", d.Verdict, err)
	}

	if f.resume() == 0 {
		t.Error("nothing was resumed")
	}
	f.begin(f.runNow("manual"))
	if v := f.begin(f.runNow("manual")).Verdict; v != job.BeginParked {
		t.Errorf("after the resume, behind a run of its session: %s", v)
	}
}

// TestResumeMakesUpForNothing: nobody looked while everything was paused, so the slot
// that came due has neither run nor record yet.
func TestResumeMakesUpForNothing(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	slot := f.minute(0)
	f.rewind("a", slot)
	f.pause("")
	f.resume()
	if v := f.claim(j, slot, "t").Verdict; v != job.BeginMoved {
		t.Fatalf("a slot of the pause: %s", v)
	}
	window, err := f.DueWindow(f.ctx, 0, 0, 10)
	f.must(err)
	if window.HeldUntil < slot || window.HeldUntil > window.Now {
		t.Fatalf("held until %d at %d", window.HeldUntil, window.Now)
	}

	soon := f.soon() // early, and no pause is in its way
	f.rewind("a", soon)
	if v := f.claim(j, soon, "t2").Verdict; v != job.BeginOK {
		t.Errorf("a slot after the resume: %s", v)
	}
}

// TestSlotOfTheEndOfAPause: a claim may come a second before its slot; the slot may yet
// come due after the resume.
func TestSlotOfTheEndOfAPause(t *testing.T) {
	f := setup(t, Options{})
	for n := range 100 {
		j := f.create(id(n), everyMinute())
		soon := f.soon()
		f.rewind(j.ID, soon)
		f.pause("")
		paused := f.claim(j, soon, "t").Verdict
		f.resume()
		if f.now() >= soon {
			continue // too slow to see it
		}
		if paused != job.BeginEarly {
			t.Errorf("while paused: %s", paused)
		}
		if v := f.claim(j, soon, "t").Verdict; v != job.BeginOK {
			t.Errorf("after the resume: %s", v)
		}
		return
	}
	t.Fatal("always too slow")
}

func TestPauseIsIdempotent(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	f.rewind("a", f.minute(0))
	if since := f.resume(); since != 0 {
		t.Errorf("resumed from %d what was not paused", since)
	}
	f.pause("the model writes to the wrong chat")
	first := f.status()
	if first.PausedSince == 0 || first.PausedSince > f.now() {
		t.Fatalf("status %+v", first)
	}
	until(t, func() bool { return f.now() > first.PausedSince })
	f.pause("")
	want := job.Status{PausedSince: first.PausedSince, PauseReason: "the model writes to the wrong chat", Jobs: 1, Due: 1}
	if d := cmp.Diff(want, f.status()); d != "" {
		t.Errorf("paused again: %s", d)
	}
	f.pause("and again")
	want.PauseReason = "and again"
	if d := cmp.Diff(want, f.status()); d != "" {
		t.Errorf("for another reason: %s", d)
	}
	if since := f.resume(); since != first.PausedSince {
		t.Errorf("resumed from %d, want %d", since, first.PausedSince)
	}
	if d := cmp.Diff(job.Status{Jobs: 1, Due: 1}, f.status()); d != "" {
		t.Errorf("resumed: %s", d)
	}
}

// TestPauseResent: the answer was lost, and the client library asks again after
// somebody else has done the opposite.
func TestPauseResent(t *testing.T) {
	f := setup(t, Options{})
	send := func(sc step, args ...any) {
		t.Helper()
		if word, _, err := f.answer(f.ctx, sc, args...); err != nil || word != "ok" {
			t.Fatalf("%s %v", word, err)
		}
	}
	send(f.scripts.pause, "", "t", "me")
	first := f.status().PausedSince
	f.resume()
	send(f.scripts.pause, "", "t", "me")
	if f.status().PausedSince != 0 {
		t.Error("a resend paused again")
	}
	until(t, func() bool { return f.now() > first })
	f.pause("")
	send(f.scripts.resume, int64(first), "me")
	if f.status().PausedSince == 0 {
		t.Error("a resend ended the pause of somebody else")
	}
}

// TestLastClaimOfAPause: a pause uses up no run, and the claim that it gives back had
// ended the schedule.
func TestLastClaimOfAPause(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.MaxRuns = 1
	slot := f.minute(0)
	b := f.begun("a", spec)
	if j := f.job("a"); j.NextSlot != 0 {
		t.Fatalf("the last claim left a slot: %+v", j)
	}
	f.fail(b, job.RetryCounted, 0)
	f.letBegin(b.Run.ID)
	f.pause("")
	f.begin(b.Run.ID)
	f.wantPaused(b.Run.ID)
	if j := f.job("a"); j.Claims != 0 || j.NextSlot != slot+60_000 || j.LastSlot != slot {
		t.Errorf("job %+v", j)
	}
	if at, _ := f.score(f.keys.due(), "a"); at != slot+60_000 {
		t.Errorf("due at %d", at)
	}
	f.resume()
	f.rewind("a", f.soon())
	b = f.claim(f.job("a"), f.job("a").NextSlot, "again")
	f.commit(b, "done")
	if _, err := f.Job(f.ctx, "a"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("after its last run: %v", err)
	}
}

// TestManualRunOfAPauseGivesNothingBack: it was no claim.
func TestManualRunOfAPauseGivesNothingBack(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.MaxRuns = 5
	f.commit(f.begun("a", spec), "done")
	run := f.runNow("a")
	f.pause("")
	f.begin(run)
	f.wantPaused(run)
	if j := f.job("a"); j.Claims != 1 {
		t.Errorf("%d claims", j.Claims)
	}
}

// TestParkedRunsOfAPause: those behind a run that goes on are ended one after the other
// when it has ended, and the session is free.
func TestParkedRunsOfAPause(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.SessionKey = "shared"
	holder := f.begun("a", spec)
	var parked []string
	for n := range 3 {
		f.create(id(n), spec)
		run := f.runNow(id(n))
		f.begin(run)
		parked = append(parked, run)
	}
	f.pause("")
	carriers := f.commit(holder, "done")
	for n := 0; len(carriers) > 0; n++ {
		if n == len(parked) || len(carriers) != 1 || carriers[0].ID != parked[n] {
			t.Fatalf("carriers %v after %d of them", carriers, n)
		}
		f.begin(parked[n])
		f.wantPaused(parked[n])
		carriers = f.look()
	}
	if n := f.rdb.Exists(f.ctx, f.keys.lock("shared"), f.keys.wait("shared"), f.keys.wake()).Val(); n != 0 {
		t.Error("something is left of the session, or unfinished")
	}
}

func TestCancelPaused(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.SessionKey = "shared"
	b := f.begun("a", spec)
	runs := []string{b.Run.ID}
	for n := range 2*cancelBatch + 50 {
		job := fmt.Sprint("crowd-", n/maxUnfinishedRuns)
		if n%maxUnfinishedRuns == 0 {
			f.create(job, spec)
		}
		runs = append(runs, f.runNow(job))
		if n%2 == 0 {
			f.begin(runs[n+1]) // parks it
		}
	}
	chat := f.delivery("to-chat")
	if n, err := f.CancelPaused(f.ctx); err != nil || n != 0 {
		t.Fatalf("not paused: %d %v", n, err)
	}
	told := make(chan string, 2*len(runs))
	ctx, stop := context.WithCancel(f.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Cancelled(ctx, func(run string) {
			if run != "" { // the subscription itself
				told <- run
			}
		})
	}()
	eventually(t, "somebody listens", func() bool { return f.rdb.PubSubNumSub(f.ctx, f.keys.cancels()).Val()[f.keys.cancels()] == 1 })

	f.pause("")
	if n, err := f.CancelPaused(f.ctx); err != nil || n != len(runs) {
		t.Fatalf("cancelled %d of %d: %v", n, len(runs), err)
	}
	for _, run := range runs {
		f.wantPaused(run)
	}
	if a := f.record(b.Run.ID).Attempts[0]; a.Result != job.ResultCancelled || a.Cause != job.CausePaused {
		t.Errorf("attempt %+v", a)
	}
	if err := f.Renew(f.ctx, b.Run.ID, b.Epoch); !errors.Is(err, job.ErrFenced) {
		t.Errorf("renewal: %v", err)
	}
	if j := f.job("a"); j.Claims != 0 || j.Failures != 0 {
		t.Errorf("job %+v", j)
	}
	if got := f.status().Unfinished; got != 1 {
		t.Errorf("%d unfinished, want the delivery alone", got)
	}
	if v := f.beginDelivery(chat).Verdict; v != job.BeginOK {
		t.Errorf("delivery: %s", v)
	}
	if n := f.rdb.Exists(f.ctx, f.keys.lock("shared"), f.keys.wait("shared")).Val(); n != 0 {
		t.Error("the session is not free")
	}
	heard := map[string]bool{}
	eventually(t, "everybody is told", func() bool {
		for len(told) > 0 {
			heard[<-told] = true
		}
		return len(heard) == len(runs)
	})
	stop()
	<-done
	if n, err := f.CancelPaused(f.ctx); err != nil || n != 0 {
		t.Errorf("again: %d %v", n, err)
	}
	// One that was committed after it was listed.
	if _, rest, err := f.answer(f.ctx, f.scripts.cancelPaused, "me", "t", chat); err != nil || number(rest[0]) != 0 || f.record(chat).Outcome != job.Succeeded {
		t.Errorf("a committed run is %s: %v %v", f.record(chat).Outcome, rest, err)
	}
}

// TestCollapseOfAPause: an emitted slot is not waited for, and a mark that comes during
// the pause puts nothing off.
func TestCollapseOfAPause(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	slot := f.minute(-10)
	f.rewind("a", slot)
	f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: "a", At: slot}}))
	f.pause("")
	pass := func(first, last job.Millis, count int) {
		t.Helper()
		moved, err := f.Collapse(f.ctx, job.Collapse{JobID: "a", UID: j.UID, Revision: 1, Seen: first, First: first, Last: last, Count: count,
			Outcome: job.Skipped, Reason: job.ReasonPaused, Next: last + 60_000, NextDue: last + 60_000, EmittedGrace: -1})
		if err != nil || !moved {
			t.Fatalf("collapse: %v %v", moved, err)
		}
	}
	pass(slot, slot+60_000, 2)
	next := slot + 120_000
	f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: "a", At: next}}))
	if at, _ := f.score(f.keys.due(), "a"); at != next {
		t.Errorf("a mark put the look off to %d", at)
	}
	pass(next, next, 1)
	runs := f.runs("a")
	if len(runs) != 1 || runs[0].Outcome != job.Skipped || runs[0].Reason != job.ReasonPaused || runs[0].Slot != slot ||
		runs[0].LastSlot != next || runs[0].Count != 3 {
		t.Errorf("history %+v", runs)
	}
	if got := f.job("a"); got.Claims != 0 || got.NextSlot != next+60_000 {
		t.Errorf("job %+v", got)
	}
}

// TestPauseWaitsForAReplica: a failover must not start what was stopped.
func TestPauseWaitsForAReplica(t *testing.T) {
	t.Parallel()
	f, replica := replicatedStore(t)
	replica.Freeze()
	if err := f.Pause(f.ctx, ""); !errors.Is(err, errNotReplicated) {
		t.Errorf("with a replica that stands still: %v", err)
	}
	replica.Thaw()
	eventually(t, "the replica counts again", func() bool { return hasReplica(f.rdb.Info(f.ctx, "replication").Val()) })
	f.must(f.Pause(f.ctx, ""))
	reader := replica.Client()
	if n, err := reader.HExists(f.ctx, f.keys.paused(), "since").Result(); err != nil || !n {
		t.Errorf("the replica knows of the pause: %v %v", n, err)
	}
	if f.resume() == 0 {
		t.Error("not resumed")
	}
}

// TestTurnsThatAPauseLeavesBehind: only what was under way is one, it is counted once,
// however often somebody asks, and the next pause begins anew.
func TestTurnsThatAPauseLeavesBehind(t *testing.T) {
	f := setup(t, Options{})
	dead := f.begun("dead", everyMinute()) // its worker is gone, the turn may not be
	f.declareDead(dead.Run.ID)
	spec := everyMinute()
	spec.SessionKey = "shared"
	under := f.begun("under-way", spec)
	f.create("parked", spec)
	parked := f.runNow("parked")
	f.begin(parked)
	f.create("waiting", everyMinute())
	waiting := f.runNow("waiting")
	retried := f.begun("retried", everyMinute())
	f.fail(retried, job.RetryCounted, 0)

	f.pause("")
	runs := []any{"me", "t", under.Run.ID, parked, waiting, retried.Run.ID, dead.Run.ID}
	for range 2 { // the client library sends it again
		word, rest, err := f.answer(f.ctx, f.scripts.cancelPaused, runs...)
		f.must(err)
		if word != "ok" || number(rest[0]) != 5 {
			t.Errorf("answered %s %v", word, rest)
		}
		if got := f.status().AbandonedTurns; got != 2 {
			t.Errorf("%d turns, want 2", got)
		}
	}
	if n, err := f.CancelPaused(f.ctx); err != nil || n != 0 {
		t.Errorf("asked again: %d %v", n, err)
	}
	f.pause("again")
	if got := f.status().AbandonedTurns; got != 2 {
		t.Errorf("asked again: %d turns, want 2", got)
	}
	for run, want := range map[string]int{under.Run.ID: 1, dead.Run.ID: 1, parked: 0, waiting: 0, retried.Run.ID: 0} {
		if got := f.record(run).AbandonedTurns(); got != want {
			t.Errorf("%s: %d turns, want %d", run, got, want)
		}
	}
	f.resume()
	f.pause("")
	if got := f.status().AbandonedTurns; got != 0 {
		t.Errorf("the next pause begins with %d turns", got)
	}
}

// TestTurnsThatOthersLeaveBehind: a cancel, and a newer slot.
func TestTurnsThatOthersLeaveBehind(t *testing.T) {
	f := setup(t, Options{})
	is := func(what, run string, want int) {
		t.Helper()
		if got := f.record(run).AbandonedTurns(); got != want {
			t.Errorf("%s: %d turns, want %d", what, got, want)
		}
	}
	b := f.begun("cancelled", everyMinute())
	f.cancel(b.Run.ID)
	is("cancelled under way", b.Run.ID, 1)
	waiting := f.runNow("cancelled")
	f.cancel(waiting)
	is("cancelled before it began", waiting, 0)
	done := f.begun("done", everyMinute())
	f.commit(done, "the reply")
	is("done", done.Run.ID, 0)

	previous, next := f.overlapping("overlap", job.OverlapCancelPrevious)
	f.claim(f.job("overlap"), next, newToken())
	is("a newer slot came", previous.Run.ID, 1)
}
