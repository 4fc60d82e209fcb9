package api_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/api"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

// deaf is a client that takes nothing of an answer until it is told to.
type deaf struct {
	*httptest.ResponseRecorder
	offered chan struct{} // gets one when something is to be taken
	listen  chan struct{}
}

func (d *deaf) Write(p []byte) (int, error) {
	d.offered <- struct{}{}
	<-d.listen
	return d.ResponseRecorder.Write(p)
}

// leaveUnread sends a request and returns when its answer is on offer; take takes it.
func leaveUnread(t *testing.T, h http.Handler, method, target string, options ...option) (take func() *httptest.ResponseRecorder) {
	t.Helper()
	d := &deaf{httptest.NewRecorder(), make(chan struct{}, 100), make(chan struct{})}
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	r.Host = "127.0.0.1"
	for _, o := range options {
		o(r)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.ServeHTTP(d, r)
	}()
	select {
	case <-d.offered:
	case <-time.After(time.Minute):
		t.Fatalf("%s %s has no answer", method, target)
	}
	return func() *httptest.ResponseRecorder {
		close(d.listen)
		<-done
		return d.ResponseRecorder
	}
}

// TestAnswersThatNobodyReads: a client that leaves its share unread gets no more, before
// anything is read for it; others do, and so does what stops things.
func TestAnswersThatNobodyReads(t *testing.T) {
	const one, other, third, fourth, fifth = "127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1", "127.0.0.4:1", "127.0.0.5:1"
	large := job.Run{ID: playedID, JobID: "a", State: job.StateRunning, Reply: strings.Repeat("x", 5000)}
	b, _ := played(t, []reading{{run: large}}, func(o *api.Options) { o.MaxUnread = 20_000 })
	b.seed("a", func(j *job.Job) { j.Task = strings.Repeat("x", 5000) })
	read := func(address string) answer {
		return b.call("GET", "/api/cron/jobs/a", "", from(address))
	}
	first := leaveUnread(t, b.handler, "GET", "/api/cron/jobs/a", from(one))
	calls := len(b.store.calls)
	for _, request := range []string{"GET /api/cron/jobs/a", "GET /api/cron/jobs", "POST /api/cron/jobs/a/run", "GET /api/cron/runs/" + playedID + "/events", "GET /api/cron/export"} {
		method, path, _ := strings.Cut(request, " ")
		a := b.call(method, path, "", from(one)).want(http.StatusTooManyRequests)
		if a.header.Get("Retry-After") == "" || !strings.Contains(a.raw, "nothing was done") {
			t.Errorf("%s: %v %s", request, a.header, a.raw)
		}
	}
	if len(b.store.calls) != calls {
		t.Errorf("the store was asked to %v", b.store.calls[calls:])
	}
	b.call("POST", "/api/cron/jobs/a/pause", "", from(one)).want(http.StatusOK)
	b.call("GET", "/health", "", from(one)).want(http.StatusOK)
	read(other).want(http.StatusOK)

	rest := []func() *httptest.ResponseRecorder{}
	for _, address := range []string{other, third} {
		rest = append(rest, leaveUnread(t, b.handler, "GET", "/api/cron/jobs/a", from(address)))
	}
	for _, path := range []string{"jobs/a", "export", "runs/" + playedID + "/events"} { // there is not so much left
		b.call("GET", "/api/cron/"+path, "", from(fourth)).want(http.StatusServiceUnavailable)
	}
	if got := first(); got.Code != http.StatusOK || !strings.Contains(got.Body.String(), "xxx") {
		t.Errorf("what was left unread: %d %s", got.Code, got.Body)
	}
	read(one).want(http.StatusOK)
	read(fifth).want(http.StatusOK)
	for _, take := range rest {
		take()
	}
}

// TestAnAnswerLargerThanAShare is had by whoever has no other.
func TestAnAnswerLargerThanAShare(t *testing.T) {
	b := setup(t, func(o *api.Options) { o.MaxUnread = 400 })
	b.seed("a", func(j *job.Job) { j.Task = strings.Repeat("x", 5000) })
	for range 2 {
		b.call("GET", "/api/cron/jobs/a", "").want(http.StatusOK)
	}
}

