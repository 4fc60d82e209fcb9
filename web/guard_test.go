package web_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/web"
)

func TestWhoMaySee(t *testing.T) {
	b := setup(t, nil)
	basic := func(password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth("anybody", password) }
	}
	for _, tc := range []struct {
		name, method, path string
		change             func(*http.Request)
		want               int
	}{
		{"page", "GET", "/monitoring", nil, 303},
		{"page below", "GET", "/monitoring/schedulers", nil, 303},
		{"head", "HEAD", "/monitoring", nil, 303},
		{"asset", "GET", "/monitoring/favicon.ico", nil, 303},
		{"api", "GET", "/monitoring/api/queues", nil, 401},
		{"post", "POST", "/monitoring/api/queues/q:pause", nil, 401},
		{"post to a page", "POST", "/monitoring", nil, 401},
		{"path in disguise", "GET", "/monitoring//api/queues", nil, 303},
		{"bearer", "GET", "/monitoring/api/queues", bearer, 200},
		{"bearer in any case", "GET", "/monitoring/api/queues", with("Authorization", "bearer "+token), 200},
		{"bearer on a page", "GET", "/monitoring", bearer, 200},
		{"basic", "GET", "/monitoring/api/queues", basic(token), 200},
		{"wrong bearer", "GET", "/monitoring/api/queues", with("Authorization", "Bearer x"), 401},
		{"wrong basic", "GET", "/monitoring", basic("x"), 303},
		{"token as user name", "GET", "/monitoring/api/queues", func(r *http.Request) { r.SetBasicAuth(token, "") }, 401},
		{"other scheme", "GET", "/monitoring/api/queues", with("Authorization", "Digest "+token), 401},
		{"token without scheme", "GET", "/monitoring/api/queues", with("Authorization", token), 401},
		{"token as cookie", "GET", "/monitoring/api/queues", withCookie(&http.Cookie{Name: "gateway_cron_session", Value: "token"}), 401},
		{"landing", "GET", "/", nil, 200},
		{"sign-in page", "GET", "/login", nil, 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.clock = b.clock.Add(time.Hour) // guesses are forgiven
			if got := b.do(tc.method, tc.path, tc.change); got.status != tc.want {
				t.Errorf("status %d, want %d: %s", got.status, tc.want, got.body)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	b := setup(t, nil)
	page := b.do("GET", "/monitoring/queues/q?status=pending", nil)
	if got, want := page.header.Get("Location"), "/login?next=%2Fmonitoring%2Fqueues%2Fq%3Fstatus%3Dpending"; got != want {
		t.Errorf("a page redirects to %q, want %q", got, want)
	}
	api := b.do("GET", "/monitoring/api/queues", nil)
	var problem struct {
		Status int
		Detail string
	}
	if err := json.Unmarshal([]byte(api.body), &problem); err != nil || problem.Status != 401 || !strings.Contains(problem.Detail, "/login") {
		t.Errorf("body %s (%v), want a problem that says where to sign in", api.body, err)
	}
	if got := api.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer") {
		t.Errorf("WWW-Authenticate %q, want Bearer: Basic would open the browser's own dialog", got)
	}
}

func TestSignIn(t *testing.T) {
	b := setup(t, nil)
	got := b.signIn(url.Values{"token": {" " + token + "\n"}, "next": {"/monitoring/schedulers"}}, nil)
	if got.status != 303 || got.header.Get("Location") != "/monitoring/schedulers" {
		t.Fatalf("status %d to %q", got.status, got.header.Get("Location"))
	}
	c := got.cookie(t)
	if strings.Contains(c.Raw, token) || strings.Contains(c.Raw, url.QueryEscape(token)) {
		t.Errorf("the cookie holds the token: %s", c.Raw)
	}
	want := &http.Cookie{Name: c.Name, Value: c.Value, Path: "/", MaxAge: 12 * 3600, HttpOnly: true, SameSite: http.SameSiteStrictMode, Raw: c.Raw}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("cookie (-want +got):\n%s", diff)
	}

	signedIn := withCookie(c)
	if got := b.do("GET", "/monitoring/api/queues", signedIn); got.status != 200 {
		t.Errorf("with the cookie: status %d", got.status)
	}
	if got := b.do("GET", "/login?next=/monitoring/servers", signedIn); got.status != 303 || got.header.Get("Location") != "/monitoring/servers" {
		t.Errorf("the sign-in page answers somebody signed in with %d to %q", got.status, got.header.Get("Location"))
	}
	if got := b.do("GET", "/", signedIn); !strings.Contains(got.body, "Sign out") {
		t.Error("the landing page offers no sign-out")
	}

	other := setup(t, nil)
	other.clock = b.clock
	if got := other.do("GET", "/monitoring/api/queues", signedIn); got.status != 200 {
		t.Errorf("another replica does not know the sign-in: status %d", got.status)
	}
	changed := setup(t, func(o *web.Options) { o.Token = "another" })
	changed.clock = b.clock
	if got := changed.do("GET", "/monitoring/api/queues", signedIn); got.status != 401 {
		t.Errorf("the sign-in outlives its token: status %d", got.status)
	}

	out := b.do("POST", "/logout", signedIn)
	if c := out.cookie(t); out.status != 303 || c.MaxAge >= 0 || c.Value != "" {
		t.Errorf("sign-out: status %d, cookie %s", out.status, c.Raw)
	}
	if got := b.do("GET", "/monitoring/api/queues", signedIn); got.status != 401 {
		t.Errorf("the old cookie goes on after the sign-out: status %d", got.status)
	}
	if got := b.do("GET", "/monitoring/api/queues", withCookie(b.signIn(url.Values{"token": {token}}, nil).cookie(t))); got.status != 200 {
		t.Errorf("a new sign-in in the same second: status %d", got.status)
	}
	if got := b.do("GET", "/logout", signedIn); got.status != 405 || len(got.header["Set-Cookie"]) > 0 {
		t.Errorf("a GET signs out: status %d", got.status)
	}
}

