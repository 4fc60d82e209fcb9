package api

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// maxRateClients bounds the memory of the limiter. Above it, clients not yet known share
// one allowance.
const maxRateClients = 4096

// rateLimiter bounds how often a client may ask: an agent in a loop must not take the
// store away from the others. It keeps one time a client: when its allowance would be
// full again.
type rateLimiter struct {
	perMinute, burst int
	now              func() time.Time

	mu   sync.Mutex
	full map[rateClient]time.Time
}

func newRateLimiter(perMinute, burst int, now func() time.Time) *rateLimiter {
	return &rateLimiter{perMinute: perMinute, burst: max(burst, 1), now: now, full: map[rateClient]time.Time{}}
}

// rateClient is who has an allowance of its own; the zero value is everybody else.
type rateClient struct {
	network netip.Prefix
	token   string // its id
}

// limitRate refuses requests beyond the client's allowance. Each token is one client, and
// so is the administrator; where nobody needs a token, each address is one.
func (s *server) limitRate(next http.Handler) http.Handler {
	if s.rate.perMinute <= 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var client rateClient
		switch t := job.TokenOf(r.Context()); {
		case t != nil:
			client.token = t.ID
		case s.Token == "":
			client.network = addressOf(r)
		}
		if wait := s.rate.take(client); wait > 0 {
			s.renderError(w, r, &rateError{perMinute: s.rate.perMinute, burst: s.rate.burst, wait: wait})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// take takes a request from the client's allowance and returns 0, or how long to wait
// until there is one.
func (l *rateLimiter) take(client rateClient) time.Duration {
	every := time.Minute / time.Duration(l.perMinute)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	client = l.key(client, now)
	full := l.full[client]
	if full.Before(now) {
		full = now
	}
	if wait := full.Sub(now) - time.Duration(l.burst-1)*every; wait > 0 {
		return wait
	}
	l.full[client] = full.Add(every)
	return 0
}

// key is the client, or the shared one if it is new and there is no room.
func (l *rateLimiter) key(client rateClient, now time.Time) rateClient {
	if _, known := l.full[client]; known || len(l.full) < maxRateClients {
		return client
	}
	for c, full := range l.full {
		if !full.After(now) {
			delete(l.full, c)
		}
	}
	if len(l.full) < maxRateClients {
		return client
	}
	return rateClient{}
}

// addressOf is the address of the connection, since a header can be made up; of an IPv6
// address the network of one customer, who has addresses without number.
func addressOf(r *http.Request) netip.Prefix {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
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

// rateError refuses a request that came too soon.
type rateError struct {
	perMinute, burst int
	wait             time.Duration
}

func (e *rateError) Error() string {
	return fmt.Sprintf("Too many requests: at most %d at once and %d a minute are served. Send this one again in %s s. GET /api/cron/runs/{id}?wait=60 waits for a run with one request.",
		e.burst, e.perMinute, e.seconds())
}

// seconds to wait, rounded up.
func (e *rateError) seconds() string { return strconv.Itoa(int(math.Ceil(e.wait.Seconds()))) }
