package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
	"github.com/gatewaycron/gatewaycron/internal/standin"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// A slot goes through the real queues: one call, one commit, one message.
func TestSlot(t *testing.T) {
	f := setup(t, setupOptions{})
	spec := rarely()
	spec.Name, spec.AgentID, spec.SessionKey = "Morning", "ada", "agent:ada:slack:group:C1"
	spec.Model, spec.Effort = "anthropic/claude-sonnet-4-5", "high"
	spec.Channel, spec.ChatID, spec.PeerID, spec.ThreadID, spec.IsGroup = "slack", "C1", "U1", "42", new(true)
	carrier, run := f.due("a", spec)
	f.enqueue(carrier)
	f.serve()
	f.await("the delivery", func() bool {
		r, err := f.store.Run(f.ctx, run)
		return err == nil && r.DeliveryState == job.DeliveryDelivered
	})

	record := f.record(run)
	seconds := json.Number(strconv.FormatInt(int64(record.StartedAt)/1000, 10))
	wantCall := standin.ChatCall{
		N: 1, IdempotencyKey: run, RunID: run, SessionID: spec.SessionKey, WorkspaceID: "ws-1",
		Model: spec.Model, ReasoningEffort: spec.Effort,
		Messages: []standin.ChatMessage{{Role: "user", Text: spec.Task, Timestamp: seconds}},
		Gateway: standin.ChatGateway{Channel: "slack", PeerID: "U1", ChatID: "C1", IsGroup: new(true), AgentID: "ada",
			SessionKey: spec.SessionKey, Lane: "subagent"},
	}
	if diff := cmp.Diff([]standin.ChatCall{wantCall}, f.ai.Calls(), cmpopts.IgnoreFields(standin.ChatCall{}, "At")); diff != "" {
		t.Errorf("what the ai-server received: %s", diff)
	}
	wantMessage := standin.Message{N: 1, MessageID: "m-1", Channel: "slack", ChatID: "C1", PeerID: "U1", ThreadID: "42", IsGroup: new(true),
		Text: "Echo: say hello", IdempotencyKey: run + ":1:0", HeaderKey: run + ":1:0"}
	if diff := cmp.Diff([]standin.Message{wantMessage}, f.chat.Messages(), cmpopts.IgnoreFields(standin.Message{}, "At")); diff != "" {
		t.Errorf("what the chat received: %s", diff)
	}

	session, err := f.store.Session(f.ctx, spec.SessionKey, 100)
	must(t, err)
	wantSession := []job.Message{
		{Role: "user", Text: spec.Task, Timestamp: record.StartedAt, RunID: run},
		{Role: "assistant", Text: "Echo: say hello", RunID: run},
	}
	if at := session.Messages[len(session.Messages)-1].Timestamp; at < record.StartedAt || at > f.now() {
		t.Errorf("the reply is dated %s, the run started at %s", at.Time(), record.StartedAt.Time())
	}
	session.Messages[len(session.Messages)-1].Timestamp = 0
	if diff := cmp.Diff(wantSession, session.Messages); diff != "" {
		t.Errorf("our session: %s", diff)
	}

	if record.Outcome != job.Succeeded || record.Reply != "Echo: say hello" || record.JobName != "Morning" {
		t.Errorf("record %+v", record)
	}
	if a := record.Attempts; len(a) != 1 || a[0].Result != job.ResultSucceeded || a[0].Worker != "worker-1" {
		t.Errorf("attempts %+v", a)
	}
	if d := record.Deliveries; len(d) != 1 || !cmp.Equal(d[0].MessageIDs, []string{"m-1"}) || d[0].Parts != 1 {
		t.Errorf("deliveries %+v", d)
	}
}

// A job that names no model runs on that of the deployment.
func TestModelOfTheDeployment(t *testing.T) {
	f := setup(t, setupOptions{})
	carrier, run := f.due("a", rarely())
	f.enqueue(carrier)
	f.serve()
	f.await("the reply", func() bool {
		r, err := f.store.Run(f.ctx, run)
		return err == nil && r.Outcome == job.Succeeded
	})
	if c := f.ai.Calls()[0]; c.Model != "model-1" || c.ReasoningEffort != "low" {
		t.Errorf("model %q, reasoning effort %q", c.Model, c.ReasoningEffort)
	}
}

