package channel

import (
	"context"
	"errors"
	"net/http"

	"github.com/gatewaycron/gatewaycron/internal/outcome"
	"github.com/gatewaycron/gatewaycron/internal/wire"
)

// ErrNoHealth says that a channel manager has no page that tells how it is.
var ErrNoHealth = errors.New("has no /health")

// Ask asks the Bot API who the bot is, which sends nothing to anybody, and answers its
// name. The error is an *outcome.Error.
func (t *Telegram) Ask(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	user, err := t.bot.GetMe(ctx)
	if err != nil {
		return "", t.classify(err)
	}
	if user.ID == 0 {
		return "", t.redact.failed(outcome.Retryable, "answered without a bot")
	}
	return wire.Printable("@"+user.Username, 64), nil
}

// Ask asks the channel manager how it is, which sends nothing to anybody. The error is
// ErrNoHealth, or an *outcome.Error.
func (h *HTTP) Ask(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	header := http.Header{"Accept": {"application/json"}}
	if h.token != "" {
		header.Set("Authorization", "Bearer "+h.token)
	}
	answer, err := h.client.Do(ctx, wire.Request{Method: http.MethodGet, URL: h.base + "/health", Header: header, MaxAnswerBytes: maxAnswerBytes})
	if failure, ok := errors.AsType[*wire.Failure](err); ok {
		failure.Sent = false // a question that got no answer did nothing
		return "", h.redact.unanswered(failure)
	}
	switch status := answer.Status; {
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusNotImplemented:
		return "", ErrNoHealth
	case status < 200 || status > 299:
		return "", h.redact.refused(answer, h.now())
	}
	return "answers", nil
}