func TestSignInEnds(t *testing.T) {
	b := setup(t, nil)
	c := withCookie(b.signIn(url.Values{"token": {token}}, nil).cookie(t))
	b.clock = b.clock.Add(12*time.Hour - time.Second)
	if got := b.do("GET", "/monitoring/api/queues", c); got.status != 200 {
		t.Errorf("before the end: status %d", got.status)
	}
	b.clock = b.clock.Add(2 * time.Second)
	if got := b.do("GET", "/monitoring/api/queues", c); got.status != 401 {
		t.Errorf("after the end: status %d", got.status)
	}
}

func TestForgedCookies(t *testing.T) {
	b := setup(t, nil)
	c := b.signIn(url.Values{"token": {token}}, nil).cookie(t)
	stamp, mac, _ := strings.Cut(c.Value, ".")
	for name, value := range map[string]string{
		"later expiry":  "9" + stamp + "." + mac,
		"no mac":        stamp,
		"empty mac":     stamp + ".",
		"cut mac":       c.Value[:len(c.Value)-1],
		"longer mac":    c.Value + "A",
		"empty":         "",
		"mac of itself": mac + "." + mac,
	} {
		if got := b.do("GET", "/monitoring/api/queues", withCookie(&http.Cookie{Name: c.Name, Value: value})); got.status != 401 {
			t.Errorf("%s: status %d", name, got.status)
		}
	}
}

