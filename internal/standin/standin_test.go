package standin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"net/http/httptest"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/channel"
	"github.com/gatewaycron/gatewaycron/internal/executor/aiserver"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/outcome"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return noon }

type starter interface {
	Start(addr string) (*standin.Server, error)
	Close() error
}

func start(t *testing.T, s starter) *standin.Server {
	t.Helper()
	server, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), server.Close()); err != nil {
			t.Error(err)
		}
	})
	return server
}

func echo(t *testing.T, o standin.EchoOptions) (*standin.EchoAI, *aiserver.Client) {
	t.Helper()
	o.Now = clock
	e, err := standin.NewEchoAI(o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := aiserver.New(aiserver.Options{BaseURL: start(t, e).URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return e, c
}

func recorder(t *testing.T, o standin.ChannelOptions, token string) (*standin.RecordingChannel, *channel.HTTP, string) {
	t.Helper()
	o.Now = clock
	r, err := standin.NewRecordingChannel(o)
	if err != nil {
		t.Fatal(err)
	}
	url := start(t, r).URL()
	c, err := channel.NewHTTP(channel.HTTPOptions{BaseURL: url, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return r, c, url
}

func TestEchoRewritesItsSession(t *testing.T) {
	e, c := echo(t, standin.EchoOptions{})
	const id = "agent:main:telegram:dm:1"
	if _, found, err := c.Session(t.Context(), id, "", 0); found || err != nil {
		t.Fatalf("found %t, %v before any turn", found, err)
	}
	history := []aiserver.Message{
		{Role: "user", Text: "früher", Timestamp: 1770000000, Images: json.RawMessage(`[{"data":"AA"}]`)},
		{Role: "assistant", Text: "ok", Timestamp: 1770000001},
		{Role: "user", Text: "und jetzt 😀"},
	}
	reply, err := c.Chat(t.Context(), aiserver.ChatRequest{SessionID: id, Messages: history, IdempotencyKey: "j:1",
		Gateway: aiserver.Gateway{Channel: "telegram", ChatID: "1", Lane: "subagent"}})
	if err != nil {
		t.Fatal(err)
	}
	if want := (aiserver.Reply{Text: "Echo: und jetzt 😀", SessionID: id}); reply != want {
		t.Errorf("reply %+v, want %+v", reply, want)
	}
	got, found, err := c.Session(t.Context(), id, "", 0)
	if !found || err != nil {
		t.Fatalf("found %t, %v", found, err)
	}
	want := append(history, aiserver.Message{Role: "assistant", Text: "Echo: und jetzt 😀"})
	if diff := cmp.Diff(want, got.Messages); diff != "" {
		t.Error(diff)
	}

	if _, err := c.Chat(t.Context(), aiserver.ChatRequest{SessionID: id, Messages: history[2:], IdempotencyKey: "j:2"}); err != nil {
		t.Fatal(err)
	}
	if stored, _ := e.Session(id); len(stored) != 2 {
		t.Errorf("%d messages stored: the request must replace the session", len(stored))
	}
	calls := e.Calls()
	if len(calls) != 2 || e.Count() != 2 || calls[0].IdempotencyKey != "j:1" || calls[0].RunID != "j:1" || calls[1].N != 2 ||
		calls[0].Gateway.Lane != "subagent" || calls[0].At != noon.UnixMilli() || calls[0].LastUserText() != "und jetzt 😀" {
		t.Errorf("calls %+v", calls)
	}
	if _, err := c.Health(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestEchoFaults(t *testing.T) {
	tests := []struct {
		name   string
		answer standin.Answer
		kind   outcome.Kind // "" means success
		text   string
	}{
		{"usual", standin.Answer{}, "", "Echo: hi"},
		{"another text", standin.Answer{Text: "NO_REPLY"}, "", "NO_REPLY"},
		{"empty text", standin.Answer{Status: 200}, "", ""},
		{"error", standin.Answer{Status: 500, Text: "Unknown model: x"}, outcome.Permanent, ""},
		{"raw body", standin.Answer{Status: 200, Body: []byte("<html>")}, outcome.Retryable, ""},
		{"rate limit", standin.Answer{Status: 429, Header: http.Header{"Retry-After": {"7"}}}, outcome.RateLimited, ""},
		{"drop", standin.Answer{Drop: true}, outcome.Ambiguous, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var e *standin.EchoAI
			e, c := echo(t, standin.EchoOptions{Reply: func(call standin.ChatCall) standin.Answer {
				if got := e.Count(); got != call.N {
					t.Errorf("call %d is answered while %d are counted", call.N, got)
				}
				return tt.answer
			}})
			reply, err := c.Chat(t.Context(), aiserver.ChatRequest{SessionID: "s", Messages: []aiserver.Message{{Role: "user", Text: "hi"}}})
			var failed *outcome.Error
			if errors.As(err, &failed) != (tt.kind != "") || failed != nil && failed.Kind != tt.kind || reply.Text != tt.text {
				t.Errorf("reply %+v, %v; want %q, kind %q", reply, err, tt.text, tt.kind)
			}
			if e.Count() != 1 {
				t.Errorf("%d calls counted", e.Count())
			}
		})
	}
}

func TestEchoTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := standin.NewEchoAI(standin.EchoOptions{Delay: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		w := httptest.NewRecorder()
		e.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/api/gateway/chat", strings.NewReader(`{"sessionId":"s","messages":[]}`)))
		if took := time.Since(began); took != time.Hour || w.Code != 200 {
			t.Errorf("answered %d after %v of fake time, want 200 after an hour", w.Code, took)
		}
	})
}

// A caller that goes away before its answer is on record, whoever calls meanwhile, and
// its turn goes on.
func TestEchoSeesItsCallerHangUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ask func(ctx context.Context, session string)
		leaving, leave := context.WithCancel(t.Context())
		e, err := standin.NewEchoAI(standin.EchoOptions{Now: clock, Reply: func(call standin.ChatCall) standin.Answer {
			if call.SessionID == "left" {
				ask(t.Context(), "meanwhile")
				leave()
				synctest.Wait()
			}
			return standin.Answer{}
		}})
		if err != nil {
			t.Fatal(err)
		}
		ask = func(ctx context.Context, session string) {
			r := httptest.NewRequest(http.MethodPost, "/api/gateway/chat", strings.NewReader(`{"sessionId":"`+session+`","messages":[]}`))
			e.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
		}
		answered, leaveAfterwards := context.WithCancel(t.Context())
		ask(answered, "answered")
		leaveAfterwards()
		synctest.Wait()
		ask(leaving, "left")

		at := map[string]int64{}
		for _, call := range e.Calls() {
			at[call.SessionID] = call.HungUpAt
		}
		if diff := cmp.Diff(map[string]int64{"answered": 0, "left": noon.UnixMilli(), "meanwhile": 0}, at); diff != "" {
			t.Errorf("hang-ups: %s", diff)
		}
		if messages, _ := e.Session("left"); len(messages) != 1 {
			t.Errorf("the turn whose caller left wrote %d messages", len(messages))
		}
	})
}

func TestEchoRefuses(t *testing.T) {
	e, err := standin.NewEchoAI(standin.EchoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, path, body string
		status, counted    int
	}{
		{"POST", "/api/gateway/chat", `{"sessionId":"s"}`, 400, 1},
		{"POST", "/api/gateway/chat", `{"messages":null,"invalid":"","n":7}`, 400, 2},
		{"POST", "/api/gateway/chat", `not JSON`, 400, 3},
		{"POST", "/api/gateway/chat", `{"messages":[],"invalid":"claimed by the caller"}`, 200, 4},
		{"POST", "/api/gateway/chat/", `{"messages":[]}`, 404, 4},
		{"POST", "/api/gateway//chat", `{"messages":[]}`, 404, 4},
		{"GET", "/api/gateway/sessions//", ``, 404, 4},
		{"GET", "/api/gateway/sessions/none", ``, 404, 4},
	} {
		w := httptest.NewRecorder()
		e.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body)))
		if w.Code != tt.status || e.Count() != tt.counted {
			t.Errorf("%s %s %s: %d with %d counted, want %d with %d", tt.method, tt.path, tt.body, w.Code, e.Count(), tt.status, tt.counted)
		}
	}
}

