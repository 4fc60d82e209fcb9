package standin

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
)

// EchoOptions configures an EchoAI.
type EchoOptions struct {
	// Delay is how long a turn takes.
	Delay time.Duration
	// Reply, if set, decides about each turn, after it was written down; the zero
	// Answer means the usual echo. It may block.
	Reply func(ChatCall) Answer
	// JournalPath, if set, is a file that gets one JSON line for each request but
	// health probes, before it is answered.
	JournalPath string
	// Now is the clock of the records; nil means time.Now.
	Now func() time.Time
}

// ChatMessage is one entry of a transcript on the wire.
type ChatMessage struct {
	Role      string          `json:"role"`
	Text      string          `json:"text"`
	Timestamp json.Number     `json:"timestamp,omitempty"` // unix seconds
	Images    json.RawMessage `json:"images,omitempty"`
}

// ChatGateway is on whose behalf a turn was asked for.
type ChatGateway struct {
	Channel     string `json:"channel,omitempty"`
	PeerID      string `json:"peerId,omitempty"`
	ChatID      string `json:"chatId,omitempty"`
	DisplayName string `json:"displayName,omitempty"`
	IsGroup     *bool  `json:"isGroup,omitempty"`
	AgentID     string `json:"agentId,omitempty"`
	SessionKey  string `json:"sessionKey,omitempty"`
	Lane        string `json:"lane,omitempty"`
}

// ChatCall is one POST /api/gateway/chat as it arrived.
type ChatCall struct {
	N               int           `json:"n"`  // counted from 1
	At              int64         `json:"at"` // unix milliseconds
	IdempotencyKey  string        `json:"idempotencyKey,omitempty"`
	RunID           string        `json:"runId,omitempty"` // header X-Gateway-Cron-Run
	SessionID       string        `json:"sessionId"`
	Messages        []ChatMessage `json:"messages"`
	Model           string        `json:"model,omitempty"`
	ReasoningEffort string        `json:"reasoningEffort,omitempty"`
	WorkspaceID     string        `json:"activeWorkspaceId,omitempty"`
	Gateway         ChatGateway   `json:"gateway"`
	// Invalid says what was wrong with a request that could not be read.
	Invalid string `json:"invalid,omitempty"`
	// HungUpAt is when the caller went away before its answer, in unix milliseconds; 0
	// if it did not. The journal does not have it: it is written before.
	HungUpAt int64 `json:"-"`
}

// LastUserText is the newest user message, or "".
func (c ChatCall) LastUserText() string {
	for _, m := range slices.Backward(c.Messages) {
		if m.Role == "user" {
			return m.Text
		}
	}
	return ""
}

// EchoAI stands in for the ai-server: it answers each turn with "Echo: " and the
// last user message, and, like the real one, rewrites the session from the
// request, goes on when the caller hangs up, and takes no notice of idempotency
// keys.
type EchoAI struct {
	mux     *http.ServeMux
	delay   time.Duration
	reply   func(ChatCall) Answer
	now     func() time.Time
	journal *journal
	closed  chan struct{}
	closing sync.Once

	mu       sync.Mutex
	count    int
	calls    []ChatCall
	sessions map[string]storedSession // by the names of their files
	order    []string                 // of these, oldest first
}

type storedSession struct {
	ID           string        `json:"id"`
	Title        string        `json:"title"`
	CreatedAt    int64         `json:"createdAt"`
	UpdatedAt    int64         `json:"updatedAt"`
	MessageCount int           `json:"messageCount"`
	Messages     []ChatMessage `json:"messages"`
	ChatGateway
}

// NewEchoAI returns a handler; the only error is that of opening the journal.
func NewEchoAI(o EchoOptions) (*EchoAI, error) {
	j, err := openJournal(o.JournalPath)
	if err != nil {
		return nil, err
	}
	e := &EchoAI{mux: http.NewServeMux(), delay: o.Delay, reply: o.Reply, now: o.Now, journal: j,
		closed: make(chan struct{}), sessions: map[string]storedSession{}}
	if e.now == nil {
		e.now = time.Now
	}
	e.mux.HandleFunc("POST /api/gateway/chat", e.chat)
	e.mux.HandleFunc("GET /api/gateway/sessions/{id}", e.session)
	e.mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"status": "ok", "version": "echo stand-in", "hasAnthropicKey": true})
	})
	return e, nil
}

// Start serves on addr, a loopback address; port 0 picks one.
func (e *EchoAI) Start(addr string) (*Server, error) { return start(addr, e) }

// Close ends the turns under way and closes the journal.
func (e *EchoAI) Close() error {
	e.closing.Do(func() { close(e.closed) })
	return e.journal.close()
}

func (e *EchoAI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The mux would answer a path with // by a redirect; the real server has no
	// such path.
	if strings.Contains(r.URL.Path, "//") {
		writeError(w, http.StatusNotFound, "Not found")
		return
	}
	e.mux.ServeHTTP(w, r)
}

