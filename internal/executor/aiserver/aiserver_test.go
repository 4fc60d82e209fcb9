package aiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/internal/outcome"
	"github.com/gatewaycron/gatewaycron/internal/wire/wiretest"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func newClient(t testing.TB, url string) *Client {
	t.Helper()
	c, err := New(Options{BaseURL: url, MaxReplyBytes: 100, MaxSessionBytes: 1000, Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

func serve(t testing.TB, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return newClient(t, s.URL)
}

func request() ChatRequest {
	return ChatRequest{SessionID: "agent:main:cron:a", Messages: []Message{{Role: "user", Text: "hello"}}, IdempotencyKey: "a:1770000000"}
}

func errorOf(t testing.TB, err error) *outcome.Error {
	t.Helper()
	var e *outcome.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want an *outcome.Error", err, err)
	}
	if e.Message == "" || len(e.Message) > 500 || strings.ContainsFunc(e.Message, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("message %q (%d bytes) is not one bounded printable line", e.Message, len(e.Message))
	}
	return e
}

func TestNew(t *testing.T) {
	for _, url := range []string{"", "localhost", "http://u:p@h", "http://h?q=1"} {
		if _, err := New(Options{BaseURL: url}); err == nil {
			t.Errorf("New accepted %q", url)
		}
	}
	if _, err := New(Options{BaseURL: "http://h", MaxReplyBytes: -1}); err == nil {
		t.Error("New accepted a negative bound")
	}
}

func TestChatRequestOnTheWire(t *testing.T) {
	yes := true
	full := ChatRequest{
		SessionID: "agent:main:telegram:group:-100abc", Model: "anthropic/claude-sonnet-4-5", ReasoningEffort: "low",
		WorkspaceID: "home", IdempotencyKey: "a:1770000000",
		Messages: []Message{
			{Role: "user", Text: "Grüße 😀", Timestamp: 1770000000, Images: json.RawMessage(`[{"alt":"é","data":"AAAA"}]`)},
			{Role: "assistant", Text: "<b>", Images: json.RawMessage(`null`)},
		},
		Gateway: Gateway{Channel: "telegram", PeerID: "1", ChatID: "-100abc", DisplayName: "Zoë", IsGroup: &yes,
			AgentID: "main", SessionKey: "agent:main:telegram:group:-100abc", Lane: "subagent"},
	}
	tests := []struct {
		name string
		in   ChatRequest
		want string
	}{
		{"full", full, `{"sessionId":"agent:main:telegram:group:-100abc","messages":[` +
			`{"role":"user","text":"Gr\u00fc\u00dfe \ud83d\ude00","timestamp":1770000000,"images":[{"alt":"\u00e9","data":"AAAA"}]},` +
			`{"role":"assistant","text":"<b>"}],"model":"anthropic/claude-sonnet-4-5","reasoningEffort":"low","activeWorkspaceId":"home",` +
			`"gateway":{"channel":"telegram","peerId":"1","chatId":"-100abc","displayName":"Zo\u00eb","isGroup":true,"agentId":"main",` +
			`"sessionKey":"agent:main:telegram:group:-100abc","lane":"subagent"}}`},
		{"absent fields are left out", ChatRequest{SessionID: "s", Messages: []Message{{Role: "user", Text: ""}}, IdempotencyKey: "a:1770000000"},
			`{"sessionId":"s","messages":[{"role":"user","text":""}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if diff := cmp.Diff(tt.want, string(body)); diff != "" {
					t.Error(diff)
				}
				if r.Method != http.MethodPost || r.URL.Path != "/api/gateway/chat" || r.ContentLength != int64(len(body)) {
					t.Errorf("%s %s, Content-Length %d", r.Method, r.URL.Path, r.ContentLength)
				}
				for name, want := range map[string]string{"Content-Type": "application/json", "Idempotency-Key": "a:1770000000", "X-Gateway-Cron-Run": "a:1770000000"} {
					if got := r.Header.Get(name); got != want {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
				io.WriteString(w, `{"text":"hi","sessionId":"s2"}`)
			})
			reply, err := c.Chat(t.Context(), tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if want := (Reply{Text: "hi", SessionID: "s2"}); reply != want {
				t.Errorf("reply %+v, want %+v", reply, want)
			}
		})
	}
}

func TestBasePathIsKept(t *testing.T) {
	var paths []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
		io.WriteString(w, `{"text":"","status":"ok","messages":[]}`)
	}))
	t.Cleanup(s.Close)
	c := newClient(t, s.URL+"/prefix/")
	if _, err := c.Chat(t.Context(), request()); err != nil {
		t.Error(err)
	}
	if _, _, err := c.Session(t.Context(), "a", "", 0); err != nil {
		t.Error(err)
	}
	if _, err := c.Health(t.Context()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"/prefix/api/gateway/chat", "/prefix/api/gateway/sessions/a", "/prefix/health"}, paths); diff != "" {
		t.Error(diff)
	}
}

func TestChatAnswers(t *testing.T) {
	tests := []struct {
		name       string
		status     int
		retryAfter string
		body       string
		kind       outcome.Kind
		wait       time.Duration
		message    string // part of it
	}{
		{"unknown model", 500, "", `{"error":"Unknown model: gpt-99"}`, outcome.Permanent, 0, "Unknown model: gpt-99"},
		{"no key", 500, "", `{"error":"ANTHROPIC_API_KEY is required"}`, outcome.Permanent, 0, "ANTHROPIC_API_KEY"},
		{"provider trouble", 500, "", `{"error":"Overloaded"}`, outcome.Retryable, 0, "500: Overloaded"},
		{"talk of a model is not telling", 500, "", `{"error":"the model is unknown"}`, outcome.Retryable, 0, ""},
		{"500 without text", 500, "", ``, outcome.Retryable, 0, "Internal Server Error"},
		{"no messages", 400, "", `{"error":"messages array is required"}`, outcome.Permanent, 0, "messages array"},
		{"404", 404, "", `{"error":"Not found"}`, outcome.Permanent, 0, "404"},
		{"408", 408, "", ``, outcome.Retryable, 0, ""},
		{"429 in seconds", 429, "7", ``, outcome.RateLimited, 7 * time.Second, "429"},
		{"429 by date", 429, "Fri, 01 May 2026 12:01:30 GMT", ``, outcome.RateLimited, 90 * time.Second, ""},
		{"429 for ever", 429, "999999999999", ``, outcome.RateLimited, time.Hour, ""},
		{"429 without a time", 429, "", ``, outcome.RateLimited, 0, ""},
		{"503 with a time", 503, "5", ``, outcome.RateLimited, 5 * time.Second, ""},
		{"503", 503, "", ``, outcome.Retryable, 0, ""},
		{"502", 502, "", "<html>\n<h1>Bad\x00gateway</h1>" + strings.Repeat("x", 5000), outcome.Retryable, 0, "502: <html> <h1>Bad gateway"},
		{"504", 504, "", ``, outcome.Retryable, 0, ""},
		{"599", 599, "", ``, outcome.Retryable, 0, ""},
		{"redirect", 307, "", ``, outcome.Permanent, 0, "307"},
		{"moved", 301, "", ``, outcome.Permanent, 0, "301"},
		{"HTML", 200, "", `<html>Welcome`, outcome.Retryable, 0, "Welcome"},
		{"empty body", 200, "", ``, outcome.Retryable, 0, "empty body"},
		{"no text", 200, "", `{"content":"hi"}`, outcome.Retryable, 0, "field text"},
		{"text of another type", 200, "", `{"text":["hi"]}`, outcome.Retryable, 0, ""},
		{"text null", 200, "", `{"text":null}`, outcome.Retryable, 0, ""},
		{"array", 200, "", `[]`, outcome.Retryable, 0, ""},
		{"JSON that breaks off", 200, "", `{"text":"half of`, outcome.Ambiguous, 0, "broke off"},
		{"text too long", 200, "", `{"text":"` + strings.Repeat("x", 101) + `"}`, outcome.Permanent, 0, "100 bytes"},
		{"body too long", 200, "", `{"text":"` + strings.Repeat("x", 1<<20) + `"}`, outcome.Permanent, 0, "100 bytes"},
		{"error body too long", 500, "", strings.Repeat("x", 1<<20), outcome.Retryable, 0, "500"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var requests atomic.Int64
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				if tt.retryAfter != "" {
					w.Header().Set("Retry-After", tt.retryAfter)
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
			})
			_, err := c.Chat(t.Context(), request())
			e := errorOf(t, err)
			if e.Kind != tt.kind || e.RetryAfter != tt.wait || !strings.Contains(e.Message, tt.message) {
				t.Errorf("%s, wait %v, %q; want %s, wait %v, %q", e.Kind, e.RetryAfter, e.Message, tt.kind, tt.wait, tt.message)
			}
			if !strings.Contains(tt.name, "too long") && e.Status != tt.status {
				t.Errorf("status %d, want %d", e.Status, tt.status)
			}
			if got := requests.Load(); got != 1 {
				t.Errorf("%d requests", got)
			}
		})
	}
}

func TestChatReplies(t *testing.T) {
	for body, want := range map[string]Reply{
		`{"text":""}`: {},
		`{"text":"a\u00e9😀","sessionId":"s","more":1}`:     {Text: "aé😀", SessionID: "s"},
		`{"text":"` + strings.Repeat("x", 100) + `"}`:      {Text: strings.Repeat("x", 100)},
		`{"text":"` + strings.Repeat(`\u0001`, 100) + `"}`: {Text: strings.Repeat("\x01", 100)},
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })
		if got, err := c.Chat(t.Context(), request()); got != want || err != nil {
			t.Errorf("%s: %+v, %v", body, got, err)
		}
	}
}

