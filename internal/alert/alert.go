// Package alert tells people of trouble: it takes what there is to tell from the outbox,
// words it, and sends it to chats and to the deployment's hook, and it lets an outside
// watch know that the deployment lives. It runs in every process that has a scheduler or
// the API; the outbox lets one of them send.
//
// It must import no package of this module but channel, fault, job, redact and wire.
package alert

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/channel"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/outcome"
)

// Outbox is what there is to tell.
type Outbox interface {
	TakeAlert(ctx context.Context, t job.AlertTake) (job.AlertTaken, error)
	EndAlert(ctx context.Context, e job.AlertEnd) (job.SendResult, error)
}

// Channels are the ways to the chats.
type Channels interface {
	Lookup(name string) (channel.Channel, bool)
}

// Options configure a Sender.
type Options struct {
	Outbox   Outbox
	Channels Channels
	Chat     job.Target  // the deployment's; without a channel it has none
	Hook     *Hook       // the deployment's; nil for none
	ID       string      // names this process in the outbox; must be unique
	Leads    func() bool // whether its scheduler does the ordinary work; nil: it has none
	Logger   *slog.Logger
	// Tick is how often it looks; 0 means a second.
	Tick time.Duration
	// Lease is how long a send may take before others take it for lost; 0 means a minute,
	// twice what a channel may take.
	Lease time.Duration
}

const (
	// holdFor is how long a process that does not lead leaves the sending to another that
	// gave no sign of life.
	holdFor = 5 * time.Second
	// askTimeout bounds one question to the outbox.
	askTimeout = 5 * time.Second
	// atOnce bounds the sends under way.
	atOnce = 8
	// stopWithin is how long sends under way may go on when the process stops.
	stopWithin = 5 * time.Second
)

// delays are the delays before the first retries of a send; the last one repeats. The
// outbox bounds their number by age.
var delays = []time.Duration{5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}

// Sender sends alerts.
type Sender struct {
	o      Options
	places chan struct{}
	sends  sync.WaitGroup
}

// New returns a sender; Run starts it.
func New(o Options) *Sender {
	if o.Tick == 0 {
		o.Tick = time.Second
	}
	if o.Lease == 0 {
		o.Lease = 2 * channel.DefaultTimeout
	}
	if o.Leads == nil {
		o.Leads = func() bool { return false }
	}
	return &Sender{o: o, places: make(chan struct{}, atOnce)}
}

