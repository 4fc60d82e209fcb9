package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// environ makes the environment of the test: these variables, and no others of
// ours. Names are without the prefix.
func environ(t *testing.T, env map[string]string) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, config.EnvPrefix) {
			t.Setenv(name, "") // the same as not set
		}
	}
	t.Setenv(config.EnvPrefix+"CONFIG", "none")
	for name, value := range env {
		t.Setenv(config.EnvPrefix+name, value)
	}
}

// output is what a command writes while it runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err output
	code = Main(t.Context(), "v9", args, &out, &err)
	return code, out.String(), err.String()
}

// command is one under way.
type command struct {
	t              *testing.T
	stdout, stderr output
	cancel         context.CancelFunc
	code           chan int
}

func start(t *testing.T, args ...string) *command {
	ctx, cancel := context.WithCancel(context.Background())
	c := &command{t: t, cancel: cancel, code: make(chan int, 1)}
	go func() { c.code <- Main(ctx, "v9", args, &c.stdout, &c.stderr) }()
	t.Cleanup(func() {
		c.stop()
		if t.Failed() {
			t.Logf("%v\nstdout: %s\nstderr: %s", args, c.stdout.String(), c.stderr.String())
		}
	})
	return c
}

// stop ends the command as a signal does and answers its exit code.
func (c *command) stop() int {
	c.cancel()
	select {
	case code := <-c.code:
		c.code <- code
		return code
	case <-time.After(time.Minute):
		c.t.Fatal("the command does not end")
		return -1
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never: %s", what)
		}
	}
}

