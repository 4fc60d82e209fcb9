package store

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

func TestClaimMakesOneRunOfASlot(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	slot := f.minute(0)
	f.rewind("a", slot)

	b := f.claim(j, slot, "t1")
	if b.Verdict != job.BeginOK || b.Attempt != 1 || b.Run.ID != job.RunID("a", slot) || b.Run.Slot != slot || b.Job.Task != "say hello" {
		t.Fatalf("claim: %+v", b)
	}
	after := f.job("a")
	if after.NextSlot != slot+60_000 || after.LastSlot != slot || after.Claims != 1 {
		t.Errorf("the cursor is at %+v", after)
	}
	// The client library sends it again, because the answer was lost.
	if again := f.claim(j, slot, "t1"); again.Verdict != job.BeginOK || again.Epoch != b.Epoch || again.Attempt != 1 {
		t.Errorf("resent claim: %+v", again)
	}
	// A second carrier of the same slot.
	if other := f.claim(j, slot, "t2"); other.Verdict != job.BeginBusy {
		t.Errorf("second carrier: %s", other.Verdict)
	}
	f.commit(b, "hello")
	if late := f.claim(j, slot, "t3"); late.Verdict != job.BeginDone {
		t.Errorf("a carrier after the commit: %s", late.Verdict)
	}
	if n := len(f.runs("a")); n != 1 {
		t.Errorf("%d records of one slot", n)
	}
}

// Whoever makes an attempt knows whether there is anything of ours to read.
func TestAttemptKnowsOfATranscript(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	next := func(n int) job.Begun {
		f.rewind("a", f.minute(n))
		return f.claim(j, f.minute(n), newToken())
	}
	first := next(-1)
	f.commit(first, "hello")
	second := next(0)
	if !f.fail(second, job.RetryCounted, 0) {
		t.Fatal("no retry")
	}
	f.letBegin(second.Run.ID)
	retry := f.begin(second.Run.ID)
	if first.Transcript || !second.Transcript || !retry.Transcript {
		t.Errorf("a transcript at the first attempt: %t, at the second run: %t, at its retry: %t",
			first.Transcript, second.Transcript, retry.Transcript)
	}
}

func TestClaimIsRefused(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	slot := f.minute(0)
	f.rewind("a", slot)
	base := job.Claim{JobID: "a", UID: j.UID, Slot: slot, Revision: j.Revision, Next: slot + 60_000, NextDue: slot + 60_000, Token: "t", Worker: "w"}
	tests := map[string]struct {
		change func(*job.Claim)
		want   job.Verdict
	}{
		"another job of the id": {func(c *job.Claim) { c.UID = "other" }, job.BeginGone},
		"no job":                {func(c *job.Claim) { c.JobID = "none" }, job.BeginGone},
		"another slot":          {func(c *job.Claim) { c.Slot -= 60_000 }, job.BeginMoved},
		"an old definition":     {func(c *job.Claim) { c.Revision-- }, job.BeginStale},
	}
	for name, tc := range tests {
		c := base
		tc.change(&c)
		b, err := f.Claim(f.ctx, c)
		f.must(err)
		if b.Verdict != tc.want {
			t.Errorf("%s: %s, want %s", name, b.Verdict, tc.want)
		}
		if tc.want == job.BeginStale && (b.Timing.Cron != "* * * * *" || b.Revision != j.Revision) {
			t.Errorf("stale answer %+v", b)
		}
	}
	if got := f.job("a"); got.NextSlot != slot || len(f.runs("a")) != 0 {
		t.Errorf("a refused claim changed %+v", got)
	}
	// The carrier of the earlier job stood in the way of this one's: look again now.
	f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: "a", At: slot}}))
	other := base
	other.UID = "other"
	_, err := f.Claim(f.ctx, other)
	f.must(err)
	if at, _ := f.score(f.keys.due(), "a"); at > f.now() {
		t.Errorf("due in %d ms", at-f.now())
	}

	future := f.minute(5)
	f.rewind("a", future)
	b := f.claim(j, future, "t")
	if b.Verdict != job.BeginEarly || b.Delay <= 3*time.Minute || b.Delay > 5*time.Minute {
		t.Errorf("a claim before its time: %+v", b)
	}
	f.must(f.rdb.HSet(f.ctx, f.keys.job("a"), "v", 99).Err())
	b, err = f.Claim(f.ctx, base)
	f.must(err)
	if b.Verdict != job.BeginNewer {
		t.Errorf("a newer record: %s", b.Verdict)
	}
}