func TestCookieIsSecureOverTLS(t *testing.T) {
	b := setup(t, nil)
	got := b.signIn(url.Values{"token": {token}}, with("X-Forwarded-Proto", "https"))
	if !got.cookie(t).Secure {
		t.Error("behind a TLS proxy the cookie is not Secure")
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "https://cron.example/login", strings.NewReader(url.Values{"token": {token}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b.dash.ServeHTTP(w, r)
	if cookies := w.Result().Cookies(); len(cookies) != 1 || !cookies[0].Secure {
		t.Errorf("over TLS the cookie is not Secure: %v", cookies)
	}
}

func TestWrongTokensAreLimited(t *testing.T) {
	b := setup(t, nil)
	elsewhere := httptest.NewRecorder()
	in := httptest.NewRequest("POST", "/login", strings.NewReader(url.Values{"token": {token}}.Encode()))
	in.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b.dash.ServeHTTP(elsewhere, in)
	session := withCookie(elsewhere.Result().Cookies()[0])
	for i := range 10 {
		if got := b.signIn(url.Values{"token": {"guess"}}, nil); got.status != 401 || !strings.Contains(got.body, "not the token") {
			t.Fatalf("guess %d: status %d", i+1, got.status)
		}
	}
	if n := strings.Count(b.log.String(), "wrong tokens"); n != 1 {
		t.Errorf("%d lines in the log, want 1:\n%s", n, b.log)
	}
	if strings.Contains(b.log.String(), "guess") {
		t.Errorf("the log tells what was tried:\n%s", b.log)
	}
	if len(b.waits) != 0 {
		t.Errorf("the first ten wait: %v", b.waits)
	}
	right := url.Values{"token": {token}}
	if got := b.signIn(right, nil); got.status != 303 || len(b.waits) != 1 || b.waits[0] != time.Second {
		t.Errorf("after ten guesses: status %d after %v", got.status, b.waits)
	}
	b.waits = nil
	if got := b.signIn(url.Values{"token": {"guess"}}, nil); got.status != 401 || len(b.waits) != 1 {
		t.Errorf("another guess: status %d after %v", got.status, b.waits)
	}
	b.waits = nil
	for range 20 { // it was right from here
		if got := b.do("GET", "/monitoring/api/queues", bearer); got.status != 200 || len(b.waits) != 0 {
			t.Fatalf("status %d after %v", got.status, b.waits)
		}
	}
	if got := b.do("GET", "/monitoring/api/queues", session); got.status != 200 {
		t.Errorf("somebody else's guesses end a sign-in: status %d", got.status)
	}
}

func TestWithoutToken(t *testing.T) {
	b := setup(t, noToken)
	for _, host := range []string{"localhost", "LOCALHOST:19790", "127.0.0.1:19790", "127.8.9.1", "[::1]:19790", "[::1]"} {
		if got := b.do("GET", "/monitoring/api/queues", func(r *http.Request) { r.Host = host }); got.status != 200 {
			t.Errorf("%s: status %d", host, got.status)
		}
	}
	for _, host := range []string{"evil.example", "localhost.evil.example:19790", "127.0.0.1.evil.example", "192.168.1.2", "0.0.0.0", "[2001:db8::1]"} {
		for _, path := range []string{"/", "/login", "/monitoring", "/monitoring/api/queues"} {
			if got := b.do("GET", path, func(r *http.Request) { r.Host = host }); got.status != 403 {
				t.Errorf("%s at %s: status %d", path, host, got.status)
			}
		}
	}
	for _, got := range []answer{b.do("GET", "/login?next=/monitoring/servers", nil), b.signIn(url.Values{"next": {"/monitoring/servers"}}, nil)} {
		if got.status != 303 || got.header.Get("Location") != "/monitoring/servers" || len(got.header["Set-Cookie"]) > 0 {
			t.Errorf("sign-in: status %d to %q, cookies %q", got.status, got.header.Get("Location"), got.header["Set-Cookie"])
		}
	}
}

func TestOtherSitesChangeNothing(t *testing.T) {
	change := "/monitoring/api/queues/" + queue + "/completed_tasks:delete_all"
	for name, with := range map[string]func(*web.Options){"token": nil, "no token": noToken} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, with)
			for _, header := range [][2]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}} {
				got := b.do("DELETE", change, func(r *http.Request) {
					bearer(r)
					r.Header.Set(header[0], header[1])
				})
				if got.status != 403 {
					t.Errorf("%s: status %d", header, got.status)
				}
			}
			if got := b.signIn(url.Values{"token": {token}}, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }); got.status != 403 {
				t.Errorf("sign-in: status %d", got.status)
			}
			if got := b.do("DELETE", change, func(r *http.Request) {
				bearer(r)
				r.Header.Set("Sec-Fetch-Site", "same-origin")
			}); got.status != 204 && got.status != 200 {
				t.Errorf("our own page: status %d: %s", got.status, got.body)
			}
		})
	}
}
