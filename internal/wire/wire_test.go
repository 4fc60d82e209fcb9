package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/wire/wiretest"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

func newClient(t *testing.T) *Client {
	t.Helper()
	c := NewClient()
	t.Cleanup(c.CloseIdle)
	return c
}

func post(url string) Request {
	return Request{Method: http.MethodPost, URL: url, Body: []byte(`{"a":1}`), MaxAnswerBytes: 1 << 10,
		Header: http.Header{"Idempotency-Key": {"run-1"}}}
}

func failureOf(t *testing.T, err error) *Failure {
	t.Helper()
	var f *Failure
	if !errors.As(err, &f) {
		t.Fatalf("error %v (%T), want a *Failure", err, err)
	}
	return f
}

// A server that hangs up on a connection it had kept open is where net/http
// repeats a POST by itself, if the request has an Idempotency-Key.
func TestDroppedReusedConnectionIsNotRepeated(t *testing.T) {
	dropSecond := func(n int) (string, bool) {
		if n == 2 {
			return "", false
		}
		return okAnswer, true
	}

	t.Run("net/http alone repeats", func(t *testing.T) {
		s := wiretest.Serve(t, dropSecond)
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		for range 2 {
			req, err := http.NewRequest(http.MethodPost, s.URL, bytes.NewReader([]byte("{}")))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Idempotency-Key", "run-1")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		if got := s.Requests(); got != 3 {
			t.Fatalf("%d requests for two calls; the trap this package avoids needs 3", got)
		}
	})

	t.Run("Do sends once", func(t *testing.T) {
		s := wiretest.Serve(t, dropSecond)
		c := newClient(t)
		if _, err := c.Do(t.Context(), post(s.URL)); err != nil {
			t.Fatal(err)
		}
		_, err := c.Do(t.Context(), post(s.URL))
		if f := failureOf(t, err); !f.Sent {
			t.Errorf("not sent: %v", f)
		}
		if got := s.Requests(); got != 2 {
			t.Errorf("%d requests for two calls", got)
		}
		if got := s.Conns(); got != 1 {
			t.Errorf("%d connections; the second call must meet the first one's", got)
		}
	})
}

func TestBefore(t *testing.T) {
	refused := errors.New("lease lost")
	tests := map[string]func(*testing.T) (*Client, string, *atomic.Int64){
		"plain": func(t *testing.T) (*Client, string, *atomic.Int64) {
			var requests atomic.Int64
			s := httptest.NewServer(counting(&requests))
			t.Cleanup(s.Close)
			return newClient(t), s.URL, &requests
		},
		"TLS": func(t *testing.T) (*Client, string, *atomic.Int64) {
			var requests atomic.Int64
			s := httptest.NewTLSServer(counting(&requests))
			t.Cleanup(s.Close)
			c := newClient(t)
			c.transport.TLSClientConfig = &tls.Config{RootCAs: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
			return c, s.URL, &requests
		},
	}
	for name, setup := range tests {
		t.Run(name, func(t *testing.T) {
			c, url, requests := setup(t)
			r := post(url)

			r.Before = func(context.Context) error { return refused }
			if _, err := c.Do(t.Context(), r); err != refused {
				t.Errorf("fresh connection: error %v, want Before's own", err)
			}
			calls := 0
			r.Before = func(context.Context) error {
				calls++
				if got := requests.Load(); got != 0 {
					t.Errorf("%d requests had arrived when Before ran", got)
				}
				return nil
			}
			if _, err := c.Do(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			r.Before = func(context.Context) error { return refused }
			if _, err := c.Do(t.Context(), r); err != refused {
				t.Errorf("reused connection: error %v, want Before's own", err)
			}
			if got := requests.Load(); got != 1 || calls != 1 {
				t.Errorf("%d requests arrived and Before ran %d times, want 1 and 1", got, calls)
			}
		})
	}
}

func counting(n *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		io.WriteString(w, "{}")
	})
}

func TestBeforeFailedLeavesNoByte(t *testing.T) {
	received := make(chan int64, 1)
	s := wiretest.ServeConn(t, func(c net.Conn) {
		n, _ := io.Copy(io.Discard, c)
		received <- n
	})
	refused := errors.New("lease lost")
	r := post(s.URL)
	r.Before = func(context.Context) error { return refused }
	// The server never answers: without an end, a request sent would hang here.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := newClient(t).Do(ctx, r); err != refused {
		t.Fatalf("error %v, want Before's own", err)
	}
	if n := <-received; n != 0 {
		t.Errorf("%d bytes arrived", n)
	}
}

