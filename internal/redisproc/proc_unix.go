//go:build unix

package redisproc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/redisproc/childproc"
)

const (
	readyPoll = 5 * time.Millisecond
	// shutdownGrace and termGrace bound the two polite ways of stopping.
	shutdownGrace = 5 * time.Second
	termGrace     = 3 * time.Second
	// pipeGrace is how long the end of the child waits for its log's pipe, which
	// a rewrite of the append-only file by a grandchild keeps open.
	pipeGrace = time.Second
	// firstDelay and longestDelay bound the wait before a redis-server that ended is
	// started again; one that served for steadyAfter has the short one. On a full disk
	// each start reads all data for nothing.
	firstDelay   = 100 * time.Millisecond
	longestDelay = 15 * time.Second
	steadyAfter  = time.Minute
)

// Proc is a redis-server that is kept running until Stop.
type Proc struct {
	bin    string
	dir    *stateDir
	socket *socket
	log    *logFile
	logger *slog.Logger

	mu    sync.Mutex
	child *childproc.Child // the newest; it may have ended
	down  error            // why no redis-server serves at the moment; nil if one does

	leave    context.CancelFunc // tells supervise that from now on an end is no failure
	left     chan struct{}      // closed when supervise has returned
	stopOnce sync.Once
	stopErr  error
}

// Start locks the state directory, stops what an earlier run may have left
// there, starts redis-server on the data it finds and returns once it answers.
// ctx bounds the start only; loading many data takes as long as it takes. From
// then on a redis-server that ends is started again, until Stop.
//
// Errors: ErrNoBinary, ErrLocked, ErrOrphan, ctx's error, or the reason in
// redis-server's own words.
func Start(ctx context.Context, o Options) (_ *Proc, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	bin, err := findBinary(o.Binary)
	if err != nil {
		return nil, err
	}
	dir, err := lockStateDir(ctx, o.Dir, o.Logger)
	if err != nil {
		return nil, err
	}
	p := &Proc{bin: bin, dir: dir, logger: o.Logger, left: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.release())
		}
	}()
	if p.socket, err = makeSocket(dir.path); err != nil {
		return nil, err
	}
	if p.log, err = openLog(dir.file("redis.log")); err != nil {
		return nil, err
	}
	if err := p.launch(ctx); err != nil {
		if p.child != nil {
			err = errors.Join(err, p.kill())
		}
		return nil, err
	}
	life, leave := context.WithCancel(context.WithoutCancel(ctx))
	p.leave = leave
	go p.supervise(life)
	p.logger.Info("redis started", "pid", p.Pid(), "dir", dir.path)
	return p, nil
}

// launch starts a redis-server and waits until it serves. One that does not is left to
// the caller, as p.child.
func (p *Proc) launch(ctx context.Context) error {
	if err := p.dir.removeRewrites(); err != nil {
		p.logger.Warn("rest of a rewrite not removed", "dir", p.dir.path, "err", err)
	}
	cmd := exec.Command(p.bin, serverArgs(p.dir.path, p.socket.path)...) //nolint:gosec // the operator's own redis-server
	cmd.Dir = p.dir.path
	cmd.Env = []string{} // not nil, which means ours: that holds secrets, and Redis needs none of it
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.WaitDelay = pipeGrace
	cmd.ExtraFiles = []*os.File{p.dir.childLock} // inherited: see the package comment
	child, err := childproc.Start(cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.bin, err)
	}
	p.mu.Lock()
	p.child = child
	p.mu.Unlock()
	p.dir.noteChild(child.Pid(), p.logger)
	return p.awaitReady(ctx)
}

// findBinary resolves the redis-server to run.
func findBinary(name string) (string, error) {
	if name != "" {
		bin, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("%w (looked for %s)", ErrNoBinary, name)
		}
		return bin, nil
	}
	for _, name := range []string{"redis-server", "valkey-server"} {
		if bin, err := exec.LookPath(name); err == nil {
			return bin, nil
		}
	}
	return "", ErrNoBinary
}

// serverArgs is the whole configuration of the child: no file of the system's
// is read.
func serverArgs(dir, socket string) []string {
	return []string{
		"--daemonize", "no", "--supervised", "no",
		"--dir", dir,
		// Reachable by this user only.
		"--port", "0", "--unixsocket", socket, "--unixsocketperm", "700",
		// An acknowledged write is on disk. A tail cut off by a power loss was
		// never acknowledged and is dropped.
		"--appendonly", "yes", "--appendfsync", "always", "--aof-load-truncated", "yes",
		"--save", "",
		// Full memory must fail a write, never drop somebody's job.
		"--maxmemory-policy", "noeviction",
		"--loglevel", "notice", "--logfile", "", // to standard output, which we bound
	}
}

