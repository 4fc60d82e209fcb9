// Package scheduler turns the due index into tasks. It owns the windowed
// asynq.PeriodicTaskConfigProvider, the emission of what is already due, the
// misfire decision, the emitter lease, the sweeper of what is unfinished, and the
// repair of what is damaged.
//
// Any number of schedulers may run on one Redis, and none is needed for
// correctness: a slot becomes a run only by the claim of a worker. The emitter
// lease picks the one that does the ordinary work; the others emit what is
// overdue, so a dead emitter costs a second or two.
//
// It must not import the store, the handlers, the api, or web.
package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/fault"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// Store is what the scheduler needs of the records.
type Store interface {
	windowStore
	sweepStore
	leaseStore
	repairStore
	keeperStore
	cursorStore
}

// Options are the dependencies of a Scheduler.
type Options struct {
	Store  Store
	Redis  redis.UniversalClient // for the queue; stays the caller's to close
	Queues tasks.Queues
	ID     string // names this scheduler in the emitter lease; must be unique
	Logger *slog.Logger
	// QueueLog receives what asynq has to say.
	QueueLog asynq.Logger
	// WithoutLease makes every scheduler do the emitter's work, to show that
	// correctness does not rest on the lease.
	WithoutLease bool
}

const (
	tick = job.SweepEvery
	// scanEvery is how often the emitter looks for damage.
	scanEvery = time.Minute
	// keepEvery is how often the emitter looks whether something of asynq's holds the
	// queues up: soon enough for a slot that must not be a minute late.
	keepEvery = 10 * time.Second
	// syncEvery is how often asynq's manager asks for the armed entries. Slots
	// that come nearer than that unarmed are emitted directly when due.
	syncEvery = time.Second
	// shutdownWithin bounds the manager's shutdown, which waits for a sync.
	shutdownWithin = 5 * time.Second
)

// Scheduler emits due slots and sweeps what is unfinished.
type Scheduler struct {
	logger *slog.Logger
	lease  *lease
	window *window
	sweep  *sweeper
	repair *repairer
	keep   *queueKeeper
	check  *checker
	marks  *marker
	mgr    *asynq.PeriodicTaskManager
}

// New wires a scheduler; Run starts it.
func New(o Options) (*Scheduler, error) {
	enqueue := newEnqueuer(o.Redis)
	s := &Scheduler{
		logger: o.Logger,
		lease:  &lease{store: o.Store, holder: o.ID, always: o.WithoutLease, logger: o.Logger},
		marks:  newMarker(o.Store, o.Logger),
		sweep:  &sweeper{store: o.Store, queues: o.Queues, enqueue: enqueue, logger: o.Logger},
	}
	s.repair = &repairer{store: o.Store, emitter: s.lease.held, logger: o.Logger, cursors: map[job.Index]string{}}
	s.keep = &queueKeeper{store: o.Store, queue: enqueue.queue, names: []string{o.Queues.Run(), o.Queues.Deliver()},
		emitter: s.lease.held, logger: o.Logger}
	s.check = newChecker(o.Store, s.lease.held, func(repaired []job.Repaired) { report(o.Logger, repaired) }, o.Logger)
	s.repair.scanned = s.check.again
	s.window = &window{
		store: o.Store, queues: o.Queues, enqueue: enqueue, emitter: s.lease.held,
		schedules: schedule.NewCache(8192), logger: o.Logger, armed: map[string]armed{},
		doubt: s.check.doubtful, righted: s.check.again,
	}
	// The one local clock that rings; nil means UTC.
	var zone *time.Location
	if skew := fault.Skew(); skew != 0 {
		zone = time.FixedZone("", int(skew.Seconds()))
	}
	mgr, err := asynq.NewPeriodicTaskManager(asynq.PeriodicTaskManagerOpts{
		PeriodicTaskConfigProvider: s.window,
		RedisUniversalClient:       withoutHistory{o.Redis},
		SyncInterval:               syncEvery,
		SchedulerOpts: &asynq.SchedulerOpts{
			Location: zone,
			// The heartbeat is what the dashboard shows of the armed slots.
			HeartbeatInterval: 2 * time.Second,
			Logger:            o.QueueLog,
			LogLevel:          asynq.WarnLevel, // asynq says two INFO lines per entry
			PostEnqueueFunc:   s.marks.afterEnqueue,
			// Deprecated, but the only callback that is told which task a failed
			// enqueue was about: an id conflict means the slot is emitted already.
			EnqueueErrorHandler: s.marks.afterError, //nolint:staticcheck // see above
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make the periodic task manager: %w", err)
	}
	s.mgr = mgr
	return s, nil
}

// Leads reports whether this scheduler does the ordinary work.
func (s *Scheduler) Leads() bool { return s.lease.held() }

// Run emits and sweeps until ctx ends, and then gives the lease up. It survives
// any outage of Redis.
func (s *Scheduler) Run(ctx context.Context) error {
	if err := s.mgr.Start(); err != nil {
		return fmt.Errorf("start the periodic task manager: %w", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.lease.keep(ctx) })
	wg.Go(func() { s.marks.run(ctx) })
	wg.Go(func() {
		s.lease.ask(ctx)     // or the first look would be that of a scheduler which is not the emitter
		_ = s.check.run(ctx) // or it would look in doubt about every cursor; what fails is said below
		wg.Go(func() { s.every(ctx, "check", after(tick), s.check.run) })
		s.every(ctx, "emit", s.window.clock.nextSecond, s.window.refresh)
	})
	wg.Go(func() { s.every(ctx, "sweep", after(tick), s.sweep.run) })
	wg.Go(func() { s.every(ctx, "repair", after(scanEvery), s.repair.run) })
	wg.Go(func() { s.every(ctx, "queues", after(keepEvery), s.keep.run) })
	<-ctx.Done()
	wg.Wait()

	// The lease is released first (keep does it): another scheduler goes on while
	// the manager takes its time.
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.mgr.Shutdown()
	}()
	select {
	case <-done:
	case <-time.After(shutdownWithin):
		s.logger.Warn("the periodic task manager did not stop in time")
	}
	return nil
}

// after is the time of a step that comes a period after the last.
func after(period time.Duration) func(time.Time) time.Time {
	return func(last time.Time) time.Time { return last.Add(period) }
}

// every calls step at once and then whenever next says, never twice at once. next is
// told when the last step was to begin; a time that has passed means now. A failing
// step is logged when it begins to fail and when it works again, not at each try.
func (s *Scheduler) every(ctx context.Context, name string, next func(last time.Time) time.Time, step func(context.Context) error) {
	failing := false
	for at := time.Now(); ; {
		err := step(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			s.logger.Error("scheduler step fails", "step", name, "err", err)
		case err == nil && failing:
			s.logger.Info("scheduler step works again", "step", name)
		}
		failing = err != nil
		now := time.Now()
		if at = next(at); at.Before(now) {
			at = now
		}
		timer := time.NewTimer(at.Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}