func TestOverlapSkipsIntoOneRange(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("a", everyMinute())
	first := f.minute(-8)
	for n := range 3 {
		slot := first + job.Millis(n)*60_000
		f.rewind("a", slot)
		if got := f.claim(b.Job, slot, "t"); got.Verdict != job.BeginDropped {
			t.Fatalf("overlapping claim: %s", got.Verdict)
		}
		if got := f.job("a"); got.NextSlot != slot+60_000 || got.LastSlot != slot {
			t.Fatalf("the skipped slot left the cursor at %+v", got)
		}
	}
	runs := f.runs("a")
	if len(runs) != 2 {
		t.Fatalf("%d records, want the run and one range: %+v", len(runs), runs)
	}
	r := runs[0]
	if r.Outcome != job.Skipped || r.Reason != job.ReasonOverlap || r.Slot != first || r.LastSlot != first+120_000 || r.Count != 3 {
		t.Errorf("range %+v", r)
	}
	// Another reason is another range, and one that goes on is the newest record.
	between := f.runNow("a")
	f.rewind("a", first+180_000)
	f.claim(b.Job, first+180_000, "t")
	if runs := f.runs("a"); runs[0].ID != r.ID || runs[1].ID != between || runs[0].Count != 4 {
		t.Errorf("a range that went on: %+v", runs)
	}
	f.cancel(between)
	f.rewind("a", first+240_000)
	_, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { s.Schedule = "*/2 * * * *"; return s, nil })
	f.must(err)
	if runs := f.runs("a"); runs[0].Reason != job.ReasonEdited || f.record(r.ID).Count != 4 {
		t.Errorf("after an edit over a due slot: %+v", runs)
	}
	f.commit(b, "x")
	next := f.minute(1) - 60_000*2
	f.rewind("a", next)
	if got := f.claim(b.Job, next, "t9"); got.Verdict != job.BeginOK {
		t.Errorf("after the commit: %s", got.Verdict)
	}
}

func TestOverlapIgnoresARunThatIsGone(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	f.must(f.rdb.SAdd(f.ctx, f.keys.active("a", f.job("a").UID), "a:1").Err())
	f.rewind("a", f.minute(0))
	if got := f.claim(j, f.minute(0), "t"); got.Verdict != job.BeginOK {
		t.Errorf("a job is wedged by an entry without a run: %s", got.Verdict)
	}
}

func TestMisfireAtTheClaim(t *testing.T) {
	f := setup(t, Options{})
	for _, tc := range []struct {
		name   string
		policy job.Misfire
		age    int
		want   job.Verdict
		reason string
	}{
		{"run-once-late", job.MisfireRunOnce, 10, job.BeginOK, ""},
		{"run-once-stale", job.MisfireRunOnce, 61, job.BeginDropped, job.ReasonStale},
		{"skip-late", job.MisfireSkip, 3, job.BeginDropped, job.ReasonLate},
	} {
		spec := everyMinute()
		spec.Misfire = tc.policy
		j := f.create(tc.name, spec)
		slot := f.minute(-tc.age)
		f.rewind(tc.name, slot)
		if b := f.claim(j, slot, "t"); b.Verdict != tc.want {
			t.Errorf("%s: %s", tc.name, b.Verdict)
		}
		r := f.runs(tc.name)[0]
		if r.Reason != tc.reason || (tc.reason != "" && r.Outcome != job.Missed) {
			t.Errorf("%s: recorded as %s(%s)", tc.name, r.Outcome, r.Reason)
		}
		if next := f.job(tc.name).NextSlot; next != slot+60_000 {
			t.Errorf("%s: the cursor is at %d", tc.name, next)
		}
	}
}

