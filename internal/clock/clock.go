// Package clock holds the clock of Redis, which decides what is due, late or expired,
// against a clock of this machine that nobody sets: the time since it was booted. It says
// what time it should be there, and when that clock was set.
//
// It is pure: it asks nobody for the time but the function that it is given.
package clock

import (
	"sync"
	"time"
)

const (
	// DefaultStep is how far the clock of Redis must be from where it should be to count as
	// set. What is less is followed.
	DefaultStep = time.Minute
	// DefaultHold is for how long a clock that was set is not believed.
	DefaultHold = 2 * time.Minute
)

// Options are the limits of a Clock; zero values get the defaults.
type Options struct {
	Step, Hold time.Duration
	// Boot is the time since this machine was booted, or since any other moment; it goes on
	// while the machine is suspended, as far as the system has such a clock.
	Boot func() time.Duration
}

// WithDefaults returns o with what is left out filled in.
func (o Options) WithDefaults() Options {
	if o.Step == 0 {
		o.Step = DefaultStep
	}
	if o.Hold == 0 {
		o.Hold = DefaultHold
	}
	if o.Boot == nil {
		o.Boot = boot()
	}
	return o
}

// Step is a clock that was set. Its times are by what the clock had said until then.
type Step struct {
	Since time.Time     // when that was seen first
	By    time.Duration // how far it was set forward; below 0: back
	Until time.Time     // what it says then is the time
}

// Standing reports whether a clock that reads so now was set by that step lately: the
// record of a step tells by itself that it is over, but for one that is shorter than the
// hold, which whoever saw it end must take back.
func (s Step) Standing(reading time.Time) bool {
	if s.By == 0 {
		return false
	}
	should := reading.Add(-s.By)
	return should.After(s.Since.Add(-s.By.Abs()/2)) && should.Before(s.Until)
}

// Clock is what one process knows of the clock of Redis. It is safe for concurrent use.
type Clock struct {
	o Options

	mu    sync.Mutex
	known bool
	// ahead is the time there, since the epoch, less that since the boot here: at least, and
	// perhaps by so much more.
	ahead, more time.Duration
	step        Step // none if By is 0
}

// New returns a clock that knows nothing yet.
func New(o Options) *Clock { return &Clock{o: o.WithDefaults()} }

// Boot is the time since this machine was booted.
func (c *Clock) Boot() time.Duration { return c.o.Boot() }

// Tolerance is how far a clock may be from where it should be.
func (c *Clock) Tolerance() time.Duration { return c.o.Step }

// Now is the time that it should be at Redis, false if nothing was read yet.
func (c *Clock) Now() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at(c.o.Boot()), c.known
}

// Step is the step that holds what goes by this clock, false if there is none.
func (c *Clock) Step() (Step, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.step, c.step.By != 0
}

// Learn takes a reading of Redis's clock, asked for and returned at these times since the
// boot: it was taken somewhere in between, so that a slow one is no step. standing is what
// others have found out, for whoever has just begun.
//
// It returns the time that counts: the reading, or, while a step is not believed, what it
// should be.
func (c *Clock) Learn(asked, returned time.Duration, reading time.Time, standing Step) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	least, most := sinceEpoch(reading)-returned, sinceEpoch(reading)-asked
	if !c.known {
		c.known, c.ahead, c.more = true, least, most-least
		if standing.Standing(reading) {
			c.ahead, c.step = least-standing.By, standing
		}
	}
	off := max(least-c.ahead-c.more, 0) + min(most-c.ahead, 0)
	now := c.at(returned)
	switch {
	case off.Abs() <= c.o.Step: // as it should be, or again
		c.follow(off, least, most)
		return reading
	case (off-c.step.By).Abs() > c.o.Step || c.step.By == 0:
		c.step = Step{Since: now, By: off, Until: now.Add(c.o.Hold)}
	case !now.Before(c.step.Until): // it is the time
		c.follow(off, least, most)
		return reading
	}
	return now
}

// follow takes a reading for right, which is off by so much.
func (c *Clock) follow(off, least, most time.Duration) {
	if off == 0 {
		most = min(most, c.ahead+c.more)
		least = max(least, c.ahead)
	}
	c.ahead, c.more, c.step = least, most-least, Step{}
}

func (c *Clock) at(boot time.Duration) time.Time { return time.Unix(0, int64(c.ahead+boot)).UTC() }

func sinceEpoch(t time.Time) time.Duration { return time.Duration(t.UnixNano()) }
