package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// patience is how long anything may take that will happen.
const patience = 60 * time.Second

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never: %s", what)
		}
	}
}

// text is what a process writes: its output or its log.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *text) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *text) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func (w *text) count(s string) int { return strings.Count(w.String(), s) }

// options are those of a process on a port of its own; the configuration is the
// default one, changed by the test.
func options(t testing.TB, roles Roles, change func(*config.Config)) (o Options, out, log *text) {
	t.Helper()
	c, err := config.Load(func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	c.Addr, c.StateDir, c.ShutdownGrace = "127.0.0.1:0", t.TempDir(), time.Second
	c.RateLimitPerMinute = 0 // tests ask without a pause
	if change != nil {
		change(&c)
	}
	out, log = &text{}, &text{}
	return Options{Name: "test", Config: c, Roles: roles, Version: "v1", Stdout: out,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, out, log
}

// process is an App that serves.
type process struct {
	*App
	t        testing.TB
	out, log *text
	cancel   context.CancelFunc
	done     chan struct{}
	err      error // of Serve, after done
}

// boot starts a process and ends it with the test.
func boot(t testing.TB, roles Roles, change func(*config.Config)) *process {
	t.Helper()
	o, out, log := options(t, roles, change)
	o.EmbeddedRedis = o.Config.RedisURL == ""
	a, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, a, out, log)
}

func serve(t testing.TB, a *App, out, log *text) *process {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{App: a, t: t, out: out, log: log, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = a.Serve(ctx)
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("log of %s:\n%s", p.opts.Name, p.log)
		}
	})
	return p
}

// stop tells the process to stop and answers what Serve said.
func (p *process) stop() error {
	p.cancel()
	return p.end()
}

// end waits for the end of the process.
func (p *process) end() error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		p.t.Fatalf("the process does not stop:\n%s", stacks())
		return nil
	}
}

func (p *process) ready() bool { return p.out.count("gateway-cron test ready") == 1 }

// call asks the API and answers the status, the headers and the body; 0 if there
// is no answer.
func (p *process) call(method, path, body string) (status int, header http.Header, answer string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.Addr()+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Close = true
	res, err := (&http.Client{Transport: &http.Transport{}}).Do(req)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil, err.Error()
	}
	return res.StatusCode, res.Header, string(b)
}

func (p *process) status(path string) int {
	p.t.Helper()
	status, _, _ := p.call("GET", path, "")
	return status
}

// create makes a job over the API and answers its id.
func (p *process) create(task string) string {
	p.t.Helper()
	var job struct{ ID string }
	status, _, body := p.call("POST", "/api/cron/jobs", fmt.Sprintf(`{"schedule":"0 9 * * *","task":%q}`, task))
	if err := json.Unmarshal([]byte(body), &job); err != nil || status != http.StatusCreated || job.ID == "" {
		p.t.Fatalf("create: %d %s", status, body)
	}
	return job.ID
}

// echoAI is a stand-in ai-server.
func echoAI(t testing.TB) (ai *standin.EchoAI, url string) {
	t.Helper()
	ai, err := standin.NewEchoAI(standin.EchoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := ai.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Close()
		ai.Close()
	})
	return ai, server.URL()
}

func stacks() string {
	buf := make([]byte, 4<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// leftOver are the goroutines of a process that still run. Only a test that runs
// alone may ask.
func leftOver() string {
	var left []string
	for g := range strings.SplitSeq(stacks(), "\n\n") {
		if strings.Contains(g, "testing.tRunner") || strings.Contains(g, "testing.(*T)") || strings.Contains(g, "redistest") ||
			strings.Contains(g, "childproc") && !strings.Contains(g, "redisproc.Start") {
			continue // the tests, and their servers
		}
		for _, ours := range []string{"gatewaycron/", "hibiken/", "go-redis/", "robfig/", "net/http."} {
			if strings.Contains(g, ours) {
				left = append(left, g)
				break
			}
		}
	}
	return strings.Join(left, "\n\n")
}

func nothingLeft(t testing.TB) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		left := leftOver()
		if left == "" {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("still running:\n%s", left)
		}
	}
}
