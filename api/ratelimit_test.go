package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/api"
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
		for _, request := range []string{"GET /api/cron/jobs/a", "POST /api/cron/jobs/a/run?wait=5", "GET /api/cron/runs/a:1/events", "DELETE /api/cron/jobs/a"} {
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
	if calls := strings.Join(b.store.calls, " "); strings.Contains(calls, "delete") || strings.Contains(calls, "run ") {
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
