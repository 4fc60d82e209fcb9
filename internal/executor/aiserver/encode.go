package aiserver

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/outcome"
	"github.com/gatewaycron/gatewaycron/internal/wire"
)

// message is a Message as it travels to the ai-server.
type message struct {
	Role      string          `json:"role"`
	Text      string          `json:"text"`
	Timestamp int64           `json:"timestamp,omitempty"`
	Images    json.RawMessage `json:"images,omitempty"`
}

type chatBody struct {
	SessionID       string    `json:"sessionId"`
	Messages        []message `json:"messages"`
	Model           string    `json:"model,omitempty"`
	ReasoningEffort string    `json:"reasoningEffort,omitempty"`
	WorkspaceID     string    `json:"activeWorkspaceId,omitempty"`
	Gateway         Gateway   `json:"gateway,omitzero"`
}

// encodeChat checks r and encodes it within MaxRequestBytes. Its error is an
// *outcome.Error of outcome.Permanent.
func encodeChat(r ChatRequest) ([]byte, error) {
	if err := checkID("session id", r.SessionID); err != nil {
		return nil, err
	}
	if err := checkKey(r.IdempotencyKey); err != nil {
		return nil, err
	}
	if len(r.Messages) == 0 {
		return nil, permanent("a chat request needs at least one message")
	}
	body := chatBody{
		SessionID: r.SessionID, Model: r.Model, ReasoningEffort: r.ReasoningEffort,
		WorkspaceID: r.WorkspaceID, Gateway: r.Gateway, Messages: make([]message, len(r.Messages)),
	}
	size := 0
	for i, m := range r.Messages {
		m.Images = presentJSON(m.Images)
		body.Messages[i] = message(m)
		size += len(m.Text) + len(m.Images)
	}
	// Encoding never shrinks what came in by much; this spares the work and the
	// memory of encoding what is far too large.
	if size > 2*MaxRequestBytes {
		return nil, tooLarge(size)
	}
	data, err := wire.ASCIIJSON(body)
	if err != nil {
		return nil, &outcome.Error{Kind: outcome.Permanent, Message: bounded("the chat request cannot be encoded: %v", err), Err: err}
	}
	if len(data) > MaxRequestBytes {
		return nil, tooLarge(len(data))
	}
	return data, nil
}

func tooLarge(size int) *outcome.Error {
	return permanent("the chat request is %d bytes; at most %d are allowed; shorten the conversation at the ai-server, or give the job another sessionKey or the context isolated", size, MaxRequestBytes)
}

// presentJSON drops what counts as absent.
func presentJSON(raw json.RawMessage) json.RawMessage {
	if trimmed := bytes.TrimSpace(raw); len(trimmed) == 0 || string(trimmed) == "null" {
		return nil
	}
	return raw
}

// sessionPath builds the path of a stored session. A bad escape or an empty
// segment in it would end the ai-server's process.
func sessionPath(id, workspaceID string) (string, error) {
	if err := checkID("session id", id); err != nil {
		return "", err
	}
	path := "/api/gateway/sessions/" + url.PathEscape(id)
	if workspaceID == "" {
		return path, nil
	}
	if err := checkID("workspace id", workspaceID); err != nil {
		return "", err
	}
	return path + "?workspaceId=" + url.QueryEscape(workspaceID), nil
}

// checkID refuses ids that would be cleaned out of a path (dots alone), that
// cannot be escaped so that the other side can read them, or that fail as a
// file name only after the model was paid.
func checkID(what, id string) error {
	switch {
	case id == "":
		return permanent("the %s is empty", what)
	case len(id) > job.MaxSessionBytes:
		return permanent("the %s is %d bytes; at most %d are allowed", what, len(id), job.MaxSessionBytes)
	case strings.Trim(id, ".") == "":
		return permanent("the %s consists of dots only", what)
	case !utf8.ValidString(id) || strings.ContainsRune(id, 0):
		return permanent("the %s is not valid UTF-8 text", what)
	}
	return nil
}

// checkKey keeps the idempotency key a valid header value.
func checkKey(key string) error {
	if len(key) > job.MaxSessionBytes || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return permanent("the idempotency key must be at most %d printable ASCII characters", job.MaxSessionBytes)
	}
	return nil
}

// decodeSession reads a stored session.
func decodeSession(body []byte) (Session, error) {
	var session struct {
		ID          *string `json:"id"`
		DisplayName string  `json:"displayName"`
		SessionKey  string  `json:"sessionKey"`
		Messages    *[]struct {
			Role      string          `json:"role"`
			Text      string          `json:"text"`
			Timestamp json.Number     `json:"timestamp"`
			Images    json.RawMessage `json:"images"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(body, &session); err != nil {
		return Session{}, err
	}
	switch {
	case session.Messages == nil && session.ID == nil:
		return Session{}, errNoSession
	case session.Messages == nil:
		return Session{}, errNoMessages
	}
	messages := make([]Message, len(*session.Messages))
	for i, m := range *session.Messages {
		messages[i] = Message{Role: m.Role, Text: m.Text, Timestamp: seconds(m.Timestamp), Images: presentJSON(m.Images)}
	}
	return Session{Messages: messages, DisplayName: session.DisplayName, SessionKey: session.SessionKey}, nil
}

// seconds reads a timestamp; a fraction, which some writers leave, is dropped.
func seconds(n json.Number) int64 {
	if whole, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return whole
	}
	if f, err := n.Float64(); err == nil && f > -1<<53 && f < 1<<53 {
		return int64(f)
	}
	return 0
}
