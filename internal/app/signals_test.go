package app

import (
	"slices"
	"testing"

	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/health"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/store"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// TestPausedQueueIsNamed, until a scheduler lets it go on.
func TestPausedQueueIsNamed(t *testing.T) {
	rdb := redistest.Fresh(t).Client()
	queues := tasks.NewQueues("gateway-cron", 0)
	s := &signals{store: store.New(rdb, store.Options{}), rdb: rdb, queues: queues}
	paused := func() (found []health.Reason) {
		s.read = s.read.AddDate(-1, 0, 0) // not the judgement of a moment ago
		for _, r := range s.Health(t.Context()).Reasons {
			if r.Code == health.QueuePaused {
				found = append(found, r)
			}
		}
		return found
	}
	if found := paused(); len(found) != 0 {
		t.Errorf("a queue that goes on: %+v", found)
	}
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	for _, q := range []string{queues.Run(), queues.Deliver(), "others"} {
		if err := inspector.PauseQueue(q); err != nil {
			t.Fatal(err)
		}
	}
	found := paused()
	if len(found) != 2 || slices.ContainsFunc(found, func(r health.Reason) bool { return r.Since == 0 }) ||
		!slices.ContainsFunc(found, func(r health.Reason) bool { return r.State == health.Failing }) {
		t.Errorf("reasons %+v", found)
	}
}