// Any number of carriers of a slot, at once and afterwards, make one run.
func TestDoubledCarriers(t *testing.T) {
	turn := newHold(t)
	f := setup(t, setupOptions{reply: func(standin.ChatCall) standin.Answer { turn.wait(); return standin.Answer{} }})
	slot, run := f.due("a", toChat())
	again := f.queues.RunAgain(run, 0)

	const doubled = 20
	var wg sync.WaitGroup
	ended := make(chan error, 2*doubled)
	for range doubled {
		wg.Go(func() { ended <- f.turn(slot) })
	}
	receive(f, "the call", turn.arrived)
	for range doubled {
		wg.Go(func() { ended <- f.turn(again) })
	}
	for range 2*doubled - 1 { // all but the one that has the call
		if err := receive(f, "a doubled carrier", ended); err != nil {
			t.Errorf("a doubled carrier is not done with: %v", err)
		}
	}
	turn.letGo()
	must(t, receive(f, "the turn", ended))
	wg.Wait()
	for _, late := range []tasks.Carrier{slot, again} {
		if err := f.turn(late); err != nil {
			t.Errorf("a carrier after the end: %v", err)
		}
	}
	if f.ai.Count() != 1 || f.store.commits.Load() != 1 {
		t.Errorf("%d calls, %d commits of one slot", f.ai.Count(), f.store.commits.Load())
	}

	// And any number of carriers of its delivery make one message.
	for range doubled {
		wg.Go(func() { ended <- f.deliver(run) })
	}
	wg.Wait()
	for range doubled {
		if err := <-ended; err != nil {
			t.Errorf("a doubled delivery: %v", err)
		}
	}
	if err := f.deliver(run); err != nil || f.chat.Count() != 1 {
		t.Errorf("%d messages of one reply, %v", f.chat.Count(), err)
	}
}

// What a worker cannot read it gives up, so that the id becomes free; nothing is
// archived, and nothing comes back.
func TestMalformedPayload(t *testing.T) {
	f := setup(t, setupOptions{})
	bad := map[string]*asynq.Task{
		"not JSON":             asynq.NewTask(tasks.TypeRun, []byte("{")),
		"neither run nor slot": asynq.NewTask(tasks.TypeRun, []byte(`{"v":1,"job":"a"}`)),
		"no delivery":          asynq.NewTask(tasks.TypeDeliver, []byte(`{"v":1,"run":"a:1"}`)),
		"a delivery of text":   asynq.NewTask(tasks.TypeDeliver, []byte(`"a:1:1"`)),
	}
	ids := map[string]string{}
	for name, task := range bad {
		queue, handle := f.queues.Run(), f.worker.runs.handle
		if task.Type() == tasks.TypeDeliver {
			queue, handle = f.queues.Deliver(), f.worker.deliveries.handle
		}
		if err := handle(f.ctx, task); !errors.Is(err, asynq.RevokeTask) {
			t.Errorf("%s: %v, want it revoked", name, err)
		}
		ids[name] = queue
		f.enqueue(tasks.Carrier{Task: task, ID: name, Queue: queue,
			Opts: []asynq.Option{asynq.TaskID(name), asynq.Queue(queue), asynq.Retention(time.Hour)}})
	}
	f.serve()
	inspector := asynq.NewInspectorFromRedisClient(f.rdb)
	for name, queue := range ids {
		f.await(name+": its id becomes free", func() bool {
			_, err := inspector.GetTaskInfo(queue, name)
			return errors.Is(err, asynq.ErrTaskNotFound)
		})
	}
	if f.ai.Count()+f.chat.Count() != 0 {
		t.Errorf("%d calls, %d messages", f.ai.Count(), f.chat.Count())
	}
}

// wantGivenBack checks that asynq is to bring a carrier again within the delay,
// without counting a failure.
func wantGivenBack(t *testing.T, what string, err error, most time.Duration) {
	t.Helper()
	if err == nil || errors.Is(err, asynq.RevokeTask) || errors.Is(err, asynq.SkipRetry) {
		t.Errorf("%s: %v, want it given back", what, err)
		return
	}
	if d := retryDelay(1, err, nil); d <= 0 || d > most {
		t.Errorf("%s: comes again after %s, want within %s", what, d, most)
	}
	if isFailure(err) {
		t.Errorf("%s: counts as a failure", what)
	}
}