// Count is the number of turns asked for so far.
func (e *EchoAI) Count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.count
}

// Calls lists the turns asked for, oldest first; of very many, at
// least the newest 10,000.
func (e *EchoAI) Calls() []ChatCall {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.calls)
}

// SetSession stores a session, as a conversation that took place before.
func (e *EchoAI) SetSession(id string, messages []ChatMessage, g ChatGateway) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.store(id, messages, g)
}

// Session is the transcript stored under id.
func (e *EchoAI) Session(id string) ([]ChatMessage, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := e.sessions[fileOf(id)]
	return slices.Clone(s.Messages), ok
}

func (e *EchoAI) chat(w http.ResponseWriter, r *http.Request) {
	call, err := e.receive(w, r)
	if err != nil {
		writeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	if call.Invalid != "" {
		writeError(w, http.StatusBadRequest, call.Invalid)
		return
	}
	defer context.AfterFunc(r.Context(), func() { e.hungUp(call.N) })()
	if e.delay > 0 {
		// The request's context is left alone: the real turn, too, goes on when
		// the caller hangs up.
		timer := time.NewTimer(e.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-e.closed:
			panic(http.ErrAbortHandler)
		}
	}

	var answer Answer
	if e.reply != nil {
		answer = e.reply(call)
	}
	if answer.Status >= 300 {
		answer.write(w, map[string]string{"error": answer.Text})
		return
	}
	text := answer.Text
	if answer.usual() {
		text = "Echo: " + call.LastUserText()
	}
	e.mu.Lock()
	e.store(call.SessionID, append(slices.Clip(call.Messages), ChatMessage{Role: "assistant", Text: text}), call.Gateway)
	e.mu.Unlock()
	answer.write(w, map[string]string{"text": text, "sessionId": call.SessionID})
}

// receive reads, counts and writes down a request, whatever it holds.
func (e *EchoAI) receive(w http.ResponseWriter, r *http.Request) (ChatCall, error) {
	var call ChatCall
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err == nil {
		err = json.Unmarshal(body, &call)
	}
	// After the body was read, which must not decide about these.
	call.At, call.Invalid = e.now().UnixMilli(), ""
	call.IdempotencyKey, call.RunID = r.Header.Get("Idempotency-Key"), r.Header.Get("X-Gateway-Cron-Run")
	switch {
	case err != nil:
		call.Invalid = "Invalid request: " + err.Error()
	case call.Messages == nil:
		call.Invalid = "messages array is required"
	}

	e.mu.Lock()
	e.count++
	call.N = e.count
	e.calls = keepNewest(append(e.calls, call))
	e.mu.Unlock()
	return call, e.journal.add(struct {
		Kind string `json:"kind"`
		ChatCall
	}{"chat", call})
}

// hungUp writes down that the caller of a turn went away, if the turn is still kept.
func (e *EchoAI) hungUp(n int) {
	at := e.now().UnixMilli()
	e.mu.Lock()
	defer e.mu.Unlock()
	if i := len(e.calls) - 1 - (e.count - n); i >= 0 {
		e.calls[i].HungUpAt = at
	}
}

func (e *EchoAI) session(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	err := e.journal.add(map[string]any{"kind": "session", "at": e.now().UnixMilli(), "sessionId": id})
	if err != nil {
		writeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	e.mu.Lock()
	s, ok := e.sessions[fileOf(id)]
	e.mu.Unlock()
	if !ok {
		writeError(w, http.StatusNotFound, "Session not found")
		return
	}
	writeJSON(w, http.StatusOK, s)
}

// store replaces a session. e.mu is held.
func (e *EchoAI) store(id string, messages []ChatMessage, g ChatGateway) {
	at := e.now().UnixMilli()
	s := storedSession{ID: id, Title: id, CreatedAt: at, UpdatedAt: at, MessageCount: len(messages), Messages: messages, ChatGateway: g}
	file := fileOf(id)
	old, ok := e.sessions[file]
	if ok {
		s.CreatedAt = old.CreatedAt
	} else {
		e.order = append(e.order, file)
	}
	e.sessions[file] = s
	if len(e.order) > maxKept {
		delete(e.sessions, e.order[0])
		e.order = slices.Delete(e.order, 0, 1)
	}
}

// fileOf is the name of a session's file: the real server replaces each other character of
// its id, so that two ids can have one file.
func fileOf(id string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(id)) { // its characters are JavaScript's
		if u < 0x80 && (u >= '0' && u <= '9' || u >= 'A' && u <= 'Z' || u >= 'a' && u <= 'z' || strings.ContainsRune("-_:.", rune(u))) {
			b.WriteByte(byte(u))
		} else {
			b.WriteByte('_')
		}
	}
	return b.String()
}

// keepNewest cuts list to maxKept, rarely enough to cost nothing.
func keepNewest[T any](list []T) []T {
	if len(list) < 2*maxKept {
		return list
	}
	return slices.Clone(list[len(list)-maxKept:])
}
