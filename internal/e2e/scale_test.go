package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/app"
	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// Two schedulers and two workers on one Redis: 200 jobs, three minutes, exactly
// 600 calls and 600 messages.
func TestTwoOfEachNeverFireTwice(t *testing.T) {
	t.Parallel()
	const jobs, slots = 200, 3
	w := newWorld(t, nil)
	api := w.start("api")
	for range 2 {
		w.start("scheduler")
		w.start("worker")
	}
	first := job.ToMillis(nextMinute(2 * time.Minute)) // for all, however long it takes to make them
	for n := range jobs {
		id := api.create(map[string]any{"schedule": "* * * * *", "agent_id": "main", "channel": "telegram",
			"chat_id": strconv.Itoa(n), "peer_id": strconv.Itoa(n), "is_group": false, "task": fmt.Sprint("task ", n), "max_runs": slots,
			"start_at": int64(first)})
		var got struct{ NextRunAt job.Millis }
		api.call("GET", "/api/cron/jobs/"+id, "", &got)
		if got.NextRunAt != first {
			t.Fatalf("job %d starts at %s, not at %s", n, got.NextRunAt.Time(), first.Time())
		}
	}
	const want = jobs * slots
	w.until("everything arrived", 8*time.Minute, func() bool { return w.channel.Count() >= want })
	w.quiet(time.Minute)
	w.at(nextMinute(0).Add(10 * time.Second)) // what would fire once too often had its chance
	if calls, messages := w.ai.Count(), w.channel.Count(); calls != want || messages != want {
		t.Errorf("%d calls and %d messages arrived, want %d of each", calls, messages, want)
	}
	texts := map[string]int{}
	for _, m := range w.channel.Messages() {
		texts[m.ChatID+" "+m.Text]++
	}
	for n := range jobs {
		if got := texts[fmt.Sprintf("%d Echo: task %d", n, n)]; got != slots {
			t.Errorf("chat %d got its message %d times", n, got)
		}
	}
	var list struct{ Jobs []struct{ ID string } }
	api.call("GET", "/api/cron/jobs", "", &list)
	if len(list.Jobs) != 0 {
		t.Errorf("%d jobs are left after their last run", len(list.Jobs))
	}
}

// The emitter lease only saves work: without it, two schedulers that both emit
// everything fire nothing twice. And nothing piles up in Redis on the way.
func TestWithoutEmitterLease(t *testing.T) {
	t.Parallel()
	const jobs, minutes = 500, 3
	w := newWorld(t, nil)
	trimmed := []string{"GATEWAY_CRON_HISTORY_PER_JOB=1", "GATEWAY_CRON_TASK_RETENTION=2s"}
	for range 2 {
		w.start("worker", trimmed...)
		w.scheduler()
	}
	first := job.ToMillis(nextMinute(time.Minute)) // for all, however long it takes to make them
	ids := w.crowd(jobs, func(s *job.Spec) { s.StartAt = first })

	var keys []map[string]int
	for n := range minutes {
		w.until("all of a minute were called", 3*time.Minute, func() bool { return w.channel.Count() >= jobs*(n+1) })
		var kinds map[string]int
		w.until("the finished tasks are gone", 3*time.Minute, func() bool {
			kinds = w.keyKinds()
			return !slices.ContainsFunc(slices.Collect(maps.Keys(kinds)), func(kind string) bool { return strings.HasPrefix(kind, "asynq:{") })
		})
		keys = append(keys, kinds)
	}
	l := w.ledger()
	for _, id := range ids {
		for n := range minutes {
			run := job.RunID(id, first+job.Millis(n)*60_000)
			if calls, sent := l.calls[run], l.sent[run+":1:0"]; calls != 1 || sent != 1 {
				t.Errorf("%s: %d calls, %d messages", run, calls, sent)
			}
		}
	}
	for n := 1; n < minutes; n++ {
		if !maps.Equal(keys[0], keys[n]) {
			t.Errorf("keys in Redis after %d slots: %v\nafter %d slots: %v", jobs, keys[0], jobs*(n+1), keys[n])
		}
	}
}

