package handlers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// dueTogether makes jobs with a due slot each; it answers the carrier of all, and the runs.
func (f *fixture) dueTogether(ids ...string) (tasks.Carrier, []string) {
	f.t.Helper()
	var slots []tasks.Run
	var runs []string
	for _, id := range ids {
		c, run := f.due(id, rarely())
		p, err := tasks.ParseRun(c.Task)
		must(f.t, err)
		slots, runs = append(slots, p), append(runs, run)
	}
	return f.queues.Batch(slots), runs
}

// together hands a batch to the worker, which is told to stop when stop ends.
func (f *fixture) together(stop context.Context, c tasks.Carrier) error {
	return f.worker.runs.handler(stop)(context.Background(), c.Task)
}

// called are the runs that the ai-server was called for, in that order.
func (f *fixture) called() []string {
	var runs []string
	for _, c := range f.ai.Calls() {
		runs = append(runs, c.RunID)
	}
	return runs
}

// wantSucceeded waits for runs. Where a machine is slow, some of a batch were handed back,
// so that somebody has to serve the queue.
func (f *fixture) wantSucceeded(runs []string) {
	f.t.Helper()
	for _, run := range runs {
		f.await("run "+run, func() bool {
			r, err := f.store.Run(f.ctx, run)
			return err == nil && r.Outcome != ""
		})
		if r := f.record(run); r.Outcome != job.Succeeded || len(r.Attempts) != 1 {
			f.t.Errorf("run %s: %s after %d attempts", run, r.Outcome, len(r.Attempts))
		}
	}
}

// A batch is one run for each of its slots, however often it comes.
func TestBatchRunsEachSlotOnce(t *testing.T) {
	f := setup(t, setupOptions{})
	batch, runs := f.dueTogether("a", "b", "c", "d")
	for range 2 {
		if err := f.together(f.ctx, batch); err != nil {
			t.Fatal(err)
		}
	}
	f.serve()
	f.wantSucceeded(runs)
	if d := cmp.Diff(runs, slices.Sorted(slices.Values(f.called()))); d != "" {
		t.Error(d)
	}
}

// Slots behind a turn that takes long find a place of their own.
func TestBatchDoesNotWaitForALongTurn(t *testing.T) {
	turn := newHold(t)
	f := setup(t, setupOptions{turns: 8, grace: patience, reply: func(c standin.ChatCall) standin.Answer {
		if strings.HasPrefix(c.RunID, "long:") {
			turn.wait()
		}
		return standin.Answer{}
	}})
	batch, runs := f.dueTogether("long", "b", "c")
	f.serve()
	f.enqueue(batch)
	receive(f, "the long turn", turn.arrived)
	for _, run := range runs[1:] {
		f.await("run "+run, func() bool {
			r, err := f.store.Run(f.ctx, run)
			return err == nil && r.Outcome == job.Succeeded
		})
	}
	turn.letGo()
	f.await("the long run", func() bool { return f.record(runs[0]).Outcome == job.Succeeded })
	f.wantSucceeded(runs)
	if n := f.ai.Count(); n != len(runs) {
		t.Errorf("%d calls", n)
	}
}

// A stop begins nothing more: what waits goes to another worker, and not only when the
// turn that is under way has ended.
func TestStopHandsBackWhatABatchHasNotBegun(t *testing.T) {
	turn := newHold(t)
	f := setup(t, setupOptions{turns: 1, grace: patience, reply: func(standin.ChatCall) standin.Answer { turn.wait(); return standin.Answer{} }})
	f.worker.runs.roomy = func() bool { return false } // or they would not wait so long
	batch, runs := f.dueTogether("a", "b", "c")
	stop, cancel := context.WithCancel(f.ctx)
	ended := side(func() error { return f.together(stop, batch) })
	receive(f, "the call", turn.arrived)
	cancel()
	inspector := asynq.NewInspectorFromRedisClient(f.rdb)
	for _, run := range runs[1:] {
		f.await("a carrier of "+run, func() bool {
			info, err := inspector.GetTaskInfo(f.queues.Run(), run)
			return err == nil && info.State == asynq.TaskStatePending && info.Type == tasks.TypeRun
		})
	}
	turn.letGo()
	if err := receive(f, "the end", ended); err != nil {
		t.Error(err)
	}
	if n := f.store.claims.Load(); n != 1 || f.ai.Count() != 1 {
		t.Errorf("%d claims and %d calls after the stop", n-1, f.ai.Count()-1)
	}
	f.serve()
	for _, run := range runs[1:] {
		f.await("run "+run, func() bool {
			r, err := f.store.Run(f.ctx, run)
			return err == nil && r.Outcome == job.Succeeded
		})
	}
}

