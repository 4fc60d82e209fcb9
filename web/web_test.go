package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/guess"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/web"
)

const (
	token   = "correct horse battery staple"
	payload = `{"v":1,"job":"morning","name":"Morning summary","slot":1795418580000,"schedule":"0 9 * * 1-5","timezone":"Europe/Berlin","apiToken":"hunter2"}`
	queue   = "q"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// bundle is a dashboard, mounted as the program mounts it, over a queue with one
// pending task.
type bundle struct {
	t      *testing.T
	server *httptest.Server
	dash   *web.Dashboard
	db     *redistest.DB
	task   string
	log    *bytes.Buffer
	clock  time.Time
	waits  []time.Duration // of those who guess; the clock goes on by them
}

func setup(t *testing.T, change func(*web.Options)) *bundle {
	t.Helper()
	b := &bundle{t: t, db: redistest.Fresh(t), log: &bytes.Buffer{}, clock: time.Now()}
	guesses := guess.New(guess.Options{
		Now: func() time.Time { return b.clock }, Logger: slog.New(slog.NewTextHandler(b.log, nil)),
		After: func(d time.Duration) <-chan time.Time {
			b.waits, b.clock = append(b.waits, d), b.clock.Add(d)
			return time.After(0)
		},
	})
	o := web.Options{
		Guesses: guesses, SignOuts: signOuts{},
		Redis: b.db.Asynq(), Token: token, Version: "v1.2.3", Queues: []string{queue},
		Now: func() time.Time { return b.clock }, Logger: slog.New(slog.NewTextHandler(b.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	var err error
	if b.dash, err = web.New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.dash.Close(); err != nil {
			t.Error(err)
		}
	})
	r := chi.NewRouter()
	b.dash.Register(r)
	b.server = httptest.NewServer(r)
	t.Cleanup(b.server.Close)

	client := asynq.NewClient(b.db.Asynq())
	defer client.Close()
	info, err := client.Enqueue(asynq.NewTask("cron:run", []byte(payload)), asynq.Queue(queue))
	if err != nil {
		t.Fatal(err)
	}
	b.task = info.ID
	return b
}

// signOuts keeps what was signed out, for one dashboard.
type signOuts map[string]bool

func (s signOuts) EndSignIn(_ context.Context, id string, _ time.Duration) error {
	s[id] = true
	return nil
}

func (s signOuts) SignInEnded(_ context.Context, id string) (bool, error) { return s[id], nil }

func noToken(o *web.Options) { o.Token = "" }

// answer of one request; redirects are not followed.
type answer struct {
	status int
	header http.Header
	body   string
}

func (b *bundle) do(method, path string, change func(*http.Request)) answer {
	b.t.Helper()
	r, err := http.NewRequest(method, b.server.URL+path, http.NoBody)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.send(r, change)
}

func (b *bundle) send(r *http.Request, change func(*http.Request)) answer {
	b.t.Helper()
	if change != nil {
		change(r)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

// signIn posts the sign-in form.
func (b *bundle) signIn(form url.Values, change func(*http.Request)) answer {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodPost, b.server.URL+"/login", strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.send(r, change)
}

func (a answer) cookie(t *testing.T) *http.Cookie {
	t.Helper()
	cookies := (&http.Response{Header: a.header}).Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d cookies, want 1", len(cookies))
	}
	return cookies[0]
}

func with(header, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(header, value) }
}

func withCookie(c *http.Cookie) func(*http.Request) {
	return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value}) }
}

var bearer = with("Authorization", "Bearer "+token)

func TestReadOnly(t *testing.T) {
	for _, readOnly := range []bool{true, false} {
		b := setup(t, func(o *web.Options) { o.ReadOnly = readOnly })
		got := b.do("DELETE", "/monitoring/api/queues/"+queue+"/completed_tasks:delete_all", bearer)
		if want := map[bool]int{true: 405, false: 200}[readOnly]; got.status != want || readOnly && got.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("read-only %v: status %d, Allow %q", readOnly, got.status, got.header.Get("Allow"))
		}
	}
}

