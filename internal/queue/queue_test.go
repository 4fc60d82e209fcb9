package queue_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/queue"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

const name = "q"

// fixture is a queue of the real asynq, on an empty Redis.
type fixture struct {
	*testing.T
	ctx       context.Context
	rdb       *redis.Client
	queue     *queue.Queues
	client    *asynq.Client
	inspector *asynq.Inspector
}

func setup(t *testing.T) *fixture {
	t.Helper()
	rdb := redistest.Fresh(t).Client()
	return &fixture{T: t, ctx: t.Context(), rdb: rdb, queue: queue.New(rdb),
		client: asynq.NewClientFromRedisClient(rdb), inspector: asynq.NewInspectorFromRedisClient(rdb)}
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) enqueue(id string, opts ...asynq.Option) error {
	_, err := f.client.EnqueueContext(f.ctx, asynq.NewTask("t", nil), append(opts, asynq.TaskID(id), asynq.Queue(name), asynq.Retention(time.Hour))...)
	return err
}

// serve works on the queue until the test ends or stop is called.
func (f *fixture) serve(handle asynq.HandlerFunc) (stop func()) {
	f.Helper()
	server := asynq.NewServerFromRedisClient(f.rdb, asynq.Config{Concurrency: 4, Queues: map[string]int{name: 1},
		TaskCheckInterval: 10 * time.Millisecond, ShutdownTimeout: time.Second, LogLevel: asynq.FatalLevel,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 10 * time.Second }})
	f.must(server.Start(handle))
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			server.Shutdown()
		}
	}
	f.Cleanup(stop)
	return stop
}

func (f *fixture) state() job.QueueState {
	f.Helper()
	states, err := f.queue.States(f.ctx, name)
	f.must(err)
	return states[0]
}

func (f *fixture) await(what string, holds func() bool) {
	f.Helper()
	tick, late := time.NewTicker(10*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			f.Fatalf("never: %s", what)
		}
	}
}

func (f *fixture) key(name string) string { return "asynq:{q}:" + name }

// TestStates holds what is read against what asynq's inspector says.
func TestStates(t *testing.T) {
	f := setup(t)
	empty := f.state()
	if empty.At == 0 {
		t.Error("no time")
	}
	empty.At = 0
	if diff := cmp.Diff(job.QueueState{Name: name}, empty); diff != "" {
		t.Errorf("a queue that does not exist: %s", diff)
	}
	for i := range 3 {
		f.must(f.enqueue(fmt.Sprint("done-", i)))
	}
	stop := f.serve(func(context.Context, *asynq.Task) error { return nil })
	f.await("three are done", func() bool { return f.state().Completed == 3 })
	stop()
	f.must(f.enqueue("again"))
	stop = f.serve(func(context.Context, *asynq.Task) error { return errors.New("not now") })
	f.await("one is put off", func() bool { return f.state().Retry == 1 })
	stop()
	for i := range 5 {
		f.must(f.enqueue(fmt.Sprint("a-", i)))
	}
	f.must(f.enqueue("later", asynq.ProcessIn(time.Hour)))
	f.must(f.inspector.ArchiveTask(name, "a-1"))
	f.must(f.inspector.PauseQueue(name))
	info, err := f.inspector.GetQueueInfo(name)
	f.must(err)
	s := f.state()
	want := job.QueueState{Name: name, At: s.At, Pending: info.Pending, Active: info.Active, Scheduled: info.Scheduled, Retry: info.Retry,
		Archived: info.Archived, Completed: info.Completed, Paused: info.Paused, PausedSince: s.PausedSince, OldestPending: s.OldestPending}
	if diff := cmp.Diff(want, s); diff != "" || s.Pending != 4 || s.Archived != 1 || !s.Paused || s.Waiting() != 7 {
		t.Errorf("state %+v, against the inspector's %s", s, diff)
	}
	for what, at := range map[string]job.Millis{"paused": s.PausedSince, "oldest": s.OldestPending} {
		if ago := s.At - at; ago < -1000 || ago > 60_000 {
			t.Errorf("%s since %d ms", what, ago)
		}
	}
	// What was given back stands in front, and does not say since when it waits.
	f.must(f.rdb.HDel(f.ctx, f.key("t:a-0"), "pending_since").Err())
	if got := f.state().OldestPending; got == 0 {
		t.Error("the age of the oldest is not known behind one without it")
	}
}

