package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/standin"
	"github.com/gatewaycron/gatewaycron/internal/store"
)

// binary is the product, built once, as the tests are.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Fprintln(os.Stderr, "skipped with -short: these tests wait for the clock")
		return
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "gateway-cron-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "gateway-cron")
		build := exec.Command("go", "build", "-race="+strconv.FormatBool(raced()), "-o", binary, "../../cmd/gateway-cron")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the binary: %v\n%s", err, out)
			return 1
		}
		// The tests wait for the clock more than they compute: all of them run at
		// once, however few cores there are.
		if err := flag.Set("test.parallel", "16"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// raced says whether this test was built with the race detector. What it starts is
// built the same way: where there is no C compiler, neither can have it.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// world is one deployment: Redis, the stand-ins, and processes.
type world struct {
	t       *testing.T
	redis   *redistest.Server
	rdb     *redis.Client
	store   *store.Store
	ai      *standin.EchoAI
	aiURL   string
	channel *standin.RecordingChannel
	chURL   string
	env     []string
}

// newWorld starts Redis and the stand-ins. turn is what the ai-server does for a
// call; nil answers at once.
func newWorld(t *testing.T, turn func(standin.ChatCall) standin.Answer) *world {
	t.Helper()
	w := &world{t: t, redis: redistest.Start(t, redistest.WithAOF())}
	w.rdb = w.redis.Client()
	w.store = store.New(w.rdb, store.Options{})
	w.env = []string{"GATEWAY_CRON_REDIS_URL=" + w.redis.URL(), "GATEWAY_CRON_ADDR=127.0.0.1:0", "GATEWAY_CRON_CONFIG=none"}
	w.standIns(turn)
	return w
}

// alone is a deployment whose Redis is the embedded one.
func alone(t *testing.T) *world {
	return &world{t: t, env: []string{"GATEWAY_CRON_STATE_DIR=" + t.TempDir(), "GATEWAY_CRON_ADDR=127.0.0.1:0", "GATEWAY_CRON_CONFIG=none", "GATEWAY_CRON_REDIS_URL="}}
}

func (w *world) standIns(turn func(standin.ChatCall) standin.Answer) {
	w.t.Helper()
	var err error
	if w.ai, err = standin.NewEchoAI(standin.EchoOptions{Reply: turn}); err != nil {
		w.t.Fatal(err)
	}
	if w.channel, err = standin.NewRecordingChannel(standin.ChannelOptions{Token: "channel-secret"}); err != nil {
		w.t.Fatal(err)
	}
	ai, err := w.ai.Start("127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	ch, err := w.channel.Start("127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _, _ = ai.Close(), ch.Close() })
	w.aiURL, w.chURL = ai.URL(), ch.URL()
	w.env = append(w.env, "GATEWAY_CRON_AI_SERVER_URL="+w.aiURL, "GATEWAY_CRON_CHANNEL_MANAGER_URL="+w.chURL,
		"GATEWAY_CRON_CHANNEL_MANAGER_TOKEN=channel-secret")
}

// process is one process of the product.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	role string
	url  string      // of the API, if it has one
	log  *syncBuffer // standard error
	out  *syncBuffer // standard output
	done chan struct{}
	err  error
}

// start runs a role until it says that it is ready.
func (w *world) start(role string, env ...string) *process {
	w.t.Helper()
	cmd := exec.Command(binary, role)
	cmd.Env = env
	return w.launch(cmd, role)
}

