package handlers

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

const stopped = "nothing new is taken"

// replace puts another worker in the place of the one that ended.
func (f *fixture) replace() {
	f.t.Helper()
	f.worker = New(f.opts)
	f.serve()
}

// A stop lets running turns finish within the grace, and starts nothing.
func TestStopWithinTheGrace(t *testing.T) {
	turn := newHold(t)
	f := setup(t, setupOptions{turns: 1, grace: patience, reply: func(standin.ChatCall) standin.Answer { turn.wait(); return standin.Answer{} }})
	running, run := f.due("running", toChat())
	pending, later := f.due("pending", rarely())
	stop, ended := f.serve()
	f.enqueue(running)
	receive(f, "the call", turn.arrived)
	f.enqueue(pending)
	stop()
	f.awaitLog(stopped)
	turn.letGo()
	receive(f, "the end of the worker", ended)
	if r := f.record(run); r.Outcome != job.Succeeded || r.DeliveryState != job.DeliveryPending {
		t.Errorf("the running turn: %s, delivery %s", r.Outcome, r.DeliveryState)
	}
	if f.ai.Count() != 1 || f.chat.Count() != 0 {
		t.Errorf("%d calls and %d messages before the worker ended", f.ai.Count(), f.chat.Count())
	}

	// Both carriers wait in their queues for the next worker.
	f.replace()
	f.await("the delivery", func() bool { return f.record(run).DeliveryState == job.DeliveryDelivered })
	f.await("the pending slot", func() bool {
		r, err := f.store.Run(f.ctx, later)
		return err == nil && r.Outcome == job.Succeeded
	})
	if f.ai.Count() != 2 || f.chat.Count() != 1 {
		t.Errorf("%d calls, %d messages", f.ai.Count(), f.chat.Count())
	}
}

// Past the grace a turn is cut: whether the agent acted is unknown, and the job
// says what follows.
func TestStopPastTheGrace(t *testing.T) {
	turn := newHold(t)
	f := setup(t, setupOptions{turns: 2, grace: time.Millisecond, reply: func(standin.ChatCall) standin.Answer { turn.wait(); return standin.Answer{} }})
	retried, first := f.due("retried", rarely())
	spec := rarely()
	spec.OnAmbiguous = job.OnAmbiguousFail
	given, second := f.due("given-up", spec)
	stop, ended := f.serve()
	f.enqueue(retried)
	f.enqueue(given)
	receive(f, "a call", turn.arrived)
	receive(f, "another call", turn.arrived)
	pending, later := f.due("pending", rarely())
	f.enqueue(pending)
	stop()
	receive(f, "the end of the worker", ended)

	f.wantFailed(second, job.ResultAmbiguous, job.CauseShutdown, 0)
	r := f.record(first)
	if a := r.Attempts[0]; a.Result != job.ResultAmbiguous || a.Cause != job.CauseShutdown || r.State != job.StateWaiting || r.NotBefore != a.EndedAt {
		t.Errorf("%s until %d after attempt %+v, want an immediate retry", r.State, r.NotBefore, a)
	}
	if n := f.number(key("run", first), "retries"); n != 1 || f.ai.Count() != 2 {
		t.Errorf("%d retries used up, %d calls", n, f.ai.Count())
	}

	turn.letGo()
	f.replace()
	for _, run := range []string{first, later} {
		f.await("run "+run, func() bool {
			r, err := f.store.Run(f.ctx, run)
			return err == nil && r.Outcome == job.Succeeded
		})
	}
	if r := f.record(second); r.Outcome != job.Failed || f.ai.Count() != 4 {
		t.Errorf("given up: %s, %d calls", r.Outcome, f.ai.Count())
	}
}

// A turn that is cut before its call has used nothing up.
func TestStopBeforeTheCall(t *testing.T) {
	asked := make(chan struct{}, 1)
	f := setup(t, setupOptions{grace: time.Millisecond, front: sessions(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})})
	slot, run := f.due("a", rarely())
	stop, ended := f.serve()
	f.enqueue(slot)
	receive(f, "the question for the session", asked)
	stop()
	receive(f, "the end of the worker", ended)
	r := f.record(run)
	if a := r.Attempts[0]; a.Result != job.ResultFailed || a.Cause != job.CauseShutdown || r.State != job.StateWaiting || r.NotBefore != a.EndedAt {
		t.Errorf("%s until %d after attempt %+v, want an immediate retry", r.State, r.NotBefore, a)
	}
	if n := f.number(key("run", run), "retries"); n != 0 || f.ai.Count() != 0 {
		t.Errorf("%d retries used up, %d calls", n, f.ai.Count())
	}
}

// A send that is cut may have arrived.
func TestStopCutsASend(t *testing.T) {
	send := newHold(t)
	f := setup(t, setupOptions{grace: time.Millisecond, send: func(standin.Message) standin.Answer { send.wait(); return standin.Answer{} }})
	run := f.committed("a", toChat())
	stop, ended := f.serve()
	receive(f, "the message", send.arrived)
	stop()
	receive(f, "the end of the worker", ended)
	if d := f.delivery(run); d.State != job.DeliveryUnknown || d.Error == "" {
		t.Errorf("delivery %+v", d)
	}
	send.letGo()
	f.worker = New(f.opts)
	if err := f.deliver(run); err != nil || f.chat.Count() != 1 {
		t.Errorf("the carrier again: %v, %d messages", err, f.chat.Count())
	}
}

// asynq forgets a handler whose task lease ran out; it still counts, and is waited
// for.
func TestCrew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(1)
		leave := make(chan struct{})
		handler := c.handler(func(context.Context, *asynq.Task) error { <-leave; return nil })
		first := side(func() error { return handler.ProcessTask(t.Context(), nil) })
		synctest.Wait()

		forgotten, forget := context.WithCancel(t.Context())
		second := side(func() error { return handler.ProcessTask(forgotten, nil) })
		gone := side(func() bool { c.wait(); return true })
		synctest.Wait()
		select {
		case <-second:
			t.Error("two at work in a crew of one")
		case <-gone:
			t.Error("nobody is waited for")
		default:
		}
		forget()
		wantGivenBack(t, "the second", <-second, time.Second)
		close(leave)
		must(t, <-first)
		<-gone
		must(t, handler.ProcessTask(t.Context(), nil)) // the place is free again
	})
}
