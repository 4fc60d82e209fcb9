package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatewaycron/gatewaycron/api"
)

// guarded is one request for each route behind the guard.
var guarded = []string{
	"POST /api/cron/jobs", "GET /api/cron/jobs", "GET /api/cron/jobs/a", "PATCH /api/cron/jobs/a", "DELETE /api/cron/jobs/a", "POST /api/cron/jobs/a/run", "POST /api/cron/jobs/a/pause", "POST /api/cron/jobs/a/resume",
	"GET /api/cron/jobs/a/runs", "GET /api/cron/runs/a:1", "POST /api/cron/runs/a:1/cancel", "POST /api/cron/runs/a:1/redeliver", "GET /api/sessions/a", "POST /api/cron/preview", "HEAD /api/cron/jobs",
	"POST /api/cron/tokens", "GET /api/cron/tokens", "DELETE /api/cron/tokens/a",
}

func TestTheTokenGuardsEveryRoute(t *testing.T) {
	for _, request := range guarded {
		method, path, _ := strings.Cut(request, " ")
		t.Run(request, func(t *testing.T) {
			b := setup(t, func(o *api.Options) { o.Token = "s3cret" })
			b.seed("a")
			for _, credentials := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Bearer s3cre", "Bearer s3crett", "Bearer S3CRET", "Basic s3cret", "s3cret", "Bearer  ", "Bearer s3cret s3cret", "Bearer: s3cret"} {
				a := b.call(method, path, "", header("Authorization", credentials)).want(http.StatusUnauthorized)
				if got := a.header.Get("WWW-Authenticate"); got != "Bearer" {
					t.Errorf("WWW-Authenticate = %q", got)
				}
				if strings.Contains(a.raw, "s3cret") {
					t.Errorf("the token is shown: %s", a.raw)
				}
			}
			b.call(method, path+"?token=s3cret", "").want(http.StatusUnauthorized)
			if len(b.store.calls) > 0 {
				t.Errorf("the store was asked to %v", b.store.calls)
			}
			for _, credentials := range []string{"Bearer s3cret", "bearer s3cret", "BEARER  s3cret "} {
				if a := b.call(method, path, "", header("Authorization", credentials)); a.status == http.StatusUnauthorized {
					t.Errorf("%q was refused", credentials)
				}
			}
			if strings.Contains(b.log.String(), "s3cret") {
				t.Errorf("the token is logged: %s", b.log)
			}
		})
	}
}

func TestWithATokenAnyAddressWillDo(t *testing.T) {
	b := setup(t, func(o *api.Options) { o.Token = "s3cret" })
	b.call("GET", "/api/cron/jobs", "", host("gateway.example"), header("Authorization", "Bearer s3cret")).want(http.StatusOK)
}

func TestWithoutATokenOnlyThisMachineIsServed(t *testing.T) {
	for name, served := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:19790": true, "127.8.9.10:80": true, "localhost": true, "localhost:19790": true, "LocalHost:1": true,
		"[::1]": true, "[::1]:19790": true, "[::ffff:127.0.0.1]:19790": true,
		"": false, "evil.example": false, "evil.example:19790": false, "localhost.evil.example": false, "127.0.0.1.evil.example:19790": false,
		"192.168.1.5": false, "0.0.0.0:19790": false, "[::]": false, "[2001:db8::1]:80": false, "2130706433": false, "127.1": false, "127.0.0.1:19790:1": false,
	} {
		for _, request := range guarded {
			method, path, _ := strings.Cut(request, " ")
			t.Run(name+" "+request, func(t *testing.T) {
				b := setup(t)
				b.seed("a")
				a := b.call(method, path, "", host(name))
				if (a.status == http.StatusForbidden) == served {
					t.Errorf("status = %d", a.status)
				}
				if !served && len(b.store.calls) > 0 {
					t.Errorf("the store was asked to %v", b.store.calls)
				}
			})
		}
	}
}

func TestWithoutATokenWebPagesChangeNothing(t *testing.T) {
	for _, request := range guarded {
		method, path, _ := strings.Cut(request, " ")
		change := method != "GET" && method != "HEAD"
		for name, options := range map[string][]option{
			"cross-site":                 {header("Sec-Fetch-Site", "cross-site")},
			"same-site":                  {header("Sec-Fetch-Site", "same-site"), header("Origin", "http://127.0.0.1:3000")},
			"an old browser":             {header("Origin", "https://evil.example")},
			"an opaque origin":           {header("Origin", "null")},
			"another port, an old brows": {header("Origin", "http://127.0.0.1:3000")},
		} {
			t.Run(name+" "+request, func(t *testing.T) {
				b := setup(t)
				b.seed("a")
				a := b.call(method, path, "", options...)
				if (a.status == http.StatusForbidden) != change {
					t.Errorf("status = %d\n%s", a.status, a.raw)
				}
				if got := a.header.Get("Access-Control-Allow-Origin"); got != "" {
					t.Errorf("Access-Control-Allow-Origin = %q: the page could read the answer", got)
				}
			})
		}
	}
	b := setup(t)
	b.call("POST", "/api/cron/preview", `{"schedule":"@daily"}`, header("Origin", "http://127.0.0.1:19790"), header("Sec-Fetch-Site", "same-origin")).want(http.StatusOK)
}
