package handlers

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// shown waits until a task is finished, and returns what the dashboard shows of it.
func (f *fixture) shown(c tasks.Carrier) string {
	f.t.Helper()
	inspector := asynq.NewInspectorFromRedisClient(f.rdb)
	var got string
	f.await(c.ID+" is finished", func() bool {
		info, err := inspector.GetTaskInfo(c.Queue, c.ID)
		if err != nil || info.State != asynq.TaskStateCompleted {
			return false
		}
		got = string(info.Result)
		return true
	})
	return got
}

func (f *fixture) info(queue string) *asynq.QueueInfo {
	f.t.Helper()
	info, err := asynq.NewInspectorFromRedisClient(f.rdb).GetQueueInfo(queue)
	must(f.t, err)
	return info
}

// TestDashboardTellsWhatBecameOfRuns: a task that is finished for asynq says how its run
// ended, and counts as failed if it did.
func TestDashboardTellsWhatBecameOfRuns(t *testing.T) {
	refuse := func(c standin.ChatCall) standin.Answer {
		if strings.Contains(c.RunID, "bad") || strings.Contains(c.RunID, "again") {
			return standin.Answer{Status: http.StatusInternalServerError, Text: "token=hunter2"}
		}
		return standin.Answer{}
	}
	f := setup(t, setupOptions{reply: refuse})
	never := rarely()
	never.MaxRetries = new(int)
	again := rarely()
	good, goodRun := f.due("good", toChat())
	bad, badRun := f.due("bad", never)
	retried, retriedRun := f.due("again", again)
	f.serve()
	for _, c := range []tasks.Carrier{good, bad, retried} {
		f.enqueue(c)
	}
	for c, want := range map[string]string{
		f.shown(good):    `{"run":"` + goodRun + `","attempt":1,"outcome":"succeeded"}`,
		f.shown(bad):     `{"run":"` + badRun + `","attempt":1,"outcome":"failed","cause":"ai_error"}`,
		f.shown(retried): `{"run":"` + retriedRun + `","attempt":1,"outcome":"failed, will be tried again","cause":"ai_error"}`,
		f.shown(f.queues.Delivery(goodRun, 1, 0)): `{"run":"` + goodRun + `","delivery":1,"outcome":"delivered"}`,
	} {
		if c != want {
			t.Errorf("shown is %s, want %s", c, want)
		}
	}
	f.await("two failures are counted", func() bool { return f.info(f.queues.Run()).Failed == 2 })
	if info := f.info(f.queues.Run()); info.Processed < 3 || info.Archived != 0 {
		t.Errorf("the dashboard's numbers: %+v", info)
	}

	f.enqueue(f.queues.RunAgain(badRun, 1))
	if got := f.shown(f.queues.RunAgain(badRun, 1)); !strings.Contains(got, "has ended before") {
		t.Errorf("a doubled task shows %s", got)
	}
}

func TestBatchTellsOfEachOfItsSlots(t *testing.T) {
	f := setup(t, setupOptions{reply: func(c standin.ChatCall) standin.Answer {
		if strings.Contains(c.RunID, "bad") {
			return standin.Answer{Status: http.StatusInternalServerError}
		}
		return standin.Answer{}
	}})
	never := rarely()
	never.MaxRetries = new(int)
	var slots []tasks.Run
	for _, id := range []string{"good", "bad", "worse-bad"} {
		c, _ := f.due(id, never)
		p, err := tasks.ParseRun(c.Task)
		must(t, err)
		slots = append(slots, p)
	}
	f.serve()
	c := f.queues.Batch(slots)
	f.enqueue(c)
	got := f.shown(c)
	if strings.Count(got, `"succeeded"`) != 1 || strings.Count(got, `"failed"`) != 2 {
		t.Errorf("shown is %s", got)
	}
	if info := f.info(f.queues.Run()); info.Failed != 1 || info.Processed != 1 {
		t.Errorf("%d of %d tasks failed: a task counts once", info.Failed, info.Processed)
	}
}

// TestCancelledTaskEndsNoTurn: asynq's own cancel is about the task, and the turn goes on.
func TestCancelledTaskEndsNoTurn(t *testing.T) {
	turn := newHold(t)
	f := setup(t, setupOptions{reply: func(standin.ChatCall) standin.Answer { turn.wait(); return standin.Answer{} }})
	c, run := f.due("a", rarely())
	f.serve()
	f.enqueue(c)
	receive(f, "the call", turn.arrived)
	inspector := asynq.NewInspectorFromRedisClient(f.rdb)
	f.await("the task is cancelled", func() bool {
		must(t, inspector.CancelProcessing(c.ID))
		info, err := inspector.GetTaskInfo(c.Queue, c.ID)
		return err == nil && info.State != asynq.TaskStateActive
	})
	turn.letGo()
	f.await("the run succeeds", func() bool { return f.record(run).Outcome == job.Succeeded })
	if r := f.record(run); f.ai.Count() != 1 || len(r.Attempts) != 1 {
		t.Errorf("%d calls, %d attempts", f.ai.Count(), len(r.Attempts))
	}
}