// TestCallsOfOtherHandlers are counted, too: for what they hold while they work, and for
// what they have written.
func TestCallsOfOtherHandlers(t *testing.T) {
	b := setup(t)
	begun, goOn := make(chan struct{}, 10), make(chan struct{})
	work := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		select {
		case <-goOn:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, r.URL.Path)
	})
	h := api.Protect(api.Options{Tokens: b.tokens, Now: time.Now, Logger: slog.New(slog.DiscardHandler), MaxUnread: 4 << 20}, work,
		func(r *http.Request) bool { return r.URL.Path == "/stop" })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // of a call that should have been refused
	defer cancel()
	call := func(path, address string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(ctx, "POST", path, nil)
		r.Host, r.RemoteAddr = "127.0.0.1", address
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	ask := func(address string) *httptest.ResponseRecorder { return call("/mcp", address) }
	done := make(chan *httptest.ResponseRecorder, 10)
	for range 2 {
		go func() { done <- ask("127.0.0.1:1") }()
		<-begun
	}
	if got := ask("127.0.0.1:2"); got.Code != http.StatusTooManyRequests || got.Header().Get("Retry-After") == "" {
		t.Errorf("beyond the share: %d %s", got.Code, got.Body)
	}
	go func() { done <- ask("127.0.0.2:1") }()
	<-begun
	stopped := make(chan *httptest.ResponseRecorder, 1)
	go func() { stopped <- call("/stop", "127.0.0.1:3") }()
	select {
	case <-begun:
	case got := <-stopped:
		t.Errorf("what stops things was refused: %d %s", got.Code, got.Body)
	}
	close(goOn)
	for range 3 {
		if got := <-done; got.Code != http.StatusOK || got.Body.String() != "/mcp" {
			t.Errorf("%d %s", got.Code, got.Body)
		}
	}
	if got := ask("127.0.0.1:1"); got.Code != http.StatusOK {
		t.Errorf("afterwards: %d %s", got.Code, got.Body)
	}
}

// TestNobodyHasAllThatLasts: each client has a quarter of the requests that wait or stream.
func TestNobodyHasAllThatLasts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		token string // of the deployment
		as    func(client int) option
	}{
		{"addresses", "", func(client int) option { return from(fmt.Sprintf("127.0.0.%d:1", client+1)) }},
		{"tokens", "secret", func(client int) option { return as(fmt.Sprintf("gct_%d", client)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, p := played(t, []reading{running()}, func(o *api.Options) { o.MaxLasting, o.Token = 8, tt.token })
			for i := range 5 {
				b.tokens.tokens[fmt.Sprintf("gct_%d", i)] = job.Token{ID: fmt.Sprint(i), AgentID: "main", MaxJobs: 5}
			}
			var streams []func() *httptest.ResponseRecorder
			stream := func(client int) {
				streams = append(streams, leaveUnread(t, b.handler, "GET", "/api/cron/runs/"+playedID+"/events", tt.as(client)))
			}
			stream(0)
			stream(0)
			for _, request := range []string{"GET /api/cron/runs/" + playedID + "/events", "GET /api/cron/runs/" + playedID + "?wait=1", "POST /api/cron/jobs/a/run?wait=1"} {
				method, path, _ := strings.Cut(request, " ")
				a := b.call(method, path, "", tt.as(0)).want(http.StatusTooManyRequests)
				if a.header.Get("Retry-After") == "" {
					t.Errorf("%s: %v", request, a.header)
				}
			}
			for client := 1; client < 4; client++ {
				stream(client)
				stream(client)
			}
			b.call("GET", "/api/cron/runs/"+playedID+"?wait=1", "", tt.as(4)).want(http.StatusServiceUnavailable)
			p.play(ended(""))
			for _, end := range streams {
				end()
			}
			b.call("GET", "/api/cron/runs/"+playedID+"?wait=1", "", tt.as(0)).want(http.StatusOK)
		})
	}
}
