//go:build unix

package redisproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	lockPoll = 10 * time.Millisecond
	// orphanGrace is how long an orphan may take to stop; also one that the
	// kernel kills, whose rewrite of the append-only file goes on for a while.
	orphanGrace = 20 * time.Second
	maxPidBytes = 32
)

// stateDir is a state directory that this process has locked.
type stateDir struct {
	path      string
	ownLock   *os.File // gateway-cron.lock, held by this process
	childLock *os.File // redis.lock, held by this process and its child
}

// lockStateDir makes the directory, takes both locks and stops an orphan.
func lockStateDir(ctx context.Context, path string, logger *slog.Logger) (_ *stateDir, err error) {
	if path == "" {
		return nil, errors.New("redisproc: Options.Dir is required")
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	if err := os.Chmod(path, 0o700); err != nil { //nolint:gosec // a directory is entered by its x
		return nil, fmt.Errorf("make the state directory private: %w", err)
	}
	d := &stateDir{path: path}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.unlock())
		}
	}()

	if d.ownLock, err = openLock(d.file("gateway-cron.lock")); err != nil {
		return nil, err
	}
	switch taken, err := tryLock(d.ownLock); {
	case err != nil:
		return nil, err
	case !taken:
		return nil, fmt.Errorf("%w: gateway-cron (pid %s) serves %s; stop it, or choose another state directory",
			ErrLocked, pidText(d.ownLock), path)
	}
	d.note(d.ownLock, os.Getpid(), logger)

	if d.childLock, err = openLock(d.file("redis.lock")); err != nil {
		return nil, err
	}
	if err := d.takeChildLock(ctx, logger); err != nil {
		return nil, err
	}
	return d, nil
}

// takeChildLock takes the child's lock, from an orphan if there is one: as we
// hold our own lock, nobody else can hold the child's. The orphan is asked over
// its socket, which is certainly its own. Its pid may belong to a stranger by
// now, so it is only ever told to a person.
func (d *stateDir) takeChildLock(ctx context.Context, logger *slog.Logger) error {
	taken, err := tryLock(d.childLock)
	if err != nil {
		return err
	}
	if !taken {
		logger.Warn("stopping the redis of a killed process", "pid", pidText(d.childLock), "dir", d.path)
		if err := d.stopOrphan(ctx, logger); err != nil {
			return err
		}
	}
	d.noteChild(0, logger)
	return nil
}

func (d *stateDir) stopOrphan(ctx context.Context, logger *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, orphanGrace)
	defer cancel()
	path := d.file("redis.sock")
	if target, err := os.Readlink(path); err == nil {
		path = target
	}
	go shutdown(ctx, path, logger)

	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		if taken, err := tryLock(d.childLock); taken || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: stop redis-server (pid %s), which uses %s: %w",
				ErrOrphan, pidText(d.childLock), d.path, ctx.Err())
		}
	}
}

// noteChild writes the child's pid into its lock; 0 clears it.
func (d *stateDir) noteChild(pid int, logger *slog.Logger) { d.note(d.childLock, pid, logger) }

// note writes a pid into a lock. It is there for people alone, so a full disk, which has
// no room for it, stops nothing.
func (d *stateDir) note(lock *os.File, pid int, logger *slog.Logger) {
	if err := writePid(lock, pid); err != nil {
		logger.Warn("pid not noted", "file", lock.Name(), "err", err)
	}
}

// removeRewrites removes what rewrites of the append-only file have left that did not
// end, because Redis or the machine did: Redis never does, and on a full disk it may be
// the room that is missing.
func (d *stateDir) removeRewrites() error {
	left, err := filepath.Glob(filepath.Join(globEscape.Replace(d.path), "temp-rewriteaof-*.aof"))
	if err != nil {
		return fmt.Errorf("look for rewrites: %w", err)
	}
	var errs []error
	for _, path := range left {
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(errs...)
}

// globEscape takes the meaning from what a pattern would have in a path.
var globEscape = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

func (d *stateDir) file(name string) string { return filepath.Join(d.path, name) }

// unlock closes the lock files, which releases them. The files stay: to remove
// one would let two processes lock two files of one name.
func (d *stateDir) unlock() error {
	var errs []error
	for _, f := range []*os.File{d.childLock, d.ownLock} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock file: %w", err)
	}
	return f, nil
}

// tryLock takes the lock of an open file, which lasts as long as any process
// holds that file open.
func tryLock(f *os.File) (bool, error) {
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case err == nil:
		return true, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		return false, nil
	default:
		return false, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
}

func writePid(f *os.File, pid int) error {
	text := ""
	if pid > 0 {
		text = strconv.Itoa(pid) + "\n"
	}
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("clear the pid: %w", err)
	}
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		return fmt.Errorf("note the pid: %w", err)
	}
	return nil
}

// pidText is the pid noted in a lock file, or "unknown".
func pidText(f *os.File) string {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxPidBytes))
	if text := strings.TrimSpace(string(b)); err == nil && text != "" {
		return text
	}
	return "unknown"
}
