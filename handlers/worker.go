// Package handlers runs tasks: cron:run (claim, begin, chat, commit), cron:batch
// (several of those), and cron:deliver (the reply to its chat). It owns the life of an
// attempt and of a send: leases, deadlines, what each error means, and what is written
// when.
//
// It must not import the store, the scheduler, the api, or web. A handler's
// answer to asynq is only about the carrier; the run record holds the truth.
package handlers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/channel"
	"github.com/gatewaycron/gatewaycron/internal/executor"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/queue"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// Options are the dependencies of a Worker.
type Options struct {
	Runs       RunStore
	Deliveries DeliveryStore
	Executor   executor.Executor // makes the turns
	Channels   Channels
	Redis      redis.UniversalClient // for the queue; stays the caller's to close
	Queues     tasks.Queues
	Logger     *slog.Logger
	QueueLog   asynq.Logger // receives what asynq has to say

	ID          string // names this worker in the attempts it makes
	Concurrency int    // calls under way at once
	// MemoryBytes is how many bytes of transcripts and replies the turns in hand may hold
	// together; one alone may hold more. Default DefaultMemoryBytes.
	MemoryBytes int64
	// Grace is how long running turns may go on after a stop; then they are cut,
	// and their attempts are ambiguous.
	Grace time.Duration
	// MayBegin says why no turn may begin at the moment, although Redis serves; nil if one
	// may. The option itself may be nil.
	MayBegin func() error
}

// Channels finds the channel of a target; see package channel.
type Channels interface {
	Lookup(name string) (channel.Channel, bool)
}

// DefaultMemoryBytes is the default of Options.MemoryBytes.
const DefaultMemoryBytes = 256 << 20

const (
	// deliverConcurrency is the number of deliveries under way at once, and
	// perChannel the most of them on one channel, so that channels that hang never
	// stop the others.
	deliverConcurrency = 256
	perChannel         = 8
	// fetchers is how many asynq servers fetch runs: each takes one task at a time, a
	// round trip for each, which is the limit when thousands are due at once.
	fetchers = 4
	// fetchEvery is how often an idle worker looks for a task of a queue.
	fetchEvery = 50 * time.Millisecond
	// cutWithin is how long a cut attempt has to be written down.
	cutWithin = 5 * time.Second
)

// errShutdown is why a carrier goes back untouched, and the cause of an attempt that
// is cut, because the worker stops.
var errShutdown = errors.New("the worker was stopped")

// Worker serves both queues, each with asynq servers of its own, so that hanging
// chats never stop deliveries.
type Worker struct {
	run              []*asynq.Server // each with its part of the concurrency
	deliver          *asynq.Server
	runs             *runHandler
	deliveries       *deliverHandler
	atRun, atDeliver *crew
	cut              context.CancelCauseFunc
	grace            time.Duration
	logger           *slog.Logger
}

// New wires a worker; Run starts it.
func New(o Options) *Worker {
	// Attempts outlive asynq's contexts: they end by their own deadline, by
	// fencing, or by the cut.
	base, cut := context.WithCancelCause(context.Background())
	client := asynq.NewClientFromRedisClient(o.Redis)
	atRun := newCrew(o.Concurrency)
	runs := newRunHandler(base, o, client, atRun.roomy)
	deliveries := &deliverHandler{base: base, store: o.Deliveries, channels: o.Channels, logger: o.Logger,
		report: reporter(o.Queues.Deliver(), queue.New(o.Redis), o.Logger),
		gates:  newGates(time.Now)}
	return &Worker{
		run:     newServers(o, o.Queues.Run(), o.Concurrency, min(fetchers, o.Concurrency)),
		deliver: newServers(o, o.Queues.Deliver(), deliverConcurrency, 1)[0],
		runs:    runs, deliveries: deliveries,
		atRun: atRun, atDeliver: newCrew(deliverConcurrency),
		cut: cut, grace: o.Grace, logger: o.Logger,
	}
}

// newServers makes n servers for a queue, which share the concurrency and look for
// work no more often than one would.
func newServers(o Options, queue string, concurrency, n int) []*asynq.Server {
	servers := make([]*asynq.Server, n)
	for i := range servers {
		delayed := time.Second
		if i > 0 {
			delayed = time.Minute // the first does it for all
		}
		servers[i] = asynq.NewServerFromRedisClient(o.Redis, asynq.Config{
			Concurrency:              (concurrency + i) / n,
			Queues:                   map[string]int{queue: 1},
			TaskCheckInterval:        time.Duration(n) * fetchEvery,
			DelayedTaskCheckInterval: delayed,
			RetryDelayFunc:           retryDelay,
			IsFailure:                isFailure,
			ShutdownTimeout:          o.Grace + cutWithin + time.Second,
			Logger:                   o.QueueLog,
			LogLevel:                 asynq.WarnLevel,
		})
	}
	return servers
}

