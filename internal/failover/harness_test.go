//go:build unix

package failover

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/gatewaycron/gatewaycron/internal/standin"
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
		dir, err := os.MkdirTemp("", "gateway-cron-failover-")
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
		// The tests wait for the clock more than they compute.
		if err := flag.Set("test.parallel", "8"); err != nil {
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

// world is one deployment of the product, on a Redis of the test's own.
type world struct {
	t   *testing.T
	ai  *standin.EchoAI
	env []string
}

// newWorld starts the ai-server; redis are the settings of Redis.
func newWorld(t *testing.T, redis ...string) *world {
	t.Helper()
	ai, err := standin.NewEchoAI(standin.EchoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := ai.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return &world{t: t, ai: ai, env: append(redis, "GATEWAY_CRON_ADDR=127.0.0.1:0", "GATEWAY_CRON_CONFIG=none", "GATEWAY_CRON_RATE_LIMIT_PER_MINUTE=0", "GATEWAY_CRON_AI_SERVER_URL="+server.URL())}
}

// command is a command of the product.
func (w *world) command(args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), w.env...)
	return cmd
}

// process is one process of the product.
type process struct {
	t    *testing.T
	url  string // of the API, if it has one
	log  *buffer
	done chan struct{}
}

// start runs a role until it says that it is ready, and kills it with the test.
func (w *world) start(role string) *process {
	w.t.Helper()
	cmd := w.command(role)
	p := &process{t: w.t, log: &buffer{}, done: make(chan struct{})}
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
		defer close(p.done)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if strings.Contains(lines.Text(), " ready") {
				ready <- lines.Text()
			}
		}
		_ = cmd.Wait() // killed, as a rule
	}()
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.done
		if w.t.Failed() {
			w.t.Logf("log of %s:\n%s", role, p.log)
		}
		if strings.Contains(p.log.String(), "DATA RACE") {
			w.t.Errorf("data race in %s:\n%s", role, p.log)
		}
	})
	select {
	case line := <-ready:
		if _, rest, ok := strings.Cut(line, "http://"); ok {
			p.url = "http://" + strings.Fields(rest)[0]
		}
	case <-p.done:
		w.t.Fatalf("%s ended before it was ready:\n%s", role, p.log)
	case <-time.After(time.Minute):
		w.t.Fatalf("%s is not ready:\n%s", role, p.log)
	}
	return p
}

// call talks to the API; status 0 is no answer at all.
func (p *process) call(method, path string, body any) (status int, answer map[string]any) {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			p.t.Error(err)
			return 0, nil
		}
	}
	req, err := http.NewRequest(method, p.url+path, bytes.NewReader(content))
	if err != nil {
		p.t.Error(err)
		return 0, nil
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer res.Body.Close()
	if content, err = io.ReadAll(res.Body); err != nil {
		return 0, nil
	}
	_ = json.Unmarshal(content, &answer) // not everything is JSON
	return res.StatusCode, answer
}

// create asks for a job and answers its id; "" if it was not acknowledged.
func (p *process) create(schedule, task string) (id string, status int) {
	status, answer := p.call("POST", "/api/cron/jobs", map[string]any{"schedule": schedule, "task": task, "agent_id": "main"})
	if status/100 != 2 {
		return "", status
	}
	id, _ = answer["id"].(string)
	if id == "" {
		p.t.Errorf("acknowledged without an id: %v", answer)
	}
	return id, status
}

// buffer is what a process writes and the test reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String is the end of it.
func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.b.String()
	return s[max(0, len(s)-16<<10):]
}

// until waits for a condition; the limit is there to end a hopeless test, not to
// measure.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("gave up waiting until %s", what)
		case <-ticker.C:
		}
	}
}

// at waits for an instant.
func at(t *testing.T, instant time.Time) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-time.After(time.Until(instant)):
	}
}
