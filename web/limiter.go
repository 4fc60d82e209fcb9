package web

import (
	"math"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

const (
	// guessBurst wrong tokens are answered at once; then one per guessEvery.
	guessBurst = 10
	guessEvery = 6 * time.Second
	// maxGuessers bounds the memory of the limiter. Above it, addresses not yet
	// known share one allowance.
	maxGuessers = 4096
)

// limiter slows down guessing, per address. It keeps one time per address: when
// its allowance would be full again.
type limiter struct {
	now func() time.Time

	mu   sync.Mutex
	full map[netip.Prefix]time.Time
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, full: make(map[netip.Prefix]time.Time)}
}

// take takes a guess from the address's allowance and returns 0, or how long to
// wait until there is one.
func (l *limiter) take(addr netip.Prefix) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	addr = l.key(addr, now)
	full := l.full[addr]
	if full.Before(now) {
		full = now
	}
	if wait := full.Sub(now) - (guessBurst-1)*guessEvery; wait > 0 {
		return wait
	}
	l.full[addr] = full.Add(guessEvery)
	return 0
}

// giveBack undoes a take.
func (l *limiter) giveBack(addr netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	addr = l.key(addr, now)
	if full, ok := l.full[addr]; ok {
		l.full[addr] = full.Add(-guessEvery)
	}
}

// key is the address, or the shared one if it is new and there is no room.
func (l *limiter) key(addr netip.Prefix, now time.Time) netip.Prefix {
	if _, known := l.full[addr]; known || len(l.full) < maxGuessers {
		return addr
	}
	for a, full := range l.full {
		if !full.After(now) {
			delete(l.full, a)
		}
	}
	if len(l.full) < maxGuessers {
		return addr
	}
	return netip.Prefix{}
}

// limitedError refuses a guess without looking at it.
type limitedError struct{ wait time.Duration }

func (e *limitedError) Error() string {
	return "too many wrong tokens: wait " + e.seconds() + " seconds"
}

// seconds to wait, rounded up.
func (e *limitedError) seconds() string {
	return strconv.Itoa(int(math.Ceil(e.wait.Seconds())))
}
