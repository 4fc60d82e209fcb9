package handlers

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/executor"
	"github.com/gatewaycron/gatewaycron/internal/fault"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/outcome"
	"github.com/gatewaycron/gatewaycron/internal/queue"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// RunStore is what a run needs of the records.
type RunStore interface {
	Claim(ctx context.Context, c job.Claim) (job.Begun, error)
	Begin(ctx context.Context, run, token, worker string) (job.Begun, error)
	Renew(ctx context.Context, run string, epoch int64) error
	Commit(ctx context.Context, c job.Commit) ([]job.Carrier, error)
	Fail(ctx context.Context, f job.Failure) (retry bool, carriers []job.Carrier, err error)
	// Cancelled tells the ids of runs as they are cancelled, until ctx ends; "" says
	// that some may have gone untold before.
	Cancelled(ctx context.Context, tell func(run string))
}

const (
	// askTimeout bounds one question to Redis.
	askTimeout = 5 * time.Second
	// beginWithin bounds the wait for the answer to a claim or a begin: what was begun
	// by then has lost its lease.
	beginWithin = 15 * time.Second
	// staleTries bounds how often a claim is computed again for a job that is
	// edited meanwhile.
	staleTries = 5
)

// runHandler handles cron:run, and cron:batch slot by slot.
type runHandler struct {
	base      context.Context // ends when the worker cuts what runs
	store     RunStore
	executor  executor.Executor
	schedules *schedule.Cache
	report    func(ctx context.Context, task *asynq.Task, results ...result)
	kick      func(ctx context.Context, carriers []job.Carrier)
	handBack  func(ctx context.Context, slots []tasks.Run) error
	roomy     func() bool // a good part of the places is free
	mayBegin  func() error
	worker    string
	memory    *memory
	logger    *slog.Logger

	mu      sync.Mutex
	watched map[*watched]struct{} // what begins here, or has begun
}

func newRunHandler(base context.Context, o Options, client *asynq.Client, roomy func() bool) *runHandler {
	return &runHandler{
		base: base, store: o.Runs, executor: o.Executor, worker: o.ID, logger: o.Logger,
		schedules: schedule.NewCache(4096),
		report:    reporter(o.Queues.Run(), queue.New(o.Redis), o.Logger),
		kick:      kicker(o.Queues, client, o.Logger),
		handBack:  handBack(o.Queues, client),
		roomy:     roomy,
		mayBegin:  o.MayBegin,
		memory:    newMemory(cmp.Or(o.MemoryBytes, DefaultMemoryBytes)),
		watched:   map[*watched]struct{}{},
	}
}

// kicker enqueues carriers at once, as a shortcut: what fails here is found by the
// next look.
func kicker(q tasks.Queues, client *asynq.Client, logger *slog.Logger) func(context.Context, []job.Carrier) {
	return func(ctx context.Context, carriers []job.Carrier) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		for _, c := range carriers {
			carrier, err := q.Carry(string(c.Kind), c.ID, c.N)
			if err == nil {
				err = carrier.Enqueue(ctx, client)
			}
			if err != nil {
				logger.Warn("carrier not enqueued at once, the next look will", "kind", string(c.Kind), "id", c.ID, "err", err)
				return
			}
		}
	}
}

func (h *runHandler) handle(ctx context.Context, task *asynq.Task) error {
	p, err := tasks.ParseRun(task)
	if err != nil {
		h.logger.Error("run task cannot be read", "err", err)
		return fmt.Errorf("%w: %w", errGone, asynq.RevokeTask)
	}
	if p.V > tasks.Version {
		return &giveBack{delay: maxGiveBack, why: errNewer}
	}
	r, err := h.carried(ctx, p)
	if err == nil {
		h.report(ctx, task, r)
	}
	return err
}

