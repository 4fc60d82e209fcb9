package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/chaos/judge"
	"github.com/gatewaycron/gatewaycron/internal/producttest"
	"github.com/gatewaycron/gatewaycron/internal/redisproc/childproc"
)

// fleet is the processes of the product. Its methods belong to the goroutine of
// the test.
type fleet struct {
	t        testing.TB
	plan     *plan
	dir      string
	binary   string
	env      []string
	troubles *journal
	aiURL    string
	chatURL  string
	crews    []*crew // in a fixed order
	exits    chan *process
	zones    string // the directory of zones whose rules are others than the system's
	calm     bool   // no crash points any more
	killed   int    // processes that were killed, at crash points too

	mu     sync.Mutex
	apiURL string // of the process that is or was ready last
}

// crew is the processes that follow each other under one name.
type crew struct {
	name    string
	proxy   *proxy
	env     []string
	nth     int
	current *process // nil while none runs
}

func (c *crew) role() string {
	role, _, _ := strings.Cut(c.name, "-")
	return role
}

// process is one of them.
type process struct {
	id      string // <name>.<nth>
	crew    *crew
	child   *childproc.Child
	crashed string        // the file that names the crash point
	ready   chan struct{} // closed when it said so
	frozen  int64         // since when; 0: not
	doomed  string        // how we ended it; "": we did not
}

// newFleet prepares the processes. Each reaches Redis by a proxy of its own.
func newFleet(t testing.TB, p *plan, dir, binary string, rs *redis.Options, ai, chat string) *fleet {
	t.Helper()
	f := &fleet{t: t, plan: p, dir: dir, binary: binary, zones: filepath.Join(dir, "zones"), troubles: openJournal(t, dir, judge.TroublesFile),
		aiURL: ai, chatURL: chat, exits: make(chan *process, 100),
		env: []string{"GATEWAY_CRON_ADDR=127.0.0.1:0", "GATEWAY_CRON_CONFIG=none", "GATEWAY_CRON_LOG_LEVEL=debug", "GATEWAY_CRON_LOG_FORMAT=json", "GATEWAY_CRON_RATE_LIMIT_PER_MINUTE=0",
			"GATEWAY_CRON_SHUTDOWN_GRACE=5s", "GATEWAY_CRON_CHANNEL_MANAGER_TOKEN=" + chatToken, "GATEWAY_CRON_TELEGRAM_TOKEN=" + telegramToken}}
	for _, name := range slices.Concat(schedulers, workers, []string{"api"}) {
		way, err := newProxy(rs.Network, rs.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(way.close)
		c := &crew{name: name, proxy: way}
		switch name {
		case "scheduler-1":
			c.env = []string{"GATEWAY_CRON_FAULT_SKEW=30s"}
		case "scheduler-2":
			c.env = []string{"GATEWAY_CRON_FAULT_SKEW=-20s"}
		}
		f.crews = append(f.crews, c)
	}
	for _, sub := range []string{"logs", "crashes", filepath.Join("zones", filepath.Dir(ruled))} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, c := range f.crews {
			if c.current != nil {
				_ = c.current.child.Signal(syscall.SIGKILL)
				<-c.current.child.Done()
			}
		}
	})
	return f
}

func (f *fleet) crew(name string) *crew {
	i := slices.IndexFunc(f.crews, func(c *crew) bool { return c.name == name })
	return f.crews[i]
}

