// Package channel brings replies to chats. It owns the small interface every
// channel serves, the manager that finds a channel by its name, and two
// channels: HTTP, which hands messages to a channel manager over HTTP, and
// Telegram, which speaks to the Bot API directly.
//
// It sends one part once and says how that ended; retries, order and records
// are the caller's. It must import no package of this module but job, outcome,
// redact and wire.
package channel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/outcome"
	"github.com/gatewaycron/gatewaycron/internal/redact"
	"github.com/gatewaycron/gatewaycron/internal/wire"
)

// DefaultTimeout bounds one send.
const DefaultTimeout = 30 * time.Second

// Part is a piece of a reply.
type Part struct{ Text string }

// Message is one part of a reply, and where it goes.
type Message struct {
	Target job.Target
	Part
	IdempotencyKey string // the same for every try at this part
}

// Channel is one way to a chat.
type Channel interface {
	// Check says what is wrong with a target when a job is saved: nothing about
	// it is guessed when a message is sent.
	Check(job.Target) []job.Problem
	// Parts cuts a reply into parts that Send accepts, always the same for the
	// same reply, none of them empty.
	Parts(reply string) []Part
	// Send sends one part, at most once, and returns the channel's id of it. Its
	// error is an *outcome.Error.
	Send(ctx context.Context, m Message) (messageID string, err error)
}

// Manager finds the channel of a target.
type Manager struct {
	direct   map[string]Channel
	fallback Channel
}

// NewManager returns a manager of the channels in direct, by name. fallback, a
// channel manager that knows names of its own, serves every other name; it may
// be nil.
func NewManager(direct map[string]Channel, fallback Channel) *Manager {
	m := &Manager{direct: make(map[string]Channel, len(direct)), fallback: fallback}
	maps.Copy(m.direct, direct)
	return m
}

// Lookup returns the channel that serves name.
func (m *Manager) Lookup(name string) (Channel, bool) {
	if c, ok := m.direct[name]; ok {
		return c, true
	}
	return m.fallback, m.fallback != nil && name != ""
}

// All returns the channels by the names that people know them by: their own, and "channel
// manager".
func (m *Manager) All() map[string]Channel {
	all := maps.Clone(m.direct)
	if m.fallback != nil {
		all["channel manager"] = m.fallback
	}
	return all
}

// Check says what is wrong with a job's target. A target without a channel asks
// for no delivery and has nothing wrong with it.
func (m *Manager) Check(t job.Target) []job.Problem {
	if t.Channel == "" {
		return nil
	}
	if c, ok := m.Lookup(t.Channel); ok {
		return c.Check(t)
	}
	names := make([]string, 0, len(m.direct))
	for name := range m.direct {
		names = append(names, name)
	}
	if len(names) == 0 {
		return []job.Problem{{Field: "channel", Detail: fmt.Sprintf(
			"%q is not connected, nor is any other channel: set GATEWAY_CRON_CHANNEL_MANAGER_URL or "+
				"GATEWAY_CRON_TELEGRAM_TOKEN to connect one, or leave channel out to keep replies in the history",
			wire.Printable(t.Channel, 64))}}
	}
	slices.Sort(names)
	return []job.Problem{{Field: "channel", Example: fmt.Sprintf("%q", names[0]), Detail: fmt.Sprintf(
		"%q is not connected; connected are: %s. GATEWAY_CRON_CHANNEL_MANAGER_URL connects others",
		wire.Printable(t.Channel, 64), strings.Join(names, ", "))}}
}

// invalid is the error of a message that no try would bring through.
func invalid(problems []job.Problem) *outcome.Error {
	parts := make([]string, len(problems))
	for i, p := range problems {
		parts[i] = p.Field + " " + p.Detail
	}
	return &outcome.Error{Kind: outcome.Permanent, Message: wire.Printable("not sent: "+strings.Join(parts, "; "), outcome.MaxMessageBytes)}
}

// redactor words errors so that a secret never gets into them.
type redactor struct {
	name    string // of the channel, for people
	secrets []string
}

func (r redactor) message(format string, args ...any) string {
	text := r.name + ": " + fmt.Sprintf(format, args...)
	for _, secret := range r.secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	return wire.Printable(redact.Text(text), outcome.MaxMessageBytes)
}

func (r redactor) failed(kind outcome.Kind, format string, args ...any) *outcome.Error {
	return &outcome.Error{Kind: kind, Message: r.message(format, args...)}
}

// unanswered classifies a send that got no complete answer. A passed deadline is
// no different from a broken connection: what was written may have arrived.
func (r redactor) unanswered(f *wire.Failure) *outcome.Error {
	e := r.failed(outcome.Unanswered(f), "cannot be reached: %v", f)
	if f.Sent {
		e.Message = r.message("the message was sent but not confirmed: %v", f)
	}
	// The failure itself is not kept: its text is not ours to vouch for.
	for _, known := range []error{context.DeadlineExceeded, context.Canceled} {
		if errors.Is(f, known) {
			e.Err = known
			break
		}
	}
	return e
}

// refused classifies a complete answer other than 2xx.
func (r redactor) refused(answer wire.Answer, now time.Time) *outcome.Error {
	// Cut only after it was redacted: half a secret would not be recognised.
	complaint := wire.Complaint(answer.Body, maxAnswerBytes)
	if complaint == "" {
		complaint = http.StatusText(answer.Status)
	}
	kind, wait := outcome.Refused(answer, now)
	e := r.failed(kind, "answered %d: %s", answer.Status, complaint)
	e.RetryAfter = wait
	return e
}