// Whatever else would make the transport repeat a request: the second connection
// takes nothing of it.
func TestSecondConnectionIsRefused(t *testing.T) {
	for _, once := range []bool{true, false} {
		written := 0
		x := exchange{ctx: t.Context(), once: once, before: func(context.Context) error { return nil }}
		for range 2 {
			near, far := net.Pipe()
			go io.Copy(io.Discard, far)
			c := &conn{Conn: near}
			x.gotConn(httptrace.GotConnInfo{Conn: c})
			if n, err := c.Write([]byte("POST")); err == nil {
				written += n
			}
			near.Close()
		}
		want := 8
		if once {
			want = 4
		}
		if written != want {
			t.Errorf("once %t: %d bytes were written, want %d", once, written, want)
		}
	}
}

func TestBeforeIsNotCalledWithoutConnection(t *testing.T) {
	r := post(wiretest.Refusing(t))
	r.Before = func(context.Context) error {
		t.Error("called")
		return nil
	}
	_, err := newClient(t).Do(t.Context(), r)
	if f := failureOf(t, err); f.Sent || f.Ended != nil {
		t.Errorf("failure %+v, want neither sent nor ended", f)
	}
}

func TestUnanswered(t *testing.T) {
	tests := []struct {
		name   string
		answer string
	}{
		{"no answer", ""},
		{"half a status line", "HTTP/1.1 20"},
		{"header without end", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"},
		{"body shorter than its length", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}"},
		{"chunk without end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}"},
		{"an error whose body breaks off", "HTTP/1.1 500 Oops\r\nContent-Length: 20\r\n\r\n{}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := wiretest.Serve(t, func(int) (string, bool) { return tt.answer, false })
			_, err := newClient(t).Do(t.Context(), post(s.URL))
			if f := failureOf(t, err); !f.Sent || f.Ended != nil {
				t.Errorf("failure %+v, want sent and not ended", f)
			}
			if got := s.Requests(); got != 1 {
				t.Errorf("%d requests", got)
			}
		})
	}
}

// failingConn takes writes until it is told to fail them before their first byte.
type failingConn struct {
	net.Conn
	fails atomic.Bool
}

func (c *failingConn) Write(p []byte) (int, error) {
	if c.fails.Load() {
		return 0, errors.New("no route")
	}
	return c.Conn.Write(p)
}

func TestNothingWrittenIsNotSent(t *testing.T) {
	for _, reused := range []bool{false, true} {
		t.Run(fmt.Sprintf("reused %t", reused), func(t *testing.T) {
			s := wiretest.Serve(t, func(int) (string, bool) { return okAnswer, true })
			c := newClient(t)
			failing := &failingConn{}
			c.transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				inner, err := (&net.Dialer{}).DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				failing.Conn = inner
				return &conn{Conn: failing}, nil
			}
			sent := 0
			if reused {
				if _, err := c.Do(t.Context(), post(s.URL)); err != nil {
					t.Fatal(err)
				}
				sent++
			}
			failing.fails.Store(true)
			_, err := c.Do(t.Context(), post(s.URL))
			if f := failureOf(t, err); f.Sent {
				t.Errorf("counted as sent: %v", f)
			}
			if s.Requests() != sent || s.Conns() > 1 {
				t.Errorf("%d requests on %d connections, want %d on one", s.Requests(), s.Conns(), sent)
			}
		})
	}
}

func TestPartlyWrittenCountsAsSent(t *testing.T) {
	s := wiretest.ServeConn(t, func(c net.Conn) {
		io.ReadFull(c, make([]byte, 10))
		c.(*net.TCPConn).SetLinger(0) // close by a reset
	})
	r := post(s.URL)
	r.Body = bytes.Repeat([]byte(" "), 16<<20) // more than the buffers between us hold
	_, err := newClient(t).Do(t.Context(), r)
	if f := failureOf(t, err); !f.Sent {
		t.Errorf("not sent: %v", f)
	}
}

