package handlers

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// TestPauseDuringACall: the call goes on to its chat; what else is in the queue makes
// none, and neither does its slot after the resume.
func TestPauseDuringACall(t *testing.T) {
	turn := newHold(t)
	f := setup(t, setupOptions{reply: func(standin.ChatCall) standin.Answer { turn.wait(); return standin.Answer{} }})
	under, run := f.due("under-way", toChat())
	queued, _ := f.due("queued", toChat())
	f.create("manual", toChat())
	byHand, manual := f.manual("manual")
	done := side(func() error { return f.turn(under) })
	receive(f, "the call", turn.arrived)

	must(t, f.store.Pause(f.ctx, ""))
	if err := f.turn(queued); !errors.Is(err, errGone) {
		t.Errorf("a slot: %v", err)
	}
	must(t, f.turn(byHand))
	if r := f.record(manual); r.Outcome != job.Cancelled || r.Reason != job.ReasonPaused {
		t.Errorf("a manual run is %s(%s)", r.Outcome, r.Reason)
	}
	turn.letGo()
	must(t, receive(f, "the turn", done))
	must(t, f.deliver(run))
	if d := f.delivery(run); d.State != job.DeliveryDelivered {
		t.Errorf("the reply is %s", d.State)
	}

	_, err := f.store.Resume(f.ctx)
	must(t, err)
	if err := f.turn(queued); !errors.Is(err, errGone) {
		t.Errorf("its slot after the resume: %v", err)
	}
	if n := f.ai.Count(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// TestTurnsAreHeld: while none may begin nothing is claimed, so that the slot stays; what is
// under way is committed; and afterwards each runs once.
func TestTurnsAreHeld(t *testing.T) {
	turn := newHold(t)
	var held atomic.Pointer[error]
	f := setup(t, setupOptions{reply: func(standin.ChatCall) standin.Answer { turn.wait(); return standin.Answer{} }})
	f.opts.MayBegin = func() error {
		if err := held.Load(); err != nil {
			return *err
		}
		return nil
	}
	f.worker = New(f.opts)
	defer f.worker.cut(errShutdown)
	under, first := f.due("under-way", toChat())
	slot, second := f.due("slot", toChat())
	f.create("manual", toChat())
	byHand, third := f.manual("manual")
	done := side(func() error { return f.turn(under) })
	receive(f, "the call", turn.arrived)

	errFull := errors.New("the disk is full")
	held.Store(&errFull)
	for name, carrier := range map[string]tasks.Carrier{"a slot": slot, "a run": byHand} {
		if err := f.turn(carrier); !isGivenBack(err) || !errors.Is(err, errFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
	turn.letGo()
	must(t, receive(f, "the turn", done))
	if r := f.record(first); r.Outcome != job.Succeeded {
		t.Errorf("what was under way is %q", r.Outcome)
	}
	if _, err := f.store.Run(f.ctx, second); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("the slot has been claimed: %v", err)
	}
	if n := f.ai.Count(); n != 1 {
		t.Errorf("%d calls while turns are held", n)
	}

	held.Store(nil)
	must(t, f.turn(slot))
	must(t, f.turn(byHand))
	for _, run := range []string{second, third} {
		if r := f.record(run); r.Outcome != job.Succeeded || len(r.Attempts) != 1 {
			t.Errorf("run %s is %q after %d attempts", run, r.Outcome, len(r.Attempts))
		}
	}
}

// TestPauseCancelsACall: its worker hangs up.
func TestPauseCancelsACall(t *testing.T) {
	turn := newHold(t)
	aborted := make(chan struct{}, 1)
	f := setup(t, setupOptions{
		reply: func(standin.ChatCall) standin.Answer { turn.wait(); return standin.Answer{} },
		front: telling(aborted),
	})
	watch, stop := context.WithCancel(f.ctx)
	defer stop()
	go f.worker.runs.watchCancels(watch)
	slot, run := f.due("a", toChat())
	done := side(func() error { return f.turn(slot) })
	receive(f, "the call", turn.arrived)

	must(t, f.store.Pause(f.ctx, ""))
	if n, err := f.store.CancelPaused(f.ctx); err != nil || n != 1 {
		t.Errorf("cancelled %d: %v", n, err)
	}
	receive(f, "the caller hangs up", aborted)
	must(t, receive(f, "the turn", done))
	r := f.record(run)
	if r.Outcome != job.Cancelled || r.Reason != job.ReasonPaused || r.Reply != "" || len(r.Deliveries) != 0 {
		t.Errorf("run %+v", r)
	}
	if a := r.Attempts[0]; a.Result != job.ResultCancelled || a.Cause != job.CausePaused {
		t.Errorf("attempt %+v", a)
	}
}
