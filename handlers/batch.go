package handlers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/tasks"
)

// A batch holds one place, as a carrier of one slot does, so its slots run one after the
// other: where turns are short that is what costs least. Where they are not, the slots
// that wait behind one must not: they go back to the queue, each by itself, and whoever
// has a place takes them.

const (
	// waitEvery is how often a batch is looked at, and how long its slots wait at least.
	waitEvery = 100 * time.Millisecond
	// waitMost is how long they wait for a turn when there is little room for them
	// anyway: on a busy worker each turn takes a while.
	waitMost = 500 * time.Millisecond
)

// handler returns the handler of the queue: of runs, and of batches of them, which take up
// no slot after the stop.
func (h *runHandler) handler(stop context.Context) asynq.HandlerFunc {
	return func(ctx context.Context, task *asynq.Task) error {
		if task.Type() == tasks.TypeBatch {
			return h.handleBatch(ctx, stop, task)
		}
		return h.handle(ctx, task)
	}
}

func (h *runHandler) handleBatch(ctx, stop context.Context, task *asynq.Task) error {
	p, err := tasks.ParseBatch(task)
	if err != nil {
		h.logger.Error("batch task cannot be read", "err", err)
		return fmt.Errorf("%w: %w", errGone, asynq.RevokeTask)
	}
	if p.V > tasks.Version {
		return &giveBack{delay: maxGiveBack, why: errNewer}
	}
	b := &batch{rest: p.Slots}
	results := h.workThrough(ctx, stop, b)
	if b.isEmpty() {
		h.report(ctx, task, results...)
		return nil
	}
	last := context.WithoutCancel(ctx)
	if stop.Err() != nil { // it has been tried at the stop, and the process is about to end
		var cancel context.CancelFunc
		last, cancel = context.WithTimeout(last, time.Second)
		defer cancel()
	}
	if err := h.handBack(last, b.rest); err != nil {
		return &giveBack{delay: time.Second, why: err} // all of it: what has run says so when it is claimed again
	}
	h.report(ctx, task, results...)
	return nil
}

// workThrough begins one slot after the other until none is left, or none may begin here,
// and returns what became of those that did.
func (h *runHandler) workThrough(ctx, stop context.Context, b *batch) (results []result) {
	defer h.watchBatch(ctx, stop, b)()
	var again []tasks.Run
	for slot, ok := b.next(); ok; slot, ok = b.next() {
		if stop.Err() != nil || ctx.Err() != nil {
			again = append(again, slot)
			break
		}
		r, err := h.carried(ctx, slot)
		switch {
		case isGivenBack(err):
			again = append(again, slot) // a carrier of its own is given back for as long as it takes
		case err == nil:
			results = append(results, r)
		}
	}
	b.put(again)
	return results
}

// watchBatch hands back what waits too long, or is not begun at the stop, until it is told
// to end, or nothing waits.
func (h *runHandler) watchBatch(ctx, stop context.Context, b *batch) (end func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(waitEvery)
		defer ticker.Stop()
		stopped := stop.Done()
		for !b.isEmpty() {
			select {
			case <-done:
				return
			case <-stopped:
				stopped = nil // if it fails now, again with the next tick
			case <-ticker.C:
				if waits := b.waits(); stop.Err() == nil && waits < waitMost && (waits < waitEvery || !h.roomy()) {
					continue
				}
			}
			if slots := b.takeAll(); h.handBack(context.WithoutCancel(ctx), slots) != nil {
				b.put(slots)
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// handBack makes each slot a carrier of its own.
func handBack(q tasks.Queues, client *asynq.Client) func(context.Context, []tasks.Run) error {
	return func(ctx context.Context, slots []tasks.Run) error {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		var (
			wg   sync.WaitGroup
			errs = make([]error, len(slots))
		)
		for i, slot := range slots {
			wg.Go(func() { errs[i] = q.Slot(slot).Enqueue(ctx, client) })
		}
		wg.Wait()
		return errors.Join(errs...)
	}
}

// batch is what is left of a batch that is worked on.
type batch struct {
	mu    sync.Mutex
	rest  []tasks.Run // not begun
	begun time.Time   // when the slot before them was
}

// next takes the next slot.
func (b *batch) next() (tasks.Run, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.rest) == 0 {
		return tasks.Run{}, false
	}
	slot := b.rest[0]
	b.rest, b.begun = b.rest[1:], time.Now()
	return slot, true
}

// takeAll takes all that has not begun.
func (b *batch) takeAll() []tasks.Run {
	b.mu.Lock()
	defer b.mu.Unlock()
	slots := b.rest
	b.rest = nil
	return slots
}

// put puts slots back.
func (b *batch) put(slots []tasks.Run) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rest = append(b.rest, slots...)
}

func (b *batch) isEmpty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.rest) == 0
}

// waits is for how long the next slot has been waiting for the one before it.
func (b *batch) waits() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Since(b.begun)
}