func TestRecordingChannel(t *testing.T) {
	var shown []string
	r, c, url := recorder(t, standin.ChannelOptions{Token: "tok", OnMessage: func(m standin.Message) { shown = append(shown, m.Text) }}, "tok")
	target := job.Target{Channel: "slack", ChatID: "C1", PeerID: "U1", ThreadID: "7", IsGroup: new(true)}
	for i, want := range []string{"m-1", "m-2"} { // the second one is a repetition, and shows
		id, err := c.Send(t.Context(), channel.Message{Target: target, Part: channel.Part{Text: "hé 😀"}, IdempotencyKey: "k"})
		if id != want || err != nil {
			t.Errorf("send %d: id %q, %v; want %q", i, id, err, want)
		}
	}
	message := standin.Message{N: 1, At: noon.UnixMilli(), MessageID: "m-1", Channel: "slack", ChatID: "C1", PeerID: "U1", ThreadID: "7",
		IsGroup: new(true), Text: "hé 😀", IdempotencyKey: "k", HeaderKey: "k"}
	second := message
	second.N, second.MessageID = 2, "m-2"
	if diff := cmp.Diff([]standin.Message{message, second}, r.Messages()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"hé 😀", "hé 😀"}, shown); diff != "" {
		t.Error(diff)
	}

	list := func(token string) (int, []standin.Message) {
		req, err := http.NewRequest(http.MethodGet, url+"/messages", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body struct{ Messages []standin.Message }
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		return resp.StatusCode, body.Messages
	}
	if status, got := list("tok"); status != 200 || !cmp.Equal(got, r.Messages()) {
		t.Errorf("GET /messages: %d %+v", status, got)
	}
	if status, got := list("wrong"); status != 401 || got != nil {
		t.Errorf("GET /messages with a wrong token: %d %+v", status, got)
	}
}

