package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/outcome"
	"github.com/gatewaycron/gatewaycron/internal/wire/wiretest"
)

// secret is the part of every token in these tests that must never be seen.
const secret = "AAH-topsecret_topsecret"

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// implementation is one channel and the dialect its server speaks.
type implementation struct {
	// open returns the channel against the server at url.
	open func(t testing.TB, url string, timeout time.Duration) Channel
	// confirmation is the body of a 200 for a message id.
	confirmation func(id int) string
	// refusal answers a request with an error; wait 0 gives no time.
	refusal func(w http.ResponseWriter, status int, wait time.Duration, text string)
	// received reads the text and the thread of a request.
	received func(*http.Request) (text, thread string, err error)
	target   job.Target
	bad      []job.Target
	most     int // UTF-16 units of a part
}

var implementations = map[string]implementation{
	"http": {
		open: func(t testing.TB, url string, timeout time.Duration) Channel {
			c, err := NewHTTP(HTTPOptions{BaseURL: url, Token: secret, Timeout: timeout, Now: func() time.Time { return noon }})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.CloseIdle)
			return c
		},
		confirmation: func(id int) string { return fmt.Sprintf(`{"messageId":"%d"}`, id) },
		refusal: func(w http.ResponseWriter, status int, wait time.Duration, text string) {
			if wait > 0 {
				w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)))
			}
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"error":%q}`, text)
		},
		received: receivedJSON,
		target:   job.Target{Channel: "slack", ChatID: "C123", ThreadID: "77"},
		bad: []job.Target{{Channel: "slack"}, {Channel: "../x", ChatID: "1"}, {Channel: "", ChatID: "1"},
			{Channel: "slack", ChatID: strings.Repeat("x", 201)}, {Channel: "slack", ChatID: "\xff"}},
		most: maxHTTPUnits,
	},
	"telegram": {
		open: func(t testing.TB, url string, timeout time.Duration) Channel {
			c, err := NewTelegram(TelegramOptions{Token: "123456:" + secret, ServerURL: url, Timeout: timeout, Now: func() time.Time { return noon }})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.CloseIdle)
			return c
		},
		confirmation: func(id int) string {
			return fmt.Sprintf(`{"ok":true,"result":{"message_id":%d,"date":1,"chat":{"id":1,"type":"private"}}}`, id)
		},
		refusal: func(w http.ResponseWriter, status int, wait time.Duration, text string) {
			w.WriteHeader(status)
			parameters := ""
			if wait > 0 {
				parameters = fmt.Sprintf(`,"parameters":{"retry_after":%d}`, wait/time.Second)
			}
			fmt.Fprintf(w, `{"ok":false,"error_code":%d,"description":%q%s}`, status, text, parameters)
		},
		received: func(r *http.Request) (string, string, error) {
			return r.PostFormValue("text"), r.PostFormValue("message_thread_id"), nil
		},
		target: job.Target{Channel: "telegram", ChatID: "-1001234567890", ThreadID: "77"},
		bad: []job.Target{{Channel: "telegram"}, {Channel: "telegram", ChatID: "0"}, {Channel: "telegram", ChatID: "12a"},
			{Channel: "telegram", ChatID: "@a"}, {Channel: "telegram", ChatID: "+12"}, {Channel: "telegram", ChatID: "99999999999999999999"},
			{Channel: "telegram", ChatID: "1", ThreadID: "x"}, {Channel: "telegram", ChatID: "1", ThreadID: "-1"},
			{Channel: "telegram", ChatID: "1", IsGroup: new(true)}},
		most: maxTelegramUnits,
	},
}

// watch opens the channel against handler and counts what arrives.
func (i implementation) watch(t testing.TB, handler http.HandlerFunc) (Channel, *atomic.Int64) {
	t.Helper()
	var requests atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	return i.open(t, s.URL, 0), &requests
}

func (i implementation) message() Message {
	return Message{Target: i.target, Part: Part{Text: "hello"}, IdempotencyKey: "a:1770000000:deliver:1:0"}
}

func errorOf(t testing.TB, err error) *outcome.Error {
	t.Helper()
	var e *outcome.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want an *outcome.Error", err, err)
	}
	if e.Message == "" || len(e.Message) > 500 || strings.ContainsFunc(e.Message, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("message %q is not one bounded printable line", e.Message)
	}
	for err := error(e); err != nil; err = errors.Unwrap(err) {
		if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, secret) {
			t.Errorf("the token is in %q", text)
		}
	}
	return e
}

func TestConformance(t *testing.T) {
	// Whatever a library prints by itself is an outlet as well.
	var logged strings.Builder
	normal := log.Writer()
	log.SetOutput(&logged)
	t.Cleanup(func() { log.SetOutput(normal) })
	for name, impl := range implementations {
		t.Run(name, func(t *testing.T) {
			t.Run("confirmed", func(t *testing.T) { testConfirmed(t, impl) })
			t.Run("answers", func(t *testing.T) { testAnswers(t, impl) })
			t.Run("unanswered", func(t *testing.T) { testUnanswered(t, impl) })
			t.Run("contexts", func(t *testing.T) { testContexts(t, impl) })
			t.Run("dropped connection", func(t *testing.T) { testDroppedConnection(t, impl) })
			t.Run("refuses before sending", func(t *testing.T) { testRefuses(t, impl) })
			t.Run("check", func(t *testing.T) { testCheck(t, impl) })
			t.Run("split", func(t *testing.T) { testSplit(t, impl) })
			t.Run("printed", func(t *testing.T) {
				c := impl.open(t, "http://127.0.0.1:1", 0)
				if text := fmt.Sprintf("%v %+v %#v %s", c, c, c, c); strings.Contains(text, secret) {
					t.Errorf("the token is in %q", text)
				}
			})
		})
	}
	if strings.Contains(logged.String(), secret) {
		t.Errorf("the token was logged: %s", logged.String())
	}
}

func testConfirmed(t *testing.T, impl implementation) {
	text := "Grüße 😀\n<b>*not* _markup_</b>"
	c, requests := impl.watch(t, func(w http.ResponseWriter, r *http.Request) {
		got, thread, err := impl.received(r)
		if err != nil || got != text || thread != "77" {
			t.Errorf("received %q in thread %q, %v", got, thread, err)
		}
		io.WriteString(w, impl.confirmation(41))
	})
	m := impl.message()
	m.Text = text
	id, err := c.Send(t.Context(), m)
	if err != nil || id != "41" || requests.Load() != 1 {
		t.Errorf("id %q, %v, after %d requests", id, err, requests.Load())
	}
}

func testAnswers(t *testing.T, impl implementation) {
	refuse := func(status int, wait time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			impl.refusal(w, status, wait, "no, not with "+secret+"; "+strings.Repeat("é", 400)+secret)
		}
	}
	raw := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	tests := []struct {
		name   string
		answer http.HandlerFunc
		kind   outcome.Kind
		wait   time.Duration
	}{
		{"429", refuse(429, 7*time.Second), outcome.RateLimited, 7 * time.Second},
		{"429 for ever", refuse(429, 48*time.Hour), outcome.RateLimited, time.Hour},
		{"429 without a time", refuse(429, 0), outcome.RateLimited, 0},
		{"429 in HTML", raw(429, "<html>"), outcome.RateLimited, 0},
		{"400", refuse(400, 0), outcome.Permanent, 0},
		{"400 in HTML", raw(400, "<html>"), outcome.Permanent, 0},
		{"401", refuse(401, 0), outcome.Permanent, 0},
		{"403", refuse(403, 0), outcome.Permanent, 0},
		{"404", refuse(404, 0), outcome.Permanent, 0},
		{"405", refuse(405, 0), outcome.Permanent, 0},
		{"408", refuse(408, 0), outcome.Retryable, 0},
		{"409", refuse(409, 0), outcome.Permanent, 0},
		{"413", refuse(413, 0), outcome.Permanent, 0},
		{"500", refuse(500, 0), outcome.Retryable, 0},
		{"502 in HTML", raw(502, "<html>"), outcome.Retryable, 0},
		{"503", refuse(503, 0), outcome.Retryable, 0},
		{"redirect", raw(307, ""), outcome.Permanent, 0},
		{"moved", raw(301, ""), outcome.Permanent, 0},
		{"200 without an id", raw(200, "{}"), outcome.Ambiguous, 0},
		{"200 in HTML", raw(200, "<html>"+secret), outcome.Ambiguous, 0},
		{"200 empty", raw(200, ""), outcome.Ambiguous, 0},
		{"200 endless", raw(200, strings.Repeat(" ", maxAnswerBytes)+impl.confirmation(1)), outcome.Ambiguous, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, requests := impl.watch(t, tt.answer)
			id, err := c.Send(t.Context(), impl.message())
			if e := errorOf(t, err); e.Kind != tt.kind || e.RetryAfter != tt.wait || id != "" {
				t.Errorf("%s, wait %v, id %q: %v; want %s, wait %v", e.Kind, e.RetryAfter, id, e, tt.kind, tt.wait)
			}
			if got := requests.Load(); got != 1 {
				t.Errorf("%d requests", got)
			}
		})
	}
}

func testUnanswered(t *testing.T, impl implementation) {
	confirmation := impl.confirmation(41)
	tests := []struct {
		name, raw string
	}{
		{"hangs up", ""},
		{"no HTTP", "hello\r\n\r\n"},
		{"breaks off", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(confirmation)+1, confirmation)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := wiretest.Serve(t, func(int) (string, bool) { return tt.raw, false })
			_, err := impl.open(t, s.URL, 0).Send(t.Context(), impl.message())
			if e := errorOf(t, err); e.Kind != outcome.Ambiguous {
				t.Errorf("%s: %v; want ambiguous", e.Kind, e)
			}
			if s.Requests() != 1 {
				t.Errorf("%d requests", s.Requests())
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		_, err := impl.open(t, wiretest.Refusing(t), 0).Send(t.Context(), impl.message())
		if e := errorOf(t, err); e.Kind != outcome.Retryable {
			t.Errorf("%s: %v; want retryable", e.Kind, e)
		}
	})
}

func testContexts(t *testing.T, impl implementation) {
	t.Run("own timeout", func(t *testing.T) {
		s := wiretest.Serve(t, func(int) (string, bool) { return "", true })
		_, err := impl.open(t, s.URL, 2*time.Second).Send(t.Context(), impl.message())
		if e := errorOf(t, err); e.Kind != outcome.Ambiguous || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v; want ambiguous", e.Kind, e)
		}
	})
	t.Run("cancelled while it is awaited", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := wiretest.Serve(t, func(int) (string, bool) { cancel(); return "", true })
		_, err := impl.open(t, s.URL, 0).Send(ctx, impl.message())
		if e := errorOf(t, err); e.Kind != outcome.Ambiguous || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v; want ambiguous", e.Kind, e)
		}
	})
	t.Run("cancelled before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c, requests := impl.watch(t, func(http.ResponseWriter, *http.Request) {})
		_, err := c.Send(ctx, impl.message())
		if e := errorOf(t, err); e.Kind != outcome.Retryable || requests.Load() != 0 {
			t.Errorf("%s: %v, %d requests; want retryable, none", e.Kind, e, requests.Load())
		}
	})
}

func testDroppedConnection(t *testing.T, impl implementation) {
	answer := impl.confirmation(41)
	s := wiretest.Serve(t, func(n int) (string, bool) {
		if n == 2 {
			return "", false
		}
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer), true
	})
	c := impl.open(t, s.URL, 0)
	if _, err := c.Send(t.Context(), impl.message()); err != nil {
		t.Fatal(err)
	}
	_, err := c.Send(t.Context(), impl.message())
	if e := errorOf(t, err); e.Kind != outcome.Ambiguous {
		t.Errorf("%s: %v; want ambiguous", e.Kind, e)
	}
	if s.Requests() != 2 || s.Conns() != 1 {
		t.Errorf("%d requests on %d connections for two sends, want 2 on 1", s.Requests(), s.Conns())
	}
}

func testRefuses(t *testing.T, impl implementation) {
	c, requests := impl.watch(t, func(http.ResponseWriter, *http.Request) {})
	messages := map[string]func(*Message){
		"no text":       func(m *Message) { m.Text = " \n" },
		"long text":     func(m *Message) { m.Text = strings.Repeat("x", impl.most+1) },
		"long emoji":    func(m *Message) { m.Text = strings.Repeat("😀", impl.most/2+1) },
		"invalid UTF-8": func(m *Message) { m.Text = "a\xff" },
		"key":           func(m *Message) { m.IdempotencyKey = "a\r\nX: b" },
	}
	for i, bad := range impl.bad {
		messages[fmt.Sprintf("bad target %d", i)] = func(m *Message) { m.Target = bad }
	}
	for name, change := range messages {
		m := impl.message()
		change(&m)
		_, err := c.Send(t.Context(), m)
		if e := errorOf(t, err); e.Kind != outcome.Permanent {
			t.Errorf("%s: %s: %v; want permanent", name, e.Kind, e)
		}
	}
	if got := requests.Load(); got != 0 {
		t.Errorf("%d requests", got)
	}
}

func testCheck(t *testing.T, impl implementation) {
	c := impl.open(t, "http://127.0.0.1:1", 0)
	if problems := c.Check(impl.target); len(problems) > 0 {
		t.Errorf("good target: %+v", problems)
	}
	for _, target := range impl.bad {
		problems := c.Check(target)
		if len(problems) == 0 {
			t.Errorf("nothing wrong with %+v", target)
		}
		for _, p := range problems {
			if p.Field == "" || p.Detail == "" || p.Example == "" {
				t.Errorf("%+v: problem %+v says too little", target, p)
			}
		}
	}
}

func testSplit(t *testing.T, impl implementation) {
	c := impl.open(t, "http://127.0.0.1:1", 0)
	for _, text := range []string{"", " \n\t ", "short", strings.Repeat("word ", impl.most/2), strings.Repeat("😀", impl.most), "a\xffb"} {
		parts := c.Parts(text)
		if (len(parts) == 0) != (strings.TrimSpace(text) == "") {
			t.Errorf("%d parts of %.20q", len(parts), text)
		}
		for i, part := range parts {
			if problems := checkMessage(Message{Part: part}, impl.most); len(problems) > 0 {
				t.Errorf("part %d of %.20q: %+v", i, text, problems)
			}
		}
	}
}

func TestSplit(t *testing.T) {
	tests := []struct {
		name, text string
		limit      int
		want       []string
	}{
		{"fits", "hello", 5, []string{"hello"}},
		{"empty", "", 5, nil},
		{"blank", " \n ", 1, nil},
		{"words", "one two three", 8, []string{"one two", "three"}},
		{"a space right behind", "one two three", 7, []string{"one two", "three"}},
		{"a line in the first half", "one\ntwo three four", 12, []string{"one\ntwo", "three four"}},
		{"a line in the second half", "one two\nthree four", 12, []string{"one two", "three four"}},
		{"a line too early", "a\nbbbb cccc dddd", 12, []string{"a\nbbbb cccc", "dddd"}},
		{"one long word", "abcdefghij", 4, []string{"abcd", "efgh", "ij"}},
		{"surrogate pairs", "😀😀😀", 5, []string{"😀😀", "😀"}},
		{"a pair wider than the room", "😀😀", 1, []string{"😀", "😀"}},
		{"indentation stays", "aaaa\n\n  bbbb", 6, []string{"aaaa", "  bbbb"}},
		{"invalid UTF-8", "a\xffb", 5, []string{"a\uFFFDb"}},
		{"CRLF", "aaaa\r\nbbbb", 6, []string{"aaaa", "bbbb"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := split(tt.text, tt.limit)
			if strings.Join(got, "|") != strings.Join(tt.want, "|") || len(got) != len(tt.want) {
				t.Errorf("split(%q, %d) = %q, want %q", tt.text, tt.limit, got, tt.want)
			}
		})
	}
}

func withoutSpace(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
}

func TestSplitProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("ab \n\t😀é\u2003\r")))).Draw(t, "text")
		limit := rapid.IntRange(2, 40).Draw(t, "limit")
		parts := split(text, limit)
		for _, part := range parts {
			if strings.TrimSpace(part) == "" || units(part) > limit || !utf8.ValidString(part) {
				t.Fatalf("part %q", part)
			}
		}
		if got := withoutSpace(strings.Join(parts, "")); got != withoutSpace(text) {
			t.Fatalf("%q became %q", text, parts)
		}
		if len(parts) > 2*units(text)/limit+1 {
			t.Fatalf("%d parts of %d units at %d", len(parts), units(text), limit)
		}
	})
}
