package handlers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strconv"
	"time"

	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/alert"
	"github.com/gatewaycron/gatewaycron/internal/channel"
	"github.com/gatewaycron/gatewaycron/internal/fault"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/outcome"
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
	report   func(ctx context.Context, task *asynq.Task, results ...result)
	logger   *slog.Logger
	gates    *gates
}

func (h *deliverHandler) handle(ctx context.Context, task *asynq.Task) error {
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
		err := settle(b.Verdict, b.Delay)
		if err == nil {
			h.report(ctx, task, result{Run: p.Run, Delivery: p.N, Outcome: nothingToDo[b.Verdict]})
		}
		return err
	}
	d := &delivery{h: h, run: p.Run, b: b, result: result{Outcome: notWritten}, log: h.logger.With("run_id", p.Run, "delivery", p.N,
		"kind", string(b.Delivery.Kind), "channel", b.Delivery.Target.Channel)}
	d.deliver(asked)
	d.result.Run, d.result.Delivery = p.Run, p.N
	h.report(ctx, task, d.result)
	return nil
}

// delivery is one attempt at a delivery.
type delivery struct {
	h   *deliverHandler
	run string
	b   job.DeliveryBegun
	log *slog.Logger

	result result // so far
}

func (d *delivery) deliver(granted time.Time) {
	target := d.b.Delivery.Target
	ctx, fence := context.WithCancelCause(d.h.base)
	defer fence(nil)
	lease := holdLease(granted, func(ctx context.Context) error {
		return d.h.store.RenewDelivery(ctx, d.run, d.b.Delivery.N, d.b.Epoch)
	}, fence)
	defer lease.release()

	next := 0
	for d.b.Sent[next] {
		next++
	}
	ch, ok := d.h.channels.Lookup(target.Channel)
	if !ok {
		// Not sent; another worker may have the channel.
		d.end(next, d.retry("channel "+target.Channel+" is not connected to this worker"))
		return
	}
	parts := ch.Parts(d.text())
	if next >= len(parts) {
		// Nothing to send (any more): cannot be for a committed reply, and must not
		// be claimed as delivered.
		d.end(next, job.SendEnd{Result: job.PartFailed, Message: "there is no text to send"})
		return
	}
	wait, ok := d.h.gates.enter(ctx, target)
	if !ok && d.cut() {
		d.end(next, d.handBack())
		return
	}
	if !ok {
		// Spread out: those that wait must not come back all at once.
		wait += 5*time.Second + mathrand.N(10*time.Second)
		d.end(next, job.SendEnd{Result: job.PartRetry, Retry: job.RetryFree, Delay: wait, Message: "the channel is busy"})
		return
	}
	defer d.h.gates.exit(target)
	for ; next < len(parts); next++ {
		if !d.part(ctx, ch, next, parts) {
			return
		}
	}
}

// text is what is delivered; the same at every attempt, so that its parts are.
func (d *delivery) text() string {
	if d.b.Delivery.Kind == job.KindAlert {
		return alert.Failure(d.b.Alert) // of a release before alerts had an outbox of their own
	}
	if text, _ := job.Spoken(d.b.Reply); text != "" {
		return text
	}
	return d.b.Reply // NO_REPLY alone, which somebody wants to be sent all the same
}

// part sends one part and reports whether to go on with the next.
func (d *delivery) part(ctx context.Context, ch channel.Channel, part int, parts []channel.Part) bool {
	n, token := d.b.Delivery.N, rand.Text()
	var verdict job.SendVerdict
	err := insist(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, freshFor)
		defer cancel()
		var err error
		verdict, err = d.h.store.SendBegin(ctx, d.run, n, d.b.Epoch, part, len(parts), token)
		return err
	})
	switch {
	case err != nil && !isFenced(err) && d.cut():
		// Surely not sent, even if it was begun and the answer came too late.
		d.end(part, d.handBack())
		return false
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

	fault.Point("before_send")
	id, err := ch.Send(ctx, channel.Message{Target: d.b.Delivery.Target, Part: parts[part],
		IdempotencyKey: d.run + ":" + strconv.Itoa(n) + ":" + strconv.Itoa(part)})
	fault.Point("after_send")
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

// retry is the end of a part that surely did not arrive and is tried again.
func (d *delivery) retry(message string) job.SendEnd {
	return job.SendEnd{Result: job.PartRetry, Retry: job.RetryCounted, Message: message,
		Delay: deliveryDelays[min(d.b.Retries, len(deliveryDelays)-1)]}
}

// cut reports whether the worker cuts what still runs.
func (d *delivery) cut() bool { return d.h.base.Err() != nil }

// handBack is the end of a part that was not sent because the worker stops: another
// one goes on with it at once, and no retry is used up.
func (d *delivery) handBack() job.SendEnd {
	return job.SendEnd{Result: job.PartRetry, Retry: job.RetryFree, Message: errShutdown.Error()}
}

// failure says what a failed send means.
func (d *delivery) failure(err error) job.SendEnd {
	e := d.retry(err.Error())
	var ce *outcome.Error
	if !errors.As(err, &ce) {
		e.Result = job.PartUnknown
		return e
	}
	switch ce.Kind {
	case outcome.Retryable:
		if d.cut() { // not sent, or refused in that very moment
			e.Retry, e.Delay = job.RetryFree, 0
		}
	case outcome.Permanent:
		e.Result = job.PartFailed
	case outcome.Ambiguous, outcome.Deadline:
		e.Result = job.PartUnknown
	case outcome.RateLimited:
		e.Retry, e.Delay = job.RetryFree, max(ce.RetryAfter, time.Second)
		d.h.gates.shut(d.b.Delivery.Target, e.Delay)
		d.log.Warn("the chat was asked to wait", "wait", e.Delay.String(), "err", e.Message)
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
	})
	switch {
	case isFenced(err):
		d.log.Warn("delivery is no longer ours", "part", part, "result", string(e.Result))
		return true
	case err != nil:
		d.log.Error("result of a send not written down", "part", part, "result", string(e.Result), "err", err)
		return true
	}
	d.result = sent(e, ended)
	switch {
	case e.Result == job.PartDelivered:
		d.log.Info("delivered", "message_id", e.MessageID, "parts", part+1)
	case e.Retry == job.RetryFree:
		d.log.Debug("delivery put off", "wait", e.Delay.String(), "err", e.Message)
	case e.Result != job.PartSent:
		d.log.Warn("send failed", "part", part, "result", string(e.Result), "err", e.Message, "ended", ended)
	}
	return e.Result != job.PartSent
}

// sent is what the dashboard shows of a delivery after a part.
func sent(e job.SendEnd, ended bool) result {
	r := result{Outcome: string(e.Result), failed: e.Result == job.PartFailed || e.Result == job.PartUnknown}
	switch {
	case e.Result != job.PartRetry:
	case ended:
		r.Outcome, r.failed = string(job.PartFailed), true
	case e.Retry == job.RetryFree:
		r.Outcome = "put off"
	default:
		r.Outcome, r.failed = "failed, will be tried again", true
	}
	return r
}