func TestContext(t *testing.T) {
	cause := errors.New("fenced")
	tests := []struct {
		name  string
		ctx   func(context.Context) (context.Context, func())
		ended error
	}{
		{"cancelled", func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(cause) }
		}, context.Canceled},
		{"deadline", func(ctx context.Context) (context.Context, func()) {
			d := &doneContext{Context: ctx, done: make(chan struct{})}
			return d, d.expire
		}, context.DeadlineExceeded},
	}
	for _, tt := range tests {
		t.Run(tt.name+" while the answer is awaited", func(t *testing.T) {
			ctx, end := tt.ctx(t.Context())
			s := wiretest.Serve(t, func(int) (string, bool) { end(); return "", true })
			_, err := newClient(t).Do(ctx, post(s.URL))
			if f := failureOf(t, err); !f.Sent || f.Ended != tt.ended || !errors.Is(err, tt.ended) {
				t.Errorf("failure %+v, want sent and ended by %v", f, tt.ended)
			}
			if tt.ended == context.Canceled && !errors.Is(err, cause) {
				t.Errorf("error %v hides the cause", err)
			}
		})
		t.Run(tt.name+" before a connection", func(t *testing.T) {
			ctx, end := tt.ctx(t.Context())
			end()
			s := wiretest.Serve(t, func(int) (string, bool) { return okAnswer, false })
			_, err := newClient(t).Do(ctx, post(s.URL))
			if f := failureOf(t, err); f.Sent || f.Ended != tt.ended {
				t.Errorf("failure %+v, want not sent and ended by %v", f, tt.ended)
			}
			if got := s.Requests(); got != 0 {
				t.Errorf("%d requests", got)
			}
		})
	}
}

// doneContext passes its deadline when a test says so.
type doneContext struct {
	context.Context
	done    chan struct{}
	expired atomic.Bool
}

func (d *doneContext) expire() {
	d.expired.Store(true)
	close(d.done)
}

func (d *doneContext) Done() <-chan struct{} { return d.done }

func (d *doneContext) Err() error {
	if d.expired.Load() {
		return context.DeadlineExceeded
	}
	return nil
}

func TestAnswer(t *testing.T) {
	var requests atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		switch r.URL.Path {
		case "/long":
			io.WriteString(w, strings.Repeat("x", 2000))
		case "/exact":
			io.WriteString(w, strings.Repeat("x", 1024))
		case "/moved":
			http.Redirect(w, r, "/long", http.StatusTemporaryRedirect)
		}
	}))
	t.Cleanup(s.Close)
	tests := []struct {
		path      string
		status    int
		length    int
		truncated bool
	}{
		{"/long", 200, 1024, true},
		{"/exact", 200, 1024, false},
		{"/moved", 307, 0, false},
		{"/empty", 200, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			requests.Store(0)
			a, err := newClient(t).Do(t.Context(), post(s.URL+tt.path))
			if err != nil {
				t.Fatal(err)
			}
			if a.Status != tt.status || len(a.Body) != tt.length || a.Truncated != tt.truncated {
				t.Errorf("status %d, %d bytes, truncated %t; want %d, %d, %t", a.Status, len(a.Body), a.Truncated, tt.status, tt.length, tt.truncated)
			}
			if got := requests.Load(); got != 1 {
				t.Errorf("%d requests: a redirect was followed", got)
			}
		})
	}
}

func TestErrorsHoldNoURL(t *testing.T) {
	const secret = "TOP-SECRET"
	for name, url := range map[string]string{
		"refused":     wiretest.Refusing(t) + "/bot" + secret + "/send",
		"unparsable":  "http://127.0.0.1:1/bot" + secret + "/%zz",
		"no answer":   wiretest.Serve(t, func(int) (string, bool) { return "", false }).URL + "/bot" + secret,
		"no HTTP":     wiretest.Serve(t, func(int) (string, bool) { return "hello there\r\n\r\n", false }).URL + "/bot" + secret,
		"wrong proto": "gopher://127.0.0.1/" + secret,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newClient(t).Do(t.Context(), post(url))
			if err == nil {
				t.Fatal("no error")
			}
			if text := fmt.Sprintf("%v %+v", err, failureOf(t, err)); strings.Contains(text, secret) {
				t.Errorf("error %q holds the URL", text)
			}
		})
	}
}

// The ai-server closes a connection that was idle for 5 s.
func TestIdleConnectionsAreGivenUpFirst(t *testing.T) {
	if got := NewClient().transport.IdleConnTimeout.Seconds(); got <= 0 || got >= 5 {
		t.Errorf("idle connections are kept for %v s", got)
	}
}
