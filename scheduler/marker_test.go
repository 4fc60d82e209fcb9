package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// marks hands over what a marker writes.
type marks struct {
	batches chan []job.Slot
	err     error
}

func (m *marks) MarkEmitted(_ context.Context, slots []job.Slot) error {
	m.batches <- slices.Clone(slots)
	return m.err
}

func runTask(i int) *asynq.Task {
	return tasks.NewQueues(prefix, 0).Slot(tasks.Run{Job: fmt.Sprint("a", i), UID: "u", Slot: int64(i+1) * 60_000}).Task
}

func infoOf(task *asynq.Task) *asynq.TaskInfo {
	return &asynq.TaskInfo{Type: task.Type(), Payload: task.Payload()}
}

func TestMarksAreWrittenInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A failing store: lost marks stop nothing.
		kept := &marks{batches: make(chan []job.Slot, 10), err: errors.New("redis is away")}
		logs := &logs{}
		m := newMarker(kept, slog.New(logs))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var put, written []job.Slot
		mark := func(n int) {
			for range n {
				i := len(put)
				m.afterEnqueue(infoOf(runTask(i)), nil)
				put = append(put, job.Slot{JobID: fmt.Sprint("a", i), At: job.Millis(i+1) * 60_000})
			}
		}
		expect := func(sizes ...int) {
			t.Helper()
			for _, want := range sizes {
				got := <-kept.batches
				if len(got) != want {
					t.Errorf("a batch of %d, want %d", len(got), want)
				}
				written = append(written, got...)
			}
			if synctest.Wait(); len(kept.batches) != 0 {
				t.Errorf("%d batches more", len(kept.batches))
			}
		}
		mark(2*batch + 200)
		go m.run(ctx)
		expect(batch, batch) // full ones at once
		expect(200)          // the rest after a moment
		mark(1)
		expect(1)
		if d := cmp.Diff(put, written); d != "" {
			t.Error(d)
		}
		if n := logs.count("emitted slots not marked", "redis is away"); n != 4 {
			t.Errorf("%d of 4 failures were logged", n)
		}
	})
}

func TestWhatIsMarked(t *testing.T) {
	logs := &logs{}
	m := newMarker(&marks{}, slog.New(logs))
	marked := func() (slots []job.Slot) {
		for {
			select {
			case s := <-m.slots:
				slots = append(slots, s)
			default:
				return slots
			}
		}
	}
	one := []job.Slot{{JobID: "a0", At: 60_000}}

	m.afterEnqueue(infoOf(runTask(0)), nil)
	if d := cmp.Diff(one, marked()); d != "" {
		t.Errorf("enqueued: %s", d)
	}
	m.afterEnqueue(nil, asynq.ErrTaskIDConflict) // asynq tells no task here
	if got := marked(); got != nil {
		t.Errorf("an error without a task marked %v", got)
	}
	m.afterError(runTask(0), nil, fmt.Errorf("enqueue: %w", asynq.ErrTaskIDConflict))
	if d := cmp.Diff(one, marked()); d != "" {
		t.Errorf("conflict: %s", d)
	}
	m.afterError(runTask(0), nil, errors.New("connection refused"))
	if got := marked(); got != nil || logs.count("slot not enqueued in time", "connection refused") != 1 {
		t.Errorf("a slot that is not in its queue marked %v", got)
	}
	m.afterEnqueue(&asynq.TaskInfo{Type: tasks.TypeRun, Payload: []byte("{")}, nil)
	if got := marked(); got != nil || logs.count("armed task cannot be read") != 1 {
		t.Errorf("a damaged payload marked %v", got)
	}
}

// TestMarkerNeverBlocks: asynq calls it on its way to the next enqueue.
func TestMarkerNeverBlocks(t *testing.T) {
	m := newMarker(&marks{}, slog.New(slog.DiscardHandler))
	info := infoOf(runTask(0))
	for range cap(m.slots) + 10 { // nobody reads
		m.afterEnqueue(info, nil)
	}
	if len(m.slots) != cap(m.slots) || cap(m.slots) < maxArmed {
		t.Errorf("kept %d of room for %d", len(m.slots), cap(m.slots))
	}
}

// TestMarksReachTheStore: a mark is only for the slot it was made for.
func TestMarksReachTheStore(t *testing.T) {
	f := setup(t)
	s := f.scheduler()
	due, old := f.minute(0), f.minute(-1)
	for _, id := range []string{"a", "moved"} {
		f.create(id)
		f.put(id, due)
	}
	ctx, cancel := context.WithCancel(f.ctx)
	done := make(chan struct{})
	go func() { defer close(done); s.marks.run(ctx) }()
	mark := func(id string, slot job.Millis) {
		s.marks.afterEnqueue(infoOf(f.queues.Slot(tasks.Run{Job: id, UID: "u", Slot: int64(slot)}).Task), nil)
	}
	mark("moved", old)
	mark("gone", due)
	mark("a", due)
	eventually(t, "the slot is marked", func() bool { return f.cursor("a").Emitted })
	if f.look("a") <= f.now() {
		t.Error("the next look at an emitted slot is too soon")
	}
	if f.cursor("moved").Emitted || f.look("moved") != due || f.look("gone") != 0 {
		t.Error("a mark of another slot was taken")
	}
	cancel()
	<-done
}
