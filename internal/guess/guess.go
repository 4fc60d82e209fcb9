// Package guess owns what slows down those who try out tokens: the API, the tools and the
// dashboard have their callers' tokens checked through one Guard.
//
// It must not know what a token is for: whether one is right, the caller finds out.
package guess

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/ratelimit"
)

const (
	// freeGuesses wrong tokens of an address are told at once, then one every checkEvery.
	freeGuesses = 10
	checkEvery  = time.Second
	// maxWaiting checks of one address wait for their turn, and maxWaitingAll of all: each
	// holds a connection. Others are refused with the time to come again.
	maxWaiting    = 5
	maxWaitingAll = 200
	// trustFor is how long a token that was right from an address is checked there at once,
	// so that the guesses of others behind the same address lock nobody out.
	trustFor = 24 * time.Hour
	// maxTrusted bounds what is remembered; only right tokens get there.
	maxTrusted = 4096
	// logEvery is how often wrong tokens are told in the log.
	logEvery = time.Minute
)

// Options of New.
type Options struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// After is how a check waits for its turn; nil is time.After.
	After func(time.Duration) <-chan time.Time
	// Logger is told of wrong tokens; nil discards.
	Logger *slog.Logger
}

// Guard checks tokens, slowly for an address that tries many. It is safe for concurrent use.
type Guard struct {
	Options
	wrong *ratelimit.Limiter[netip.Prefix]

	mu      sync.Mutex
	trusted map[shown]time.Time // until when
	queues  map[netip.Prefix]*queue
	waiting int // in all queues
	// Since the last line in the log, which was at toldAt: tokens that were wrong, and such
	// as nobody looked at.
	untold, unchecked int
	toldAt            time.Time
}

// shown is a token at an address, which only its hash is kept of.
type shown struct {
	address netip.Prefix
	token   [sha256.Size]byte
}

// queue is where the checks of an address wait, first come first.
type queue struct {
	turn    chan struct{} // holds one while somebody waits at the head
	waiting int
}

// New makes a guard.
func New(o Options) *Guard {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.After == nil {
		o.After = time.After
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Guard{Options: o, wrong: ratelimit.New[netip.Prefix](checkEvery, freeGuesses, o.Now),
		trusted: map[shown]time.Time{}, queues: map[netip.Prefix]*queue{}}
}

// LimitedError refuses a token without a word on whether it is right.
type LimitedError struct{ Wait time.Duration }

func (e *LimitedError) Error() string {
	return fmt.Sprintf("too many wrong tokens from this address: wait %s seconds", ratelimit.Seconds(e.Wait))
}

// Check returns what isRight says of a token that the connection from remoteAddr shows: at
// once, or after a wait where that address has shown many wrong ones. It returns a
// *LimitedError where too many wait already, and the error of isRight, which counts as
// nothing.
func (g *Guard) Check(ctx context.Context, remoteAddr, token string, isRight func(context.Context) (bool, error)) (bool, error) {
	s := shown{ratelimit.Network(remoteAddr), sha256.Sum256([]byte(token))} // the connection's own: a header can be made up
	if !s.address.IsValid() {                                               // at the socket in the state directory, where the owner alone could guess
		return isRight(ctx)
	}
	waited := false
	if !g.isTrusted(s) && g.wrong.Wait(s.address) > 0 {
		if err := g.wait(ctx, s); err != nil {
			return false, err
		}
		waited = true
	}
	right, err := isRight(ctx)
	if err != nil {
		return false, err
	}
	if !right {
		g.countWrong(ctx, s, remoteAddr, waited)
		return false, nil
	}
	// Guesses in parallel are checked before any of them counts. So whether this one was
	// right is not told before its turn either.
	if !waited && !g.isTrusted(s) && g.wrong.Wait(s.address) > 0 {
		if err := g.wait(ctx, s); err != nil {
			return false, err
		}
	}
	g.trust(s)
	return true, nil
}

// wait waits for the address's turn, or until the token has proved right there meanwhile.
func (g *Guard) wait(ctx context.Context, s shown) error {
	q, err := g.enter(s.address)
	if err != nil {
		return err
	}
	defer g.leave(s.address, q)
	select {
	case q.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait to check a token: %w", ctx.Err())
	}
	defer func() { <-q.turn }()
	for !g.isTrusted(s) {
		wait := g.wrong.Take(s.address)
		if wait == 0 {
			break
		}
		select {
		case <-g.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("wait to check a token: %w", ctx.Err())
		}
	}
	return nil
}

func (g *Guard) enter(address netip.Prefix) (*queue, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	q := g.queues[address]
	if q == nil {
		q = &queue{turn: make(chan struct{}, 1)}
	}
	if q.waiting >= maxWaiting || g.waiting >= maxWaitingAll {
		g.unchecked++
		return nil, &LimitedError{Wait: maxWaiting * checkEvery}
	}
	g.queues[address] = q
	q.waiting++
	g.waiting++
	return q, nil
}

func (g *Guard) leave(address netip.Prefix, q *queue) {
	g.mu.Lock()
	defer g.mu.Unlock()
	q.waiting--
	g.waiting--
	if q.waiting == 0 {
		delete(g.queues, address)
	}
}

func (g *Guard) isTrusted(s shown) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.Now().Before(g.trusted[s])
}

func (g *Guard) trust(s shown) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.trusted[s]; !known && len(g.trusted) >= maxTrusted {
		oldest := s
		for other, until := range g.trusted {
			if oldest == s || until.Before(g.trusted[oldest]) {
				oldest = other
			}
		}
		delete(g.trusted, oldest)
	}
	g.trusted[s] = g.Now().Add(trustFor)
}

// countWrong counts a wrong token against its address, unless its turn did, and tells the
// log now and then. A token that was right here is one no more: it was revoked.
func (g *Guard) countWrong(ctx context.Context, s shown, remoteAddr string, counted bool) {
	if !counted {
		g.wrong.Take(s.address)
	}
	g.mu.Lock()
	delete(g.trusted, s)
	g.untold++
	now, wrong, unchecked := g.Now(), g.untold, g.unchecked
	tell := g.toldAt.IsZero() || now.Sub(g.toldAt) >= logEvery
	if tell {
		g.untold, g.unchecked, g.toldAt = 0, 0, now
	}
	g.mu.Unlock()
	if tell {
		g.Logger.WarnContext(ctx, "wrong tokens", "remote_addr", remoteAddr, "wrong", wrong, "not_checked", unchecked)
	}
}
