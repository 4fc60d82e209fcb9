package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// overlapping is a job under way whose next slot is due as well.
func (f *fixture) overlapping(id string, overlap job.Overlap) (previous job.Begun, next job.Millis) {
	f.t.Helper()
	spec := everyMinute()
	spec.Overlap = overlap
	j := f.create(id, spec)
	first := f.minute(-3)
	f.rewind(id, first)
	previous = f.claim(j, first, newToken())
	if previous.Verdict != job.BeginOK {
		f.t.Fatalf("claim: %s", previous.Verdict)
	}
	return previous, first + 60_000
}

func TestOverlapAllow(t *testing.T) {
	f := setup(t, Options{})
	previous, next := f.overlapping("a", job.OverlapAllow)
	second := f.claim(f.job("a"), next, newToken())
	// The same session: not beside each other.
	if second.Verdict != job.BeginParked {
		t.Fatalf("the next slot: %s", second.Verdict)
	}
	carriers := f.commit(previous, "one")
	if len(carriers) != 1 || carriers[0].ID != job.RunID("a", next) {
		t.Fatalf("carriers %v", carriers)
	}
	f.commit(f.begin(carriers[0].ID), "two")
	for _, r := range f.runs("a") {
		if r.Outcome != job.Succeeded {
			t.Errorf("%s: %s (%s)", r.ID, r.Outcome, r.Reason)
		}
	}
}

// TestOverlapAllowIsBounded: a job whose runs never end must not fill Redis.
func TestOverlapAllowIsBounded(t *testing.T) {
	f := setup(t, Options{})
	previous, next := f.overlapping("crowd", job.OverlapAllow)
	for n := range maxUnfinishedRuns {
		f.must(f.rdb.SAdd(f.ctx, f.keys.active("crowd", previous.Job.UID), fmt.Sprint("crowd:manual:", n)).Err())
		f.must(f.rdb.HSet(f.ctx, f.keys.run(fmt.Sprint("crowd:manual:", n)), "state", "waiting").Err())
	}
	if v := f.claim(f.job("crowd"), next, newToken()).Verdict; v != job.BeginDropped {
		t.Errorf("over the bound: %s", v)
	}
	if r := f.record(job.RunID("crowd", next)); r.Outcome != job.Skipped || r.Reason != job.ReasonOverlap {
		t.Errorf("record %+v", r)
	}
}

func TestOverlapCancelPrevious(t *testing.T) {
	f := setup(t, Options{})
	previous, next := f.overlapping("a", job.OverlapCancelPrevious)
	_, manual, err := f.RunJob(f.ctx, "a")
	f.must(err)
	f.must(f.rdb.SAdd(f.ctx, f.keys.active("a", previous.Job.UID), "a:lost").Err())
	second := f.claim(f.job("a"), next, newToken())
	if second.Verdict != job.BeginOK {
		t.Fatalf("the next slot: %s", second.Verdict)
	}
	r := f.record(previous.Run.ID)
	if r.Outcome != job.Cancelled || r.Reason != job.ReasonOverlap || r.Attempts[0].Result != job.ResultCancelled || r.Attempts[0].Cause != job.CauseOverlap {
		t.Errorf("the previous run: %+v", r)
	}
	active := f.rdb.SMembers(f.ctx, f.keys.active("a", previous.Job.UID)).Val()
	slices.Sort(active)
	if want := []string{second.Run.ID, manual}; !slices.Equal(active, want) { // a lost one must not keep the job for ever
		t.Errorf("unfinished are %q, want %q", active, want)
	}
	if _, err := f.Commit(f.ctx, commitOf(previous, "too late")); !errors.Is(err, job.ErrFenced) {
		t.Errorf("its commit: %v", err)
	}
	if r := f.record(manual); r.State == job.StateDone {
		t.Errorf("a manual run was cancelled: %+v", r)
	}
	f.commit(second, "two")

	// What is committed stays.
	if v := f.claim(f.job("a"), next+60_000, newToken()).Verdict; v != job.BeginOK {
		t.Errorf("the slot after it: %s", v)
	}
	if r := f.record(second.Run.ID); r.Outcome != job.Succeeded || r.Reply != "two" {
		t.Errorf("the committed run: %+v", r)
	}
}

// TestOverlapLeavesANewerRunAlone: this release cannot tell what a cancel would do to it.
func TestOverlapLeavesANewerRunAlone(t *testing.T) {
	f := setup(t, Options{})
	previous, next := f.overlapping("a", job.OverlapCancelPrevious)
	f.must(f.rdb.HSet(f.ctx, f.keys.run(previous.Run.ID), "v", job.Version+1).Err())
	if v := f.claim(f.job("a"), next, newToken()).Verdict; v != job.BeginParked {
		t.Errorf("the next slot: %s", v)
	}
	if state := f.rdb.HGet(f.ctx, f.keys.run(previous.Run.ID), "state").Val(); state != "running" {
		t.Errorf("the run of a newer release is %s", state)
	}
}

