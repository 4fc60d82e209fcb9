package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// Leases of runs and of deliveries follow the same rules; each is tried with both.

// leased is something under way, and what can be asked of it.
type leased struct {
	key, member string
	renew       func() error
	begin       func() job.Verdict
}

func (f *fixture) leases() map[string]leased {
	f.t.Helper()
	b := f.begun("a", everyMinute())
	chat := f.delivery("b")
	d := f.beginDelivery(chat)
	return map[string]leased{
		"run": {f.keys.run(b.Run.ID), "r:" + b.Run.ID,
			func() error { return f.Renew(f.ctx, b.Run.ID, b.Epoch) },
			func() job.Verdict { return f.begin(b.Run.ID).Verdict }},
		"delivery": {f.keys.delivery(chat + ":1"), "d:" + chat + ":1",
			func() error { return f.RenewDelivery(f.ctx, chat, 1, d.Epoch) },
			func() job.Verdict { return f.beginDelivery(chat).Verdict }},
		"send": {f.keys.delivery(chat + ":1"), "d:" + chat + ":1",
			func() error { f.sendBegin(chat, d, 0); return nil },
			func() job.Verdict { return f.beginDelivery(chat).Verdict }},
	}
}

// wantLease checks that a lease runs for its whole time, and is looked at when it ends.
func (f *fixture) wantLease(name string, l leased) {
	f.t.Helper()
	until, err := f.rdb.HGet(f.ctx, l.key, "leaseUntil").Int64()
	f.must(err)
	look, _ := f.score(f.keys.wake(), l.member)
	if left := job.Millis(until) - f.now(); left < 10_000 || left > 15_000 || look != job.Millis(until) {
		f.t.Errorf("%s: the lease has %d ms left and is looked at %d ms after its end", name, left, look-job.Millis(until))
	}
}

// TestRenewalClearsWhatWasSeen: one look saw the lease expired; after the renewal it
// takes two again, and the lease is as long as a new one.
func TestRenewalClearsWhatWasSeen(t *testing.T) {
	f := setup(t, Options{})
	for name, l := range f.leases() {
		f.wantLease(name, l)
		f.killWorker(l.key, l.member)
		f.look()
		f.must(l.renew())
		f.wantLease(name, l)
		if seen := f.rdb.HMGet(f.ctx, l.key, "seenEpoch", "seenAt").Val(); seen[0] != nil || seen[1] != nil {
			t.Errorf("%s: after the renewal it is seen since %v", name, seen)
		}
		f.must(f.rdb.HSet(f.ctx, f.keys.looks(), "since", 1).Err()) // the looking goes on
		f.killWorker(l.key, l.member)
		if c := f.look(); len(c) != 0 {
			t.Errorf("%s: one look after a renewal carried %v", name, c)
		}
		f.must(l.renew())
	}
}

// TestRenewalAfterTheSecondLook: as long as nobody has begun instead, the worker that
// was only slow goes on.
func TestRenewalAfterTheSecondLook(t *testing.T) {
	f := setup(t, Options{})
	for name, l := range f.leases() {
		f.killWorker(l.key, l.member)
		f.look()
		f.age(l.key, l.member, 7*time.Second)
		if c := f.look(); len(c) != 1 {
			t.Fatalf("%s: the second look carried %v", name, c)
		}
		f.must(l.renew())
		if v := l.begin(); v != job.BeginBusy {
			t.Errorf("%s: begin beside a worker that renewed: %s", name, v)
		}
	}
}

// TestSecondLookTooSoon: two looks that follow each other at once have seen nothing.
func TestSecondLookTooSoon(t *testing.T) {
	f := setup(t, Options{})
	for name, l := range f.leases() {
		f.killWorker(l.key, l.member)
		f.look()
		for _, ago := range []time.Duration{0, 5 * time.Second} {
			f.age(l.key, l.member, ago)
			if c := f.look(); len(c) != 0 {
				t.Errorf("%s: a look %v after the first carried %v", name, ago, c)
			}
			if v := l.begin(); v != job.BeginBusy {
				t.Errorf("%s: begin %v after the first look: %s", name, ago, v)
			}
		}
		f.must(l.renew())
	}
}

