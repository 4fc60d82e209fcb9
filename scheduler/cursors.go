package scheduler

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

type cursorStore interface {
	Clock(ctx context.Context) (job.Clock, error)
	StartCheck(ctx context.Context, why string) error
	CheckCursors(ctx context.Context, check job.CursorCheck, size int, rules string) (job.CursorCheck, []job.Repaired, error)
}

const (
	// cursorPages of cursorPage cursors are checked in a tick: 2,000 a second, so that a
	// hundred thousand take a minute and nobody else waits.
	cursorPage  = 250
	cursorPages = 8
)

// checker has all cursors checked after Redis's clock was set, and where this process reads
// other zone rules than those that the cursors follow. How far it is stands in the store,
// so that the next leader goes on there.
type checker struct {
	store  cursorStore
	leads  func() bool
	rules  func() string // of the zones, as this process reads them
	report func([]job.Repaired)
	logger *slog.Logger

	check   job.CursorCheck
	known   bool        // check is as the store has it
	pending atomic.Bool // or not known
	stale   atomic.Bool // another process may have noted what this one has not seen
}

func newChecker(store cursorStore, leads func() bool, report func([]job.Repaired), logger *slog.Logger) *checker {
	c := &checker{store: store, leads: leads, rules: sync.OnceValue(schedule.ZoneRules), report: report, logger: logger}
	c.pending.Store(true)
	return c
}

// doubtful reports whether a cursor may stand at no slot. Who leads decides that alone: of two
// that read different rules, the other one would put back what this one has put right.
func (c *checker) doubtful() bool { return c.leads() && c.pending.Load() }

// again has the store asked once more.
func (c *checker) again() { c.stale.Store(true) }

// run does a tick's work, if there is any.
func (c *checker) run(ctx context.Context) error {
	if !c.leads() {
		c.known = false
		c.pending.Store(true)
		return nil
	}
	if c.known && !c.pending.Load() && !c.stale.Swap(false) {
		return nil
	}
	clock, err := c.store.Clock(ctx)
	if err != nil || clock.Held.By != 0 {
		return err
	}
	c.check = clock.Check
	if !c.known && c.check.Rules != c.rules() {
		if err := c.other(ctx); err != nil {
			return err
		}
	}
	c.known = true
	c.pending.Store(c.check.Pending())
	if !c.check.Pending() {
		return nil
	}
	for range cursorPages {
		check, moved, err := c.store.CheckCursors(ctx, c.check, cursorPage, c.rules())
		c.report(moved)
		if err != nil {
			return err
		}
		if c.check = check; !check.Pending() {
			c.logger.Warn("all cursors are checked", "why", check.Why, "checked", check.Checked, "put_right", check.Moved)
			c.pending.Store(false)
			return nil
		}
	}
	return nil
}

// other begins the check for other zone rules. One for the clock goes on as that, and
// follows them as well.
func (c *checker) other(ctx context.Context) error {
	if c.check.Pending() && c.check.Page == "0" {
		return nil
	}
	c.logger.Warn("the zone rules are not those that the cursors follow, all are checked", "rules", c.rules(), "before", c.check.Rules)
	if err := c.store.StartCheck(ctx, job.CheckZones); err != nil {
		return err
	}
	clock, err := c.store.Clock(ctx)
	c.check = clock.Check
	return err
}
