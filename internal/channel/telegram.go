package channel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-telegram/bot"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/outcome"
	"github.com/gatewaycron/gatewaycron/internal/wire"
)

// maxTelegramUnits is the longest text of one Telegram message.
const maxTelegramUnits = 4096

// TelegramOptions configures a Telegram channel.
type TelegramOptions struct {
	// Token is the bot's, as given by @BotFather. It becomes part of every URL,
	// so it is kept out of errors and logs.
	Token string
	// ServerURL is the Bot API; "" means https://api.telegram.org.
	ServerURL string
	// Timeout bounds one send; 0 means DefaultTimeout.
	Timeout time.Duration
	// Now is the clock that a Retry-After date is measured against; nil means
	// time.Now.
	Now func() time.Time
}

// Telegram sends as a Telegram bot, in plain text: a reply is shown as it is,
// and no stray mark in it can make Telegram refuse it. The Bot API knows no
// idempotency key.
type Telegram struct {
	bot     *bot.Bot
	timeout time.Duration
	client  *wire.Client
	redact  redactor
}

var _ Channel = (*Telegram)(nil)

// telegramToken also keeps the token a plain path segment.
var telegramToken = regexp.MustCompile(`^[0-9]{1,20}:[A-Za-z0-9_-]{8,128}$`)

// NewTelegram checks o and returns a channel; it makes no call.
func NewTelegram(o TelegramOptions) (*Telegram, error) {
	if !telegramToken.MatchString(o.Token) {
		return nil, errors.New("telegram token must be of the form 123456:ABC-def, as given by @BotFather")
	}
	if o.ServerURL == "" {
		o.ServerURL = "https://api.telegram.org"
	}
	server, err := wire.BaseURL(o.ServerURL)
	if err != nil {
		return nil, fmt.Errorf("telegram server URL %w", err)
	}
	timeout, now, err := sendDefaults(o.Timeout, o.Now)
	if err != nil {
		return nil, fmt.Errorf("telegram %w", err)
	}
	t := &Telegram{timeout: timeout, client: wire.NewClient(), redact: redactor{
		// The part behind the colon is the secret one, and the colon may come
		// back escaped.
		name: "telegram", secrets: []string{o.Token, o.Token[strings.IndexByte(o.Token, ':')+1:]}}}
	doer := &telegramDoer{client: t.client, redact: t.redact, now: now}
	t.bot, err = bot.New(o.Token,
		bot.WithSkipGetMe(),
		bot.WithServerURL(server),
		bot.WithHTTPClient(timeout, doer),
		bot.WithUpdatesChannelCap(0),
		// The default prints to the standard logger. What arrives here are failures
		// to close a pipe in memory, and their text is not ours to vouch for.
		bot.WithErrorsHandler(func(error) {}),
	)
	if err != nil {
		return nil, errors.New("telegram: the client cannot be made")
	}
	return t, nil
}

// String keeps the token out of whatever prints a channel.
func (t *Telegram) String() string { return "telegram" }

// GoString is String.
func (t *Telegram) GoString() string { return t.String() }

// CloseIdle closes the connections that no send uses.
func (t *Telegram) CloseIdle() { t.client.CloseIdle() }

var telegramUsername = regexp.MustCompile(`^@[A-Za-z][A-Za-z0-9_]{3,31}$`)

// Check implements Channel.
func (t *Telegram) Check(target job.Target) []job.Problem {
	var problems []job.Problem
	number, err := strconv.ParseInt(target.ChatID, 10, 64)
	switch isNumber := err == nil && number != 0 && strconv.FormatInt(number, 10) == target.ChatID; {
	case !isNumber && !telegramUsername.MatchString(target.ChatID):
		problems = append(problems, job.Problem{Field: "chatId", Example: `"-1001234567890"`,
			Detail: "must be a Telegram chat: its number, or the @name of a public group or channel"})
	case isNumber && number > 0 && target.IsGroup != nil && *target.IsGroup:
		problems = append(problems, job.Problem{Field: "chatId", Example: `"-1001234567890"`,
			Detail: "is the number of a person while isGroup is true; the number of a group is negative"})
	}
	if target.ThreadID != "" {
		if thread, err := strconv.ParseInt(target.ThreadID, 10, 32); err != nil || thread <= 0 || strconv.FormatInt(thread, 10) != target.ThreadID {
			problems = append(problems, job.Problem{Field: "threadId", Example: `"42"`,
				Detail: "must be the number of a Telegram topic"})
		}
	}
	return problems
}

