package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/api"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

// clock is moved by the test.
type clock struct{ now time.Time }

func (c *clock) pass(d time.Duration) { c.now = c.now.Add(d) }

func limited(t *testing.T, perMinute, burst int, change ...func(*api.Options)) (*bundle, *clock) {
	t.Helper()
	c := &clock{now}
	b := setup(t, append(change, func(o *api.Options) {
		o.RatePerMinute, o.RateBurst, o.Now = perMinute, burst, func() time.Time { return c.now }
	})...)
	b.seed("a")
	return b, c
}

func from(address string) option { return func(r *http.Request) { r.RemoteAddr = address } }

func TestRateLimit(t *testing.T) {
	b, c := limited(t, 120, 30)
	served := func(n int) {
		t.Helper()
		for range n {
			b.call("GET", "/api/cron/jobs/a", "").want(http.StatusOK)
		}
	}
	refused := func(retryAfter string) {
		t.Helper()
		for _, request := range []string{"GET /api/cron/jobs/a", "POST /api/cron/jobs/a/run?wait=5", "GET /api/cron/runs/a:1/events", "POST /api/cron/jobs"} {
			method, path, _ := strings.Cut(request, " ")
			a := b.call(method, path, "").want(http.StatusTooManyRequests)
			if got := a.header.Get("Retry-After"); got != retryAfter || !strings.Contains(a.raw, "120 a minute") {
				t.Errorf("%s: Retry-After %q, want %q: %s", request, got, retryAfter, a.raw)
			}
		}
	}
	served(30)
	refused("1") // in half a second, which the header cannot say
	c.pass(499 * time.Millisecond)
	refused("1")
	c.pass(time.Millisecond)
	served(1)
	refused("1")
	c.pass(time.Minute) // fills the burst and no more
	served(30)
	refused("1")
	for range 1000 { // the pace that is allowed is allowed for ever
		c.pass(time.Second / 2)
		served(1)
	}
	if calls := strings.Join(b.store.calls, " "); strings.Contains(calls, "create") || strings.Contains(calls, "run ") {
		t.Error("a refused request reached the store")
	}
	b.call("GET", "/health", "").want(http.StatusOK)
	b.call("GET", "/readyz", "").want(http.StatusOK)
}

func TestRateLimitSaysHowLong(t *testing.T) {
	b, c := limited(t, 2, 1)
	b.call("GET", "/api/cron/jobs", "").want(http.StatusOK)
	for _, tt := range []struct {
		pass time.Duration
		want string
	}{{0, "30"}, {100 * time.Millisecond, "30"}, {time.Second, "29"}, {28 * time.Second, "1"}} {
		c.pass(tt.pass)
		a := b.call("GET", "/api/cron/jobs", "").want(http.StatusTooManyRequests)
		if got := a.header.Get("Retry-After"); got != tt.want {
			t.Errorf("Retry-After %q, want %q", got, tt.want)
		}
	}
}

func TestWhoSharesAnAllowance(t *testing.T) {
	ask := func(b *bundle, options ...option) int { return b.call("GET", "/api/cron/jobs", "", options...).status }
	for _, tt := range []struct {
		name, first, second string // addresses
		shared              bool
	}{
		{"an address, whatever the port", "127.0.0.1:1000", "127.0.0.1:2000", true},
		{"two addresses", "127.0.0.1:1000", "127.0.0.2:1000", false},
		{"one network of IPv6", "[2001:db8::1]:1", "[2001:db8::ffff:1]:1", true},
		{"two networks of IPv6", "[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
		{"one address in two notations", "127.0.0.1:1", "[::ffff:127.0.0.1]:1", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, _ := limited(t, 1, 1)
			first, second := ask(b, from(tt.first)), ask(b, from(tt.second), header("X-Forwarded-For", "192.0.2.1"))
			if first != http.StatusOK || (second == http.StatusTooManyRequests) != tt.shared {
				t.Errorf("%d, then %d", first, second)
			}
		})
	}

	b, _ := limited(t, 1, 1, func(o *api.Options) { o.Token = "secret" })
	token := header("Authorization", "Bearer secret")
	for range 5 { // guesses take nothing from the holders of the token
		if got := ask(b, header("Authorization", "Bearer wrong")); got != http.StatusUnauthorized {
			t.Errorf("a wrong token: %d", got)
		}
	}
	if first, second := ask(b, token, from("192.0.2.1:1")), ask(b, token, from("192.0.2.2:1")); first != http.StatusOK || second != http.StatusTooManyRequests {
		t.Errorf("with the token, from two addresses: %d, then %d", first, second)
	}
}

func TestNoRateLimit(t *testing.T) {
	b, _ := limited(t, 0, 1)
	for range 100 {
		b.call("GET", "/api/cron/jobs", "").want(http.StatusOK)
	}
}

