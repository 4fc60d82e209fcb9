//go:build unix

package redisproc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

// helperDir makes this test binary serve a directory instead of running tests,
// so that a test can kill the parent of a redis-server.
const helperDir = "REDISPROC_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		p, err := Start(context.Background(), Options{Dir: dir})
		if err != nil {
			fmt.Fprintln(os.Stdout, "error:", err)
			os.Exit(1)
		}
		fmt.Fprintln(os.Stdout, p.Pid())
		select {} // until it is killed
	}
	os.Exit(m.Run())
}

// shortDir is a directory whose socket path is within the limit, which those of
// t.TempDir often are not.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "redisproc") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func start(t *testing.T, dir string) *Proc {
	t.Helper()
	p, err := Start(context.Background(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(context.Background()); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return p
}

func client(t *testing.T, url string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

func set(t *testing.T, p *Proc, value string) {
	t.Helper()
	if err := client(t, p.URL()).Set(context.Background(), "k", value, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

func wantValue(t *testing.T, p *Proc, want string) {
	t.Helper()
	got, err := client(t, p.URL()).Get(context.Background(), "k").Result()
	if err != nil {
		t.Fatalf("get k: %v", err)
	}
	if got != want {
		t.Errorf("k = %q, want %q", got, want)
	}
}

func TestConfiguration(t *testing.T) {
	dir := filepath.Join(shortDir(t), "a state dir")
	p := start(t, dir)
	c := client(t, p.URL())

	got := map[string]string{}
	want := map[string]string{
		"appendonly": "yes", "appendfsync": "always", "aof-load-truncated": "yes", "save": "",
		"maxmemory-policy": "noeviction", "port": "0", "unixsocketperm": "700", "dir": dir,
	}
	for name := range want {
		values, err := c.ConfigGet(context.Background(), name).Result()
		if err != nil {
			t.Fatal(err)
		}
		got[name] = values[name]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}

	for path, want := range map[string]os.FileMode{
		dir:                              0o700 | os.ModeDir,
		filepath.Join(dir, "redis.sock"): 0o700 | os.ModeSocket,
		filepath.Join(dir, "redis.log"):  0o600,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got != want {
			t.Errorf("mode of %s = %s, want %s", path, got, want)
		}
	}
}

func TestOpenDirectoryIsMadePrivate(t *testing.T) {
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("mode %o, want 700", got)
	}
}

func TestDataSurviveStop(t *testing.T) {
	dir := shortDir(t)
	p := start(t, dir)
	set(t, p, "v")
	if err := p.Stop(context.Background()); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if err := p.Stop(context.Background()); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "redis.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there (%v)", err)
	}
	wantValue(t, start(t, dir), "v")
}

// TestKilledChildIsStartedAgain: at the same place, with its data, as often as it takes.
func TestKilledChildIsStartedAgain(t *testing.T) {
	dir := shortDir(t)
	p := start(t, dir)
	url := p.URL()
	set(t, p, "v")
	for range 2 {
		left := filepath.Join(dir, "temp-rewriteaof-bg-1.aof")
		if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		pid := p.Pid()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		until(t, "another child serves", func() bool { return p.Pid() != pid && p.Err() == nil })
		if p.URL() != url {
			t.Errorf("it serves at %s, before at %s", p.URL(), url)
		}
		wantValue(t, p, "v")
		if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("what a rewrite left is still there (%v)", err)
		}
	}
}

// TestChildThatCannotStart: it is said why, it is tried again, and Stop does not wait for
// the next try.
func TestChildThatCannotStart(t *testing.T) {
	dir := shortDir(t)
	p := start(t, dir)
	set(t, p, "v")
	aof := newestAOF(t, dir)
	whole, err := os.ReadFile(aof)
	if err != nil {
		t.Fatal(err)
	}
	damage := func() {
		t.Helper()
		if err := os.WriteFile(aof, []byte("*not a number\r\n$3\r\nSET\r\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(p.Pid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		until(t, "it is said why", func() bool {
			err := p.Err()
			return err != nil && strings.Contains(err.Error(), dir) && strings.Contains(err.Error(), "append only file")
		})
	}
	damage()
	if err := os.WriteFile(aof, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "it serves again", func() bool { return p.Err() == nil })
	wantValue(t, p, "v")
	damage()
	if err := p.Stop(context.Background()); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestDelayOfTheNextStart(t *testing.T) {
	var d delay
	for n, step := range []struct{ served, want time.Duration }{
		{0, firstDelay}, {0, 2 * firstDelay}, {steadyAfter - 1, 4 * firstDelay}, {steadyAfter, firstDelay}, {0, 2 * firstDelay},
	} {
		if got := d.after(step.served); got != step.want {
			t.Errorf("start %d: %s, want %s", n, got, step.want)
		}
	}
	for range 100 {
		d.after(0)
	}
	if got := d.after(0); got != longestDelay {
		t.Errorf("in the end %s, want %s", got, longestDelay)
	}
}

// TestEmptyEnvironment: ours holds secrets. redis-server overwrites its environment, so
// that the system cannot tell what it was given.
func TestEmptyEnvironment(t *testing.T) {
	server, err := findBinary("")
	if err != nil {
		t.Fatal(err)
	}
	seen := filepath.Join(t.TempDir(), "seen")
	wrapper := filepath.Join(t.TempDir(), "redis-server")
	script := fmt.Sprintf("#!/bin/sh\nenv > '%s'\nexec '%s' \"$@\"\n", seen, server)
	if err := os.WriteFile(wrapper, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GATEWAY_CRON_TOKEN", "hunter2")
	p, err := Start(t.Context(), Options{Dir: shortDir(t), Binary: wrapper})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop(context.Background())
	got, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(got)) {
		if name, _, _ := strings.Cut(line, "="); name != "PWD" && name != "SHLVL" && name != "_" && name != "OLDPWD" { // the shell's own
			t.Errorf("the child was given %s", line)
		}
	}
}

// until waits for a condition; the limit only ends a hopeless test.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("gave up waiting until %s", what)
		case <-tick.C:
		}
	}
}

