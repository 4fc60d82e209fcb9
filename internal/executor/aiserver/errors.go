package aiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"github.com/gatewaycron/gatewaycron/internal/outcome"
	"github.com/gatewaycron/gatewaycron/internal/redact"
	"github.com/gatewaycron/gatewaycron/internal/wire"
)

// maxComplaintBytes bounds what the message of an error is made from.
const maxComplaintBytes = 16 << 10

var (
	errNoMessages = errors.New("no array messages")
	errNoSession  = errors.New("not a session") // an object without any of its fields
)

// bounded words an error. It is cut only after it was redacted: half a key would not be
// recognised.
func bounded(format string, args ...any) string {
	return wire.Printable(redact.Text(fmt.Sprintf(format, args...)), outcome.MaxMessageBytes)
}

func permanent(format string, args ...any) *outcome.Error {
	return &outcome.Error{Kind: outcome.Permanent, Message: bounded(format, args...)}
}

// unanswered classifies a call that got no complete answer.
func unanswered(what string, f *wire.Failure) *outcome.Error {
	e := &outcome.Error{Kind: outcome.Unanswered(f), Err: f}
	switch {
	case errors.Is(f.Ended, context.DeadlineExceeded):
		e.Kind, e.Message = outcome.Deadline, bounded("ai-server %s did not end before its deadline", what)
	case f.Sent:
		e.Message = bounded("ai-server %s was sent but got no complete answer: %v", what, f)
	case f.Ended != nil:
		e.Message = bounded("ai-server %s was cancelled before it was sent: %v", what, f)
	default:
		e.Message = bounded("ai-server cannot be reached: %v", f)
	}
	return e
}

// telling are the texts by which a 500 of the ai-server, its one status for
// everything, says that a repetition is of no use.
var telling = regexp.MustCompile(`(?i)\bunknown model:|_API_KEY\b.*\brequired\b`)

// refused classifies a complete answer other than 2xx.
func (c *Client) refused(answer wire.Answer) *outcome.Error {
	complaint := wire.Complaint(answer.Body, maxComplaintBytes)
	e := &outcome.Error{Status: answer.Status}
	e.Kind, e.RetryAfter = outcome.Refused(answer, c.now())
	if answer.Status == http.StatusInternalServerError && telling.MatchString(complaint) {
		e.Kind = outcome.Permanent
	}
	if complaint == "" {
		complaint = http.StatusText(answer.Status)
	}
	e.Message = bounded("ai-server answered %d: %s", answer.Status, complaint)
	return e
}
