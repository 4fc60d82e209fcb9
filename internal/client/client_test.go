package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// both runs a test over the network and within the process: they must not differ.
func both(t *testing.T, handler http.Handler, test func(*testing.T, *client.Client)) {
	t.Helper()
	t.Run("network", func(t *testing.T) {
		srv := httptest.NewServer(handler)
		t.Cleanup(srv.Close)
		test(t, newClient(t, srv.URL+"/prefix/", nil))
	})
	t.Run("process", func(t *testing.T) {
		test(t, newClient(t, "http://127.0.0.1/prefix", client.Handler(handler)))
	})
}

func newClient(t *testing.T, base string, transport http.RoundTripper) *client.Client {
	t.Helper()
	c, err := client.New(base, "secret", transport)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRequestsAndAnswers(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("ETag", `"7"`)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "%s %s %s %s %s %s", r.Method, r.RequestURI, r.Header.Get("Authorization"), r.Header.Get("Content-Type"), r.Header.Get("If-Match"), body)
	})
	both(t, echo, func(t *testing.T, c *client.Client) {
		for _, tc := range []struct {
			request client.Request
			want    string
		}{
			{client.Request{Method: "POST", Path: client.Path("jobs"), Body: map[string]any{"a": 1}},
				`POST /prefix/api/cron/jobs Bearer secret application/json  {"a":1}`},
			{client.Request{Method: "PATCH", Path: client.Path("jobs", "a/../b"), Header: http.Header{"If-Match": {`"6"`}}, Body: strings.NewReader("{}")},
				`PATCH /prefix/api/cron/jobs/a%2F..%2Fb Bearer secret application/json "6" {}`},
			{client.Request{Method: "GET", Path: client.Path("runs"), Query: url.Values{"cursor": {"a&b"}}},
				`GET /prefix/api/cron/runs?cursor=a%26b Bearer secret   `},
		} {
			got, err := c.Do(t.Context(), tc.request)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, string(got.Raw)); d != "" || got.Status != http.StatusCreated || got.Header.Get("ETag") != `"7"` {
				t.Errorf("%d %v %s", got.Status, got.Header, d)
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	answers := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/prefix/problem":
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
			io.WriteString(w, `{"title":"T","status":1,"detail":"slow down","problems":[{"field":"f","detail":"d","example":"1"}]}`)
		case "/prefix/html":
			w.WriteHeader(http.StatusBadGateway)
			io.WriteString(w, "<html>")
		case "/prefix/elsewhere":
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		case "/prefix/panic":
			panic(http.ErrAbortHandler)
		}
	})
	both(t, answers, func(t *testing.T, c *client.Client) {
		_, err := c.Do(t.Context(), client.Request{Method: "POST", Path: "/problem"})
		want := &client.Error{Status: 429, Detail: "slow down", RetryAfter: 7 * time.Second,
			Problems: []client.Problem{{Field: "f", Detail: "d", Example: "1"}}}
		got, ok := errors.AsType[*client.Error](err)
		if d := cmp.Diff(want, got); !ok || d != "" || err.Error() != "slow down" {
			t.Errorf("%v: %s", err, d)
		}
		for path, status := range map[string]int{"/html": 502, "/elsewhere": 302} {
			_, err := c.Do(t.Context(), client.Request{Method: "GET", Path: path})
			if got, ok := errors.AsType[*client.Error](err); !ok || got.Status != status || !strings.Contains(got.Error(), "is it the API?") {
				t.Errorf("%s: %v", path, err)
			}
		}
		if _, err := c.Do(t.Context(), client.Request{Method: "GET", Path: "/panic"}); err == nil {
			t.Error("an answer that broke off is none")
		}
	})
}

func TestNoAnswerNamesNoQuery(t *testing.T) {
	c := newClient(t, "http://127.0.0.1:1", nil)
	_, err := c.Do(t.Context(), client.Request{Method: "GET", Path: "/api/cron/jobs", Query: url.Values{"q": {"private"}}})
	if err == nil || strings.Contains(err.Error(), "private") || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("%v", err)
	}
}

// TestStream: what is written arrives before the answer ends, and a caller that goes away
// ends it.
func TestStream(t *testing.T) {
	more, gone := make(chan struct{}), make(chan error, 2)
	both(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "one\n")
		w.(http.Flusher).Flush()
		<-more
		io.WriteString(w, "two\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		gone <- r.Context().Err()
	}), func(t *testing.T, c *client.Client) {
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		resp, err := c.Open(ctx, client.Request{Method: "GET", Path: "/events"})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for _, want := range []string{"one", "two"} {
			if !lines.Scan() || lines.Text() != want {
				t.Fatalf("%q, want %q", lines.Text(), want)
			}
			if want == "one" {
				more <- struct{}{}
			}
		}
		leave()
		<-gone
	})
}

