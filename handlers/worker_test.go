package handlers

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/channel"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/outcome"
	"github.com/gatewaycron/gatewaycron/internal/standin"
	"github.com/gatewaycron/gatewaycron/tasks"
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

// crowd takes every place of a crew, so that what is fetched waits, until it is let go.
func (f *fixture) crowd(c *crew) (letGo func()) {
	f.t.Helper()
	for range cap(c.places) {
		c.places <- struct{}{}
	}
	letGo = sync.OnceFunc(func() {
		for range cap(c.places) {
			<-c.places
		}
	})
	f.t.Cleanup(letGo)
	return letGo
}

// wantHandedBack checks that a carrier waits for any worker now, as good as new.
func (f *fixture) wantHandedBack(c tasks.Carrier) {
	f.t.Helper()
	info, err := asynq.NewInspectorFromRedisClient(f.rdb).GetTaskInfo(c.Queue, c.ID)
	must(f.t, err)
	if late := info.NextProcessAt.After(time.Now()); late || info.State != asynq.TaskStateRetry || info.Retried != 0 {
		f.t.Errorf("carrier %s: %s until %s, %d retries counted; want it back at once", c.ID, info.State, info.NextProcessAt, info.Retried)
	}
}

// What is fetched but not begun when the worker is told to stop is not begun any
// more: it goes back, and the next worker has it at once.
func TestStopHandsBackWhatHasNotBegun(t *testing.T) {
	f := setup(t, setupOptions{grace: patience})
	delivery := f.queues.Delivery(f.committed("told", toChat()), 1, 0)
	slot, run := f.due("a", rarely())
	calls, carriers := f.ai.Count(), []tasks.Carrier{slot, delivery}
	freeRun, freeDeliver := f.crowd(f.worker.atRun), f.crowd(f.worker.atDeliver)
	stop, ended := f.serve()
	inspector := asynq.NewInspectorFromRedisClient(f.rdb)
	for _, c := range carriers {
		f.enqueue(c)
		f.await("fetched: "+c.ID, func() bool {
			info, err := inspector.GetTaskInfo(c.Queue, c.ID)
			return err == nil && info.State == asynq.TaskStateActive
		})
	}
	stop()
	f.awaitLog(stopped)
	freeRun()
	freeDeliver()
	receive(f, "the end of the worker", ended)

	for _, c := range carriers {
		f.wantHandedBack(c)
	}
	if _, err := f.store.Run(f.ctx, run); !errors.Is(err, job.ErrNotFound) || f.store.claims.Load() != 0 {
		t.Errorf("the slot was claimed: %v after %d claims", err, f.store.claims.Load())
	}
	if n := f.number(key("delivery", strings.TrimSuffix(delivery.ID, ":deliver:1:0"), "1"), "attempt"); n != 0 {
		t.Errorf("the delivery has %d attempts", n)
	}

	f.replace()
	f.await("the slot", func() bool {
		r, err := f.store.Run(f.ctx, run)
		return err == nil && r.Outcome == job.Succeeded
	})
	f.await("the message", func() bool { return f.chat.Count() == 1 })
	if r := f.record(run); len(r.Attempts) != 1 || f.ai.Count() != calls+1 {
		t.Errorf("%d attempts, %d calls", len(r.Attempts), f.ai.Count()-calls)
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

// A place that is free at the stop stays free.
func TestCrewBeginsNothingAfterTheStop(t *testing.T) {
	stop, ended := context.WithCancel(t.Context())
	handler := newCrew(1).handler(stop, func(context.Context, *asynq.Task) error { t.Error("begun"); return nil })
	ended()
	for range 20 { // a free place and the stop are drawn by lot
		if err := handler.ProcessTask(t.Context(), nil); retryDelay(0, err, nil) != 0 || isFailure(err) {
			t.Fatalf("%v, want the carrier back at once", err)
		}
	}
}

// cutting is a channel whose worker is cut as soon as the chat has the first part.
type cutting struct {
	channel.Channel
	cut func()
}

func (c cutting) Send(ctx context.Context, m channel.Message) (string, error) {
	id, err := c.Channel.Send(ctx, m)
	c.cut()
	return id, err
}

// cutStore cuts the worker while the answer to a second send-begin is on its way.
type cutStore struct {
	*watchedStore
	cut func()
}

func (s cutStore) SendBegin(ctx context.Context, run string, n int, epoch int64, part, parts int, token string) (job.SendVerdict, error) {
	verdict, err := s.watchedStore.SendBegin(ctx, run, n, epoch, part, parts, token)
	if err == nil && part == 1 {
		s.cut()
		return "", context.Canceled
	}
	return verdict, err
}

// The parts that a cut worker has not sent surely did not arrive: the next one goes on
// with them at once, and none is sent twice.
func TestStopBetweenTheParts(t *testing.T) {
	for name, cut := range map[string]func(*fixture){
		"before a part": func(f *fixture) {
			ch, _ := f.opts.Channels.Lookup("slack")
			f.worker.deliveries.channels = channels{channel: cutting{ch, func() { f.worker.cut(errShutdown) }}}
		},
		"the answer to its begin is lost": func(f *fixture) {
			f.worker.deliveries.store = cutStore{f.store, func() { f.worker.cut(errShutdown) }}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, setupOptions{reply: replying("aabbcc"), wrap: inChunks(2)})
			run := f.committed("a", toChat())
			cut(f)
			since := f.now()
			must(t, f.deliver(run))
			f.wantWaiting(run, since, 0, 0, 0)
			if d := f.delivery(run); !cmp.Equal(d.MessageIDs, []string{"m-1"}) || d.Error != errShutdown.Error() {
				t.Errorf("delivery %+v", d)
			}
			f.worker = New(f.opts)
			must(t, f.deliver(run))
			if d := f.delivery(run); d.State != job.DeliveryDelivered || !cmp.Equal(f.texts(), []string{"aa", "bb", "cc"}) {
				t.Errorf("delivery %+v, sent %q", d, f.texts())
			}
		})
	}
}

