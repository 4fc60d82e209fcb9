package e2e

import (
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// What other tests do with thresholds of seconds, these do with those of a deployment and
// with many jobs; make check-long runs them.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("GATEWAY_CRON_LONG") == "" {
		t.Skip("takes minutes; make check-long runs it")
	}
	t.Parallel()
}

// TestLongStep: a clock that was set and stays so holds everything for two minutes, and is
// the time from then on. What is due by it runs.
func TestLongStep(t *testing.T) {
	long(t)
	redistest.NeedClock(t)
	w := newWorld(t, nil, redistest.WithClock())
	api := w.whole()
	api.create(map[string]any{"id": "often", "every": 10, "task": "x"})
	api.create(map[string]any{"id": "yearly", "schedule": "0 0 1 1 *", "task": "x"})
	w.until("it runs", time.Minute, func() bool { return w.ai.Count() > 0 })
	w.redis.SetClock(2 * time.Hour)
	set := time.Now()
	w.names(api, "clock_step", "failing")
	before := w.ai.Count()
	w.stands(api, "the clock is believed", func(s told) bool {
		n := w.ai.Count()
		if s.State == "failing" && n > before {
			t.Fatalf("%d runs began by a clock that was not believed", n-before)
		}
		return s.State != "failing"
	})
	t.Logf("believed after %s", time.Since(set).Round(time.Second))
	w.until("it runs again", time.Minute, func() bool { return w.ai.Count() >= before+3 })
	j, err := w.store.Job(t.Context(), "yearly")
	if err != nil || j.NextSlot != job.ToMillis(time.Date(time.Now().UTC().Year()+1, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("the yearly job runs next at %s (%v)", j.NextSlot.Time(), err)
	}
}

// TestLongAlerts: a thousand jobs of one chat fail twice, at one time. It gets at most one alert
// a minute, and each failure is on record.
func TestLongAlerts(t *testing.T) {
	long(t)
	const jobs, slots = 1000, 2
	w := newWorld(t, func(standin.ChatCall) standin.Answer { return standin.Answer{Status: 400} })
	w.start("scheduler")
	w.start("worker")
	w.at(nextMinute(0).Add(2 * time.Second))
	ids := w.crowd(jobs, func(s *job.Spec) {
		s.ChatID, s.MaxRetries, s.Schedule = "one", new(int), "*/2 * * * *"
	})
	w.until("all have failed", 10*time.Minute, func() bool { return w.ai.Count() >= jobs*slots })
	w.at(time.Now().Add(150 * time.Second))
	for _, id := range ids {
		runs := w.history(id)
		if len(runs) < slots {
			t.Errorf("%s: %d runs are on record", id, len(runs))
		}
		for _, r := range runs {
			if r.State == job.StateDone && r.Outcome != job.Failed {
				t.Errorf("%s: %s(%s)", r.ID, r.Outcome, r.Reason)
			}
		}
	}
	last := time.Time{}
	messages := w.channel.Messages()
	for _, m := range messages {
		at := time.UnixMilli(m.At)
		if after := at.Sub(last); after < 59*time.Second {
			t.Errorf("an alert %s after the one before:\n%s", after, m.Text)
		}
		last = at
		t.Logf("%s\n%s", at.UTC().Format(time.TimeOnly), m.Text)
	}
	if len(messages) == 0 {
		t.Error("nobody was told")
	}
}

// TestLongAbsence: one slot of ten thousand jobs is lost to those who fire, and found by the
// check that shares nothing with them.
func TestLongAbsence(t *testing.T) {
	long(t)
	w := newWorld(t, nil)
	api := w.whole()
	w.crowd(10_000, func(s *job.Spec) { s.Schedule = "0 0 1 1 *" })
	id := api.create(map[string]any{"schedule": "* * * * *", "task": "x"})
	w.jump(id)
	lost := time.Now()
	w.names(api, "slots_absent", "degraded")
	t.Logf("named after %s", time.Since(lost).Round(time.Second))
}

// jump lets the cursor of a job jump over its slots, as damage may: nobody who fires can
// know of them.
func (w *world) jump(id string) {
	w.t.Helper()
	ctx, key := w.t.Context(), "{gateway-cron}:job:"+id
	far := time.Now().Add(48 * time.Hour).Truncate(time.Minute).UnixMilli()
	long := time.Now().Add(-time.Hour).UnixMilli()
	_, err := w.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, key, "nextSlot", far, "createdAt", long, "updatedAt", long)
		p.ZAdd(ctx, "{gateway-cron}:due", redis.Z{Score: float64(far), Member: id})
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}
