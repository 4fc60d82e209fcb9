package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gatewaycron/gatewaycron/handlers"
	"github.com/gatewaycron/gatewaycron/internal/channel"
	"github.com/gatewaycron/gatewaycron/internal/executor"
	"github.com/gatewaycron/gatewaycron/internal/executor/aiserver"
	"github.com/gatewaycron/gatewaycron/internal/health"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/outcome"
)

// How a worker finds whom its runs need. It asks them how they are, without any effect, and
// notes how its real calls end; its heartbeat tells both, so that whoever judges the
// deployment needs neither their addresses nor their keys.

const (
	// askPartiesEvery is how often they are asked how they are, askPartyWithin how long
	// each may take to say.
	askPartiesEvery = 10 * time.Second
	askPartyWithin  = 5 * time.Second
)

// partyWatch is what a worker knows of everybody outside.
type partyWatch struct {
	parties []*party
}

// party is one of them.
type party struct {
	// ask asks how it is: what it lacks, and whether it can do something without that.
	ask func(ctx context.Context) (missing string, partly bool, err error)

	mu      sync.Mutex
	known   job.Party
	refused map[job.Target]bool // chats that it has refused for good since its last success
}

// watch asks everybody again and again until ctx ends.
func (w *partyWatch) watch(ctx context.Context) error {
	ticker := time.NewTicker(askPartiesEvery)
	defer ticker.Stop()
	for {
		var wg sync.WaitGroup
		for _, p := range w.parties {
			wg.Go(func() { p.askOnce(ctx) })
		}
		wg.Wait()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// report is what the heartbeat tells.
func (w *partyWatch) report() []job.Party {
	all := make([]job.Party, len(w.parties))
	for i, p := range w.parties {
		p.mu.Lock()
		all[i] = p.known
		p.mu.Unlock()
	}
	return all
}

func (p *party) askOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askPartyWithin)
	defer cancel()
	missing, partly, err := p.ask(ctx)
	if errors.Is(ctx.Err(), context.Canceled) {
		return // the worker stops
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known.Missing, p.known.Partly = missing, partly
	switch {
	case err == nil:
		p.known.Away, p.known.Since = "", 0
	case p.known.Away == "":
		p.known.Since = job.ToMillis(time.Now())
		fallthrough
	default:
		p.known.Away = err.Error()
	}
}

// succeeded and failed note how a real call ended.
func (p *party) succeeded() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known.Failures, p.known.Error, p.known.LastSuccess = 0, "", job.ToMillis(time.Now())
	clear(p.refused)
}

func (p *party) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known.Failures, p.known.Error, p.known.LastFailure = p.known.Failures+1, err.Error(), job.ToMillis(time.Now())
}

// refusedFor notes that a chat was refused for good, which counts once: one that is gone
// says nothing of its channel, and several in a row do.
func (p *party) refusedFor(t job.Target, err error) {
	t.IsGroup = nil // a pointer is no part of a chat's name
	p.mu.Lock()
	known := p.refused[t] || len(p.refused) == maxRefused
	if !known {
		p.refused[t] = true
	}
	p.mu.Unlock()
	if !known {
		p.failed(err)
	}
}

// maxRefused bounds the chats that are remembered as refused; a few are enough to tell.
const maxRefused = 100

// watchedAI is the ai-server, whose turns are noted.
type watchedAI struct {
	*aiserver.Client
	*party
}

// watchAI returns the executor of an ai-server, how whose calls end is noted.
func (w *partyWatch) watchAI(ai *aiserver.Client, o aiserver.ExecutorOptions) executor.Executor {
	p := &party{known: job.Party{Name: health.AIServer}}
	o.Calls = watchedAI{ai, p}
	turns := aiserver.NewExecutor(o)
	p.ask = func(ctx context.Context) (string, bool, error) {
		s, err := turns.Probe(ctx)
		return s.Lacks, s.Usable, err
	}
	w.parties = append(w.parties, p)
	return turns
}

// Chat makes a turn; see aiserver.Client.Chat.
func (a watchedAI) Chat(ctx context.Context, r aiserver.ChatRequest) (aiserver.Reply, error) {
	reply, err := a.Client.Chat(ctx, r)
	if err == nil {
		a.succeeded()
	}
	a.note(err)
	return reply, err
}

// Session reads a session; see aiserver.Client.Session. That it can be read says little.
func (a watchedAI) Session(ctx context.Context, id, workspaceID string, most int) (aiserver.Session, bool, error) {
	session, found, err := a.Client.Session(ctx, id, workspaceID, most)
	a.note(err)
	return session, found, err
}

// note notes a failure, if it says something of the ai-server.
func (a watchedAI) note(err error) {
	switch e := (*outcome.Error)(nil); {
	case err == nil, errors.Is(err, context.Canceled), !errors.As(err, &e):
		// None, or ended by us, or never made.
	case e.Kind == outcome.Retryable, e.Kind == outcome.Ambiguous, e.Kind == outcome.Deadline:
		a.failed(err)
	}
}

// watchedChannels are the channels, whose sends are noted.
type watchedChannels struct {
	*channel.Manager
	parties map[channel.Channel]*party
}

// asker is a channel that can say how it is.
type asker interface {
	Ask(ctx context.Context) (string, error)
}

// watchChannels notes how the sends of the channels end.
func (w *partyWatch) watchChannels(m *channel.Manager) handlers.Channels {
	watched := watchedChannels{m, map[channel.Channel]*party{}}
	for name, c := range m.All() {
		p := &party{known: job.Party{Name: name}, refused: map[job.Target]bool{}, ask: func(ctx context.Context) (string, bool, error) {
			a, can := c.(asker)
			if !can {
				return "", false, nil
			}
			if _, err := a.Ask(ctx); err != nil && !errors.Is(err, channel.ErrNoHealth) {
				return "", false, err
			}
			return "", false, nil
		}}
		w.parties = append(w.parties, p)
		watched.parties[c] = p
	}
	return watched
}

// Lookup finds a channel; see channel.Manager.Lookup.
func (w watchedChannels) Lookup(name string) (channel.Channel, bool) {
	c, ok := w.Manager.Lookup(name)
	if p := w.parties[c]; ok && p != nil {
		return watchedChannel{c, p}, true
	}
	return c, ok
}

type watchedChannel struct {
	channel.Channel
	*party
}

// Send sends a message; see channel.Channel.
func (c watchedChannel) Send(ctx context.Context, m channel.Message) (string, error) {
	id, err := c.Channel.Send(ctx, m)
	switch e := (*outcome.Error)(nil); {
	case err == nil:
		c.succeeded()
	case errors.Is(err, context.Canceled), !errors.As(err, &e):
		// Ended by us.
	case e.Kind == outcome.Permanent:
		c.refusedFor(m.Target, err)
	case e.Kind == outcome.Retryable, e.Kind == outcome.Ambiguous:
		c.failed(err)
	}
	return id, err
}
