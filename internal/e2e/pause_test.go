package e2e

import (
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// Everything is paused in the middle of a minute's runs: those under way come to their
// end and to their chat, nothing begins after the answer, and what came due until the
// resume is one record a job. The next slot runs again.
func TestPauseEverything(t *testing.T) {
	t.Parallel()
	const jobs = 100
	w := newWorld(t, slowly(2*time.Second))
	api := w.start("api")
	schedulers := []*process{w.start("scheduler"), w.start("scheduler")}
	w.start("worker", "GATEWAY_CRON_CONCURRENCY=20") // the others wait in the queue
	w.at(nextMinute(0).Add(2 * time.Second))
	ids := w.crowd(jobs)
	first := job.ToMillis(time.Now().Truncate(time.Minute).Add(time.Minute))

	w.until("runs are under way", 2*time.Minute, func() bool { return w.ai.Count() >= 10 })
	var paused struct {
		Paused      bool
		PausedSince job.Millis
	}
	if status := api.call("POST", "/api/cron/all/pause", `{"reason":"a test"}`, &paused); status != 200 || !paused.Paused {
		t.Fatalf("pause: %d %+v", status, paused)
	}
	if status := api.call("POST", "/api/cron/jobs/"+ids[0]+"/run", "", nil); status != 409 {
		t.Errorf("a manual run meanwhile: %d", status)
	}
	w.quiet(time.Minute) // also: what was under way has been delivered
	calls := w.ai.Count()
	w.at(nextMinute(0).Add(10 * time.Second))
	if n := w.ai.Count(); n != calls {
		t.Errorf("%d calls while everything was paused", n-calls)
	}
	if calls >= jobs {
		t.Error("everything had begun before the pause: the test proves nothing")
	}

	if status := api.call("POST", "/api/cron/all/resume", "", nil); status != 200 {
		t.Fatalf("resume: %d", status)
	}
	resumed := job.ToMillis(time.Now())
	w.goOn(ids, job.ToMillis(time.Now().Truncate(time.Minute).Add(time.Minute)), schedulers)

	l := w.ledger()
	for _, id := range ids {
		records, history := 0, w.history(id)
		if r := history[len(history)-1]; r.Outcome != job.Succeeded {
			t.Errorf("after the resume %s is %s(%s)", r.ID, r.Outcome, r.Reason)
		}
		for _, r := range history {
			switch {
			case r.Outcome == job.Skipped && r.Reason == job.ReasonPaused:
				records++
			case r.StartedAt > paused.PausedSince && r.StartedAt < resumed:
				t.Errorf("%s began at %s, everything was paused at %s", r.ID, r.StartedAt.Time(), paused.PausedSince.Time())
			}
		}
		if records != 1 {
			t.Errorf("%s: %d records of the pause", id, records)
		}
		l.check(id, first, 1)
	}
	l.nothingElse()
}
