package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// batches are the ids of the batches in the queue of runs.
func (f *fixture) batches() []string {
	f.t.Helper()
	var ids []string
	for id, info := range f.tasks(f.queues.Run()) {
		if info.Type == tasks.TypeBatch {
			ids = append(ids, id)
		}
	}
	return ids
}

// warm makes the queue of runs known to asynq, which knows none before its first task.
func (f *fixture) warm() {
	f.t.Helper()
	f.must(f.queues.RunAgain("warm:manual:1", 0).Enqueue(f.ctx, asynq.NewClientFromRedisClient(f.rdb)))
	f.complete(f.queues.Run())
}

// TestManyThatAreDueShareCarriers: and each of them is noted as emitted.
func TestManyThatAreDueShareCarriers(t *testing.T) {
	for _, tc := range []struct{ due, batches, tasks int }{
		{joinFrom - 1, 0, joinFrom - 1},
		{joinFrom, joinFrom / tasks.BatchSize, joinFrom / tasks.BatchSize},
		{joinFrom + 1, joinFrom/tasks.BatchSize + 1, joinFrom/tasks.BatchSize + 1},
	} {
		t.Run(fmt.Sprint(tc.due), func(t *testing.T) {
			f := setup(t)
			f.warm()
			w, clock := f.emitter()
			f.create("x", func(s *job.Spec) { s.Schedule = yearly })
			slot := f.minute(0)
			clock.now = slot // nothing is late, whenever this runs
			ids := f.clone("x", "job", tc.due, all(slot))
			before, began := len(f.tasks(f.queues.Run())), f.now()
			f.refresh(w)

			if n := len(f.batches()); n != tc.batches {
				t.Errorf("%d batches, want %d", n, tc.batches)
			}
			if n := len(f.tasks(f.queues.Run())) - before; n != tc.tasks {
				t.Errorf("%d tasks, want %d", n, tc.tasks)
			}
			queued := f.runTasks()
			for _, id := range ids {
				if queued[job.RunID(id, slot)] == nil || !f.cursor(id).Emitted || f.look(id) <= began {
					t.Fatalf("%s: in the queue %t, cursor %+v, looked at %d", id, queued[job.RunID(id, slot)] != nil, f.cursor(id), f.look(id))
				}
			}
			f.refresh(w)
			f.refresh(w)
			if n := len(f.runTasks()) - before; n != tc.due {
				t.Errorf("%d slots in the queue after more looks", n)
			}
		})
	}
}

// TestWhatIsEmittedAgainGoesByItself: whatever became of the batch, a slot that nobody
// claimed finds a worker.
func TestWhatIsEmittedAgainGoesByItself(t *testing.T) {
	f := setup(t)
	f.warm()
	w, clock := f.emitter()
	f.create("x", func(s *job.Spec) { s.Schedule = yearly })
	slot := f.minute(0)
	clock.now = slot
	ids := f.clone("x", "job", joinFrom, all(slot))
	f.refresh(w)
	lost := f.batches()
	for _, id := range lost {
		f.must(f.inspector.DeleteTask(f.queues.Run(), id))
	}
	if n := len(lost); n != joinFrom/tasks.BatchSize {
		t.Fatalf("%d batches", n)
	}
	clock.now = f.now() + job.Millis(2*time.Minute/time.Millisecond)
	f.refresh(w)
	queued := f.tasks(f.queues.Run())
	for _, id := range ids {
		if info := queued[job.RunID(id, slot)]; info == nil || info.Type != tasks.TypeRun {
			t.Fatalf("%s has no carrier of its own: %v", id, slices.Collect(maps.Keys(queued)))
		}
	}
}

// TestNothingIsSharedWhereNobodyWorks: a carrier that stands in the queue for long is
// taken out when its slot is overtaken, and a batch cannot be.
func TestNothingIsSharedWhereNobodyWorks(t *testing.T) {
	f := setup(t)
	f.warm()
	client := asynq.NewClientFromRedisClient(f.rdb)
	waiting := f.queues.RunAgain("waiting:manual:1", 0)
	f.must(waiting.Enqueue(f.ctx, client))
	since := func(ago time.Duration) {
		key := "asynq:{" + f.queues.Run() + "}:t:" + waiting.ID
		f.must(f.rdb.HSet(f.ctx, key, "pending_since", time.Now().Add(-ago).UnixNano()).Err())
	}
	w, clock := f.emitter()
	f.create("x", func(s *job.Spec) { s.Schedule = yearly })
	clock.now = f.minute(0)

	since(flowing + time.Minute)
	f.clone("x", "stuck", joinFrom, all(clock.now))
	f.refresh(w)
	if n, m := len(f.batches()), len(f.runTasks()); n != 0 || m != joinFrom+2 {
		t.Errorf("%d batches and %d tasks where nobody takes any", n, m)
	}
	f.must(f.rdb.HDel(f.ctx, "asynq:{"+f.queues.Run()+"}:t:"+waiting.ID, "pending_since").Err())
	f.clone("x", "unknown", joinFrom, all(clock.now))
	f.refresh(w)
	if n := len(f.batches()); n != 0 {
		t.Errorf("%d batches where nobody knows how long the first task has waited", n)
	}
	since(0)
	f.clone("x", "moving", joinFrom, all(clock.now))
	f.refresh(w)
	if n := len(f.batches()); n != joinFrom/tasks.BatchSize {
		t.Errorf("%d batches where workers keep up", n)
	}
}
