package scheduler

import (
	"context"
	"log/slog"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/tasks"
)

type sweepStore interface {
	Look(ctx context.Context, limit int) ([]job.Carrier, []job.Unreadable, error)
}

// sweeper looks at what is unfinished and enqueues its carriers. It repairs a
// lost task, a crash between two writes and a dead worker alike.
type sweeper struct {
	store   sweepStore
	queues  tasks.Queues
	enqueue *enqueuer
	logger  *slog.Logger
}

// run looks once; it must be called every tick, because a gap between looks
// forgets what was seen of expired leases.
func (s *sweeper) run(ctx context.Context) error {
	for {
		found, bad, err := s.store.Look(ctx, batch)
		if err != nil {
			return err
		}
		for _, b := range bad {
			s.logger.Error("unfinished entry cannot be read", "entry", b.Entry, "err", b.Reason)
		}
		carriers := make([]carrier, 0, len(found))
		for _, f := range found {
			task, err := s.queues.Carry(string(f.Kind), f.ID, f.N)
			if err != nil {
				// One bad entry stops nobody else. The look has moved it on already.
				s.logger.Error("unfinished entry cannot be carried", "kind", string(f.Kind), "id", f.ID, "err", err)
				continue
			}
			carriers = append(carriers, carrier{Carrier: task, again: true})
		}
		if _, err := s.enqueue.all(ctx, carriers); err != nil {
			return err
		}
		if len(found)+len(bad) < batch {
			return nil
		}
	}
}
