package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redisproc"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/store"
	"github.com/gatewaycron/gatewaycron/tasks"
)

func TestMain(m *testing.M) {
	logging.Disable() // go-redis says one line for each failed dial
	os.Exit(redistest.Main(m))
}

func on(url string) func(*config.Config) { return func(c *config.Config) { c.RedisURL = url } }

// TestLife runs alone, to see that a process leaves nothing running.
func TestLife(t *testing.T) {
	server := redistest.Start(t, redistest.WithAOF())
	o, out, log := options(t, AllRoles(), on(server.URL()))
	a, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}

	// The port is open, and the probes answer, before anything else runs.
	p := &process{App: a, t: t}
	status, header, body := p.call("GET", "/health", "")
	if status != 200 || header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(body, `"version":"v1"`) {
		t.Errorf("/health before Serve: %d %v %s", status, header, body)
	}
	if status := p.status("/readyz"); status != 503 {
		t.Errorf("/readyz before Serve: %d", status)
	}
	status, header, _ = p.call("POST", "/api/cron/jobs", "{}")
	if status != 503 || header.Get("Retry-After") == "" || header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("the API before Serve: %d %v", status, header)
	}
	if out.String() != "" {
		t.Errorf("before Serve it said %q", out)
	}

	p = serve(t, a, out, log)
	eventually(t, "the ready line", p.ready)
	if want := "gateway-cron test ready on http://" + p.Addr() + " (dashboard: http://" + p.Addr() + "/monitoring)\n"; out.String() != want {
		t.Errorf("it said %q, want %q", out, want)
	}
	for path, want := range map[string]int{"/health": 200, "/readyz": 200, "/api/cron/jobs": 200, "/monitoring": 200, "/nothing": 404} {
		if got := p.status(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	id := p.create("hello")

	server.Kill()
	eventually(t, "/readyz tells the outage", func() bool { return p.status("/readyz") == 503 })
	if got := p.status("/health"); got != 200 {
		t.Errorf("/health without Redis: %d", got)
	}
	server.Restart()
	eventually(t, "/readyz tells the end of the outage", func() bool { return p.status("/readyz") == 200 })
	eventually(t, "the job is there", func() bool { return p.status("/api/cron/jobs/"+id) == 200 })

	if left := leftOver(); !strings.Contains(left, "scheduler.") || !strings.Contains(left, "hibiken/") {
		t.Errorf("the search for what is left finds nothing of a running process:\n%s", left)
	}
	if err := p.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if got := p.status("/health"); got != 0 {
		t.Errorf("a stopped process answers %d", got)
	}
	if n := out.count("ready"); n != 1 {
		t.Errorf("the ready line came %d times", n)
	}
	rdb := server.Client()
	eventually(t, "its connections to Redis are closed", func() bool {
		clients, err := rdb.ClientList(t.Context()).Result()
		return err == nil && strings.Count(clients, "\n") == 1 // the one that asks
	})
	nothingLeft(t)
}

// TestStopsWithoutRedis: a stop needs no Redis. It runs alone like the above.
func TestStopsWithoutRedis(t *testing.T) {
	server := redistest.Start(t)
	p := boot(t, AllRoles(), on(server.URL()))
	eventually(t, "the ready line", p.ready)
	server.Kill()
	if err := p.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	nothingLeft(t)
}

// TestRedisDownAtBoot: every role waits for Redis, and works when it comes.
func TestRedisDownAtBoot(t *testing.T) {
	for name, tc := range map[string]struct {
		roles Roles
		works func(t *testing.T, p *process, s *store.Store, rdb *redis.Client)
	}{
		"api": {Roles{API: true}, func(_ *testing.T, p *process, _ *store.Store, _ *redis.Client) {
			p.create("hello")
		}},
		"scheduler": {Roles{Scheduler: true}, func(t *testing.T, p *process, s *store.Store, rdb *redis.Client) {
			c := p.opts.Config
			now, err := s.Now(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			due := now.Truncate(time.Minute).UnixMilli()
			rdb.HSet(t.Context(), "{"+c.Prefix+"}:job:a", "nextSlot", due, "schedule", "* * * * *")
			rdb.ZAdd(t.Context(), "{"+c.Prefix+"}:due", redis.Z{Score: float64(due), Member: "a"})
			queue := asynq.NewInspectorFromRedisClient(rdb)
			eventually(t, "a due slot is enqueued", func() bool {
				info, err := queue.GetQueueInfo(tasks.NewQueues(c.Prefix, 0).Run())
				return err == nil && info.Pending == 1
			})
		}},
		"worker": {Roles{Worker: true}, func(t *testing.T, p *process, s *store.Store, rdb *redis.Client) {
			_, run, err := s.RunJob(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			carrier := tasks.NewQueues(p.opts.Config.Prefix, 0).RunAgain(run, 0)
			if err := carrier.Enqueue(t.Context(), asynq.NewClientFromRedisClient(rdb)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a run is done", func() bool {
				r, err := s.Run(t.Context(), run)
				return err == nil && r.Outcome == job.Succeeded && r.Reply == "Echo: hello"
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.WithAOF())
			rdb := server.Client()
			s := store.New(rdb, store.Options{})
			if _, err := s.CreateJob(t.Context(), "a", job.Spec{Schedule: "0 9 * * *", Enabled: true, Task: "hello"}); err != nil {
				t.Fatal(err)
			}
			server.Kill()

			_, url := echoAI(t)
			p := boot(t, tc.roles, func(c *config.Config) { c.RedisURL, c.AIServerURL = server.URL(), url })
			eventually(t, "it says what it waits for", func() bool { return p.log.count("waiting for redis") == 1 })
			if tc.roles.API {
				if a, b := p.status("/health"), p.status("/readyz"); a != 200 || b != 503 {
					t.Errorf("/health %d, /readyz %d", a, b)
				}
			} else if p.Addr() != "" {
				t.Errorf("it listens on %s", p.Addr())
			}
			if p.ready() || p.log.count("waiting for redis") != 1 {
				t.Errorf("without Redis it said %q", p.out)
			}

			server.Restart()
			eventually(t, "the ready line", p.ready)
			tc.works(t, p, s, rdb)
			if name != "api" {
				checkBeat(t, p, name)
			}
			if err := p.stop(); err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
	}
}

// checkBeat asks for the sign of life of the role that runs, and of the other.
func checkBeat(t *testing.T, p *process, role string) {
	t.Helper()
	eventually(t, "its sign of life", func() bool { return Healthcheck(t.Context(), p.opts.Config, role) == nil })
	other := "worker"
	if role == other {
		other = "scheduler"
	}
	if err := Healthcheck(t.Context(), p.opts.Config, other); !errors.Is(err, ErrUnhealthy) {
		t.Errorf("%s: %v", other, err)
	}
}

func TestHealthcheck(t *testing.T) {
	var status atomic.Int32
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		http.Error(w, "the reason", int(status.Load()))
	})}
	go server.Serve(l)
	_, port, _ := net.SplitHostPort(l.Addr().String())

	for _, addr := range []string{"127.0.0.1:" + port, ":" + port, "0.0.0.0:" + port} {
		for _, role := range []string{"", "api"} {
			status.Store(200)
			if err := Healthcheck(t.Context(), config.Config{Addr: addr}, role); err != nil {
				t.Errorf("%q of %s: %v", role, addr, err)
			}
			status.Store(503)
			err := Healthcheck(t.Context(), config.Config{Addr: addr}, role)
			if !errors.Is(err, ErrUnhealthy) || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "the reason") {
				t.Errorf("%q of %s: %v", role, addr, err)
			}
		}
	}
	server.Close()
	if err := Healthcheck(t.Context(), config.Config{Addr: "127.0.0.1:" + port}, "api"); !errors.Is(err, ErrUnhealthy) {
		t.Errorf("nobody listens: %v", err)
	}
	for _, url := range []string{"redis://user:hunter2@127.0.0.1:" + port, "redis://user:hunter2@127.0.0.1:" + port + "/none"} {
		err := Healthcheck(t.Context(), config.Config{RedisURL: url, Prefix: "p"}, "worker")
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestEmbeddedRedis: the data survive the process, and the process survives its Redis.
func TestEmbeddedRedis(t *testing.T) {
	t.Parallel()
	ai, url := echoAI(t)
	dir := t.TempDir()
	here := func(c *config.Config) { c.StateDir, c.AIServerURL = dir, url }

	p := boot(t, AllRoles(), here)
	eventually(t, "the ready line", p.ready)
	id := p.create("hello")
	if status, _, body := p.call("POST", "/api/cron/jobs/"+id+"/run", ""); status != 202 {
		t.Fatalf("run: %d %s", status, body)
	}
	eventually(t, "the agent is called", func() bool { return ai.Count() == 1 })
	done := func() bool {
		_, _, body := p.call("GET", "/api/cron/jobs/"+id+"/runs", "")
		return strings.Contains(body, "succeeded") && strings.Contains(body, "Echo: hello")
	}
	eventually(t, "the run is on record", done)

	o, _, _ := options(t, AllRoles(), here)
	o.EmbeddedRedis = true
	if _, err := Start(t.Context(), o); !errors.Is(err, redisproc.ErrLocked) {
		t.Errorf("a second process on the same data: %v", err)
	}
	if err := p.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}

	p = boot(t, AllRoles(), here)
	eventually(t, "the ready line", p.ready)
	if status := p.status("/api/cron/jobs/" + id); status != 200 || !done() {
		t.Errorf("after a restart the job is %d", status)
	}
	if ai.Count() != 1 {
		t.Errorf("the agent was called %d times", ai.Count())
	}

	child, err := os.FindProcess(p.embedded.Pid())
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another redis serves the job", func() bool {
		return p.embedded.Pid() != child.Pid && p.status("/api/cron/jobs/"+id) == 200
	})
	if err := p.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// TestFullDisk: no turn begins where its reply may find no room, also after a restart; it
// is told, and what was due runs once when there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	ai, url := echoAI(t)
	dir := t.TempDir()
	with := func(least int64) func(c *config.Config) {
		return func(c *config.Config) { c.StateDir, c.AIServerURL, c.MinFreeBytes = dir, url, least }
	}
	id := ""
	for n := range 2 {
		p := boot(t, AllRoles(), with(1<<50))
		eventually(t, "the ready line", p.ready)
		if id == "" {
			id = p.create("hello")
			if status, _, body := p.call("POST", "/api/cron/jobs/"+id+"/run", ""); status != 202 {
				t.Fatalf("run: %d %s", status, body)
			}
		}
		eventually(t, "a turn is held", func() bool {
			return strings.Contains(p.log.String(), "no turn begins, because the disk has too little room")
		})
		eventually(t, "it is told", func() bool {
			_, _, body := p.call("GET", "/api/cron/status", "")
			return strings.Contains(body, `"disk_full"`) && strings.Contains(body, "GATEWAY_CRON_MIN_FREE_BYTES")
		})
		if text, failed := diagnosis(t, p.opts.Config, DoctorOptions{}); !failed || !strings.Contains(text, "fail  disk") {
			t.Errorf("the doctor says:\n%s", text)
		}
		if err := p.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		if ai.Count() != 0 {
			t.Fatalf("start %d: %d calls on a full disk", n, ai.Count())
		}
	}

	p := boot(t, AllRoles(), with(1))
	eventually(t, "the run is on record", func() bool {
		_, _, body := p.call("GET", "/api/cron/jobs/"+id+"/runs", "")
		return strings.Contains(body, "succeeded")
	})
	if _, _, body := p.call("GET", "/api/cron/status", ""); ai.Count() != 1 || strings.Contains(body, "disk_full") {
		t.Errorf("with room: %d calls, status %s", ai.Count(), body)
	}
}

func TestStartRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, tc := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"the port is taken":       {func(c *config.Config) { c.Addr = taken.Addr().String() }, "GATEWAY_CRON_ADDR"},
		"no Redis named":          {func(c *config.Config) { c.RedisURL = "" }, "GATEWAY_CRON_REDIS_URL must be set"},
		"a Redis URL that is not": {func(c *config.Config) { c.RedisURL = "redis://u:hunter2@h:1/none" }, "GATEWAY_CRON_REDIS_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			o, out, log := options(t, AllRoles(), on("redis://127.0.0.1:1"))
			tc.change(&o.Config)
			_, err := Start(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error()+log.String(), "hunter2") {
				t.Errorf("error %v", err)
			}
			if out.String() != "" {
				t.Errorf("it said %q", out)
			}
		})
	}
	nothingLeft(t)
}

func TestServeRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"telegram token":  {func(c *config.Config) { c.TelegramToken = "hunter2" }, "GATEWAY_CRON_TELEGRAM_TOKEN"},
		"channel manager": {func(c *config.Config) { c.ChannelManagerURL = "http://h/?hunter2" }, "GATEWAY_CRON_CHANNEL_MANAGER_URL"},
		"ai-server":       {func(c *config.Config) { c.AIServerURL = "http://h/#hunter2" }, "GATEWAY_CRON_AI_SERVER_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			o, out, log := options(t, AllRoles(), on("redis://127.0.0.1:1"))
			tc.change(&o.Config)
			a, err := Start(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			p := serve(t, a, out, log)
			if err := p.end(); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v", err)
			}
			if got := p.status("/health"); got != 0 {
				t.Errorf("after a failed Serve it answers %d", got)
			}
		})
	}
	nothingLeft(t)
}