func TestChatUnanswered(t *testing.T) {
	tests := []struct {
		name string
		url  func(*testing.T) string
		kind outcome.Kind
	}{
		{"nobody listens", func(t *testing.T) string { return wiretest.Refusing(t) }, outcome.Retryable},
		{"hangs up", func(t *testing.T) string {
			return wiretest.Serve(t, func(int) (string, bool) { return "", false }).URL
		}, outcome.Ambiguous},
		{"body breaks off", func(t *testing.T) string {
			return wiretest.Serve(t, func(int) (string, bool) {
				return "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"text\":\"hi", false
			}).URL
		}, outcome.Ambiguous},
		{"body of unknown length breaks off", func(t *testing.T) string {
			return wiretest.Serve(t, func(int) (string, bool) { return "HTTP/1.1 200 OK\r\n\r\n{\"text\":\"hi", false }).URL
		}, outcome.Ambiguous},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := newClient(t, tt.url(t)).Chat(t.Context(), request())
			if e := errorOf(t, err); e.Kind != tt.kind {
				t.Errorf("%s: %v; want %s", e.Kind, e, tt.kind)
			}
		})
	}
}

// net/http repeats a POST with an Idempotency-Key that meets a dropped
// connection; here that would be a second paid turn.
func TestDroppedConnectionIsOneTurn(t *testing.T) {
	const answer = `{"text":"hi"}`
	s := wiretest.Serve(t, func(n int) (string, bool) {
		if n == 2 {
			return "", false
		}
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer), true
	})
	c := newClient(t, s.URL)
	if _, err := c.Chat(t.Context(), request()); err != nil {
		t.Fatal(err)
	}
	_, err := c.Chat(t.Context(), request())
	if e := errorOf(t, err); e.Kind != outcome.Ambiguous {
		t.Errorf("%s: %v; want ambiguous", e.Kind, e)
	}
	if s.Requests() != 2 || s.Conns() != 1 {
		t.Errorf("%d requests on %d connections for two turns, want 2 on 1", s.Requests(), s.Conns())
	}
}