// TestLeaseThatRuns is never seen expired, however often it is looked at before its end.
func TestLeaseThatRuns(t *testing.T) {
	f := setup(t, Options{})
	for name, l := range f.leases() {
		epoch := f.rdb.HGet(f.ctx, l.key, "epoch").Val()
		for range 3 {
			f.must(f.rdb.HSet(f.ctx, l.key, "seenEpoch", epoch).Err())
			f.age(l.key, l.member, 7*time.Second)
			if c := f.look(); len(c) != 0 {
				t.Fatalf("%s: carried %v", name, c)
			}
			if f.rdb.HExists(f.ctx, l.key, "seenEpoch").Val() {
				t.Errorf("%s: what was seen stays", name)
			}
			f.wantLease(name, l)
		}
	}
}

// TestClockThatGoesBack is a gap in the looking, as a Redis that stood still is.
func TestClockThatGoesBack(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("a", everyMinute())
	key, member := f.keys.run(b.Run.ID), "r:"+b.Run.ID
	f.killWorker(key, member)
	f.look()
	f.age(key, member, 7*time.Second)
	f.must(f.rdb.HSet(f.ctx, f.keys.looks(), "last", int64(f.now())+60_000).Err())
	if c := f.look(); len(c) != 0 {
		t.Errorf("carried %v", c)
	}
	// A lease that is longer than any is of that clock: it counts as expired.
	f.must(f.rdb.HSet(f.ctx, key, "leaseUntil", int64(f.now())+3600_000).Err())
	f.age(key, member, 7*time.Second)
	if c := f.look(); len(c) != 1 {
		t.Errorf("a lease of an hour: carried %v", c)
	}
}

// TestEpochOfADeadLease: what was seen, or declared dead, of an earlier attempt says
// nothing about this one.
func TestEpochOfADeadLease(t *testing.T) {
	f := setup(t, Options{})
	for name, l := range f.leases() {
		f.must(f.rdb.HSet(f.ctx, l.key, "deadEpoch", 99).Err())
		if v := l.begin(); v != job.BeginBusy {
			t.Errorf("%s: begin after the death of another epoch: %s", name, v)
		}
		f.killWorker(l.key, l.member)
		f.must(f.rdb.HSet(f.ctx, l.key, "seenEpoch", 99).Err())
		f.age(l.key, l.member, 7*time.Second)
		if c := f.look(); len(c) != 0 {
			t.Errorf("%s: carried %v", name, c)
		}
		f.must(l.renew())
	}
}

// TestDeadLeaseIsCarriedAgain: the carrier of the second look can be lost as any other.
func TestDeadLeaseIsCarriedAgain(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("a", everyMinute())
	first := f.declareDead(b.Run.ID)
	f.age(f.keys.run(b.Run.ID), "r:"+b.Run.ID, 0)
	if c := f.look(); len(c) != 1 || c[0] != first {
		t.Errorf("the look after it carried %v, want %v", c, first)
	}
	if look, _ := f.score(f.keys.wake(), "r:"+b.Run.ID); look < f.now()+20_000 {
		t.Errorf("the next look is in %d ms", look-f.now())
	}
	f.begin(b.Run.ID)
	f.wantLease("the next attempt", leased{key: f.keys.run(b.Run.ID), member: "r:" + b.Run.ID})
}

// TestDeadAttemptsAreBounded as failed ones are: by their number and by the next slot.
func TestDeadAttemptsAreBounded(t *testing.T) {
	f := setup(t, Options{})
	once := everyMinute()
	once.MaxRetries = new(0)
	number, slot := f.begun("number", once), f.begun("slot", everyMinute())
	f.rewind("number", f.minute(100))
	f.rewind("slot", f.minute(0)-1000)
	for _, b := range []job.Begun{number, slot} {
		f.declareDead(b.Run.ID)
		if v := f.begin(b.Run.ID).Verdict; v != job.BeginEnded {
			t.Errorf("%s: %s", b.Run.ID, v)
		}
		if r := f.record(b.Run.ID); r.Outcome != job.Failed || r.Attempts[0].Result != job.ResultAmbiguous {
			t.Errorf("run %+v", r)
		}
	}
}

