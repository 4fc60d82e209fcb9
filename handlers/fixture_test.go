package handlers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/gatewaycron/gatewaycron/internal/channel"
	"github.com/gatewaycron/gatewaycron/internal/executor"
	"github.com/gatewaycron/gatewaycron/internal/executor/aiserver"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/standin"
	"github.com/gatewaycron/gatewaycron/internal/store"
	"github.com/gatewaycron/gatewaycron/tasks"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// setupOptions say what surrounds the worker of a fixture; all are optional.
type setupOptions struct {
	redis *redistest.Server                     // one that the test may freeze or kill
	reply func(standin.ChatCall) standin.Answer // of the ai-server
	front func(http.Handler) http.Handler       // stands before the ai-server
	send  func(standin.Message) standin.Answer  // of the channel manager
	wrap  func(channel.Channel) channel.Channel // stands before every channel
	only  []string                              // channels that are connected; nil: every name
	grace time.Duration
	turns int // calls under way at once
}

// fixture is a worker on an empty Redis, between the two stand-ins that judge it.
// The worker does nothing by itself: a test hands it tasks, or serves the queues.
type fixture struct {
	t      *testing.T
	ctx    context.Context
	rdb    *redis.Client
	store  *watchedStore
	opts   Options // of the worker
	worker *Worker
	queues tasks.Queues
	client *asynq.Client
	ai     *standin.EchoAI
	chat   *standin.RecordingChannel
	log    *logBuffer
}

func setup(t *testing.T, o setupOptions) *fixture {
	t.Helper()
	var opts *redis.Options
	if o.redis != nil {
		opts = o.redis.Options()
	} else {
		opts = redistest.Fresh(t).Options()
	}
	// As the process sets it: without it, a context's deadline is not one for the
	// connection.
	opts.ContextTimeoutEnabled = true
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	rdb := redis.NewClient(opts)
	f := &fixture{t: t, ctx: t.Context(), rdb: rdb, store: &watchedStore{Store: store.New(rdb, store.Options{})},
		queues: tasks.NewQueues("test", 0), client: asynq.NewClientFromRedisClient(rdb), log: &logBuffer{}}
	t.Cleanup(func() {
		if t.Failed() {
			log := f.log.String()
			t.Logf("end of the worker's log:\n%s", log[max(0, len(log)-4<<10):])
		}
		must(t, rdb.Close())
	})

	var err error
	f.ai, err = standin.NewEchoAI(standin.EchoOptions{Reply: o.reply})
	must(t, err)
	f.chat, err = standin.NewRecordingChannel(standin.ChannelOptions{Reply: o.send})
	must(t, err)
	var front http.Handler = f.ai
	if o.front != nil {
		front = o.front(f.ai)
	}
	chatServer, err := f.chat.Start("127.0.0.1:0")
	must(t, err)
	aiServer := httptest.NewServer(front)

	turns, ai := f.executorAt(aiServer.URL)
	manager, err := channel.NewHTTP(channel.HTTPOptions{BaseURL: chatServer.URL(), Timeout: 2 * patience})
	must(t, err)
	if o.turns == 0 {
		o.turns = 4
	}
	f.opts = Options{
		Runs: f.store, Deliveries: f.store, Executor: turns, Channels: channels{manager, o.wrap, o.only},
		Redis: rdb, Queues: f.queues, Logger: slog.New(slog.NewTextHandler(f.log, nil)), QueueLog: queueLog{f.log},
		ID: "worker-1", Concurrency: o.turns, Grace: o.grace,
	}
	f.worker = New(f.opts)
	t.Cleanup(func() {
		f.worker.cut(errShutdown)
		ai.CloseIdle()
		manager.CloseIdle()
		// Not Server.Close, which waits for requests that a failed test still holds.
		must(t, errors.Join(aiServer.Config.Close(), f.ai.Close(), f.chat.Close(), chatServer.Close()))
	})
	return f
}