// One slot that cannot begin here keeps none of the others.
func TestBatchWithASlotThatIsGivenBack(t *testing.T) {
	f := setup(t, setupOptions{})
	batch, runs := f.dueTogether("a", "newer", "gone", "d")
	must(t, f.rdb.HSet(f.ctx, key("job", "newer"), "v", job.Version+1).Err())
	must(t, f.store.DeleteJob(f.ctx, "gone"))
	if err := f.together(f.ctx, batch); err != nil {
		t.Fatal(err)
	}
	if _, err := asynq.NewInspectorFromRedisClient(f.rdb).GetTaskInfo(f.queues.Run(), runs[1]); err != nil {
		t.Errorf("the slot of the newer job: %v, want it in the queue by itself", err)
	}
	f.serve()
	want := []string{runs[0], runs[3]}
	f.wantSucceeded(want)
	if d := cmp.Diff(want, slices.Sorted(slices.Values(f.called()))); d != "" {
		t.Error(d)
	}
}

// A batch that can be neither worked on nor handed back comes again, whole.
func TestBatchComesAgainWhenNothingCanBeHandedBack(t *testing.T) {
	f := setup(t, setupOptions{})
	away := errors.New("redis is away")
	h := f.worker.runs
	enqueue := h.handBack
	h.handBack = func(context.Context, []tasks.Run) error { return away }
	batch, runs := f.dueTogether("a", "b")
	stopped, cancel := context.WithCancel(f.ctx)
	cancel()
	err := f.together(stopped, batch)
	wantGivenBack(t, "the batch", err, 10*time.Second)
	if !errors.Is(err, away) || f.ai.Count() != 0 {
		t.Errorf("%v after %d calls", err, f.ai.Count())
	}
	h.handBack = enqueue
	must(t, f.together(f.ctx, batch))
	f.serve()
	f.wantSucceeded(runs)
}

func TestBatchThatCannotBeRead(t *testing.T) {
	f := setup(t, setupOptions{})
	for _, payload := range []string{"{", `{"v":1,"slots":[]}`, `{"v":1,"slots":[{"v":1,"run":"a:60"}]}`} {
		if err := f.together(f.ctx, tasks.Carrier{Task: asynq.NewTask(tasks.TypeBatch, []byte(payload))}); !errors.Is(err, asynq.RevokeTask) {
			t.Errorf("%s: %v, want it revoked", payload, err)
		}
	}
	wantGivenBack(t, "a newer batch", f.together(f.ctx, tasks.Carrier{Task: asynq.NewTask(tasks.TypeBatch, []byte(`{"v":2,"slots":7}`))}), 10*time.Second)
}

// How long slots wait for the one before them: a moment where there is room, longer where
// there is little.
func TestHowLongABatchWaits(t *testing.T) {
	for _, tc := range []struct {
		name  string
		roomy bool
		want  time.Duration
	}{
		{"room", true, waitEvery},
		{"little room", false, waitMost},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var after []time.Duration
				var back []tasks.Run
				h := &runHandler{roomy: func() bool { return tc.roomy }, handBack: func(_ context.Context, slots []tasks.Run) error {
					after = append(after, time.Since(began))
					if len(after) == 1 {
						return errors.New("redis is away")
					}
					back = slots
					return nil
				}}
				b := &batch{rest: []tasks.Run{{Job: "a"}, {Job: "b"}, {Job: "c"}}}
				b.next()
				end := h.watchBatch(t.Context(), t.Context(), b)
				time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
				synctest.Wait()
				end()
				if d := cmp.Diff([]time.Duration{tc.want, tc.want + waitEvery}, after); d != "" {
					t.Errorf("handed back at:\n%s", d)
				}
				if d := cmp.Diff([]tasks.Run{{Job: "b"}, {Job: "c"}}, back); d != "" || !b.isEmpty() {
					t.Errorf("%s%d are left", d, len(b.rest))
				}
			})
		})
	}
}

// However the one that works and the one that watches meet: each slot is begun here or
// handed back, and none is both.
func TestBatchSharesOutEachSlotOnce(t *testing.T) {
	for range 200 {
		var slots []tasks.Run
		for i := range tasks.BatchSize {
			slots = append(slots, tasks.Run{Job: fmt.Sprintf("job-%02d", i)})
		}
		b := &batch{rest: slices.Clone(slots)}
		var got []string
		var mu sync.Mutex
		take := func(taken ...tasks.Run) {
			mu.Lock()
			defer mu.Unlock()
			for _, s := range taken {
				got = append(got, s.Job)
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for s, ok := b.next(); ok; s, ok = b.next() {
				take(s)
			}
		})
		wg.Go(func() {
			taken := b.takeAll()
			b.put(taken) // could not be handed back
			take(b.takeAll()...)
		})
		wg.Wait()
		take(b.takeAll()...)
		slices.Sort(got)
		var want []string
		for _, s := range slots {
			want = append(want, s.Job)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	}
}