func TestPayloadsAreFormatted(t *testing.T) {
	b := setup(t, nil)
	got := b.do("GET", "/monitoring/api/queues/"+queue+"/pending_tasks", bearer)
	var list struct {
		Tasks []struct{ Payload string }
	}
	if err := json.Unmarshal([]byte(got.body), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Tasks) != 1 {
		t.Fatalf("%d tasks: %s", len(list.Tasks), got.body)
	}
	want := `{
  "apiToken": "[redacted]",
  "job": "morning",
  "name": "Morning summary",
  "schedule": "0 9 * * 1-5",
  "slot": "2026-11-23T08:23:00+01:00",
  "timezone": "Europe/Berlin",
  "v": 1
}`
	if diff := cmp.Diff(want, list.Tasks[0].Payload); diff != "" {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
}

func TestDashboardPageIsSelfContained(t *testing.T) {
	b := setup(t, nil)
	got := b.do("GET", "/monitoring", bearer)
	if got.status != 200 || got.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("status %d, type %q", got.status, got.header.Get("Content-Type"))
	}
	if other := regexp.MustCompile(`(?:href|src)="(?:https?:)?//[^"]*"`).FindAllString(got.body, -1); len(other) > 0 {
		t.Errorf("the page asks other hosts: %q", other)
	}
	if !strings.Contains(got.body, `window.FLAG_ROOT_PATH="\/monitoring"`) && !strings.Contains(got.body, `window.FLAG_ROOT_PATH="/monitoring"`) {
		t.Errorf("the page does not know where it is mounted:\n%s", got.body)
	}

	csp := got.header.Get("Content-Security-Policy")
	script := directive(t, csp, "script-src")
	if n := strings.Count(got.body, "<script>"); n == 0 || strings.Count(script, "'sha256-") != n {
		t.Errorf("%d inline scripts, and the policy says %q", n, script)
	}
	for _, loose := range []string{"unsafe-inline", "unsafe-eval", "*", "http"} {
		if strings.Contains(script, loose) {
			t.Errorf("script-src allows %s: %s", loose, script)
		}
	}
	if strings.Contains(csp, "http") || directive(t, csp, "default-src") != "'none'" || directive(t, csp, "frame-ancestors") != "'none'" {
		t.Errorf("policy %q", csp)
	}

	deep := b.do("GET", "/monitoring/queues/some.queue", bearer)
	if deep.body != got.body || deep.header.Get("Content-Security-Policy") != csp {
		t.Error("a deep link does not get the same page")
	}
}

func directive(t *testing.T, csp, name string) string {
	t.Helper()
	for d := range strings.SplitSeq(csp, ";") {
		if key, value, _ := strings.Cut(strings.TrimSpace(d), " "); key == name {
			return value
		}
	}
	t.Fatalf("no %s in %q", name, csp)
	return ""
}

