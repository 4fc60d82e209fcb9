package judge

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const t0 = int64(1_790_000_040_000) // a whole minute

// at is the nth minute after t0, and some milliseconds.
func at(n int, ms int64) int64 { return t0 + int64(n)*minute + ms }

// clean is a log in which everything went well: two jobs of every minute with one
// session, three slots; job a into a chat with keys, job b into one without, in
// two parts.
func clean() *Log {
	l := &Log{Until: at(4, 0)}
	session := Session{Key: "s"}
	var heard []string
	for i, id := range []string{"a", "b"} {
		j := Job{ID: id, Name: "job " + id, Misfire: "run_once", GraceMillis: 3_600_000, Overlap: "skip", OnAmbiguous: "retry", MaxRetries: 3,
			Channel: "chat", ChatID: id, Listed: true, Definitions: []Definition{
				{Sent: at(0, int64(i)), Acked: at(0, int64(i)), Schedule: "* * * * *", Enabled: true, Task: "do"},
				{Sent: at(3, 30_000), Acked: at(3, 30_010), Schedule: "0 0 1 1 *", Enabled: true, Task: "do"},
			}}
		if id == "b" {
			j.Channel = "telegram"
		}
		l.Jobs = append(l.Jobs, j)
	}
	n := 0
	for slot := 1; slot <= 3; slot++ {
		for i, id := range []string{"a", "b"} {
			n++
			run := fmt.Sprintf("%s:%d", id, at(slot, 0)/1000)
			nonce, begin := fmt.Sprintf("n-%d", n), at(slot, int64(1000*i))
			l.Calls = append(l.Calls, Call{N: n, At: begin + 10, Process: "worker-1.1", Run: run, Session: "s", Task: "do",
				Nonce: nonce, Heard: slices.Clone(heard), EndedAt: begin + 500, How: HowOK})
			heard = append(heard, nonce)
			r := Run{ID: run, JobID: id, Trigger: "schedule", State: "done", Outcome: "succeeded", Slot: at(slot, 0), SessionKey: "s",
				CreatedAt: begin, StartedAt: begin, FinishedAt: begin + 510, Reply: nonce + " hello", Delivery: "delivered",
				Attempts: []Attempt{{N: 1, StartedAt: begin, EndedAt: begin + 510, Result: "succeeded"}}}
			d := Delivery{N: 1, State: "delivered", Attempts: 1, Parts: 1 + i}
			for part := range d.Parts {
				m := Message{N: 10*n + part, At: begin + 600 + int64(part), Process: "worker-2.1", Channel: l.Jobs[i].Channel, ChatID: id,
					MessageID: fmt.Sprintf("m%d", 10*n+part), Nonce: nonce, First: part + 1, Last: part + 1, Lines: d.Parts,
					Delivered: true, EndedAt: begin + 650, How: HowOK}
				if id == "a" {
					m.Key = run + ":1:0"
				}
				d.MessageIDs = append(d.MessageIDs, m.MessageID)
				l.Messages = append(l.Messages, m)
			}
			r.Deliveries = []Delivery{d}
			l.Runs = append(l.Runs, r)
			session.Messages = append(session.Messages, struct {
				Role  string `json:"role"`
				Text  string `json:"text"`
				RunID string `json:"runId"`
			}{"assistant", r.Reply, run})
		}
	}
	l.Sessions = []Session{session}
	return l
}

// run, call and message find those of a job's nth slot.
func (l *Log) run(job string, slot int) *Run {
	i := slices.IndexFunc(l.Runs, func(r Run) bool { return r.JobID == job && r.Slot == at(slot, 0) })
	return &l.Runs[i]
}

func (l *Log) call(job string, slot int) *Call {
	i := slices.IndexFunc(l.Calls, func(c Call) bool { return c.Run == l.run(job, slot).ID })
	return &l.Calls[i]
}

func (l *Log) message(job string, slot int) *Message {
	nonce := l.call(job, slot).Nonce
	i := slices.IndexFunc(l.Messages, func(m Message) bool { return m.Nonce == nonce })
	return &l.Messages[i]
}

