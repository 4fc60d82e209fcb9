package alert

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/channel"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/outcome"
	"github.com/gatewaycron/gatewaycron/internal/redact"
	"github.com/gatewaycron/gatewaycron/internal/wire"
)

const (
	maxAnswerBytes = 16 << 10
	// minKeyBytes is the length of the shortest signing key.
	minKeyBytes = 16
	// mostNotices bounds the facts in one post; total counts all.
	mostNotices = 100
)

// HookOptions configure a Hook.
type HookOptions struct {
	URL    string // http or https; may hold a secret, and so is in no log and no error
	Secret string // whsec_ and the signing key in base64
	Now    func() time.Time
}

// Hook gets each alert as a POST that is signed as Standard Webhooks has it: webhook-id,
// webhook-timestamp and webhook-signature, v1 and the HMAC-SHA256 of id.timestamp.body.
type Hook struct {
	url    string
	key    []byte
	now    func() time.Time
	client *wire.Client
}

// NewHook checks o and returns a hook; it makes no call.
func NewHook(o HookOptions) (*Hook, error) {
	if err := checkURL(o.URL); err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(o.Secret, "whsec_"))
	if err != nil || len(key) < minKeyBytes || !strings.HasPrefix(o.Secret, "whsec_") {
		return nil, fmt.Errorf("the secret must be whsec_ and at least %d bytes in base64, for example the output of: echo whsec_$(openssl rand -base64 32)", minKeyBytes)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Hook{url: o.URL, key: key, now: o.Now, client: wire.NewClient()}, nil
}

// checkURL never repeats the URL, which may hold a secret.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return errNoURL
	}
	return nil
}

var errNoURL = errors.New("must be a URL that starts with http:// or https://")

// String keeps URL and key out of whatever prints a hook.
func (h *Hook) String() string { return "alert hook" }

// GoString is String.
func (h *Hook) GoString() string { return h.String() }

// CloseIdle closes the connections that no post uses.
func (h *Hook) CloseIdle() { h.client.CloseIdle() }

// posted is the body of a post.
type posted struct {
	Type      string     `json:"type"`
	Timestamp string     `json:"timestamp"` // RFC 3339
	Data      postedData `json:"data"`
}

type postedData struct {
	Text    string       `json:"text"` // what a chat would get
	Total   int          `json:"total"`
	Notices []job.Notice `json:"notices"` // of total, the first hundred
}

// post sends one alert. Its error is a *outcome.Error.
func (h *Hook) post(ctx context.Context, id, text string, taken job.AlertTaken) error {
	now := h.now().UTC()
	notices := distinct(taken.Notices)
	total := len(notices) + taken.More
	body, err := json.Marshal(posted{Type: "gateway_cron.alert", Timestamp: now.Format(time.RFC3339),
		Data: postedData{Text: text, Total: total, Notices: notices[:min(len(notices), mostNotices)]}})
	if err != nil {
		return &outcome.Error{Kind: outcome.Permanent, Message: "alert hook: not sent: it cannot be written as JSON"}
	}
	id = "msg_" + id
	timestamp := strconv.FormatInt(now.Unix(), 10)
	ctx, cancel := context.WithTimeout(ctx, channel.DefaultTimeout)
	defer cancel()
	answer, err := h.client.Do(ctx, wire.Request{Method: http.MethodPost, URL: h.url, Body: body, MaxAnswerBytes: maxAnswerBytes,
		Header: http.Header{"Content-Type": {"application/json"}, "Webhook-Id": {id}, "Webhook-Timestamp": {timestamp},
			"Webhook-Signature": {h.sign(id, timestamp, body)}}})
	var failure *wire.Failure
	switch {
	case errors.As(err, &failure) && failure.Sent:
		return h.failed(outcome.Ambiguous, "the alert was sent but not confirmed: %v", failure)
	case err != nil:
		return h.failed(outcome.Retryable, "cannot be reached: %v", err)
	case answer.Status >= 200 && answer.Status <= 299:
		return nil
	}
	kind, wait := outcome.Refused(answer, h.now())
	e := h.failed(kind, "answered %d: %s", answer.Status, wire.Complaint(answer.Body, maxAnswerBytes))
	e.RetryAfter = wait
	return e
}

func (h *Hook) sign(id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, h.key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func (h *Hook) failed(kind outcome.Kind, format string, args ...any) *outcome.Error {
	return &outcome.Error{Kind: kind, Message: wire.Printable(redact.Text("alert hook: "+fmt.Sprintf(format, args...)), outcome.MaxMessageBytes)}
}