// TestStopWhileStarting: a process that is told to stop before it serves has
// stopped cleanly.
func TestStopWhileStarting(t *testing.T) {
	o, out, _ := options(t, AllRoles(), func(c *config.Config) { c.StateDir = t.TempDir() })
	o.EmbeddedRedis = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, o); err != nil || out.String() != "" {
		t.Errorf("Run: %v, it said %q", err, out)
	}
}

// TestDemo: it runs its own jobs with stand-ins, and none of those that serve has
// on the same Redis.
func TestDemo(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client()
	o, out, log := options(t, AllRoles(), on(server.URL()))
	o.Config.TelegramToken, o.Config.ChannelManagerToken = "123:real", "real"
	ours := store.New(rdb, store.Options{Prefix: o.Config.Prefix})
	_, err := ours.CreateJob(t.Context(), "a", job.Spec{Schedule: "0 9 * * *", Enabled: true, Task: "spend money"})
	if err != nil {
		t.Fatal(err)
	}
	_, run, err := ours.RunJob(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	rdb.ZAdd(t.Context(), "{"+o.Config.Prefix+"}:wake", redis.Z{Score: 1, Member: "r:" + run})

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- RunDemo(ctx, o) }()
	var addr string
	eventually(t, "the ready line", func() bool {
		_, rest, ok := strings.Cut(out.String(), "ready on http://")
		addr, _, _ = strings.Cut(rest, " ")
		return ok
	})
	if !strings.HasPrefix(out.String(), "DEMO: no model and no chat.") {
		t.Errorf("it said %q", out)
	}
	api := &process{t: t, App: &App{listener: fixedAddr(addr)}}
	status, _, body := api.call("POST", "/api/cron/jobs", `{"schedule":"0 9 * * *","task":"say hi","channel":"telegram","chat_id":"42"}`)
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(body), &made); err != nil || status != 201 {
		t.Fatalf("create: %d %s", status, body)
	}
	if status, _, body := api.call("POST", "/api/cron/jobs/"+made.ID+"/run", ""); status != 202 {
		t.Fatalf("run: %d %s", status, body)
	}
	eventually(t, "the reply arrives", func() bool { return out.count("message to telegram chat 42: Echo: say hi") == 1 })
	if status := api.status("/api/cron/jobs/a"); status != 404 {
		t.Errorf("the demo knows a job of serve: %d", status)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("RunDemo: %v", err)
	}
	r, err := ours.Run(t.Context(), run)
	if err != nil || r.State != job.StateWaiting || len(r.Attempts) != 0 {
		t.Errorf("the demo touched a run of serve: %+v, %v", r, err)
	}
	if t.Failed() {
		t.Logf("log:\n%s", log)
	}
}

