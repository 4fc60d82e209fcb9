package scheduler

import (
	"cmp"
	"errors"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// queueKeeper is that of a scheduler that is the emitter and has looked before.
func (f *fixture) queueKeeper() *queueKeeper {
	f.t.Helper()
	k := f.scheduler().keep
	k.emitter = func() bool { return true }
	f.must(k.run(f.ctx))
	return k
}

// TestNothingOfAsynqsHoldsAQueueUp: what asynq's own tools do to our queues is undone,
// counted and told.
func TestNothingOfAsynqsHoldsAQueueUp(t *testing.T) {
	const id = "a:manual:1:0"
	for _, tc := range []struct {
		name   string
		do     func(f *fixture, queue string) error
		damage job.Damage
		id     string // that is told; "" is the queue's
		lost   bool   // the task is, until the next look of what it carries
	}{
		{name: "paused", damage: job.QueuePaused, do: func(f *fixture, queue string) error { return f.inspector.PauseQueue(queue) }},
		{name: "paused by something else", damage: job.QueuePaused, do: func(f *fixture, queue string) error {
			return f.rdb.LPush(f.ctx, "asynq:{"+queue+"}:paused", "x").Err()
		}},
		{name: "archived", damage: job.TaskArchived, id: id, do: func(f *fixture, queue string) error { return f.inspector.ArchiveTask(queue, id) }},
		{name: "all archived", damage: job.TaskArchived, id: id, do: func(f *fixture, queue string) error {
			_, err := f.inspector.ArchiveAllPendingTasks(queue)
			return err
		}},
		{name: "deleted", damage: job.QueueUnlisted, lost: true, do: func(f *fixture, queue string) error { return f.inspector.DeleteQueue(queue, true) }},
		{name: "not listed", damage: job.QueueUnlisted, do: func(f *fixture, queue string) error { return f.rdb.SRem(f.ctx, "asynq:queues", queue).Err() }},
		{name: "damaged", damage: job.QueueDamaged, lost: true, do: func(f *fixture, queue string) error {
			return f.rdb.Set(f.ctx, "asynq:{"+queue+"}:pending", "x", 0).Err()
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			k := f.queueKeeper()
			for _, queue := range []string{f.queues.Run(), f.queues.Deliver()} {
				c := f.queues.RunAgain("a:manual:1", 0)
				c.Opts = append(c.Opts, asynq.Queue(queue))
				f.must(c.Enqueue(f.ctx, asynq.NewClientFromRedisClient(f.rdb)))
				f.must(tc.do(f, queue))
				f.must(k.run(f.ctx))
				f.must(k.run(f.ctx))
				info, err := f.inspector.GetQueueInfo(queue)
				f.must(err)
				if want := map[bool]int{false: 1, true: 0}[tc.lost]; info.Paused || info.Archived != 0 || info.Pending != want {
					t.Errorf("%s: paused %v, %d archived, %d pending", queue, info.Paused, info.Archived, info.Pending)
				}
				told := tc.id
				if told == "" {
					told = queue
				}
				if n := f.logs.count("level=WARN", "damage repaired", "kind="+string(tc.damage), "id="+told); n == 0 {
					t.Errorf("%s is not told: %q", queue, f.logs.lines)
				}
			}
			if d := gocmp.Diff(map[job.Damage]int64{tc.damage: 2}, f.report().Counts); d != "" {
				t.Errorf("counts: %s", d)
			}
		})
	}
}

func TestQueuesOfANewDeploymentAreNoDamage(t *testing.T) {
	f := setup(t)
	k := f.queueKeeper()
	f.must(k.run(f.ctx))
	if n := len(f.report().Counts) + f.logs.count("level=WARN"); n != 0 {
		t.Errorf("%d are told", n)
	}
}

func TestOnlyTheEmitterMendsQueues(t *testing.T) {
	f := setup(t)
	f.must(f.inspector.PauseQueue(f.queues.Run()))
	f.must(f.scheduler().keep.run(f.ctx)) // holds no lease
	if s, err := f.scheduler().keep.queue.States(f.ctx, f.queues.Run()); err != nil || !s[0].Paused {
		t.Errorf("a scheduler that is not the emitter resumed the queue: %+v, %v", s, err)
	}
}

func TestQueuesOfOthersAreLeftAlone(t *testing.T) {
	f := setup(t)
	k := f.queueKeeper()
	c := f.queues.RunAgain("a:manual:1", 0)
	c.Opts = append(c.Opts, asynq.Queue("others"))
	f.must(c.Enqueue(f.ctx, asynq.NewClientFromRedisClient(f.rdb)))
	f.must(f.inspector.ArchiveTask("others", c.ID))
	f.must(f.inspector.PauseQueue("others"))
	f.must(k.run(f.ctx))
	if info, err := f.inspector.GetQueueInfo("others"); err != nil || !info.Paused || info.Archived != 1 {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestRunningSchedulerResumesItsQueue, with its own lease and its own period.
func TestRunningSchedulerResumesItsQueue(t *testing.T) {
	f := setup(t)
	f.must(f.inspector.PauseQueue(f.queues.Run()))
	start(t, f.scheduler())
	eventually(t, "the queue goes on", func() bool {
		s, err := newEnqueuer(f.rdb).queue.States(f.ctx, f.queues.Run())
		return err == nil && !s[0].Paused
	})
}

// TestSlotWhoseTaskIsLostRunsInTime: also that of a job whose slots must not be a minute
// late, and without anybody who undoes what was done to the queue.
func TestSlotWhoseTaskIsLostRunsInTime(t *testing.T) {
	for name, lose := range map[string]func(f *fixture, queue, id string) error{
		"archived": func(f *fixture, queue, id string) error { return f.inspector.ArchiveTask(queue, id) },
		"deleted":  func(f *fixture, queue, id string) error { return f.inspector.DeleteTask(queue, id) },
		"completed": func(f *fixture, queue, _ string) error { // by a worker that did not know what it was about
			if info, err := f.inspector.GetQueueInfo(queue); err == nil && info.Pending > 0 {
				f.complete(queue)
			}
			return nil
		},
		"all deleted": func(f *fixture, queue, _ string) error {
			_, err := f.inspector.DeleteAllPendingTasks(queue)
			return err
		},
		"queue deleted": func(f *fixture, queue, _ string) error { return f.inspector.DeleteQueue(queue, true) },
		"archived unlisted": func(f *fixture, queue, _ string) error {
			if n := f.rdb.Exists(f.ctx, "asynq:queues").Val(); n == 0 {
				return nil // with the first
			}
			_, err := f.inspector.ArchiveAllPendingTasks(queue)
			return cmp.Or(err, f.rdb.Del(f.ctx, "asynq:queues").Err())
		},
		"list lost":     func(f *fixture, queue, _ string) error { return f.rdb.Del(f.ctx, "asynq:{"+queue+"}:pending").Err() },
		"put off":       func(f *fixture, queue, id string) error { return f.putOff(queue, id) },
		"nobody's work": func(f *fixture, queue, id string) error { return f.orphan(queue, id) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			w, clock := f.emitter()
			slot := f.minute(0)
			for _, misfire := range []job.Misfire{job.MisfireSkip, job.MisfireRunOnce} {
				f.create(string(misfire), func(s *job.Spec) { s.Misfire = misfire })
				f.put(string(misfire), slot)
			}
			clock.now = slot + 500
			f.refresh(w)
			ids := map[string]string{}
			for _, id := range []string{string(job.MisfireSkip), string(job.MisfireRunOnce)} {
				ids[id] = job.RunID(id, slot)
				if f.state(f.queues.Run(), ids[id]) != "pending" {
					t.Fatalf("the slot of %s was not emitted", id)
				}
				if in := f.look(id) - f.now(); in > 15_000 {
					t.Errorf("%s is looked at in %d ms", id, in)
				}
			}
			for id, task := range ids {
				err := lose(f, f.queues.Run(), task)
				if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) { // it went with the first
					t.Fatal(err)
				}
				f.index(id, slot+15_000)
			}
			clock.now = slot + 16_000
			f.refresh(w)
			states, err := w.enqueue.queue.States(f.ctx, f.queues.Run())
			f.must(err)
			if states[0].Pending != 2 {
				t.Errorf("the queue is %+v", states[0])
			}
			for id := range ids {
				if c := f.cursor(id); c.NextSlot != slot {
					t.Errorf("the slot of %s was passed over", id)
				}
			}
		})
	}
}

// putOff moves a pending task an hour ahead, as a worker whose clock is wrong does.
func (f *fixture) putOff(queue, id string) error {
	key := "asynq:{" + queue + "}:"
	f.must(f.rdb.LRem(f.ctx, key+"pending", 0, id).Err())
	f.must(f.rdb.HSet(f.ctx, key+"t:"+id, "state", "retry").Err())
	return f.rdb.Do(f.ctx, "ZADD", key+"retry", int64(f.now())/1000+3600, id).Err()
}

// orphan makes a pending task one that is worked on by nobody.
func (f *fixture) orphan(queue, id string) error {
	key := "asynq:{" + queue + "}:"
	f.must(f.rdb.LRem(f.ctx, key+"pending", 0, id).Err())
	f.must(f.rdb.HSet(f.ctx, key+"t:"+id, "state", "active").Err())
	return f.rdb.LPush(f.ctx, key+"active", id).Err()
}