func TestChatContext(t *testing.T) {
	fenced := errors.New("fenced")
	t.Run("cancelled in the turn", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		s := wiretest.Serve(t, func(int) (string, bool) { cancel(fenced); return "", true })
		_, err := newClient(t, s.URL).Chat(ctx, request())
		if e := errorOf(t, err); e.Kind != outcome.Ambiguous || !errors.Is(err, context.Canceled) || !errors.Is(err, fenced) {
			t.Errorf("%s: %v; want ambiguous, with its cause", e.Kind, err)
		}
	})
	t.Run("cancelled before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s := wiretest.Serve(t, func(int) (string, bool) { return "", true })
		_, err := newClient(t, s.URL).Chat(ctx, request())
		if e := errorOf(t, err); e.Kind != outcome.Retryable || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v; want retryable", e.Kind, err)
		}
		if s.Requests() != 0 {
			t.Errorf("%d requests", s.Requests())
		}
	})
	t.Run("deadline in the turn", func(t *testing.T) {
		// The server never answers, so the deadline is what ends the call.
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		s := wiretest.Serve(t, func(int) (string, bool) { return "", true })
		_, err := newClient(t, s.URL).Chat(ctx, request())
		if e := errorOf(t, err); e.Kind != outcome.Deadline || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v; want deadline", e.Kind, err)
		}
	})
}

