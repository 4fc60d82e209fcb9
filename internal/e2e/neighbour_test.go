package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/producttest"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

const (
	// private is in everything that belongs to the agent who is left alone.
	private = "ada-private"
	// mostMemory is what the process may take while it is attacked; with the race detector
	// everything takes several times as much.
	mostMemory, mostMemoryRaced = 768 << 20, 2 << 30
	// Those that hold connections are others than those that ask, and have all that they may.
	stranger, guesser, owner, asker = "127.0.0.9", "127.0.0.11", "127.0.0.8", "127.0.0.10"
	// mostHeld is how many connections each of the former tries to hold; one address gets 256 of
	// the 512 that a process has which may open 1,024 files.
	mostHeld = 400
)

// neighbour is a client that does harm: with a token of its own agent, and from another
// address without any.
type neighbour struct {
	t    *testing.T
	api  *process
	addr string
	// token is of an agent that has nothing to do with the others; runs are its runs.
	token string
	runs  []string
	until time.Time

	mu       sync.Mutex
	done     map[string]int // how often it did each thing
	statuses map[int]int
	leaked   []string
	held     map[string][]net.Conn // by address
}

// TestBadNeighbour: for a minute, one client with a small token, and one without, do whatever
// was seen to hurt others, and the jobs of another agent run as if they were not there.
//
// It runs alone: other tests would be its neighbours, too.
func TestBadNeighbour(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("GATEWAY_CRON_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("GATEWAY_CRON_SEED=%d repeats what is asked", seed)
	w := newWorld(t, func(c standin.ChatCall) standin.Answer {
		said := c.Messages[len(c.Messages)-1].Text
		switch {
		case strings.Contains(said, "long"):
			return standin.Answer{Text: strings.Repeat("x", 1<<20)}
		case strings.Contains(said, "slow"):
			<-time.After(25 * time.Second)
		case strings.Contains(said, private):
			return standin.Answer{Text: private}
		}
		return standin.Answer{}
	})
	cmd := exec.Command("sh", "-c", `ulimit -n 1024; exec "$0" serve`, binary)
	cmd.Env = []string{"GATEWAY_CRON_TOKEN=administrator", "GATEWAY_CRON_RATE_LIMIT_PER_MINUTE=600"}
	serve := w.launch(cmd)
	n := &neighbour{t: t, api: serve, addr: strings.TrimPrefix(serve.URL, "http://"), done: map[string]int{}, statuses: map[int]int{}, held: map[string][]net.Conn{}}
	if c, err := n.dial(owner); err != nil {
		t.Skipf("this machine has no other addresses of its own: %v", err)
	} else {
		c.Close()
	}
	n.signIn()
	n.furnish(w)

	const jobs, slots, every = 200, 3, 20 * time.Second
	first := job.ToMillis(time.Now().Add(15 * time.Second).Truncate(time.Second)) // for all, however long it takes to make them
	ids := w.crowd(jobs, func(s *job.Spec) {
		s.Name, s.Task, s.AgentID, s.MaxRuns = private, private+" "+s.Task, "ada", slots
		s.Schedule, s.EverySeconds, s.StartAt = "", int(every/time.Second), first
	})
	n.until = first.Time().Add(slots*every - 5*time.Second)
	var attack sync.WaitGroup
	for i := range 16 {
		dice := rand.New(rand.NewPCG(seed, uint64(i)))
		attack.Go(func() { n.rage(dice) })
	}
	memory, healthy, asked := 0, 0, 0
	for time.Now().Before(n.until) {
		memory = max(memory, resident(t, serve.Pid()))
		asked++
		if status, _ := n.ask("127.0.0.1", "", "GET", "/health", ""); status == http.StatusOK {
			healthy++
		}
		<-time.After(250 * time.Millisecond)
	}
	attack.Wait()
	n.letGo()
	w.until("all of them have run", 2*time.Minute, func() bool { return w.channel.Count() >= jobs*slots })

	l, late, most := w.ledger(), 0, time.Duration(0)
	l.period = job.Millis(every.Milliseconds())
	for _, id := range ids {
		ran := l.check(id, first, 1)
		runs := w.history(id)
		if ran != slots || len(runs) != slots {
			t.Errorf("%s: %d of %d slots ran", id, ran, len(runs))
		}
		for _, r := range runs {
			lag := r.StartedAt.Time().Sub(r.Slot.Time())
			if most = max(most, lag); lag > 5*time.Second {
				late++
			}
		}
	}
	t.Logf("the latest run began after %s, %d after more than 5 s", most, late)
	t.Logf("memory %d MiB, done %v, answers %v", memory>>10, n.done, n.statuses)
	bound := mostMemory
	if producttest.Raced() {
		bound = mostMemoryRaced
	}
	if memory<<10 > bound {
		t.Errorf("it took %d MiB", memory>>10)
	}
	if healthy != asked {
		t.Errorf("/health answered %d of %d times", healthy, asked)
	}
	for _, leaked := range n.leaked {
		t.Errorf("told of another agent: %s", leaked)
	}
	for _, what := range n.things() {
		if n.done[what.name] == 0 {
			t.Errorf("%q was not tried", what.name)
		}
	}
	for _, status := range []int{http.StatusOK, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests} {
		if n.statuses[status] == 0 {
			t.Errorf("nothing was answered with %d", status)
		}
	}
}

// signIn makes the token.
func (n *neighbour) signIn() {
	n.t.Helper()
	var made struct{ Token string }
	if status, body := n.ask("127.0.0.1", "administrator", "POST", "/api/cron/tokens", `{"name":"mallory","agentId":"mallory","maxJobs":50}`); status != http.StatusCreated || json.Unmarshal(body, &made) != nil {
		n.t.Fatalf("no token: %d %s", status, body)
	}
	n.token = made.Token
}

// furnish gives it what large answers are made of.
func (n *neighbour) furnish(w *world) {
	n.t.Helper()
	if status, body := n.ask(asker, n.token, "POST", "/api/cron/jobs", `{"id":"long","schedule":"0 0 1 1 *","task":"long","sessionKey":"agent:mallory:long"}`); status != http.StatusCreated {
		n.t.Fatalf("no job: %d %s", status, body)
	}
	for range 8 {
		var run struct{ RunID string }
		status, body := n.ask(asker, n.token, "POST", "/api/cron/jobs/long/run", "")
		if status/100 != 2 || json.Unmarshal(body, &run) != nil {
			n.t.Fatalf("no run: %d %s", status, body)
		}
		n.runs = append(n.runs, run.RunID)
	}
	w.quiet(2 * time.Minute)
}

// thing is something that it does.
type thing struct {
	name string
	do   func(*rand.Rand)
}

// things are what was seen to hurt, and more of their kinds.
func (n *neighbour) things() []thing {
	page := func(path string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + n.token + "\r\n\r\n"
	}
	own := func(dice *rand.Rand) string { return n.runs[dice.IntN(len(n.runs))] }
	return []thing{
		{"reads nothing of the document", func(*rand.Rand) { n.hold(stranger, strings.Repeat(page("/openapi.json"), 40)) }},
		{"reads nothing of a session", func(*rand.Rand) { n.hold(owner, page("/api/sessions/agent:mallory:long?limit=200")) }},
		{"reads nothing of its runs", func(*rand.Rand) { n.hold(owner, page("/api/cron/runs?limit=100")) }},
		{"leaves streams open", func(dice *rand.Rand) { n.hold(owner, page("/api/cron/runs/"+own(dice)+"/events")) }},
		{"writes a request slowly", func(dice *rand.Rand) {
			n.hold(stranger, "POST /api/cron/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n"+strings.Repeat("X", dice.IntN(40)))
		}},
		{"waits for runs", func(dice *rand.Rand) { n.hold(owner, page("/api/cron/runs/"+own(dice)+"?wait=60")) }},
		{"connects and says nothing", func(*rand.Rand) { n.hold(stranger, "") }},
		{"guesses tokens", func(dice *rand.Rand) {
			n.see(n.ask(guesser, fmt.Sprint("guess", dice.Uint64()), "GET", "/api/cron/jobs", ""))
		}},
		{"tries the sign-in and old cookies", func(dice *rand.Rand) {
			switch dice.IntN(3) {
			case 0:
				n.see(n.ask(guesser, "", "POST", "/login", `token=guess`))
			case 1:
				n.hold(stranger, "GET /monitoring/api/queues HTTP/1.1\r\nHost: "+n.addr+"\r\nCookie: gateway_cron_session=x\r\n\r\n")
			default:
				n.see(n.ask(guesser, "", "GET", "/monitoring/api/queues", ""))
			}
		}},
		{"asks for what is open to all", func(dice *rand.Rand) {
			paths := []string{"/", "/readyz", "/readyz?full=true", "/docs", "/openapi.json", "/health", "/nothing"}
			n.see(n.ask(guesser, "", "GET", paths[dice.IntN(len(paths))], ""))
		}},
		{"lists everything", func(dice *rand.Rand) {
			paths := []string{"/api/cron/jobs?limit=200", "/api/cron/runs?limit=100", "/api/cron/upcoming", "/api/cron/audit?limit=100", "/api/cron/status",
				"/api/cron/doctor", "/api/cron/export", "/api/sessions/agent:mallory:long?limit=200", "/api/cron/jobs?match=" + private, "/api/cron/runs?match=" + private, "/api/cron/audit?target=long", "/readyz?full=true",
				"/api/cron/jobs?agentId=ada", "/api/cron/jobs/long/explain"}
			n.see(n.ask(asker, n.token, "GET", paths[dice.IntN(len(paths))], ""))
		}},
		{"reaches for what is not its own", func(dice *rand.Rand) {
			id := fmt.Sprintf("job-%03d", dice.IntN(200))
			calls := [][3]string{{"GET", "/api/cron/jobs/" + id, ""}, {"DELETE", "/api/cron/jobs/" + id, ""}, {"POST", "/api/cron/jobs/" + id + "/run", ""},
				{"POST", "/api/cron/jobs/" + id + "/pause", ""}, {"PATCH", "/api/cron/jobs/" + id, `{"enabled":false}`},
				{"GET", "/api/cron/jobs/" + id + "/runs", ""}, {"GET", "/api/cron/jobs/" + id + "/explain", ""},
				{"GET", "/api/sessions/agent:ada:main", ""}, {"POST", "/api/cron/all/pause", `{}`}, {"GET", "/api/cron/tokens", ""}}
			c := calls[dice.IntN(len(calls))]
			n.see(n.ask(asker, n.token, c[0], c[1], c[2]))
		}},
		{"makes jobs and changes them", func(dice *rand.Rand) {
			id := fmt.Sprint("m", dice.IntN(60))
			task := []string{"long", "slow", "x"}[dice.IntN(3)]
			calls := [][3]string{{"POST", "/api/cron/jobs", `{"id":"` + id + `","every":10,"task":"` + task + `"}`}, {"POST", "/api/cron/jobs/" + id + "/run", ""},
				{"PATCH", "/api/cron/jobs/" + id, `{"name":"n` + fmt.Sprint(dice.IntN(9)) + `"}`}, {"DELETE", "/api/cron/jobs/" + id, ""},
				{"POST", "/api/cron/runs/" + own(dice) + "/redeliver", ""}, {"POST", "/api/cron/runs/" + own(dice) + "/cancel", ""}}
			c := calls[dice.IntN(len(calls))]
			n.see(n.ask(asker, n.token, c[0], c[1], c[2]))
		}},
		{"calls the tools", func(dice *rand.Rand) {
			tool := []string{"list_cron_jobs", "list_cron_runs", "get_cron_status"}[dice.IntN(3)]
			n.see(n.ask(asker, n.token, "POST", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`","arguments":{}}}`))
		}},
		{"sends nonsense", func(dice *rand.Rand) {
			junk := make([]byte, dice.IntN(2<<20))
			for i := range junk {
				junk[i] = byte(dice.Uint32())
			}
			n.see(n.ask(asker, n.token, "POST", "/api/cron/jobs", string(junk)))
		}},
	}
}

// rage does one thing after the other.
func (n *neighbour) rage(dice *rand.Rand) {
	things := n.things()
	for time.Now().Before(n.until) {
		thing := things[dice.IntN(len(things))]
		thing.do(dice)
		n.mu.Lock()
		n.done[thing.name]++
		n.mu.Unlock()
		<-time.After(time.Duration(dice.IntN(60)) * time.Millisecond)
	}
}

func (n *neighbour) dial(from string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	return d.DialContext(n.t.Context(), "tcp4", n.addr)
}

// hold leaves a connection open on which so much was written, and reads nothing of it; the
// oldest of too many it gives up.
func (n *neighbour) hold(from, said string) {
	c, err := n.dial(from)
	if err != nil {
		return // refused, as it should be
	}
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10) // as the kernel likes
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(c, said) // fails where it is refused
	n.mu.Lock()
	defer n.mu.Unlock()
	most := mostHeld
	if from == owner {
		most = 150 // or nobody else would have a connection
	}
	if n.held[from] = append(n.held[from], c); len(n.held[from]) > most {
		n.held[from][0].Close()
		n.held[from] = n.held[from][1:]
	}
}

