package scheduler

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/tasks"
)

// fixed answers the same entries to every sync.
type fixed []*asynq.PeriodicTaskConfig

func (f fixed) GetConfigs() ([]*asynq.PeriodicTaskConfig, error) { return f, nil }

func (f *fixture) history() []string {
	f.t.Helper()
	keys, err := f.rdb.Keys(f.ctx, "asynq:scheduler_history:*").Result()
	f.must(err)
	return keys
}

// TestManagerLeavesNoHistory pins what asynq does of itself, beside what it does
// through our client: without the first half, the second could pass on nothing.
func TestManagerLeavesNoHistory(t *testing.T) {
	for _, tc := range []struct {
		name   string
		client func(redis.UniversalClient) redis.UniversalClient
		want   int
	}{
		{"asynq as it is", func(c redis.UniversalClient) redis.UniversalClient { return c }, 1},
		{"with our client", func(c redis.UniversalClient) redis.UniversalClient { return withoutHistory{c} }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			fired := make(chan error, 100)
			mgr, err := asynq.NewPeriodicTaskManager(asynq.PeriodicTaskManagerOpts{
				PeriodicTaskConfigProvider: fixed{{Cronspec: "@every 1s", Task: asynq.NewTask("x", []byte("{}")), Opts: []asynq.Option{asynq.Queue("q")}}},
				RedisUniversalClient:       tc.client(f.rdb),
				SchedulerOpts: &asynq.SchedulerOpts{Logger: quiet{}, LogLevel: asynq.FatalLevel,
					PostEnqueueFunc: func(_ *asynq.TaskInfo, err error) { fired <- err }},
			})
			f.must(err)
			f.must(mgr.Start())
			stop := sync.OnceFunc(mgr.Shutdown)
			t.Cleanup(stop)
			// The history of one firing is written before the next.
			for range 3 {
				f.must(<-fired)
			}
			if keys := f.history(); len(keys) != tc.want {
				t.Errorf("history %v, want %d keys", keys, tc.want)
			}
			if n := len(f.tasks("q")); n < 3 {
				t.Errorf("%d tasks were enqueued", n)
			}
			stop()
			if keys := f.history(); len(keys) != 0 {
				t.Errorf("history after the shutdown: %v", keys)
			}
		})
	}
}

func TestOnlyHistoryIsDropped(t *testing.T) {
	f := setup(t)
	f.must(f.rdb.FlushDB(f.ctx).Err())
	c := withoutHistory{f.rdb}
	const history = "asynq:scheduler_history:e"
	script := redis.NewScript("return redis.call('SET', KEYS[1], ARGV[1])")
	for _, key := range []string{history, "asynq:other"} {
		for _, run := range []func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd{script.Run, script.Eval} {
			f.must(run(f.ctx, c, []string{key}, "v").Err())
		}
	}
	keys, err := f.rdb.Keys(f.ctx, "*").Result()
	f.must(err)
	if d := cmp.Diff([]string{"asynq:other"}, keys); d != "" {
		t.Error(d)
	}
	f.must(f.rdb.Set(f.ctx, history, "old", 0).Err())
	f.must(c.Del(f.ctx, history).Err())
	f.must(c.Del(f.ctx, "asynq:other").Err())
	keys, err = f.rdb.Keys(f.ctx, "*").Result()
	f.must(err)
	if d := cmp.Diff([]string{history}, keys); d != "" {
		t.Error(d)
	}
}

// TestConflictNamesItsTask pins the one callback that tells which task a failed
// enqueue was about: PostEnqueueFunc gets no task then, and the marks of slots
// that somebody else emitted rest on it.
func TestConflictNamesItsTask(t *testing.T) {
	t.Parallel()
	f := setup(t)
	entry := f.queues.Slot(tasks.Run{Job: "a", UID: "u", Slot: 60_000})
	type failure struct {
		task *asynq.Task
		opts []asynq.Option
		err  error
	}
	failed := make(chan failure, 100)
	posted := make(chan error, 100)
	mgr, err := asynq.NewPeriodicTaskManager(asynq.PeriodicTaskManagerOpts{
		PeriodicTaskConfigProvider: fixed{{Cronspec: "@every 1s", Task: entry.Task, Opts: entry.Opts}},
		RedisUniversalClient:       withoutHistory{f.rdb},
		SchedulerOpts: &asynq.SchedulerOpts{Logger: quiet{}, LogLevel: asynq.FatalLevel,
			PostEnqueueFunc: func(info *asynq.TaskInfo, err error) {
				if err == nil && info.ID != entry.ID {
					err = errors.New("enqueued " + info.ID)
				}
				posted <- err
			},
			EnqueueErrorHandler: func(task *asynq.Task, opts []asynq.Option, err error) { //nolint:staticcheck // what is pinned here
				failed <- failure{task, opts, err}
			}},
	})
	f.must(err)
	f.must(mgr.Start())
	t.Cleanup(mgr.Shutdown)

	if err := <-posted; err != nil {
		t.Errorf("the first enqueue: %v", err)
	}
	if err := <-posted; !errors.Is(err, asynq.ErrTaskIDConflict) {
		t.Errorf("the second enqueue: %v", err)
	}
	got := <-failed
	if !errors.Is(got.err, asynq.ErrTaskIDConflict) {
		t.Errorf("the handler got the error %v", got.err)
	}
	if got.task == nil || got.task.Type() != tasks.TypeRun || string(got.task.Payload()) != string(entry.Task.Payload()) {
		t.Errorf("the handler got the task %v", got.task)
	}
	if options(got.opts)[asynq.TaskIDOpt] != entry.ID {
		t.Errorf("the handler got the options %v", got.opts)
	}
	if n := len(f.runTasks()); n != 1 {
		t.Errorf("%d tasks", n)
	}
}
