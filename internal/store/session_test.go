package store

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// TestSessionBelongsToItsHolder: whatever becomes of one that waits, the others go on
// waiting, and it is out of the queue.
func TestSessionBelongsToItsHolder(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.SessionKey = "shared"
	holder := f.begun("a", spec)
	f.create("b", spec)
	var parked []string
	for range 3 {
		run := f.runNow("b")
		if v := f.begin(run).Verdict; v != job.BeginParked {
			t.Fatalf("begin: %s", v)
		}
		if look, _ := f.score(f.keys.wake(), "r:"+run); look < f.now()+200_000 {
			t.Errorf("what waits is looked at in %d ms", look-f.now())
		}
		parked = append(parked, run)
	}
	if c := f.cancel(parked[0]); len(c) != 0 {
		t.Errorf("the session was handed on: %v", c)
	}
	if _, ok := f.score(f.keys.wait("shared"), parked[0]); ok {
		t.Error("a cancelled run is still in the queue")
	}
	f.must(f.rdb.ZAdd(f.ctx, f.keys.wake(), redis.Z{Score: 1, Member: "r:" + parked[1]}).Err())
	if c := f.look(); len(c) != 0 {
		t.Errorf("a look handed the session on: %v", c)
	}
	if v := f.begin(parked[1]).Verdict; v != job.BeginParked {
		t.Errorf("begin beside the holder: %s", v)
	}
	if v := f.begin(holder.Run.ID).Verdict; v != job.BeginBusy {
		t.Errorf("the holder: %s", v)
	}
	if c := f.commit(holder, "x"); len(c) != 1 || c[0].ID != parked[1] {
		t.Errorf("the session went to %v", c)
	}
}

// TestHolderThatHasEndedCountsAsNone, as one that is gone does, and then those who wait
// go first.
func TestHolderThatHasEndedCountsAsNone(t *testing.T) {
	for name, holder := range map[string]func(f *fixture) string{
		"gone":  func(*fixture) string { return "a:1" },
		"ended": func(f *fixture) string { b := f.begun("ended", everyMinute()); f.commit(b, "x"); return b.Run.ID },
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, Options{})
			spec := everyMinute()
			spec.SessionKey = "shared"
			f.create("b", spec)
			f.must(f.rdb.Set(f.ctx, f.keys.lock("shared"), holder(f), 0).Err())
			first := f.runNow("b")
			if v := f.begin(first).Verdict; v != job.BeginOK {
				t.Fatalf("begin: %s", v)
			}
			second, third := f.runNow("b"), f.runNow("b")
			f.begin(second)
			f.must(f.rdb.Set(f.ctx, f.keys.lock("shared"), "a:2", 0).Err())
			if v := f.begin(third).Verdict; v != job.BeginParked {
				t.Errorf("it overtook one that waits: %s", v)
			}
			if v := f.begin(second).Verdict; v != job.BeginOK {
				t.Errorf("the one that waits: %s", v)
			}
		})
	}
}

// TestQueueRevivesNobody: what is in the queue and does not wait is passed over.
func TestQueueRevivesNobody(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.SessionKey = "shared"
	ended := f.begun("ended", everyMinute())
	f.commit(ended, "the reply")
	holder := f.begun("a", spec)
	f.create("b", spec)
	parked := f.runNow("b")
	f.begin(parked)
	f.must(f.rdb.ZAdd(f.ctx, f.keys.wait("shared"), redis.Z{Score: 1, Member: ended.Run.ID}, redis.Z{Score: 2, Member: "gone:1"}).Err())
	if c := f.commit(holder, "x"); len(c) != 1 || c[0].ID != parked {
		t.Errorf("the session went to %v", c)
	}
	if r := f.record(ended.Run.ID); r.State != job.StateDone || r.Reply != "the reply" {
		t.Errorf("the ended run became %+v", r)
	}
	if f.rdb.Exists(f.ctx, f.keys.run("gone:1")).Val() != 0 {
		t.Error("a run was made of nothing")
	}
}

// TestLostPlaceInTheQueue: to be parked is to be in the queue, and a look puts back what
// is not. What has ended is only forgotten.
func TestLostPlaceInTheQueue(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.SessionKey = "shared"
	holder := f.begun("a", spec)
	f.create("b", spec)
	parked := f.runNow("b")
	f.begin(parked)
	ended := f.begun("ended", everyMinute())
	f.commit(ended, "x")
	f.must(f.rdb.Del(f.ctx, f.keys.wait("shared")).Err())
	f.must(f.rdb.ZAdd(f.ctx, f.keys.wake(), redis.Z{Score: 1, Member: "r:" + parked}, redis.Z{Score: 1, Member: "r:" + ended.Run.ID}).Err())
	if c := f.look(); len(c) != 0 {
		t.Errorf("carried %v", c)
	}
	if _, ok := f.score(f.keys.wake(), "r:"+ended.Run.ID); ok {
		t.Error("an ended run is looked at again")
	}
	if c := f.commit(holder, "x"); len(c) != 1 || c[0].ID != parked {
		t.Errorf("the session went to %v", c)
	}
}

// TestParkedBehindNobody: a look hands on a session that nobody holds, whatever became of
// its lock, and leaves alone what only waits for its time.
func TestParkedBehindNobody(t *testing.T) {
	for name, lose := range map[string]func(f *fixture, parked string){
		"the lock is gone":    func(f *fixture, _ string) { f.must(f.rdb.Del(f.ctx, f.keys.lock("shared")).Err()) },
		"the lock is its own": func(f *fixture, parked string) { f.must(f.rdb.Set(f.ctx, f.keys.lock("shared"), parked, 0).Err()) },
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, Options{})
			spec := everyMinute()
			spec.SessionKey = "shared"
			f.begun("a", spec)
			f.create("b", spec)
			parked, later := f.runNow("b"), f.begun("later", everyMinute())
			f.begin(parked)
			f.rewind("later", f.minute(100))
			if !f.fail(later, job.RetryCounted, 10*time.Second) {
				t.Fatal("no retry")
			}
			lose(f, parked)
			f.must(f.rdb.ZAdd(f.ctx, f.keys.wake(), redis.Z{Score: 1, Member: "r:" + parked}, redis.Z{Score: 1, Member: "r:" + later.Run.ID}).Err())
			if c := f.look(); len(c) != 1 || c[0].ID != parked {
				t.Errorf("carried %v", c)
			}
			if look, _ := f.score(f.keys.wake(), "r:"+later.Run.ID); look < f.now()+5000 || look > f.now()+10_000 {
				t.Errorf("what may begin in 10 s is looked at in %d ms", look-f.now())
			}
		})
	}
}