func TestExitCodes(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const hint = "Run 'gateway-cron --help' for usage."

	for _, tc := range []struct {
		args           string
		env            map[string]string
		code           int
		stdout, stderr string // in what is written; "" means nothing is
	}{
		{"", nil, 0, "gateway-cron demo", ""},
		{"--help", nil, 0, "Usage:", ""},
		{"help worker", nil, 0, "run a worker", ""},
		{"serve --help", nil, 0, "run everything in one process", ""},
		{"version", nil, 0, "gateway-cron v9\n", ""},
		{"config", nil, 0, "GATEWAY_CRON_ADDR                      127.0.0.1:19790\n", ""},
		{"config", map[string]string{"TOKEN": "hunter2-hunter2-hunter2", "ADDR": ":80"}, 0, "GATEWAY_CRON_TOKEN                     (set, hidden)\n", ""},
		{"config", map[string]string{"REDIS": "hunter2"}, 0, "GATEWAY_CRON_REDIS_URL                 ", "gateway-cron: warning: GATEWAY_CRON_REDIS is no setting, and is ignored"},

		{"sevre", nil, 2, "", `unknown command "sevre"`},
		{"jbo", nil, 2, "", `unknown command "jbo" for "gateway-cron"; did you mean job?`},
		{"serv", nil, 2, "", "did you mean serve?"},
		{"add", nil, 2, "", "did you mean job add"},
		{"cancel x", nil, 2, "", "did you mean run cancel?"},
		{"stop", nil, 2, "", "did you mean job pause, or pause-all, or run cancel?"},
		{"ps", nil, 2, "", "did you mean runs?"},
		{"serve now", nil, 2, "", "unknown command"},
		{"version 2", nil, 2, "", "unknown command"},
		{"--verbose", nil, 2, "", "unknown flag: --verbose"},
		{"worker --concurrency 3", nil, 2, "", "unknown flag: --concurrency"},
		{"healthcheck --role", nil, 2, "", "flag needs an argument"},
		{"healthcheck --role chef", nil, 2, "", `--role "chef": must be api, scheduler or worker`},
		{"doctor --at 9:00 --job a", nil, 2, "", `--at "9:00": must be a time such as 2026-11-23T09:00:00+01:00`},
		{"doctor --at 2026-11-23T09:00:00Z", nil, 2, "", "--at needs --job"},
		{"doctor", map[string]string{"PREFIX": "A"}, 2, "", "GATEWAY_CRON_PREFIX must be"},
		{"config", map[string]string{"CONCURRENCY": "many", "TOKEN_FILE": "/does/not/exist"}, 2, "", "GATEWAY_CRON_CONCURRENCY must be"},
		{"serve", map[string]string{"CONFIG": "/does/not/exist"}, 2, "", "GATEWAY_CRON_CONFIG names a file that cannot be read"},
		{"config", map[string]string{"CONCURRENCY": "many", "TOKEN_FILE": "/does/not/exist"}, 2, "", "GATEWAY_CRON_TOKEN cannot be read"},
		{"config", map[string]string{"REDIS_URL": "hunter2"}, 2, "", "GATEWAY_CRON_REDIS_URL must be"},
		{"serve", map[string]string{"ADDR": "0.0.0.0:0"}, 2, "", "GATEWAY_CRON_TOKEN must be set"},
		{"serve", map[string]string{"ADDR": "0.0.0.0:0", "TOKEN": "a"}, 2, "", "GATEWAY_CRON_TOKEN has 1 characters and must have 16 or more"},
		{"demo", map[string]string{"LOG_FORMAT": "xml"}, 2, "", "GATEWAY_CRON_LOG_FORMAT must be"},
		{"worker", map[string]string{"PREFIX": "A"}, 2, "", "GATEWAY_CRON_PREFIX must be"},
		{"healthcheck", map[string]string{"PREFIX": "A"}, 2, "", "GATEWAY_CRON_PREFIX must be"},

		{"worker", nil, 1, "", "GATEWAY_CRON_REDIS_URL must be set"},
		{"scheduler", nil, 1, "", "GATEWAY_CRON_REDIS_URL must be set"},
		{"api", map[string]string{"ADDR": "127.0.0.1:0"}, 1, "", "GATEWAY_CRON_REDIS_URL must be set"},
		{"api", map[string]string{"ADDR": taken.Addr().String(), "REDIS_URL": "redis://h:1"}, 1, "", "address already in use"},
		{"worker", map[string]string{"REDIS_URL": "redis://u:hunter2@h:1/none"}, 1, "", "GATEWAY_CRON_REDIS_URL cannot be read"},
		{"healthcheck", map[string]string{"ADDR": "127.0.0.1:1"}, 1, "", "unhealthy"},
		{"healthcheck --role worker", map[string]string{"REDIS_URL": "redis://u:hunter2@127.0.0.1:1"}, 1, "", "unhealthy"},
		{"doctor", map[string]string{"ADDR": "127.0.0.1:1", "STATE_DIR": "/does/not/exist"}, 1, "fail  redis       GATEWAY_CRON_REDIS_URL is not set, and no serve runs one in /does/not/exist", "unhealthy: 2 of "},
		{"doctor", map[string]string{"ADDR": "127.0.0.1:1", "STATE_DIR": "/does/not/exist", "REDIS": "hunter2"}, 1, "warn  configuration  GATEWAY_CRON_REDIS is no setting, and is ignored", "unhealthy: 2 of "},
		{"doctor --json --job a", map[string]string{"ADDR": "127.0.0.1:1", "REDIS_URL": "redis://u:hunter2@127.0.0.1:1"}, 1, `"state": "failing"`, "unhealthy: 1 of 2"},
		{"stand-ins --ai-addr nowhere", nil, 1, "", "stand-in ai-server"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			environ(t, tc.env)
			code, stdout, stderr := run(t, strings.Fields(tc.args)...)
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if (stdout == "") != (tc.stdout == "") || !strings.Contains(stdout, tc.stdout) {
				t.Errorf("stdout %q, want %q in it", stdout, tc.stdout)
			}
			if (stderr == "") != (tc.stderr == "") || !strings.Contains(stderr, tc.stderr) {
				t.Errorf("stderr %q, want %q in it", stderr, tc.stderr)
			}
			if strings.Contains(stderr, hint) != (tc.code == 2) {
				t.Errorf("stderr %q; the hint is for mistakes of usage", stderr)
			}
			if strings.Contains(stdout+stderr, "hunter2") {
				t.Errorf("a secret is told: %s%s", stdout, stderr)
			}
		})
	}
}

// TestHelpIsComplete: a command or a flag that nobody can find does not exist.
func TestHelpIsComplete(t *testing.T) {
	_, stdout, _ := run(t)
	for _, c := range newRoot("v9", io.Discard, io.Discard).Commands() {
		if c.Short == "" || !strings.Contains(stdout, c.Name()+" ") || !strings.Contains(stdout, c.Short) {
			t.Errorf("%s is not in the help, or has no text", c.Name())
		}
	}
}

// TestServe is the life of the one process that a newcomer starts.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	environ(t, map[string]string{"ADDR": "127.0.0.1:0", "STATE_DIR": dir, "LOG_FORMAT": "json", "LOG_LEVEL": "debug"})
	c := start(t, "serve")
	line := regexp.MustCompile(`^gateway-cron serve ready on http://(\S+) \(dashboard: http://\S+/monitoring\)\n$`)
	eventually(t, "the ready line", func() bool { return line.MatchString(c.stdout.String()) })
	addr := line.FindStringSubmatch(c.stdout.String())[1]

	res, err := http.Get("http://" + addr + "/health")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || res.StatusCode != 200 || !strings.Contains(string(body), `"v9"`) {
		t.Errorf("/health: %d %s %v", res.StatusCode, body, err)
	}
	t.Setenv(config.EnvPrefix+"ADDR", addr)
	for _, args := range [][]string{{"healthcheck"}, {"healthcheck", "--role", "api"}} {
		if code, stdout, stderr := run(t, args...); code != 0 || stdout+stderr != "" {
			t.Errorf("%v: %d %s%s", args, code, stdout, stderr)
		}
	}
	if code := c.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if code, _, _ := run(t, "healthcheck"); code != 1 {
		t.Errorf("healthcheck of a stopped process: exit code %d", code)
	}
	for line := range strings.Lines(c.stderr.String()) {
		var entry struct{ Time, Level, Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Msg == "" || entry.Level == "" {
			t.Errorf("not a line of a JSON log: %s", line)
		}
	}
	if c.stderr.String() == "" {
		t.Error("nothing was logged")
	}
	if _, err := os.Stat(filepath.Join(dir, "redis")); err != nil {
		t.Errorf("its data are not in the state directory: %v", err)
	}
}

