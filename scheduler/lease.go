package scheduler

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

type leaseStore interface {
	HoldEmitter(ctx context.Context, holder string, ttl time.Duration) (bool, error)
	ReleaseEmitter(ctx context.Context, holder string) error
}

// leaseTTL is how long a dead emitter keeps the others from taking over.
const leaseTTL = 3 * time.Second

// lease picks one emitter. It only saves work: two emitters are harmless.
type lease struct {
	store  leaseStore
	holder string
	always bool
	logger *slog.Logger

	until atomic.Int64 // UnixNano up to which the lease is surely ours
}

// held reports whether this scheduler is the emitter.
func (l *lease) held() bool { return l.always || time.Now().UnixNano() < l.until.Load() }

// keep renews the lease until ctx ends, and then releases it. It has a goroutine
// of its own, because a long emission must not cost the lease.
func (l *lease) keep(ctx context.Context) {
	if l.always {
		return
	}
	ticker := time.NewTicker(leaseTTL / 3)
	defer ticker.Stop()
	was := false
	for {
		l.ask(ctx)
		if now := l.held(); now != was {
			was = now
			l.logger.Info("emitter lease", "held", now, "scheduler_id", l.holder)
		}
		select {
		case <-ctx.Done():
			l.release(context.WithoutCancel(ctx))
			return
		case <-ticker.C:
		}
	}
}

// ask takes or renews the lease, if nobody else has it. An error is left to the
// steps, which meet the same Redis and report it.
func (l *lease) ask(ctx context.Context) {
	if l.always {
		return
	}
	asked := time.Now()
	held, err := l.store.HoldEmitter(ctx, l.holder, leaseTTL)
	if err == nil && held {
		l.until.Store(asked.Add(leaseTTL).UnixNano())
	} else if err == nil {
		l.until.Store(0)
	}
}

// release lets another scheduler take over at once.
func (l *lease) release(ctx context.Context) {
	l.until.Store(0)
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := l.store.ReleaseEmitter(ctx, l.holder); err != nil {
		l.logger.Warn("emitter lease not released, it runs out by itself", "err", err)
	}
}