// again adds a second call for a run, at an instant, with a reply of its own.
func (l *Log) again(job string, slot int, when int64) *Call {
	c := *l.call(job, slot)
	c.N, c.At, c.EndedAt, c.Nonce, c.Process = c.N+1000, when, when+100, "n-again", "worker-3.1"
	c.Heard = nil
	c.Kept = true
	l.Calls = append(l.Calls, c)
	r := l.run(job, slot)
	r.Attempts = append(r.Attempts, Attempt{N: 2, StartedAt: when, EndedAt: when + 100, Result: "succeeded"})
	return &l.Calls[len(l.Calls)-1]
}

// remove takes a run out of the log as if it had never been.
func (l *Log) remove(job string, slot int) {
	id, nonce := l.run(job, slot).ID, l.call(job, slot).Nonce
	l.Runs = slices.DeleteFunc(l.Runs, func(r Run) bool { return r.ID == id })
	l.Calls = slices.DeleteFunc(l.Calls, func(c Call) bool { return c.Run == id })
	l.Messages = slices.DeleteFunc(l.Messages, func(m Message) bool { return m.Nonce == nonce })
	for i := range l.Calls {
		l.Calls[i].Heard = slices.DeleteFunc(l.Calls[i].Heard, func(n string) bool { return n == nonce })
	}
	s := &l.Sessions[0]
	kept := s.Messages[:0]
	for _, m := range s.Messages {
		if m.RunID != id {
			kept = append(kept, m)
		}
	}
	s.Messages = kept
}

// fails makes a run one that got a refusal and no reply.
func (l *Log) fails(job string, slot int) {
	r, c := *l.run(job, slot), *l.call(job, slot)
	l.remove(job, slot)
	r.Outcome, r.Reply, r.Delivery, r.Deliveries = "failed", "", "not_requested", nil
	r.Attempts[0].Result, c.How = "failed", HowRefused
	l.Runs, l.Calls = append(l.Runs, r), append(l.Calls, c)
}

// empties makes a run one whose turn ended without a text.
func (l *Log) empties(job string, slot int) {
	r, c := *l.run(job, slot), *l.call(job, slot)
	l.remove(job, slot)
	r.Reply, r.Empty, r.Delivery, r.Deliveries, c.How = "", true, "suppressed", nil, HowEmpty
	l.Runs, l.Calls = append(l.Runs, r), append(l.Calls, c)
}

// alerts makes runs of a job fail; of the last one there is an alert.
func (l *Log) alerts(job string, slots ...int) *Message {
	chat := *l.message(job, slots[0])
	for _, slot := range slots {
		l.fails(job, slot)
	}
	r := l.run(job, slots[len(slots)-1])
	r.Deliveries = []Delivery{{N: 1, Kind: "alert", State: "delivered", Attempts: 1, Parts: 1, MessageIDs: []string{"alert"}}}
	if chat.Key != "" {
		chat.Key = "alert:1"
	}
	chat.N, chat.At, chat.MessageID, chat.Nonce, chat.Alert = 9000, r.FinishedAt+10, "alert", "it failed", true
	l.Messages = append(l.Messages, chat)
	return &l.Messages[len(l.Messages)-1]
}

// tellsFailuresOnly makes a job one that keeps its replies to itself.
func (l *Log) tellsFailuresOnly(job string) {
	for i := range l.Jobs {
		if l.Jobs[i].ID == job {
			l.Jobs[i].Deliver = "on_failure"
		}
	}
	for i := range l.Runs {
		if r := &l.Runs[i]; r.JobID == job && r.Outcome == "succeeded" {
			r.Delivery, r.Deliveries = "not_requested", nil
		}
	}
	l.Messages = slices.DeleteFunc(l.Messages, func(m Message) bool { return m.ChatID == job && !m.Alert })
}

