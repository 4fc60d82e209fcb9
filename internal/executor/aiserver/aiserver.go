// Package aiserver runs turns at the ai-server (Executor), and is its client: one chat turn,
// the stored session, the health probe. It turns every way a call can end into one typed
// error, above all telling a call that was certainly not made from one whose
// outcome nobody knows.
//
// It never repeats a call by itself and keeps no state but connections. It must
// import no package of this module but executor, job, outcome, redact
// and wire.
package aiserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/outcome"
	"github.com/gatewaycron/gatewaycron/internal/wire"
)

// Default bounds of Options, in bytes.
const (
	DefaultMaxReplyBytes   = 1 << 20
	DefaultMaxSessionBytes = 32 << 20
)

// MaxRequestBytes bounds the encoded body of a chat request; a larger one is
// refused before anything is sent.
const MaxRequestBytes = 32 << 20

// Options configures a Client.
type Options struct {
	// BaseURL is http or https, a path prefix is kept, a trailing slash dropped.
	BaseURL string
	// MaxReplyBytes bounds the text of a reply; 0 means DefaultMaxReplyBytes.
	MaxReplyBytes int
	// MaxSessionBytes bounds the body of a stored session; 0 means
	// DefaultMaxSessionBytes.
	MaxSessionBytes int
	// Now is the clock that a Retry-After date is measured against; nil means
	// time.Now.
	Now func() time.Time
}

// Client calls one ai-server. It is safe for concurrent use.
type Client struct {
	base       string
	maxReply   int
	maxSession int
	now        func() time.Time
	http       *wire.Client
}

