package standin

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// ChannelOptions configures a RecordingChannel.
type ChannelOptions struct {
	// Token, if set, is required as a bearer token.
	Token string
	// Reply, if set, decides about each message, after it was written down; the
	// zero Answer means the usual confirmation. It may block.
	Reply func(Message) Answer
	// OnMessage, if set, is called for each message that is confirmed.
	OnMessage func(Message)
	// JournalPath, if set, is a file that gets one JSON line for each message,
	// before it is answered.
	JournalPath string
	// Now is the clock of the records; nil means time.Now.
	Now func() time.Time
}

// Message is one message as it arrived, whatever became of it.
type Message struct {
	N         int    `json:"n"`  // counted from 1
	At        int64  `json:"at"` // unix milliseconds
	MessageID string `json:"messageId"`
	Channel   string `json:"channel"`
	ChatID    string `json:"chatId"`
	PeerID    string `json:"peerId,omitempty"`
	ThreadID  string `json:"threadId,omitempty"`
	IsGroup   *bool  `json:"isGroup,omitempty"`
	Text      string `json:"text"`
	// IdempotencyKey is the body's; HeaderKey the one of the header.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
	HeaderKey      string `json:"headerKey,omitempty"`
	// Invalid says what was wrong with a request that was refused.
	Invalid string `json:"invalid,omitempty"`
}

// RecordingChannel stands in for the channel manager: it keeps what it is sent
// and confirms it. It recognises no repeated idempotency key, so that whoever
// reads its record sees every repetition.
type RecordingChannel struct {
	mux       *http.ServeMux
	token     string
	reply     func(Message) Answer
	onMessage func(Message)
	now       func() time.Time
	journal   *journal

	mu       sync.Mutex
	count    int
	messages []Message
}

// NewRecordingChannel returns a handler; the only error is that of opening the
// journal.
func NewRecordingChannel(o ChannelOptions) (*RecordingChannel, error) {
	j, err := openJournal(o.JournalPath)
	if err != nil {
		return nil, err
	}
	c := &RecordingChannel{mux: http.NewServeMux(), token: o.Token, reply: o.Reply, onMessage: o.OnMessage, now: o.Now, journal: j}
	if c.now == nil {
		c.now = time.Now
	}
	c.mux.HandleFunc("POST /api/channels/{channel}/messages", c.receive)
	c.mux.HandleFunc("GET /messages", c.list)
	c.mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	return c, nil
}

// Start serves on addr, a loopback address; port 0 picks one.
func (c *RecordingChannel) Start(addr string) (*Server, error) { return start(addr, c) }

// Close closes the journal.
func (c *RecordingChannel) Close() error { return c.journal.close() }

func (c *RecordingChannel) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.mux.ServeHTTP(w, r) }

// Count is the number of messages that arrived so far.
func (c *RecordingChannel) Count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// Messages lists what arrived, oldest first; of very many, at least
// the newest 10,000.
func (c *RecordingChannel) Messages() []Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.messages)
}

// errNoToken is what a request without the required token is told.
const errNoToken = "a valid bearer token is required"

func (c *RecordingChannel) allowed(r *http.Request) bool {
	given := r.Header.Get("Authorization")
	return c.token == "" || subtle.ConstantTimeCompare([]byte(given), []byte("Bearer "+c.token)) == 1
}

func (c *RecordingChannel) list(w http.ResponseWriter, r *http.Request) {
	if !c.allowed(r) {
		writeError(w, http.StatusUnauthorized, errNoToken)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"messages": c.Messages()})
}

func (c *RecordingChannel) receive(w http.ResponseWriter, r *http.Request) {
	m, err := c.record(w, r)
	switch {
	case err != nil:
		writeError(w, http.StatusInternalServerError, err.Error())
		return
	case m.Invalid == errNoToken:
		writeError(w, http.StatusUnauthorized, m.Invalid)
		return
	case m.Invalid != "":
		writeError(w, http.StatusBadRequest, m.Invalid)
		return
	}
	var answer Answer
	if c.reply != nil {
		answer = c.reply(m)
	}
	if answer.Status >= 300 {
		answer.write(w, map[string]string{"error": answer.Text})
		return
	}
	if c.onMessage != nil && !answer.Drop {
		c.onMessage(m)
	}
	answer.write(w, map[string]string{"messageId": m.MessageID})
}

// record reads, counts and writes down a message, whatever it holds.
func (c *RecordingChannel) record(w http.ResponseWriter, r *http.Request) (Message, error) {
	var m Message
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	m.At, m.Channel, m.HeaderKey = c.now().UnixMilli(), r.PathValue("channel"), r.Header.Get("Idempotency-Key")
	m.Invalid = "" // the body must not decide about it
	switch {
	case !c.allowed(r):
		m.Invalid = errNoToken
	case err != nil:
		m.Invalid = "invalid request: " + err.Error()
	case m.ChatID == "":
		m.Invalid = "chatId is required"
	case m.Text == "":
		m.Invalid = "text is required"
	}

	c.mu.Lock()
	c.count++
	m.N = c.count
	m.MessageID = fmt.Sprintf("m-%d", m.N)
	c.messages = keepNewest(append(c.messages, m))
	c.mu.Unlock()
	return m, c.journal.add(m)
}
