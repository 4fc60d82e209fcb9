package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redact"
)

// maxDeliveryRetries bounds the counted retries of one delivery.
const maxDeliveryRetries = 8

// maxDeliveries bounds the deliveries of one run.
const maxDeliveries = 20

// Redeliver puts the reply of an ended run into the outbox once more and returns the
// carriers that may be enqueued at once; not again for the Once of a request that did so
// already. Errors: job.ErrNotFound, job.ErrUnfinished, job.ErrNoReply, job.ErrReplyDropped, job.ErrNoTarget, job.ErrForeign,
// job.ErrTooOften, job.ErrOtherRequest, job.ErrNewerVersion.
func (s *Store) Redeliver(ctx context.Context, run string, once ...job.Once) ([]job.Carrier, error) {
	first := onceOf(once)
	_, rest, err := s.durably(ctx, s.scripts.redeliver, "run", run, "token", newToken(), "most", maxDeliveries, "actor", job.ActorOf(ctx),
		"key", first.Key, "print", first.Print, "agent", job.TokenOf(ctx).Agent(), "session", job.TokenOf(ctx).Session())
	if err != nil {
		return nil, fmt.Errorf("redeliver %s: %w", run, err)
	}
	return kicks(rest), nil
}

// BeginDelivery gives a delivery's next attempt to the caller.
func (s *Store) BeginDelivery(ctx context.Context, run string, n int, token string) (job.DeliveryBegun, error) {
	said, rest, err := s.durably(ctx, s.scripts.beginDelivery, run, n, token, maxDeliveryRetries)
	if err != nil {
		return job.DeliveryBegun{}, fmt.Errorf("begin delivery %s:%d: %w", run, n, err)
	}
	b := job.DeliveryBegun{Verdict: job.Verdict(said)}
	switch {
	case b.Verdict == job.BeginEarly && len(rest) == 1:
		b.Delay = time.Duration(number(rest[0])) * time.Millisecond
	case b.Verdict == job.BeginOK && len(rest) == 3:
		f, err := flatFields(rest[1])
		if err != nil {
			return b, fmt.Errorf("begin delivery %s:%d: %w", run, n, err)
		}
		b.Epoch, b.Reply, b.Retries = number(rest[0]), text(rest[2]), int(f.int("retries"))
		b.Delivery, b.Sent = decodeDelivery(n, f)
		if b.Delivery.Kind == job.KindAlert {
			// A damaged one has nothing to tell, and fails as such.
			_ = json.Unmarshal([]byte(f["alert"]), &b.Alert)
		}
	}
	return b, nil
}

// RenewDelivery keeps the lease of a delivery under way. Errors: job.ErrFenced.
func (s *Store) RenewDelivery(ctx context.Context, run string, n int, epoch int64) error {
	ok, err := s.run(ctx, s.scripts.renewDelivery, run, n, epoch).Int()
	if err != nil {
		return fmt.Errorf("renew delivery %s:%d: %w", run, n, err)
	}
	if ok == 0 {
		return fmt.Errorf("renew delivery %s:%d: %w", run, n, job.ErrFenced)
	}
	return nil
}

// SendBegin notes that a part (from 0) of parts is about to be sent. The token
// makes a resend by the client library harmless. Errors: job.ErrFenced.
func (s *Store) SendBegin(ctx context.Context, run string, n int, epoch int64, part, parts int, token string) (job.SendVerdict, error) {
	said, _, err := s.durably(ctx, s.scripts.sendBegin, run, n, epoch, part, token, parts)
	if err != nil {
		return "", fmt.Errorf("begin part %d of delivery %s:%d: %w", part, run, n, err)
	}
	return job.SendVerdict(said), nil
}

// SendEnd notes what became of a part and reports whether the delivery has ended.
// Errors: job.ErrFenced.
func (s *Store) SendEnd(ctx context.Context, e job.SendEnd) (ended bool, err error) {
	said, _, err := s.answer(ctx, s.scripts.sendEnd, e.RunID, e.N, e.Epoch, e.Part, string(e.Result),
		e.MessageID, redact.Text(e.Message), e.Delay.Milliseconds(), string(e.Retry), maxDeliveryRetries)
	if err != nil {
		return false, fmt.Errorf("end part %d of delivery %s:%d: %w", e.Part, e.RunID, e.N, err)
	}
	return said == saidEnded, nil
}