// TestDemo: what the first screen ends with works as it stands there.
func TestDemo(t *testing.T) {
	environ(t, map[string]string{"ADDR": "127.0.0.1:0", "STATE_DIR": t.TempDir()})
	c := start(t, "demo")
	const first = "  %s job run hello --wait --url http://"
	var screen []string
	eventually(t, "three commands", func() bool {
		_, after, _ := strings.Cut(c.stdout.String(), "In another terminal, from here:\n\n")
		screen = strings.Split(strings.TrimSuffix(after, "\n"), "\n")
		return len(screen) == 3 && strings.HasSuffix(after, "\n")
	})
	if !strings.HasPrefix(screen[0], fmt.Sprintf(first, os.Args[0])) {
		t.Errorf("the first command is %q", screen[0])
	}
	for i, want := range []string{"Echo: Say hello", "\n  reply     goes to telegram chat 123\n", "hello "} {
		var args []string
		for _, m := range regexp.MustCompile(`"([^"]*)"|(\S+)`).FindAllStringSubmatch(screen[i], -1) {
			args = append(args, m[1]+m[2])
		}
		if code, stdout, stderr := run(t, args[1:]...); code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("%q: exit code %d, %s%s", screen[i], code, stdout, stderr)
		}
	}
	_, url, _ := strings.Cut(screen[2], "--url ")
	t.Setenv(config.EnvPrefix+"URL", url)
	for _, job := range []string{"hello", "Hello", "hel"} {
		if code, stdout, stderr := run(t, "doctor", "--job", job); code != 0 || !strings.Contains(stdout, `"Hello" is enabled`) || strings.Contains(stdout, "looked at Redis instead") {
			t.Errorf("doctor of %s: exit code %d, %s%s", job, code, stdout, stderr)
		}
	}
	if code, _, stderr := run(t, "job", "add", "@daily", "x", "--id", "twin", "--name", "Hello"); code != 0 {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if code, _, stderr := run(t, "doctor", "--job", "Hello"); code != 4 || !strings.Contains(stderr, "\n  twin  Hello") {
		t.Errorf("doctor of one of two: exit code %d, %s", code, stderr)
	}
	if code := c.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	again := start(t, "demo") // whose job is there already
	eventually(t, "the commands", func() bool { return strings.Contains(again.stdout.String(), " jobs --url") })
}

// TestHealthcheckOfRoles: the processes without a port give signs of life.
func TestHealthcheckOfRoles(t *testing.T) {
	server := redistest.Start(t)
	environ(t, map[string]string{"REDIS_URL": server.URL(), "SHUTDOWN_GRACE": "1s"})
	health := func(role string) int {
		code, _, _ := run(t, "healthcheck", "--role", role)
		return code
	}
	for _, role := range []string{"worker", "scheduler"} {
		if code := health(role); code != 1 {
			t.Errorf("%s before its start: exit code %d", role, code)
		}
		c := start(t, role)
		eventually(t, role+" is well", func() bool { return health(role) == 0 })
		eventually(t, "the ready line", func() bool { return c.stdout.String() == "gateway-cron "+role+" ready\n" })
		if code := c.stop(); code != 0 {
			t.Errorf("%s: exit code %d", role, code)
		}
		if code := health(role); code != 1 {
			t.Errorf("%s after its end: exit code %d", role, code)
		}
	}
}

func TestStandIns(t *testing.T) {
	dir := t.TempDir()
	c := start(t, "stand-ins", "--ai-addr", "127.0.0.1:0", "--channel-addr", "127.0.0.1:0", "--journal-dir", dir, "--channel-token", "secret")
	line := regexp.MustCompile(`^stand-ins ready: ai-server (\S+), channel manager (\S+)\n$`)
	eventually(t, "the ready line", func() bool { return line.MatchString(c.stdout.String()) })
	urls := line.FindStringSubmatch(c.stdout.String())
	for path, want := range map[string]int{urls[1] + "/health": 200, urls[2] + "/messages": 401} {
		res, err := http.Get(path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
	if code := c.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, name := range []string{"ai.jsonl", "channel.jsonl"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("no journal: %v", err)
		}
	}
}
