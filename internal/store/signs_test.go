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
	s, err := f.Signs(f.ctx)
	f.must(err)
	return s
}

func TestBeats(t *testing.T) {
	f := setup(t, Options{})
	f.must(f.Beat(f.ctx, "worker", "h:1", time.Minute))
	f.must(f.Beat(f.ctx, "scheduler", "b", time.Minute))
	f.must(f.Beat(f.ctx, "worker", "a", time.Minute))
	f.must(f.Beat(f.ctx, "worker", "a", time.Minute))
	f.must(f.Beat(f.ctx, "worker", "gone", time.Minute))
	f.must(f.rdb.Del(f.ctx, f.keys.beat("worker", "gone")).Err())
	f.must(f.Beat(f.ctx, "worker", "stopped", time.Minute))
	f.must(f.Rest(f.ctx, "worker", "stopped"))
	f.must(f.rdb.ZAdd(f.ctx, f.keys.beats(), redis.Z{Score: float64(f.now()) - 2*3600_000, Member: "worker:long ago"}).Err())
	f.must(f.Beat(f.ctx, "api", "a", time.Minute)) // forgets what is long ago

	want := []job.Beat{{Role: "api", Host: "a", Alive: true}, {Role: "scheduler", Host: "b", Alive: true},
		{Role: "worker", Host: "a", Alive: true}, {Role: "worker", Host: "gone"}, {Role: "worker", Host: "h:1", Alive: true}}
	s := f.signs()
	if d := cmp.Diff(want, s.Beats, cmpopts.IgnoreFields(job.Beat{}, "Last")); d != "" {
		t.Error(d)
	}
	for _, b := range s.Beats {
		if b.Last == 0 || b.Last > s.Now {
			t.Errorf("%s on %s: last at %d, now %d", b.Role, b.Host, b.Last, s.Now)
		}
	}
	if ttl := f.rdb.PTTL(f.ctx, f.keys.beats()).Val(); ttl <= 0 || ttl > beatsKept {
		t.Errorf("the list of beats lasts for %s", ttl)
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
	if s.Emitter != "s1" || s.Looked == 0 || s.Due.Count+s.Wake.Count+s.Untouched.Count != 0 {
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
		Due:       job.Overdue{Count: 2, Oldest: late, IDs: []string{"a", "b"}},
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
