package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/store"
	"github.com/gatewaycron/gatewaycron/tasks"
)

func (f *fixture) hasTaskOf(id string) bool {
	f.t.Helper()
	for task := range f.runTasks() {
		if strings.HasPrefix(task, id+":") {
			return true
		}
	}
	return false
}

func withoutLease(o *Options) { o.WithoutLease = true }

// TestArmedSlotsRing waits for a real minute: asynq's manager alone enqueues the
// armed slots, and the marks follow, also of those that somebody else enqueued.
func TestArmedSlotsRing(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the next minute")
	}
	t.Parallel()
	f := setup(t)
	s := f.scheduler(withoutLease)
	f.create("x")
	f.put("x", f.minute(60))
	slot := f.minute(1)
	if slot-f.now() < 5000 { // too near to be armed for sure
		slot += 60_000
	}
	const n, taken = 60, 20
	ids := f.clone("x", "job", n, all(slot))
	f.must(s.check.run(f.ctx))
	f.refresh(s.window) // the only time: nothing is emitted directly
	if armed := len(f.configs(s.window)); armed != n+1 {
		t.Fatalf("%d slots are armed", armed)
	}
	client := asynq.NewClientFromRedisClient(f.rdb)
	for _, id := range ids[:taken] {
		f.must(f.queues.Slot(tasks.Run{Job: id, UID: "uid-" + id, Slot: int64(slot)}).Enqueue(f.ctx, client))
	}

	ctx, cancel := context.WithCancel(context.Background())
	var marks sync.WaitGroup
	marks.Go(func() { s.marks.run(ctx) })
	f.must(s.mgr.Start())
	stop := sync.OnceFunc(func() { cancel(); s.mgr.Shutdown(); marks.Wait() })
	t.Cleanup(stop)
	eventually(t, "the dashboard shows the armed slots", func() bool {
		entries, err := f.inspector.SchedulerEntries()
		return err == nil && len(entries) == n+1
	})
	if queued, now := len(f.runTasks()), f.now(); now < slot && queued != taken {
		t.Errorf("%d tasks %v before the slot", queued, slot.Time().Sub(now.Time()))
	}
	eventually(t, "every slot is marked as emitted", func() bool {
		cursors, err := f.Cursors(f.ctx, ids)
		f.must(err)
		return !slices.ContainsFunc(cursors, func(c job.Cursor) bool { return !c.Emitted })
	})
	var want []string
	for _, id := range ids {
		want = append(want, job.RunID(id, slot))
	}
	if d := cmp.Diff(sorted(want), slices.Sorted(maps.Keys(f.runTasks()))); d != "" {
		t.Errorf("tasks: %s", d)
	}
	if keys := f.history(); len(keys) != 0 {
		t.Errorf("history was written: %v", keys)
	}
	stop()
	if keys := f.history(); len(keys) != 0 {
		t.Errorf("history after the shutdown: %v", keys)
	}
}

// TestSurvivesRedis: Redis is away at the start and again later; afterwards slots
// are emitted and what is unfinished is carried. It runs alone, to see that
// nothing is left running.
func TestSurvivesRedis(t *testing.T) {
	server := redistest.Start(t, redistest.WithAOF())
	// The test's own client: the scheduler's may be slow to trust Redis again.
	f := newFixture(t, server.Client())
	for _, id := range []string{"a", "b"} {
		f.create(id)
		f.put(id, f.minute(0))
	}
	run, _ := f.unfinish()
	f.wakeAll()
	server.Kill()

	theirs := server.Client()
	s := f.scheduler(func(o *Options) { o.Redis, o.Store = theirs, store.New(theirs, store.Options{Prefix: prefix}) })
	r := start(t, s)
	outage := func() {
		t.Helper()
		for _, step := range []string{"step=emit", "step=sweep"} {
			eventually(t, "the outage is reported", func() bool {
				return f.logs.count("scheduler step fails", step) > f.logs.count("scheduler step works again", step)
			})
		}
	}
	outage()
	server.Restart()
	eventually(t, "due slots are emitted", func() bool { return f.hasTaskOf("a") && f.hasTaskOf("b") })
	eventually(t, "unfinished runs are carried", func() bool { return f.state(f.queues.Run(), run+":0") == "pending" })
	eventually(t, "it is the emitter", s.lease.held)

	server.Kill()
	outage()
	server.Restart()
	f.create("c")
	f.put("c", f.minute(0))
	eventually(t, "due slots are emitted again", func() bool { return f.hasTaskOf("c") })
	if leftOver() == "" {
		t.Error("the search for what is left finds nothing of a running scheduler")
	}
	r.end()
	if holder := f.rdb.Get(f.ctx, "{"+prefix+"}:emitter").Err(); holder != redis.Nil {
		t.Errorf("the lease was not released: %v", holder)
	}
	eventually(t, "nothing is left running", func() bool { return leftOver() == "" })
}