// Parts implements Channel.
func (t *Telegram) Parts(reply string) []Part { return plain(reply, maxTelegramUnits) }

// Send implements Channel.
func (t *Telegram) Send(ctx context.Context, m Message) (string, error) {
	if problems := append(t.Check(m.Target), checkMessage(m, maxTelegramUnits)...); len(problems) > 0 {
		return "", invalid(problems)
	}
	params := &bot.SendMessageParams{ChatID: m.Target.ChatID, Text: m.Text}
	// Check has seen that both numbers are numbers, or absent.
	params.MessageThreadID, _ = strconv.Atoi(m.Target.ThreadID)

	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	message, err := t.bot.SendMessage(ctx, params)
	if err != nil {
		return "", t.classify(err)
	}
	if message.ID == 0 {
		return "", t.unconfirmed()
	}
	return strconv.Itoa(message.ID), nil
}

func (t *Telegram) unconfirmed() *outcome.Error {
	return t.redact.failed(outcome.Ambiguous, "answered without a message_id: the message was sent but not confirmed")
}

// classify turns what the library made of an answer into an *outcome.Error. Answers the
// library has no type for do not reach it, except one that says ok and cannot be
// read.
func (t *Telegram) classify(err error) *outcome.Error {
	var (
		own     *outcome.Error
		failure *wire.Failure
		limited *bot.TooManyRequestsError
		moved   *bot.MigrateError
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &failure):
		return t.redact.unanswered(failure)
	case errors.As(err, &limited):
		e := t.redact.failed(outcome.RateLimited, "%s", limited.Message)
		// Clamped before it is multiplied: a huge number would overflow.
		seconds := min(max(limited.RetryAfter, 0), int(wire.MaxRetryAfter/time.Second))
		e.RetryAfter = time.Duration(seconds) * time.Second
		return e
	case errors.As(err, &moved):
		return t.redact.failed(outcome.Permanent, "the group became a supergroup: set chatId to %d", moved.MigrateToChatID)
	case errors.Is(err, bot.ErrorUnauthorized), errors.Is(err, bot.ErrorNotFound):
		return t.redact.failed(outcome.Permanent, "%v; is GATEWAY_CRON_TELEGRAM_TOKEN the token of a bot that exists?", err)
	case errors.Is(err, bot.ErrorBadRequest), errors.Is(err, bot.ErrorForbidden), errors.Is(err, bot.ErrorConflict):
		return t.redact.failed(outcome.Permanent, "%v", err)
	default:
		return t.unconfirmed()
	}
}

// telegramDoer is the library's HTTP client. The library takes neither a status
// nor a broken connection for what it means to a delivery, so this sends each
// request at most once and judges all answers but those the library types.
type telegramDoer struct {
	client *wire.Client
	redact redactor
	now    func() time.Time
}

func (d *telegramDoer) Do(req *http.Request) (*http.Response, error) {
	// In memory the body has a length and is written in one piece.
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, d.redact.failed(outcome.Permanent, "not sent: %v", err)
	}
	answer, err := d.client.Do(req.Context(), wire.Request{
		Method: req.Method, URL: req.URL.String(), Header: req.Header, Body: body, MaxAnswerBytes: maxAnswerBytes,
	})
	if err != nil {
		return nil, err
	}
	if !d.typed(answer) {
		return nil, d.redact.refused(answer, d.now())
	}
	return &http.Response{StatusCode: answer.Status, Header: answer.Header, Body: io.NopCloser(bytes.NewReader(answer.Body))}, nil
}

// typed reports whether the library makes an error of its own, or a message, of
// answer.
func (d *telegramDoer) typed(answer wire.Answer) bool {
	if answer.Status >= 200 && answer.Status <= 299 {
		return true
	}
	var fields struct {
		ErrorCode int `json:"error_code"`
	}
	if json.Unmarshal(answer.Body, &fields) != nil || fields.ErrorCode != answer.Status {
		return false
	}
	switch answer.Status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
		http.StatusConflict, http.StatusTooManyRequests:
		return true
	}
	return false
}
