package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/ratelimit"
)

// A reserve is at least so large, however small the allowance of the other requests is.
const (
	reservePerMinute = 60
	reserveBurst     = 30
)

// rates is an allowance of each client: how often it may ask in a minute, and at once.
type rates struct {
	perMinute, burst int
	clients          *ratelimit.Limiter[client] // nil: as often as it likes
}

// newRates bounds how often a client may ask: an agent in a loop must not take the store
// away from the others.
func (o Options) newRates(perMinute, burst int) rates {
	l := rates{perMinute: perMinute, burst: max(burst, 1)}
	if o.RatePerMinute > 0 {
		l.clients = ratelimit.New[client](time.Minute/time.Duration(l.perMinute), l.burst, o.Now)
	}
	return l
}

// newReserve is an allowance of one route alone. It is as large as that of all other
// requests, so that a script which stops many things meets neither.
func (o Options) newReserve() rates {
	return o.newRates(max(o.RatePerMinute, reservePerMinute), max(o.RateBurst, reserveBurst))
}

// limitRate refuses requests beyond the client's allowance.
func (s *server) limitRate(allowed rates) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		if allowed.clients == nil {
			return next
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			allowed := allowed
			if aside(r) {
				allowed = s.ordinary
			}
			if wait := allowed.clients.Take(s.clientOf(r)); wait > 0 {
				s.renderError(w, r, &rateError{rates: allowed, wait: wait})
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// onReserve has a request served on what is kept for such: nothing that other requests
// take can make it wait.
func onReserve(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !aside(r) {
			r = r.WithContext(job.WithReserve(r.Context()))
		}
		next.ServeHTTP(w, r)
	})
}

// aside reports whether a request has no share in a reserve: our own tools look at the
// status whatever they do, and would use it up.
func aside(r *http.Request) bool { return r.Header.Get(job.AsideHeader) != "" }

// rateError refuses a request that came too soon.
type rateError struct {
	rates
	wait time.Duration
}

func (e *rateError) Error() string {
	return fmt.Sprintf("Too many requests: at most %d at once and %d a minute are served. Send this one again in %s s. To wait for a run takes one request, not many: it can be told how long to wait.",
		e.burst, e.perMinute, ratelimit.Seconds(e.wait))
}

// limitReads lets a few reads at a time work, and the others wait for them: thousands at
// once would take the processor and the store from everybody else. A place is given back
// with the first byte of the answer, so that nobody keeps one who reads it slowly: what that
// leaves in memory is bounded by limitUnread. Those that wait for a run are few anyway, see
// last.
func (s *server) limitReads(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wait, _ := readWait(r) // what is wrong with it, the handler says
		if wait > 0 || r.Method != http.MethodGet && r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		select {
		case s.reads <- struct{}{}:
		case <-r.Context().Done():
			s.renderError(w, r, &apiError{status: http.StatusServiceUnavailable,
				detail: "Too many lists and records are being read here; send the request again in a moment."})
			return
		}
		p := &placeWriter{ResponseWriter: w, place: s.reads}
		defer p.leave()
		next.ServeHTTP(p, r)
	})
}

// placeWriter gives a place back when the answer begins.
type placeWriter struct {
	http.ResponseWriter
	place chan struct{}
	left  bool
}

func (p *placeWriter) leave() {
	if !p.left {
		p.left = true
		<-p.place
	}
}

// WriteHeader implements http.ResponseWriter. The answer stands by then, and only the
// client can keep it waiting.
func (p *placeWriter) WriteHeader(status int) {
	p.leave()
	p.ResponseWriter.WriteHeader(status)
}