// lastRefusal is a channel that refuses while its worker is cut.
type lastRefusal struct {
	channel.Channel
	cut func()
}

func (c lastRefusal) Send(context.Context, channel.Message) (string, error) {
	c.cut()
	return "", &outcome.Error{Kind: outcome.Retryable, Message: "503"}
}

// TestStopDuringARefusal: the send surely did not arrive, and it was us who stopped.
func TestStopDuringARefusal(t *testing.T) {
	f := setup(t, setupOptions{})
	run := f.committed("a", toChat())
	ch, _ := f.opts.Channels.Lookup("slack")
	f.worker.deliveries.channels = channels{channel: lastRefusal{ch, func() { f.worker.cut(errShutdown) }}}
	since := f.now()
	must(t, f.deliver(run))
	f.wantWaiting(run, since, 0, 0, 0)
}

// Nor does it send what waits for a place on its channel.
func TestStopBeforeASend(t *testing.T) {
	send := newHold(t)
	f := setup(t, setupOptions{send: func(standin.Message) standin.Answer { send.wait(); return standin.Answer{} }})
	runs, ended := f.hanging(send)
	since := f.now()
	f.worker.cut(errShutdown)
	for range runs {
		must(t, receive(f, "a delivery", ended))
	}
	f.wantWaiting(runs[perChannel], since, 0, 0, 0)
	if n := f.chat.Count(); n != perChannel {
		t.Errorf("%d messages, want %d", n, perChannel)
	}
}

// A worker takes no more out of the queue than it can work on, however many fetch.
func TestFetchersShareTheConcurrency(t *testing.T) {
	for turns, servers := range map[int]int{1: 1, 3: 3, 10: fetchers} {
		f := setup(t, setupOptions{turns: turns})
		stop, ended := f.serve()
		inspector, places, n := asynq.NewInspectorFromRedisClient(f.rdb), 0, 0
		f.await("its servers", func() bool {
			infos, err := inspector.Servers()
			must(t, err)
			places, n = 0, 0
			for _, info := range infos {
				if info.Queues[f.queues.Run()] > 0 {
					places, n = places+info.Concurrency, n+1
				}
			}
			return n >= servers
		})
		if places != turns || n != servers {
			t.Errorf("%d servers with %d places, want %d with %d", n, places, servers, turns)
		}
		stop()
		receive(f, "the end of the worker", ended)
	}
}

// asynq forgets a handler whose task lease ran out; it still counts, and is waited
// for.
func TestCrew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(1)
		leave := make(chan struct{})
		stop, ended := context.WithCancel(t.Context())
		handler := c.handler(stop, func(context.Context, *asynq.Task) error { <-leave; return nil })
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
		third := side(func() error { return handler.ProcessTask(t.Context(), nil) })
		synctest.Wait()
		ended()
		if err := <-third; retryDelay(0, err, nil) != 0 || isFailure(err) {
			t.Errorf("one that waits for a place at the stop: %v, want it back at once", err)
		}
		close(leave)
		must(t, <-first)
		<-gone
		free := c.handler(t.Context(), func(context.Context, *asynq.Task) error { return nil })
		must(t, free.ProcessTask(t.Context(), nil)) // the place is free again
	})
}
