package scheduler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// states are those a task can be in.
var states = []asynq.TaskState{asynq.TaskStatePending, asynq.TaskStateActive, asynq.TaskStateRetry,
	asynq.TaskStateScheduled, asynq.TaskStateCompleted, asynq.TaskStateArchived}

// bring enqueues a carrier and brings its task into a state for real.
func (f *fixture) bring(c tasks.Carrier, state asynq.TaskState) {
	f.t.Helper()
	if state == asynq.TaskStateScheduled {
		c.Opts = append(c.Opts, asynq.ProcessIn(time.Hour))
	}
	f.must(c.Enqueue(f.ctx, asynq.NewClientFromRedisClient(f.rdb)))
	switch state {
	case asynq.TaskStateCompleted:
		f.complete(c.Queue)
	case asynq.TaskStateArchived:
		f.must(f.inspector.ArchiveTask(c.Queue, c.ID))
	case asynq.TaskStateRetry:
		stop := f.work(c.Queue, func(context.Context, *asynq.Task) error { return errors.New("not now") })
		defer stop() // what is enqueued after it must not fail as well
	case asynq.TaskStateActive:
		release := make(chan struct{})
		f.work(c.Queue, func(context.Context, *asynq.Task) error { <-release; return nil })
		f.t.Cleanup(func() { close(release) })
	}
	eventually(f.t, "the task is "+state.String(), func() bool { return f.state(c.Queue, c.ID) == state.String() })
}

// TestConflicts enqueues a carrier whose id is taken. The revision in the payload
// tells the old task from the new one.
func TestConflicts(t *testing.T) {
	for _, state := range states {
		// Those that are put off are so by an hour; ours are by seconds.
		over := state != asynq.TaskStatePending && state != asynq.TaskStateActive
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, again %v", state, again), func(t *testing.T) {
				t.Parallel()
				f := setup(t)
				carry := func(revision int64) carrier {
					return carrier{Carrier: f.queues.Slot(tasks.Run{Job: "a", UID: "u", Slot: 60_000, Revision: revision}), again: again}
				}
				old := carry(1)
				f.bring(old.Carrier, state)

				placed, err := newEnqueuer(f.rdb).all(f.ctx, []carrier{carry(2)})
				f.must(err)
				if len(placed) != 1 {
					t.Errorf("placed %v", placed)
				}
				want, wantRevision := state, int64(1)
				if again && over {
					want, wantRevision = asynq.TaskStatePending, 2
				}
				found := f.runTasks()
				if len(found) != 1 || found[old.ID] == nil {
					t.Fatalf("tasks %v", found)
				}
				p, err := tasks.ParseRun(asynq.NewTask(found[old.ID].Type, found[old.ID].Payload))
				f.must(err)
				if got := found[old.ID].State; got != want || p.Revision != wantRevision {
					t.Errorf("the task is %v of revision %d, want %v of revision %d", got, p.Revision, want, wantRevision)
				}
			})
		}
	}
}

// TestDrop: the task of a slot that will not run goes, unless it is being worked on.
func TestDrop(t *testing.T) {
	for _, state := range states {
		t.Run(state.String(), func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			c := f.queues.Slot(tasks.Run{Job: "a", UID: "u", Slot: 60_000})
			f.bring(c, state)
			e := newEnqueuer(f.rdb)
			for range 2 { // the second time there is nothing to drop
				f.must(e.drop(c))
			}
			want := "none"
			if state == asynq.TaskStateActive {
				want = "active"
			}
			if got := f.state(c.Queue, c.ID); got != want {
				t.Errorf("the task is %s, want %s", got, want)
			}
		})
	}
	t.Run("no such queue", func(t *testing.T) {
		f := setup(t)
		f.must(newEnqueuer(f.rdb).drop(f.queues.Slot(tasks.Run{Job: "a", UID: "u", Slot: 60_000})))
	})
	t.Run("no Redis", func(t *testing.T) {
		f := setup(t)
		gone := redis.NewClient(f.rdb.Options())
		f.must(gone.Close())
		if err := newEnqueuer(gone).drop(f.queues.Slot(tasks.Run{Job: "a", UID: "u", Slot: 60_000})); err == nil {
			t.Error("no error")
		}
	})
}

func TestEnqueueAllNamesWhatFailed(t *testing.T) {
	f := setup(t)
	var carriers []carrier
	for i := range 100 {
		carriers = append(carriers, carrier{Carrier: f.queues.RunAgain(fmt.Sprint("a:", i), 0)})
	}
	for _, i := range []int{3, 50} {
		carriers[i].Opts = append(carriers[i].Opts, asynq.TaskID(" ")) // refused by the queue
	}
	placed, err := newEnqueuer(f.rdb).all(f.ctx, carriers)
	if err == nil || !strings.Contains(err.Error(), "2 of 100") || !strings.Contains(err.Error(), "task ID") {
		t.Errorf("error %v", err)
	}
	if len(placed) != 98 || len(f.runTasks()) != 98 {
		t.Errorf("placed %d, enqueued %d, want 98", len(placed), len(f.runTasks()))
	}
}

// TestOnlyWhatWasEnqueuedIsMarked: what was not is due still.
func TestOnlyWhatWasEnqueuedIsMarked(t *testing.T) {
	f := setup(t)
	w, _ := f.emitter()
	due := f.minute(0)
	f.create("a")
	f.put("a", due)
	nowhere := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = nowhere.Close() })
	w.enqueue = newEnqueuer(nowhere)
	if err := w.place(f.ctx, []job.Cursor{f.cursor("a")}, func() bool { return true }); err == nil {
		t.Error("no error")
	}
	if c := f.cursor("a"); c.Emitted || f.look("a") != due {
		t.Errorf("a slot whose carrier is nowhere: %+v, looked at %d ms after it", c, f.look("a")-due)
	}
}

func TestEnqueueEndsWithItsContext(t *testing.T) {
	f := setup(t)
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	placed, err := newEnqueuer(f.rdb).all(ctx, []carrier{{Carrier: f.queues.RunAgain("a:1", 0)}})
	if !errors.Is(err, context.Canceled) || len(placed) != 0 {
		t.Errorf("placed %v, error %v", placed, err)
	}
}
