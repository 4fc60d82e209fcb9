// Package outcome owns how a call of an outside party can end: a turn of an agent, a message
// to a chat, an alert to a hook. What follows of it for a run or a delivery its caller decides.
//
// It must import no package of this module but wire, whose answer to "was a byte sent?" it
// takes.
package outcome

import (
	"net/http"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/wire"
)

// Kind says what a failed call means for whoever made it.
type Kind string

const (
	// Retryable: nothing was done, or it was refused in a way that may pass.
	Retryable Kind = "retryable"
	// Permanent: the same call would fail again.
	Permanent Kind = "permanent"
	// RateLimited: nothing was done; the party asks to come back after Error.RetryAfter.
	RateLimited Kind = "rate_limited"
	// Deadline: the context's deadline passed, and the party may go on without noticing, so
	// that the outcome is unknown. A message has no such end: it is Ambiguous, or Retryable.
	Deadline Kind = "deadline"
	// Ambiguous: the request, or a part of it, was written and no complete answer came; the
	// outcome is unknown.
	Ambiguous Kind = "ambiguous"
)

// MaxMessageBytes bounds Error.Message.
const MaxMessageBytes = 500

// Error is how a call failed.
type Error struct {
	Kind       Kind
	Status     int           // of the HTTP answer; 0 if there was none
	RetryAfter time.Duration // of RateLimited, at most an hour; 0 if not given
	Message    string        // one printable line for a person, at most MaxMessageBytes, without secrets
	Err        error         // the cause, if there is one
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.Err }

// Unanswered is the kind of a call that got no complete answer.
func Unanswered(f *wire.Failure) Kind {
	if f.Sent {
		return Ambiguous
	}
	return Retryable
}

// Refused is the kind of an answer with a status other than 2xx, and how long to wait.
func Refused(answer wire.Answer, now time.Time) (Kind, time.Duration) {
	wait, asked := wire.RetryAfter(answer.Header, now)
	switch status := answer.Status; {
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable && asked:
		return RateLimited, wait
	case status == http.StatusRequestTimeout, status >= http.StatusInternalServerError:
		return Retryable, 0
	default:
		return Permanent, 0
	}
}
