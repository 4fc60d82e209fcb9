//go:build unix

package redisproc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

// orphan starts a redis-server as a killed parent would leave it where the
// kernel does not kill children.
func orphan(t *testing.T, dir string, socket string) *exec.Cmd {
	t.Helper()
	bin, err := findBinary("")
	if err != nil {
		t.Fatal(err)
	}
	lock, err := openLock(filepath.Join(dir, "redis.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if taken, err := tryLock(lock); !taken || err != nil {
		t.Fatalf("lock: %v, %v", taken, err)
	}
	cmd := exec.Command(bin, serverArgs(dir, socket)...)
	cmd.ExtraFiles = []*os.File{lock}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if err := writePid(lock, cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestOrphanIsStoppedAndItsDataKept(t *testing.T) {
	dir := shortDir(t)
	socket := filepath.Join(dir, "redis.sock")
	left := orphan(t, dir, socket)
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, MaxRetries: 1000})
	defer c.Close()
	if err := c.Set(context.Background(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}

	wantValue(t, start(t, dir), "v")
	if err := left.Wait(); err != nil {
		t.Errorf("the orphan did not end in order: %v", err)
	}
}

func TestStuckOrphanIsReported(t *testing.T) {
	dir := shortDir(t)
	left := orphan(t, dir, filepath.Join(dir, "redis.sock"))
	if err := left.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // instead of waiting for the grace

	_, err := Start(ctx, Options{Dir: dir})
	if !errors.Is(err, ErrOrphan) || !strings.Contains(err.Error(), strconv.Itoa(left.Process.Pid)) {
		t.Errorf("error %v, want ErrOrphan with the pid %d", err, left.Process.Pid)
	}
	if err := left.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the orphan was touched: %v", err)
	}
}

func TestLongDirectory(t *testing.T) {
	dir := filepath.Join(shortDir(t), strings.Repeat("d", maxSocketPath))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// What a killed process left behind.
	stale, err := makeSocket(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stale.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	p := start(t, dir)
	set(t, p, "v")
	if _, err := os.Lstat(stale.tmpDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the stale directory of the socket is still there (%v)", err)
	}
	tmp := p.socket.tmpDir
	info, err := os.Stat(tmp)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("mode of the socket's directory %o, want 700", got)
	}
	if err := p.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(tmp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's directory is still there (%v)", err)
	}
	wantValue(t, start(t, dir), "v")
}
