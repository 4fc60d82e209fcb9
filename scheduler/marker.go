package scheduler

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/tasks"
)

type markStore interface {
	MarkEmitted(ctx context.Context, slots []job.Slot) error
}

// marker notes, in batches, the slots that asynq's manager enqueued. A mark that
// is lost is harmless: the slot then counts as overdue, is enqueued once more,
// and that conflicts.
type marker struct {
	store  markStore
	logger *slog.Logger
	slots  chan job.Slot
}

func newMarker(store markStore, logger *slog.Logger) *marker {
	return &marker{store: store, logger: logger, slots: make(chan job.Slot, 4*batch)}
}

// afterEnqueue is asynq's callback after each enqueue; on an error it is not told
// which task failed.
func (m *marker) afterEnqueue(info *asynq.TaskInfo, err error) {
	if err == nil {
		m.mark(asynq.NewTask(info.Type, info.Payload))
	}
}

// afterError is asynq's callback after a failed enqueue.
func (m *marker) afterError(task *asynq.Task, _ []asynq.Option, err error) {
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		m.mark(task) // somebody else was faster
		return
	}
	m.logger.Debug("slot not enqueued in time, it will be when it is overdue", "err", err)
}

func (m *marker) mark(task *asynq.Task) {
	p, err := tasks.ParseRun(task)
	if err != nil {
		m.logger.Error("armed task cannot be read", "err", err)
		return
	}
	select {
	case m.slots <- job.Slot{JobID: p.Job, At: job.Millis(p.Slot)}:
	default: // lost marks are harmless; a callback must not block
	}
}

// run writes the marks until ctx ends.
func (m *marker) run(ctx context.Context) {
	const gather = 50 * time.Millisecond
	for {
		var slots []job.Slot
		select {
		case <-ctx.Done():
			return
		case slot := <-m.slots:
			slots = append(slots, slot)
		}
		full := time.After(gather)
	collect:
		for len(slots) < batch {
			select {
			case slot := <-m.slots:
				slots = append(slots, slot)
			case <-full:
				break collect
			}
		}
		if err := m.store.MarkEmitted(ctx, slots); err != nil && ctx.Err() == nil {
			m.logger.Warn("emitted slots not marked", "count", len(slots), "err", err)
		}
	}
}
