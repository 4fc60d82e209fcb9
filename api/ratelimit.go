package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/ratelimit"
)

// newRateLimiter bounds how often a client may ask: an agent in a loop must not take the
// store away from the others. It is nil if nobody is to be limited.
func newRateLimiter(o Options) *ratelimit.Limiter[rateClient] {
	if o.RatePerMinute <= 0 {
		return nil
	}
	return ratelimit.New[rateClient](time.Minute/time.Duration(o.RatePerMinute), o.RateBurst, o.Now)
}

// rateClient is who has an allowance of its own; the zero value is everybody else.
type rateClient struct {
	network netip.Prefix
	token   string // its id
}

// limitRate refuses requests beyond the client's allowance. Each token is one client, and
// so is the administrator; where nobody needs a token, each address is one: that of the
// connection, since a header can be made up.
func (s *server) limitRate(next http.Handler) http.Handler {
	if s.rate == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var client rateClient
		switch t := job.TokenOf(r.Context()); {
		case t != nil:
			client.token = t.ID
		case s.Token == "":
			client.network = ratelimit.Network(r.RemoteAddr)
		}
		if wait := s.rate.Take(client); wait > 0 {
			s.renderError(w, r, &rateError{perMinute: s.RatePerMinute, burst: max(s.RateBurst, 1), wait: wait})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// rateError refuses a request that came too soon.
type rateError struct {
	perMinute, burst int
	wait             time.Duration
}

func (e *rateError) Error() string {
	return fmt.Sprintf("Too many requests: at most %d at once and %d a minute are served. Send this one again in %s s. To wait for a run takes one request, not many: it can be told how long to wait.",
		e.burst, e.perMinute, ratelimit.Seconds(e.wait))
}