// cancels makes a run one that was cancelled for its successor at an instant.
func (l *Log) cancels(job string, slot int, when int64) {
	l.fails(job, slot)
	r, c := l.run(job, slot), l.call(job, slot)
	r.Outcome, r.Reason, r.FinishedAt, c.How, c.Kept = "cancelled", "overlap", when, HowHungUp, true
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Log)
		want   []string // the kinds of violations, without repetitions
	}{
		{name: "clean", change: func(*Log) {}},

		// Slots and records.
		{"a slot is missing", func(l *Log) { l.remove("b", 2) }, []string{"slot without an outcome"}},
		{"the last slot is missing", func(l *Log) { l.remove("a", 3) }, []string{"slot without an outcome"}},
		{"a run never ended", func(l *Log) { l.run("b", 3).State, l.run("b", 3).Outcome = "running", "" },
			[]string{"phantom message", "slot without an outcome", "transcript"}},
		{"a range stands for a missing slot", func(l *Log) {
			l.remove("b", 2)
			l.Runs = append(l.Runs, Run{ID: "b:range", JobID: "b", Trigger: "schedule", State: "done", Outcome: "missed", Reason: "superseded", Slot: at(2, 0)})
		}, nil},
		{"a range of two", func(l *Log) {
			l.remove("b", 1)
			l.remove("b", 2)
			l.Runs = append(l.Runs, Run{ID: "b:range", JobID: "b", Trigger: "schedule", State: "done", Outcome: "missed", Reason: "superseded",
				Slot: at(1, 0), LastSlot: at(2, 0), Count: 2})
		}, nil},
		{"a range that miscounts", func(l *Log) {
			l.remove("b", 1)
			l.remove("b", 2)
			l.Runs = append(l.Runs, Run{ID: "b:range", JobID: "b", Trigger: "schedule", State: "done", Outcome: "missed", Reason: "superseded",
				Slot: at(1, 0), LastSlot: at(2, 0), Count: 3})
		}, []string{"wrong range"}},
		{"a range over a slot that ran", func(l *Log) {
			l.remove("b", 1)
			l.Runs = append(l.Runs, Run{ID: "b:range", JobID: "b", Trigger: "schedule", State: "done", Outcome: "missed", Reason: "superseded",
				Slot: at(1, 0), LastSlot: at(2, 0), Count: 2})
		}, []string{"slot recorded twice"}},
		{"one id twice", func(l *Log) { l.Runs = append(l.Runs, *l.run("a", 2)) }, []string{"slot recorded twice", "transcript"}},
		{"a record beyond the end of the schedule", func(l *Log) {
			l.Runs = append(l.Runs, Run{ID: "a:later", JobID: "a", Trigger: "schedule", State: "done", Outcome: "skipped", Reason: "overlap", Slot: at(4, 0)})
		}, []string{"phantom run"}},
		{"a record before the job", func(l *Log) {
			l.Runs = append(l.Runs, Run{ID: "a:earlier", JobID: "a", Trigger: "schedule", State: "done", Outcome: "missed", Reason: "stale", Slot: at(0, 0)})
		}, []string{"phantom run"}},
		{"a manual run nobody asked for", func(l *Log) {
			l.Runs = append(l.Runs, Run{ID: "a:manual:1", JobID: "a", Trigger: "manual", State: "done", Outcome: "failed"})
		}, []string{"phantom run"}},
		{"a manual run", func(l *Log) {
			l.Jobs[0].Manual = 1
			l.Runs = append(l.Runs, Run{ID: "a:manual:1", JobID: "a", Trigger: "manual", State: "done", Outcome: "failed"})
		}, nil},
		{"a manual run that was acknowledged", func(l *Log) {
			l.Jobs[0].Manual, l.Jobs[0].Started = 2, []string{"a:manual:1"}
			l.Runs = append(l.Runs, Run{ID: "a:manual:1", JobID: "a", Trigger: "manual", State: "done", Outcome: "failed"})
		}, nil},
		{"a manual run was acknowledged and is lost, another one is there", func(l *Log) {
			l.Jobs[0].Manual, l.Jobs[0].Started = 2, []string{"a:manual:2"}
			l.Runs = append(l.Runs, Run{ID: "a:manual:1", JobID: "a", Trigger: "manual", State: "done", Outcome: "failed"})
		}, []string{"run lost"}},
		{"a run of the schedule was acknowledged as a manual one", func(l *Log) {
			l.Jobs[0].Manual, l.Jobs[0].Started = 1, []string{l.run("a", 2).ID}
		}, []string{"run lost"}},
		{"a run of an unknown job", func(l *Log) {
			l.Runs = append(l.Runs, Run{ID: "z:1", JobID: "z", Trigger: "schedule", State: "done", Outcome: "failed", Slot: at(1, 0)})
		}, []string{"phantom run"}},

		// Turns without a text.
		{"an empty reply", func(l *Log) { l.empties("b", 2) }, nil},
		{"an empty reply that no call had", func(l *Log) { l.empties("b", 2); l.call("b", 2).How = HowRefused }, []string{"foreign reply"}},
		{"no reply, and not on record as empty", func(l *Log) { l.empties("b", 2); l.run("b", 2).Empty = false }, []string{"delivery lost", "foreign reply", "transcript"}},
		{"an empty reply is delivered", func(l *Log) {
			m := *l.message("b", 2)
			l.empties("b", 2)
			l.Messages = append(l.Messages, m)
		}, []string{"phantom message"}},
		{"an empty reply has a delivery", func(l *Log) {
			l.empties("b", 2)
			l.run("b", 2).Deliveries = []Delivery{{N: 1, Kind: "reply", State: "failed"}}
		}, []string{"phantom message"}},
		{"an empty reply is in the session", func(l *Log) {
			l.empties("b", 2)
			m := l.Sessions[0].Messages[0]
			m.Text, m.RunID = "", l.run("b", 2).ID
			l.Sessions[0].Messages = append(l.Sessions[0].Messages, m)
		}, []string{"transcript"}},
		{"an empty message is sent along", func(l *Log) { l.empties("b", 2); l.call("b", 3).Heard = append(l.call("b", 3).Heard, "") }, []string{"transcript"}},
		{"the turn is made again", func(l *Log) {
			c := l.again("b", 2, l.call("b", 2).EndedAt+5)
			l.call("b", 2).How, l.run("b", 2).Attempts[0].Result = HowEmpty, "failed"
			l.run("b", 2).Attempts[0].EndedAt = l.call("b", 2).EndedAt + 1
			l.run("b", 2).Reply, l.run("b", 2).FinishedAt = c.Nonce+" hello", c.EndedAt+1
		}, []string{"call repeated", "transcript", "two replies"}},

		// Alerts.
		{"two failures, and an alert", func(l *Log) { l.alerts("a", 1, 2) }, nil},
		{"the same without a key", func(l *Log) { l.alerts("b", 1, 2) }, nil},
		{"refused once", func(l *Log) {
			again := *l.alerts("a", 1, 2)
			again.N, again.MessageID, again.How = 9001, "x", HowRefused
			l.Messages = append(l.Messages, again)
		}, nil},
		{"one failure, and an alert", func(l *Log) { l.alerts("a", 2) }, []string{"needless alert"}},
		{"one failure that would come again", func(l *Log) {
			l.alerts("a", 2)
			l.run("a", 2).Attempts[0].Error = "ai-server answered 404: no such agent"
		}, nil},
		{"one failure by a reply that is too large", func(l *Log) {
			l.alerts("a", 2)
			l.run("a", 2).Attempts[0].Error = "the reply is larger than 1048576 bytes"
		}, nil},
		{"one failure of a server that may recover", func(l *Log) {
			l.alerts("a", 2)
			l.run("a", 2).Attempts[0].Error = "ai-server answered 429: later"
		}, []string{"needless alert"}},
		{"one failure, and no other slot", func(l *Log) { l.alerts("a", 3) }, nil},
		{"one alert for two failures of two jobs of a chat", func(l *Log) {
			told := *l.alerts("a", 3)
			l.fails("b", 3)
			l.run("b", 3).Deliveries = []Delivery{{N: 1, Kind: "alert", State: "delivered", MessageIDs: []string{told.MessageID}}}
		}, nil},
		{"an alert, and that it is over", func(l *Log) {
			over := *l.alerts("a", 1, 2)
			over.N, over.MessageID, over.Key, over.At = 9001, "over", "", over.At+60_000
			l.Messages = append(l.Messages, over)
		}, nil},
		{"an alert, and another within the minute", func(l *Log) {
			over := *l.alerts("a", 1, 2)
			over.N, over.MessageID, over.Key, over.At = 9001, "over", "", over.At+50_000
			l.Messages = append(l.Messages, over)
		}, []string{"alert too soon"}},
		{"a missed slot, and word of it", func(l *Log) {
			told := *l.alerts("b", 2)
			l.remove("b", 2)
			told.Channel, told.ChatID = l.Jobs[1].Channel, l.Jobs[1].ChatID
			l.Messages[len(l.Messages)-1] = told
			l.Runs = append(l.Runs, Run{ID: "b:range", JobID: "b", Trigger: "schedule", State: "done", Outcome: "missed", Reason: "stale", Slot: at(2, 0)})
		}, nil},
		{"one failure of a job that tells of each", func(l *Log) { l.alerts("a", 2); l.tellsFailuresOnly("a") }, nil},
		{"a reply of such a job", func(l *Log) { l.Jobs[0].Deliver = "on_failure" }, []string{"phantom message"}},
		{"a success between two failures", func(l *Log) {
			l.alerts("a", 1, 3)
			l.Runs = append(l.Runs, Run{ID: "a:later", JobID: "a", Trigger: "schedule", State: "done", Outcome: "skipped", Reason: "overlap", Slot: at(4, 0)})
		}, []string{"needless alert", "phantom run"}}, // which it is as well, but another slot
		{"an alert of a success", func(l *Log) { l.run("a", 3).Deliveries[0].Kind = "alert" }, []string{"false delivered", "needless alert"}},
		{"an alert that is not on record", func(l *Log) { l.alerts("a", 1, 2); l.run("a", 2).Deliveries = nil }, []string{"phantom alert"}},
		{"nor without a key", func(l *Log) { l.alerts("b", 1, 2); l.run("b", 2).Deliveries = nil }, []string{"phantom alert"}},
		{"an alert comes twice", func(l *Log) {
			again := *l.alerts("a", 1, 2)
			again.N = 9001
			l.Messages = append(l.Messages, again)
		}, []string{"alert too soon", "alert twice"}},
		{"two alerts of a run", func(l *Log) {
			l.alerts("a", 1, 2)
			r := l.run("a", 2)
			r.Deliveries = append(r.Deliveries, r.Deliveries[0])
		}, []string{"alert twice"}},
		{"an alert that the channel did not confirm", func(l *Log) { l.alerts("a", 1, 2).How = HowReset }, []string{"false delivered"}},
		{"an alert without an end", func(l *Log) { l.alerts("a", 1, 2); l.run("a", 2).Deliveries[0].State = "pending" },
			[]string{"delivery without an outcome"}},

		// Jobs.
		{"a job is lost", func(l *Log) { l.Jobs[0].Listed = false }, []string{"job lost"}},
		{"a deleted job is back", func(l *Log) { l.Jobs[0].Definitions[1].Deleted = true }, []string{"job not gone"}},
		{"a job had its last run", func(l *Log) { l.Jobs[0].MaxRuns, l.Jobs[0].Listed = 3, false }, nil},
		{"a run beyond maxRuns", func(l *Log) { l.Jobs[0].MaxRuns, l.Jobs[0].Listed = 2, false }, []string{"too many runs"}},
		{"a pause that may have come before the last slot", func(l *Log) {
			l.Jobs[1].Definitions[1].Sent, l.Jobs[1].Definitions[1].Acked = at(2, 59_990), at(3, 900)
			l.remove("b", 3)
		}, nil},
		{"a pause that came before a slot which ran", func(l *Log) {
			d := &l.Jobs[1].Definitions[1]
			d.Sent, d.Acked, d.Enabled = at(2, 50_000), at(2, 50_100), false
		}, []string{"old definition", "phantom run"}},
		{"the task of before", func(l *Log) {
			d := &l.Jobs[1].Definitions[1]
			d.Sent, d.Acked, d.Task, d.Schedule = at(2, 30_000), at(2, 30_001), "do better", "* * * * *"
			l.Until = at(3, 59_000)
		}, []string{"old definition"}},

		// Calls.
		{"a call for no record", func(l *Log) {
			c := *l.call("a", 1)
			c.N, c.Run, c.Nonce, c.At, c.Kept, c.EndedAt = 99, "a:7", "n-x", at(3, 40_000), true, at(3, 40_100)
			l.Calls = append(l.Calls, c)
		}, []string{"phantom run"}},
		{"a call for a slot on record as missed", func(l *Log) {
			c := *l.call("b", 2)
			l.remove("b", 2)
			l.Runs = append(l.Runs, Run{ID: c.Run, JobID: "b", Trigger: "schedule", State: "done", Outcome: "missed", Reason: "late", Slot: at(2, 0)})
			c.Kept = true
			l.Calls = append(l.Calls, c)
		}, []string{"phantom run"}},
		{"a call after the commit", func(l *Log) { l.again("b", 2, at(2, 20_000)) }, []string{"call after the end"}},
		{"a call after the message, before the commit on record", func(l *Log) {
			l.run("b", 2).FinishedAt = at(2, 25_000)
			l.again("b", 2, at(2, 20_000))
		}, []string{"call after the end"}},
		{"a call of a process that thawed just now", func(l *Log) {
			l.again("b", 2, at(2, 40_000))
			l.Troubles = append(l.Troubles, Trouble{Kind: Frozen, Process: "worker-3.1", From: at(2, 0), To: at(2, 39_000)})
		}, nil},
		{"a call of another process than the one that thawed", func(l *Log) {
			l.again("b", 2, at(2, 40_000))
			l.Troubles = append(l.Troubles, Trouble{Kind: Frozen, Process: "worker-2.1", From: at(2, 0), To: at(2, 39_000)})
		}, []string{"call after the end"}},
		{"a call after a failure", func(l *Log) {
			l.fails("b", 3)
			l.again("b", 3, at(3, 20_000)).Kept = true
		}, []string{"call after the end"}},
		{"more calls than attempts", func(l *Log) {
			c := l.again("b", 3, at(3, 1005))
			c.EndedAt = c.At + 1
			r := l.run("b", 3)
			r.Attempts = r.Attempts[:1]
		}, []string{"call without an attempt"}},
		{"a call before its slot", func(l *Log) { l.call("a", 1).At = at(1, -1500) }, []string{"call before its time"}},
		{"a run that its misfire policy forbids", func(l *Log) {
			l.Jobs[1].Misfire = "skip"
			l.run("b", 3).CreatedAt = at(4, 500)
		}, []string{"stale run"}},
		{"a second call where the job wants none", func(l *Log) {
			l.Jobs[1].OnAmbiguous = "fail"
			r := l.run("b", 3)
			r.Attempts = append([]Attempt{{N: 1, Result: "ambiguous"}}, r.Attempts...)
		}, []string{"call repeated"}},

		// Replies.
		{"the reply of another run", func(l *Log) { l.run("a", 3).Reply = l.run("a", 2).Reply }, []string{"foreign reply", "transcript", "two replies"}},
		{"a reply that was never answered", func(l *Log) { l.call("a", 3).How = HowHungUp }, []string{"foreign reply"}},
		{"two replies in the chat", func(l *Log) {
			l.run("a", 3).FinishedAt = at(3, 900)
			c := l.again("a", 3, at(3, 505)) // both answered before the commit
			c.EndedAt = c.At + 1
			m := *l.message("a", 3)
			m.N, m.MessageID, m.Nonce, m.Key, m.At = 999, "m999", c.Nonce, m.Key[:len(m.Key)-3]+"2:0", at(3, 1000)
			l.Messages = append(l.Messages, m)
		}, []string{"phantom message", "two replies"}},
		{"two replies in the session", func(l *Log) {
			s := &l.Sessions[0]
			s.Messages = append(s.Messages, s.Messages[5])
		}, []string{"two replies"}},
		{"a reply is not in its session", func(l *Log) {
			s := &l.Sessions[0]
			s.Messages = s.Messages[:5]
		}, []string{"transcript"}},
		{"a session is lost", func(l *Log) { l.Sessions = nil }, []string{"transcript"}},
		{"a session out of order", func(l *Log) {
			m := l.Sessions[0].Messages
			m[2], m[3] = m[3], m[2]
		}, []string{"wrong order"}},
		{"a call that left out what was said before", func(l *Log) { l.call("b", 3).Heard = nil }, []string{"transcript"}},

		// Sessions and order.
		{"two calls of a session at once", func(l *Log) { l.call("a", 2).EndedAt = at(2, 1500) }, []string{"calls overlap"}},
		{"two calls at once, the earlier one's process was cut off", func(l *Log) {
			l.call("a", 2).EndedAt = at(2, 1500)
			l.Troubles = append(l.Troubles, Trouble{Kind: Cut, Process: "worker-1", From: at(2, 0), To: at(2, 900)})
		}, nil},
		{"two calls at once, another process was killed", func(l *Log) {
			l.call("a", 2).EndedAt = at(2, 1500)
			l.Troubles = append(l.Troubles, Trouble{Kind: Killed, Process: "worker-1.2", From: at(2, 900), To: at(2, 900)})
		}, []string{"calls overlap"}},
		{"an earlier slot after a later one", func(l *Log) {
			two, three := l.call("a", 2), l.call("a", 3)
			two.Run, three.Run = three.Run, two.Run
			one, other := l.run("a", 2), l.run("a", 3)
			one.Reply, other.Reply = other.Reply, one.Reply
			one.CreatedAt, other.CreatedAt = other.CreatedAt, one.CreatedAt
			one.FinishedAt, other.FinishedAt = other.FinishedAt, one.FinishedAt
			one.Deliveries, other.Deliveries = other.Deliveries, one.Deliveries
			for i := range l.Messages {
				switch m := &l.Messages[i]; m.Nonce {
				case two.Nonce:
					m.Key = two.Run + ":1:0"
				case three.Nonce:
					m.Key = three.Run + ":1:0"
				}
			}
			for i := range l.Sessions[0].Messages {
				switch m := &l.Sessions[0].Messages[i]; m.RunID {
				case two.Run:
					m.RunID = three.Run
				case three.Run:
					m.RunID = two.Run
				}
			}
		}, []string{"call before its time", "wrong order"}},

		{"a call of a run that was just cancelled for its successor", func(l *Log) {
			l.Jobs[1].Overlap = "cancel_previous"
			l.cancels("b", 3, at(3, 0))
		}, nil},
		{"a call long after its run was cancelled for its successor", func(l *Log) {
			l.Jobs[1].Overlap = "cancel_previous"
			l.cancels("b", 3, at(3, -5000))
		}, []string{"call after the end"}},
		{"a call of a run that was cancelled, which the job does not want", func(l *Log) { l.cancels("b", 3, at(3, 0)) }, []string{"call after the end"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := clean()
			tt.change(l)
			expect(t, l, tt.want)
		})
	}
}

