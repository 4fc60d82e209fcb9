package scheduler

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
	"github.com/gatewaycron/gatewaycron/internal/store"
	"github.com/gatewaycron/gatewaycron/tasks"
)

func TestMain(m *testing.M) {
	logging.Disable() // go-redis says one line for each failed dial
	os.Exit(redistest.Main(m))
}

// prefix names the deployment of every test; each has a database of its own.
const prefix = "t"

var zoneRules = sync.OnceValue(schedule.ZoneRules)

// fixture is the real store and the real queue on an empty Redis, with a way to
// reach behind them.
type fixture struct {
	*store.Store
	t         testing.TB
	ctx       context.Context
	rdb       *redis.Client
	queues    tasks.Queues
	inspector *asynq.Inspector
	logs      *logs
}

func setup(t testing.TB) *fixture {
	t.Helper()
	return newFixture(t, redistest.Fresh(t).Client())
}

func newFixture(t testing.TB, rdb *redis.Client) *fixture {
	// Many tests put cursors where their jobs have no slot.
	if err := rdb.HSet(t.Context(), "{"+prefix+"}:check", "rules", zoneRules()).Err(); err != nil {
		t.Fatal(err)
	}
	return &fixture{Store: store.New(rdb, store.Options{Prefix: prefix}), t: t, ctx: t.Context(), rdb: rdb,
		queues: tasks.NewQueues(prefix, 0), inspector: asynq.NewInspectorFromRedisClient(rdb), logs: &logs{}}
}

// scheduler wires a scheduler as the process does.
func (f *fixture) scheduler(change ...func(*Options)) *Scheduler {
	f.t.Helper()
	o := Options{Store: f.Store, Redis: f.rdb, Queues: f.queues, ID: "s1", Logger: slog.New(f.logs), QueueLog: quiet{}}
	for _, c := range change {
		c(&o)
	}
	s, err := New(o)
	f.must(err)
	return s
}

// emitter is the window of a scheduler that is the emitter, at a time by Redis
// that the test decides.
func (f *fixture) emitter() (*window, *at) {
	f.t.Helper()
	w := f.scheduler().window
	w.emitter = func() bool { return true }
	w.doubt, w.righted = func() bool { return false }, func() {}
	clock := &at{Store: f.Store}
	w.store = clock
	return w, clock
}

// at is the store, seen at a given time; 0 is the real one. Only the window reads
// the time in Go: what the scripts do goes by Redis.
type at struct {
	*store.Store
	now   job.Millis
	reads int // of cursors
}

func (a *at) DueWindow(ctx context.Context, behind, horizon time.Duration, limit int) (job.DueWindow, error) {
	if a.now == 0 {
		return a.Store.DueWindow(ctx, behind, horizon, limit)
	}
	now, err := a.Now(ctx)
	if err != nil {
		return job.DueWindow{}, err
	}
	w, err := a.Store.DueWindow(ctx, behind, horizon+a.now.Time().Sub(now), limit)
	w.Now = a.now
	return w, err
}

func (a *at) Cursors(ctx context.Context, ids []string) ([]job.Cursor, error) {
	a.reads += len(ids)
	return a.Store.Cursors(ctx, ids)
}

// failing is a store whose Redis goes away after the look at the index.
type failing struct {
	*at
	err error
}

func (s *failing) Cursors(context.Context, []string) ([]job.Cursor, error) { return nil, s.err }

// failingScripts is one whose Redis goes away after the cursors were read.
type failingScripts struct {
	*at
	err error
}

func (s *failingScripts) Collapse(context.Context, job.Collapse) (bool, error) { return false, s.err }
func (s *failingScripts) Postpone(context.Context, []job.Later) error          { return s.err }

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// Keys, as the store builds them.
func (f *fixture) key(kind, id string) string { return "{" + prefix + "}:" + kind + ":" + id }
func (f *fixture) due() string                { return "{" + prefix + "}:due" }
func (f *fixture) wake() string               { return "{" + prefix + "}:wake" }

// secret is a task text that must never leave the store.
const secret = "the text of the task"