// letGo looks at what has come on the connections that are held, and closes them.
func (n *neighbour) letGo() {
	part := make([]byte, 1<<20)
	for _, held := range n.held {
		for _, c := range held {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond)) // what has come is there
			got, _ := io.ReadFull(c, part)
			n.see(0, part[:got])
			c.Close()
		}
	}
}

// ask makes a call by a connection of its own; the status is 0 if nothing comes back.
func (n *neighbour) ask(from, token, method, path, body string) (int, []byte) {
	c, err := n.dial(from)
	if err != nil {
		return 0, nil
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // of an open connection
	req, err := http.NewRequestWithContext(context.WithoutCancel(n.t.Context()), method, n.api.URL+path, strings.NewReader(body))
	if err != nil {
		n.t.Error(err)
		return 0, nil
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Authorization", "Bearer "+token)
	req.Close = true
	if err := req.Write(c); err != nil {
		return 0, nil
	}
	res, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		return 0, nil
	}
	defer res.Body.Close()
	content, _ := io.ReadAll(io.LimitReader(res.Body, 64<<20)) // what came is looked at
	return res.StatusCode, content
}

// see looks for what it should not be told.
func (n *neighbour) see(status int, body []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.statuses[status]++
	for _, secret := range []string{private, `"ada"`} {
		if i := bytes.Index(body, []byte(secret)); i >= 0 {
			n.leaked = append(n.leaked, fmt.Sprintf("%d %.300s", status, body[max(0, i-100):]))
		}
	}
}

// resident is the memory of a process, in KiB; 0 where that cannot be read.
func resident(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0]) // 0 as well
			return kib
		}
	}
	return 0
}
