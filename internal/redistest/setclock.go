//go:build unix

package redistest

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// setClock is what sets the clock of a server, in C: libfaketime and the allocator of Redis
// wait for each other.
//
//go:embed preload/setclock.c
var setClock []byte

// WithClock lets SetClock set the server's clock, and nobody else's. It needs Linux and a C
// compiler; see NeedClock.
func WithClock() Option { return func(s *Server) { s.clock = true } }

// NeedClock skips a test where no clock can be set.
func NeedClock(t testing.TB) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the clock of a server can be set on Linux alone")
	}
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip("setting the clock of a server needs a C compiler")
	}
}

// ClockedBinary makes a redis-server in dir whose clock can be set by the function that is
// returned, for who starts it otherwise. It has args after those that it is called with.
func ClockedBinary(dir string, args ...string) (binary string, setClock func(ahead time.Duration) error, err error) {
	s := &Server{dir: dir, clock: true}
	env, err := s.clockEnv()
	if err != nil {
		return "", nil, err
	}
	script := "#!/bin/sh\nexport " + strings.Join(env[len(env)-2:], " ") + "\nexec redis-server \"$@\" " + strings.Join(args, " ") + "\n"
	binary = filepath.Join(dir, "redis-server")
	if err := os.WriteFile(binary, []byte(script), 0o700); err != nil { //nolint:gosec // it is to be executed
		return "", nil, err
	}
	return binary, s.writeClock, nil
}

// SetClock sets the server's clock so far ahead of the right time, or, below 0, back.
func (s *Server) SetClock(ahead time.Duration) {
	if err := s.writeClock(ahead); err != nil {
		s.fatalf("set the clock: %v", err)
	}
}

// writeClock writes into the page that the server has mapped.
func (s *Server) writeClock(ahead time.Duration) (err error) {
	f, err := os.OpenFile(s.clockPath(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(ahead.Microseconds())), 0)
	return err
}

func (s *Server) clockPath() string { return filepath.Join(s.dir, "clock") }

// clockEnv is the environment of a server whose clock can be set. The clock stays as it is
// over restarts.
func (s *Server) clockEnv() ([]string, error) {
	library := filepath.Join(s.dir, "setclock.so")
	if _, err := os.Stat(library); err != nil {
		source := filepath.Join(s.dir, "setclock.c")
		if err := errors.Join(os.WriteFile(source, setClock, 0o600), s.writeClock(0)); err != nil {
			return nil, err
		}
		if out, err := exec.Command("cc", "-shared", "-fPIC", "-O1", "-o", library, source).CombinedOutput(); err != nil { //nolint:gosec // a test's own files
			return nil, fmt.Errorf("compile what sets the clock: %w\n%s", err, out)
		}
	}
	return append(os.Environ(), "LD_PRELOAD="+library, "REDISTEST_CLOCK="+s.clockPath()), nil
}
