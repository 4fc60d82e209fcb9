package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
	"github.com/gatewaycron/gatewaycron/internal/store"
	"github.com/gatewaycron/gatewaycron/scheduler"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// An hour in which nothing ran, for a thousand jobs of every ten minutes: each runs once
// for it at most, every slot of the hour is in exactly one record, and what is made up for
// does not go out at once. The next slots are so far away that the backlog is worked off
// before them on any machine.
func TestHourOfDowntime(t *testing.T) {
	t.Parallel()
	const jobs, hour, pace, period = 1000, 6, 100, 600_000
	w := newWorld(t, nil)
	w.start("worker")
	now, err := w.store.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last := job.ToMillis(now.Truncate(time.Second).Add(-12 * time.Second)) // no longer on time
	first := last - (hour-1)*period
	ids := w.crowd(jobs, func(s *job.Spec) { s.Schedule, s.EverySeconds, s.StartAt = "", period/1000, first })
	w.rewind(ids, first)

	rounds := &rounds{Store: w.store, until: last, seen: map[job.Slot]bool{}}
	stop := w.emit(rounds)
	w.until("every job is past the hour", 5*time.Minute, func() bool { return w.past(ids, last) })
	w.quiet(3 * time.Minute)
	stop()
	w.goOn(ids, last, nil)

	l := w.ledger()
	l.period = period
	late, none := 0, 0
	for _, id := range ids {
		l.check(id, first, 1)
		ran, missed := 0, 0
		for _, r := range w.history(id) {
			switch {
			case r.Slot > last:
			case r.Outcome == job.Succeeded:
				ran++
			case r.Outcome == job.Missed:
				missed += int(min(r.LastSlot, last)-r.Slot)/period + 1
			}
		}
		if ran > 1 || ran+missed != hour {
			t.Errorf("%s: of the %d slots of the hour %d ran and %d are missed", id, hour, ran, missed)
		}
		late += ran
		none += 1 - ran
	}
	l.nothingElse()
	t.Logf("%d jobs ran once for the hour, %d not at all; late slots by round of emission: %v", late, none, rounds.late)
	let := 0
	for n, count := range rounds.late {
		if count > pace {
			t.Errorf("round %d of emission let %d late slots go", n, count)
		}
		let += count
	}
	if let < late || late <= pace {
		t.Errorf("%d late slots were emitted and %d ran: the test proves nothing", let, late)
	}
}