// TestManyClients: more than are kept apart share one allowance, and those who are known
// keep theirs.
func TestManyClients(t *testing.T) {
	b, c := limited(t, 60, 1)
	ask := func(i int) int {
		return b.call("GET", "/health", "", func(r *http.Request) {
			r.URL.Path = "/api/cron/jobs"
			r.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255)
		}).status
	}
	for i := range 4096 {
		if got := ask(i); got != http.StatusOK {
			t.Fatalf("client %d: %d", i, got)
		}
	}
	if first, second := ask(5000), ask(5001); first != http.StatusOK || second != http.StatusTooManyRequests {
		t.Errorf("two clients too many: %d, then %d", first, second)
	}
	c.pass(time.Second) // those who have their whole allowance again need not be kept
	for i := range 4096 {
		if got := ask(i + 10_000); got != http.StatusOK {
			t.Fatalf("client %d, when there is room again: %d", i, got)
		}
	}
}

// others are requests that stop nothing, and must keep nobody from stopping things.
var others = []string{
	"GET /api/cron/jobs", "GET /api/cron/jobs/a", "GET /api/cron/jobs/a/runs", "GET /api/cron/runs", "GET /api/cron/runs/a:1",
	"GET /api/cron/runs/a:1/events", "GET /api/cron/upcoming", "GET /api/cron/audit", "GET /api/cron/export", "GET /api/sessions/a",
	"GET /api/cron/jobs/a/explain", "GET /api/cron/tokens", "POST /api/cron/jobs", "POST /api/cron/jobs/a/run", "POST /api/cron/runs/a:1/redeliver", "POST /api/cron/preview",
	"POST /api/cron/tokens", "POST /api/cron/import", "GET /openapi.json", "GET /nowhere",
}

// stops are the kinds of requests that have a reserve; %d is another one each time.
var stops = []string{
	"POST /api/cron/all/pause", "POST /api/cron/all/resume", "GET /api/cron/status", "GET /api/cron/doctor", "POST /api/cron/jobs/a/pause", "POST /api/cron/jobs/a/resume",
	`PATCH /api/cron/jobs/a {"enabled":false}`, "POST /api/cron/runs/c:%d/cancel", "DELETE /api/cron/jobs/d-%d",
}

// send sends a request that is written in one line.
func (b *bundle) send(line string, n int, options ...option) answer {
	b.t.Helper()
	if strings.Contains(line, "%d") {
		line = fmt.Sprintf(line, n)
	}
	method, rest, _ := strings.Cut(line, " ")
	path, body, _ := strings.Cut(rest, " ")
	return b.call(method, path, body, options...)
}

// stoppable makes what n requests of each kind stop.
func (b *bundle) stoppable(n int) {
	b.store.runs["c"] = nil
	for i := range n {
		b.seed(fmt.Sprintf("d-%d", i))
		b.store.runs["c"] = append(b.store.runs["c"], job.Run{ID: fmt.Sprintf("c:%d", i), JobID: "c", State: job.StateWaiting})
	}
}

// TestNothingUsesUpAStop: whatever else a client asks for, and however often, each kind of
// stop is served, whoever the client is.
func TestNothingUsesUpAStop(t *testing.T) {
	admin, bound := header("Authorization", "Bearer secret"), header("Authorization", "Bearer gct_main")
	for _, tt := range []struct {
		name, token string
		caller      option
		skip        string
	}{
		{"without a token", "", from("127.0.0.1:1"), "-"},
		{"the administrator", "secret", admin, "-"},
		{"an agent", "secret", bound, "/all/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, _ := limited(t, 2, 1, func(o *api.Options) { o.Token = tt.token })
			b.tokens.tokens["gct_main"] = job.Token{ID: "main", AgentID: "main", MaxJobs: 5}
			b.stoppable(20)
			refused := 0
			for n := range 20 {
				for _, line := range others {
					if strings.HasPrefix(line, "GET /openapi") || strings.HasSuffix(line, "/export") && n == 0 {
						continue // no JSON object
					}
					if b.send(line, n, tt.caller).status == http.StatusTooManyRequests {
						refused++
					}
				}
				for _, guess := range []string{"wrong", "gct_wrong"} {
					b.call("GET", "/api/cron/jobs", "", header("Authorization", "Bearer "+guess))
				}
				for _, line := range stops {
					if strings.Contains(line, tt.skip) {
						continue
					}
					if a := b.send(line, n, tt.caller); a.status != http.StatusOK {
						t.Fatalf("%s, time %d: %d %s", line, n+1, a.status, a.raw)
					}
				}
			}
			if refused < 20*(len(others)-3) {
				t.Errorf("only %d of the others were refused", refused)
			}
		})
	}
}