// TestEditBetweenAttempts: the next one is in the session that the job has now, and the
// one of before is free; nor is a conversation deleted that was isolated before.
func TestEditBetweenAttempts(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.SessionKey = "before"
	holder := f.begun("a", spec)
	f.create("b", spec)
	run := f.runNow("b")
	f.begin(run)
	f.commit(holder, "x") // hands on to the run
	_, err := f.UpdateJob(f.ctx, "b", func(s job.Spec) (job.Spec, error) { s.SessionKey = "now"; return s, nil })
	f.must(err)
	if b := f.begin(run); b.Verdict != job.BeginOK || b.Run.SessionKey != "now" {
		t.Fatalf("begin: %+v", b)
	}
	if holder := f.rdb.Get(f.ctx, f.keys.lock("before")).Val(); holder != "" {
		t.Errorf("the session of before is held by %q", holder)
	}

	isolated := everyMinute()
	isolated.Context = job.ContextIsolated
	b := f.begun("c", isolated)
	f.rewind("c", f.minute(100))
	f.fail(b, job.RetryFree, 0)
	_, err = f.UpdateJob(f.ctx, "c", func(s job.Spec) (job.Spec, error) {
		s.Context, s.SessionKey = job.ContextSession, "before"
		return s, nil
	})
	f.must(err)
	f.commit(f.begin(b.Run.ID), "y")
	if s, err := f.Session(f.ctx, "before", 10); err != nil || len(s.Messages) != 4 {
		t.Errorf("the session has %d messages, %v", len(s.Messages), err)
	}
}

// TestEndedRunIsFenced, with the very epoch of its last attempt.
func TestEndedRunIsFenced(t *testing.T) {
	f := setup(t, Options{})
	committed, failed, retried := f.begun("committed", everyMinute()), f.begun("failed", everyMinute()), f.begun("retried", everyMinute())
	f.commit(committed, "the reply")
	f.fail(failed, job.RetryNever, 0)
	f.fail(retried, job.RetryCounted, 0)
	before := map[string]job.Run{}
	for _, b := range []job.Begun{committed, failed, retried} {
		before[b.Run.ID] = f.record(b.Run.ID)
		if err := f.Renew(f.ctx, b.Run.ID, b.Epoch); !errors.Is(err, job.ErrFenced) {
			t.Errorf("%s renews: %v", b.Run.ID, err)
		}
		c := commitOf(b, "another")
		c.Token = "another"
		if _, err := f.Commit(f.ctx, c); !errors.Is(err, job.ErrFenced) {
			t.Errorf("%s commits: %v", b.Run.ID, err)
		}
	}
	if _, _, err := f.Fail(f.ctx, job.Failure{RunID: committed.Run.ID, Epoch: committed.Epoch, Retry: job.RetryCounted}); !errors.Is(err, job.ErrFenced) {
		t.Errorf("a committed run fails: %v", err)
	}
	for run, want := range before {
		if r := f.record(run); r.State != want.State || r.Outcome != want.Outcome || r.Reply != want.Reply {
			t.Errorf("%s became %+v", run, r)
		}
	}
	chat := f.delivery("chat")
	d := f.beginDelivery(chat)
	f.sendBegin(chat, d, 0)
	f.sendEnd(chat, d, 0, job.SendEnd{Result: job.PartRetry, Retry: job.RetryCounted})
	if err := f.RenewDelivery(f.ctx, chat, 1, d.Epoch); !errors.Is(err, job.ErrFenced) {
		t.Errorf("an attempt that gave up renews: %v", err)
	}
	if _, err := f.SendBegin(f.ctx, chat, 1, d.Epoch, 0, 1, "t"); !errors.Is(err, job.ErrFenced) {
		t.Errorf("an attempt that gave up sends: %v", err)
	}
}

