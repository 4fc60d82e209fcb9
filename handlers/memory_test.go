package handlers

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// longSession is the size of a stored session whose turn asks for memory.
const longSession = 512 << 10

// Long transcripts wait for room in their order, short ones do not, and one alone has it.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(100)
		type turn struct {
			*holding
			err  error
			room atomic.Bool
		}
		long := func(ctx context.Context, job string, bytes int64) *turn {
			w := &turn{holding: m.open(job)}
			go func() {
				w.err = w.wait(ctx, job, bytes)
				w.room.Store(w.err == nil)
			}()
			synctest.Wait()
			return w
		}
		want := func(held int64, waiting ...string) {
			t.Helper()
			if d := cmp.Diff(waiting, m.whoWaits().Jobs); d != "" || m.held != held {
				t.Errorf("%d bytes are held, waiting: %s", m.held, d)
			}
		}
		short := m.open("a")
		short.set(10)
		first := long(t.Context(), "first", 1000) // alone among the long
		want(1010)
		began := time.Now()
		second := long(t.Context(), "second", 60)
		leaves, leave := context.WithCancelCause(t.Context())
		gone := long(leaves, "gone", 21)
		third := long(t.Context(), "third", 31)
		want(1010, "second", "gone", "third")
		if since := m.whoWaits().Since; !since.Equal(began) {
			t.Errorf("waiting since %v, not %v", since, began)
		}
		other := m.open("a")
		other.set(5) // a short one waits for nothing
		want(1015, "second", "gone", "third")
		first.set(5) // its session was shorter than it was said to be
		want(80, "gone", "third")
		why := errors.New("cut")
		leave(why)
		synctest.Wait()
		if !errors.Is(gone.err, why) {
			t.Errorf("it ended with %v", gone.err)
		}
		want(80, "third")
		first.release()
		want(75, "third") // 75 and 31 are too many
		other.release()
		short.release()
		synctest.Wait()
		want(91)
		if !second.room.Load() || !third.room.Load() {
			t.Error("somebody has no room")
		}
		second.release()
		third.release()
		third.release()
		want(0)
		if len(m.long) != 0 || !m.whoWaits().Since.IsZero() {
			t.Errorf("%v are left, %+v", m.long, m.whoWaits())
		}
	})
}

// The long turns of one agent leave room for those of others, whoever came first.
func TestMemoryOfAnAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(100)
		long := func(agent, job string, bytes int64) *holding {
			h := m.open(agent)
			go func() {
				if err := h.wait(t.Context(), job, bytes); err != nil {
					t.Error(err)
				}
			}()
			synctest.Wait()
			return h
		}
		want := func(waiting ...string) {
			t.Helper()
			synctest.Wait()
			if d := cmp.Diff(waiting, m.whoWaits().Jobs); d != "" {
				t.Errorf("waiting: %s", d)
			}
		}
		a1 := long("a", "a1", 40)
		a2 := long("a", "a2", 20)
		want("a2") // more than half
		a3 := long("a", "a3", 5)
		want("a2", "a3") // it would fit, and a2 might wait for ever
		b1 := long("b", "b1", 45)
		want("a2", "a3")
		c1 := long("c", "c1", 30)
		want("a2", "a3", "c1") // more than there is
		b2 := long("b", "b2", 5)
		want("a2", "a3", "c1", "b2") // it would fit, and c1 might wait for ever
		b1.release()
		want("a2", "a3")
		a1.release()
		want()
		for _, h := range []*holding{a2, a3, b2, c1} {
			h.release()
		}
		if m.held != 0 || len(m.long) != 0 {
			t.Errorf("%d are held, by %v", m.held, m.long)
		}
	})
}

// A turn with a long conversation waits for that of another, in its place and with its
// lease; the whole conversation is sent then.
func TestLongConversationsTakeTurns(t *testing.T) {
	turn := newHold(t)
	f := setup(t, setupOptions{reply: func(c standin.ChatCall) standin.Answer {
		if strings.HasPrefix(c.RunID, "a:") {
			turn.wait()
		}
		return standin.Answer{}
	}})
	f.worker.runs.memory = newMemory(1)
	talk := []standin.ChatMessage{{Role: "user", Text: strings.Repeat("x", longSession)}, {Role: "assistant", Text: "yes"}}
	for _, id := range []string{"a", "b"} {
		f.ai.SetSession("agent:main:cron:"+id, talk, standin.ChatGateway{})
		f.create(id, rarely())
	}
	f.create("short", rarely())
	first, ran := f.manual("a")
	second, waits := f.manual("b")
	short, passes := f.manual("short")
	ended := make(chan error, 2)
	go func() { ended <- f.turn(first) }()
	receive(f, "the first call", turn.arrived)
	go func() { ended <- f.turn(second) }()
	f.await("the second waits", func() bool { return len(f.worker.Waiting().Jobs) == 1 })
	must(t, f.turn(short))
	if r := f.record(passes); r.Outcome != job.Succeeded {
		t.Errorf("the short one %s", r.Outcome)
	}
	if w := f.worker.Waiting(); !cmp.Equal(w.Jobs, []string{"b"}) || w.Since.IsZero() || f.record(waits).State != job.StateRunning {
		t.Errorf("waiting: %+v", w)
	}
	turn.letGo()
	must(t, receive(f, "an end", ended))
	must(t, receive(f, "the other end", ended))
	for _, run := range []string{ran, waits} {
		if r := f.record(run); r.Outcome != job.Succeeded || len(r.Attempts) != 1 {
			t.Errorf("%s: %s after %d attempts", run, r.Outcome, len(r.Attempts))
		}
	}
	if now, _ := f.ai.Session("agent:main:cron:b"); len(now) != 4 || now[0].Text != talk[0].Text {
		t.Errorf("the conversation has %d messages afterwards", len(now))
	}
	if m := f.worker.runs.memory; m.held != 0 || len(m.long) != 0 {
		t.Errorf("%d bytes are still held by %v", m.held, m.long)
	}
}

// A turn that waits when the worker stops uses up no retry.
func TestWaitingTurnIsCut(t *testing.T) {
	f := setup(t, setupOptions{})
	f.worker.runs.memory = newMemory(1)
	other := f.worker.runs.memory.open("another")
	must(t, other.wait(f.ctx, "other", 1))
	f.ai.SetSession("agent:main:cron:a", []standin.ChatMessage{{Role: "user", Text: strings.Repeat("x", longSession)}}, standin.ChatGateway{})
	f.create("a", rarely())
	c, run := f.manual("a")
	ended := make(chan error, 1)
	go func() { ended <- f.turn(c) }()
	f.await("it waits", func() bool { return len(f.worker.Waiting().Jobs) == 1 })
	f.worker.cut(errShutdown)
	must(t, receive(f, "the end", ended))
	if r := f.record(run); r.State != job.StateWaiting || r.Attempts[0].Cause != job.CauseShutdown || f.number(key("run", run), "retries") != 0 {
		t.Errorf("it became %+v", r)
	}
	if f.ai.Count() != 0 {
		t.Error("a call was made")
	}
}