func TestMaxRunsDeletesTheJobAfterItsLastRun(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.MaxRuns = 2
	b := f.begun("a", spec)
	f.commit(b, "one")
	slot := f.minute(-1)
	f.rewind("a", slot)
	b = f.claim(b.Job, slot, "t2")
	if next := f.job("a").NextSlot; b.Verdict != job.BeginOK || next != 0 {
		t.Fatalf("last claim: %s, cursor %d", b.Verdict, next)
	}
	if !f.fail(b, job.RetryCounted, 0) { // a retry is not a second run
		t.Fatal("no retry")
	}
	f.letBegin(b.Run.ID)
	b = f.begin(b.Run.ID)
	if b.Verdict != job.BeginOK {
		t.Fatalf("retry: %s", b.Verdict)
	}
	f.commit(b, "two")
	if _, err := f.Job(f.ctx, "a"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("the job is still there: %v", err)
	}
	if n := len(f.runs("a")); n != 2 {
		t.Errorf("%d records are readable, want 2", n)
	}
}

func TestCommit(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.Channel, spec.ChatID = "telegram", "7"
	b := f.begun("a", spec)
	c := commitOf(b, "hello")
	c.Delivery, c.Target = job.DeliveryPending, job.Target{Channel: "telegram", ChatID: "7"}
	carriers, err := f.Commit(f.ctx, c)
	f.must(err)
	if want := []job.Carrier{{Kind: job.CarryDelivery, ID: b.Run.ID + ":1"}}; !cmp.Equal(carriers, want) {
		t.Errorf("carriers %v", carriers)
	}
	if _, err := f.Commit(f.ctx, c); err != nil {
		t.Errorf("resent commit: %v", err)
	}
	c.Token = "another"
	if _, err := f.Commit(f.ctx, c); !errors.Is(err, job.ErrFenced) {
		t.Errorf("second commit: %v", err)
	}
	r := f.record(b.Run.ID)
	if r.Outcome != job.Succeeded || r.Reply != "hello" || r.DeliveryState != job.DeliveryPending || len(r.Attempts) != 1 ||
		r.Attempts[0].Result != job.ResultSucceeded || r.Attempts[0].EndedAt == 0 || r.FinishedAt == 0 {
		t.Errorf("run %+v", r)
	}
	s, err := f.Session(f.ctx, b.Run.SessionKey, 10)
	f.must(err)
	if len(s.Messages) != 2 || s.Messages[0].Text != "say hello" || s.Messages[1].Text != "hello" || s.Messages[1].RunID != b.Run.ID {
		t.Errorf("session %+v", s)
	}
	if _, ok := f.score(f.keys.wake(), "r:"+b.Run.ID); ok {
		t.Error("an ended run is still in wake")
	}
	if _, ok := f.score(f.keys.wake(), "d:"+b.Run.ID+":1"); !ok {
		t.Error("the delivery is not in wake")
	}
	if n := f.rdb.Exists(f.ctx, f.keys.active("a", f.job("a").UID), f.keys.lock(b.Run.SessionKey)).Val(); n != 0 {
		t.Errorf("%d locks are left", n)
	}
}