// carried begins what a carrier is about, and makes the attempt. The error is asynq's.
func (h *runHandler) carried(ctx context.Context, p tasks.Run) (result, error) {
	run := p.Run
	if run == "" {
		run = job.RunID(p.Job, job.Millis(p.Slot))
	}
	w, forget := h.watch(run)
	defer forget()
	// Asked before the claim, so that the slot stays where it is: it runs late, or is
	// missed, as its job wants it.
	if h.mayBegin != nil {
		if err := h.mayBegin(); err != nil {
			return result{}, &giveBack{delay: maxGiveBack, why: err}
		}
	}
	begun, asked, err := h.begin(ctx, p)
	if err != nil {
		return result{}, &giveBack{delay: time.Second, why: err}
	}
	if begun.Verdict != job.BeginOK {
		h.logger.Debug("carrier has nothing to do", "job_id", p.Job, "run_id", p.Run, "verdict", string(begun.Verdict))
		return result{Run: run, Outcome: nothingToDo[begun.Verdict]}, settle(begun.Verdict, begun.Delay)
	}
	fault.Point("after_claim")
	r := h.attempt(w, begun, asked)
	r.Run, r.Attempt = begun.Run.ID, begun.Attempt
	return r, nil
}

// begin claims the slot, or begins the existing run. It returns when the question
// was sent, which is how old the lease is.
func (h *runHandler) begin(ctx context.Context, p tasks.Run) (begun job.Begun, asked time.Time, err error) {
	// asynq's context ends when the carrier is somebody else's to work on, or when somebody
	// cancels the task by a tool of asynq's. Then nothing is asked again, but what was asked
	// is answered: an attempt may have begun.
	ctx, cancel := context.WithTimeout(ctx, beginWithin)
	defer cancel()
	defer context.AfterFunc(h.base, cancel)()
	token := rand.Text()
	// An answer that is lost may have begun an attempt: only the same token gets it
	// again.
	ask := func(question func(context.Context) error) error {
		return insist(ctx, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
			defer cancel()
			defer context.AfterFunc(h.base, cancel)()
			asked = time.Now()
			return question(ctx)
		})
	}
	if p.Run != "" {
		err = ask(func(ctx context.Context) (err error) {
			begun, err = h.store.Begin(ctx, p.Run, token, h.worker)
			return err
		})
		return begun, asked, err
	}
	claim := job.Claim{JobID: p.Job, UID: p.UID, Slot: job.Millis(p.Slot), Revision: p.Revision, Token: token, Worker: h.worker}
	timing := p.Timing()
	for range staleTries {
		timetable, err := h.schedules.Timetable(timing)
		if err != nil {
			return job.Begun{}, asked, fmt.Errorf("schedule of job %s: %w", p.Job, err)
		}
		claim.Next, claim.NextDue = 0, 0
		// From the claimed slot, never from now: nothing in between is lost.
		if next, ok := timetable.Next(claim.Slot.Time()); ok {
			claim.Next, claim.NextDue = job.ToMillis(next), job.ToMillis(timetable.Due(next))
		}
		err = ask(func(ctx context.Context) (err error) {
			begun, err = h.store.Claim(ctx, claim)
			return err
		})
		if err != nil || begun.Verdict != job.BeginStale {
			return begun, asked, err
		}
		claim.Revision, timing = begun.Revision, begun.Timing
	}
	return job.Begun{}, asked, fmt.Errorf("claim %s: %w", p.Job, job.ErrConflict)
}

