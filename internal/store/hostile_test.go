package store

import (
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// What is damaged, foreign or stuck must stop nobody else.

func TestDamagedEntriesOfWakeStopNobody(t *testing.T) {
	f := setup(t, Options{})
	f.create("good", everyMinute())
	_, run, err := f.RunJob(f.ctx, "good")
	f.must(err)
	f.must(f.rdb.HSet(f.ctx, f.keys.run("damaged"), "state", "waiting").Err())
	f.must(f.rdb.Set(f.ctx, f.keys.run("string"), "x", 0).Err())
	for n, member := range []string{"r:damaged", "r:string", "z:of a newer release", "r:gone", "r:" + run} {
		f.must(f.rdb.ZAdd(f.ctx, f.keys.wake(), redis.Z{Score: float64(n + 1), Member: member}).Err())
	}
	carriers, bad, err := f.Look(f.ctx, 100)
	f.must(err)
	if len(carriers) != 1 || carriers[0].ID != run {
		t.Errorf("carriers %v", carriers)
	}
	if len(bad) != 2 || bad[0].Entry != "r:damaged" || bad[1].Entry != "r:string" || bad[0].Reason == "" {
		t.Errorf("unreadable %v", bad)
	}
	for member, stays := range map[string]bool{"r:damaged": true, "r:string": true, "z:of a newer release": true, "r:gone": false} {
		at, ok := f.score(f.keys.wake(), member)
		if ok != stays || (ok && at < f.now()+20_000) {
			t.Errorf("%s: in wake %v, next look at %d", member, ok, at)
		}
	}
}

func TestPostponeLeavesTheJobAlone(t *testing.T) {
	f := setup(t, Options{})
	slot, later := f.minute(0), f.now()+90_000
	for _, id := range []string{"a", "b", "moved"} {
		f.create(id, everyMinute())
		f.rewind(id, slot)
	}
	f.must(f.Postpone(f.ctx, nil))
	f.must(f.Postpone(f.ctx, []job.Later{{JobID: "a", Seen: slot, Look: later}, {JobID: "none", Seen: 0, Look: later},
		{JobID: "moved", Seen: slot - 1, Look: later}, {JobID: "b", Seen: slot, Look: later + 1}}))
	for id, want := range map[string]job.Millis{"a": later, "b": later + 1, "moved": slot} {
		if at, _ := f.score(f.keys.due(), id); at != want {
			t.Errorf("%s is looked at at %d, want %d", id, at, want)
		}
	}
	if _, ok := f.score(f.keys.due(), "none"); ok || f.job("a").NextSlot != slot {
		t.Error("more than the entries was changed")
	}
}

// What is overdue by more can be left out, so that a backlog hides nothing.
func TestDueWindowBeyondABacklog(t *testing.T) {
	f := setup(t, Options{})
	for id, late := range map[string]job.Millis{"hour": 3600_000, "minute": 60_000, "now": 0, "next": -60_000, "far": -7200_000} {
		f.create(id, everyMinute())
		f.rewind(id, f.now()-late)
	}
	for behind, want := range map[time.Duration][]string{0: {"hour", "minute", "now", "next"},
		30 * time.Second: {"now", "next"}, 30 * time.Minute: {"minute", "now", "next"}} {
		w, err := f.DueWindow(f.ctx, behind, time.Hour, 10)
		f.must(err)
		var got []string
		for _, e := range w.Entries {
			got = append(got, e.JobID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v behind: %v, want %v", behind, got, want)
		}
	}
}

func TestTrimmingWalksPastWhatItSpares(t *testing.T) {
	f := setup(t, Options{HistoryPerJob: 2})
	f.create("a", everyMinute())
	for range 12 { // unfinished, at the old end
		_, _, err := f.RunJob(f.ctx, "a")
		f.must(err)
	}
	for range 10 {
		_, run, err := f.RunJob(f.ctx, "a")
		f.must(err)
		f.commit(f.begin(run), "x")
	}
	ended := 0
	for _, r := range f.runs("a") {
		if r.State == job.StateDone {
			ended++
		}
	}
	if ended > 1 {
		t.Errorf("%d ended records are kept over the cap", ended)
	}
}

// TestTrimmingSparesWhatIsUndelivered, keeps no record beyond its retention, and lets a
// clock that went back confuse nobody about which record is the newest.
func TestTrimmingSparesWhatIsUndelivered(t *testing.T) {
	f := setup(t, Options{HistoryPerJob: 1})
	run := f.delivery("a")
	old, ahead := "a:manual:old", "a:manual:ahead"
	f.must(f.rdb.HSet(f.ctx, f.keys.run(old), "state", "waiting").Err()) // spared by the cap
	f.must(f.rdb.ZAdd(f.ctx, f.keys.runs("a"), redis.Z{Score: 1, Member: old}).Err())
	for range 3 {
		f.commit(f.begin(f.runNow("a")), "x")
	}
	if b := f.beginDelivery(run); b.Verdict != job.BeginOK || b.Reply != "the reply" {
		t.Errorf("a run with a reply to deliver was trimmed: %s", b.Verdict)
	}
	if _, ok := f.score(f.keys.runs("a"), old); ok {
		t.Error("a record is listed beyond its retention")
	}
	f.must(f.rdb.ZAdd(f.ctx, f.keys.runs("a"), redis.Z{Score: float64(f.now()+3600_000) * 1000, Member: ahead}).Err())
	newest := f.runNow("a")
	if got := f.rdb.ZRange(f.ctx, f.keys.runs("a"), -1, -1).Val(); got[0] != newest {
		t.Errorf("the newest record is %q", got)
	}
}

func TestDeliveryIsGivenUpAfterADay(t *testing.T) {
	f := setup(t, Options{})
	run := f.delivery("a")
	b := f.beginDelivery(run)
	f.must(f.rdb.HSet(f.ctx, f.keys.delivery(run+":1"), "createdAt", int64(f.now())-25*3600_000).Err())
	if !f.sendEnd(run, b, 0, job.SendEnd{Result: job.PartRetry, Retry: job.RetryFree, Message: "limited", Delay: time.Second}) {
		t.Error("it waits for ever")
	}
	if r := f.record(run); r.DeliveryState != job.DeliveryFailed {
		t.Errorf("delivery %s", r.DeliveryState)
	}
	// Nor is it sent by whoever comes after a sender that died.
	dead := f.delivery("b")
	f.beginDelivery(dead)
	f.declareSenderDead(dead)
	f.must(f.rdb.HSet(f.ctx, f.keys.delivery(dead+":1"), "createdAt", int64(f.now())-25*3600_000).Err())
	if v := f.beginDelivery(dead).Verdict; v != job.BeginEnded {
		t.Errorf("begin: %s", v)
	}
	if r := f.record(dead); r.DeliveryState != job.DeliveryFailed {
		t.Errorf("delivery %s", r.DeliveryState)
	}
}

func TestResentEndsGetTheSameAnswer(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	b := f.begun("a", spec)
	if !f.fail(b, job.RetryCounted, 0) || !f.fail(b, job.RetryCounted, 0) {
		t.Error("a resent failure got another answer")
	}
	if n := f.record(b.Run.ID); len(n.Attempts) != 1 || n.State != job.StateWaiting {
		t.Errorf("run %+v", n)
	}
	f.letBegin(b.Run.ID)
	if again := f.begin(b.Run.ID); again.Retries != 1 {
		t.Errorf("%d retries are counted", again.Retries)
	}

	run := f.delivery("d")
	d := f.beginDelivery(run)
	e := job.SendEnd{Result: job.PartRetry, Retry: job.RetryCounted, Message: "503"}
	if f.sendEnd(run, d, 0, e) || f.sendEnd(run, d, 0, e) {
		t.Error("ended")
	}
	d = f.beginDelivery(run)
	if d.Retries != 1 {
		t.Errorf("%d retries are counted", d.Retries)
	}
	f.sendBegin(run, d, 0)
	done := job.SendEnd{Result: job.PartDelivered, MessageID: "m"}
	if !f.sendEnd(run, d, 0, done) || !f.sendEnd(run, d, 0, done) {
		t.Error("a resent end got another answer")
	}
}

func TestIdThatIsMadeAgain(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.MaxRuns = 1
	old := f.begun("a", everyMinute())
	f.must(f.DeleteJob(f.ctx, "a"))
	j := f.create("a", spec)
	slot := f.minute(-1)
	f.rewind("a", slot)
	b := f.claim(j, slot, "t")
	if b.Verdict != job.BeginParked { // the old run is no overlap, but it holds the session
		t.Fatalf("claim: %s", b.Verdict)
	}
	f.commit(old, "of the old job")
	if got := f.job("a"); got.LastRunID != "" {
		t.Errorf("the new job is told of the old one's run: %+v", got)
	}
	b = f.begin(job.RunID("a", slot))
	f.commit(b, "of the new job")
	if _, err := f.Job(f.ctx, "a"); err == nil {
		t.Error("the new job outlives its last run")
	}
}

// TestSlotOfAnIdThatIsMadeAgain: the record that the earlier job left of the slot is no
// part of this one's run.
func TestSlotOfAnIdThatIsMadeAgain(t *testing.T) {
	f := setup(t, Options{})
	old := f.begun("a", everyMinute())
	f.commit(old, "of the old job")
	f.must(f.DeleteJob(f.ctx, "a"))
	b := f.begun("a", everyMinute())
	if b.Run.ID != old.Run.ID {
		t.Fatalf("run %s, want %s", b.Run.ID, old.Run.ID)
	}
	if r := f.record(b.Run.ID); r.State != job.StateRunning || r.Reply != "" || r.Outcome != "" || len(r.Attempts) != 1 || r.Attempts[0].EndedAt != 0 {
		t.Errorf("run %+v", r)
	}
}

// A slot that comes due between an edit's look and its script gets its record.
func TestEditAtTheVeryMomentOfASlot(t *testing.T) {
	f := setup(t, Options{})
	for _, kind := range []string{"pause", "delete"} {
		f.create(kind, everyMinute())
		soon := f.now() + 300
		f.rewind(kind, soon)
		stale := f.job(kind)
		p, err := f.passedSlots(stale, f.now().Time())
		f.must(err)
		if p.Count != 0 || p.Next != soon {
			t.Fatalf("passed %+v", p)
		}
		until(t, func() bool { return f.now() > soon })
		var said word
		if kind == "pause" {
			said, _, err = f.put(f.ctx, put{id: kind, mode: "edit", uid: stale.UID, token: "t", rev: stale.Revision,
				seen: stale.NextSlot, cursor: cursorSet, passed: p, reason: job.ReasonDisabled})
		} else {
			said, _, err = f.answer(f.ctx, f.scripts.deleteJob, kind, stale.UID, optional(stale.NextSlot), "", "", 0, optional(p.Next), stale.Revision, "", "me", "", "t")
		}
		f.must(err)
		if said != saidChanged {
			t.Errorf("%s over a slot that has just come due: %s", kind, said)
		}
	}
}

func until(t *testing.T, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-t.Context().Done():
			t.Fatal("gave up waiting")
		case <-ticker.C:
		}
	}
}

