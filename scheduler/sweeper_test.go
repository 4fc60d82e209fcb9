package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// unfinish makes one unfinished run and one unfinished delivery and answers their
// entries in wake.
func (f *fixture) unfinish() (run, delivered string) {
	f.t.Helper()
	f.create("runs")
	f.create("delivers", func(s *job.Spec) { s.Channel, s.ChatID = "telegram", "42" })
	_, run, err := f.RunJob(f.ctx, "runs")
	f.must(err)
	_, delivered, err = f.RunJob(f.ctx, "delivers")
	f.must(err)
	b, err := f.Begin(f.ctx, delivered, "token", "worker")
	f.must(err)
	_, err = f.Commit(f.ctx, job.Commit{RunID: delivered, Epoch: b.Epoch, Token: "c", Reply: "hello",
		Delivery: job.DeliveryPending, Target: job.Target{Channel: "telegram", ChatID: "42"}})
	f.must(err)
	return run, delivered
}

// wakeAll makes every unfinished entry due for a look.
func (f *fixture) wakeAll() {
	f.t.Helper()
	members, err := f.rdb.ZRange(f.ctx, f.wake(), 0, -1).Result()
	f.must(err)
	for _, m := range members {
		f.must(f.rdb.ZAdd(f.ctx, f.wake(), redis.Z{Score: 1, Member: m}).Err())
	}
}

func TestSweepCarriesWhatIsUnfinished(t *testing.T) {
	f := setup(t)
	s := f.scheduler().sweep
	run, delivered := f.unfinish()
	runs, deliveries := f.queues.Run(), f.queues.Deliver()
	runTask, deliverTask := run+":0", delivered+":deliver:1:0"
	sweep := func() {
		t.Helper()
		f.wakeAll()
		f.must(s.run(f.ctx))
	}

	f.must(s.run(f.ctx))
	if n := len(f.tasks(runs)) + len(f.tasks(deliveries)); n != 0 {
		t.Fatalf("%d tasks before their time: the worker's shortcut comes first", n)
	}
	sweep()
	if d := cmp.Diff([]string{runTask}, slices.Collect(maps.Keys(f.tasks(runs)))); d != "" {
		t.Errorf("runs: %s", d)
	}
	if d := cmp.Diff([]string{deliverTask}, slices.Collect(maps.Keys(f.tasks(deliveries)))); d != "" {
		t.Errorf("deliveries: %s", d)
	}
	info := f.tasks(runs)[runTask]
	if p, err := tasks.ParseRun(asynq.NewTask(info.Type, info.Payload)); err != nil || p.Run != run || p.Job != "" {
		t.Errorf("the run's carrier holds %+v, %v", p, err)
	}
	info = f.tasks(deliveries)[deliverTask]
	if p, err := tasks.ParseDeliver(asynq.NewTask(info.Type, info.Payload)); err != nil || p.Run != delivered || p.N != 1 {
		t.Errorf("the delivery's carrier holds %+v, %v", p, err)
	}

	// The tasks are lost: the next look puts them back, under the same ids.
	f.must(f.inspector.DeleteTask(runs, runTask))
	f.must(f.inspector.DeleteTask(deliveries, deliverTask))
	sweep()
	if a, b := f.state(runs, runTask), f.state(deliveries, deliverTask); a != "pending" || b != "pending" {
		t.Errorf("lost tasks are %s and %s", a, b)
	}
	// They stand there: left alone.
	sweep()
	// They are over, and what they carried is not done: they make room.
	f.complete(runs)
	f.must(f.inspector.ArchiveTask(deliveries, deliverTask))
	if a, b := f.state(runs, runTask), f.state(deliveries, deliverTask); a != "completed" || b != "archived" {
		t.Fatalf("the tasks are %s and %s", a, b)
	}
	sweep()
	if a, b := f.state(runs, runTask), f.state(deliveries, deliverTask); a != "pending" || b != "pending" {
		t.Errorf("finished tasks of what is unfinished are %s and %s", a, b)
	}
	if a, b := len(f.tasks(runs)), len(f.tasks(deliveries)); a != 1 || b != 1 {
		t.Errorf("%d and %d tasks, want one each", a, b)
	}
}

func TestOneBadEntryStopsNoSweep(t *testing.T) {
	f := setup(t)
	s := f.scheduler().sweep
	run, delivered := f.unfinish()
	// Entries that come first: they lead to no run and no delivery, to a record that
	// cannot be read, to what a newer release will know, or nowhere.
	waiting := map[string]any{"v": 1, "state": "waiting", "notBefore": 1, "n": 0, "epoch": 0, "attempt": 0, "retries": 0, "createdAt": 1}
	f.must(f.rdb.HSet(f.ctx, f.key("delivery", "no-number"), waiting).Err())
	f.must(f.rdb.HSet(f.ctx, f.key("delivery", "run:0"), waiting).Err())
	f.must(f.rdb.HSet(f.ctx, f.key("run", "damaged"), "state", "waiting").Err())
	f.must(f.rdb.Set(f.ctx, f.key("run", "string"), "no hash", 0).Err())
	for _, member := range []string{"d:no-number", "d:run:0", "r:damaged", "r:string", "q:later", "d:gone:1", "r:gone", "", "r", ":"} {
		f.must(f.rdb.ZAdd(f.ctx, f.wake(), redis.Z{Score: 1, Member: member}).Err())
	}
	f.wakeAll()
	f.must(s.run(f.ctx))
	if a, b := f.state(f.queues.Run(), run+":0"), f.state(f.queues.Deliver(), delivered+":deliver:1:0"); a != "pending" || b != "pending" {
		t.Errorf("beside bad entries the good ones are %s and %s", a, b)
	}
	for _, bad := range []string{"entry=d:no-number", "entry=d:run:0", "entry=r:damaged", "entry=r:string"} {
		if n := f.logs.count("level=ERROR", "record cannot be read", bad); n != 1 {
			t.Errorf("%s was reported %d times", bad, n)
		}
	}
	if a, b := len(f.tasks(f.queues.Run())), len(f.tasks(f.queues.Deliver())); a != 1 || b != 1 {
		t.Errorf("%d and %d tasks, want one each", a, b)
	}
	// Out of the way until their next look, and reported once.
	f.must(s.run(f.ctx))
	f.wakeAll()
	f.must(s.run(f.ctx))
	if n := f.logs.count("level=ERROR"); n != 4 {
		t.Errorf("%d reports after the next sweep, want 4", n)
	}
}

// TestSweepTakesMoreThanOneBatch: what is due for a look is looked at in one go.
func TestSweepTakesMoreThanOneBatch(t *testing.T) {
	f := setup(t)
	s := f.scheduler().sweep
	run, _ := f.unfinish()
	hash, err := f.rdb.HGetAll(f.ctx, f.key("run", run)).Result()
	f.must(err)
	const n = 2*batch + 10
	_, err = f.rdb.Pipelined(f.ctx, func(p redis.Pipeliner) error {
		for i := range n {
			id := fmt.Sprint("runs:", i)
			p.HSet(f.ctx, f.key("run", id), hash)
			p.ZAdd(f.ctx, f.wake(), redis.Z{Score: 1, Member: "r:" + id})
		}
		return nil
	})
	f.must(err)
	f.must(s.run(f.ctx))
	if got := len(f.runTasks()); got != n {
		t.Errorf("%d of %d were carried", got, n)
	}
}