func TestOverlapQueueOne(t *testing.T) {
	f := setup(t, Options{})
	previous, next := f.overlapping("a", job.OverlapQueueOne)
	token := newToken()
	if v := f.claim(f.job("a"), next, token).Verdict; v != job.BeginParked {
		t.Fatalf("the next slot: %s", v)
	}
	queued := job.RunID("a", next)
	if r := f.record(queued); r.State != job.StateQueued {
		t.Fatalf("record %+v", r)
	}
	if look, _ := f.score(f.keys.wake(), "r:"+queued); look < f.now()+200_000 {
		t.Errorf("what waits is looked at in %d ms", look-f.now())
	}
	if v := f.claim(f.job("a"), next, token).Verdict; v != job.BeginParked {
		t.Errorf("its carrier again: %s", v)
	}
	// A third one does not wait.
	if v := f.claim(f.job("a"), next+60_000, newToken()).Verdict; v != job.BeginDropped {
		t.Fatalf("the slot after it: %s", v)
	}
	if r := f.record(job.RunID("a", next+60_000)); r.Outcome != job.Skipped || r.Reason != job.ReasonOverlap {
		t.Errorf("record %+v", r)
	}

	// A failed attempt, with a retry before the next slot, does not end the run in front.
	f.rewind("a", f.minute(100))
	if !f.fail(previous, job.RetryFree, 0) {
		t.Fatal("the attempt was the last")
	}
	if v := f.begin(queued).Verdict; v != job.BeginParked {
		t.Fatalf("between attempts of the run in front: %s", v)
	}
	f.letBegin(previous.Run.ID)
	carriers := f.commit(f.begin(previous.Run.ID), "one")
	if len(carriers) != 1 || carriers[0].ID != queued {
		t.Fatalf("carriers %v", carriers)
	}
	if v := f.begin(queued).Verdict; v != job.BeginOK {
		t.Fatalf("after the run in front: %s", v)
	}
	// While it runs, another one may wait.
	f.rewind("a", next+120_000)
	if v := f.claim(f.job("a"), next+120_000, newToken()).Verdict; v != job.BeginParked {
		t.Errorf("a slot behind the one that had waited: %s", v)
	}
}

// TestQueuedRunIsLetGo by whatever ends the run in front, and by a look where that
// vanished.
func TestQueuedRunIsLetGo(t *testing.T) {
	for name, end := range map[string]func(f *fixture, previous job.Begun){
		"failed":    func(f *fixture, previous job.Begun) { f.fail(previous, job.RetryNever, 0) },
		"cancelled": func(f *fixture, previous job.Begun) { _, err := f.CancelRun(f.ctx, previous.Run.ID); f.must(err) },
		"vanished": func(f *fixture, previous job.Begun) {
			f.must(f.rdb.Del(f.ctx, f.keys.run(previous.Run.ID), f.keys.lock(previous.Run.SessionKey)).Err())
			f.must(f.rdb.ZAdd(f.ctx, f.keys.wake(), redis.Z{Score: 1, Member: "r:" + job.RunID("a", previous.Run.Slot+60_000)}).Err())
			f.look()
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, Options{})
			previous, next := f.overlapping("a", job.OverlapQueueOne)
			f.claim(f.job("a"), next, newToken())
			f.must(f.rdb.ZAdd(f.ctx, f.keys.wake(), redis.Z{Score: 1, Member: "r:" + job.RunID("a", next)}).Err())
			if c := f.look(); len(c) != 0 {
				t.Fatalf("a look at what waits enqueued %v", c)
			}
			end(f, previous)
			if v := f.begin(job.RunID("a", next)).Verdict; v != job.BeginOK {
				t.Errorf("the queued run: %s", v)
			}
		})
	}
}

// TestQueuedRunIsCancelled on its own, and with its job.
func TestQueuedRunIsCancelled(t *testing.T) {
	f := setup(t, Options{})
	previous, next := f.overlapping("a", job.OverlapQueueOne)
	f.claim(f.job("a"), next, newToken())
	_, err := f.CancelRun(f.ctx, job.RunID("a", next))
	f.must(err)
	if carriers := f.commit(previous, "one"); len(carriers) != 0 {
		t.Errorf("carriers of a cancelled run: %v", carriers)
	}

	previous, next = f.overlapping("b", job.OverlapQueueOne)
	f.claim(f.job("b"), next, newToken())
	f.must(f.DeleteJob(f.ctx, "b"))
	f.commit(previous, "one")
	if v := f.begin(job.RunID("b", next)).Verdict; v != job.BeginEnded {
		t.Errorf("a queued run of a deleted job: %s", v)
	}
	if r := f.record(job.RunID("b", next)); r.Outcome != job.Cancelled || r.Reason != job.ReasonDeleted {
		t.Errorf("record %+v", r)
	}
}