func TestChatBefore(t *testing.T) {
	lost := errors.New("lease lost")
	var requests atomic.Int64
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		io.WriteString(w, `{"text":"hi"}`)
	})
	r := request()
	r.Before = func(context.Context) error { return lost }
	if _, err := c.Chat(t.Context(), r); err != lost {
		t.Errorf("error %v, want Before's own", err)
	}
	r.Before = func(ctx context.Context) error {
		if requests.Load() != 0 {
			t.Error("the request arrived before Before had run")
		}
		return ctx.Err()
	}
	if _, err := c.Chat(t.Context(), r); err != nil {
		t.Error(err)
	}
	if got := requests.Load(); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
}

func TestChatRefusesBeforeSending(t *testing.T) {
	var requests atomic.Int64
	c := serve(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	tests := map[string]func(*ChatRequest){
		"no session":         func(r *ChatRequest) { r.SessionID = "" },
		"long session":       func(r *ChatRequest) { r.SessionID = strings.Repeat("x", 201) },
		"dots":               func(r *ChatRequest) { r.SessionID = ".." },
		"invalid UTF-8":      func(r *ChatRequest) { r.SessionID = "a\xff" },
		"no messages":        func(r *ChatRequest) { r.Messages = nil },
		"bad images":         func(r *ChatRequest) { r.Messages[0].Images = json.RawMessage(`[`) },
		"key with a newline": func(r *ChatRequest) { r.IdempotencyKey = "a\nb" },
		"too large":          func(r *ChatRequest) { r.Messages[0].Text = strings.Repeat("x", MaxRequestBytes) },
		"too large escaped":  func(r *ChatRequest) { r.Messages[0].Text = strings.Repeat("é", MaxRequestBytes/5) },
		"far too large":      func(r *ChatRequest) { r.Messages[0].Text = strings.Repeat("x", 2*MaxRequestBytes+1) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			r := request()
			change(&r)
			r.Before = func(context.Context) error { t.Error("Before was called"); return nil }
			_, err := c.Chat(t.Context(), r)
			if e := errorOf(t, err); e.Kind != outcome.Permanent {
				t.Errorf("%s: %v; want permanent", e.Kind, e)
			}
		})
	}
	if got := requests.Load(); got != 0 {
		t.Errorf("%d requests", got)
	}
}

