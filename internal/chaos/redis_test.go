package chaos

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/gatewaycron/gatewaycron/internal/redisproc"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// diskSize is how much the disk of Redis holds. A run of the long size leaves less than half
// of that.
const diskSize = "size=1g"

// embedded is the Redis of a run, as the product runs it for itself: it is started again when
// it ends. Its disk can be filled up, and its clock set.
type embedded struct {
	t       testing.TB
	proc    *redisproc.Proc
	dir     string // its disk
	options *redis.Options
	clock   func(ahead time.Duration) error
	frozen  int // the process
}

// startRedis starts it, on a disk of its own if it is to have one; else that of the machine is
// never filled up.
func startRedis(t testing.TB, own bool) *embedded {
	t.Helper()
	tools := t.TempDir()
	e := &embedded{t: t, dir: filepath.Join(tools, "disk")}
	if err := os.Mkdir(e.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if own {
		if err := unix.Mount("tmpfs", e.dir, "tmpfs", 0, diskSize); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(e.dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	// The whole log of commands, with their times, in case of a question.
	binary, clock, err := redistest.ClockedBinary(tools, "--aof-timestamp-enabled", "yes", "--auto-aof-rewrite-percentage", "0")
	if err != nil {
		t.Fatal(err)
	}
	e.clock = clock
	if e.proc, err = redisproc.Start(t.Context(), redisproc.Options{Dir: filepath.Join(e.dir, "redis"), Binary: binary}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.stop)
	if e.options, err = redis.ParseURL(e.proc.URL()); err != nil {
		t.Fatal(err)
	}
	return e
}

// client is a client of it, closed with the test.
func (e *embedded) client() *redis.Client {
	c := redis.NewClient(e.options)
	e.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (e *embedded) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := e.proc.Stop(ctx); err != nil {
		e.t.Error(err)
	}
}

func (e *embedded) signal(pid int, s syscall.Signal) {
	e.t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		e.t.Fatalf("signal %s to Redis: %v", s, err)
	}
}

// kill ends it as a crash would.
func (e *embedded) kill() { e.signal(e.proc.Pid(), syscall.SIGKILL) }

func (e *embedded) freeze() {
	e.frozen = e.proc.Pid()
	e.signal(e.frozen, syscall.SIGSTOP)
}

func (e *embedded) thaw() { e.signal(e.frozen, syscall.SIGCONT) }

func (e *embedded) setClock(ahead time.Duration) {
	e.t.Helper()
	if err := e.clock(ahead); err != nil {
		e.t.Fatalf("set the clock: %v", err)
	}
}

// fillDisk leaves no room for another byte.
func (e *embedded) fillDisk() {
	e.t.Helper()
	f, err := os.Create(e.filler())
	if err != nil {
		e.t.Fatal(err)
	}
	defer f.Close()
	part := make([]byte, 1<<20)
	for len(part) > 0 {
		if _, err := f.Write(part); err != nil {
			part = part[:len(part)/2]
		}
	}
}

func (e *embedded) freeDisk() {
	e.t.Helper()
	if err := os.Remove(e.filler()); err != nil {
		e.t.Fatal(err)
	}
}

func (e *embedded) filler() string { return filepath.Join(e.dir, "filler") }