// fixedAddr is a listener somewhere else.
type fixedAddr string

func (a fixedAddr) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (a fixedAddr) Close() error              { return nil }
func (a fixedAddr) Addr() net.Addr            { return a }
func (a fixedAddr) Network() string           { return "tcp" }
func (a fixedAddr) String() string            { return string(a) }

func TestQueueLog(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	log := &text{}
	q := newQueueLog(ctx, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	say := func(write func(...any), line, want string) {
		t.Helper()
		before := log.String()
		q.quiet.Store(0) // each as if it were the first
		write(line)
		got := strings.TrimPrefix(log.String(), before)
		if !strings.Contains(got, "level="+want+" msg=queue") || !strings.Contains(got, fmt.Sprintf("%q", line)) {
			t.Errorf("%q became %q, want level %s", line, got, want)
		}
	}
	say(q.Debug, "a b", "DEBUG")
	say(q.Info, "a b", "DEBUG")
	say(q.Warn, "a b", "WARN")
	say(q.Error, "a b", "ERROR")
	say(q.Fatal, "a b", "ERROR") // and the process lives
	say(q.Warn, "revoke task id=x", "DEBUG")
	say(q.Error, "redis connection is shared so the Client can't be closed through asynq", "DEBUG")
	// A storm is one line, and the rest for debug.
	before := log.count("level=ERROR")
	q.quiet.Store(0)
	for range 100 {
		q.Error("cannot reach redis")
	}
	if n := log.count("level=ERROR") - before; n != 1 {
		t.Errorf("%d of 100 lines of a storm are errors", n)
	}
	stop()
	say(q.Warn, "a b", "DEBUG")
	say(q.Error, "a b", "ERROR")
}
