package handlers

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/queue"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// result is what the dashboard shows of a finished task: what became of what it carried.
// For asynq a task that was worked on is a success, whatever the run's outcome. It has no
// message of the ai-server or a channel in it: those are in the record.
type result struct {
	Run      string `json:"run"`
	Delivery int    `json:"delivery,omitempty"`
	Attempt  int    `json:"attempt,omitempty"`
	Outcome  string `json:"outcome"`
	Cause    string `json:"cause,omitempty"`

	failed bool // an attempt did, whether it is made again or not
}

// Outcomes that are not the record's.
const (
	overtaken  = "dropped: another attempt has taken over, or the run was cancelled"
	notWritten = "not written down: the attempt counts as dead when its lease has run out"
)

// nothingToDo is what becomes of a task by the verdict about its begin.
var nothingToDo = map[job.Verdict]string{
	job.BeginDone:    "nothing to do: it has ended before",
	job.BeginBusy:    "nothing to do: an attempt is under way",
	job.BeginParked:  "waits for another run",
	job.BeginBehind:  "waits for the run before it",
	job.BeginEnded:   "ended without an attempt",
	job.BeginDropped: "skipped or missed",
}

// reporter writes results of the tasks of a queue, and counts those that failed. What
// fails here is only not shown.
func reporter(name string, q *queue.Queues, logger *slog.Logger) func(context.Context, *asynq.Task, ...result) {
	return func(ctx context.Context, task *asynq.Task, results ...result) {
		w := task.ResultWriter()
		// A task whose context has ended is somebody else's, or gone: its result would be
		// all there is of it, and stay.
		if w == nil || ctx.Err() != nil || len(results) == 0 {
			return
		}
		var shown any = results
		if task.Type() != tasks.TypeBatch {
			shown = results[0]
		}
		failed := false
		for _, r := range results {
			failed = failed || r.failed
		}
		body, err := json.Marshal(shown)
		if err == nil {
			_, err = w.Write(body)
		}
		if err == nil && failed {
			err = q.CountFailed(ctx, name, time.Now())
		}
		if err != nil {
			logger.Debug("result of a task not shown", "task_id", w.TaskID(), "err", err)
		}
	}
}