func TestGivenBack(t *testing.T) {
	f := setup(t, setupOptions{})
	t.Run("a newer payload", func(t *testing.T) {
		slot, _ := f.due("newer-payload", rarely())
		newer := strings.Replace(string(slot.Task.Payload()), `"v":1`, `"v":2,"more":true`, 1)
		wantGivenBack(t, "run", f.worker.runs.handle(f.ctx, asynq.NewTask(tasks.TypeRun, []byte(newer))), 10*time.Second)
		for _, payload := range []string{`{"v":2,"run":"a:1","n":1}`, `{"v":2,"run":{"of":"a"}}`} {
			wantGivenBack(t, "run "+payload, f.worker.runs.handle(f.ctx, asynq.NewTask(tasks.TypeRun, []byte(payload))), 10*time.Second)
			wantGivenBack(t, "delivery "+payload, f.worker.deliveries.handle(f.ctx, asynq.NewTask(tasks.TypeDeliver, []byte(payload))), 10*time.Second)
		}
	})
	t.Run("a newer record", func(t *testing.T) {
		slot, _ := f.due("newer-job", rarely())
		must(t, f.rdb.HSet(f.ctx, key("job", "newer-job"), "v", job.Version+1).Err())
		wantGivenBack(t, "slot", f.turn(slot), 10*time.Second)

		f.create("newer-run", rarely())
		again, run := f.manual("newer-run")
		must(t, f.rdb.HSet(f.ctx, key("run", run), "v", job.Version+1).Err())
		wantGivenBack(t, "run", f.turn(again), 10*time.Second)
	})
	t.Run("an early slot", func(t *testing.T) {
		j := f.create("early", rarely())
		for _, tc := range []struct{ ahead, most time.Duration }{
			{5 * time.Second, 5 * time.Second},
			{time.Hour, 10 * time.Second}, // the wake list knows better when to look again
		} {
			slot := f.now() + job.Millis(tc.ahead.Milliseconds())
			f.moveTo("early", slot)
			wantGivenBack(t, tc.ahead.String()+" early", f.turn(f.slotOf(j, slot)), tc.most)
		}
	})
	t.Run("an early run", func(t *testing.T) {
		f.create("early-run", rarely())
		again, run := f.manual("early-run")
		must(t, f.rdb.HSet(f.ctx, key("run", run), "notBefore", int64(f.now())+3000).Err())
		wantGivenBack(t, "run", f.turn(again), 3*time.Second)
	})
	if f.ai.Count() != 0 {
		t.Errorf("%d calls", f.ai.Count())
	}
}

// Without Redis nothing is known, so nothing is called. A carrier that asynq takes
// away meanwhile comes again.
func TestGivenBackWithoutRedis(t *testing.T) {
	t.Parallel() // it waits for the client library to give up
	server := redistest.Start(t, redistest.WithAOF())
	f := setup(t, setupOptions{redis: server})
	slot, run := f.due("a", toChat())
	again := f.queues.RunAgain(run, 0)
	server.Kill()
	for _, tc := range []struct {
		carrier tasks.Carrier
		tries   *atomic.Int64
	}{{slot, &f.store.claims}, {again, &f.store.begins}} {
		ctx, takeAway := context.WithCancel(context.Background())
		done := side(func() error { return f.worker.runs.handle(ctx, tc.carrier.Task) })
		f.await("it insists", func() bool { return tc.tries.Load() > 1 })
		takeAway()
		wantGivenBack(t, tc.carrier.ID, receive(f, "the carrier", done), 10*time.Second)
	}
	wantGivenBack(t, "delivery", f.deliver(run), 10*time.Second)

	// Nor does a worker that is stopped wait for Redis.
	before := f.store.claims.Load()
	done := side(func() error { return f.turn(slot) })
	f.await("it insists", func() bool { return f.store.claims.Load() > before })
	f.worker.cut(errShutdown)
	wantGivenBack(t, "slot at the end of the worker", receive(f, "the carrier", done), 10*time.Second)
	if f.ai.Count() != 0 {
		t.Errorf("%d calls without Redis", f.ai.Count())
	}

	server.Restart()
	f.worker = New(f.opts)
	must(t, f.turn(slot))
	must(t, f.deliver(run))
	if f.ai.Count() != 1 || f.chat.Count() != 1 {
		t.Errorf("%d calls and %d messages with Redis back", f.ai.Count(), f.chat.Count())
	}
}

