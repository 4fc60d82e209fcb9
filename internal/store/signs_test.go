package store

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

func (f *fixture) signs() job.Signs {
	f.t.Helper()
	s, err := f.Signs(f.ctx, time.Minute)
	f.must(err)
	return s
}

func TestBeats(t *testing.T) {
	f := setup(t, Options{})
	beat := func(role, host string, pid int) {
		t.Helper()
		f.must(f.Beat(f.ctx, job.Process{Role: role, Host: host, PID: pid, Version: "v1", Places: pid}, time.Minute))
	}
	beat("worker", "h:1", 7)
	beat("scheduler", "b", 7)
	beat("worker", "a", 8)
	beat("worker", "a", 7)
	beat("worker", "a", 7)
	beat("worker", "gone", 7)
	f.must(f.rdb.Del(f.ctx, f.keys.beat("worker:gone:7")).Err())
	beat("worker", "stopped", 7)
	f.must(f.Rest(f.ctx, job.Process{Role: "worker", Host: "stopped", PID: 7}))
	// As a release before this one gives it.
	f.must(f.rdb.Set(f.ctx, f.keys.beat("worker:older"), "1", time.Minute).Err())
	f.must(f.rdb.ZAdd(f.ctx, f.keys.beats(), redis.Z{Score: float64(f.now()), Member: "worker:older"},
		redis.Z{Score: float64(f.now()) - 2*3600_000, Member: "worker:long ago:7"}).Err())
	beat("api", "a", 7) // forgets what is long ago

	says := func(role, host string, pid int) job.Process {
		return job.Process{Role: role, Host: host, PID: pid, Alive: true, Version: "v1", Places: pid}
	}
	want := []job.Process{says("api", "a", 7), says("scheduler", "b", 7), says("worker", "a", 7), says("worker", "a", 8),
		{Role: "worker", Host: "gone", PID: 7}, says("worker", "h:1", 7), {Role: "worker", Host: "older", Alive: true}}
	s := f.signs()
	if d := cmp.Diff(want, s.Processes, cmpopts.IgnoreFields(job.Process{}, "Last")); d != "" {
		t.Error(d)
	}
	for _, p := range s.Processes {
		if p.Last == 0 || p.Last > s.Now {
			t.Errorf("%s on %s: last at %d, now %d", p.Role, p.Host, p.Last, s.Now)
		}
	}
	if ttl := f.rdb.PTTL(f.ctx, f.keys.beats()).Val(); ttl <= 0 || ttl > beatsKept {
		t.Errorf("the list of beats lasts for %s", ttl)
	}
	for host, want := range map[string]bool{"a": true, "older": true, "gone": false, "stopped": false, "h": false} {
		if alive, err := f.Alive(f.ctx, "worker", host); err != nil || alive != want {
			t.Errorf("a worker on %s is alive: %v, %v", host, alive, err)
		}
	}
}

// Whoever knew the jobs of a store says that they are gone; who did not, says nothing.
func TestEmptiedStore(t *testing.T) {
	f := setup(t, Options{})
	one, other, later := f.Store, New(f.rdb, Options{}), New(f.rdb, Options{})
	beat := func(s *Store) {
		t.Helper()
		f.must(s.Beat(f.ctx, job.Process{Role: "worker", Host: "a", PID: 1}, time.Minute))
	}
	beat(one)
	f.must(f.rdb.FlushAll(f.ctx).Err())
	beat(one)
	if e := f.signs().Emptied; e != (job.Emptied{}) {
		t.Errorf("a store without jobs was emptied: %+v", e)
	}
	f.create("a", everyMinute())
	f.create("b", everyMinute())
	beat(one)
	beat(other)
	if e := f.signs().Emptied; e != (job.Emptied{}) {
		t.Errorf("nothing happened, but: %+v", e)
	}
	f.must(f.rdb.FlushAll(f.ctx).Err())
	beat(later) // begins its life in the empty store
	if e := f.signs().Emptied; e != (job.Emptied{}) {
		t.Errorf("somebody new cannot know: %+v", e)
	}
	beat(one)
	first := f.signs().Emptied
	if first.At == 0 || first.Jobs != 2 {
		t.Fatalf("nobody says that 2 jobs are gone: %+v", first)
	}
	for _, s := range []*Store{one, other, later} {
		beat(s)
	}
	if e := f.signs().Emptied; e != first {
		t.Errorf("it is told anew: %+v, then %+v", first, e)
	}
}

