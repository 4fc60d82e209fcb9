//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/redisproc/childproc"
)

const (
	readyWithin = time.Minute
	stopWithin  = 30 * time.Second
)

// process is a child whose costs are measured.
type process struct {
	name    string
	child   *childproc.Child
	ready   chan string // gets the line by which it says so
	url     string
	proxy   *proxy // its way to Redis, where that is counted
	logPath string
	started time.Time
}

// launch starts a command. It is ready when it prints a line that contains the
// word.
func launch(dir, name string, cmd *exec.Cmd, readyWord string) (*process, error) {
	p := &process{name: name, ready: make(chan string, 1)}
	log, err := os.CreateTemp(dir, name+"-*.log")
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", name, err)
	}
	defer log.Close() // the child has its own
	p.logPath = log.Name()
	cmd.Stderr = log
	cmd.Stdout = &readyLine{word: readyWord, ready: p.ready}
	p.started = time.Now()
	if p.child, err = childproc.Start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// await waits until the process says that it is ready.
func (p *process) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	select {
	case line := <-p.ready:
		if _, rest, ok := strings.Cut(line, "http://"); ok {
			p.url = "http://" + strings.Fields(rest)[0]
		}
		return nil
	case <-p.child.Done():
		return fmt.Errorf("%s ended before it was ready: %w; its log: %s", p.name, p.child.Err(), p.logTail())
	case <-ctx.Done():
		return fmt.Errorf("%s is not ready: %w; its log: %s", p.name, ctx.Err(), p.logTail())
	}
}

// end ends the process by a signal and waits for it.
func (p *process) end(sig os.Signal) error {
	if err := p.child.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to %s: %w", sig, p.name, err)
	}
	timeout := time.NewTimer(stopWithin)
	defer timeout.Stop()
	select {
	case <-p.child.Done():
		return nil
	case <-timeout.C:
	}
	err := p.child.Signal(syscall.SIGKILL)
	<-p.child.Done()
	return errors.Join(fmt.Errorf("%s did not end within %s", p.name, stopWithin), err)
}

func (p *process) logTail() string {
	const most = 4 << 10
	b, err := os.ReadFile(p.logPath)
	if err != nil {
		return "(none: " + err.Error() + ")"
	}
	return string(b[max(0, len(b)-most):])
}

// cpu is the processor time that the process has used, in seconds: that of its
// threads, which is exact to the nanosecond where /proc/<pid>/stat only samples, and
// sees nothing of a process that works for a moment each second. A thread that ended
// is lost; neither Redis nor Go's runtime ends any to speak of.
func (p *process) cpu() (float64, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.child.Pid()))
	if err != nil {
		return 0, fmt.Errorf("processor time of %s: %w", p.name, err)
	}
	if len(threads) == 0 {
		return 0, fmt.Errorf("processor time of %s: it has ended, or this kernel does not tell", p.name)
	}
	total := 0.0
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // ended just now
		}
		if err != nil {
			return 0, fmt.Errorf("processor time of %s: %w", p.name, err)
		}
		running, _, _ := strings.Cut(string(stat), " ")
		ns, err := strconv.ParseFloat(running, 64)
		if err != nil {
			return 0, fmt.Errorf("processor time of %s: %w", p.name, err)
		}
		total += ns / 1e9
	}
	return total, nil
}

// peak is the most memory that the process has held, in bytes.
func (p *process) peak() (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.child.Pid()))
	if err != nil {
		return 0, fmt.Errorf("memory of %s: %w", p.name, err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			if err != nil {
				return 0, fmt.Errorf("memory of %s: %w", p.name, err)
			}
			return kb * 1024, nil
		}
	}
	return 0, fmt.Errorf("memory of %s: no VmHWM", p.name)
}

// readyLine looks for a line on standard output.
type readyLine struct {
	word  string
	ready chan<- string

	mu   sync.Mutex
	text []byte
	done bool
}

func (r *readyLine) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		return len(b), nil
	}
	r.text = append(r.text, b...)
	for line := range strings.Lines(string(r.text)) {
		if strings.HasSuffix(line, "\n") && strings.Contains(line, r.word) {
			r.done = true
			r.ready <- strings.TrimSpace(line)
			break
		}
	}
	return len(b), nil
}

// startRedis starts a redis-server as a deployment would run one: durable, over
// TCP.
func startRedis(ctx context.Context, dir string) (*process, string, error) {
	data, err := os.MkdirTemp(dir, "redis-")
	if err != nil {
		return nil, "", fmt.Errorf("directory for redis: %w", err)
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, "", fmt.Errorf("address for redis: %w", err)
	}
	cmd := exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", filepath.Clean(data), "--save", "", //nolint:gosec // a Redis of our own
		"--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction")
	p, err := launch(dir, "redis", cmd, "Ready to accept connections")
	if err != nil {
		return nil, "", err
	}
	if err := p.await(ctx); err != nil {
		return nil, "", errors.Join(err, p.end(syscall.SIGKILL))
	}
	return p, addr, nil
}

// freeAddr is an address that was free a moment ago.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// info reads one number of INFO.
func info(ctx context.Context, rdb *redis.Client, section, name string) (float64, error) {
	text, err := rdb.Info(ctx, section).Result()
	if err != nil {
		return 0, fmt.Errorf("info %s: %w", section, err)
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, fmt.Errorf("info %s: %w", name, err)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("info %s: no %s", section, name)
}

// commandStat is what Redis says of one command.
type commandStat struct {
	Calls int64 `json:"calls"`
	Usec  int64 `json:"usec"` // a script's includes those of the commands within
}

// commandStats are the commands that Redis executed, by name. Those within scripts
// are among them.
func commandStats(ctx context.Context, rdb *redis.Client) (map[string]commandStat, error) {
	text, err := rdb.Info(ctx, "commandstats").Result()
	if err != nil {
		return nil, fmt.Errorf("info commandstats: %w", err)
	}
	stats := map[string]commandStat{}
	for line := range strings.Lines(text) {
		// cmdstat_get:calls=1,usec=2,...
		name, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "cmdstat_"), ":")
		if !ok {
			continue
		}
		var s commandStat
		if _, err := fmt.Sscanf(rest, "calls=%d,usec=%d", &s.Calls, &s.Usec); err != nil {
			return nil, fmt.Errorf("info commandstats: %s: %w", name, err)
		}
		stats[name] = s
	}
	return stats, nil
}