func TestSession(t *testing.T) {
	const stored = `{"id":"s","title":"T","messageCount":3,"displayName":"Ada","messages":[
		{"role":"user","text":"hé","timestamp":1770000000,"images":[{"data":"AAAA",  "n":1.50}]},
		{"role":"assistant","text":"","timestamp":1770000001.75,"images":null},
		{"role":"system","text":"x","extra":{}}]}`
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.EscapedPath() != "/api/gateway/sessions/agent:main:telegram:dm:1" || r.URL.RawQuery != "workspaceId=my+home" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		io.WriteString(w, stored)
	})
	got, found, err := c.Session(t.Context(), "agent:main:telegram:dm:1", "my home", 0)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	want := Session{DisplayName: "Ada", Messages: []Message{
		{Role: "user", Text: "hé", Timestamp: 1770000000, Images: json.RawMessage(`[{"data":"AAAA",  "n":1.50}]`)},
		{Role: "assistant", Timestamp: 1770000001},
		{Role: "system", Text: "x"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSessionAnswers(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		found  bool
		kind   outcome.Kind
	}{
		{"not found", 404, `{"error":"Session not found"}`, false, ""},
		{"empty", 200, `{"messages":[]}`, true, ""},
		{"no such path for reading", 405, ``, false, ""},
		{"no such method at all", 501, ``, false, ""},
		{"another object", 200, `{"text":"hi"}`, false, ""},
		{"no messages", 200, `{"id":"s"}`, false, outcome.Retryable},
		{"HTML", 200, `<html>`, false, outcome.Retryable},
		{"broken off", 200, `{"messages":[`, false, outcome.Retryable},
		{"too large", 200, `{"messages":[{"text":"` + strings.Repeat("x", 1000) + `"}]}`, false, outcome.Permanent},
		{"error", 500, `{"error":"disk"}`, false, outcome.Retryable},
		{"forbidden", 403, ``, false, outcome.Permanent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
			})
			_, found, err := c.Session(t.Context(), "s", "", 0)
			if found != tt.found {
				t.Errorf("found %t", found)
			}
			if tt.kind == "" {
				if err != nil {
					t.Error(err)
				}
			} else if e := errorOf(t, err); e.Kind != tt.kind {
				t.Errorf("%s: %v; want %s", e.Kind, e, tt.kind)
			}
		})
	}
	t.Run("hung up is not ambiguous", func(t *testing.T) {
		s := wiretest.Serve(t, func(int) (string, bool) { return "", false })
		_, _, err := newClient(t, s.URL).Session(t.Context(), "s", "", 0)
		if e := errorOf(t, err); e.Kind != outcome.Retryable {
			t.Errorf("%s: %v; want retryable", e.Kind, e)
		}
	})
}

// Of a session that is larger than was asked for, the size is told, and nothing is held.
func TestSessionSaysThatItIsLarger(t *testing.T) {
	body := `{"messages":[{"role":"user","text":"` + strings.Repeat("x", 5000) + `"}]}`
	for name, tc := range map[string]struct {
		chunked   bool
		max, most int
		want      int64 // of the LargerError
		permanent bool
	}{
		"with a length":          {max: 10_000, most: 1000, want: int64(len(body))},
		"without":                {chunked: true, max: 10_000, most: 1000, want: 10_000},
		"all that is taken":      {max: 10_000, most: 0},
		"small enough":           {max: 10_000, most: 6000},
		"more than is taken":     {max: 4000, most: 1000, permanent: true},
		"more, without a length": {chunked: true, max: 4000, most: 0, permanent: true},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if tc.chunked {
				w.(http.Flusher).Flush()
			} else {
				w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			}
			io.WriteString(w, body)
		}))
		c, err := New(Options{BaseURL: s.URL, MaxSessionBytes: tc.max})
		if err != nil {
			t.Fatal(err)
		}
		_, found, err := c.Session(t.Context(), "s", "", tc.most)
		larger, isLarger := errors.AsType[*LargerError](err)
		refused, isError := errors.AsType[*outcome.Error](err)
		switch {
		case isLarger != (tc.want != 0), isLarger && larger.Bytes != tc.want, isError != tc.permanent, err == nil && !found:
			t.Errorf("%s: %v", name, err)
		case isError && (refused.Kind != outcome.Permanent || !strings.Contains(refused.Message, "sessionKey")):
			t.Errorf("%s: %+v", name, refused)
		}
		s.Close()
	}
}