// A claim or a begin whose answer is lost has begun an attempt: whoever asks again
// must get that one, or nobody makes the call and the attempt counts as ambiguous.
func TestLostAnswerOfABegin(t *testing.T) {
	for name, carrier := range map[string]func(f *fixture, id string) (tasks.Carrier, string){
		"claim": func(f *fixture, id string) (tasks.Carrier, string) { return f.due(id, rarely()) },
		"begin": func(f *fixture, id string) (tasks.Carrier, string) { f.create(id, rarely()); return f.manual(id) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // a try at a frozen Redis takes five seconds
			server := redistest.Start(t)
			f := setup(t, setupOptions{redis: server})
			// Redis knows the script from here on: it runs what it was sent while
			// frozen, though nobody listens to the answer any more.
			before, _ := carrier(f, "before")
			must(t, f.turn(before))
			c, run := carrier(f, "a")
			tries := func() int64 { return f.store.claims.Load() + f.store.begins.Load() }
			asked := tries()
			server.Freeze()
			done := side(func() error { return f.turn(c) })
			f.await("it asks again", func() bool { return tries() > asked+1 })
			server.Thaw()
			must(t, receive(f, "the turn", done))
			if r := f.record(run); r.Outcome != job.Succeeded || len(r.Attempts) != 1 || f.ai.Count() != 2 {
				t.Errorf("%s after %d attempts and %d calls", r.Outcome, len(r.Attempts), f.ai.Count()-1)
			}
		})
	}
}

// deafStore does not answer a begin, and notes when it was asked.
type deafStore struct {
	RunStore
	asked int
	at    time.Time
	then  func() // after the question
}

func (s *deafStore) Begin(ctx context.Context, run, token, worker string) (job.Begun, error) {
	s.asked, s.at = s.asked+1, time.Now()
	if s.then == nil {
		return s.RunStore.Begin(ctx, run, token, worker)
	}
	s.then()
	<-ctx.Done()
	return job.Begun{}, ctx.Err()
}

// TestBeginEndsWithItsCarrier, and with its worker: there is nothing to ask again for.
func TestBeginEndsWithItsCarrier(t *testing.T) {
	f := setup(t, setupOptions{})
	f.create("a", rarely())
	c, run := f.manual("a")
	for _, name := range []string{"carrier", "worker"} {
		ctx, lost := context.WithCancel(f.ctx)
		f.worker = New(f.opts)
		deaf := &deafStore{RunStore: f.store, then: lost}
		if name == "worker" {
			deaf.then = func() { f.worker.cut(errShutdown) }
		}
		f.worker.runs.store = deaf
		err := f.worker.runs.handle(ctx, c.Task)
		if back := (*giveBack)(nil); !errors.As(err, &back) || deaf.asked != 1 {
			t.Errorf("%s: %v after %d questions", name, err, deaf.asked)
		}
		lost()
	}
	if r := f.record(run); r.State != job.StateWaiting || f.ai.Count() != 0 {
		t.Errorf("run %+v", r)
	}
}

// TestTaskThatIsCancelledWhileItBegins: the attempt that has begun is made.
func TestTaskThatIsCancelledWhileItBegins(t *testing.T) {
	f := setup(t, setupOptions{})
	f.create("a", rarely())
	c, run := f.manual("a")
	ctx, cancel := context.WithCancel(f.ctx)
	f.worker.runs.store = &cancellingStore{f.store, cancel}
	must(t, f.worker.runs.handle(ctx, c.Task))
	if r := f.record(run); r.Outcome != job.Succeeded || len(r.Attempts) != 1 {
		t.Errorf("run %+v", r)
	}
}

// cancellingStore has the task cancelled when a begin is on its way.
type cancellingStore struct {
	RunStore
	cancel func()
}

func (s *cancellingStore) Begin(ctx context.Context, run, token, worker string) (job.Begun, error) {
	s.cancel()
	return s.RunStore.Begin(ctx, run, token, worker)
}

