// Package ratelimit owns the allowances of clients: how often each may do something at
// once, and how often after that.
//
// It is pure: it reads no clock but the one it is given, and knows neither requests nor
// what is limited.
package ratelimit

import (
	"math"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// maxClients bounds the memory of a Limiter. Above it, clients not yet known share the
// allowance of the zero client.
const maxClients = 4096

// Limiter gives each client an allowance. It keeps one time a client: when its allowance
// would be full again. It is safe for concurrent use.
type Limiter[C comparable] struct {
	every time.Duration
	burst int
	now   func() time.Time

	mu   sync.Mutex
	full map[C]time.Time
}

// New returns a limiter that lets a client through burst times at once, at least one, and
// then once every so long.
func New[C comparable](every time.Duration, burst int, now func() time.Time) *Limiter[C] {
	return &Limiter[C]{every: every, burst: max(burst, 1), now: now, full: map[C]time.Time{}}
}

// Take takes one from the client's allowance and returns 0, or how long to wait until
// there is one.
func (l *Limiter[C]) Take(client C) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	client = l.key(client, now)
	wait := l.wait(client, now)
	if wait == 0 {
		l.full[client] = latest(l.full[client], now).Add(l.every)
	}
	return wait
}

// Wait returns what Take would, and takes nothing.
func (l *Limiter[C]) Wait(client C) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	return l.wait(l.key(client, now), now)
}

func (l *Limiter[C]) wait(client C, now time.Time) time.Duration {
	full := latest(l.full[client], now)
	return max(full.Sub(now)-time.Duration(l.burst-1)*l.every, 0)
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// key is the client, or the shared one if it is new and there is no room.
func (l *Limiter[C]) key(client C, now time.Time) C {
	if _, known := l.full[client]; known || len(l.full) < maxClients {
		return client
	}
	for c, full := range l.full {
		if !full.After(now) {
			delete(l.full, c)
		}
	}
	if len(l.full) < maxClients {
		return client
	}
	var shared C
	return shared
}

// Network is whom a connection from that address and port counts for: the address, or of
// an IPv6 address the network of one customer, who has addresses without number. It is
// the zero value for what is no address.
func Network(remoteAddr string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := ap.Addr().Unmap().WithZone(""), 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// Seconds is a wait as the header Retry-After has it: in whole seconds, rounded up.
func Seconds(wait time.Duration) string { return strconv.Itoa(int(math.Ceil(wait.Seconds()))) }