func TestPauseDuringTheLastRun(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.MaxRuns = 1
	b := f.begun("a", spec)
	f.fail(b, job.RetryCounted, 0)
	enable := func(on bool) job.Job {
		t.Helper()
		j, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { s.Enabled = on; return s, nil })
		f.must(err)
		return j
	}
	enable(false)
	f.letBegin(b.Run.ID)
	if got := f.begin(b.Run.ID); got.Verdict != job.BeginEnded {
		t.Fatalf("begin of a paused job's run: %s", got.Verdict)
	}
	// The pause used up no run: after it the job has its last one again.
	if j := enable(true); j.Claims != 0 || j.NextSlot == 0 {
		t.Errorf("resumed %+v", j)
	}
}

func TestEditOfMaxRunsLeavesADueSlotAlone(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	slot := f.minute(0)
	f.rewind("a", slot)
	set := func(n int) job.Job {
		t.Helper()
		j, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { s.MaxRuns = n; return s, nil })
		f.must(err)
		return j
	}
	if j := set(1); j.NextSlot != slot || len(f.runs("a")) != 0 {
		t.Errorf("cursor %d, %d records", j.NextSlot, len(f.runs("a")))
	}
	f.claim(f.job("a"), slot, "t")
	if j := f.job("a"); j.NextSlot != 0 {
		t.Fatalf("the last claim left a slot: %+v", j)
	}
	if j := set(2); j.NextSlot <= f.now() { // one more: the schedule goes on
		t.Errorf("cursor %d", j.NextSlot)
	}
}

// A begin that finds the lock of another type has the session all the same, in one attempt.
func TestBeginOnADamagedLock(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	_, run, err := f.RunJob(f.ctx, "a")
	f.must(err)
	lock := f.keys.lock(f.job("a").ResolveSession("a"))
	f.must(f.rdb.HSet(f.ctx, lock, "x", 1).Err())
	if b := f.begin(run); b.Verdict != job.BeginOK || b.Attempt != 1 {
		t.Errorf("%s, attempt %d", b.Verdict, b.Attempt)
	}
	if holder := f.rdb.Get(f.ctx, lock).Val(); holder != run {
		t.Errorf("the session is held by %q", holder)
	}
}