// TestLeaseIsAsOldAsItsQuestion: the answer to a begin can take long.
func TestLeaseIsAsOldAsItsQuestion(t *testing.T) {
	f := setup(t, setupOptions{})
	f.create("a", rarely())
	_, run := f.manual("a")
	slow := &deafStore{RunStore: f.store}
	f.worker.runs.store = slow
	begun, asked, err := f.worker.runs.begin(f.ctx, tasks.Run{V: tasks.Version, Run: run})
	must(t, err)
	if begun.Verdict != job.BeginOK || asked.After(slow.at) {
		t.Errorf("%s, asked %v after the question had arrived", begun.Verdict, asked.Sub(slow.at))
	}
}

// A record on which a script fails gets no better by asking again: it must not
// hold a worker.
func TestDamagedRecordHoldsNoWorker(t *testing.T) {
	f := setup(t, setupOptions{})
	slot, _ := f.due("damaged-job", rarely())
	must(t, f.rdb.HDel(f.ctx, key("job", "damaged-job"), "misfireGrace").Err())
	wantGivenBack(t, "slot", receive(f, "the slot", side(func() error { return f.turn(slot) })), 10*time.Second)
	if f.ai.Count() != 0 {
		t.Errorf("%d calls", f.ai.Count())
	}

	slot, run := f.due("damaged-list", rarely())
	must(t, f.rdb.Set(f.ctx, key("sessions"), "x", 0).Err())
	must(t, receive(f, "the turn", side(func() error { return f.turn(slot) })))
	// Another attempt would be paid for, and refused as well.
	if r := f.record(run); r.Outcome != job.Failed || r.Attempts[0].Cause != job.CauseInternal || f.store.commits.Load() != 1 {
		t.Errorf("%s, attempts %+v, after %d commits", r.Outcome, r.Attempts, f.store.commits.Load())
	}
	f.awaitLog("reply cannot be committed")
}

// A panic is a defect of ours: it counts, and asynq brings the carrier again.
func TestRetryDelayOfAPanic(t *testing.T) {
	err := errors.New("panic: nil map")
	if d := retryDelay(1, err, nil); d != maxGiveBack || !isFailure(err) {
		t.Errorf("comes again after %s, failure %t", d, isFailure(err))
	}
}

// After an edit nothing starts by the old definition, whatever the carrier says.
func TestEditedJob(t *testing.T) {
	f := setup(t, setupOptions{})
	at := f.minute(0)
	slot := f.slotOf(f.create("a", rarely()), at)
	_, err := f.store.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) {
		s.Task, s.Schedule, s.Timezone = "say goodbye", "30 6 1 1 *", "Asia/Tokyo"
		return s, nil
	})
	must(t, err)

	// The edit has moved the cursor.
	if err := f.turn(slot); !errors.Is(err, asynq.RevokeTask) || f.ai.Count() != 0 {
		t.Errorf("a carrier of a slot that is no more: %v, %d calls", err, f.ai.Count())
	}

	// The next slot can be the same before and after.
	f.moveTo("a", at)
	must(t, f.turn(slot))
	if calls := f.ai.Calls(); len(calls) != 1 || calls[0].LastUserText() != "say goodbye" {
		t.Fatalf("calls %+v", calls)
	}
	sched, err := schedule.Parse("30 6 1 1 *", "Asia/Tokyo")
	must(t, err)
	want, _ := sched.Next(at.Time())
	j, err := f.store.Job(f.ctx, "a")
	must(t, err)
	if j.NextSlot != job.ToMillis(want) || j.LastSlot != at {
		t.Errorf("the cursor is at %s, want %s by the new schedule", j.NextSlot.Time(), want)
	}
}

// TestCarrierOfASlotToCatchUpWith frees its id: the slot comes up again when the run in
// progress has ended.
func TestCarrierOfASlotToCatchUpWith(t *testing.T) {
	f := setup(t, setupOptions{})
	spec := rarely()
	spec.Misfire = job.MisfireRunAll
	j, late := f.create("a", spec), f.minute(-3)
	f.moveTo("a", late)
	f.manual("a") // unfinished
	if err := f.turn(f.slotOf(j, late)); !errors.Is(err, asynq.RevokeTask) || f.ai.Count() != 0 {
		t.Errorf("%v after %d calls", err, f.ai.Count())
	}
}

