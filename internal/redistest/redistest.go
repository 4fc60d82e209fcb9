//go:build unix

// Package redistest gives tests a real redis-server of their own.
//
// It owns starting, killing, freezing, restarting and cleaning up servers; it is
// for tests only and imports nothing of ours but the child process helper.
//
// Start gives a test a server that it may kill. Tests that only need an empty
// database share one server per test binary: Main in TestMain, Fresh in the
// test. StartSentinel and StartCluster are deployments of several servers.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/redisproc/childproc"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 15 * time.Second
	pollEvery    = 2 * time.Millisecond
	// portTries bounds how often a start is repeated because somebody else took
	// the free port between our finding it and the server's binding it.
	portTries = 10
)

// Option changes how a server is started.
type Option func(*Server)

// WithAOF makes the server durable: appendonly yes, appendfsync always. Without
// it a restart is empty.
func WithAOF() Option { return func(s *Server) { s.aof = true } }

// WithTCP makes the server listen on a free port of 127.0.0.1 instead of a unix
// socket; the port stays the same over restarts.
func WithTCP() Option { return func(s *Server) { s.network = "tcp" } }

// WithArgs adds redis-server arguments, such as "--maxmemory", "10mb".
func WithArgs(args ...string) Option { return func(s *Server) { s.args = append(s.args, args...) } }

// Server is a redis-server. Its methods belong to one goroutine: the test's.
type Server struct {
	t       testing.TB // nil for the server that Main shares
	dir     string
	network string // "unix" or "tcp"
	addr    string
	aof     bool
	args    []string
	config  string // the file of a Sentinel, which is this program with another mode
	child   *childproc.Child
	clock   bool // it can be set
}

// Start starts a server, ready to answer, and ends it with the test. It fails
// the test if redis-server is not installed.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s, err := newServer(opts...)
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	s.t = t
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("redistest: redis-server's log:\n%s", s.logTail())
		}
		if err := os.RemoveAll(s.dir); err != nil {
			t.Errorf("redistest: remove %s: %v", s.dir, err)
		}
	})
	return s
}

func newServer(opts ...Option) (*Server, error) {
	// Not t.TempDir: with the test's name in it the path can exceed the limit
	// of a unix socket, about a hundred bytes.
	dir, err := os.MkdirTemp("", "redistest")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	s := &Server{dir: dir, network: "unix", addr: filepath.Join(dir, "redis.sock")}
	for _, o := range opts {
		o(s)
	}
	if s.network == "tcp" {
		err = s.startOnFreePort()
	} else {
		err = s.start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *Server) startOnFreePort() error {
	var err error
	for range portTries {
		if s.addr, err = freePort(); err != nil {
			return err
		}
		err = s.start()
		if err == nil || !strings.Contains(s.logTail(), "in use") {
			return err
		}
	}
	return err
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func (s *Server) start() error {
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		return errors.New("these tests need redis-server in PATH: apt install redis-server, or brew install redis")
	}
	cmd := exec.Command(bin, s.arguments()...) //nolint:gosec // the test's own redis-server
	if s.clock {
		if cmd.Env, err = s.clockEnv(); err != nil {
			return err
		}
	}
	child, err := childproc.Start(cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", bin, err)
	}
	s.child = child
	if err := s.awaitReady(); err != nil {
		s.Kill()
		return fmt.Errorf("%w\n%s", err, s.logTail())
	}
	return nil
}

func (s *Server) arguments() []string {
	args := []string{"--dir", s.dir, "--logfile", s.logPath(), "--daemonize", "no"}
	if s.config != "" {
		args = append([]string{s.config, "--sentinel"}, args...)
	} else {
		args = append(args, "--save", "", "--databases", strconv.Itoa(databases),
			"--repl-diskless-sync-delay", "0") // a replica need not wait for others
	}
	if s.network == "tcp" {
		args = append(args, "--bind", "127.0.0.1", "--port", s.port())
	} else {
		args = append(args, "--port", "0", "--unixsocket", s.addr, "--unixsocketperm", "700")
	}
	if s.aof {
		args = append(args, "--appendonly", "yes", "--appendfsync", "always")
	}
	return append(args, s.args...)
}

// port is the number at the end of a TCP address.
func (s *Server) port() string { return s.addr[strings.LastIndexByte(s.addr, ':')+1:] }

// awaitReady waits for an answer from this very server: on a TCP port somebody
// else's may answer.
func (s *Server) awaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	opts := s.Options()
	opts.MaxRetries = -1
	c := redis.NewClient(opts)
	defer c.Close()

	ours := "process_id:" + strconv.Itoa(s.child.Pid()) + "\r\n"
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := c.Ping(ctx).Err()
		if err == nil {
			if info, err := c.Info(ctx, "server").Result(); err == nil && strings.Contains(info, ours) {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-s.child.Done():
			return fmt.Errorf("redis-server ended: %w", s.child.Err())
		case <-ctx.Done():
			return fmt.Errorf("redis-server did not answer within %s: %w", startTimeout, err)
		}
	}
}