func TestSessionRefusesBadIDs(t *testing.T) {
	c := newClient(t, "http://127.0.0.1:1")
	for _, id := range []string{"", ".", "..", "...", "a\xff", "a\x00", strings.Repeat("x", 201)} {
		_, _, err := c.Session(t.Context(), id, "", 0)
		if e := errorOf(t, err); e.Kind != outcome.Permanent {
			t.Errorf("id %q: %s: %v; want permanent", id, e.Kind, e)
		}
		if id == "" {
			continue
		}
		_, _, err = c.Session(t.Context(), "s", id, 0)
		if e := errorOf(t, err); e.Kind != outcome.Permanent {
			t.Errorf("workspace %q: %s: %v; want permanent", id, e.Kind, e)
		}
	}
}

// Whatever id is accepted arrives as itself, in one path segment, without a bad
// escape: those end the ai-server's process.
func TestSessionPathProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune(`./\%?#;:& +é`)))).Draw(t, "id")
		path, err := sessionPath(id, "")
		if err != nil {
			return
		}
		segment := strings.TrimPrefix(path, "/api/gateway/sessions/")
		if strings.ContainsAny(segment, "/?#\\") || segment == "" || strings.Trim(segment, ".") == "" {
			t.Fatalf("path %q", path)
		}
		r, err := http.NewRequest(http.MethodGet, "http://127.0.0.1"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimPrefix(r.URL.Path, "/api/gateway/sessions/"); got != id || !utf8.ValidString(got) {
			t.Fatalf("id %q arrives as %q", id, got)
		}
		if r.URL.RequestURI() != path {
			t.Fatalf("path %q is sent as %q", path, r.URL.RequestURI())
		}
	})
}

func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		body, model, lacks string
		any                bool
	}{
		{`{"status":"ok"}`, "", "", false},
		{`{"status":"ok","hasAnthropicKey":true,"hasOpenAIKey":false}`, "", "", true},
		{`{"status":"ok","hasAnthropicKey":false,"hasOpenAIKey":true}`, "", "anthropic", true},
		{`{"status":"ok","hasAnthropicKey":false,"hasOpenAIKey":true}`, "openai/gpt-5.2-codex", "", true},
		{`{"status":"ok","hasAnthropicKey":false,"hasKey":true,"has":1}`, "anthropic/x", "anthropic", false},
		{`{"status":"ok","hasAnthropicKey":"no"}`, "", "", false},
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, tt.body) })
		keys, err := c.Health(t.Context())
		if err != nil || keys.Lacks(tt.model) != tt.lacks || keys.Any() != tt.any {
			t.Errorf("%s, model %q: %v lacks %q, any %v, %v", tt.body, tt.model, keys, keys.Lacks(tt.model), keys.Any(), err)
		}
	}
}

func TestHealth(t *testing.T) {
	tests := []struct {
		status int
		body   string
		kind   outcome.Kind
	}{
		{200, `{"status":"ok","version":"1","hasAnthropicKey":true}`, ""},
		{200, `<html>`, outcome.Retryable},
		{200, `{"status":"starting"}`, outcome.Retryable},
		{404, ``, outcome.Permanent},
		{503, ``, outcome.Retryable},
	}
	for _, tt := range tests {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/health" {
				t.Errorf("path %s", r.URL.Path)
			}
			w.WriteHeader(tt.status)
			io.WriteString(w, tt.body)
		})
		_, err := c.Health(t.Context())
		if tt.kind == "" {
			if err != nil {
				t.Error(err)
			}
		} else if e := errorOf(t, err); e.Kind != tt.kind {
			t.Errorf("%d %s: %s: %v; want %s", tt.status, tt.body, e.Kind, e, tt.kind)
		}
	}
	_, err := newClient(t, wiretest.Refusing(t)).Health(t.Context())
	if e := errorOf(t, err); e.Kind != outcome.Retryable || !strings.Contains(e.Message, "cannot be reached") {
		t.Errorf("%s: %v", e.Kind, e)
	}
}