// TestFailedAttemptOfAJobThatIsGone ends its run: nothing would begin it again, and a
// new job of the id has nothing to do with it.
func TestFailedAttemptOfAJobThatIsGone(t *testing.T) {
	f := setup(t, Options{})
	for name, again := range map[string]bool{"deleted": false, "made-again": true} {
		b := f.begun(name, everyMinute())
		f.must(f.DeleteJob(f.ctx, name))
		if again {
			f.create(name, everyMinute())
		}
		if f.fail(b, job.RetryCounted, 0) {
			t.Errorf("%s: it is tried again", name)
		}
		if r := f.record(b.Run.ID); r.State != job.StateDone || r.Outcome != job.Failed {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestAttemptsAreBounded: waiting because a server asks for it uses up no retry, so
// something else must end it.
func TestAttemptsAreBounded(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	run := f.runNow("a")
	b := f.begin(run)
	f.must(f.rdb.HSet(f.ctx, f.keys.run(run), "attempt", maxAttempts-1).Err())
	if !f.fail(b, job.RetryFree, 0) {
		t.Fatal("the last but one is not followed by another")
	}
	if b = f.begin(run); b.Attempt != maxAttempts || f.fail(b, job.RetryFree, 0) {
		t.Errorf("attempt %d is followed by another", b.Attempt)
	}
}

// TestRetryBeforeAJitteredSlot: the next slot is not in the way before it is due.
func TestRetryBeforeAJitteredSlot(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("a", everyMinute())
	f.must(f.rdb.HSet(f.ctx, f.keys.job("a"), "nextDue", int64(b.Run.Slot)+300_000).Err())
	if !f.fail(b, job.RetryCounted, 2*time.Minute) {
		t.Error("no retry before the next slot is due")
	}
}

// TestWhatIsEndedExpires, and what is read again later lives on.
func TestWhatIsEndedExpires(t *testing.T) {
	f := setup(t, Options{})
	run := f.delivery("a")
	d := f.beginDelivery(run)
	f.sendBegin(run, d, 0)
	f.sendEnd(run, d, 0, job.SendEnd{Result: job.PartFailed})
	keys := []string{f.keys.run(run), f.keys.runs("a"), f.keys.delivery(run + ":1"), f.keys.session(f.record(run).SessionKey)}
	for _, key := range keys {
		if ttl := f.rdb.PTTL(f.ctx, key).Val(); ttl <= time.Hour {
			t.Errorf("%s expires in %v", key, ttl)
		}
	}
	f.must(f.rdb.PExpire(f.ctx, keys[0], time.Minute).Err())
	_, err := f.Redeliver(f.ctx, run)
	f.must(err)
	if ttl := f.rdb.PTTL(f.ctx, keys[0]).Val(); ttl <= time.Hour {
		t.Errorf("a run that is delivered again expires in %v", ttl)
	}
}

// TestNewerRecordsAreLeftAlone: a release that does not know what is in a record must
// neither act on it nor write to it, during an upgrade or after a step back.
func TestNewerRecordsAreLeftAlone(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.Channel, spec.ChatID = "telegram", "7"
	newer := func(key string) { f.must(f.rdb.HSet(f.ctx, key, "v", job.Version+1).Err()) }
	j := f.create("job", spec)
	slot := f.minute(0)
	f.rewind("job", slot)
	queued := f.runNow("job")
	newer(f.keys.job("job"))
	f.create("runs", spec)
	waiting, ended, chat := f.runNow("runs"), f.delivery("ended"), f.delivery("chat")
	d := f.beginDelivery(ended)
	f.sendBegin(ended, d, 0)
	f.sendEnd(ended, d, 0, job.SendEnd{Result: job.PartFailed})
	newer(f.keys.run(waiting))
	newer(f.keys.run(ended))
	newer(f.keys.delivery(chat + ":1"))
	told := f.begun("told", spec)
	newer(f.keys.job("told"))
	for _, key := range []string{f.keys.run(waiting), f.keys.delivery(chat + ":1")} {
		f.must(f.rdb.HSet(f.ctx, key, "notBefore", 1).Err())
	}
	f.must(f.rdb.ZAdd(f.ctx, f.keys.wake(), redis.Z{Score: 1, Member: "r:" + waiting}, redis.Z{Score: 1, Member: "d:" + chat + ":1"}).Err())

	records := []string{f.keys.job("job"), f.keys.job("told"), f.keys.run(waiting), f.keys.run(ended), f.keys.delivery(chat + ":1")}
	before := dump(f)
	verdict := func(v job.Verdict, err error) error {
		if err == nil && v != job.BeginNewer {
			return fmt.Errorf("verdict %s", v)
		}
		if err == nil {
			return job.ErrNewerVersion
		}
		return err
	}
	for name, err := range map[string]error{
		"edit": func() error {
			_, err := f.UpdateJob(f.ctx, "job", func(s job.Spec) (job.Spec, error) { s.Task = "x"; return s, nil })
			return err
		}(),
		"delete":    f.DeleteJob(f.ctx, "job"),
		"run now":   func() error { _, _, err := f.RunJob(f.ctx, "job"); return err }(),
		"cancel":    func() error { _, err := f.CancelRun(f.ctx, waiting); return err }(),
		"redeliver": func() error { _, err := f.Redeliver(f.ctx, ended); return err }(),
		"begin":     verdict(f.begin(waiting).Verdict, nil),
		"of a job":  verdict(f.begin(queued).Verdict, nil),
		"deliver":   verdict(f.beginDelivery(chat).Verdict, nil),
		"claim": func() error {
			b, err := f.Claim(f.ctx, job.Claim{JobID: "job", UID: j.UID, Slot: slot, Revision: 1, Token: "t"})
			return verdict(b.Verdict, err)
		}(),
	} {
		if !errors.Is(err, job.ErrNewerVersion) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := f.rdb.SCard(f.ctx, f.keys.active("job", j.UID)).Val(); n != 1 {
		t.Errorf("%d runs of a job of a newer release, want the one of before", n)
	}
	f.commit(told, "the reply")
	// Between a read and its script, a newer release may have had a record.
	if word, _, err := f.put(f.ctx, put{id: "job", mode: "edit", uid: j.UID, token: "t", rev: j.Revision, seen: slot, cursor: cursorKeep}); !errors.Is(err, job.ErrNewerVersion) {
		t.Errorf("put: %s %v", word, err)
	}
	if word, _, err := f.answer(f.ctx, f.scripts.deleteJob, "job", j.UID, optional(slot), "", "", 0, "", j.Revision, "", "me", "", "t"); !errors.Is(err, job.ErrNewerVersion) {
		t.Errorf("delete: %s %v", word, err)
	}
	moved, err := f.Collapse(f.ctx, job.Collapse{JobID: "job", UID: j.UID, Revision: 1, Seen: slot, First: slot, Last: slot, Count: 1})
	f.must(err)
	if moved {
		t.Error("its slot was passed over")
	}
	f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: "job", At: slot}}))
	if c := f.look(); len(c) != 0 {
		t.Errorf("carried %v", c)
	}
	f.pause("")
	if _, err := f.CancelPaused(f.ctx); err != nil {
		t.Error(err)
	}
	after := dump(f)
	for _, key := range records {
		if fmt.Sprint(before[key]) != fmt.Sprint(after[key]) {
			t.Errorf("%s was written: %v, before %v", key, after[key], before[key])
		}
	}
}