// Run serves until ctx ends; then it takes nothing new, lets what runs finish
// within the grace, and cuts the rest.
func (w *Worker) Run(ctx context.Context) error {
	defer w.cut(errShutdown)
	// Until the last attempt has ended, not only until the stop.
	watch, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	var watching sync.WaitGroup
	watching.Go(func() { w.runs.watchCancels(watch) })
	defer watching.Wait()
	defer unwatch()
	var started []*asynq.Server
	serve := func(server *asynq.Server, handler asynq.Handler) error {
		if err := server.Start(handler); err != nil {
			for _, s := range started {
				s.Shutdown()
			}
			return err
		}
		started = append(started, server)
		return nil
	}
	for _, server := range w.run {
		if err := serve(server, w.atRun.handler(ctx, w.runs.handler(ctx))); err != nil {
			return fmt.Errorf("serve runs: %w", err)
		}
	}
	if err := serve(w.deliver, w.atDeliver.handler(ctx, w.deliveries.handle)); err != nil {
		return fmt.Errorf("serve deliveries: %w", err)
	}
	<-ctx.Done() // from here on the crews begin nothing, whatever asynq still fetches
	w.logger.Info("nothing new is taken, what runs may finish", "grace", w.grace.String())
	timer := time.AfterFunc(w.grace, func() {
		w.logger.Warn("grace is over, cutting what still runs", "grace", w.grace.String())
		w.cut(errShutdown)
	})
	defer timer.Stop()
	var wg sync.WaitGroup
	for _, server := range started {
		wg.Go(func() {
			server.Stop() // waits for a fetch under way, which a Redis that hangs can hold up
			server.Shutdown()
		})
	}
	wg.Wait()
	// asynq forgets a handler whose task lease ran out while Redis was away; its
	// attempt goes on, and is waited for here. The cut bounds it.
	w.atRun.wait()
	w.atDeliver.wait()
	return nil
}

// Places returns how many runs this worker makes at once, and how many of these places are
// taken.
func (w *Worker) Places() (taken, places int) { return len(w.atRun.places), cap(w.atRun.places) }

// Waiting returns which jobs' turns have begun and wait for memory.
func (w *Worker) Waiting() Waiting { return w.runs.memory.whoWaits() }

// crew counts who is at work, whatever asynq thinks, and lets no more than its
// size work at once.
type crew struct {
	places chan struct{}
	busy   sync.WaitGroup
}

func newCrew(size int) *crew { return &crew{places: make(chan struct{}, size)} }

func (c *crew) wait() { c.busy.Wait() }

// roomy reports whether more than an eighth of the places is free.
func (c *crew) roomy() bool { return 8*len(c.places) < 7*cap(c.places) }

// handler hands tasks to a member of the crew until stop ends. What asynq fetches in
// that moment, or has fetched before and nobody has begun, goes back untouched, and
// another worker finds it in its next check of what is delayed.
func (c *crew) handler(stop context.Context, handle asynq.HandlerFunc) asynq.Handler {
	return asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		select {
		case c.places <- struct{}{}:
		case <-stop.Done():
			return &giveBack{why: errShutdown}
		case <-ctx.Done():
			return &giveBack{delay: time.Second, why: ctx.Err()}
		}
		defer func() { <-c.places }()
		if stop.Err() != nil {
			return &giveBack{why: errShutdown}
		}
		c.busy.Add(1)
		defer c.busy.Done()
		return handle(ctx, task)
	})
}

// giveBack hands a carrier back to the queue: to be tried again after the delay.
type giveBack struct {
	delay time.Duration
	why   error
}

func (g *giveBack) Error() string { return "given back: " + g.why.Error() }
func (g *giveBack) Unwrap() error { return g.why }

var (
	errEarly = errors.New("its time has not come")
	errNewer = errors.New("needs a newer release")
	// errClockStep is said of every slot as long as it lasts.
	errClockStep = errors.New("the clock of redis was set, and is not believed yet")
	errGone      = errors.New("what it carries is gone")
)

// maxGiveBack bounds the delay of a carrier: the wake list knows better when to
// look again, and a long delay would only hold the task's id.
const maxGiveBack = 10 * time.Second

func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	if g := (*giveBack)(nil); errors.As(err, &g) {
		return min(g.delay, maxGiveBack)
	}
	return maxGiveBack // a panic in the handler
}

// isFailure keeps the dashboard's failure count for defects: giving a carrier
// back is none.
func isFailure(err error) bool { return !isGivenBack(err) }

func isGivenBack(err error) bool {
	_, is := errors.AsType[*giveBack](err)
	return is
}

// settle answers asynq for a carrier whose begin said no.
func settle(v job.Verdict, delay time.Duration) error {
	switch v {
	case job.BeginEarly:
		return &giveBack{delay: delay, why: errEarly}
	case job.BeginClockStep:
		return &giveBack{delay: maxGiveBack, why: errClockStep}
	case job.BeginNewer:
		return &giveBack{delay: maxGiveBack, why: errNewer}
	case job.BeginGone, job.BeginMoved, job.BeginBehind:
		// Revoked, not completed: the id becomes free at once for the case that the
		// slot comes up again.
		return fmt.Errorf("%w: %w", errGone, asynq.RevokeTask)
	default:
		return nil // done, busy, parked, ended, dropped: nothing to do for this carrier
	}
}