func TestFailedAttemptWaitsAndRunsAgain(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.Schedule = "0 0 1 1 *" // the next slot is far
	j := f.create("a", spec)
	f.rewind("a", f.minute(0))
	c := job.Claim{JobID: "a", UID: j.UID, Slot: f.minute(0), Revision: 1, Next: f.minute(100), NextDue: f.minute(100), Token: "t", Worker: "w"}
	b, err := f.Claim(f.ctx, c)
	f.must(err)
	if !f.fail(b, job.RetryCounted, 30*time.Second) {
		t.Fatal("not retried")
	}
	if got := f.begin(b.Run.ID); got.Verdict != job.BeginEarly || got.Delay > 30*time.Second {
		t.Errorf("before its time: %+v", got)
	}
	if f.rdb.Exists(f.ctx, f.keys.lock(b.Run.SessionKey)).Val() != 0 {
		t.Error("a waiting run holds its session")
	}
	for n := 2; n <= 1+job.DefaultMaxRetries; n++ {
		f.letBegin(b.Run.ID)
		b = f.begin(b.Run.ID)
		if b.Verdict != job.BeginOK || b.Attempt != n || b.Retries != n-1 {
			t.Fatalf("attempt %d: %+v", n, b)
		}
		f.fail(b, job.RetryFree, 0) // asked to wait: costs no retry
		f.letBegin(b.Run.ID)
		b = f.begin(b.Run.ID)
		again := f.fail(b, job.RetryCounted, 0)
		if want := n <= job.DefaultMaxRetries; again != want {
			t.Fatalf("after attempt %d: retry %v, want %v", n, again, want)
		}
		if !again {
			break
		}
		f.must(f.rdb.HSet(f.ctx, f.keys.run(b.Run.ID), "attempt", n).Err())
	}
	r := f.record(b.Run.ID)
	if r.Outcome != job.Failed || r.Error != "no" {
		t.Errorf("run %+v", r)
	}
	if got := f.job("a"); got.Failures != 1 || got.LastOutcome != job.Failed {
		t.Errorf("job %+v", got)
	}
}

func TestRetryNeverComesAfterTheNextSlot(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("a", everyMinute())
	if f.fail(b, job.RetryCounted, 2*time.Minute) {
		t.Error("retried after the next slot")
	}
	_, run, err := f.RunJob(f.ctx, "a")
	f.must(err)
	if m := f.begin(run); !f.fail(m, job.RetryCounted, 2*time.Minute) {
		t.Error("a manual run has no next slot")
	}
}

func TestCommitRevivesALeaseThatOneLookSawExpired(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("a", everyMinute())
	f.killWorker(f.keys.run(b.Run.ID), "r:"+b.Run.ID)
	f.look()
	f.commit(b, "late but first")
	if c := f.look(); len(c) != 0 {
		t.Errorf("an ended run is carried: %v", c)
	}
}

func TestOnAmbiguousFail(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.OnAmbiguous = job.OnAmbiguousFail
	b := f.begun("a", spec)
	f.declareDead(b.Run.ID)
	if got := f.begin(b.Run.ID); got.Verdict != job.BeginEnded {
		t.Errorf("begin: %s", got.Verdict)
	}
	if r := f.record(b.Run.ID); r.Outcome != job.Failed || r.Attempts[0].Result != job.ResultAmbiguous {
		t.Errorf("run %+v", r)
	}
	b = f.begun("b", spec)
	again, _, err := f.Fail(f.ctx, job.Failure{RunID: b.Run.ID, Epoch: b.Epoch, Result: job.ResultAmbiguous,
		Retry: job.RetryCounted, Outcome: job.Failed})
	f.must(err)
	if again {
		t.Error("an ambiguous attempt is tried again")
	}
}

func TestNothingBeginsByAnOldDefinition(t *testing.T) {
	f := setup(t, Options{})
	for name, change := range map[string]func(id string){
		"deleted":    func(id string) { f.must(f.DeleteJob(f.ctx, id)) },
		"made-again": func(id string) { f.must(f.DeleteJob(f.ctx, id)); f.create(id, everyMinute()) },
		"disabled": func(id string) {
			_, err := f.UpdateJob(f.ctx, id, func(s job.Spec) (job.Spec, error) { s.Enabled = false; return s, nil })
			f.must(err)
		},
	} {
		spec := everyMinute()
		b := f.begun(name, spec)
		f.fail(b, job.RetryCounted, 0)
		change(name)
		f.letBegin(b.Run.ID)
		if got := f.begin(b.Run.ID); got.Verdict != job.BeginEnded {
			t.Errorf("%s: %s", name, got.Verdict)
		}
		if r := f.record(b.Run.ID); r.Outcome != job.Cancelled || (r.Reason != name && r.Reason != job.ReasonDeleted) {
			t.Errorf("%s: %s(%s)", name, r.Outcome, r.Reason)
		}
	}
	b := f.begun("edited", everyMinute())
	f.fail(b, job.RetryCounted, 0)
	_, err := f.UpdateJob(f.ctx, "edited", func(s job.Spec) (job.Spec, error) { s.Task = "new"; return s, nil })
	f.must(err)
	f.letBegin(b.Run.ID)
	if got := f.begin(b.Run.ID); got.Job.Task != "new" {
		t.Errorf("a retry runs %q", got.Job.Task)
	}
}