// New checks o and returns a client; it makes no call.
func New(o Options) (*Client, error) {
	base, err := wire.BaseURL(o.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("ai-server base URL %w", err)
	}
	if o.MaxReplyBytes < 0 || o.MaxSessionBytes < 0 {
		return nil, errors.New("ai-server bounds must not be negative")
	}
	c := &Client{base: base, maxReply: o.MaxReplyBytes, maxSession: o.MaxSessionBytes, now: o.Now, http: wire.NewClient()}
	if c.maxReply == 0 {
		c.maxReply = DefaultMaxReplyBytes
	}
	if c.maxSession == 0 {
		c.maxSession = DefaultMaxSessionBytes
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c, nil
}

// CloseIdle closes the connections that no call uses.
func (c *Client) CloseIdle() { c.http.CloseIdle() }

// Message is one entry of a transcript, as the ai-server stores it.
type Message struct {
	Role      string // user, assistant or system
	Text      string
	Timestamp int64           // unix SECONDS; 0 means absent
	Images    json.RawMessage // passed through as it is; empty means absent
}

// Gateway says on whose behalf a turn runs. Empty fields are not sent.
type Gateway struct {
	Channel     string `json:"channel,omitempty"`
	PeerID      string `json:"peerId,omitempty"`
	ChatID      string `json:"chatId,omitempty"`
	DisplayName string `json:"displayName,omitempty"`
	IsGroup     *bool  `json:"isGroup,omitempty"`
	AgentID     string `json:"agentId,omitempty"`
	SessionKey  string `json:"sessionKey,omitempty"`
	// Lane "subagent" takes the writing and scheduling tools from the model.
	Lane string `json:"lane,omitempty"`
}

// ChatRequest is one turn. The ai-server replaces the stored session by
// Messages and the reply, so Messages must hold the whole history.
type ChatRequest struct {
	SessionID       string
	Messages        []Message
	Model           string
	ReasoningEffort string
	WorkspaceID     string
	Gateway         Gateway
	// IdempotencyKey is the run id. It travels as Idempotency-Key and as
	// X-Gateway-Cron-Run, for servers that honour them.
	IdempotencyKey string
	// Before is the last act before the request is written, on a connection that
	// is ready. If it fails, nothing is sent and Chat returns its error as it is.
	Before func(context.Context) error
}

// Reply is the answer to a turn. Text may be empty: the caller judges that.
type Reply struct {
	Text      string
	SessionID string
}

// Chat runs one turn and waits for its end; ctx is the deadline. The request
// reaches the ai-server at most once. The error is Before's own or an *outcome.Error.
func (c *Client) Chat(ctx context.Context, r ChatRequest) (Reply, error) {
	body, err := encodeChat(r)
	if err != nil {
		return Reply{}, err
	}
	header := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
	if r.IdempotencyKey != "" {
		header.Set("Idempotency-Key", r.IdempotencyKey)
		header.Set(job.RunHeader, r.IdempotencyKey)
	}
	answer, err := c.http.Do(ctx, wire.Request{
		Method: http.MethodPost, URL: c.base + "/api/gateway/chat", Header: header, Body: body, Before: r.Before,
		// A character of the text takes at most six bytes of JSON per byte.
		MaxAnswerBytes: int64(c.maxReply)*6 + 64<<10,
	})
	var failure *wire.Failure
	switch {
	case errors.As(err, &failure):
		return Reply{}, unanswered("chat", failure)
	case err != nil:
		return Reply{}, err
	case !ok(answer):
		return Reply{}, c.refused(answer)
	}
	return c.decodeReply(answer)
}

func (c *Client) decodeReply(answer wire.Answer) (Reply, error) {
	if answer.Truncated {
		return Reply{}, c.replyTooLarge()
	}
	var reply struct {
		Text      *string `json:"text"`
		SessionID string  `json:"sessionId"`
	}
	err := json.Unmarshal(answer.Body, &reply)
	switch {
	case err != nil && wire.BrokeOff(answer.Body):
		// Without a length in the header, only the JSON tells that the end is missing.
		return Reply{}, &outcome.Error{Kind: outcome.Ambiguous, Status: answer.Status, Err: err,
			Message: "ai-server's answer broke off; whether the turn was completed is unknown"}
	case err != nil || reply.Text == nil:
		return Reply{}, c.unreadable("a JSON object with the field text", answer, err)
	case len(*reply.Text) > c.maxReply:
		return Reply{}, c.replyTooLarge()
	}
	return Reply{Text: *reply.Text, SessionID: reply.SessionID}, nil
}

// Session is what the ai-server has stored of a conversation. A call replaces all
// of it, so whoever makes one has to bring it along.
type Session struct {
	Messages    []Message
	DisplayName string // of the peer or group; empty if unknown
	// SessionKey is that of the conversation; empty if the ai-server does not say. It can be
	// another than the id that was asked for: the ai-server replaces characters in ids.
	SessionKey string
}

// Size is how many bytes its messages have.
func (s Session) Size() int64 {
	size := 0
	for _, m := range s.Messages {
		size += len(m.Text) + len(m.Images)
	}
	return int64(size)
}

// LargerError says that a stored session is larger than was asked for.
type LargerError struct {
	Bytes int64 // as far as the ai-server says, else the most that is taken
}

func (e *LargerError) Error() string {
	return fmt.Sprintf("the stored session has %d bytes, more than was asked for", e.Bytes)
}

// Session loads the stored session id. It takes so many bytes at most, 0 being as many as are
// ever taken; of more it returns a *LargerError. found is false if the ai-server has none, or
// keeps no sessions at all: it does not know the path, or answers it as any other.
// Other failures are *outcome.Error; they are never ambiguous, since nothing is changed.
func (c *Client) Session(ctx context.Context, id, workspaceID string, most int) (session Session, found bool, err error) {
	path, err := sessionPath(id, workspaceID)
	if err != nil {
		return Session{}, false, err
	}
	if most == 0 || most > c.maxSession {
		most = c.maxSession
	}
	answer, err := c.get(ctx, "session", path, int64(most))
	switch {
	case err != nil:
		return Session{}, false, err
	case answer.Status == http.StatusNotFound, answer.Status == http.StatusMethodNotAllowed, answer.Status == http.StatusNotImplemented:
		return Session{}, false, nil
	case !ok(answer):
		return Session{}, false, c.refused(answer)
	case answer.Truncated && most < c.maxSession && answer.Length <= int64(c.maxSession):
		larger := &LargerError{Bytes: answer.Length}
		if larger.Bytes < 0 {
			larger.Bytes = int64(c.maxSession)
		}
		return Session{}, false, larger
	case answer.Truncated:
		// To send less of it would erase the rest over there.
		return Session{}, false, permanent("the stored session is larger than %d bytes; shorten it at the ai-server, or give the job another sessionKey or the context isolated", c.maxSession)
	}
	session, err = decodeSession(answer.Body)
	switch {
	case errors.Is(err, errNoSession):
		return Session{}, false, nil
	case err != nil:
		return Session{}, false, c.unreadable("a stored session", answer, err)
	}
	return session, true, nil
}

// Keys are the providers whose key the ai-server has, or lacks, in lower case. It says
// nothing of those that are absent.
type Keys map[string]bool

// Lacks says whose key is missing for a model, whose name begins with its provider; "" for
// the model that the ai-server takes by itself. It returns "" if nothing is missing, or if
// the ai-server does not say.
func (k Keys) Lacks(model string) (provider string) {
	provider, _, _ = strings.Cut(cmp.Or(model, defaultModel), "/")
	if has, said := k[strings.ToLower(provider)]; has || !said {
		return ""
	}
	return provider
}

// Any reports whether there is a key at all.
func (k Keys) Any() bool { return slices.Contains(slices.Collect(maps.Values(k)), true) }

// defaultModel is the model of calls that name none.
const defaultModel = "anthropic/claude-opus-4-5"

// Health asks the ai-server whether it is up, and which keys it has. The error is an *outcome.Error.
func (c *Client) Health(ctx context.Context) (Keys, error) {
	answer, err := c.get(ctx, "health", "/health", 64<<10)
	if err != nil {
		return nil, err
	}
	if !ok(answer) {
		return nil, c.refused(answer)
	}
	var health map[string]any
	// Anything can listen on a port and answer 200.
	if err := json.Unmarshal(answer.Body, &health); err != nil || health["status"] != "ok" {
		return nil, c.unreadable(`{"status":"ok"}`, answer, err)
	}
	keys := Keys{}
	for name, value := range health { // "hasAnthropicKey": true
		provider, prefixed := strings.CutPrefix(name, "has")
		provider, suffixed := strings.CutSuffix(provider, "Key")
		if has, is := value.(bool); is && prefixed && suffixed && provider != "" {
			keys[strings.ToLower(provider)] = has
		}
	}
	return keys, nil
}

func (c *Client) get(ctx context.Context, what, path string, most int64) (wire.Answer, error) {
	answer, err := c.http.Do(ctx, wire.Request{
		Method: http.MethodGet, URL: c.base + path, MaxAnswerBytes: most,
		Header: http.Header{"Accept": {"application/json"}},
	})
	if failure, ok := errors.AsType[*wire.Failure](err); ok {
		failure.Sent = false // a read that got no answer did nothing
		return answer, unanswered(what, failure)
	}
	return answer, err
}

func ok(answer wire.Answer) bool { return answer.Status >= 200 && answer.Status < 300 }

func (c *Client) replyTooLarge() *outcome.Error {
	return permanent("the reply is larger than %d bytes", c.maxReply)
}

func (c *Client) unreadable(want string, answer wire.Answer, err error) *outcome.Error {
	got := wire.Printable(string(answer.Body), 120)
	if got == "" {
		got = "an empty body"
	}
	kind := strings.TrimSpace(answer.Header.Get("Content-Type"))
	return &outcome.Error{Kind: outcome.Retryable, Status: answer.Status, Err: err, Message: bounded(
		"ai-server answered %d (%s) without %s; is its base URL right? It said: %s", answer.Status, kind, want, got)}
}
