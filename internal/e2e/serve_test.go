package e2e

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
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
