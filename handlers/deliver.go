package handlers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/channel"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// DeliveryStore is what a delivery needs of the records.
type DeliveryStore interface {
	BeginDelivery(ctx context.Context, run string, n int, token string) (job.DeliveryBegun, error)
	RenewDelivery(ctx context.Context, run string, n int, epoch int64) error
	SendBegin(ctx context.Context, run string, n int, epoch int64, part, parts int, token string) (job.SendVerdict, error)
	SendEnd(ctx context.Context, e job.SendEnd) (ended bool, err error)
}

// deliveryDelays are the delays before the first retries of a send; the last one
// repeats. The store bounds their number.
var deliveryDelays = []time.Duration{5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}

// deliverHandler handles cron:deliver.
type deliverHandler struct {
	base     context.Context // ends when the worker cuts what runs
	store    DeliveryStore
	channels Channels
	logger   *slog.Logger
	now      func() time.Time

	mu    sync.Mutex
	gates map[string]*gate // by channel; as many as there are channels in use
}

// gate limits the sends on one channel.
type gate struct {
	busy   int
	closed time.Time // until when the channel asked us to wait
}

func (h *deliverHandler) handle(_ context.Context, task *asynq.Task) error {
	p, err := tasks.ParseDeliver(task)
	if err != nil {
		h.logger.Error("delivery task cannot be read", "err", err)
		return fmt.Errorf("%w: %w", errGone, asynq.RevokeTask)
	}
	if p.V > tasks.Version {
		return &giveBack{delay: maxGiveBack, why: errNewer}
	}
	ask, cancel := context.WithTimeout(h.base, askTimeout)
	defer cancel()
	asked := time.Now()
	b, err := h.store.BeginDelivery(ask, p.Run, p.N, rand.Text())
	if err != nil {
		return &giveBack{delay: time.Second, why: err}
	}
	if b.Verdict != job.BeginOK {
		return settle(b.Verdict, b.Delay)
	}
	d := &delivery{h: h, run: p.Run, b: b, log: h.logger.With("run_id", p.Run, "delivery", p.N, "channel", b.Delivery.Target.Channel)}
	d.deliver(asked)
	return nil
}

// enter lets a send onto a channel, or says how long it is to wait.
func (h *deliverHandler) enter(name string) (wait time.Duration, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.gates[name]
	if g == nil {
		g = &gate{}
		h.gates[name] = g
	}
	if wait := g.closed.Sub(h.now()); wait > 0 {
		return wait, false
	}
	if g.busy >= perChannel {
		return time.Second, false
	}
	g.busy++
	return 0, true
}

func (h *deliverHandler) exit(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gates[name].busy--
}

// shut keeps a channel closed for as long as it asked.
func (h *deliverHandler) shut(name string, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until := h.now().Add(wait); until.After(h.gates[name].closed) {
		h.gates[name].closed = until
	}
}

// delivery is one attempt at a delivery.
type delivery struct {
	h   *deliverHandler
	run string
	b   job.DeliveryBegun
	log *slog.Logger
}

func (d *delivery) deliver(granted time.Time) {
	target := d.b.Delivery.Target
	ctx, fence := context.WithCancelCause(d.h.base)
	defer fence(nil)
	lease := holdLease(granted, func(ctx context.Context) error {
		return d.h.store.RenewDelivery(ctx, d.run, d.b.Delivery.N, d.b.Epoch)
	}, fence)
	defer lease.release()

	ch, ok := d.h.channels.Lookup(target.Channel)
	if !ok {
		d.end(0, job.SendEnd{Result: job.PartFailed, Message: "channel " + target.Channel + " is not connected to this worker"})
		return
	}
	parts := ch.Split(d.b.Reply)
	next := 0
	for next < len(parts) && d.b.Sent[next] {
		next++
	}
	if next == len(parts) {
		// Nothing to send (any more): cannot be for a committed reply, and must not
		// be claimed as delivered.
		d.end(next, job.SendEnd{Result: job.PartFailed, Message: "the reply has no text to send"})
		return
	}
	wait, ok := d.h.enter(target.Channel)
	if !ok {
		d.end(next, job.SendEnd{Result: job.PartRetry, Retry: job.RetryFree, Delay: wait, Message: "the channel is busy"})
		return
	}
	defer d.h.exit(target.Channel)
	for ; next < len(parts); next++ {
		if !d.part(ctx, ch, next, parts) {
			return
		}
	}
}

// part sends one part and reports whether to go on with the next.
func (d *delivery) part(ctx context.Context, ch channel.Channel, part int, parts []string) bool {
	n, token := d.b.Delivery.N, rand.Text()
	var verdict job.SendVerdict
	err := insist(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, freshFor)
		defer cancel()
		var err error
		verdict, err = d.h.store.SendBegin(ctx, d.run, n, d.b.Epoch, part, len(parts), token)
		return err
	}, isFenced)
	switch {
	case err != nil:
		// Not begun, or not known to be: the lease runs out and the next attempt
		// finds out.
		d.log.Warn("send not begun", "part", part, "err", err)
		return false
	case verdict == job.SendSent:
		return true
	case verdict != job.SendOK:
		d.log.Warn("delivery unknown", "part", part)
		return false
	}

	id, err := ch.Send(ctx, channel.Message{Target: d.b.Delivery.Target, Text: parts[part],
		IdempotencyKey: d.run + ":" + strconv.Itoa(n) + ":" + strconv.Itoa(part)})
	if err != nil {
		d.end(part, d.failure(err))
		return false
	}
	result := job.PartSent
	if part == len(parts)-1 {
		result = job.PartDelivered
	}
	return !d.end(part, job.SendEnd{Result: result, MessageID: id})
}

// failure says what a failed send means.
func (d *delivery) failure(err error) job.SendEnd {
	e := job.SendEnd{Result: job.PartRetry, Retry: job.RetryCounted, Message: err.Error(),
		Delay: deliveryDelays[min(d.b.Retries, len(deliveryDelays)-1)]}
	var ce *channel.Error
	if !errors.As(err, &ce) {
		e.Result = job.PartUnknown
		return e
	}
	switch ce.Kind {
	case channel.KindPermanent:
		e.Result = job.PartFailed
	case channel.KindAmbiguous:
		e.Result = job.PartUnknown
	case channel.KindRateLimited:
		e.Retry, e.Delay = job.RetryFree, max(ce.RetryAfter, time.Second)
		d.h.shut(d.b.Delivery.Target.Channel, e.Delay)
	}
	return e
}

// end writes what became of a part, until Redis answered, and reports whether
// the attempt is over.
func (d *delivery) end(part int, e job.SendEnd) (over bool) {
	e.RunID, e.N, e.Epoch, e.Part = d.run, d.b.Delivery.N, d.b.Epoch, part
	write, cancel := lastWords(d.h.base)
	defer cancel()
	ended := false
	err := insist(write, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		var err error
		ended, err = d.h.store.SendEnd(ctx, e)
		return err
	}, isFenced)
	switch {
	case err != nil:
		d.log.Error("result of a send not written down", "part", part, "result", string(e.Result), "err", err)
		return true
	case e.Result == job.PartDelivered:
		d.log.Info("delivered", "message_id", e.MessageID, "parts", part+1)
	case e.Result != job.PartSent:
		d.log.Warn("send failed", "part", part, "result", string(e.Result), "err", e.Message, "ended", ended)
	}
	return e.Result != job.PartSent
}