func TestAssets(t *testing.T) {
	b := setup(t, nil)
	page := b.do("GET", "/monitoring", bearer).body
	scripts := regexp.MustCompile(`<script src="([^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(scripts) == 0 {
		t.Fatal("the page has no scripts")
	}
	for _, s := range scripts {
		got := b.do("GET", s[1], bearer)
		if got.status != 200 || !strings.Contains(got.header.Get("Content-Type"), "javascript") ||
			!strings.Contains(got.header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: status %d, type %q, cache %q", s[1], got.status, got.header.Get("Content-Type"), got.header.Get("Cache-Control"))
		}
	}
	logo := b.do("GET", "/monitoring/static/media/logo-color.c2b0c1f3.svg", bearer)
	if got := logo.header["Content-Type"]; !cmp.Equal(got, []string{"image/svg+xml"}) {
		t.Errorf("the logo's type is %q", got)
	}
	if got := b.do("GET", "/monitoring/favicon.ico", bearer); got.status != 200 || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("icon: status %d, cache %q", got.status, got.header.Get("Cache-Control"))
	}
	for _, path := range []string{"/monitoring/static/js/none.js", "/monitoring/none.png"} {
		if got := b.do("GET", path, bearer); got.status != 404 || strings.Contains(got.body, "<html") {
			t.Errorf("%s: status %d", path, got.status)
		}
	}
}

func TestSecurityHeaders(t *testing.T) {
	b := setup(t, nil)
	for _, path := range []string{"/", "/login", "/logout", "/monitoring", "/monitoring/api/queues", "/monitoring/favicon.ico"} {
		for name, change := range map[string]func(*http.Request){"stranger": nil, "signed in": bearer} {
			got := b.do("GET", path, change).header
			for header, want := range map[string]string{
				"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store",
			} {
				if got.Get(header) != want {
					t.Errorf("%s, %s: %s is %q, want %q", path, name, header, got.Get(header), want)
				}
			}
			if directive(t, got.Get("Content-Security-Policy"), "frame-ancestors") != "'none'" {
				t.Errorf("%s, %s: may be framed", path, name)
			}
		}
	}
}

func TestPagesOfOurs(t *testing.T) {
	b := setup(t, nil)
	landing := b.do("GET", "/", nil)
	for _, part := range []string{"v1.2.3", `href="/monitoring"`, `href="/health"`, `href="/readyz"`, "curl " + b.server.URL + "/api/cron/jobs", "$GATEWAY_CRON_TOKEN"} {
		if !strings.Contains(landing.body, part) {
			t.Errorf("the landing page lacks %s", part)
		}
	}
	if got := b.do("POST", "/", nil); got.status != 405 {
		t.Errorf("POST to the landing page: status %d", got.status)
	}
	if got := setup(t, noToken).do("GET", "/", nil); strings.Contains(got.body, "Authorization") {
		t.Error("the example sends a token where none is asked for")
	}
	if got := b.do("GET", "/login?next=/monitoring/x%22%3E%3Cscript%3E", nil); strings.Contains(got.body, "<script>") {
		t.Error("the sign-in page prints its parameter raw")
	}
	for _, got := range []answer{landing, b.do("GET", "/login", nil)} {
		if regexp.MustCompile(`(?:src|href)="(?:https?:)?//|<script`).MatchString(got.body) {
			t.Error("a page of ours loads something")
		}
		if csp := got.header.Get("Content-Security-Policy"); strings.Contains(csp, "unsafe") || directive(t, csp, "default-src") != "'none'" {
			t.Errorf("policy %q", csp)
		}
	}
}

func TestRedisAway(t *testing.T) {
	s := redistest.Start(t)
	d, err := web.New(web.Options{Redis: s.Asynq()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s.Kill()
	get := func(path string) int {
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+path, nil))
		return w.Code
	}
	if got := get("/monitoring/api/queues"); got != 500 {
		t.Errorf("data without Redis: status %d", got)
	}
	for _, path := range []string{"/", "/monitoring", "/monitoring/favicon.ico"} {
		if got := get(path); got != 200 {
			t.Errorf("%s without Redis: status %d", path, got)
		}
	}
}

func TestCloseClosesConnections(t *testing.T) {
	ctx := context.Background()
	s := redistest.Start(t)
	c := s.Client()
	count := func() int {
		list, err := c.ClientList(ctx).Result()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(list, "\n")
	}
	before := count()
	d, err := web.New(web.Options{Redis: s.Asynq()})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/monitoring/api/queues", "/monitoring/api/redis_info"} {
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+path, nil))
		if w.Code != 200 {
			t.Fatalf("%s: status %d", path, w.Code)
		}
	}
	if during := count(); during <= before {
		t.Fatalf("%d connections before and %d during: nothing to close", before, during)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	// The server notices in its own time; connections that stay open fail the
	// test at its deadline.
	bounded, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for count() > before {
		if bounded.Err() != nil {
			t.Fatal("connections are left")
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := web.New(web.Options{}); err == nil || !strings.Contains(err.Error(), "Redis") {
		t.Errorf("error %v, want that Redis is required", err)
	}
}