// TestAReserveIsBounded: by kind, and one kind takes nothing from another.
func TestAReserveIsBounded(t *testing.T) {
	for _, tt := range []struct{ perMinute, burst, want int }{{1, 1, 30}, {60, 40, 40}} {
		for _, flood := range stops {
			b, c := limited(t, tt.perMinute, tt.burst)
			b.stoppable(tt.want + 20)
			served := 0
			for n := range tt.want + 20 {
				switch a := b.send(flood, n); a.status {
				case http.StatusOK:
					served++
				case http.StatusTooManyRequests:
					if a.header.Get("Retry-After") != "1" {
						t.Errorf("%s: Retry-After %q", flood, a.header.Get("Retry-After"))
					}
				default:
					t.Fatalf("%s: %d %s", flood, a.status, a.raw)
				}
			}
			if served != tt.want {
				t.Errorf("%s: %d at once were served, want %d", flood, served, tt.want)
			}
			b.seed("a")
			b.stoppable(1)
			for _, other := range append([]string{"GET /api/cron/jobs"}, stops...) {
				if other != flood {
					b.send(other, 0).want(http.StatusOK)
				}
			}
			c.pass(time.Second)
			b.seed("a")
			b.stoppable(1)
			b.send(flood, 0).want(http.StatusOK)
		}
	}
}

// TestALookByTheWayHasNoReserve: the tools look at the status with nearly all that they do.
func TestALookByTheWayHasNoReserve(t *testing.T) {
	b, _ := limited(t, 1, 2)
	aside := header(job.AsideHeader, "1")
	for _, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
		b.call("GET", "/api/cron/status", "", aside).want(want)
	}
	b.call("GET", "/api/cron/jobs", "").want(http.StatusTooManyRequests)
	for range 30 {
		b.call("GET", "/api/cron/status", "").want(http.StatusOK)
	}
}

// slowStore keeps those who list jobs until it is told to let one go.
type slowStore struct {
	*fakeStore
	began, free chan struct{}
}

func (s slowStore) FindJobs(ctx context.Context, f job.JobFilter, cursor string, limit int) ([]job.Job, string, error) {
	s.began <- struct{}{}
	select {
	case <-s.free:
		return nil, "", nil
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
}

// TestReadsWaitForEachOther: a few work at a time, the others wait, and nobody who stops
// something waits for them.
func TestReadsWaitForEachOther(t *testing.T) {
	slow := slowStore{began: make(chan struct{}), free: make(chan struct{})}
	b, _ := limited(t, 0, 1, func(o *api.Options) {
		slow.fakeStore = o.Find.(*fakeStore)
		o.Find, o.MaxReads = slow, 2
	})
	statuses := make(chan int)
	for range 3 {
		go func() {
			w := httptest.NewRecorder()
			b.handler.ServeHTTP(w, request(t.Context(), "GET", "/api/cron/jobs"))
			statuses <- w.Code
		}()
	}
	<-slow.began
	<-slow.began
	for _, line := range []string{"POST /api/cron/all/pause", "GET /api/cron/status", "POST /api/cron/jobs/a/pause", "DELETE /api/cron/jobs/a", "GET /api/cron/runs/a:1?wait=1"} {
		if a := b.send(line, 0); a.status >= http.StatusInternalServerError {
			t.Errorf("%s: %d %s", line, a.status, a.raw)
		}
	}
	select {
	case <-slow.began:
		t.Fatal("a third works")
	default:
	}
	// Who gives up waiting is told why, and has taken no place.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, request(ctx, "GET", "/api/cron/runs"))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "being read") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	slow.free <- struct{}{}
	<-slow.began
	slow.free <- struct{}{}
	slow.free <- struct{}{}
	for range 3 {
		if got := <-statuses; got != http.StatusOK {
			t.Errorf("status %d", got)
		}
	}
}

// deafWriter is a client that takes nothing of its answer until the end of the test.
type deafWriter struct {
	*httptest.ResponseRecorder
	writes chan struct{}
	done   <-chan struct{}
}

func (w deafWriter) Write([]byte) (int, error) {
	w.writes <- struct{}{}
	<-w.done
	return 0, io.ErrClosedPipe
}

// TestWhoDoesNotReadKeepsNoPlace: a place is for the work on an answer.
func TestWhoDoesNotReadKeepsNoPlace(t *testing.T) {
	b, _ := limited(t, 0, 1, func(o *api.Options) { o.MaxReads = 1 })
	ctx, end := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer end()
	for range 3 {
		w := deafWriter{httptest.NewRecorder(), make(chan struct{}), ctx.Done()}
		wg.Go(func() { b.handler.ServeHTTP(w, request(context.Background(), "GET", "/api/cron/jobs")) })
		<-w.writes
	}
	b.call("GET", "/api/cron/jobs", "").want(http.StatusOK)
}

func request(ctx context.Context, method, path string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, method, path, nil)
	r.Host = "127.0.0.1"
	return r
}