// rewind puts jobs back to a slot, as if nothing had run since.
func (w *world) rewind(ids []string, slot job.Millis) {
	w.t.Helper()
	_, err := w.rdb.Pipelined(w.t.Context(), func(p redis.Pipeliner) error {
		for _, id := range ids {
			key := "{gateway-cron}:job:" + id
			p.HSet(w.t.Context(), key, "nextSlot", int64(slot))
			p.HDel(w.t.Context(), key, "lastSlot", "emitted")
			p.ZAdd(w.t.Context(), "{gateway-cron}:due", redis.Z{Score: float64(slot), Member: id})
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// past reports whether a slot of every job, or a later one, is on record.
func (w *world) past(ids []string, slot job.Millis) bool {
	w.t.Helper()
	for _, id := range ids {
		if j, err := w.store.Job(w.t.Context(), id); err != nil || j.LastSlot < slot {
			return false
		}
	}
	return true
}

// rounds is the store of a scheduler that counts, for each of its rounds of emission,
// the slots up to a given one that were enqueued for the first time: one that nobody has
// claimed for a minute is enqueued again, at no pace.
type rounds struct {
	*store.Store
	until job.Millis
	mu    sync.Mutex
	seen  map[job.Slot]bool
	late  []int
}

func (r *rounds) DueWindow(ctx context.Context, behind, horizon time.Duration, limit int) (job.DueWindow, error) {
	if horizon > time.Hour { // the look at the next slots begins a round
		r.mu.Lock()
		r.late = append(r.late, 0)
		r.mu.Unlock()
	}
	return r.Store.DueWindow(ctx, behind, horizon, limit)
}

func (r *rounds) MarkEmitted(ctx context.Context, slots []job.Slot) error {
	r.mu.Lock()
	for _, s := range slots {
		if s.At <= r.until && len(r.late) > 0 && !r.seen[s] {
			r.seen[s] = true
			r.late[len(r.late)-1]++
		}
	}
	r.mu.Unlock()
	return r.Store.MarkEmitted(ctx, slots)
}

// emit runs a scheduler within the test, over a store of the test's own.
func (w *world) emit(over scheduler.Store) (stop func()) {
	w.t.Helper()
	s, err := scheduler.New(scheduler.Options{Store: over, Redis: w.rdb, Queues: tasks.NewQueues("gateway-cron", 0),
		ID: "in the test", Logger: discard(), QueueLog: silent{}})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// silent is asynq's logger.
type silent struct{}

func (silent) Debug(...any) {}
func (silent) Info(...any)  {}
func (silent) Warn(...any)  {}
func (silent) Error(...any) {}
func (silent) Fatal(...any) {}

// The emitter killed a second before a minute: the other scheduler starts the slots of
// that minute, before the next ones are due. How soon is in the log: within 3 s, the lease
// of the dead one, on a machine that is not busy.
func TestEmitterKilledBeforeTheMinute(t *testing.T) {
	t.Parallel()
	const jobs = 20
	w := newWorld(t, nil)
	schedulers := []*process{w.start("scheduler"), w.start("scheduler")}
	w.start("worker")
	w.at(nextMinute(0).Add(2 * time.Second))
	ids := w.crowd(jobs)
	slot := time.Now().Truncate(time.Minute).Add(time.Minute)

	w.at(slot.Add(-2 * time.Second))
	holder, err := w.rdb.Get(t.Context(), "{gateway-cron}:emitter").Result()
	if err != nil {
		t.Fatal(err)
	}
	var left []*process
	var victim *process
	for _, s := range schedulers {
		if strings.Contains(s.Log.String(), holder) {
			victim = s
		} else {
			left = append(left, s)
		}
	}
	if victim == nil || len(left) != 1 {
		t.Fatalf("%d schedulers are not the emitter %s", len(left), holder)
	}
	w.at(slot.Add(-time.Second))
	victim.Kill()
	if killed, err := w.store.Now(t.Context()); err != nil || !killed.Before(slot) {
		t.Fatalf("killed at %s, not before %s: the test proves nothing (%v)", killed, slot, err)
	}

	w.goOn(ids, job.ToMillis(slot.Add(time.Minute)), left)
	l := w.ledger()
	var latest time.Duration
	for _, id := range ids {
		l.check(id, job.ToMillis(slot), 1)
		r := w.history(id)[0]
		if r.Outcome != job.Succeeded {
			t.Errorf("%s: %s(%s)", r.ID, r.Outcome, r.Reason)
		}
		latest = max(latest, r.StartedAt.Time().Sub(slot))
	}
	l.nothingElse()
	if latest > time.Minute {
		t.Errorf("a run began %s after its slot, when the next one was due", latest)
	}
	t.Logf("the last of %d runs began %s after its slot", jobs, latest)
}

// Redis stands still for 50 s while runs are in mid-call, and the ai-server answers
// meanwhile: leases run out, the queue takes the tasks for lost and brings them back,
// and still each call was the only one, and its reply is committed once.
func TestRedisFrozenInMidCall(t *testing.T) {
	t.Parallel()
	const jobs, frozen = 20, 50 * time.Second
	answer := make(chan struct{})
	w := newWorld(t, func(standin.ChatCall) standin.Answer {
		<-answer
		return standin.Answer{}
	})
	release := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(release)
	schedulers := []*process{w.start("scheduler"), w.start("scheduler")}
	w.start("worker")
	w.start("worker")
	w.at(nextMinute(0).Add(2 * time.Second))
	ids := w.crowd(jobs)
	first := job.ToMillis(time.Now().Truncate(time.Minute).Add(time.Minute))
	w.until("every call is under way", 3*time.Minute, func() bool { return w.ai.Count() == jobs })

	w.redis.Freeze()
	since := time.Now()
	w.at(since.Add(10 * time.Second))
	release()
	w.at(since.Add(frozen))
	w.redis.Thaw()

	w.goOn(ids, first+3*60_000, schedulers)
	// Nothing that asynq has brought back is left to be looked at.
	w.until("no task waits for another try", 5*time.Minute, func() bool {
		n, err := w.rdb.ZCard(t.Context(), "asynq:{gateway-cron-run}:retry").Result()
		return err == nil && n == 0
	})
	inspector := asynq.NewInspectorFromRedisClient(w.rdb)
	again := 0
	l := w.ledger()
	for n, id := range ids {
		l.check(id, first, 1)
		r := w.history(id)[0]
		task, err := inspector.GetTaskInfo("gateway-cron-run", r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if task.Retried > 0 {
			again++
		}
		if r.Outcome != job.Succeeded || len(r.Attempts) != 1 {
			t.Errorf("%s: %s after %d attempts", r.ID, r.Outcome, len(r.Attempts))
		}
		s, err := w.store.Session(t.Context(), spec(n).ResolveSession(id), 100)
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		for _, m := range s.Messages {
			if m.RunID == r.ID {
				said += m.Role + ": " + m.Text + "\n"
			}
		}
		if want := fmt.Sprintf("user: task %d\nassistant: Echo: task %d\n", n, n); said != want {
			t.Errorf("%s: committed is %q, want %q", r.ID, said, want)
		}
	}
	l.nothingElse()
	if again == 0 {
		t.Error("asynq has brought no task back: the test proves nothing")
	}
	t.Logf("asynq handled %d of %d tasks once more", again, jobs)
}
