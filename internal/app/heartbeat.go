package app

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/gatewaycron/gatewaycron/handlers"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

// beatEvery is how often a role gives its sign of life, which lasts for three of them.
const beatEvery = 5 * time.Second

// heartbeat is the sign of life of one role of this process.
type heartbeat struct {
	app  *App
	self job.Process
	// says adds what the role tells of itself; may be nil.
	says func(*job.Process)

	mu      sync.Mutex
	refused error // why the last one was not written
}

// newHeartbeat makes the heartbeat of a role.
func (a *App) newHeartbeat(role string, says func(*job.Process)) *heartbeat {
	return &heartbeat{app: a, says: says, self: job.Process{Role: role, Host: a.host, PID: os.Getpid(), Version: a.opts.Version,
		StartedAt: job.ToMillis(time.Now())}}
}

// run gives signs until ctx ends, and takes the last one back.
func (h *heartbeat) run(ctx context.Context) error {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		h.beat(ctx)
		select {
		case <-ctx.Done():
			h.rest(context.WithoutCancel(ctx))
			return nil
		case <-ticker.C:
		}
	}
}

func (h *heartbeat) beat(ctx context.Context) {
	p := h.self
	p.At = job.ToMillis(time.Now())
	if h.says != nil {
		h.says(&p)
	}
	err := h.app.store.Beat(ctx, p, 3*beatEvery)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		h.app.logger.Debug("no sign of life given", "role", p.Role, "err", err)
	}
	h.mu.Lock()
	h.refused = err
	h.mu.Unlock()
}

// lastRefusal is why the last sign was not written; nil if it was.
func (h *heartbeat) lastRefusal() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.refused
}

// rest takes the sign of life back.
func (h *heartbeat) rest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := h.app.store.Rest(ctx, h.self); err != nil && !errors.Is(err, context.Canceled) {
		h.app.logger.Debug("sign of life not taken back, it runs out by itself", "role", h.self.Role, "err", err)
	}
}

// waitingNamed is how many jobs a heartbeat names whose turns wait for memory.
const waitingNamed = 5

// waiting tells what waits for memory in a worker.
func waiting(w handlers.Waiting, p *job.Process) {
	if p.WaitingCount = len(w.Jobs); p.WaitingCount > 0 {
		p.Waiting, p.WaitingSince = w.Jobs[:min(waitingNamed, p.WaitingCount)], job.ToMillis(w.Since)
	}
}

// places tells how a worker's places stand. Since when all are taken is since when each
// heartbeat has found them so: one that becomes free for a moment changes nothing.
func places(count func() (taken, places int)) func(*job.Process) {
	full := job.Millis(0)
	return func(p *job.Process) {
		p.Taken, p.Places = count()
		switch {
		case p.Taken < p.Places:
			full = 0
		case full == 0:
			full = p.At
		}
		p.FullSince = full
	}
}