// Run sends until ctx ends. What is being sent then has a moment to end.
func (s *Sender) Run(ctx context.Context) error {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	failing := false
	for {
		err := s.round(ctx, base)
		switch {
		case ctx.Err() != nil:
		case err != nil && !failing:
			s.o.Logger.Error("alerts cannot be taken from the outbox", "err", err)
		case err == nil && failing:
			s.o.Logger.Info("alerts can be taken again")
		}
		failing = err != nil
		timer := time.NewTimer(s.o.Tick)
		select {
		case <-ctx.Done():
			timer.Stop()
			patience := time.AfterFunc(stopWithin, cut)
			s.sends.Wait()
			patience.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// round begins a send to each target that is due, as far as there are places.
func (s *Sender) round(ctx, base context.Context) error {
	for {
		select {
		case s.places <- struct{}{}:
		default:
			return nil // the next round comes soon
		}
		token, asked := rand.Text(), time.Now()
		taken, err := s.take(ctx, token)
		if err != nil || taken.To == "" {
			<-s.places
			return err
		}
		if taken.Lost > 0 || taken.Damaged {
			<-s.places
			s.o.Logger.Error("alert lost", "target", taken.To, "facts", taken.Lost, "damaged", taken.Damaged)
			continue
		}
		s.sends.Go(func() {
			defer func() { <-s.places }()
			s.send(base, taken, token, asked)
		})
	}
}

func (s *Sender) take(ctx context.Context, token string) (job.AlertTaken, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return s.o.Outbox.TakeAlert(ctx, job.AlertTake{Sender: s.o.ID, Leads: s.o.Leads(), Token: token, HoldFor: holdFor,
		Lease: s.o.Lease, Chat: s.o.Chat, Hook: s.o.Hook != nil})
}

// send sends what was taken and writes down how that ended.
func (s *Sender) send(base context.Context, taken job.AlertTaken, token string, asked time.Time) {
	until := asked.Add(s.o.Lease)
	ctx, cancel := context.WithDeadline(base, until)
	defer cancel()
	e := job.AlertEnd{To: taken.To, Token: token, Result: job.PartDelivered}
	id, err := s.bring(ctx, taken, token)
	if err != nil {
		e = s.failure(e, err, taken, base.Err() != nil)
	}
	e.MessageID = id
	s.end(base, e, until, len(taken.Notices)+taken.More)
}

// bring sends the one message.
func (s *Sender) bring(ctx context.Context, taken job.AlertTaken, token string) (id string, err error) {
	text := Text(taken.Notices, taken.More)
	if text == "" {
		return "", &outcome.Error{Kind: outcome.Permanent, Message: "there is nothing to tell that can be read"}
	}
	if taken.To == job.HookTarget {
		if s.o.Hook == nil {
			return "", &outcome.Error{Kind: outcome.Permanent, Message: "there is no hook any more: GATEWAY_CRON_ALERT_URL is not set"}
		}
		return "", s.o.Hook.post(ctx, token, text, taken)
	}
	ch, ok := s.o.Channels.Lookup(taken.Target.Channel)
	if !ok {
		return "", &outcome.Error{Kind: outcome.Retryable, Message: "channel " + taken.Target.Channel + " is not connected to this process"}
	}
	return ch.Send(ctx, channel.Message{Target: taken.Target, Part: channel.Part{Text: text}, IdempotencyKey: "alert:" + token})
}

// failure says what a failed send means. What a chat does not get, the deployment does,
// unless it is the deployment's own.
func (s *Sender) failure(e job.AlertEnd, err error, taken job.AlertTaken, stopping bool) job.AlertEnd {
	e.Result, e.Message = job.PartRetry, err.Error()
	e.Retry, e.Delay = job.RetryCounted, delays[min(taken.Retries, len(delays)-1)]
	e.Forward = taken.To != job.HookTarget && !s.deployments(taken.Target)
	var ce *outcome.Error
	if !errors.As(err, &ce) {
		e.Result = job.PartUnknown
		return e
	}
	switch ce.Kind {
	case outcome.Retryable:
		if stopping {
			e.Retry, e.Delay = job.RetryFree, 0
		}
	case outcome.Permanent:
		e.Result = job.PartFailed
	case outcome.Ambiguous, outcome.Deadline:
		e.Result = job.PartUnknown
	case outcome.RateLimited:
		e.Retry, e.Delay = job.RetryFree, max(ce.RetryAfter, time.Second)
	}
	return e
}

// deployments reports whether a chat is the deployment's.
func (s *Sender) deployments(t job.Target) bool {
	return t.Channel == s.o.Chat.Channel && t.ChatID == s.o.Chat.ChatID && t.ThreadID == s.o.Chat.ThreadID
}

// end writes down how a send ended, for as long as others leave it alone.
func (s *Sender) end(base context.Context, e job.AlertEnd, until time.Time, facts int) {
	log := s.o.Logger.With("target", e.To, "facts", facts)
	ctx, cancel := context.WithDeadline(context.WithoutCancel(base), until)
	defer cancel()
	if base.Err() != nil { // the process stops
		ctx, cancel = context.WithTimeout(ctx, stopWithin)
		defer cancel()
	}
	result, err := s.write(ctx, e)
	switch {
	case errors.Is(err, job.ErrFenced):
		log.Warn("alert is no longer ours", "result", string(e.Result))
	case err != nil:
		log.Error("result of an alert not written down, it counts as unknown", "result", string(e.Result), "err", err)
	case result == job.PartDelivered:
		log.Info("alert sent", "message_id", e.MessageID)
	case result == job.PartRetry:
		log.Warn("alert not sent, it goes again", "wait", e.Delay.String(), "err", e.Message)
	default:
		log.Error("alert not confirmed", "result", string(result), "err", e.Message)
	}
}

func (s *Sender) write(ctx context.Context, e job.AlertEnd) (job.SendResult, error) {
	for {
		ask, cancel := context.WithTimeout(ctx, askTimeout)
		result, err := s.o.Outbox.EndAlert(ask, e)
		cancel()
		if err == nil || errors.Is(err, job.ErrFenced) {
			return result, err
		}
		timer := time.NewTimer(s.o.Tick)
		select {
		case <-ctx.Done():
			timer.Stop()
			return "", err
		case <-timer.C:
		}
	}
}