func TestDeadLeaseTakesTwoLooks(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("a", everyMinute())
	key, member := f.keys.run(b.Run.ID), "r:"+b.Run.ID

	f.killWorker(key, member)
	f.look()
	if got := f.begin(b.Run.ID); got.Verdict != job.BeginBusy {
		t.Errorf("one look: %s", got.Verdict)
	}
	// Redis stood still: the looking began anew after what was seen.
	f.age(key, member, 7*time.Second)
	f.must(f.rdb.HSet(f.ctx, f.keys.looks(), "last", int64(f.now())-50_000).Err())
	if c := f.look(); len(c) != 0 {
		t.Fatalf("a gap between looks declared a lease dead: %v", c)
	}
	// The worker was only slow: its renewal clears what was seen.
	f.must(f.Renew(f.ctx, b.Run.ID, b.Epoch))
	f.age(key, member, 7*time.Second)
	if c := f.look(); len(c) != 0 {
		t.Fatalf("a renewed lease is dead: %v", c)
	}

	carrier := f.declareDead(b.Run.ID)
	if carrier.N == 0 {
		t.Error("the carrier of a dead lease must have a number of its own")
	}
	second := f.begin(b.Run.ID)
	if second.Verdict != job.BeginOK || second.Attempt != 2 || second.Epoch == b.Epoch || second.Retries != 1 {
		t.Fatalf("after a dead lease: %+v", second)
	}
	if a := f.record(b.Run.ID).Attempts[0]; a.Result != job.ResultAmbiguous || a.Cause != job.CauseLeaseExpired {
		t.Errorf("the first attempt is shown as %+v", a)
	}
	// The zombie wakes.
	if err := f.Renew(f.ctx, b.Run.ID, b.Epoch); !errors.Is(err, job.ErrFenced) {
		t.Errorf("zombie renews: %v", err)
	}
	if _, err := f.Commit(f.ctx, commitOf(b, "zombie")); !errors.Is(err, job.ErrFenced) {
		t.Errorf("zombie commits: %v", err)
	}
	if _, _, err := f.Fail(f.ctx, job.Failure{RunID: b.Run.ID, Epoch: b.Epoch}); !errors.Is(err, job.ErrFenced) {
		t.Errorf("zombie fails: %v", err)
	}
	f.commit(second, "second")
	if r := f.record(b.Run.ID); r.Reply != "second" {
		t.Errorf("reply %q", r.Reply)
	}
}
