package handlers

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

const (
	// gatePatience is how long a send waits for a place on its channel, before it goes
	// back to the outbox.
	gatePatience = 2 * time.Second
	// severalChats that are asked to wait at a time are more than their own doing: then the
	// channel waits as well, for severalWait at most, so that one of them can find out.
	severalChats = 3
	severalWait  = time.Minute
	// briefWait is how long a channel waits after one chat was asked to.
	briefWait = time.Second
)

// gates is what a worker knows of its channels: how many sends are under way, and who was
// asked to wait. A chat that was asked waits alone.
type gates struct {
	now func() time.Time

	mu     sync.Mutex
	byName map[string]*gate // as many as there are channels in use
}

// gate is what a worker knows of one channel.
type gate struct {
	places chan struct{} // one for each send under way
	// Under the lock of gates: until when all chats wait, and each that was asked to.
	closed time.Time
	chats  map[string]time.Time
}

func newGates(now func() time.Time) *gates { return &gates{now: now, byName: map[string]*gate{}} }

// of returns the gate of a channel.
func (g *gates) of(name string) *gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	gt := g.byName[name]
	if gt == nil {
		gt = &gate{places: make(chan struct{}, perChannel), chats: map[string]time.Time{}}
		g.byName[name] = gt
	}
	return gt
}

// enter lets a send onto its channel, after a short wait if there is no place. If not, it
// says for how long the chat or the channel asked to be left alone.
func (g *gates) enter(ctx context.Context, to job.Target) (wait time.Duration, ok bool) {
	gt := g.of(to.Channel)
	if wait := g.closedFor(gt, to.ChatID); wait > 0 {
		return wait, false
	}
	patience := time.NewTimer(gatePatience)
	defer patience.Stop()
	select {
	case gt.places <- struct{}{}:
	case <-patience.C:
		return 0, false
	case <-ctx.Done():
		return 0, false
	}
	if wait := g.closedFor(gt, to.ChatID); wait > 0 { // meanwhile
		<-gt.places
		return wait, false
	}
	return 0, true
}

func (g *gates) exit(to job.Target) { <-g.of(to.Channel).places }

func (g *gates) closedFor(gt *gate, chat string) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return later(gt.closed, gt.chats[chat]).Sub(g.now())
}

// shut keeps a chat closed for as long as it was asked to wait, and its channel for a
// moment, or longer where several chats wait.
func (g *gates) shut(to job.Target, wait time.Duration) {
	gt := g.of(to.Channel)
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	maps.DeleteFunc(gt.chats, func(_ string, until time.Time) bool { return !until.After(now) })
	gt.chats[to.ChatID] = later(gt.chats[to.ChatID], now.Add(wait))
	all := briefWait
	if len(gt.chats) >= severalChats {
		all = severalWait
	}
	gt.closed = later(gt.closed, now.Add(min(wait, all)))
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