func TestSessionIsServedInOrder(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.SessionKey = "agent:main:telegram:dm:1"
	first := f.begun("a", spec)
	var queue []string
	for n := range 3 {
		f.create(id(n), spec)
		_, run, err := f.RunJob(f.ctx, id(n))
		f.must(err)
		if got := f.begin(run); got.Verdict != job.BeginParked {
			t.Fatalf("run %d: %s", n, got.Verdict)
		}
		queue = append(queue, run)
	}
	// A look at a parked run enqueues nothing, and loses nothing.
	for _, run := range queue {
		f.age(f.keys.run(run), "r:"+run, 0)
	}
	if c := f.look(); len(c) != 0 {
		t.Fatalf("parked runs are carried: %v", c)
	}
	f.must(f.DeleteJob(f.ctx, id(1))) // ends its turn without a call
	carriers := f.commit(first, "x")
	for n, run := range queue {
		if len(carriers) == 0 || carriers[0].ID != run {
			t.Fatalf("turn %d went to %v, want %s", n, carriers, run)
		}
		b := f.begin(run)
		if n == 1 {
			if b.Verdict != job.BeginEnded {
				t.Fatalf("a deleted job's run: %s", b.Verdict)
			}
			carriers = []job.Carrier{{Kind: job.CarryRun, ID: queue[2]}}
			continue
		}
		if b.Verdict != job.BeginOK {
			t.Fatalf("turn %d: %s", n, b.Verdict)
		}
		carriers = f.commit(b, "x")
	}
	if f.rdb.Exists(f.ctx, f.keys.lock(spec.SessionKey), f.keys.wait(spec.SessionKey)).Val() != 0 {
		t.Error("the session is not free")
	}
}

func TestSessionOfAVanishedHolderIsFree(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.SessionKey = "s"
	b := f.begun("a", spec)
	f.create("b", spec)
	_, run, err := f.RunJob(f.ctx, "b")
	f.must(err)
	f.begin(run)
	f.must(f.rdb.Del(f.ctx, f.keys.run(b.Run.ID)).Err())
	f.age(f.keys.run(run), "r:"+run, 0)
	c := f.look()
	if len(c) != 1 || c[0].ID != run {
		t.Fatalf("the look at a parked run behind nobody gave %v", c)
	}
	if got := f.begin(run); got.Verdict != job.BeginOK {
		t.Errorf("begin: %s", got.Verdict)
	}
}

func TestLookRepairsALostCarrier(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	_, run, err := f.RunJob(f.ctx, "a")
	f.must(err)
	f.age(f.keys.run(run), "r:"+run, 0)
	want := []job.Carrier{{Kind: job.CarryRun, ID: run}}
	if c := f.look(); !cmp.Equal(c, want) {
		t.Fatalf("look: %v", c)
	}
	if c := f.look(); len(c) != 0 {
		t.Errorf("looked at again at once: %v", c)
	}
	at, _ := f.score(f.keys.wake(), "r:"+run)
	if in := at - f.now(); in < 25_000 || in > 30_000 {
		t.Errorf("next look in %d ms", in)
	}
	f.age(f.keys.run(run), "r:"+run, 0)
	if c := f.look(); !cmp.Equal(c, want) {
		t.Errorf("a later look has another number: %v", c)
	}
}

