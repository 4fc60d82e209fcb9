package aiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/redact"
	"github.com/gatewaycron/gatewaycron/internal/wire"
)

// Kind says what a failed call means for the run.
type Kind string

const (
	// KindRetryable: nothing was done, or it failed in a way that may pass.
	KindRetryable Kind = "retryable"
	// KindPermanent: the same call would fail again.
	KindPermanent Kind = "permanent"
	// KindRateLimited: asked to come back later, after Error.RetryAfter.
	KindRateLimited Kind = "rate_limited"
	// KindDeadline: the context's deadline passed; the outcome is unknown, as the
	// ai-server goes on without noticing.
	KindDeadline Kind = "deadline"
	// KindAmbiguous: the request, or a part of it, was written and no complete
	// answer came; the outcome is unknown.
	KindAmbiguous Kind = "ambiguous"
)

// maxMessageBytes bounds Error.Message, maxComplaintBytes what it is made from.
const (
	maxMessageBytes   = 500
	maxComplaintBytes = 16 << 10
)

var (
	errNoMessages = errors.New("no array messages")
	errNoSession  = errors.New("not a session") // an object without any of its fields
)

// Error is how a call failed.
type Error struct {
	Kind       Kind
	Status     int           // of the HTTP answer; 0 if there was none
	RetryAfter time.Duration // of KindRateLimited, at most an hour; 0 if not given
	Message    string        // one printable line for a person, at most 500 bytes
	Err        error         // the cause, if there is one
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.Err }

// bounded words an error. It is cut only after it was redacted: half a key would not be
// recognised.
func bounded(format string, args ...any) string {
	return wire.Printable(redact.Text(fmt.Sprintf(format, args...)), maxMessageBytes)
}

func permanent(format string, args ...any) *Error {
	return &Error{Kind: KindPermanent, Message: bounded(format, args...)}
}

// unanswered classifies a call that got no complete answer.
func unanswered(what string, f *wire.Failure) *Error {
	switch {
	case errors.Is(f.Ended, context.DeadlineExceeded):
		return &Error{Kind: KindDeadline, Err: f, Message: bounded("ai-server %s did not end before its deadline", what)}
	case f.Sent:
		return &Error{Kind: KindAmbiguous, Err: f, Message: bounded("ai-server %s was sent but got no complete answer: %v", what, f)}
	case f.Ended != nil:
		return &Error{Kind: KindRetryable, Err: f, Message: bounded("ai-server %s was cancelled before it was sent: %v", what, f)}
	default:
		return &Error{Kind: KindRetryable, Err: f, Message: bounded("ai-server cannot be reached: %v", f)}
	}
}

// telling are the texts by which a 500 of the ai-server, its one status for
// everything, says that a repetition is of no use.
var telling = regexp.MustCompile(`(?i)\bunknown model:|_API_KEY\b.*\brequired\b`)

// refused classifies a complete answer other than 2xx.
func (c *Client) refused(answer wire.Answer) *Error {
	complaint := wire.Complaint(answer.Body, maxComplaintBytes)
	wait, asked := wire.RetryAfter(answer.Header, c.now())
	e := &Error{Kind: KindPermanent, Status: answer.Status}
	switch status := answer.Status; {
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable && asked:
		e.Kind, e.RetryAfter = KindRateLimited, wait
	case status == http.StatusInternalServerError && telling.MatchString(complaint):
	case status == http.StatusRequestTimeout, status >= 500:
		e.Kind = KindRetryable
	}
	if complaint == "" {
		complaint = http.StatusText(answer.Status)
	}
	e.Message = bounded("ai-server answered %d: %s", answer.Status, complaint)
	return e
}