// start starts the next process of a crew.
func (f *fleet) start(c *crew) {
	f.t.Helper()
	c.nth++
	p := &process{id: fmt.Sprintf("%s.%d", c.name, c.nth), crew: c, ready: make(chan struct{})}
	p.crashed = filepath.Join(f.dir, "crashes", p.id)
	log, err := os.OpenFile(filepath.Join(f.dir, "logs", c.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer log.Close()
	fmt.Fprintf(log, "{\"msg\":\"--- %s\"}\n", p.id)
	cmd := exec.Command(f.binary, c.role())
	cmd.Env = slices.Concat(os.Environ(), f.env, c.env, []string{
		"GATEWAY_CRON_REDIS_URL=" + c.proxy.url(),
		"GATEWAY_CRON_AI_SERVER_URL=" + f.aiURL + "/" + p.id,
		"GATEWAY_CRON_CHANNEL_MANAGER_URL=" + f.chatURL + "/" + p.id,
		"GATEWAY_CRON_TELEGRAM_URL=" + f.chatURL + "/" + p.id,
		"GATEWAY_CRON_FAULT_LOG=" + p.crashed,
		"ZONEINFO=" + f.zones, "GATEWAY_CRON_STATE_DIR=" + f.dir,
		fmt.Sprintf("GATEWAY_CRON_FAULT_SEED=%d", f.plan.dice("crashes", p.id).Uint64()),
	})
	if !f.calm {
		var points []string
		for _, point := range crashes {
			points = append(points, fmt.Sprintf("%s=%g", point, f.plan.crashChance()))
		}
		cmd.Env = append(cmd.Env, "GATEWAY_CRON_FAULT="+strings.Join(points, ","))
	}
	cmd.Stderr = log
	cmd.Stdout = &readyLine{f: f, p: p}
	if p.child, err = childproc.Start(cmd); err != nil {
		f.t.Fatal(err)
	}
	c.current = p
	go func() {
		<-p.child.Done()
		f.exits <- p
	}()
}

// readyLine reads a process's standard output for the line that says it is ready.
type readyLine struct {
	f    *fleet
	p    *process
	text bytes.Buffer
	seen bool
}

func (r *readyLine) Write(b []byte) (int, error) {
	r.text.Write(b)
	line := r.text.String()
	if r.seen || !strings.Contains(line, " ready") || !strings.Contains(line, "\n") {
		return len(b), nil
	}
	r.seen = true
	if _, rest, ok := strings.Cut(line, "http://"); ok {
		r.f.mu.Lock()
		r.f.apiURL = "http://" + strings.Fields(rest)[0]
		r.f.mu.Unlock()
	}
	close(r.p.ready)
	return len(b), nil
}

func (f *fleet) api() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.apiURL
}

// victim is the process of the named crew; if it has none right now, that of the
// next crew. It is nil if nothing runs at all.
func (f *fleet) victim(name string) *process {
	at := slices.IndexFunc(f.crews, func(c *crew) bool { return c.name == name })
	for i := range f.crews {
		if p := f.crews[(at+i)%len(f.crews)].current; p != nil && p.doomed == "" {
			return p
		}
	}
	return nil
}

// kill ends a process as a crash would.
func (f *fleet) kill(p *process) {
	p.doomed = judge.Killed
	f.signal(p, syscall.SIGKILL)
}

// freeze stops the clock of a process.
func (f *fleet) freeze(p *process) {
	p.frozen = now()
	f.signal(p, syscall.SIGSTOP)
}

func (f *fleet) thaw(p *process) {
	if p.frozen == 0 {
		return
	}
	f.note(judge.Frozen, p.id, p.frozen, "")
	p.frozen = 0
	f.signal(p, syscall.SIGCONT)
}

func (f *fleet) signal(p *process, sig syscall.Signal) {
	if err := p.child.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		f.t.Errorf("send %s to %s: %v", sig, p.id, err)
	}
}

func (f *fleet) note(kind, process string, from int64, detail string) {
	f.troubles.add(judge.Trouble{Kind: kind, Process: process, From: from, To: now(), Detail: detail})
}

// buried takes note of the end of a process, and answers after which time its
// crew is to go on.
func (f *fleet) buried(p *process) time.Duration {
	if p.frozen != 0 {
		f.note(judge.Frozen, p.id, p.frozen, "")
	}
	p.crew.current = nil
	point, err := os.ReadFile(p.crashed)
	switch {
	case err == nil:
		f.killed++
		f.note(judge.Crashed, p.id, now(), strings.TrimSpace(string(point)))
	case !errors.Is(err, fs.ErrNotExist):
		f.t.Errorf("how did %s end? %v", p.id, err)
	case p.doomed == judge.Killed:
		f.killed++
		f.note(judge.Killed, p.id, now(), "")
	case p.doomed == judge.Stopped:
		f.note(judge.Stopped, p.id, now(), "")
		if err := p.child.Err(); err != nil {
			f.t.Errorf("%s was told to stop and ended with %v", p.id, err)
		}
	default:
		f.t.Errorf("%s ended by itself: %v; see its log", p.id, p.child.Err())
	}
	if f.calm {
		return 0
	}
	return time.Duration(f.plan.dice("restart", p.id).Int64N(int64(8 * time.Second)))
}

// changeRules lets the processes that start from now on read the rules of otherRules, or
// else its own again, as those of the ruled zone, and returns whose they are.
func (f *fleet) changeRules() (zone string) {
	f.t.Helper()
	path := filepath.Join(f.zones, ruled)
	switch err := os.Remove(path); {
	case err == nil:
		return ruled
	case !errors.Is(err, fs.ErrNotExist):
		f.t.Fatal(err)
	}
	write(f.t, path, producttest.Zone(f.t, otherRules))
	return otherRules
}

// scanLogs fails on what no process may ever say.
func (f *fleet) scanLogs() {
	for _, c := range f.crews {
		text, err := os.ReadFile(filepath.Join(f.dir, "logs", c.name+".log"))
		if err != nil {
			f.t.Error(err)
		}
		for _, bad := range []string{"DATA RACE", "panic:", "attempt panicked", "cannot be read", "cannot be committed"} {
			if at := bytes.Index(text, []byte(bad)); at >= 0 {
				f.t.Errorf("%s says %q: %s", c.name, bad, text[at:min(len(text), at+3000)])
			}
		}
	}
}