func TestHistoryIsTrimmedAndKeysAreFlat(t *testing.T) {
	const history = 5
	f := setup(t, Options{HistoryPerJob: history, SessionMessages: 6})
	j := f.create("a", everyMinute())
	var keys []int64
	for n := range 1000 {
		// Another slot each time; all within the grace.
		slot := job.Millis(int64(f.minute(0)) - int64(n%3000)*1000)
		f.rewind("a", slot)
		b := f.claim(j, slot, newToken())
		c := commitOf(b, "x")
		c.Delivery, c.Target = job.DeliveryPending, job.Target{Channel: "c", ChatID: "1"}
		_, err := f.Commit(f.ctx, c)
		f.must(err)
		d := f.beginDelivery(b.Run.ID)
		f.sendBegin(b.Run.ID, d, 0)
		f.sendEnd(b.Run.ID, d, 0, job.SendEnd{Result: job.PartDelivered, MessageID: "m"})
		if n%100 == 99 {
			keys = append(keys, f.rdb.DBSize(f.ctx).Val())
		}
	}
	for _, k := range keys {
		if k != keys[0] {
			t.Fatalf("number of keys, every 100 slots: %v", keys)
		}
	}
	if n := len(f.runs("a")); n != history {
		t.Errorf("%d records are kept, want %d", n, history)
	}
	s, err := f.Session(f.ctx, j.ResolveSession("a"), 100)
	f.must(err)
	if len(s.Messages) != 6 {
		t.Errorf("%d messages are kept", len(s.Messages))
	}
}

func TestTrimmingSparesWhatIsUnfinished(t *testing.T) {
	f := setup(t, Options{HistoryPerJob: 1})
	f.create("a", everyMinute())
	_, waiting, err := f.RunJob(f.ctx, "a")
	f.must(err)
	for range 3 {
		_, run, err := f.RunJob(f.ctx, "a")
		f.must(err)
		f.commit(f.begin(run), "x")
	}
	if b := f.begin(waiting); b.Verdict != job.BeginOK {
		t.Errorf("an unfinished run was trimmed: %s", b.Verdict)
	}
}

// TestIsolatedSessionHoldsTheLastRun: or its list, and the ai-server's file, would grow
// with every run for nobody to read.
func TestIsolatedSessionHoldsTheLastRun(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.Context = job.ContextIsolated
	f.create("a", spec)
	for _, reply := range []string{"one", "two"} {
		_, run, err := f.RunJob(f.ctx, "a")
		f.must(err)
		b := f.begin(run)
		c := commitOf(b, reply)
		c.Messages[1].Text = reply
		_, err = f.Commit(f.ctx, c)
		f.must(err)
		s, err := f.Session(f.ctx, "agent:main:cron:a:isolated", 10)
		f.must(err)
		if len(s.Messages) != 2 || s.Messages[1].Text != reply {
			t.Errorf("after %q the session has %+v", reply, s.Messages)
		}
	}
}

func TestMaxRetries(t *testing.T) {
	f := setup(t, Options{})
	for name, most := range map[string]*int{"unset": nil, "none": new(0), "five": new(5)} {
		spec := everyMinute()
		spec.MaxRetries = most
		f.create(name, spec)
		_, run, err := f.RunJob(f.ctx, name)
		f.must(err)
		retries := 0
		for f.fail(f.begin(run), job.RetryCounted, 0) {
			retries++
		}
		want := job.DefaultMaxRetries
		if most != nil {
			want = *most
		}
		if r := f.record(run); retries != want || r.Outcome != job.Failed || len(r.Attempts) != want+1 {
			t.Errorf("%s: %d retries, %d attempts, %s", name, retries, len(r.Attempts), r.Outcome)
		}
	}
}

// TestTurnWithoutText: a finished turn that says nothing is done, its session has what was
// asked alone, and there is nothing to deliver again.
func TestTurnWithoutText(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("a", everyMinute())
	c := commitOf(b, "")
	c.Empty = true
	_, err := f.Commit(f.ctx, c)
	f.must(err)
	if r := f.record(b.Run.ID); r.Outcome != job.Succeeded || !r.Empty || r.Reply != "" {
		t.Errorf("recorded %+v", r)
	}
	if s, err := f.Session(f.ctx, b.Run.SessionKey, 10); err != nil || len(s.Messages) != 1 || s.Messages[0].Role != "user" {
		t.Errorf("session %+v, %v", s, err)
	}
	if _, err := f.Redeliver(f.ctx, b.Run.ID); !errors.Is(err, job.ErrNoReply) {
		t.Errorf("redelivered: %v", err)
	}
}
