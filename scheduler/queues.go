package scheduler

import (
	"context"
	"errors"
	"log/slog"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/queue"
)

type keeperStore interface {
	CountRepairs(ctx context.Context, repaired []job.Repaired) error
}

const (
	// keepFinished is how many finished tasks of a queue are kept for the dashboard at
	// most, about 8 MB, and trimPage how many of the others are deleted at once.
	keepFinished = 10_000
	trimPage     = 5_000
	// unarchivePage is how many archived tasks go back at once.
	unarchivePage = 1_000
)

// queueKeeper keeps the queues going: asynq's own tools can pause or delete them and archive
// their tasks, and none of that is a way to stop a job.
type queueKeeper struct {
	store   keeperStore
	queue   *queue.Queues
	names   []string
	emitter func() bool
	logger  *slog.Logger

	known bool // the queues were listed before, by this scheduler
}

// run looks once, and undoes what it finds.
func (k *queueKeeper) run(ctx context.Context) error {
	if !k.emitter() {
		return nil
	}
	repaired, err := k.mend(ctx)
	report(k.logger, repaired)
	return errors.Join(err, k.store.CountRepairs(ctx, repaired))
}

func (k *queueKeeper) mend(ctx context.Context) (repaired []job.Repaired, err error) {
	missing, err := k.queue.List(ctx, k.names...)
	if err != nil {
		return nil, err
	}
	if k.known { // a new deployment's are missing too
		for _, name := range missing {
			repaired = append(repaired, job.Repaired{Damage: job.QueueUnlisted, ID: name})
		}
	}
	k.known = true
	states, err := k.queue.States(ctx, k.names...)
	if err != nil {
		return repaired, err
	}
	for _, s := range states {
		some, err := k.mendOne(ctx, s)
		if repaired = append(repaired, some...); err != nil {
			return repaired, err
		}
	}
	return repaired, nil
}

func (k *queueKeeper) mendOne(ctx context.Context, s job.QueueState) (repaired []job.Repaired, err error) {
	if s.Damaged {
		n, err := k.queue.Clean(ctx, s.Name)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			repaired = append(repaired, job.Repaired{Damage: job.QueueDamaged, ID: s.Name})
		}
	}
	if s.Paused {
		was, err := k.queue.Resume(ctx, s.Name)
		if err != nil {
			return repaired, err
		}
		if was {
			repaired = append(repaired, job.Repaired{Damage: job.QueuePaused, ID: s.Name})
		}
	}
	if s.Archived > 0 {
		ids, err := k.queue.Unarchive(ctx, s.Name, unarchivePage)
		if err != nil {
			return repaired, err
		}
		for _, id := range ids {
			repaired = append(repaired, job.Repaired{Damage: job.TaskArchived, ID: id})
		}
	}
	if s.Completed > keepFinished {
		if _, err := k.queue.Trim(ctx, s.Name, keepFinished, trimPage); err != nil {
			return repaired, err
		}
	}
	return repaired, nil
}
