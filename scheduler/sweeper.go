package scheduler

import (
	"context"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/tasks"
)

type sweepStore interface {
	Look(ctx context.Context, limit int) ([]job.Carrier, error)
}

// sweeper looks at what is unfinished and enqueues its carriers. It repairs a
// lost task, a crash between two writes and a dead worker alike.
type sweeper struct {
	store   sweepStore
	queues  tasks.Queues
	enqueue *enqueuer
}

// run looks once; it must be called every tick, because a gap between looks
// forgets what was seen of expired leases.
func (s *sweeper) run(ctx context.Context) error {
	for {
		found, err := s.store.Look(ctx, batch)
		if err != nil {
			return err
		}
		carriers := make([]carrier, 0, len(found))
		for _, f := range found {
			task, err := s.queues.Carry(string(f.Kind), f.ID, f.N)
			if err != nil {
				return err
			}
			carriers = append(carriers, carrier{Carrier: task, again: true})
		}
		if _, err := s.enqueue.all(ctx, carriers); err != nil {
			return err
		}
		if len(found) < batch {
			return nil
		}
	}
}