// TestRunAll catches up one after the other, whatever the overlap policy says, which is
// in force again once the job runs on time.
func TestRunAll(t *testing.T) {
	for _, overlap := range []job.Overlap{job.OverlapSkip, job.OverlapQueueOne, job.OverlapAllow, job.OverlapCancelPrevious} {
		t.Run(string(overlap), func(t *testing.T) {
			f := setup(t, Options{})
			spec := everyMinute()
			spec.Misfire, spec.Overlap = job.MisfireRunAll, overlap
			j := f.create("a", spec)
			slot := f.minute(-3)
			f.rewind("a", slot)
			for n := range 3 { // the last one is followed by a slot that is on time
				b := f.claim(j, slot, newToken())
				if b.Verdict != job.BeginOK {
					t.Fatalf("slot %d: %s", n, b.Verdict)
				}
				slot += 60_000
				if v := f.claim(j, slot, newToken()).Verdict; v != job.BeginBehind {
					t.Fatalf("slot %d, while the one before it runs: %s", n+1, v)
				}
				f.must(f.rdb.ZAdd(f.ctx, f.keys.due(), redis.Z{Score: float64(slot + 600_000), Member: "a"}).Err())
				f.commit(b, "done")
				if look, _ := f.score(f.keys.due(), "a"); look > f.now() {
					t.Errorf("slot %d is not due again: looked at in %d ms", n+1, look-f.now())
				}
			}

			// It is on time now.
			b := f.claim(j, slot, newToken())
			if b.Verdict != job.BeginOK {
				t.Fatalf("the slot on time: %s", b.Verdict)
			}
			// So is the next minute, as far as the job knows.
			f.must(f.rdb.HSet(f.ctx, f.keys.job("a"), "nextDue", int64(f.now())).Err())
			want := map[job.Overlap]job.Verdict{job.OverlapSkip: job.BeginDropped, job.OverlapQueueOne: job.BeginParked,
				job.OverlapAllow: job.BeginParked, job.OverlapCancelPrevious: job.BeginOK}[overlap]
			if v := f.claim(j, slot+60_000, newToken()).Verdict; v != want {
				t.Errorf("a slot that comes due while the one on time runs: %s, want %s", v, want)
			}
		})
	}
}

// TestRunAllBehindARunOnTime: what came due while a run that was on time took its time is
// caught up with as well, and is no overlap.
func TestRunAllBehindARunOnTime(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.Misfire = job.MisfireRunAll
	j := f.create("a", spec)
	claim := func(slot, next job.Millis) job.Verdict {
		t.Helper()
		f.rewind("a", slot)
		b, err := f.Claim(f.ctx, job.Claim{JobID: "a", UID: j.UID, Slot: slot, Revision: j.Revision, Next: next, NextDue: next, Token: newToken()})
		f.must(err)
		return b.Verdict
	}
	now, far := f.now()/1000*1000, f.minute(100)
	for _, c := range []struct {
		name       string
		slot, next job.Millis
		want       job.Verdict
	}{
		{"on time", now, far, job.BeginOK},
		{"two minutes late", now - 120_000, far, job.BeginBehind},
		{"with the next one due", now - 30_000, now - 10_000, job.BeginBehind},
		{"on time, beside the run", now - 30_000, far, job.BeginDropped},
	} {
		if v := claim(c.slot, c.next); v != c.want {
			t.Errorf("a slot %s: %s, want %s", c.name, v, c.want)
		}
	}
	// What lies ahead is looked at when it is due, whatever ends before.
	_, err := f.CancelRun(f.ctx, job.RunID("a", now))
	f.must(err)
	if look, _ := f.score(f.keys.due(), "a"); look != far {
		t.Errorf("the slot ahead is looked at %d ms too early", far-look)
	}
}

// TestRangeEndsWithARun: what is skipped after it is another range.
func TestRangeEndsWithARun(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("a", everyMinute())
	now := f.minute(0)
	skip := func(slot job.Millis) {
		t.Helper()
		f.rewind("a", slot)
		if got := f.claim(b.Job, slot, newToken()); got.Verdict != job.BeginDropped {
			t.Fatalf("overlapping claim: %s", got.Verdict)
		}
	}
	skip(now - minutes(5))
	f.commit(b, "x")
	f.rewind("a", now-minutes(4))
	if got := f.claim(b.Job, now-minutes(4), newToken()); got.Verdict != job.BeginOK {
		t.Fatalf("claim: %s", got.Verdict)
	}
	skip(now - minutes(3))
	for _, slot := range []job.Millis{now - minutes(5), now - minutes(3)} {
		if r := f.record(job.RunID("a", slot)); r.Count != 1 || r.Outcome != job.Skipped {
			t.Errorf("range %+v", r)
		}
	}
}

// TestLastRunsEndTogether: the job goes with the last of them to end, not with the last
// claim.
func TestLastRunsEndTogether(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.MaxRuns, spec.Overlap = 2, job.OverlapQueueOne
	j := f.create("a", spec)
	slot := f.minute(-1)
	f.rewind("a", slot)
	first := f.claim(j, slot, "t1")
	if v := f.claim(j, slot+minutes(1), "t2").Verdict; v != job.BeginParked {
		t.Fatalf("the last claim: %s", v)
	}
	f.commit(first, "one")
	second := f.begin(job.RunID("a", slot+minutes(1)))
	if second.Verdict != job.BeginOK {
		t.Fatalf("the last run: %s", second.Verdict)
	}
	f.commit(second, "two")
	if _, err := f.Job(f.ctx, "a"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("the job is still there: %v", err)
	}
}