// TestStepsReportChanges: an outage is two lines, however many steps it fails.
func TestStepsReportChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := &logs{}
		s := &Scheduler{logger: slog.New(logs)}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		away := errors.New("away")
		answers := []error{nil, away, away, away, nil, nil, away, away}
		steps := 0
		s.every(ctx, "emit", after(tick), func(context.Context) error {
			steps++
			if steps <= len(answers) {
				return answers[steps-1]
			}
			cancel()
			return context.Canceled // the end is no outage
		})
		if steps != len(answers)+1 {
			t.Errorf("%d steps", steps)
		}
		if a, b := logs.count("level=ERROR", "scheduler step fails", "step=emit", "err=away"), logs.count("scheduler step works again", "step=emit"); a != 2 || b != 1 {
			t.Errorf("two outages, one of which ended, were reported %d and %d times", a, b)
		}
	})
}

// TestRunEndsWithoutRedis: a stop needs no Redis. It runs alone like the above.
func TestRunEndsWithoutRedis(t *testing.T) {
	server := redistest.Start(t)
	f := newFixture(t, server.Client())
	s := f.scheduler()
	r := start(t, s)
	eventually(t, "it is the emitter", s.lease.held)
	server.Kill()
	r.end()
	if f.logs.count("emitter lease not released") != 1 {
		t.Error("the operator was not told that the lease runs out by itself")
	}
	eventually(t, "nothing is left running", func() bool { return leftOver() == "" })
}

// TestRunEndsBeforeItsManager: a Redis that does not answer holds the manager up,
// and not the process.
func TestRunEndsBeforeItsManager(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	f := newFixture(t, server.Client())
	s := f.scheduler()
	r := start(t, s)
	eventually(t, "it is the emitter", s.lease.held)
	server.Freeze()
	r.end()
	if f.logs.count("did not stop in time") != 1 {
		t.Error("Run did not report that it left the manager behind")
	}
	server.Thaw()
}

// TestManySchedulers has no lease: every scheduler does all the work, and each
// slot still runs once.
func TestManySchedulers(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const n = 400
	due := f.minute(0)
	f.create("x", func(s *job.Spec) { s.Schedule = due.Time().Format("4 15 2 1 *") }) // once a year
	ids := f.clone("x", "job", n, all(due))

	var mu sync.Mutex
	handled, claimed := map[string]int{}, map[string]int{}
	f.work(f.queues.Run(), func(_ context.Context, task *asynq.Task) error {
		for _, p := range slotsOf(t, task) {
			b, err := f.Claim(context.Background(), job.Claim{JobID: p.Job, UID: p.UID, Slot: job.Millis(p.Slot), Revision: p.Revision,
				Next: job.Millis(p.Slot) + 365*24*3600_000, Token: fmt.Sprintf("%p", task), Worker: "w"})
			if err != nil {
				return err
			}
			mu.Lock()
			handled[job.RunID(p.Job, job.Millis(p.Slot))]++
			if b.Verdict == job.BeginOK {
				claimed[b.Run.ID]++
			}
			mu.Unlock()
		}
		return nil
	})
	var all []*running
	for i := range 3 {
		all = append(all, start(t, f.scheduler(withoutLease, func(o *Options) { o.ID = fmt.Sprint("s", i) })))
	}
	eventually(t, "every slot is claimed", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(claimed) == n
	})
	eventually(t, "nothing is due any more", func() bool {
		left, err := f.rdb.ZCount(f.ctx, f.due(), "-inf", fmt.Sprint(int64(due))).Result()
		return err == nil && left == 0
	})
	for _, r := range all {
		r.end()
	}
	mu.Lock()
	defer mu.Unlock()
	for _, id := range ids {
		run := job.RunID(id, due)
		// Schedulers that find the same due at different moments share it out differently.
		if handled[run] < 1 || handled[run] > len(all) || claimed[run] != 1 {
			t.Errorf("%s: %d tasks, %d runs", run, handled[run], claimed[run])
		}
	}
	if len(handled) != n || len(f.runTasks()) != n {
		t.Errorf("%d slots handled, %d in the queue, want %d", len(handled), len(f.runTasks()), n)
	}
}

// TestTakeOver: one of two schedulers arms; the other goes on when it stops.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.create("a")
	f.put("a", f.minute(30))
	schedulers := map[*Scheduler]*running{}
	for i := range 2 {
		s := f.scheduler(func(o *Options) { o.ID = fmt.Sprint("s", i) })
		schedulers[s] = start(t, s)
	}
	arming := func() (who []*Scheduler) {
		for s := range schedulers {
			if len(f.configs(s.window)) > 0 {
				who = append(who, s)
			}
		}
		return who
	}
	var first *Scheduler
	eventually(t, "one of them arms", func() bool {
		who := arming()
		if len(who) == 1 {
			first = who[0]
		}
		return first != nil
	})
	schedulers[first].end()
	delete(schedulers, first)
	eventually(t, "the other takes over", func() bool { return len(arming()) == 1 })
	f.put("a", f.now()-1000)
	eventually(t, "it emits", func() bool { return f.hasTaskOf("a") })
}
