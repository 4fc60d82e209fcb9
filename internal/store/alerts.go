package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redact"
)

// Notify puts a fact into the outbox of alerts: for whoever the deployment tells, and for
// the chat of the job that it names. One with a key that was told before, or a recovery of
// what was not told, changes nothing.
func (s *Store) Notify(ctx context.Context, n job.Notice) error {
	now, err := s.Now(ctx)
	if err != nil {
		return fmt.Errorf("notify of %s %s: %w", n.Kind, n.Key, err)
	}
	n.At, n.Text, n.Error = job.ToMillis(now), oneLine(redact.Text(n.Text)), oneLine(redact.Text(n.Error))
	fact, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("notify of %s %s: %w", n.Kind, n.Key, err)
	}
	if err := s.run(ctx, s.scripts.notify, string(n.Kind), n.Key, n.JobID, fact).Err(); err != nil {
		return fmt.Errorf("notify of %s %s: %w", n.Kind, n.Key, unanswered(err))
	}
	return nil
}

// TakeAlert gives the caller what waits for a target of alerts, marked as being sent. What
// a sender that died had taken is ended, and only counted.
func (s *Store) TakeAlert(ctx context.Context, t job.AlertTake) (job.AlertTaken, error) {
	chat := ""
	if t.Chat.Channel != "" {
		target, err := json.Marshal(t.Chat)
		if err != nil {
			return job.AlertTaken{}, fmt.Errorf("take an alert: %w", err)
		}
		chat = string(target)
	}
	said, rest, err := s.durably(ctx, s.scripts.takeAlert, t.Sender, flag(t.Leads), t.HoldFor.Milliseconds(), t.Token,
		t.Lease.Milliseconds(), chat, flag(t.Hook))
	if err != nil {
		return job.AlertTaken{}, fmt.Errorf("take an alert: %w", err)
	}
	switch {
	case said == saidHeld || said == saidIdle:
		return job.AlertTaken{}, nil
	case said == saidLost && len(rest) == 2:
		return job.AlertTaken{To: text(rest[0]), Lost: int(number(rest[1]))}, nil
	case said == saidDamaged && len(rest) == 1:
		return job.AlertTaken{To: text(rest[0]), Damaged: true}, nil
	case said != saidSend || len(rest) != 5:
		return job.AlertTaken{}, fmt.Errorf("take an alert: %w", s.scripts.takeAlert.notSo(said, rest))
	}
	taken := job.AlertTaken{To: text(rest[0]), Retries: int(number(rest[2])), More: int(number(rest[3]))}
	// A damaged target has no channel, and a damaged fact no kind: the sender says so.
	_ = json.Unmarshal([]byte(text(rest[1])), &taken.Target)
	facts, _ := rest[4].([]any)
	for _, fact := range facts {
		var n job.Notice
		_ = json.Unmarshal([]byte(text(fact)), &n)
		taken.Notices = append(taken.Notices, n)
	}
	return taken, nil
}

// EndAlert notes how a send ended and returns what that means for its facts, which is not
// what was asked for where the time for retries is over. Errors: job.ErrFenced.
func (s *Store) EndAlert(ctx context.Context, e job.AlertEnd) (job.SendResult, error) {
	said, rest, err := s.answer(ctx, s.scripts.endAlert, e.To, e.Token, string(e.Result), e.MessageID, redact.Text(e.Message),
		e.Delay.Milliseconds(), string(e.Retry), flag(e.Forward))
	switch {
	case err != nil:
		return "", fmt.Errorf("end the alert to %s: %w", e.To, err)
	case len(rest) != 1:
		return "", fmt.Errorf("end the alert to %s: %w", e.To, s.scripts.endAlert.notSo(said, rest))
	}
	return job.SendResult(text(rest[0])), nil
}