// A slot counts from when it was due, whatever happens to its task in the queue.
func TestLateSlots(t *testing.T) {
	f := setup(t, Options{})
	now := f.minute(0)
	for _, id := range []string{"a", "b", "c", "d", "ahead"} {
		f.create(id, everyMinute())
	}
	late := func() job.Overdue { t.Helper(); return f.signs().Late }
	if o := late(); o.Count != 0 {
		t.Fatalf("nothing is due yet: %+v", o)
	}
	for i, id := range []string{"a", "b", "c", "d"} {
		f.rewind(id, now-job.Millis(5-i)*60_000)
	}
	want := job.Overdue{Count: 4, Oldest: now - 5*60_000, IDs: []string{"a", "b", "c", "d"}}
	if d := cmp.Diff(want, late()); d != "" {
		t.Errorf("no scheduler has seen them: %s", d)
	}
	f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: "a", At: now - 5*60_000}, {JobID: "b", At: now - 4*60_000, Shared: true},
		{JobID: "c", At: now - 3*60_000}, {JobID: "d", At: now - 2*60_000}}))
	if d := cmp.Diff(want, late()); d != "" {
		t.Errorf("they are in the queue: %s", d)
	}
	b := f.job("b")
	if _, err := f.Claim(f.ctx, job.Claim{JobID: "b", UID: b.UID, Slot: now - 4*60_000, Revision: b.Revision,
		Next: now + 60_000, NextDue: now + 60_000, Token: "t", Worker: "w1"}); err != nil {
		t.Fatal(err)
	}
	f.must(f.DeleteJob(f.ctx, "d"))
	if d := cmp.Diff(job.Overdue{Count: 2, Oldest: now - 5*60_000, IDs: []string{"a", "c"}}, late()); d != "" {
		t.Errorf("one was claimed, one deleted: %s", d)
	}
	// What a release before this one leaves behind is not believed.
	f.must(f.rdb.ZAdd(f.ctx, f.keys.unclaimed(), redis.Z{Score: 1, Member: "ahead"}, redis.Z{Score: 1, Member: "gone"}).Err())
	if o := late(); o.Count != 2 {
		t.Errorf("%+v", o)
	}
}

func TestSignsOfWhatStandsStill(t *testing.T) {
	f := setup(t, Options{})
	if d := cmp.Diff(job.Signs{Now: f.now()}, f.signs(), cmpopts.IgnoreFields(job.Signs{}, "Now")); d != "" {
		t.Errorf("of an empty deployment: %s", d)
	}
	f.create("a", everyMinute())
	f.create("b", everyMinute())
	begun := f.begun("c", everyMinute())
	f.look()
	if _, err := f.HoldEmitter(f.ctx, "s1", time.Minute); err != nil {
		t.Fatal(err)
	}
	s := f.signs()
	if s.Emitter != "s1" || s.Looked == 0 || s.Late.Count+s.Wake.Count+s.Untouched.Count != 0 {
		t.Errorf("of a deployment that is well: %+v", s)
	}

	late := f.minute(-5)
	f.rewind("a", late)
	f.rewind("b", late+60_000)
	f.killWorker(f.keys.run(begun.Run.ID), "r:"+begun.Run.ID)
	f.fail(begun, job.RetryCounted, 0)
	f.must(f.rdb.HSet(f.ctx, f.keys.run(begun.Run.ID), "state", "waiting", "notBefore", int64(late)).Err())
	f.must(f.rdb.ZAdd(f.ctx, f.keys.wake(), redis.Z{Score: float64(late), Member: "r:" + begun.Run.ID},
		redis.Z{Score: float64(late) + 1, Member: "d:x:1"}).Err())
	want := job.Signs{Emitter: "s1",
		Late:      job.Overdue{Count: 2, Oldest: late, IDs: []string{"a", "b"}},
		Wake:      job.Overdue{Count: 2, Oldest: late, IDs: []string{"r:" + begun.Run.ID, "d:x:1"}},
		Untouched: job.Overdue{Count: 1, Oldest: late, IDs: []string{begun.Run.ID}}}
	if d := cmp.Diff(want, f.signs(), cmpopts.IgnoreFields(job.Signs{}, "Now", "Looked")); d != "" {
		t.Error(d)
	}
}

func TestTrace(t *testing.T) {
	f := setup(t, Options{})
	first := f.begun("a", everyMinute())
	spec := everyMinute()
	spec.SessionKey = first.Run.SessionKey
	j := f.create("b", spec)
	f.rewind("b", f.minute(0))
	if b := f.claim(j, f.minute(0), "t"); b.Verdict != job.BeginParked {
		t.Fatalf("claim: %s", b.Verdict)
	}
	j = f.job("b")
	f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: "b", At: j.NextSlot}}))
	f.must(f.Pause(f.ctx, ""))
	if _, err := f.Resume(f.ctx); err != nil {
		t.Fatal(err)
	}
	trace, err := f.Trace(f.ctx, j)
	f.must(err)
	look, _ := f.score(f.keys.due(), "b")
	if trace.Look != look || !trace.Emitted || trace.HeldUntil == 0 || len(trace.Unfinished) != 1 ||
		trace.Unfinished[0].ID != job.RunID("b", f.minute(0)) || trace.Holders[first.Run.SessionKey] != first.Run.ID {
		t.Errorf("trace %+v, held %s, look %d", trace, first.Run.SessionKey, look)
	}
	// A job whose set of runs is damaged is read all the same.
	f.must(f.rdb.Del(f.ctx, f.keys.active("b", j.UID)).Err())
	f.must(f.rdb.Set(f.ctx, f.keys.active("b", j.UID), "x", 0).Err())
	if trace, err := f.Trace(f.ctx, j); err != nil || len(trace.Unfinished) != 0 {
		t.Errorf("damaged: %+v, %v", trace, err)
	}
}