// expect holds the kinds of violations, without repetitions, against what is wanted.
func expect(t *testing.T, l *Log, want []string) {
	t.Helper()
	var kinds []string
	report := Check(*l)
	for _, v := range report.Violations {
		kinds = append(kinds, v.Kind)
	}
	slices.Sort(kinds)
	if diff := cmp.Diff(want, slices.Compact(kinds)); diff != "" {
		t.Errorf("violations (-want +got):\n%s%v", diff, report.Violations)
	}
}

func TestReportAndStory(t *testing.T) {
	l := clean()
	l.Troubles = []Trouble{{Kind: Crashed, Process: "worker-1.1", From: at(2, 100), To: at(2, 100), Detail: "before_call"}}
	l.Cancels = []Cancel{{Run: l.run("b", 2).ID, Asked: at(2, 1800)}}
	report := Check(*l)
	if report.Slots != 6 || report.Outcomes["succeeded"] != 6 || report.PerRun[1] != 6 || report.Deliveries["delivered"] != 6 {
		t.Errorf("report %+v", report)
	}
	for _, want := range []string{"slots expected                     6\n", "p50 10ms, p99 1.01s, max 1.01s", "crashed worker before_call       1\n", "violations                         0\n"} {
		if !strings.Contains(report.Table(), want) {
			t.Errorf("the table lacks %q:\n%s", want, report.Table())
		}
	}
	story := l.Story(l.run("b", 2).ID)
	for _, want := range []string{`record {"id":"b:`, "slot\n", "call 4 by worker-1.1", "message m40 by worker-2.1", "crashed worker-1.1 before_call", "cancel asked for", "run ended as succeeded"} {
		if !strings.Contains(story, want) {
			t.Errorf("the story lacks %q:\n%s", want, story)
		}
	}
}