func TestDataSurviveKillOfParent(t *testing.T) {
	dir := shortDir(t)
	parent, pid := startHelper(t, dir)
	o := &redis.Options{Network: "unix", Addr: filepath.Join(dir, "redis.sock")}
	c := redis.NewClient(o)
	defer c.Close()
	if err := c.Set(context.Background(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	parent.Wait()

	if runtime.GOOS == "linux" {
		// Blocks as long as the child lives, that is until the test times out
		// if the kernel does not kill it.
		lock, err := openLock(filepath.Join(dir, "redis.lock"))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		lock.Close()
	}
	p := start(t, dir)
	if p.Pid() == pid {
		t.Error("the orphan was adopted")
	}
	wantValue(t, p, "v")
}

// startHelper starts another process that serves dir and returns it with the pid
// of its redis-server.
func startHelper(t *testing.T, dir string) (*exec.Cmd, int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("helper: %v", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("helper said %q", line)
	}
	return cmd, pid
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := shortDir(t)
	parent, _ := startHelper(t, dir)

	p, err := Start(context.Background(), Options{Dir: dir})
	if !errors.Is(err, ErrLocked) {
		if err == nil {
			p.Stop(context.Background())
		}
		t.Fatalf("error %v, want ErrLocked", err)
	}
	for _, part := range []string{dir, "pid " + strconv.Itoa(parent.Process.Pid)} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is more than a line", err)
	}
}

func TestTruncatedTailIsTolerated(t *testing.T) {
	dir := shortDir(t)
	p := start(t, dir)
	set(t, p, "first")
	set(t, p, "second")
	if err := p.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	aof := newestAOF(t, dir)
	info, err := os.Stat(aof)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(aof, info.Size()-3); err != nil {
		t.Fatal(err)
	}
	wantValue(t, start(t, dir), "first")
}

// newestAOF is the file that takes the writes: one of several in Redis 7, the
// only one before.
func newestAOF(t *testing.T, dir string) string {
	t.Helper()
	for _, pattern := range []string{"appendonlydir/*.incr.aof", "appendonly.aof"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Fatalf("no append-only file in %s", dir)
	return ""
}

func TestBrokenDataAreReported(t *testing.T) {
	dir := shortDir(t)
	p := start(t, dir)
	set(t, p, "v")
	if err := p.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(newestAOF(t, dir), []byte("*not a number\r\n$3\r\nSET\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(context.Background(), Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "redis.log") || !strings.Contains(err.Error(), "append only file") {
		t.Errorf("error %v, want redis-server's own words", err)
	}
	if p, err := Start(context.Background(), Options{Dir: dir}); errors.Is(err, ErrLocked) {
		t.Error("the failed start left the directory locked")
	} else if err == nil {
		p.Stop(context.Background())
	}
}

func TestNoBinary(t *testing.T) {
	t.Run("PATH", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		_, err := Start(context.Background(), Options{Dir: t.TempDir()})
		if !errors.Is(err, ErrNoBinary) || strings.Contains(err.Error(), "\n") ||
			!strings.Contains(err.Error(), "GATEWAY_CRON_REDIS_URL") {
			t.Errorf("error %v, want one line on how to get a Redis", err)
		}
	})
	t.Run("named", func(t *testing.T) {
		_, err := Start(context.Background(), Options{Dir: t.TempDir(), Binary: "/nowhere/redis-server"})
		if !errors.Is(err, ErrNoBinary) || !strings.Contains(err.Error(), "/nowhere/redis-server") {
			t.Errorf("error %v, want ErrNoBinary with the name", err)
		}
	})
}

func TestValkeyIsFound(t *testing.T) {
	bin, err := findBinary("")
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir()
	if err := os.Symlink(bin, filepath.Join(path, "valkey-server")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", path)
	got, err := findBinary("")
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(path, "valkey-server"); got != want {
		t.Errorf("found %s, want %s", got, want)
	}
}

func TestDirIsRequired(t *testing.T) {
	if _, err := Start(context.Background(), Options{}); err == nil || !strings.Contains(err.Error(), "Dir") {
		t.Errorf("error %v, want that Dir is required", err)
	}
}

func TestCancelledStart(t *testing.T) {
	dir := shortDir(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Start(ctx, Options{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	start(t, dir) // nothing was left behind
}

func TestStopOfFrozenChildIsBounded(t *testing.T) {
	dir := shortDir(t)
	p, err := Start(context.Background(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	set(t, p, "v")
	if err := syscall.Kill(p.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // instead of waiting for the two graces
	if err := p.Stop(ctx); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("error %v, want that the child was killed", err)
	}
	wantValue(t, start(t, dir), "v")
}

func TestChildHasItsOwnProcessGroup(t *testing.T) {
	p := start(t, shortDir(t))
	got, err := syscall.Getpgid(p.Pid())
	if err != nil {
		t.Fatal(err)
	}
	if got != p.Pid() {
		t.Errorf("process group %d, want the child's own, %d: a Ctrl-C would end it before us", got, p.Pid())
	}
}