func TestRecordingChannelFaults(t *testing.T) {
	tests := []struct {
		name   string
		answer standin.Answer
		token  string
		kind   outcome.Kind
		shown  int
	}{
		{"usual", standin.Answer{}, "tok", "", 1},
		{"refused", standin.Answer{Status: 403, Text: "blocked"}, "tok", outcome.Permanent, 0},
		{"rate limit", standin.Answer{Status: 429, Header: http.Header{"Retry-After": {"7"}}}, "tok", outcome.RateLimited, 0},
		{"no id", standin.Answer{Body: []byte("{}")}, "tok", outcome.Ambiguous, 1},
		{"drop", standin.Answer{Drop: true}, "tok", outcome.Ambiguous, 0},
		{"wrong token", standin.Answer{}, "wrong", outcome.Permanent, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shown := 0
			r, c, _ := recorder(t, standin.ChannelOptions{Token: "tok", Reply: func(standin.Message) standin.Answer { return tt.answer },
				OnMessage: func(standin.Message) { shown++ }}, tt.token)
			_, err := c.Send(t.Context(), channel.Message{Target: job.Target{Channel: "slack", ChatID: "C1"}, Part: channel.Part{Text: "hi"}})
			var failed *outcome.Error
			if errors.As(err, &failed) != (tt.kind != "") || failed != nil && failed.Kind != tt.kind {
				t.Errorf("%v; want kind %q", err, tt.kind)
			}
			if r.Count() != 1 || shown != tt.shown {
				t.Errorf("%d counted, %d shown; want 1, %d", r.Count(), shown, tt.shown)
			}
		})
	}
}

// The journal has each request before its answer leaves, and goes on where an
// earlier stand-in ended.
func TestJournals(t *testing.T) {
	dir := t.TempDir()
	aiPath, chatPath := filepath.Join(dir, "ai.jsonl"), filepath.Join(dir, "chat.jsonl")
	lines := func(path string) []map[string]any {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var list []map[string]any
		for line := range strings.Lines(string(data)) {
			var entry map[string]any
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatalf("line %q: %v", line, err)
			}
			list = append(list, entry)
		}
		return list
	}
	for round := 1; round <= 2; round++ {
		_, ai := echo(t, standin.EchoOptions{JournalPath: aiPath, Reply: func(standin.ChatCall) standin.Answer {
			if got := len(lines(aiPath)); got != 2*round {
				t.Errorf("%d lines when call %d is answered", got, round)
			}
			return standin.Answer{}
		}})
		_, chat, _ := recorder(t, standin.ChannelOptions{JournalPath: chatPath, Reply: func(standin.Message) standin.Answer {
			if got := len(lines(chatPath)); got != round {
				t.Errorf("%d lines when message %d is answered", got, round)
			}
			return standin.Answer{}
		}}, "")
		if _, _, err := ai.Session(t.Context(), "s", "", 0); err != nil {
			t.Fatal(err)
		}
		if _, err := ai.Chat(t.Context(), aiserver.ChatRequest{SessionID: "s", Messages: []aiserver.Message{{Role: "user", Text: "hi"}}, IdempotencyKey: "j:1"}); err != nil {
			t.Fatal(err)
		}
		if _, err := chat.Send(t.Context(), channel.Message{Target: job.Target{Channel: "slack", ChatID: "C1"}, Part: channel.Part{Text: "hi"}, IdempotencyKey: "k"}); err != nil {
			t.Fatal(err)
		}
	}
	got := lines(aiPath)
	if got[0]["kind"] != "session" || got[1]["kind"] != "chat" || got[1]["idempotencyKey"] != "j:1" || len(got) != 4 {
		t.Errorf("ai journal %v", got)
	}
	if got := lines(chatPath); got[1]["idempotencyKey"] != "k" || got[1]["text"] != "hi" || len(got) != 2 {
		t.Errorf("chat journal %v", got)
	}
}

func TestStartRefusesOtherInterfaces(t *testing.T) {
	e, err := standin.NewEchoAI(standin.EchoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "example.com:0", "127.0.0.1"} {
		if s, err := e.Start(addr); err == nil {
			s.Close()
			t.Errorf("listens on %q", addr)
		}
	}
}

func TestRestartKeepsWhatWasStored(t *testing.T) {
	e, err := standin.NewEchoAI(standin.EchoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e.SetSession("s", []standin.ChatMessage{{Role: "user", Text: "earlier"}}, standin.ChatGateway{})
	first, err := e.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := http.Get(first.URL() + "/health"); err == nil {
		t.Error("a closed stand-in answers")
	}
	second := start(t, e)
	resp, err := http.Get(second.URL() + "/api/gateway/sessions/s")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || !strings.Contains(string(body), `"text":"earlier"`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}
