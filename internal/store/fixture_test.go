package store

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(watched{m})) }

// fixture is a store on an empty database, with a way to reach behind it.
type fixture struct {
	*Store
	t   testing.TB
	rdb *redis.Client
	ctx context.Context
}

func setup(t testing.TB, o Options) *fixture {
	t.Helper()
	db := redistest.Fresh(t)
	if _, measured := t.(*testing.B); !measured { // which costs Redis more than what is measured
		written.watch(t, db.Options())
	}
	rdb := db.Client()
	return &fixture{Store: New(rdb, o), t: t, rdb: rdb, ctx: t.Context()}
}

func everyMinute() job.Spec {
	return job.Spec{Schedule: "* * * * *", Enabled: true, Task: "say hello"}
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) create(id string, spec job.Spec) job.Job {
	f.t.Helper()
	j, err := f.CreateJob(f.ctx, id, spec)
	f.must(err)
	return j
}

func (f *fixture) job(id string) job.Job {
	f.t.Helper()
	j, err := f.Job(f.ctx, id)
	f.must(err)
	return j
}

func (f *fixture) now() job.Millis {
	f.t.Helper()
	now, err := f.Now(f.ctx)
	f.must(err)
	return job.ToMillis(now)
}

// minute is the slot n minutes from the running minute.
func (f *fixture) minute(n int) job.Millis {
	return job.ToMillis(f.now().Time().Truncate(time.Minute).Add(time.Duration(n) * time.Minute))
}

// rewind makes a slot due, as if nothing had run since.
func (f *fixture) rewind(id string, slot job.Millis) {
	f.t.Helper()
	f.must(f.rdb.HSet(f.ctx, f.keys.job(id), "nextSlot", int64(slot)).Err())
	f.must(f.rdb.HDel(f.ctx, f.keys.job(id), "lastSlot").Err())
	f.must(f.rdb.ZAdd(f.ctx, f.keys.due(), redis.Z{Score: float64(slot), Member: id}).Err())
}

// claim claims a slot as a worker does; the slot after it is a minute later.
func (f *fixture) claim(j job.Job, slot job.Millis, token string) job.Begun {
	f.t.Helper()
	j = f.job(j.ID)
	b, err := f.Claim(f.ctx, job.Claim{JobID: j.ID, UID: j.UID, Slot: slot, Revision: j.Revision,
		Next: slot + 60_000, NextDue: slot + 60_000, Token: token, Worker: "w1"})
	f.must(err)
	return b
}

// begun makes a job with a due slot and claims it.
func (f *fixture) begun(id string, spec job.Spec) job.Begun {
	f.t.Helper()
	j := f.create(id, spec)
	slot := f.minute(0)
	f.rewind(id, slot)
	b := f.claim(j, slot, "t-"+id)
	if b.Verdict != job.BeginOK {
		f.t.Fatalf("claim: %s", b.Verdict)
	}
	return b
}

func (f *fixture) begin(run string) job.Begun {
	f.t.Helper()
	b, err := f.Begin(f.ctx, run, newToken(), "w2")
	f.must(err)
	return b
}

func (f *fixture) commit(b job.Begun, reply string) []job.Carrier {
	f.t.Helper()
	c, err := f.Commit(f.ctx, commitOf(b, reply))
	f.must(err)
	return c
}

func commitOf(b job.Begun, reply string) job.Commit {
	return job.Commit{RunID: b.Run.ID, Epoch: b.Epoch, Token: "c-" + b.Run.ID, Reply: reply,
		Messages: [2]job.Message{{Role: "user", Text: b.Job.Task, Timestamp: b.Now, RunID: b.Run.ID},
			{Role: "assistant", Text: reply, Timestamp: b.Now, RunID: b.Run.ID}},
		Delivery: job.DeliveryNotRequested}
}

func (f *fixture) fail(b job.Begun, retry job.Retry, delay time.Duration) bool {
	f.t.Helper()
	again, _, err := f.Fail(f.ctx, job.Failure{RunID: b.Run.ID, Epoch: b.Epoch, Result: job.ResultFailed,
		Cause: job.CauseAIError, Message: "no", Retry: retry, Delay: delay, Outcome: job.Failed})
	f.must(err)
	return again
}

// letBegin makes a waiting run due now.
func (f *fixture) letBegin(run string) {
	f.t.Helper()
	f.must(f.rdb.HSet(f.ctx, f.keys.run(run), "notBefore", 1).Err())
}

// killWorker makes the lease of a run or delivery look as if its worker had died.
func (f *fixture) killWorker(key, member string) {
	f.t.Helper()
	f.must(f.rdb.HSet(f.ctx, key, "leaseUntil", 1).Err())
	f.must(f.rdb.ZAdd(f.ctx, f.keys.wake(), redis.Z{Score: 1, Member: member}).Err())
}

// age makes the last look at a key, and the looking, older.
func (f *fixture) age(key, member string, by time.Duration) {
	f.t.Helper()
	now := int64(f.now())
	f.must(f.rdb.HSet(f.ctx, key, "seenAt", now-by.Milliseconds()).Err())
	f.must(f.rdb.HSet(f.ctx, f.keys.looks(), "since", now-by.Milliseconds()-1000, "last", now).Err())
	f.must(f.rdb.ZAdd(f.ctx, f.keys.wake(), redis.Z{Score: 1, Member: member}).Err())
}

func (f *fixture) look() []job.Carrier {
	f.t.Helper()
	c, bad, err := f.Look(f.ctx, 100)
	f.must(err)
	if len(bad) != 0 {
		f.t.Fatalf("unreadable: %v", bad)
	}
	return c
}

// declareDead takes a lease through both looks.
func (f *fixture) declareDead(run string) job.Carrier {
	f.t.Helper()
	key, member := f.keys.run(run), "r:"+run
	f.killWorker(key, member)
	if c := f.look(); len(c) != 0 {
		f.t.Fatalf("first look at an expired lease enqueued %v", c)
	}
	f.age(key, member, 7*time.Second)
	c := f.look()
	if len(c) != 1 || c[0].ID != run {
		f.t.Fatalf("second look enqueued %v, want the carrier of %s", c, run)
	}
	return c[0]
}

func (f *fixture) runs(id string) []job.Run {
	f.t.Helper()
	runs, _, err := f.Runs(f.ctx, id, "", 1000)
	f.must(err)
	return runs
}

func (f *fixture) record(id string) job.Run {
	f.t.Helper()
	r, err := f.Run(f.ctx, id)
	f.must(err)
	return r
}

func (f *fixture) score(key, member string) (job.Millis, bool) {
	f.t.Helper()
	s, err := f.rdb.ZScore(f.ctx, key, member).Result()
	if err == redis.Nil {
		return 0, false
	}
	f.must(err)
	return job.Millis(s), true
}

func id(n int) string { return "job-" + strconv.Itoa(n) }
