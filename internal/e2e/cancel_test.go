package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// A run that is cancelled in the middle of its turn, by hand or by the next slot of its
// job: the ai-server sees its caller hang up within two seconds, whichever worker calls,
// and nothing that the turn answers afterwards is kept or sent. The two seconds are a
// promise, and not a measure of this machine: a renewal alone, which comes every five,
// would break it. What is held to them are the instants on record, of the cancel in Redis
// and of the hang-up at the ai-server.
func TestCancelledCallsHangUp(t *testing.T) {
	t.Parallel()
	const (
		byHand = 6 // more than one worker has places for
		bySlot = 2
		within = 2 * time.Second
		// every is not a number of renewals: a slot comes two seconds after one, and
		// three before the next.
		every = 12
	)
	answer := make(chan struct{})
	w := newWorld(t, func(standin.ChatCall) standin.Answer { <-answer; return standin.Answer{} })
	api := w.start("api")
	w.start("scheduler")
	for range 2 {
		w.start("worker", "GATEWAY_CRON_CONCURRENCY=4")
	}
	var ids []string
	for n := range byHand {
		ids = append(ids, api.create(map[string]any{"schedule": "0 0 29 2 *", "task": "hello", "channel": "slack", "chatId": fmt.Sprint(n)}))
	}
	begin := nextMinute(0).Add(20 * time.Second) // not when the other tests fire
	repeated := api.create(map[string]any{"every": every, "startAt": begin.Format(time.RFC3339), "overlap": "cancel_previous",
		"task": "hello", "channel": "slack", "chatId": "again"})
	w.at(begin)

	called := func() map[string]standin.ChatCall { // by run
		calls := map[string]standin.ChatCall{}
		for _, c := range w.ai.Calls() {
			if _, twice := calls[c.IdempotencyKey]; twice {
				t.Errorf("%s was called twice", c.IdempotencyKey)
			}
			calls[c.IdempotencyKey] = c
		}
		return calls
	}
	var runs []string
	for _, id := range ids {
		var started struct{ RunID string }
		if status := api.call("POST", "/api/cron/jobs/"+id+"/run", "", &started); status/100 != 2 {
			t.Fatalf("run %s: %d", id, status)
		}
		runs = append(runs, started.RunID)
	}
	w.until("all that was started by hand is under way", time.Minute, func() bool {
		calls, n := called(), 0
		for _, run := range runs {
			if _, ok := calls[run]; ok {
				n++
			}
		}
		return n == byHand
	})
	for _, run := range runs {
		if status := api.call("POST", "/api/cron/runs/"+run+"/cancel", "", nil); status != 200 {
			t.Errorf("cancel %s: %d", run, status)
		}
	}
	w.until("all that is cancelled has hung up", 2*time.Minute, func() bool {
		n := 0
		for _, c := range called() {
			if c.HungUpAt != 0 {
				n++
			}
		}
		return n >= byHand+bySlot
	})
	if status := api.call("POST", "/api/cron/jobs/"+repeated+"/pause", "", nil); status != 200 {
		t.Fatalf("pause: %d", status)
	}
	close(answer)
	w.quiet(time.Minute)

	cancelled, workers, latest := map[string]int{}, map[string]bool{}, time.Duration(0)
	kept := 0
	for run, c := range called() {
		r, err := w.store.Run(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		if r.Outcome != job.Cancelled {
			kept++
			continue
		}
		cancelled[r.Reason]++
		workers[r.Attempts[0].Worker] = true
		if len(r.Attempts) != 1 || r.Reply != "" || len(r.Deliveries) != 0 {
			t.Errorf("%s was cancelled, and has %d attempts, %d deliveries and the reply %q", run, len(r.Attempts), len(r.Deliveries), r.Reply)
		}
		took := time.Duration(c.HungUpAt-int64(r.FinishedAt)) * time.Millisecond
		if c.HungUpAt == 0 || took > within {
			t.Errorf("%s(%s): its caller hung up %s after the cancel, promised are %s", run, r.Reason, took, within)
		}
		latest = max(latest, took)
	}
	if cancelled[job.ReasonRequested] != byHand || cancelled[job.ReasonOverlap] < bySlot || len(workers) != 2 {
		t.Errorf("cancelled are %v, under way at %d workers: the test proves less than it says", cancelled, len(workers))
	}
	if n := w.channel.Count(); n != kept {
		t.Errorf("%d messages of %d turns that were not cancelled", n, kept)
	}
	t.Logf("cancelled %v, the last caller hung up %s after", cancelled, latest)
}