// create makes a job that runs every minute.
func (f *fixture) create(id string, change ...func(*job.Spec)) job.Job {
	f.t.Helper()
	spec := job.Spec{Name: "Name of " + id, Schedule: "* * * * *", Enabled: true, Task: secret}
	for _, c := range change {
		c(&spec)
	}
	j, err := f.CreateJob(f.ctx, id, spec)
	f.must(err)
	return j
}

// put sets a job's cursor, as if nothing had run since.
func (f *fixture) put(id string, slot job.Millis) {
	f.t.Helper()
	f.must(f.rdb.HSet(f.ctx, f.key("job", id), "nextSlot", int64(slot)).Err())
	f.must(f.rdb.HDel(f.ctx, f.key("job", id), "emitted", "lastSlot").Err())
	f.index(id, slot)
}

// index sets only the entry in the due index.
func (f *fixture) index(id string, look job.Millis) {
	f.t.Helper()
	f.must(f.rdb.ZAdd(f.ctx, f.due(), redis.Z{Score: float64(look), Member: id}).Err())
}

// look is the job's entry in the due index; 0 if there is none.
func (f *fixture) look(id string) job.Millis {
	f.t.Helper()
	score, err := f.rdb.ZScore(f.ctx, f.due(), id).Result()
	if err != redis.Nil {
		f.must(err)
	}
	return job.Millis(score)
}

// clone makes n jobs like another, named <name>-0 and so on, in one round trip.
func (f *fixture) clone(like, name string, n int, slot func(i int) job.Millis) []string {
	f.t.Helper()
	hash, err := f.rdb.HGetAll(f.ctx, f.key("job", like)).Result()
	f.must(err)
	ids := make([]string, n)
	_, err = f.rdb.Pipelined(f.ctx, func(p redis.Pipeliner) error {
		for i := range ids {
			ids[i] = fmt.Sprintf("%s-%d", name, i)
			hash["uid"], hash["session"], hash["nextSlot"] = "uid-"+ids[i], "of-"+ids[i], fmt.Sprint(int64(slot(i)))
			p.HSet(f.ctx, f.key("job", ids[i]), hash)
			p.ZAdd(f.ctx, f.due(), redis.Z{Score: float64(slot(i)), Member: ids[i]})
		}
		return nil
	})
	f.must(err)
	return ids
}

func (f *fixture) cursor(id string) job.Cursor {
	f.t.Helper()
	c, err := f.Cursors(f.ctx, []string{id})
	f.must(err)
	return c[0]
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

func (f *fixture) refresh(w *window) {
	f.t.Helper()
	f.must(w.refresh(f.ctx))
}

// configs are the armed entries by job id.
func (f *fixture) configs(w *window) map[string]*asynq.PeriodicTaskConfig {
	f.t.Helper()
	configs, err := w.GetConfigs()
	f.must(err)
	byJob := map[string]*asynq.PeriodicTaskConfig{}
	for _, c := range configs {
		p, err := tasks.ParseRun(c.Task)
		f.must(err)
		if byJob[p.Job] != nil {
			f.t.Fatalf("job %s is armed twice", p.Job)
		}
		byJob[p.Job] = c
	}
	return byJob
}

// tasks are the tasks of a queue by id, whatever their state.
func (f *fixture) tasks(queue string) map[string]*asynq.TaskInfo {
	f.t.Helper()
	byID := map[string]*asynq.TaskInfo{}
	for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		f.inspector.ListPendingTasks, f.inspector.ListActiveTasks, f.inspector.ListScheduledTasks,
		f.inspector.ListRetryTasks, f.inspector.ListArchivedTasks, f.inspector.ListCompletedTasks,
	} {
		infos, err := list(queue, asynq.PageSize(10_000))
		if err != nil && strings.Contains(err.Error(), asynq.ErrQueueNotFound.Error()) {
			continue // nothing was ever enqueued
		}
		f.must(err)
		for _, info := range infos {
			byID[info.ID] = info
		}
	}
	return byID
}