// executorAt returns the executor of the ai-server there.
func (f *fixture) executorAt(url string) (executor.Executor, *aiserver.Client) {
	f.t.Helper()
	ai, err := aiserver.New(aiserver.Options{BaseURL: url})
	must(f.t, err)
	return aiserver.NewExecutor(aiserver.ExecutorOptions{Calls: ai, Sessions: f.store, WorkspaceID: "ws-1", Model: "model-1", Effort: "low"}), ai
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// watchedStore is the store, with what was asked of it counted before it is asked.
type watchedStore struct {
	*store.Store
	claims, begins, renews, commits, fails, sendEnds atomic.Int64
}

func (s *watchedStore) Claim(ctx context.Context, c job.Claim) (job.Begun, error) {
	s.claims.Add(1)
	return s.Store.Claim(ctx, c)
}

func (s *watchedStore) Begin(ctx context.Context, run, token, worker string) (job.Begun, error) {
	s.begins.Add(1)
	return s.Store.Begin(ctx, run, token, worker)
}

func (s *watchedStore) Renew(ctx context.Context, run string, epoch int64) error {
	s.renews.Add(1)
	return s.Store.Renew(ctx, run, epoch)
}

func (s *watchedStore) Commit(ctx context.Context, c job.Commit) ([]job.Carrier, error) {
	s.commits.Add(1)
	return s.Store.Commit(ctx, c)
}

func (s *watchedStore) Fail(ctx context.Context, f job.Failure) (bool, []job.Carrier, error) {
	s.fails.Add(1)
	return s.Store.Fail(ctx, f)
}

func (s *watchedStore) SendEnd(ctx context.Context, e job.SendEnd) (bool, error) {
	s.sendEnds.Add(1)
	return s.Store.SendEnd(ctx, e)
}

// channels finds one channel under many names.
type channels struct {
	channel channel.Channel
	wrap    func(channel.Channel) channel.Channel
	only    []string
}

func (c channels) Lookup(name string) (channel.Channel, bool) {
	if c.only != nil && !slices.Contains(c.only, name) {
		return nil, false
	}
	if c.wrap != nil {
		return c.wrap(c.channel), true
	}
	return c.channel, true
}

// logBuffer is what the worker logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type queueLog struct{ to *logBuffer }

func (q queueLog) Debug(...any)      {}
func (q queueLog) Info(...any)       {}
func (q queueLog) Warn(args ...any)  { fmt.Fprintln(q.to, args...) }
func (q queueLog) Error(args ...any) { fmt.Fprintln(q.to, args...) }
func (q queueLog) Fatal(args ...any) { fmt.Fprintln(q.to, args...) }

// hold keeps requests waiting until they are let go.
type hold struct {
	arrived chan struct{} // one for each request that came
	open    chan struct{}
	once    sync.Once
}

func newHold(t *testing.T) *hold {
	h := &hold{arrived: make(chan struct{}, 1000), open: make(chan struct{})}
	t.Cleanup(h.letGo)
	return h
}

func (h *hold) wait() {
	h.arrived <- struct{}{}
	<-h.open
}

func (h *hold) letGo() { h.once.Do(func() { close(h.open) }) }

// patience bounds every wait of a test; it is only ever spent by a failure.
const patience = 60 * time.Second

// receive waits for a value.
func receive[T any](f *fixture, what string, from <-chan T) T {
	f.t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		f.t.Fatalf("waited in vain for: %s", what)
		panic("unreachable")
	}
}