// Network is "unix" or "tcp", as net.Dial wants it.
func (s *Server) Network() string { return s.network }

// Addr is the socket's path, or host:port.
func (s *Server) Addr() string { return s.addr }

// URL is the address in the form of redis.ParseURL, database 0.
func (s *Server) URL() string { return s.url(0) }

func (s *Server) url(db int) string {
	if s.network == "tcp" {
		return "redis://" + s.addr + "/" + strconv.Itoa(db)
	}
	u := url.URL{Scheme: "unix", Path: s.addr, RawQuery: "db=" + strconv.Itoa(db)}
	return u.String()
}

// Options are connection options for database 0, for the caller to change.
func (s *Server) Options() *redis.Options {
	return &redis.Options{Network: s.network, Addr: s.addr}
}

// Asynq is the connection option for asynq, database 0.
func (s *Server) Asynq() asynq.RedisClientOpt {
	return asynq.RedisClientOpt{Network: s.network, Addr: s.addr}
}

// Client opens a client on database 0 and closes it with the test.
func (s *Server) Client() *redis.Client { return newClient(s.t, s.Options()) }

func newClient(t testing.TB, o *redis.Options) *redis.Client {
	c := redis.NewClient(o)
	t.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
			t.Errorf("redistest: close the client: %v", err)
		}
	})
	return c
}

// Kill ends the server by SIGKILL and waits for its end. A dead server is left
// as it is.
func (s *Server) Kill() {
	if s.child == nil {
		return
	}
	s.signal(syscall.SIGKILL)
	s.awaitEnd()
}

// Stop ends the server in order, by SIGTERM, and waits for its end.
func (s *Server) Stop() {
	s.signal(syscall.SIGCONT)
	s.signal(syscall.SIGTERM)
	s.awaitEnd()
}

// Restart starts the server anew at the same address, after stopping it if it
// still runs, and waits until it answers. Its data are there again only with
// WithAOF.
func (s *Server) Restart() {
	s.Stop()
	if err := s.start(); err != nil {
		s.fatalf("restart: %v", err)
	}
}

// Freeze suspends the server's process until Thaw: connections stay open and
// nothing answers.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw ends a Freeze.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	if err := s.child.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.fatalf("send %s: %v", sig, err)
	}
}

func (s *Server) awaitEnd() {
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-s.child.Done():
	case <-timeout.C:
		s.fatalf("redis-server %d did not end within %s", s.child.Pid(), stopTimeout)
	}
}

func (s *Server) fatalf(format string, args ...any) {
	if s.t == nil {
		panic("redistest: " + fmt.Sprintf(format, args...))
	}
	s.t.Helper()
	s.t.Fatalf("redistest: "+format, args...)
}

func (s *Server) logPath() string { return filepath.Join(s.dir, "redis.log") }

// logTail is the end of the server's log, which says why it did not start.
func (s *Server) logTail() string {
	const most = 4 << 10
	b, err := os.ReadFile(s.logPath())
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	return string(b[max(0, len(b)-most):])
}
