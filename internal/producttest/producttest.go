//go:build unix

// Package producttest builds the product and runs its processes, for the tests of the
// whole. It fails them for what no process may do: end before it is ready, or race.
//
// It knows the product by its command line, its output and its exit code alone.
package producttest

import (
	"archive/zip"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
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

	"github.com/gatewaycron/gatewaycron/internal/redisproc/childproc"
)

// Main builds the product as the tests are built, sets binary to where it is, and runs
// the tests of a package, so many of the parallel ones at once: they wait for the clock
// more than they compute. With -short it runs none.
//
//	func TestMain(m *testing.M) { os.Exit(producttest.Main(m, &binary, 16)) }
func Main(m *testing.M, binary *string, parallel int) (code int) {
	flag.Parse()
	if testing.Short() {
		fmt.Fprintln(os.Stderr, "skipped with -short: these tests wait for the clock")
		return 0
	}
	dir, err := os.MkdirTemp("", "gateway-cron-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	*binary = filepath.Join(dir, "gateway-cron")
	if err := Build(*binary, "-race="+strconv.FormatBool(Raced())); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Not that of whoever runs the tests; each line of a process's own settings goes before.
	if err := os.Setenv("GATEWAY_CRON_STATE_DIR", filepath.Join(dir, "state")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := flag.Set("test.parallel", strconv.Itoa(parallel)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Raced reports whether this test was built with the race detector. What it starts should
// be built the same way: where there is no C compiler, neither can have it.
func Raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// Build builds the product, with further flags of go build.
func Build(binary string, flags ...string) error {
	args := slices.Concat([]string{"build", "-o", binary}, flags, []string{"github.com/gatewaycron/gatewaycron/cmd/gateway-cron"})
	out, err := exec.Command("go", args...).CombinedOutput() //nolint:gosec // a test's own flags
	if err != nil {
		return fmt.Errorf("build the binary: %w\n%s", err, out)
	}
	return nil
}

// Process is one process of the product.
type Process struct {
	URL string  // of the API, if it has one
	Log *Buffer // standard error
	Out *Buffer // standard output

	t     testing.TB
	name  string
	child *childproc.Child
}

// Start runs a command until it says that it is ready, and kills it with the test.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p, ready := Begin(t, cmd)
	ready()
	return p
}

// Begin starts a command and kills it with the test; ready returns when the command says
// that it is.
func Begin(t testing.TB, cmd *exec.Cmd) (p *Process, ready func()) {
	t.Helper()
	p = &Process{Log: &Buffer{}, Out: &Buffer{}, t: t, name: strings.Join(cmd.Args[1:], " ")}
	out := readyLine{p.Out, make(chan string, 1)}
	cmd.Stdout, cmd.Stderr = out, p.Log
	var err error
	if p.child, err = childproc.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("log of %s (%d):\n%s", p.name, p.child.Pid(), p.Log.tail())
		}
		if strings.Contains(p.Log.String(), "DATA RACE") {
			t.Errorf("data race in %s:\n%s", p.name, p.Log)
		}
	})
	return p, func() {
		t.Helper()
		select {
		case line := <-out.said:
			if _, rest, ok := strings.Cut(line, "http://"); ok {
				p.URL = "http://" + strings.Fields(rest)[0]
			}
		case <-p.Done():
			t.Fatalf("%s ended before it was ready: %v\n%s", p.name, p.child.Err(), p.Log)
		case <-time.After(5 * time.Minute): // make run builds first
			t.Fatalf("%s is not ready:\n%s", p.name, p.Log)
		}
	}
}

// Pid is the process's id.
func (p *Process) Pid() int { return p.child.Pid() }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.child.Done() }

// Kill ends the process as a crash would.
func (p *Process) Kill() {
	_ = p.child.Signal(syscall.SIGKILL)
	<-p.Done()
}

// Stop ends the process by SIGTERM; it must exit with 0.
func (p *Process) Stop() {
	p.t.Helper()
	if err := p.child.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(time.Minute):
		p.t.Fatalf("%s does not stop:\n%s", p.name, p.Log)
	}
	if err := p.child.Err(); err != nil {
		p.t.Errorf("%s ended with %v:\n%s", p.name, err, p.Log.tail())
	}
}

// Buffer is what a process writes and the test reads.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// tail is as much of the end as one wants to read.
func (b *Buffer) tail() string {
	s := b.String()
	return s[max(0, len(s)-16<<10):]
}

// readyLine is the standard output of a process that has not said yet that it is ready.
type readyLine struct {
	*Buffer
	said chan string
}

func (r readyLine) Write(p []byte) (int, error) {
	n, err := r.Buffer.Write(p)
	for line := range strings.Lines(r.String()) {
		if strings.HasPrefix(line, "gateway-cron ") && strings.Contains(line, " ready") && strings.HasSuffix(line, "\n") {
			select {
			case r.said <- line:
			default: // nobody asks any more
			}
		}
	}
	return n, err
}

// Until waits for a condition; the limit is there to end a hopeless test, not to measure.
func Until(t testing.TB, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
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

// At waits for an instant.
func At(t testing.TB, instant time.Time) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-time.After(time.Until(instant)):
	}
}

// Zone returns the rules of a zone, as a file of a zone database has them.
func Zone(t testing.TB, name string) []byte {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	all, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	rules, err := fs.ReadFile(all, name)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}