// The slot after a claimed one is counted from that one, never from now: nothing
// in between is lost.
func TestNextSlotFollowsTheClaimedOne(t *testing.T) {
	f := setup(t, setupOptions{})
	spec := rarely()
	spec.Schedule = "* * * * *"
	j, at := f.create("a", spec), f.minute(-10)
	f.moveTo("a", at)
	must(t, f.turn(f.slotOf(j, at)))
	if j, err := f.store.Job(f.ctx, "a"); err != nil || j.NextSlot != at+60_000 || f.ai.Count() != 1 {
		t.Errorf("the cursor went from %s to %s, %v, %d calls", at.Time(), j.NextSlot.Time(), err, f.ai.Count())
	}
}

// What was deleted or paused before its attempt is not called any more.
func TestNoCallAfterDeleteOrPause(t *testing.T) {
	f := setup(t, setupOptions{reply: func(standin.ChatCall) standin.Answer { return standin.Answer{Status: http.StatusBadGateway} }})
	for id, change := range map[string]func(){
		"deleted": func() { must(t, f.store.DeleteJob(f.ctx, "deleted")) },
		"paused": func() {
			_, err := f.store.UpdateJob(f.ctx, "paused", func(s job.Spec) (job.Spec, error) { s.Enabled = false; return s, nil })
			must(t, err)
		},
	} {
		slot, run := f.due(id, rarely())
		must(t, f.turn(slot))
		change()
		calls := f.ai.Count()
		must(t, f.again(run))
		if r := f.record(run); r.Outcome != job.Cancelled || r.Reason == "" || f.ai.Count() != calls {
			t.Errorf("%s: %s (%s), %d more calls", id, r.Outcome, r.Reason, f.ai.Count()-calls)
		}
	}
	j := f.create("gone", rarely())
	must(t, f.store.DeleteJob(f.ctx, "gone"))
	if err := f.turn(f.slotOf(j, j.NextSlot)); !errors.Is(err, asynq.RevokeTask) {
		t.Errorf("a slot of a deleted job: %v", err)
	}
	if err := f.turn(f.queues.RunAgain("gone:1", 1)); !errors.Is(err, asynq.RevokeTask) {
		t.Errorf("a run that never was: %v", err)
	}
	if err := f.deliver("gone:1"); !errors.Is(err, asynq.RevokeTask) {
		t.Errorf("a delivery that never was: %v", err)
	}
}

// The ai-server has no lock on a session: the last turn to finish would own it.
func TestOneTurnAtATimeInASession(t *testing.T) {
	const runs = 4
	turn := newHold(t)
	// Two places: the turn that is held has one, so that a single run that sat on the
	// other while it waits would keep the last one from its call.
	f := setup(t, setupOptions{turns: 2, reply: func(standin.ChatCall) standin.Answer { turn.wait(); return standin.Answer{} }})
	f.create("a", rarely())
	f.create("b", rarely())
	var ids []string
	for range runs {
		c, run := f.manual("a")
		ids = append(ids, run)
		f.enqueue(c)
	}
	elsewhere, other := f.manual("b")
	f.enqueue(elsewhere)
	f.serve()
	receive(f, "the first call", turn.arrived)
	receive(f, "the call of another session, behind them in the queue", turn.arrived)
	f.await("the others are parked", func() bool {
		n, err := f.rdb.ZCard(f.ctx, key("wait", "agent:main:cron:a")).Result()
		return err == nil && n == runs-1
	})
	if n := f.ai.Count(); n != 2 {
		t.Errorf("%d calls at once in two sessions", n)
	}
	turn.letGo()
	for _, run := range append(ids, other) {
		f.await("run "+run, func() bool { return f.record(run).Outcome == job.Succeeded })
	}
	earlier := 0
	for _, call := range f.ai.Calls() {
		if call.SessionID != "agent:main:cron:a" {
			continue
		}
		if len(call.Messages) != earlier+1 {
			t.Errorf("call %d knows %d messages, want all %d before it and its own", call.N, len(call.Messages), earlier)
		}
		earlier += 2
	}
	if messages, _ := f.ai.Session("agent:main:cron:a"); len(messages) != 2*runs || f.ai.Count() != runs+1 {
		t.Errorf("%d calls left %d messages in the session", f.ai.Count(), len(messages))
	}
}
