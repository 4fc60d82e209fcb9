package chaos

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/chaos/judge"
)

// aiServer stands in for the ai-server: it goes on when the caller hangs up, takes
// no notice of idempotency keys, and keeps the sessions of every second key as
// the real one does, replaced by what each call sends.
type aiServer struct {
	outsider

	mu       sync.Mutex
	sessions map[string][]chatMessage
}

type chatMessage struct {
	Role      string `json:"role"`
	Text      string `json:"text"`
	Timestamp int64  `json:"timestamp,omitempty"`
}

// aiFaults are the ways in which a turn fails; each run meets at most two.
var aiFaults = []weighted{
	{8, "hang"}, {15, "reset in the middle"}, {8, "reset at once"}, {15, "500"}, {8, "429 in a while"}, {6, "429"},
	{6, "html"}, {6, "empty"}, {4, "ten megabytes"}, {4, "half an answer"},
}

func startAIServer(t testing.TB, p *plan, dir string) *aiServer {
	t.Helper()
	a := &aiServer{outsider: outsider{plan: p, journal: openJournal(t, dir, judge.CallsFile)}, sessions: map[string][]chatMessage{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{process}/api/gateway/chat", a.chat)
	mux.HandleFunc("GET /{process}/api/gateway/sessions/{id}", a.session)
	a.serve(t, mux)
	return a
}

func (a *aiServer) chat(w http.ResponseWriter, r *http.Request) {
	var call struct {
		SessionID string        `json:"sessionId"`
		Messages  []chatMessage `json:"messages"`
		Gateway   struct {
			Channel string `json:"channel"`
		} `json:"gateway"`
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // broke off before it was a call
	}
	if err := json.Unmarshal(body, &call); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	run := r.Header.Get("Idempotency-Key")
	n, nth, calm := a.number(run)
	nonce := fmt.Sprintf("n-%06d-%08x", n, a.plan.dice("nonce", n).Uint32())
	entry := judge.Call{N: n, At: now(), Process: r.PathValue("process"), Run: run, Session: call.SessionID,
		Nonce: nonce, Kept: kept(call.SessionID), Heard: heard(call.Messages)}
	if len(call.Messages) > 0 {
		entry.Task = call.Messages[len(call.Messages)-1].Text
	}
	a.journal.add(entry)

	dice := a.plan.dice("turn", entry.Task, nth, a.plan.ordinal(run))
	way := pick(dice.IntN(1000), aiFaults)
	if calm || nth > 2 {
		way = "ok"
	}
	took := time.Duration(20+dice.IntN(200)) * time.Millisecond
	switch dice.IntN(10) {
	case 0:
		took = 3*time.Second + time.Duration(dice.IntN(8000))*time.Millisecond
	case 1, 2, 3:
		took = time.Duration(200+dice.IntN(2800)) * time.Millisecond
	}
	if strings.HasPrefix(entry.Task, longTask) && !calm {
		took = 20*time.Second + time.Duration(dice.IntN(20_000))*time.Millisecond
	}
	if way == "hang" {
		took = time.Hour
	}
	here := a.pause(r, took)
	lines := 1
	if call.Gateway.Channel == "telegram" && dice.IntN(2) == 0 {
		lines = 40 + dice.IntN(100) // of some hundred characters each: several messages
	}
	text := reply(nonce, lines)
	if way == "empty" {
		text = "" // as of a turn that only acted
	}
	if way != "hang" {
		a.keep(call.SessionID, append(call.Messages, chatMessage{Role: "assistant", Text: text}))
	}
	if !here {
		a.ended(n, judge.HowHungUp)
		return
	}
	a.answer(w, n, way, text, call.SessionID)
}

// answer ends a turn in one of the ways.
func (a *aiServer) answer(w http.ResponseWriter, n int, way, text, session string) {
	good, _ := json.Marshal(map[string]string{"text": text, "sessionId": session}) // strings: cannot fail
	refuse := func(status int, complaint string) {
		a.ended(n, judge.HowRefused)
		answer(w, status, map[string]string{"error": complaint})
	}
	garble := func(body []byte, length int) {
		a.ended(n, judge.HowGarbled)
		w.Header().Set("Content-Length", strconv.Itoa(length))
		_, _ = w.Write(body)
	}
	switch way {
	case "reset at once":
		a.ended(n, judge.HowReset)
		cut(w)
	case "reset in the middle":
		a.ended(n, judge.HowReset)
		w.Header().Set("Content-Length", strconv.Itoa(len(good)))
		_, _ = w.Write(good[:len(good)/2])
		_ = http.NewResponseController(w).Flush()
		cut(w)
	case "500":
		refuse(http.StatusInternalServerError, "the model is overloaded")
	case "429 in a while":
		w.Header().Set("Retry-After", "3")
		refuse(http.StatusTooManyRequests, "slow down")
	case "429":
		refuse(http.StatusTooManyRequests, "slow down")
	case "html":
		page := []byte("<!doctype html><title>Bad gateway</title>")
		garble(page, len(page))
	case "empty":
		a.ended(n, judge.HowEmpty)
		_, _ = w.Write(good)
	case "half an answer":
		garble(good[:len(good)/2], len(good)/2)
	case "ten megabytes":
		huge, _ := json.Marshal(map[string]string{"text": strings.Repeat("all work and no play ", 10<<20/21)})
		garble(huge, len(huge))
	default:
		a.ended(n, judge.HowOK)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(good)
	}
}

// reply is a text of so many lines, each of which can be told from all others.
func reply(nonce string, lines int) string {
	filler := ""
	if lines > 1 {
		filler = " " + strings.Repeat("word ", 14)
	}
	texts := make([]string, lines)
	for i := range texts {
		texts[i] = fmt.Sprintf("%s line %d/%d.%s", nonce, i+1, lines, filler)
	}
	return strings.Join(texts, "\n")
}

var replyLine = regexp.MustCompile(`(n-\d{6}-[0-9a-f]{8}) line (\d+)/(\d+)\.`)

// heard are the replies in a transcript.
func heard(messages []chatMessage) []string {
	var nonces []string
	for _, m := range messages {
		if m.Role == "assistant" {
			nonce, _, _ := strings.Cut(m.Text, " ")
			nonces = append(nonces, nonce)
		}
	}
	return nonces
}

// ordinal counts the slots from the first one, so that it does not depend on when
// the test runs.
func (p *plan) ordinal(run string) string {
	_, slot, _ := strings.Cut(run, ":")
	seconds, err := strconv.ParseInt(slot, 10, 64)
	if err != nil {
		return "manual"
	}
	return strconv.FormatInt((seconds*1000-p.first.Load())/60_000, 10)
}

// kept reports whether the ai-server keeps a session; if not, the product has to
// bring its own transcript.
func kept(session string) bool {
	h := fnv.New32a()
	_, _ = io.WriteString(h, session)
	return h.Sum32()%2 == 0
}

func (a *aiServer) keep(session string, messages []chatMessage) {
	if !kept(session) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions[session] = messages
}

func (a *aiServer) session(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	a.mu.Lock()
	messages, ok := a.sessions[id]
	a.mu.Unlock()
	if !ok {
		answer(w, http.StatusNotFound, map[string]string{"error": "Session not found"})
		return
	}
	answer(w, http.StatusOK, map[string]any{"id": id, "messages": messages})
}
