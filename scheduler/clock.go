package scheduler

import "time"

// redisClock says when the next second begins by the clock of Redis, which decides
// what is due: a look right then finds what has just come due, instead of up to a
// second later. It only saves time; a look at any other time finds the same.
//
// Each reading of that clock bounds how far it is ahead of ours: it was read between
// the question and the answer. What is kept is the lower bound, raised by each reading
// that knows better, so that a look comes late rather than early.
type redisClock struct {
	known bool
	ahead time.Duration // at least
}

// wellPast is how long after the second a look comes: by then the clock of Redis is
// surely past it.
const wellPast = 2 * time.Millisecond

// learn takes a reading of Redis's clock, asked for and answered at these local times.
func (c *redisClock) learn(asked, answered, reading time.Time) {
	least, most := reading.Sub(answered), reading.Sub(asked)
	if !c.known {
		c.known, c.ahead = true, least
		return
	}
	c.ahead = min(max(c.ahead, least), most) // a clock that was set breaks the old bounds
}

// nextSecond is the local time of the next look.
func (c *redisClock) nextSecond(time.Time) time.Time { return c.secondAfter(time.Now()) }

// secondAfter is the local time of the first look after now.
func (c *redisClock) secondAfter(now time.Time) time.Time {
	theirs := now.Add(c.ahead - wellPast)
	return now.Add(theirs.Truncate(time.Second).Add(time.Second).Sub(theirs))
}
