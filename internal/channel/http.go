package channel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/outcome"
	"github.com/gatewaycron/gatewaycron/internal/wire"
)

// maxHTTPUnits bounds one message to the channel manager, which splits by
// itself what is too long for a chat.
const maxHTTPUnits = 1 << 20

// maxAnswerBytes bounds the answer of a channel.
const maxAnswerBytes = 64 << 10

// maxKeyBytes bounds an idempotency key, which travels in a header.
const maxKeyBytes = 300

// HTTPOptions configures an HTTP channel.
type HTTPOptions struct {
	// BaseURL of the channel manager; a path prefix is kept.
	BaseURL string
	// Token, if set, is sent as a bearer token.
	Token string
	// Timeout bounds one send; 0 means DefaultTimeout.
	Timeout time.Duration
	// Now is the clock that a Retry-After date is measured against; nil means
	// time.Now.
	Now func() time.Time
}

// HTTP sends through a channel manager:
//
//	POST {base}/api/channels/{channel}/messages
//	{"chatId", "peerId"?, "threadId"?, "isGroup"?, "text", "idempotencyKey"}
//
// which answers 2xx {"messageId": "..."} once the chat has the message.
type HTTP struct {
	base    string
	token   string
	timeout time.Duration
	now     func() time.Time
	client  *wire.Client
	redact  redactor
}

var _ Channel = (*HTTP)(nil)

// NewHTTP checks o and returns a channel; it makes no call.
func NewHTTP(o HTTPOptions) (*HTTP, error) {
	base, err := wire.BaseURL(o.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("channel manager URL %w", err)
	}
	if strings.ContainsFunc(o.Token, notPrintableASCII) {
		return nil, errors.New("channel manager token must be printable ASCII without spaces")
	}
	timeout, now, err := sendDefaults(o.Timeout, o.Now)
	if err != nil {
		return nil, fmt.Errorf("channel manager %w", err)
	}
	return &HTTP{base: base, token: o.Token, timeout: timeout, now: now, client: wire.NewClient(),
		redact: redactor{name: "channel manager", secrets: []string{o.Token}}}, nil
}

func sendDefaults(timeout time.Duration, now func() time.Time) (time.Duration, func() time.Time, error) {
	if timeout < 0 {
		return 0, nil, errors.New("timeout must not be negative")
	}
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	if now == nil {
		now = time.Now
	}
	return timeout, now, nil
}

// String keeps the token out of whatever prints a channel.
func (h *HTTP) String() string { return "channel manager" }

// GoString is String.
func (h *HTTP) GoString() string { return h.String() }

// CloseIdle closes the connections that no send uses.
func (h *HTTP) CloseIdle() { h.client.CloseIdle() }

var channelName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// Check implements Channel. What a chat id looks like is the channel manager's.
func (h *HTTP) Check(t job.Target) []job.Problem {
	var problems []job.Problem
	if !channelName.MatchString(t.Channel) {
		problems = append(problems, job.Problem{Field: "channel", Example: `"slack"`,
			Detail: "must be lower-case letters, digits, - or _, at most 64"})
	}
	if t.ChatID == "" {
		problems = append(problems, job.Problem{Field: "chatId", Example: `"123456"`,
			Detail: "is required with channel: it says which chat gets the reply"})
	}
	for _, f := range []struct{ field, value string }{{"chatId", t.ChatID}, {"peerId", t.PeerID}, {"threadId", t.ThreadID}} {
		if len(f.value) > job.MaxIdentifierBytes || !utf8.ValidString(f.value) {
			problems = append(problems, job.Problem{Field: f.field, Example: `"123456"`,
				Detail: fmt.Sprintf("must be valid text of at most %d bytes", job.MaxIdentifierBytes)})
		}
	}
	return problems
}

// Parts implements Channel: one part, unless the text is of an unlikely size.
func (h *HTTP) Parts(reply string) []Part { return plain(reply, maxHTTPUnits) }

// Send implements Channel.
func (h *HTTP) Send(ctx context.Context, m Message) (string, error) {
	if problems := append(h.Check(m.Target), checkMessage(m, maxHTTPUnits)...); len(problems) > 0 {
		return "", invalid(problems)
	}
	body, err := wire.ASCIIJSON(struct {
		ChatID         string `json:"chatId"`
		PeerID         string `json:"peerId,omitempty"`
		ThreadID       string `json:"threadId,omitempty"`
		IsGroup        *bool  `json:"isGroup,omitempty"`
		Text           string `json:"text"`
		IdempotencyKey string `json:"idempotencyKey"`
	}{m.Target.ChatID, m.Target.PeerID, m.Target.ThreadID, m.Target.IsGroup, m.Text, m.IdempotencyKey})
	if err != nil {
		return "", h.redact.failed(outcome.Permanent, "not sent: %v", err)
	}
	header := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
	if h.token != "" {
		header.Set("Authorization", "Bearer "+h.token)
	}
	if m.IdempotencyKey != "" {
		header.Set("Idempotency-Key", m.IdempotencyKey)
	}

	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	answer, err := h.client.Do(ctx, wire.Request{
		Method: http.MethodPost, URL: h.base + "/api/channels/" + m.Target.Channel + "/messages",
		Header: header, Body: body, MaxAnswerBytes: maxAnswerBytes,
	})
	var failure *wire.Failure
	switch {
	case errors.As(err, &failure):
		return "", h.redact.unanswered(failure)
	case answer.Status < 200 || answer.Status > 299:
		return "", h.redact.refused(answer, h.now())
	}
	id := messageID(answer.Body)
	if id == "" {
		return "", h.redact.failed(outcome.Ambiguous,
			"answered %d without a messageId: the message was sent but not confirmed", answer.Status)
	}
	return id, nil
}

// messageID reads the id of a confirmation, a string or a number; "" if there is
// none.
func messageID(body []byte) string {
	var confirmation struct {
		MessageID json.RawMessage `json:"messageId"`
	}
	if json.Unmarshal(body, &confirmation) != nil {
		return ""
	}
	var text string
	if json.Unmarshal(confirmation.MessageID, &text) == nil {
		return wire.Printable(text, job.MaxIdentifierBytes)
	}
	var number json.Number
	if json.Unmarshal(confirmation.MessageID, &number) == nil {
		return wire.Printable(number.String(), job.MaxIdentifierBytes)
	}
	return ""
}

// checkMessage checks what is in m beside its target; most is in UTF-16 units.
func checkMessage(m Message, most int) []job.Problem {
	var problems []job.Problem
	switch n := units(m.Text); {
	case strings.TrimSpace(m.Text) == "":
		problems = append(problems, job.Problem{Field: "text", Detail: "is empty"})
	case n > most:
		problems = append(problems, job.Problem{Field: "text", Detail: fmt.Sprintf("is %d UTF-16 units; at most %d are allowed", n, most)})
	case !utf8.ValidString(m.Text):
		problems = append(problems, job.Problem{Field: "text", Detail: "is not valid UTF-8"})
	}
	if len(m.IdempotencyKey) > maxKeyBytes || strings.ContainsFunc(m.IdempotencyKey, notPrintableASCII) {
		problems = append(problems, job.Problem{Field: "idempotencyKey",
			Detail: fmt.Sprintf("must be printable ASCII without spaces, at most %d bytes", maxKeyBytes)})
	}
	return problems
}

// notPrintableASCII is what would make a header invalid, or ambiguous to read.
func notPrintableASCII(r rune) bool { return r <= ' ' || r > '~' }
