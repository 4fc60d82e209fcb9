package health

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

const now = job.Millis(1_796_000_000_000)

func ago(d time.Duration) job.Millis { return now - job.Millis(d.Milliseconds()) }

// well is a deployment that is well: a scheduler that leads, and two workers with a place
// free.
func well() Facts {
	parties := func() []job.Party { return []job.Party{{Name: AIServer}, {Name: "telegram"}} }
	return Facts{Now: now, Status: job.Status{Jobs: 12}, Signs: job.Signs{Now: now, Emitter: "s", Looked: ago(time.Second), Processes: []job.Process{
		{Role: "scheduler", Host: "a", PID: 1, Alive: true, Last: ago(time.Second)},
		{Role: "worker", Host: "a", PID: 2, Alive: true, Last: ago(time.Second), StartedAt: ago(time.Hour), Places: 2, Taken: 2, FullSince: ago(59 * time.Second), Parties: parties()},
		{Role: "worker", Host: "b", PID: 1, Alive: true, Last: ago(time.Second), StartedAt: ago(time.Hour), Places: 2, Taken: 1, Parties: parties()},
	}}}
}

func workers(f *Facts) []*job.Process {
	return []*job.Process{&f.Signs.Processes[1], &f.Signs.Processes[2]}
}

// TestJudge: what is found of each thing that can be wrong, what it means, and what to do.
func TestJudge(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil  func(f *Facts)
		state  State
		late   bool
		expect []string // each reason: its code, a part of its text, and of its remedy
	}{
		"nothing is wrong": {func(*Facts) {}, OK, false, nil},
		"redis away": {func(f *Facts) { f.Redis.Away = "connection refused" }, Failing, false,
			[]string{"redis_away|does not answer: connection refused|bring Redis back"}},
		"embedded redis ended": {func(f *Facts) {
			f.Redis.Away, f.Redis.Fix = "redis-server ended: exit status 1", "it is started again by itself"
		}, Failing, false, []string{"redis_away|exit status 1; nothing starts|by itself"}},
		"the disk is full": {func(f *Facts) {
			f.Disk = Disk{Short: "12 MiB are free and 300 MiB must be", Since: ago(time.Minute), Dir: "/data"}
		}, Failing, false,
			[]string{"disk_full|12 MiB are free and 300 MiB must be; no turn begins|where /data lies"}},
		"the disk is full and redis has ended": {func(f *Facts) {
			f.Disk = Disk{Short: "0 MiB are free and 300 MiB must be", Since: ago(time.Minute), Dir: "/data"}
			f.Redis.Away = "No space left on device"
		}, Failing, false, []string{"disk_full|0 MiB are free|stop nothing", "redis_away|No space left|Redis"}},
		"redis denies": {func(f *Facts) { f.Redis.Denies = "NOPERM" }, Failing, false, []string{"redis_denies|NOPERM|operations.md"}},
		"redis full": {func(f *Facts) {
			f.Redis.Refuses, f.Redis.Fix = "its memory is full", "raise maxmemory"
			f.Signs.Looked, f.Signs.Processes = ago(time.Minute), nil // signs of life are refused too
		}, Failing, false, []string{"redis_refuses_writes|its memory is full|raise maxmemory"}},
		"redis nearly full": {func(f *Facts) { f.Redis.Nearly = "93 % of the maxmemory of Redis is used" }, Degraded, false,
			[]string{"redis_memory|93 %|maxmemory"}},
		"redis forgets": {func(f *Facts) { f.Redis.Lossy = []Lossy{{"appendonly is no", "set appendonly yes"}} }, Degraded, false,
			[]string{"redis_not_durable|appendonly is no|set appendonly yes"}},
		"clock step, held": {func(f *Facts) { f.Clock.Held = job.ClockStep{By: 366 * 24 * time.Hour, Since: ago(time.Second)} }, Failing, false,
			[]string{"clock_step|was set forward by 366 days: nothing starts|NTP"}},
		"clock step, over": {func(f *Facts) {
			f.Clock.Check = job.CursorCheck{Why: job.CheckClock, Since: ago(time.Minute), Ended: ago(time.Second), Moved: 7}
		}, Degraded, false, []string{"clock_step|were looked at, and 7 put right|upcoming"}},
		"clock step that stays": {func(f *Facts) {
			f.Clock.Last = job.ClockStep{By: -2 * time.Hour}
			f.Clock.Check = job.CursorCheck{Why: job.CheckClock, Since: ago(time.Minute), Checked: 500}
		}, Degraded, false, []string{"clock_step|back by 2 h, and goes by that now; the cursors of 500 jobs were looked at|upcoming"}},
		"clock step long ago": {func(f *Facts) {
			f.Clock.Check = job.CursorCheck{Why: job.CheckClock, Since: ago(2 * time.Hour), Ended: ago(time.Hour)}
		}, OK, false, nil},
		"other zone rules": {func(f *Facts) { f.Clock.Check = job.CursorCheck{Why: job.CheckZones, Since: ago(time.Minute)} }, OK, false, nil},
		"store emptied": {func(f *Facts) { f.Signs.Emptied = job.Emptied{At: ago(time.Hour), Jobs: 71} }, Degraded, false,
			[]string{"store_emptied|71 jobs that it had are gone|import"}},
		"store emptied long ago": {func(f *Facts) { f.Signs.Emptied = job.Emptied{At: ago(25 * time.Hour), Jobs: 71} }, OK, false, nil},
		"no scheduler": {func(f *Facts) { f.Signs.Looked, f.Signs.Emitter = ago(time.Minute), "" }, Failing, false,
			[]string{"no_scheduler|looked last 1 min ago|gateway-cron scheduler"}},
		"no scheduler ever": {func(f *Facts) { f.Signs.Looked = 0 }, Failing, false, []string{"no_scheduler|no scheduler works|gateway-cron scheduler"}},
		"no leader":         {func(f *Facts) { f.Signs.Emitter = "" }, Degraded, false, []string{"no_leader|takes over|ask again"}},
		"no worker": {func(f *Facts) {
			workers(f)[0].Alive, workers(f)[1].Alive = false, false
		}, Failing, false, []string{"no_worker|nothing runs|gateway-cron worker", "process_lost|worker on a (pid 2)|log", "process_lost|worker on b|log"}},
		"a worker lost": {func(f *Facts) { workers(f)[1].Alive = false }, Degraded, false, []string{"process_lost|worker on b (pid 1) gave its last sign of life 1 s ago|log"}},
		"a worker replaced": {func(f *Facts) {
			f.Signs.Processes = append(f.Signs.Processes, job.Process{Role: "worker", Host: "a", PID: 9, Last: ago(2 * time.Hour)})
		}, OK, false, nil},
		"late, with free places": {func(f *Facts) {
			f.Signs.Late = job.Overdue{Count: 2, Oldest: ago(3 * time.Minute), IDs: []string{"j", "k"}}
		}, Failing, true,
			[]string{"slots_late|2 slots late, the oldest 3 min; workers: 3 of 4 places taken|/api/cron/jobs/j/explain"}},
		"late, all places taken": {func(f *Facts) {
			f.Signs.Late = job.Overdue{Count: 4, Oldest: ago(3 * time.Minute), IDs: []string{"j"}}
			workers(f)[1].Taken, workers(f)[1].FullSince = 2, ago(2*time.Minute)
		}, Degraded, true, []string{"slots_late|4 slots late, the oldest 3 min; workers: 4 of 4 places taken|more workers"}},
		"all places taken for over a minute": {func(f *Facts) {
			workers(f)[0].FullSince = ago(61 * time.Second)
			workers(f)[1].Taken, workers(f)[1].FullSince = 2, ago(2*time.Minute)
		}, Degraded, true, []string{"places_taken|all 4 places of the workers are taken for 1 min 1 s|CONCURRENCY"}},
		"turns that wait for memory": {func(f *Facts) {
			workers(f)[0].Waiting, workers(f)[0].WaitingCount, workers(f)[0].WaitingSince = []string{"a", "b"}, 7, ago(time.Minute)
			workers(f)[1].Waiting, workers(f)[1].WaitingCount, workers(f)[1].WaitingSince = []string{"c"}, 1, ago(2*time.Minute)
		}, Degraded, false, []string{"memory_taken|8 turns with a long conversation wait|WORKER_MEMORY_BYTES"}},
		"cut to a bound": {func(f *Facts) { f.Signs.Cut = job.Overdue{Count: 7, Oldest: ago(time.Hour), IDs: []string{"a", "b"}} }, Degraded, false,
			[]string{"bound_reached|went within a day, to keep to the bounds in bytes: a, b and 5 more|HISTORY_BYTES"}},
		"absent": {func(f *Facts) { f.Absent = job.Overdue{Count: 1, Oldest: ago(time.Hour), IDs: []string{"j"}} }, Degraded, true,
			[]string{"slots_absent|1 slot should have run and has no record: of j|explain"}},
		"runs that nobody begins": {func(f *Facts) {
			f.Signs.Untouched = job.Overdue{Count: 1, Oldest: ago(3 * time.Minute), IDs: []string{"j:1"}}
		}, Degraded, true,
			[]string{"runs_waiting|1 run could have begun and did not, for 3 min: j:1|logs"}},
		"nobody looks": {func(f *Facts) { f.Signs.Wake = job.Overdue{Count: 7, Oldest: ago(time.Minute), IDs: []string{"r:j:1"}} }, Degraded, true,
			[]string{"work_stuck|7 unfinished runs and deliveries, for 1 min: r:j:1 and 6 more|scheduler"}},
		"paused": {func(f *Facts) { f.Status.PausedSince, f.Status.PauseReason = ago(time.Hour), "wrong chat" }, Degraded, false,
			[]string{"paused|everything is paused, for 1 h: wrong chat|/api/cron/all/resume"}},
		"the queue of runs paused":       {func(f *Facts) { f.Queues = []Queue{{Name: "q-run", Runs: true, Paused: true}} }, Failing, false, []string{"queue_paused|q-run was paused|/api/cron/all/pause"}},
		"the queue of deliveries paused": {func(f *Facts) { f.Queues = []Queue{{Name: "q-run", Runs: true}, {Name: "q-deliver", Paused: true}} }, Degraded, false, []string{"queue_paused|no reply is delivered|wait a minute"}},
		"the ai-server away": {func(f *Facts) {
			for _, w := range workers(f) {
				w.Parties[0].Away, w.Parties[0].Since = "connection refused", ago(time.Minute)
			}
		}, Failing, false, []string{"ai_server_away|ai-server cannot be reached: connection refused|GATEWAY_CRON_AI_SERVER_URL"}},
		"the ai-server away for a moment": {func(f *Facts) {
			workers(f)[0].Parties[0].Away, workers(f)[0].Parties[0].Since = "connection refused", ago(time.Second)
		}, OK, false, nil},
		"the ai-server away from one worker": {func(f *Facts) {
			workers(f)[1].Parties[0].Away, workers(f)[1].Parties[0].Since = "connection refused", ago(time.Minute)
		}, Degraded, false, []string{"ai_server_away|for the worker on b (pid 1)|start the ai-server"}},
		"no key": {func(f *Facts) {
			for _, w := range workers(f) {
				w.Parties[0].Missing = "the key of anthropic"
			}
		}, Failing, false, []string{"ai_server_key|lacks the key of anthropic|.env"}},
		"the key of one provider": {func(f *Facts) {
			for _, w := range workers(f) {
				w.Parties[0].Missing, w.Parties[0].Partly = "the key of anthropic", true
			}
		}, Degraded, false, []string{"ai_server_key|lacks the key of anthropic|.env"}},
		"the ai-server refuses all": {func(f *Facts) {
			for _, w := range workers(f) {
				w.Parties[0].Failures, w.Parties[0].Error = 3, "answered 500"
			}
		}, Degraded, false, []string{"ai_server_failing|failed 3 calls in a row; the last: answered 500|log"}},
		"a channel away": {func(f *Facts) {
			for _, w := range workers(f) {
				w.Parties[1].Away, w.Parties[1].Since = "unauthorized", ago(time.Minute)
			}
		}, Degraded, false, []string{"channel_away|telegram cannot be reached: unauthorized|address and token"}},
		"a channel refuses all": {func(f *Facts) { workers(f)[0].Parties[1].Failures = 3 }, Degraded, false, []string{"channel_failing|telegram failed 3 calls|runs"}},
		"a job fails":           {func(f *Facts) { f.Ailing.Failing = []job.AilingJob{{ID: "j", Failures: 2}} }, OK, false, nil},
		"jobs fail": {func(f *Facts) {
			f.Ailing.Failing = []job.AilingJob{{ID: "j", Name: "Bread", Failures: 3, LastError: "no model", Since: ago(time.Hour)},
				{ID: "k", Failures: 9, Since: ago(2 * time.Hour)}, {ID: "l", Failures: 10, DisabledAt: ago(time.Minute), LastError: "401"}}
			f.Ailing.Undelivered = []job.AilingJob{{ID: "m", LastDelivery: job.DeliveryFailed, DeliveryError: "chat not found"}}
		}, Degraded, false, []string{"job_disabled|job l was disabled because its runs kept failing; the last: 401|/api/cron/jobs/l/resume",
			`job_failing|2 jobs keep failing: k, "Bread" (j)|/api/cron/jobs/k/runs`, "delivery_failing|job m does not get its replies to its chat; the last: chat not found|PATCH /api/cron/jobs/m"}},
		"a thousand jobs fail": {func(f *Facts) {
			f.Ailing.Failing, f.Ailing.FailingCount = []job.AilingJob{{ID: "j", Failures: 3}}, 1000
		}, Degraded, false, []string{"job_failing|1000 jobs keep failing: j and 999 more|/api/cron/jobs/j/runs"}},
		"a record that cannot be read": {func(f *Facts) {
			f.Status.Repairs.Quarantined = []job.Quarantined{{Unreadable: job.UnreadableJob("j", "uid is missing"), Since: ago(time.Hour)}}
		}, Degraded, false, []string{"record_unreadable|job:j cannot be read: uid is missing|mend its key"}},
		"the worst first": {func(f *Facts) {
			f.Status.PausedSince = ago(time.Hour)
			f.Queues = []Queue{{Name: "q", Runs: true, Paused: true}}
		}, Failing, false,
			[]string{"queue_paused|q|pause", "paused|everything|resume"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := well()
			tt.spoil(&f)
			r := Judge(f, Options{})
			if r.State != tt.state || r.Late() != tt.late || r.At != now {
				t.Errorf("%s, late %v, at %d", r.State, r.Late(), r.At)
			}
			if len(r.Reasons) != len(tt.expect) {
				t.Fatalf("%d reasons, want %d: %+v", len(r.Reasons), len(tt.expect), r.Reasons)
			}
			for i, reason := range r.Reasons {
				want := strings.Split(tt.expect[i], "|")
				if string(reason.Code) != want[0] || !strings.Contains(reason.Text, want[1]) || !strings.Contains(reason.Fix.Call, want[2]) {
					t.Errorf("%s: %q -> %q, want %v", reason.Code, reason.Text, reason.Fix.Call, want)
				}
				if reason.Count < 1 || reason.Fix.Command == "" || words[reason.Code] == "" {
					t.Errorf("incomplete: %+v", reason)
				}
			}
		})
	}
}

// Who may know how the deployment stands and no more learns nothing of others.
func TestOutline(t *testing.T) {
	f := well()
	f.Status.PausedSince, f.Status.PauseReason = now, "secret"
	f.Ailing.Failing = []job.AilingJob{{ID: "secret", Failures: 5, LastError: "secret"}}
	o := Judge(f, Options{}).Outline()
	want := Report{State: Degraded, At: now, Reasons: []Reason{{Code: Paused, State: Degraded, Text: "everything is paused"},
		{Code: JobFailing, State: Degraded, Text: "a job keeps failing"}}}
	if d := cmp.Diff(want, o); d != "" {
		t.Error(d)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", -7 * time.Millisecond: "7 ms", 59 * time.Second: "59 s", time.Minute: "1 min", 61 * time.Second: "1 min 1 s",
		3 * time.Hour: "3 h", 49*time.Hour + time.Minute: "2 days 1 h",
	} {
		if got := Span(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