// scheduler runs a scheduler without the emitter lease within the test, the one
// thing that no setting of the binary does.
func (w *world) scheduler() {
	w.t.Helper()
	c, err := config.Load(func(name string) (string, bool) {
		for _, e := range w.env {
			if key, value, _ := strings.Cut(e, "="); key == name {
				return value, true
			}
		}
		return "", false
	})
	if err != nil {
		w.t.Fatal(err)
	}
	c.TaskRetention = 2 * time.Second
	a, err := app.Start(w.t.Context(), app.Options{Name: "scheduler", Config: c, Roles: app.Roles{Scheduler: true},
		Stdout: w.t.Output(), Logger: discard(), WithoutEmitterLease: true})
	if err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Serve(w.t.Context()) }()
	w.t.Cleanup(func() {
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
}

// keyKinds counts the keys by kind. Signs of life come and go, what was told may be of a
// slow machine, and counters per day change at midnight.
func (w *world) keyKinds() map[string]int {
	w.t.Helper()
	kinds := map[string]int{}
	for it := w.rdb.Scan(w.t.Context(), 0, "*", 1000).Iterator(); it.Next(w.t.Context()); {
		key := it.Val()
		parts := strings.Split(key, ":")
		kind := parts[0] + ":" + parts[1]
		if parts[0] == "asynq" && len(parts) > 2 {
			kind += ":" + parts[2]
		}
		if slices.Contains([]string{"asynq:workers", "asynq:servers", "asynq:schedulers", "{gateway-cron}:beat", "{gateway-cron}:told"}, parts[0]+":"+parts[1]) ||
			strings.Contains(key, ":processed") || strings.Contains(key, ":failed") {
			continue
		}
		kinds[kind]++
	}
	return kinds
}

// A deployment without a worker for three minutes: at most one pending task of its own
// a job, and afterwards every slot has ended exactly once and every job goes on.
func TestNoWorkerForThreeMinutes(t *testing.T) {
	t.Parallel()
	const jobs = 300
	w := newWorld(t, nil)
	schedulers := []*process{w.start("scheduler"), w.start("scheduler")}
	w.at(nextMinute(0).Add(2 * time.Second))
	ids := w.crowd(jobs)
	first := job.ToMillis(time.Now().Truncate(time.Minute).Add(time.Minute))

	worst := int64(0)
	back := first.Time().Add(3*time.Minute + 5*time.Second)
	w.until("three minutes are over", 6*time.Minute, func() bool {
		worst = max(worst, w.queued())
		return time.Now().After(back)
	})
	// One of its own for each job, and the batches that went out, at most once by each
	// scheduler, while nobody knew that no worker is there.
	batches := int64(len(schedulers) * (jobs + tasks.BatchSize - 1) / tasks.BatchSize)
	if worst > jobs+batches {
		t.Errorf("%d tasks were queued for %d jobs", worst, jobs)
	}
	if worst < jobs {
		t.Errorf("only %d tasks were queued for %d jobs", worst, jobs)
	}
	w.start("worker")
	w.goOn(ids, job.ToMillis(back.Truncate(time.Minute).Add(time.Minute)), schedulers)
	l := w.ledger()
	for _, id := range ids {
		if ran := l.check(id, first, 1); ran < 2 {
			t.Errorf("%s ran %d times", id, ran)
		}
	}
	l.nothingElse()
}

// A worker killed in the middle of its calls: what it had begun is tried again within
// 25 s, shown as ambiguous, and committed once. The 25 s are the promise, made of a lease
// of 15 s and two looks 6 s apart, and not a measure of this machine: what is held to
// them are the instants on record.
func TestWorkerKilledInMidCall(t *testing.T) {
	t.Parallel()
	const jobs, within = 300, 25 * time.Second
	w := newWorld(t, slowly(15*time.Second))
	schedulers := []*process{w.start("scheduler"), w.start("scheduler")}
	env := "GATEWAY_CRON_CONCURRENCY=400"
	victim := w.start("worker", env)
	w.start("worker", env)
	w.at(nextMinute(0).Add(2 * time.Second))
	ids := w.crowd(jobs)
	first := job.ToMillis(time.Now().Truncate(time.Minute).Add(time.Minute))

	w.until("calls are under way", 2*time.Minute, func() bool { return w.ai.Count() >= jobs*9/10 })
	killed, err := w.store.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	victim.Kill()
	w.start("worker", env)
	w.goOn(ids, first+2*60_000, schedulers)

	l := w.ledger()
	again, latest := 0, time.Duration(0)
	for _, id := range ids {
		for _, r := range w.history(id) {
			if len(r.Attempts) < 2 {
				continue
			}
			again++
			if a := r.Attempts[0]; a.Result != job.ResultAmbiguous || a.Cause != job.CauseLeaseExpired {
				t.Errorf("%s: its first attempt is shown as %s(%s)", r.ID, a.Result, a.Cause)
			}
			latest = max(latest, r.Attempts[1].StartedAt.Time().Sub(killed))
		}
		l.check(id, first, 2)
	}
	l.nothingElse()
	if again == 0 {
		t.Error("the killed worker had nothing under way: the test proves nothing")
	}
	t.Logf("%d of %d calls were cut and made again, the last %s after the kill; promised are %s on an idle machine", again, jobs, latest, within)
}

// Workers that are replaced one after the other while there is more to do than they
// can do at once: what runs is finished, what waits goes to the next one, and nothing
// is lost, cut or made twice.
func TestWorkersAreReplaced(t *testing.T) {
	t.Parallel()
	const runs, replaced = 120, 4
	w := newWorld(t, slowly(200*time.Millisecond))
	api := w.start("api")
	w.start("scheduler")
	var ids []string
	for n := range runs {
		id := fmt.Sprint("by-hand-", n)
		if _, err := w.store.CreateJob(t.Context(), id, job.Spec{Schedule: "0 0 29 2 *", Task: "hello"}); err != nil {
			t.Fatal(err)
		}
		if status := api.call("POST", "/api/cron/jobs/"+id+"/run", "", nil); status/100 != 2 {
			t.Fatalf("run %s: %d", id, status)
		}
		ids = append(ids, id)
	}
	env := "GATEWAY_CRON_CONCURRENCY=8"
	for n := range replaced {
		worker := w.start("worker", env)
		w.until("it works", time.Minute, func() bool { return w.ai.Count() >= (n+1)*runs/(replaced+2) })
		worker.Stop()
	}
	if left := runs - w.ai.Count(); left <= 0 {
		t.Error("nothing was left to hand back: the test proves nothing")
	}
	w.start("worker", env)
	w.quiet(2 * time.Minute)
	l := w.ledger()
	for _, id := range ids {
		for _, r := range w.history(id) {
			if r.Outcome != job.Succeeded || len(r.Attempts) != 1 || l.calls[r.ID] != 1 {
				t.Errorf("%s: %s after %d attempts and %d calls", r.ID, r.Outcome, len(r.Attempts), l.calls[r.ID])
			}
		}
	}
	if n := w.ai.Count(); n != runs {
		t.Errorf("%d calls for %d runs", n, runs)
	}
}

// Redis killed over the minute at which everything is due.
func TestRedisDownAtFireTime(t *testing.T) {
	t.Parallel()
	const jobs = 100
	w := newWorld(t, nil)
	schedulers := []*process{w.start("scheduler"), w.start("scheduler")}
	w.start("worker")
	w.start("worker")
	w.at(nextMinute(0).Add(2 * time.Second))
	ids := w.crowd(jobs)
	slot := time.Now().Truncate(time.Minute).Add(time.Minute)
	w.at(slot.Add(-5 * time.Second))
	w.redis.Kill()
	w.at(slot.Add(10 * time.Second))
	w.redis.Restart()
	w.goOn(ids, job.ToMillis(slot.Add(time.Minute)), schedulers)
	l := w.ledger()
	for _, id := range ids {
		if ran := l.check(id, job.ToMillis(slot), 1); ran < 2 {
			t.Errorf("%s ran %d times", id, ran)
		}
	}
	l.nothingElse()
}

// queued is the number of run tasks that wait for a worker.
func (w *world) queued() int64 {
	n, err := w.rdb.LLen(w.t.Context(), "asynq:{gateway-cron-run}:pending").Result()
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// goOn waits until every job has a record of the given slot or a later one, and
// then until nothing is under way and nothing can start.
func (w *world) goOn(ids []string, slot job.Millis, schedulers []*process) {
	w.t.Helper()
	w.until("every job went on", 5*time.Minute, func() bool {
		for _, id := range ids {
			j, err := w.store.Job(w.t.Context(), id)
			if err != nil || j.LastSlot < slot {
				return false
			}
		}
		return true
	})
	for _, s := range schedulers {
		w.quiet(3 * time.Minute)
		s.Stop()
	}
	w.quiet(3 * time.Minute)
	w.until("no task is left", time.Minute, func() bool {
		active, err := w.rdb.LLen(w.t.Context(), "asynq:{gateway-cron-run}:active").Result()
		return err == nil && active == 0 && w.queued() == 0
	})
	w.quiet(time.Minute)
}