func TestStatesOfDamagedKeys(t *testing.T) {
	f := setup(t)
	for _, key := range []string{"pending", "active", "scheduled", "retry", "archived", "completed", "lease"} {
		f.must(f.rdb.Set(f.ctx, f.key(key), "x", 0).Err())
	}
	f.must(f.rdb.LPush(f.ctx, f.key("paused"), "x").Err())
	if s := f.state(); !s.Damaged || !s.Paused || s.Pending != 0 {
		t.Errorf("state %+v", s)
	}
	if n, err := f.queue.Clean(f.ctx, name); err != nil || n != 7 {
		t.Errorf("cleaned %d, %v", n, err)
	}
	if was, err := f.queue.Resume(f.ctx, name); err != nil || !was {
		t.Errorf("resumed %v, %v", was, err)
	}
	f.must(f.enqueue("a"))
	if s := f.state(); s.Damaged || s.Paused || s.Pending != 1 {
		t.Errorf("state %+v", s)
	}
	if n, err := f.queue.Clean(f.ctx, name); err != nil || n != 0 || f.state().Pending != 1 {
		t.Errorf("a sound queue: cleaned %d, %v", n, err)
	}
}

func TestList(t *testing.T) {
	f := setup(t)
	list := func(want ...string) {
		t.Helper()
		missing, err := f.queue.List(f.ctx, name, "r")
		f.must(err)
		if !slices.Equal(missing, want) {
			t.Errorf("missing %q, want %q", missing, want)
		}
	}
	list(name, "r")
	list()
	f.must(f.inspector.DeleteQueue("r", true))
	list("r")
	f.must(f.rdb.Set(f.ctx, "asynq:queues", "no set", 0).Err())
	list(name, "r")
	if _, err := f.inspector.GetQueueInfo("r"); err != nil {
		t.Error(err)
	}
}

func TestUnarchive(t *testing.T) {
	f := setup(t)
	for i := range 5 {
		f.must(f.enqueue(fmt.Sprint("a-", i)))
	}
	_, err := f.inspector.ArchiveAllPendingTasks(name)
	f.must(err)
	f.must(f.rdb.Del(f.ctx, f.key("t:a-0")).Err())
	var back []string
	for _, most := range []int{2, 100, 100} {
		ids, err := f.queue.Unarchive(f.ctx, name, most)
		f.must(err)
		if len(ids) > most {
			t.Errorf("%d at once", len(ids))
		}
		back = append(back, ids...)
	}
	slices.Sort(back)
	if !slices.Equal(back, []string{"a-1", "a-2", "a-3", "a-4"}) {
		t.Errorf("back are %q", back)
	}
	f.serve(func(context.Context, *asynq.Task) error { return nil })
	f.await("they are done", func() bool { return f.state().Completed == 4 })
}

func TestTrim(t *testing.T) {
	f := setup(t)
	for i := range 5 {
		f.must(f.enqueue(fmt.Sprint("a-", i)))
	}
	f.serve(func(context.Context, *asynq.Task) error { return nil })
	f.await("all are done", func() bool { return f.state().Completed == 5 })
	for _, want := range []int{2, 1, 0} { // two at once, two stay
		if n, err := f.queue.Trim(f.ctx, name, 2, 2); err != nil || n != want {
			t.Errorf("trimmed %d, want %d: %v", n, want, err)
		}
	}
	keys, err := f.rdb.Keys(f.ctx, f.key("t:*")).Result()
	f.must(err)
	if s := f.state(); s.Completed != 2 || len(keys) != 2 {
		t.Errorf("%d are left, of %d records", s.Completed, len(keys))
	}
}

