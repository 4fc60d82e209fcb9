package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/queue"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// carrier is a task to enqueue.
type carrier struct {
	tasks.Carrier
	slots []job.Slot // of a carrier of slots
	// again says that a carrier of this id was enqueued before and what it carries
	// is still not done: a task that keeps the id and is not on its way must make room.
	again bool
}

// enqueueWidth is how many enqueues, or decisions, are under way at once. The client
// sends those that are as few requests.
const enqueueWidth = 128

// enqueuer puts carriers into their queues.
type enqueuer struct {
	client    *asynq.Client
	inspector *asynq.Inspector
	queue     *queue.Queues
}

func newEnqueuer(rdb redis.UniversalClient) *enqueuer {
	return &enqueuer{client: asynq.NewClientFromRedisClient(rdb), inspector: asynq.NewInspectorFromRedisClient(rdb), queue: queue.New(rdb)}
}

// all enqueues carriers side by side and returns those that stand in their queue
// now, whoever put them there, with the number and the first error of the others.
func (e *enqueuer) all(ctx context.Context, carriers []carrier) ([]carrier, error) {
	var placed []carrier
	enqueue := func(c carrier) (func(), error) {
		err := e.one(ctx, c)
		return func() { placed = append(placed, c) }, err
	}
	// The first alone: with the first task of a queue asynq's client registers the queue,
	// and all at once would each do that, over a connection of its own.
	first := min(1, len(carriers))
	failed, err := sideBySide(carriers[:first], enqueue)
	more, moreErr := sideBySide(carriers[first:], enqueue)
	if err = cmp.Or(err, moreErr); err != nil {
		return placed, fmt.Errorf("enqueue %d of %d carriers: %w", failed+more, len(carriers), err)
	}
	return placed, nil
}

// sideBySide does something with each item, many at once, because each takes a
// round trip; what it returns is then done one at a time, if it did not fail. It
// returns how many failed, and the first error.
func sideBySide[T any](items []T, do func(T) (then func(), err error)) (failed int, first error) {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		slots = make(chan struct{}, enqueueWidth)
	)
	for _, item := range items {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			then, err := do(item)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
				first = cmp.Or(first, err)
				return
			}
			then()
		})
	}
	wg.Wait()
	return failed, first
}

// drop takes a slot's carrier out of its queue, because the slot will not run:
// otherwise a job whose workers are away would leave one there for each slot. One
// that is being worked on stays, and finds the cursor elsewhere.
func (e *enqueuer) drop(c tasks.Carrier) error {
	err := e.inspector.DeleteTask(c.Queue, c.ID)
	if err == nil || errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
		return nil
	}
	info, lookErr := e.inspector.GetTaskInfo(c.Queue, c.ID)
	if errors.Is(lookErr, asynq.ErrTaskNotFound) || (lookErr == nil && info.State == asynq.TaskStateActive) {
		return nil
	}
	return fmt.Errorf("delete task %s: %w", c.ID, err)
}

// flowing is how long the next task of a queue waits at most where workers keep up.
const flowing = 10 * time.Second

// flows reports whether workers take from a queue what is in it. Where they do not, a slot
// that is overtaken must be taken out again (see drop), which it cannot where it shares a
// carrier. Of a task that a worker gave up at its end it is not known since when it waits.
func (e *enqueuer) flows(queue string) bool {
	info, err := e.inspector.GetQueueInfo(queue)
	return err == nil && (info.Pending == 0 || info.Latency > 0 && info.Latency < flowing)
}

// one enqueues a carrier. An id conflict is success, unless what holds the id is not on
// its way: then it is removed and the carrier enqueued anew, so that no state of a task
// can stop a job.
func (e *enqueuer) one(ctx context.Context, c carrier) error {
	_, err := e.client.EnqueueContext(ctx, c.Task, c.Opts...)
	if !errors.Is(err, asynq.ErrTaskIDConflict) {
		return err
	}
	if !c.again {
		return nil
	}
	if free, err := e.queue.MakeRoom(ctx, c.Queue, c.ID); err != nil || !free {
		return err
	}
	return c.Enqueue(ctx, e.client)
}