// awaitReady waits until the child has loaded its data and answers.
func (p *Proc) awaitReady(ctx context.Context) error {
	c := newClient(p.socket.path)
	defer c.Close()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		// While it loads it answers with an error; ask again.
		if c.Ping(ctx).Err() == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.child.Done():
			return p.endError()
		case <-ctx.Done():
			return fmt.Errorf("wait for redis-server in %s: %w", p.dir.path, ctx.Err())
		}
	}
}

// newClient opens a client that never retries: the caller decides.
func newClient(socket string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Network: "unix", Addr: socket, PoolSize: 1,
		MaxRetries: -1, ContextTimeoutEnabled: true, DisableIdentity: true,
	})
}

// shutdown asks the redis-server at the socket to flush its data and end.
func shutdown(ctx context.Context, socket string, logger *slog.Logger) {
	c := newClient(socket)
	defer c.Close()
	if err := c.Shutdown(ctx).Err(); err != nil {
		logger.Debug("redis did not take shutdown", "err", err)
	}
}

// supervise starts redis-server again whenever it ends, until ctx ends.
func (p *Proc) supervise(ctx context.Context) {
	defer close(p.left)
	var pause delay
	for {
		since := time.Now()
		select {
		case <-ctx.Done():
			return
		case <-p.child.Done():
		}
		err, served := p.endError(), time.Since(since)
		for ; err != nil; served = 0 {
			p.setDown(err)
			wait := pause.after(served)
			p.logger.Error("redis ended, it is started again", "wait", wait.String(), "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			err = p.launch(ctx)
			if ctx.Err() != nil {
				return
			}
		}
		p.setDown(nil)
		p.logger.Info("redis started again", "pid", p.Pid(), "dir", p.dir.path)
	}
}

func (p *Proc) setDown(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = err
}

// delay is how long to wait before the next start: each time twice as long as before.
type delay time.Duration

// after returns the delay after a redis-server that served for so long.
func (d *delay) after(up time.Duration) time.Duration {
	switch {
	case *d == 0 || up >= steadyAfter:
		*d = delay(firstDelay)
	default:
		*d = min(2**d, delay(longestDelay))
	}
	return time.Duration(*d)
}

// endError says how the child ended, with the last words of its log.
func (p *Proc) endError() error {
	how := "exit status 0"
	if err := p.child.Err(); err != nil {
		how = err.Error()
	}
	return fmt.Errorf("redis-server in %s ended: %s; last in redis.log: %q", p.dir.path, how, p.log.lastLine())
}

// URL is the address, as redis.ParseURL understands it. It holds no secret: the
// socket is this user's alone.
func (p *Proc) URL() string {
	u := url.URL{Scheme: "unix", Path: p.socket.path, RawQuery: "db=0"}
	return u.String()
}

// Pid is the process id of the newest child.
func (p *Proc) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.child.Pid()
}

// Err says why no redis-server serves at the moment; nil if one does.
func (p *Proc) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down
}

// Stop ends the child, politely at first: SHUTDOWN, which flushes the data, then
// SIGTERM, then SIGKILL; ctx's end goes straight to SIGKILL, at most eight seconds
// pass without it. Then it releases the state directory. Clients must be done
// before. A child that had to be killed is an error, though no acknowledged write
// is lost by it. Further calls wait for the first and return its error.
func (p *Proc) Stop(ctx context.Context) error {
	p.stopOnce.Do(func() {
		p.leave()
		<-p.left
		p.stopErr = errors.Join(p.end(ctx), p.release())
		p.logger.Info("redis stopped", "pid", p.Pid(), "dir", p.dir.path)
	})
	return p.stopErr
}

func (p *Proc) end(ctx context.Context) error {
	logger := p.logger
	if p.ended(ctx, shutdownGrace, func(ctx context.Context) { shutdown(ctx, p.socket.path, logger) }) ||
		p.ended(ctx, termGrace, func(context.Context) { p.terminate() }) {
		return nil
	}
	return errors.Join(fmt.Errorf("redis-server %d in %s did not end in time and was killed",
		p.child.Pid(), p.dir.path), p.kill())
}

// ended asks the child to go and reports whether it went within grace. What ask
// itself gets for an answer does not matter: only the end does.
func (p *Proc) ended(ctx context.Context, grace time.Duration, ask func(context.Context)) bool {
	select {
	case <-p.child.Done():
		return true
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	go ask(ctx)
	select {
	case <-p.child.Done():
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *Proc) terminate() {
	if err := p.child.Signal(syscall.SIGTERM); err != nil {
		p.logger.Debug("redis took no signal", "err", err)
	}
}

func (p *Proc) kill() error {
	if err := p.child.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill redis-server %d: %w", p.child.Pid(), err)
	}
	<-p.child.Done()
	return nil
}

// release gives up what Start took, last taken first.
func (p *Proc) release() error {
	var errs []error
	if p.log != nil {
		errs = append(errs, p.log.Close())
	}
	if p.socket != nil {
		errs = append(errs, p.socket.remove())
	}
	return errors.Join(append(errs, p.dir.unlock())...)
}