// TestMakeRoom: whatever holds an id and is not on its way is removed, so that the task
// can be enqueued again and is worked on once.
func TestMakeRoom(t *testing.T) {
	for _, tc := range []struct {
		name   string
		before func(*fixture)
		free   bool
	}{
		{"pending", func(f *fixture) { f.must(f.enqueue("a")) }, false},
		{"pending behind others", func(f *fixture) { f.must(f.enqueue("b")); f.must(f.enqueue("a")) }, false},
		{"given back", func(f *fixture) {
			f.must(f.enqueue("a"))
			f.must(f.enqueue("b"))
			f.must(f.rdb.HDel(f.ctx, f.key("t:a"), "pending_since").Err())
		}, false},
		{"pending for long, before younger ones", func(f *fixture) { // as after a run of all that are put off
			f.must(f.enqueue("b"))
			f.must(f.enqueue("a"))
			f.must(f.rdb.HSet(f.ctx, f.key("t:a"), "pending_since", time.Now().Add(-time.Hour).UnixNano()).Err())
		}, false},
		{"active", func(f *fixture) {
			f.must(f.enqueue("a"))
			hold := make(chan struct{})
			f.serve(func(context.Context, *asynq.Task) error { <-hold; return nil })
			f.await("it is active", func() bool { return f.state().Active == 1 })
			f.Cleanup(func() { close(hold) })
		}, false},
		{"put off by seconds", func(f *fixture) { f.must(f.enqueue("a", asynq.ProcessIn(20*time.Second))) }, false},
		{"tried again in seconds", func(f *fixture) {
			f.must(f.enqueue("a"))
			stop := f.serve(func(context.Context, *asynq.Task) error { return errors.New("not now") })
			f.await("it is put off", func() bool { return f.state().Retry == 1 })
			stop()
		}, false},
		{"put off by an hour", func(f *fixture) { f.must(f.enqueue("a", asynq.ProcessIn(time.Hour))) }, true},
		{"archived", func(f *fixture) { f.must(f.enqueue("a")); f.must(f.inspector.ArchiveTask(name, "a")) }, true},
		{"completed", func(f *fixture) {
			f.must(f.enqueue("a"))
			stop := f.serve(func(context.Context, *asynq.Task) error { return nil })
			f.await("it is done", func() bool { return f.state().Completed == 1 })
			stop()
		}, true},
		{"of a group", func(f *fixture) { f.must(f.enqueue("a", asynq.Group("g"))) }, true},
		{"gone", func(*fixture) {}, true},
		{"the list of pending is gone", func(f *fixture) {
			f.must(f.enqueue("a"))
			f.must(f.rdb.Del(f.ctx, f.key("pending")).Err())
		}, true},
		{"fell out of the list", func(f *fixture) {
			f.must(f.enqueue("a"))
			f.must(f.rdb.HSet(f.ctx, f.key("t:a"), "pending_since", time.Now().Add(-time.Hour).UnixNano()).Err())
			f.must(f.enqueue("b"))
			f.must(f.rdb.LRem(f.ctx, f.key("pending"), 0, "a").Err())
		}, true},
		{"active without a lease", func(f *fixture) {
			f.must(f.enqueue("a"))
			f.must(f.rdb.LMove(f.ctx, f.key("pending"), f.key("active"), "right", "left").Err())
			f.must(f.rdb.HSet(f.ctx, f.key("t:a"), "state", "active").Err())
		}, true},
		{"without a message", func(f *fixture) {
			f.must(f.enqueue("a"))
			f.must(f.rdb.HDel(f.ctx, f.key("t:a"), "msg").Err())
		}, true},
		{"a result alone", func(f *fixture) { f.must(f.rdb.HSet(f.ctx, f.key("t:a"), "result", "x").Err()) }, true},
		{"no hash", func(f *fixture) { f.must(f.rdb.Set(f.ctx, f.key("t:a"), "x", 0).Err()) }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			tc.before(f)
			free, err := f.queue.MakeRoom(f.ctx, name, "a")
			f.must(err)
			if free != tc.free {
				t.Fatalf("free %v", free)
			}
			err = f.enqueue("a")
			if free != (err == nil) || !free && !errors.Is(err, asynq.ErrTaskIDConflict) {
				t.Fatalf("enqueued again: %v", err)
			}
			if !free {
				return
			}
			done := make(chan string, 10)
			f.serve(func(_ context.Context, task *asynq.Task) error { done <- task.ResultWriter().TaskID(); return nil })
			f.must(f.enqueue("last"))
			var ids []string
			for !slices.Contains(ids, "last") || !slices.Contains(ids, "a") {
				select {
				case id := <-done:
					ids = append(ids, id)
				case <-time.After(time.Minute):
					t.Fatalf("done are %q", ids)
				}
			}
			if n := strings.Count(strings.Join(ids, " "), "a"); n-1 != 1 { // "last" has one too
				t.Errorf("done are %q", ids)
			}
			f.await("nothing is left over", func() bool { s := f.state(); return s.Waiting()+s.Active == 0 })
		})
	}
}

func TestCountFailed(t *testing.T) {
	f := setup(t)
	f.must(f.enqueue("a"))
	f.serve(func(context.Context, *asynq.Task) error { return nil })
	f.await("it is done", func() bool { return f.state().Completed == 1 })
	f.must(f.queue.CountFailed(f.ctx, name, time.Now()))
	info, err := f.inspector.GetQueueInfo(name)
	f.must(err)
	if info.Processed != 1 || info.Failed != 1 || info.FailedTotal != 1 {
		t.Errorf("the inspector says %d of %d failed, %d in all", info.Failed, info.Processed, info.FailedTotal)
	}
	if ttl := f.rdb.TTL(f.ctx, f.key("failed:"+time.Now().UTC().Format(time.DateOnly))).Val(); ttl <= 0 {
		t.Errorf("the count of a day stays for %v", ttl)
	}
}