// attempt makes one attempt, writes down how it ended, and returns that.
func (h *runHandler) attempt(w *watched, b job.Begun, asked time.Time) result {
	log := h.logger.With("job_id", b.Run.JobID, "run_id", b.Run.ID, "attempt", b.Attempt)
	about := []any{"trigger", string(b.Run.Trigger)}
	if b.Run.Slot != 0 {
		about = append(about, "slot", b.Run.Slot.Time())
	}
	log.Info("attempt started", about...)

	ctx, fence := context.WithCancelCause(h.base)
	defer fence(nil)
	lease := holdLease(asked, func(ctx context.Context) error { return h.store.Renew(ctx, b.Run.ID, b.Epoch) }, fence)
	defer lease.release()
	if h.leased(w, lease) {
		_ = lease.confirm(ctx, freshFor) // fences ctx; an error is the next renewal's to deal with
	}

	held := h.memory.open(b.Job.ResolveAgent())
	defer held.release()
	started := time.Now()
	reply, err := h.turn(ctx, b, lease, held)
	ended := job.Millis(int64(b.Now) + time.Since(asked).Milliseconds())

	// What is known now is written whatever ctx says, for as long as it takes; a
	// worker that is being cut has only a moment.
	write, cancel := lastWords(h.base)
	defer cancel()
	switch {
	case err == nil:
		return h.commit(write, log, b, reply, ended, time.Since(started))
	case isFenced(err) || isFenced(context.Cause(ctx)):
		log.Warn("attempt fenced, its result is dropped")
		return result{Outcome: overtaken}
	default:
		return h.fail(write, log, b, classify(err, context.Cause(ctx), b))
	}
}

// errPanic is a defect of ours in the middle of an attempt.
var errPanic = errors.New("internal error")

// turn makes the turn of an attempt.
func (h *runHandler) turn(ctx context.Context, b job.Begun, lease *lease, held *holding) (reply string, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.logger.Error("attempt panicked", "run_id", b.Run.ID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	fault.Point("before_call")
	reply, err = h.executor.Run(ctx, executor.Turn{Begun: b, Before: lease.fresh, Memory: turnMemory{h, held, b.Run}})
	fault.Point("after_call")
	return reply, err
}

// turnMemory is the memory of a turn, whose waiting is logged. The lease is renewed meanwhile.
type turnMemory struct {
	h    *runHandler
	held *holding
	run  job.Run
}

// Wait implements executor.Memory.
func (m turnMemory) Wait(ctx context.Context, bytes int64) error {
	log := m.h.logger.With("job_id", m.run.JobID, "run_id", m.run.ID, "bytes", bytes)
	log.Debug("turn asks for memory")
	came := time.Now()
	if err := m.held.wait(ctx, m.run.JobID, bytes); err != nil {
		return err
	}
	if waited := time.Since(came); waited > time.Second {
		log.Warn("turn has waited for memory", "waited_ms", waited.Milliseconds())
	}
	return nil
}

// Set implements executor.Memory.
func (m turnMemory) Set(bytes int64) { m.held.set(bytes) }

func (h *runHandler) commit(ctx context.Context, log *slog.Logger, b job.Begun, reply string, ended job.Millis, took time.Duration) result {
	c := job.Commit{
		RunID: b.Run.ID, Epoch: b.Epoch, Token: rand.Text(), Reply: reply,
		Messages: [2]job.Message{
			{Role: "user", Text: b.Job.Task, Timestamp: b.Now, RunID: b.Run.ID},
			{Role: "assistant", Text: reply, Timestamp: ended, RunID: b.Run.ID},
		},
		Empty: job.Blank(reply), Delivery: job.DeliveryPending,
		Target: job.Target{Channel: b.Job.Channel, ChatID: b.Job.ChatID, PeerID: b.Job.PeerID,
			ThreadID: b.Job.ThreadID, IsGroup: b.Job.IsGroup},
	}
	switch _, tell := job.Spoken(reply); {
	case b.Job.Channel == "", b.Job.Deliver == job.DeliverOnFailure, b.Job.Deliver == job.DeliverNever:
		c.Delivery = job.DeliveryNotRequested
	case !tell:
		c.Delivery = job.DeliverySuppressed
	}
	fault.Point("before_commit")
	var carriers []job.Carrier
	err := insist(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		var err error
		carriers, err = h.store.Commit(ctx, c)
		return err
	})
	fault.Point("after_commit")
	switch {
	case isFenced(err):
		log.Error("reply not committed", "err", err)
		return result{Outcome: overtaken}
	case err != nil && ctx.Err() != nil:
		log.Error("reply not committed", "err", err)
		return result{Outcome: notWritten, failed: true}
	case err != nil:
		// Redis refuses this very write, and would refuse the next attempt's, which
		// would be paid for again.
		log.Error("reply cannot be committed", "err", err)
		return h.fail(ctx, log, b, job.Failure{Result: job.ResultFailed, Cause: job.CauseInternal, Retry: job.RetryNever,
			Outcome: job.Failed, Message: "the reply could not be stored; see the log of the worker"})
	}
	log.Info("run succeeded", "duration_ms", took.Milliseconds(), "delivery", string(c.Delivery), "empty", c.Empty)
	h.kick(ctx, carriers)
	return result{Outcome: string(job.Succeeded)}
}

