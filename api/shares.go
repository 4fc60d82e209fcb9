package api

import (
	"errors"
	"net/http"
	"net/netip"
	"sync"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/ratelimit"
)

// shares bounds what is held at a time, in all and by each client: no client can have all
// of it. It is safe for concurrent use.
type shares struct {
	most, each int // in all, and of one client

	mu   sync.Mutex
	all  int
	held map[client]int
}

// errShare and errAllHeld say whose bound is reached.
var (
	errShare   = errors.New("the client's share is used up")
	errAllHeld = errors.New("all shares are used up")
)

// newShares lets each client have a quarter.
func newShares(most int) *shares {
	return &shares{most: most, each: max(most/4, 1), held: map[client]int{}}
}

// take takes n. Whoever holds nothing may take more than a share, and where nobody holds
// anything, more than there is: what is larger than that would never be had otherwise.
func (s *shares) take(c client, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch held := s.held[c]; {
	case held > 0 && held+n > s.each:
		return errShare
	case s.all > 0 && s.all+n > s.most:
		return errAllHeld
	}
	s.add(c, n)
	return nil
}

// force takes n whatever is held.
func (s *shares) force(c client, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(c, n)
}

// give gives back what was taken.
func (s *shares) give(c client, n int) { s.force(c, -n) }

func (s *shares) add(c client, n int) {
	s.all += n
	if s.held[c] += n; s.held[c] == 0 {
		delete(s.held, c)
	}
}

// full returns whose bound is reached, nil if the client can have more.
func (s *shares) full(c client) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.held[c] >= s.each:
		return errShare
	case s.all >= s.most:
		return errAllHeld
	}
	return nil
}

// counted is a response whose bytes count for its client while they are written: until the
// client has taken them, they are in memory.
type counted struct {
	http.ResponseWriter
	bytes  *shares
	client client
	// refuses says that an answer can still be refused when it is made: it is of a request
	// that has changed nothing.
	refuses bool
}

// count has the bytes of a response counted.
func (s *server) count(w http.ResponseWriter, r *http.Request) *counted {
	return &counted{ResponseWriter: w, bytes: s.answering, client: s.clientOf(r),
		refuses: (r.Method == http.MethodGet || r.Method == http.MethodHead) && !job.OnReserve(r.Context())}
}

// Unwrap is for http.ResponseController.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// hold counts n bytes that are about to be written to w, until release.
func hold(w http.ResponseWriter, n int) (release func(), err error) {
	c, ok := w.(*counted)
	if !ok {
		return func() {}, nil // what says that a request is refused is small
	}
	if !c.refuses {
		c.bytes.force(c.client, n)
	} else if err := c.bytes.take(c.client, n); err != nil {
		return nil, unread(err)
	}
	return func() { c.bytes.give(c.client, n) }, nil
}

// heldByCall is what a call of another handler counts for: what it reads, and what it makes
// of that before it writes.
const heldByCall = 512 << 10

// heldByStop is what a call counts for that stops something: its request and its answer are
// small.
const heldByStop = 32 << 10

// limitCalls counts what another handler holds and writes, as limitUnread and hold do for
// those that are here.
func (s *server) limitCalls(next http.Handler, stops func(*http.Request) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, n := s.clientOf(r), heldByCall
		if stops(r) {
			n = heldByStop
			s.answering.force(c, n)
		} else if err := s.answering.take(c, n); err != nil {
			s.renderError(w, r, unread(err))
			return
		}
		defer s.answering.give(c, n)
		next.ServeHTTP(&countedWrites{w, s.answering, c}, r)
	})
}

// countedWrites counts each write. None is refused: what the call was to do is done.
type countedWrites struct {
	http.ResponseWriter
	bytes  *shares
	client client
}

// Unwrap is for http.ResponseController.
func (c *countedWrites) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Write implements http.ResponseWriter.
func (c *countedWrites) Write(p []byte) (int, error) {
	c.bytes.force(c.client, len(p))
	defer c.bytes.give(c.client, len(p))
	return c.ResponseWriter.Write(p)
}

// limitUnread refuses requests of a client that leaves too much of what it asked for
// unread, before anything is read or done for them.
func (s *server) limitUnread(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.answering.full(s.clientOf(r)); err != nil {
			s.renderError(w, r, unread(err))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// unread is the refusal of an answer, which is for its client to read.
func unread(err error) error {
	if errors.Is(err, errShare) {
		return &apiError{status: http.StatusTooManyRequests, soon: true,
			detail: "Too much of what you asked for before is still to be read; nothing was done. Read it, or close its connections, and send this one again."}
	}
	return &apiError{status: http.StatusServiceUnavailable,
		detail: "Too much that clients asked for is still to be read here; nothing was done. Send the request again in a moment."}
}

// client is who has an allowance and a share of its own; the zero value is everybody else.
type client struct {
	network netip.Prefix
	token   string // its id
}

// clientOf returns who asks. Each token is one client, and so is the administrator; where
// nobody needs a token, each address is one: that of the connection, since a header can be
// made up.
func (s *server) clientOf(r *http.Request) client {
	switch t := job.TokenOf(r.Context()); {
	case t != nil:
		return client{token: t.ID}
	case s.Token == "":
		return client{network: ratelimit.Network(r.RemoteAddr)}
	}
	return client{}
}
