package scheduler

import (
	"context"
	"log/slog"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/tasks"
)

type sweepStore interface {
	quarantineStore
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
		looked := len(found) + len(bad)
		carriers := make([]carrier, 0, len(found))
		for _, f := range found {
			task, err := s.queues.Carry(string(f.Kind), f.ID, f.N)
			if err != nil {
				bad = append(bad, job.Unreadable{Entry: string(f.Kind) + ":" + f.ID, Reason: err.Error()})
				continue
			}
			carriers = append(carriers, carrier{Carrier: task, again: true})
		}
		if _, err := s.enqueue.all(ctx, carriers); err != nil {
			return err
		}
		// One bad entry stops nobody else. The look has moved it on already.
		if err := quarantine(ctx, s.store, s.logger, bad); err != nil {
			return err
		}
		if looked < batch {
			return nil
		}
	}
}
