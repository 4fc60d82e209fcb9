package scheduler

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// TestNextSecond: the look comes in the first moment of a second by Redis, whatever
// our clock says and however long the answers take, and never just before it.
func TestNextSecond(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ahead := time.Duration(rapid.Int64Range(-5e9, 5e9).Draw(rt, "ahead"))
		trips := rapid.SliceOfN(rapid.Int64Range(0, 900), 2, 20).Draw(rt, "trips") // milliseconds
		answer := rapid.Float64Range(0, 1).Draw(rt, "answer")
		now := time.Now()
		var c redisClock
		best := time.Hour
		for _, ms := range trips {
			trip := time.Duration(ms) * time.Millisecond
			there := time.Duration(float64(trip) * answer)
			best = min(best, trip-there)
			c.learn(now, now.Add(trip), now.Add(there+ahead))
			next := c.secondAfter(now.Add(trip))
			theirs := next.Add(ahead)
			if past := theirs.Sub(theirs.Truncate(time.Second)); past < wellPast || past > wellPast+best {
				rt.Fatalf("%v past the second, with answers that take %v at best", past, best)
			}
			if wait := next.Sub(now.Add(trip)); wait <= 0 || wait > time.Second {
				rt.Fatalf("waits for %v", wait)
			}
			now = next
		}
	})
}

// TestClockIsSet: what was learnt of a clock that was set since is forgotten.
func TestClockIsSet(t *testing.T) {
	var c redisClock
	now := time.Now()
	for _, ahead := range []time.Duration{time.Minute, -time.Minute, 0} {
		c.learn(now, now.Add(time.Millisecond), now.Add(ahead))
		if off := c.ahead - ahead; off > 0 || off < -time.Millisecond {
			t.Errorf("a clock that is %v ahead is taken for %v", ahead, c.ahead)
		}
	}
}

// TestCursorsAreCheckedOnceTheClockCounts does not wait for the next scan.
func TestCursorsAreCheckedOnceTheClockCounts(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.scheduler()
	s.check.leads = func() bool { return true }
	f.must(s.check.run(f.ctx))
	if s.check.pending.Load() {
		t.Fatal("the zones are not checked yet")
	}
	now := f.now()
	f.must(s.window.step(f.ctx, job.ClockStep{Since: now, By: 2 * time.Hour, Until: now + 120_000}))
	f.must(s.window.step(f.ctx, job.ClockStep{}))
	f.must(s.check.run(f.ctx))
	if c, err := f.Clock(f.ctx); err != nil || c.Check.Why != job.CheckClock || c.Check.Pending() {
		t.Errorf("%+v, %v", c.Check, err)
	}
}
