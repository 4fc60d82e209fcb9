package e2e

import (
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// runView is what the API says of a run.
type runView struct {
	ID, Outcome, Reason, Reply, Delivery string
	Slot, LastSlot                       job.Millis
	Count                                int
	Attempts                             []struct{ Result string }
}

func (p *process) runs(id string) []runView {
	p.t.Helper()
	var list struct{ Runs []runView }
	if status := p.call("GET", "/api/cron/jobs/"+id+"/runs?limit=100", "", &list); status != 200 {
		p.t.Fatalf("runs: %d", status)
	}
	return list.Runs
}

// What a newcomer does: serve on a machine of its own, a job over the API, the
// message, the session, the history; then a kill, a restart, and a slot missed
// while it was down.
func TestServeAloneSurvivesKillAndRestart(t *testing.T) {
	t.Parallel()
	w := alone(t)
	w.standIns(nil)

	serve := w.start("serve")
	w.at(nextMinute(0).Add(2 * time.Second))
	id := serve.create(map[string]any{"schedule": "* * * * *", "agent_id": "main", "session_key": "agent:main:telegram:dm:123",
		"channel": "telegram", "chat_id": "123", "peer_id": "123", "is_group": false, "task": "Morning summary"})
	w.until("the first message", 2*time.Minute, func() bool { return w.channel.Count() == 1 })
	w.until("it is on record", time.Minute, func() bool {
		runs := serve.runs(id)
		return len(runs) == 1 && runs[0].Delivery == "delivered"
	})
	first := serve.runs(id)[0]
	if first.Outcome != "succeeded" || first.Reply != "Echo: Morning summary" || len(first.Attempts) != 1 {
		t.Errorf("first run %+v", first)
	}
	session := func(p *process) (texts []string) {
		var s struct{ Messages []struct{ Role, Text string } }
		p.call("GET", "/api/sessions/"+url.PathEscape("agent:main:telegram:dm:123"), "", &s)
		for _, m := range s.Messages {
			texts = append(texts, m.Role+": "+m.Text)
		}
		return texts
	}
	if got := strings.Join(session(serve), " | "); got != "user: Morning summary | assistant: Echo: Morning summary" {
		t.Errorf("session %q", got)
	}

	serve.Kill()
	serve = w.start("serve")
	if runs := serve.runs(id); len(runs) != 1 || runs[0].ID != first.ID {
		t.Errorf("history after a kill: %+v", runs)
	}
	if got := len(session(serve)); got != 2 {
		t.Errorf("%d messages of the session after a kill", got)
	}
	w.until("the second message", 2*time.Minute, func() bool { return w.channel.Count() == 2 })
	w.at(time.Now().Truncate(time.Second).Add(2 * time.Second))
	serve.Stop()

	w.at(nextMinute(0).Add(10 * time.Second)) // a slot passes
	serve = w.start("serve")
	ready := time.Now()
	w.until("the missed slot ran", time.Minute, func() bool { return w.channel.Count() == 3 })
	t.Logf("the missed slot was delivered %s after the restart", time.Since(ready).Round(10*time.Millisecond))
	w.until("it is on record", time.Minute, func() bool {
		runs := serve.runs(id)
		return len(runs) == 3 && runs[0].Delivery == "delivered"
	})
	for n, r := range serve.runs(id) {
		if want := first.Slot + job.Millis(2-n)*60_000; r.Slot != want || r.Outcome != "succeeded" || r.Count > 1 {
			t.Errorf("record %d: %+v, want the slot %s", n, r, want.Time())
		}
	}
	w.quietCalls(3)
	serve.Stop()
}

// quietCalls holds the counts of both stand-ins: one call and one message a slot.
func (w *world) quietCalls(want int) {
	w.t.Helper()
	seen := map[string]int{}
	for _, c := range w.ai.Calls() {
		seen[c.IdempotencyKey]++
	}
	for run, n := range seen {
		if n != 1 {
			w.t.Errorf("%d calls for %s", n, run)
		}
	}
	if len(seen) != want || w.channel.Count() != want {
		b, _ := json.Marshal(w.channel.Messages())
		w.t.Errorf("%d runs called, %d messages, want %d: %s", len(seen), w.channel.Count(), want, b)
	}
}

// TestServeSurvivesItsRedis: the embedded redis-server is killed in the middle of a turn.
// The API stays, the turn goes on, and its reply is committed and delivered, after one call.
func TestServeSurvivesItsRedis(t *testing.T) {
	t.Parallel()
	w := alone(t)
	called, finish := make(chan struct{}, 8), make(chan struct{})
	w.standIns(func(standin.ChatCall) standin.Answer {
		called <- struct{}{}
		<-finish
		return standin.Answer{Text: "the turn went on"}
	})
	serve := w.start("serve")
	id := serve.create(map[string]any{"schedule": "0 0 1 1 *", "channel": "telegram", "chat_id": "123", "task": "long"})
	if status := serve.call("POST", "/api/cron/jobs/"+id+"/run", "", nil); status != 202 {
		t.Fatalf("run: %d", status)
	}
	<-called

	api := func() int { return serve.call("GET", "/api/cron/jobs/"+id, "", nil) } // fails the test if the port is closed
	w.killRedis()
	w.until("redis is back", time.Minute, func() bool { return api() == 200 })

	// Now away for as long as it takes, with the end of the turn in between.
	data := filepath.Join(w.stateDir, "redis", "appendonlydir")
	if err := os.Rename(data, data+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(data, nil, 0o600); err != nil { // where it is no directory, redis-server does not start
		t.Fatal(err)
	}
	w.killRedis()
	w.until("the API says that the store is away", time.Minute, func() bool { return api() == 503 })
	close(finish)
	w.until("it is tried again", time.Minute, func() bool {
		return strings.Count(serve.Log.String(), "redis ended, it is started again") > 3
	})
	if status := serve.call("GET", "/health", "", nil); status != 200 {
		t.Errorf("health without Redis: %d", status)
	}
	if err := errors.Join(os.Remove(data), os.Rename(data+".away", data)); err != nil {
		t.Fatal(err)
	}
	w.until("the reply is delivered", 2*time.Minute, func() bool { return w.channel.Count() == 1 })
	w.until("it is on record", time.Minute, func() bool {
		var list struct{ Runs []runView }
		return serve.call("GET", "/api/cron/jobs/"+id+"/runs", "", &list) == 200 && list.Runs[0].Delivery == "delivered"
	})
	if r := serve.runs(id)[0]; r.Outcome != "succeeded" || r.Reply != "the turn went on" || len(r.Attempts) != 1 {
		t.Errorf("run %+v", r)
	}
	w.quietCalls(1)
	serve.Stop()
}

// killRedis kills the embedded redis-server, which has noted its pid in its lock.
func (w *world) killRedis() {
	w.t.Helper()
	note, err := os.ReadFile(filepath.Join(w.stateDir, "redis", "redis.lock"))
	if err != nil {
		w.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(note)))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		w.t.Fatal(err)
	}
}