// runTasks are the tasks of the queue of runs; a batch counts as the tasks of its slots.
func (f *fixture) runTasks() map[string]*asynq.TaskInfo {
	f.t.Helper()
	all := f.tasks(f.queues.Run())
	for id, info := range all {
		if info.Type == tasks.TypeBatch {
			delete(all, id)
			for _, slot := range slotsOf(f.t, asynq.NewTask(info.Type, info.Payload)) {
				all[f.queues.Slot(slot).ID] = info
			}
		}
	}
	return all
}

// slotsOf are the slots that a task carries.
func slotsOf(t testing.TB, task *asynq.Task) []tasks.Run {
	t.Helper()
	if task.Type() != tasks.TypeBatch {
		p, err := tasks.ParseRun(task)
		if err != nil {
			t.Fatal(err)
		}
		return []tasks.Run{p}
	}
	p, err := tasks.ParseBatch(task)
	if err != nil {
		t.Fatal(err)
	}
	return p.Slots
}

func (f *fixture) state(queue, id string) string {
	f.t.Helper()
	info, ok := f.tasks(queue)[id]
	if !ok {
		return "none"
	}
	return info.State.String()
}

// work serves a queue with a handler until the test ends or stop is called.
func (f *fixture) work(queue string, handle asynq.HandlerFunc) (stop func()) {
	f.t.Helper()
	srv := asynq.NewServerFromRedisClient(f.rdb, asynq.Config{
		Concurrency: 16, Queues: map[string]int{queue: 1}, TaskCheckInterval: 10 * time.Millisecond,
		DelayedTaskCheckInterval: time.Second, ShutdownTimeout: time.Second,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Hour },
		Logger:         quiet{}, LogLevel: asynq.FatalLevel,
	})
	f.must(srv.Start(handle))
	stop = sync.OnceFunc(srv.Shutdown)
	f.t.Cleanup(stop)
	return stop
}

// complete lets a worker finish every pending task of a queue.
func (f *fixture) complete(queue string) {
	f.t.Helper()
	stop := f.work(queue, func(context.Context, *asynq.Task) error { return nil })
	eventually(f.t, "the tasks are completed", func() bool {
		q, err := f.inspector.GetQueueInfo(queue)
		return err == nil && q.Pending+q.Active == 0 && q.Completed > 0
	})
	stop()
}

// running is a scheduler under way.
type running struct {
	t    testing.TB
	stop context.CancelFunc
	done chan error
}

func start(t testing.TB, s *Scheduler) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- s.Run(ctx) }()
	t.Cleanup(r.end)
	return r
}

// end stops the scheduler and waits for Run to return.
func (r *running) end() {
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		r.t.Errorf("Run did not return; goroutines:\n%s", stacks())
	}
}

// patience is how long anything may take that will happen; a test may have to wait
// for the next minute.
const patience = 2 * time.Minute

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never: %s", what)
		}
	}
}

func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// leftOver are the goroutines of the scheduler and of asynq that still run. Only
// a test that runs alone may ask.
func leftOver() string {
	var left []string
	for g := range strings.SplitSeq(stacks(), "\n\n") {
		if strings.Contains(g, "testing.tRunner") || strings.Contains(g, "testing.(*T)") {
			continue // the tests themselves
		}
		if strings.Contains(g, "gatewaycron/scheduler.") || strings.Contains(g, "hibiken/asynq") || strings.Contains(g, "robfig/cron") {
			left = append(left, g)
		}
	}
	return strings.Join(left, "\n\n")
}

// logs keeps what was logged.
type logs struct {
	mu    sync.Mutex
	lines []string
}

func (l *logs) Enabled(context.Context, slog.Level) bool { return true }
func (l *logs) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logs) WithGroup(string) slog.Handler            { return l }

func (l *logs) Handle(ctx context.Context, r slog.Record) error {
	var b bytes.Buffer
	if err := slog.NewTextHandler(&b, nil).Handle(ctx, r); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, b.String())
	return nil
}

// count is how many lines contain all of the texts.
func (l *logs) count(texts ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
lines:
	for _, line := range l.lines {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		n++
	}
	return n
}

// quiet is asynq's logger in tests.
type quiet struct{}

func (quiet) Debug(...any) {}
func (quiet) Info(...any)  {}
func (quiet) Warn(...any)  {}
func (quiet) Error(...any) {}
func (quiet) Fatal(...any) {}