func (h *runHandler) fail(ctx context.Context, log *slog.Logger, b job.Begun, f job.Failure) result {
	f.RunID, f.Epoch = b.Run.ID, b.Epoch
	var (
		retry    bool
		carriers []job.Carrier
	)
	err := insist(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		var err error
		retry, carriers, err = h.store.Fail(ctx, f)
		return err
	})
	switch {
	case isFenced(err):
		log.Warn("failed attempt is no longer ours", "result", string(f.Result))
		return result{Outcome: overtaken}
	case err != nil:
		log.Error("failed attempt not written down, its lease will run out", "result", string(f.Result), "err", err)
		return result{Outcome: notWritten, failed: true}
	}
	log.Warn("attempt failed", "result", string(f.Result), "cause", string(f.Cause), "err", f.Message, "retry", retry)
	h.kick(ctx, carriers)
	r := result{Outcome: string(f.Outcome), Cause: string(f.Cause), failed: true}
	if retry {
		r.Outcome = string(f.Result) + ", will be tried again"
	}
	return r
}

// classify says what a failed attempt was and what may follow. cause is why its
// context ended, nil if it did not.
func classify(err, cause error, b job.Begun) job.Failure {
	f := job.Failure{
		Result: job.ResultFailed, Cause: job.CauseAIError, Message: err.Error(), Outcome: job.Failed,
		Retry: job.RetryCounted, Delay: b.Job.RetryDelay(b.Retries + 1),
	}
	stopped := errors.Is(cause, errShutdown)
	var e *outcome.Error
	typed := errors.As(err, &e)
	switch {
	case errors.Is(err, errPanic):
		f.Cause, f.Retry = job.CauseInternal, job.RetryNever
	case stopped && (!typed || e.Kind == outcome.Retryable):
		// Not called, or refused in that very moment: no retry is used up.
		f.Cause, f.Retry, f.Delay = job.CauseShutdown, job.RetryFree, 0
	case errors.Is(err, errNotConfirmed):
		f.Cause, f.Retry, f.Delay = job.CauseInternal, job.RetryFree, time.Second
	case !typed:
		f.Cause = job.CauseInternal // our own records could not be read
	case e.Kind == outcome.Deadline:
		// The turn may still be going on over there: trying again could do
		// everything twice.
		f.Result, f.Cause, f.Outcome, f.Retry = job.ResultTimedOut, job.CauseDeadline, job.TimedOut, job.RetryNever
	case e.Kind == outcome.Ambiguous && stopped:
		f.Result, f.Cause = job.ResultAmbiguous, job.CauseShutdown
		f.Delay = 0 // the delay is for a server in trouble; here it was us
	case e.Kind == outcome.Ambiguous:
		f.Result, f.Cause = job.ResultAmbiguous, job.CauseBroken
	case e.Kind == outcome.RateLimited:
		f.Cause, f.Retry, f.Delay = job.CauseRateLimited, job.RetryFree, e.RetryAfter
		if f.Delay <= 0 { // asked to wait, but not how long: longer each time
			f.Delay = b.Job.RetryDelay(b.Attempt)
		}
	case e.Kind == outcome.Permanent:
		f.Retry, f.Permanent = job.RetryNever, true
	}
	return f
}