// await waits for a condition.
func (f *fixture) await(what string, holds func() bool) {
	f.t.Helper()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-timeout.C:
			f.t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func (f *fixture) awaitLog(text string) {
	f.t.Helper()
	f.await("log: "+text, func() bool { return strings.Contains(f.log.String(), text) })
}

// rarely is a job without a target whose own slots are far away, so that no
// retry meets the next one.
func rarely() job.Spec { return job.Spec{Schedule: "0 0 29 2 *", Enabled: true, Task: "say hello"} }

// toChat is rarely with a target.
func toChat() job.Spec {
	s := rarely()
	s.Channel, s.ChatID = "slack", "C1"
	return s
}

func (f *fixture) create(id string, spec job.Spec) job.Job {
	f.t.Helper()
	must(f.t, spec.Validate())
	j, err := f.store.CreateJob(f.ctx, id, spec)
	must(f.t, err)
	return j
}

func key(parts ...string) string { return "{gateway-cron}:" + strings.Join(parts, ":") }

// now is the time by the clock of Redis.
func (f *fixture) now() job.Millis {
	f.t.Helper()
	now, err := f.store.Now(f.ctx)
	must(f.t, err)
	return job.ToMillis(now)
}

// minute is the slot n minutes from the running minute.
func (f *fixture) minute(n int) job.Millis {
	return job.ToMillis(f.now().Time().Truncate(time.Minute).Add(time.Duration(n) * time.Minute))
}

// moveTo puts the cursor of a job on a slot, as if nothing had run since.
func (f *fixture) moveTo(id string, slot job.Millis) {
	f.t.Helper()
	must(f.t, f.rdb.HSet(f.ctx, key("job", id), "nextSlot", int64(slot)).Err())
	must(f.t, f.rdb.ZAdd(f.ctx, key("due"), redis.Z{Score: float64(slot), Member: id}).Err())
}

// slotOf is the carrier of a job's slot, as a scheduler makes it now.
func (f *fixture) slotOf(j job.Job, slot job.Millis) tasks.Carrier {
	return f.queues.Slot(tasks.Run{Job: j.ID, UID: j.UID, Slot: int64(slot), Revision: j.Revision,
		Name: j.Name}.WithTiming(j.Timing(j.ID, j.Anchor)))
}

// due makes a job with a due slot and the carrier of that slot.
func (f *fixture) due(id string, spec job.Spec) (tasks.Carrier, string) {
	f.t.Helper()
	j := f.create(id, spec)
	slot := f.minute(0)
	f.moveTo(id, slot)
	return f.slotOf(j, slot), job.RunID(id, slot)
}

// manual starts a manual run of a job.
func (f *fixture) manual(id string) (tasks.Carrier, string) {
	f.t.Helper()
	_, run, err := f.store.RunJob(f.ctx, id)
	must(f.t, err)
	return f.queues.RunAgain(run, 0), run
}

// turn hands a run's carrier to the worker.
func (f *fixture) turn(c tasks.Carrier) error {
	return f.worker.runs.handle(context.Background(), c.Task)
}

// deliver hands a delivery's carrier to the worker.
func (f *fixture) deliver(run string) error {
	return f.worker.deliveries.handle(context.Background(), f.queues.Delivery(run, 1, 0).Task)
}

// side does something at the side and answers its result.
func side[T any](do func() T) <-chan T {
	done := make(chan T, 1)
	go func() { done <- do() }()
	return done
}

// again makes a waiting run due and hands it to the worker.
func (f *fixture) again(run string) error {
	f.t.Helper()
	must(f.t, f.rdb.HSet(f.ctx, key("run", run), "notBefore", 1).Err())
	return f.turn(f.queues.RunAgain(run, int64(f.number(key("run", run), "n"))))
}

// deliverAgain makes a waiting delivery due and hands it to the worker.
func (f *fixture) deliverAgain(run string) error {
	f.t.Helper()
	must(f.t, f.rdb.HSet(f.ctx, key("delivery", run, "1"), "notBefore", 1).Err())
	return f.deliver(run)
}

// number reads a field that is in no domain type.
func (f *fixture) number(key, field string) int {
	f.t.Helper()
	s, err := f.rdb.HGet(f.ctx, key, field).Result()
	must(f.t, err)
	n, err := strconv.Atoi(s)
	must(f.t, err)
	return n
}

// steal makes the attempt under way an old one, as a worker does that has seen
// its lease die.
func (f *fixture) steal(key string) {
	f.t.Helper()
	must(f.t, f.rdb.HIncrBy(f.ctx, key, "epoch", 1).Err())
}

func (f *fixture) record(run string) job.Run {
	f.t.Helper()
	r, err := f.store.Run(f.ctx, run)
	must(f.t, err)
	return r
}

// delivery is the first delivery of a run that must have succeeded: whatever
// became of the delivery is not the run's.
func (f *fixture) delivery(run string) job.Delivery {
	f.t.Helper()
	r := f.record(run)
	if r.Outcome != job.Succeeded || len(r.Attempts) != 1 || len(r.Deliveries) != 1 {
		f.t.Fatalf("run %s: %s after %d attempts with %d deliveries, want one success with one delivery",
			run, r.Outcome, len(r.Attempts), len(r.Deliveries))
	}
	return r.Deliveries[0]
}

// committed makes a job and a run whose reply is to be delivered.
func (f *fixture) committed(id string, spec job.Spec) (run string) {
	f.t.Helper()
	f.create(id, spec)
	c, run := f.manual(id)
	must(f.t, f.turn(c))
	if r := f.record(run); r.DeliveryState != job.DeliveryPending {
		f.t.Fatalf("run %s: %s, its delivery %s", run, r.Outcome, r.DeliveryState)
	}
	return run
}

// serve runs the worker until stop is called; ended is closed when all of it has
// ended.
func (f *fixture) serve() (stop func(), ended <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	done, worker := make(chan struct{}), f.worker
	go func() {
		defer close(done)
		if err := worker.Run(ctx); err != nil {
			f.t.Error(err)
		}
	}()
	f.t.Cleanup(func() {
		worker.cut(errShutdown)
		cancel()
		receive(f, "the end of the worker", done)
	})
	return cancel, done
}

func (f *fixture) enqueue(c tasks.Carrier) {
	f.t.Helper()
	must(f.t, c.Enqueue(f.ctx, f.client))
}

// texts are the texts of what arrived at the chats.
func (f *fixture) texts() []string {
	out := []string{}
	for _, m := range f.chat.Messages() {
		out = append(out, m.Text)
	}
	return out
}