// launch runs a command until it says that it is ready; cmd.Env holds what comes
// on top of the environment.
func (w *world) launch(cmd *exec.Cmd, role string) *process {
	w.t.Helper()
	unlimited := append(os.Environ(), "GATEWAY_CRON_RATE_LIMIT_PER_MINUTE=0") // tests ask without a pause
	cmd.Env = append(append(unlimited, w.env...), cmd.Env...)
	p := &process{t: w.t, cmd: cmd, role: role, log: &syncBuffer{}, out: &syncBuffer{}, done: make(chan struct{})}
	cmd.Stderr = p.log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			fmt.Fprintln(p.out, lines.Text())
			if strings.HasPrefix(lines.Text(), "gateway-cron ") && strings.Contains(lines.Text(), " ready") {
				ready <- lines.Text()
			}
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	w.t.Cleanup(func() {
		p.kill()
		if w.t.Failed() {
			w.t.Logf("log of %s (%d):\n%s", role, cmd.Process.Pid, p.log.tail(8<<10))
		}
		if strings.Contains(p.log.String(), "DATA RACE") {
			w.t.Errorf("data race in %s:\n%s", role, p.log.String())
		}
	})
	select {
	case line := <-ready:
		if _, rest, ok := strings.Cut(line, "http://"); ok {
			p.url = "http://" + strings.Fields(rest)[0]
		}
	case <-p.done:
		w.t.Fatalf("%s ended before it was ready: %v\n%s", role, p.err, p.log)
	case <-time.After(5 * time.Minute): // make run builds first
		w.t.Fatalf("%s is not ready:\n%s", role, p.log)
	}
	return p
}

// kill ends the process as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// stop ends the process by SIGTERM; it must exit with 0.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		p.t.Fatalf("%s does not stop:\n%s", p.role, p.log)
	}
	if p.err != nil {
		p.t.Errorf("%s ended with %v:\n%s", p.role, p.err, p.log.tail(4<<10))
	}
}

// syncBuffer is a buffer that a process writes and the test reads.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *syncBuffer) tail(n int) string {
	s := b.String()
	return s[max(0, len(s)-n):]
}

// call talks to the API and decodes the answer into out.
func (p *process) call(method, path, body string, out any) int {
	p.t.Helper()
	req, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(content, out); err != nil {
			p.t.Fatalf("%s %s: %s: %v\n%s", method, path, res.Status, err, content)
		}
	}
	return res.StatusCode
}

// create makes a job over the API, in the spelling of the first client.
func (p *process) create(fields map[string]any) string {
	p.t.Helper()
	body, err := json.Marshal(fields)
	if err != nil {
		p.t.Fatal(err)
	}
	var created struct {
		ID     string `json:"id"`
		Detail string `json:"detail"`
	}
	if status := p.call("POST", "/api/cron/jobs", string(body), &created); status/100 != 2 {
		p.t.Fatalf("create: %d %s", status, created.Detail)
	}
	return created.ID
}

// spec is the n-th job of a crowd: every minute, into a chat of its own.
func spec(n int) job.Spec {
	return job.Spec{Schedule: "* * * * *", Enabled: true, Task: fmt.Sprintf("task %d", n),
		Channel: "telegram", ChatID: fmt.Sprint(n)}
}

// crowd makes n such jobs in the store and answers their ids.
func (w *world) crowd(n int) []string {
	w.t.Helper()
	ids := make([]string, n)
	for i := range ids {
		j, err := w.store.CreateJob(w.t.Context(), fmt.Sprintf("job-%03d", i), spec(i))
		if err != nil {
			w.t.Fatal(err)
		}
		ids[i] = j.ID
	}
	return ids
}

// until waits for a condition; the limit is there to end a hopeless test, not to
// measure.
func (w *world) until(what string, limit time.Duration, ok func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			w.t.Fatalf("gave up waiting until %s", what)
		case <-ticker.C:
		}
	}
}

// at waits for an instant.
func (w *world) at(instant time.Time) {
	w.t.Helper()
	select {
	case <-w.t.Context().Done():
		w.t.Fatal(w.t.Context().Err())
	case <-time.After(time.Until(instant)):
	}
}

// quiet waits until nothing is unfinished.
func (w *world) quiet(limit time.Duration) {
	w.t.Helper()
	w.until("nothing is unfinished", limit, func() bool {
		n, err := w.rdb.ZCard(w.t.Context(), "{gateway-cron}:wake").Result()
		return err == nil && n == 0
	})
}

// nextMinute is the first minute that is at least the given time away.
func nextMinute(away time.Duration) time.Time {
	return time.Now().Add(away + time.Minute - 1).Truncate(time.Minute)
}

// discard is for processes within the test, whose log would drown its own.
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