// TestWithinARequest: a call that one router's request leads to is routed by itself.
func TestWithinARequest(t *testing.T) {
	inner := chi.NewRouter()
	inner.Get("/api/cron/jobs", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Method+" "+r.URL.Path) })
	both(t, http.StripPrefix("/prefix", inner), func(t *testing.T, c *client.Client) {
		outer := chi.NewRouter()
		outer.Post("/mcp", func(w http.ResponseWriter, r *http.Request) {
			got, err := c.Do(r.Context(), client.Request{Method: "GET", Path: client.Path("jobs")})
			fmt.Fprintf(w, "%s %v", got.Raw, err)
		})
		w := httptest.NewRecorder()
		outer.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/mcp", http.NoBody))
		if want := "GET /api/cron/jobs <nil>"; w.Body.String() != want {
			t.Errorf("%q, want %q", w.Body, want)
		}
	})
}

func TestBadAddresses(t *testing.T) {
	for _, base := range []string{"", "127.0.0.1:19790", "ftp://x", "http://", "http://u:p@x", "http://x?token=1", "http://x#y"} {
		if _, err := client.New(base, "", nil); err == nil {
			t.Errorf("%q was accepted", base)
		}
	}
}

// TestPatience: a client waits as long as it is told to and no longer, and sends again only
// what can do no harm twice.
func TestPatience(t *testing.T) {
	const busy, away = http.StatusTooManyRequests, http.StatusServiceUnavailable
	key := http.Header{"Idempotency-Key": {"k"}}
	for _, tt := range []struct {
		name    string
		request client.Request
		refusal int
		after   string // Retry-After
		times   int    // it is refused
		most    time.Duration
		within  time.Duration // of the context; 0 for ever
		calls   int
		took    time.Duration
		ok      bool
	}{
		{"it came too soon", client.Request{Method: "POST", Body: map[string]any{"a": 1}}, busy, "2", 3, time.Minute, 0, 4, 6 * time.Second, true},
		{"never without patience", client.Request{Method: "GET"}, busy, "1", 1, 0, 0, 1, 0, false},
		{"as long as it may", client.Request{Method: "GET"}, busy, "20", 9, time.Minute, 0, 4, time.Minute, false},
		{"not for an hour", client.Request{Method: "GET"}, busy, "3600", 1, time.Minute, 0, 1, 0, false},
		{"not longer than its caller", client.Request{Method: "GET"}, busy, "2", 9, time.Minute, 5 * time.Second, 3, 4 * time.Second, false},
		{"too many runs, whenever", client.Request{Method: "POST"}, busy, "", 1, time.Minute, 0, 1, 0, false},
		{"a stream cannot be sent again", client.Request{Method: "POST", Body: strings.NewReader("x")}, busy, "1", 1, time.Minute, 0, 1, 0, false},
		{"the store is away: a read", client.Request{Method: "GET"}, away, "1", 2, time.Minute, 0, 3, 2 * time.Second, true},
		{"a change that may have been made", client.Request{Method: "DELETE"}, away, "1", 1, time.Minute, 0, 1, 0, false},
		{"one that names itself", client.Request{Method: "POST", Header: key}, away, "1", 1, time.Minute, 0, 2, time.Second, true},
		{"one that is as good twice", client.Request{Method: "POST", Repeatable: true}, away, "1", 1, time.Minute, 0, 2, time.Second, true},
		{"what was not accepted", client.Request{Method: "GET"}, http.StatusConflict, "1", 1, time.Minute, 0, 1, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				c := newClient(t, "http://127.0.0.1", client.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					if want := tt.request.Body; want != nil && len(body) == 0 {
						t.Errorf("call %d has no body", calls)
					}
					if calls++; calls <= tt.times {
						w.Header().Set("Retry-After", tt.after)
						w.WriteHeader(tt.refusal)
						io.WriteString(w, `{"detail":"later"}`)
					}
				})))
				ctx := t.Context()
				if tt.within > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.within)
					defer cancel()
				}
				var told time.Duration
				start := time.Now()
				_, err := c.Patient(client.Patience{Most: tt.most, Told: func(wait time.Duration, _ *client.Error) { told += wait }}).Do(ctx, tt.request)
				refused, _ := errors.AsType[*client.Error](err)
				if calls != tt.calls || time.Since(start) != tt.took || told != tt.took || (err == nil) != tt.ok || err != nil && refused == nil {
					t.Errorf("%d calls in %v, told of %v: %v", calls, time.Since(start), told, err)
				}
			})
		})
	}
}

// TestPatienceEndsWithItsCaller: whoever gives up while the client waits has the refusal.
func TestPatienceEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, "http://127.0.0.1", client.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "50")
			w.WriteHeader(http.StatusTooManyRequests)
		})))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		start := time.Now()
		if _, err := c.Patient(client.Patience{Most: time.Minute}).Do(ctx, client.Request{Method: "GET"}); err == nil || time.Since(start) != 3*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}
