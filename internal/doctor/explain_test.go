package doctor

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/health"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
	"github.com/gatewaycron/gatewaycron/internal/store"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

const prefix = "{gateway-cron}:"

// fixture is a deployment with one job, and a way to reach behind it.
type fixture struct {
	*store.Store
	t   *testing.T
	rdb *redis.Client
	ctx context.Context
	now time.Time // the minute in which the test began
}

func setup(t *testing.T) *fixture {
	t.Helper()
	rdb := redistest.Fresh(t).Client()
	f := &fixture{Store: store.New(rdb, store.Options{}), t: t, rdb: rdb, ctx: t.Context()}
	now, err := f.Now(f.ctx)
	f.must(err)
	f.now = now.Truncate(time.Minute)
	return f
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// minute is the slot n minutes from that in which the test began.
func (f *fixture) minute(n int) job.Millis {
	return job.ToMillis(f.now.Add(time.Duration(n) * time.Minute))
}

// create makes the job "j", of each minute, as if it had been there for a day.
func (f *fixture) create(change func(*job.Spec)) job.Job {
	f.t.Helper()
	spec := job.Spec{Schedule: "* * * * *", Timezone: "Europe/Berlin", Enabled: true, Task: "say hello"}
	if change != nil {
		change(&spec)
	}
	j, err := f.CreateJob(f.ctx, "j", spec)
	f.must(err)
	long := int64(f.minute(-24 * 60))
	f.set("createdAt", long, "updatedAt", long)
	return j
}

func (f *fixture) set(fields ...any) {
	f.t.Helper()
	f.must(f.rdb.HSet(f.ctx, prefix+"job:j", fields...).Err())
}

// rewind makes a slot the next one, as if nothing had run since.
func (f *fixture) rewind(slot job.Millis) {
	f.t.Helper()
	f.set("nextSlot", int64(slot))
	f.must(f.rdb.ZAdd(f.ctx, prefix+"due", redis.Z{Score: float64(slot), Member: "j"}).Err())
}

// claim takes the slot as a worker does; the one after it is a minute later.
func (f *fixture) claim(slot job.Millis) job.Begun {
	f.t.Helper()
	f.rewind(slot)
	j, err := f.Job(f.ctx, "j")
	f.must(err)
	b, err := f.Claim(f.ctx, job.Claim{JobID: "j", UID: j.UID, Slot: slot, Revision: j.Revision, Next: slot + 60_000,
		NextDue: slot + 60_000, Token: "t" + strconv.FormatInt(int64(slot), 10), Worker: "w1"})
	f.must(err)
	return b
}

func (f *fixture) fail(b job.Begun, retry job.Retry) {
	f.t.Helper()
	_, _, err := f.Fail(f.ctx, job.Failure{RunID: b.Run.ID, Epoch: b.Epoch, Result: job.ResultFailed, Cause: job.CauseAIError,
		Message: "no\nmodel", Retry: retry, Delay: 90 * time.Second, Outcome: job.Failed})
	f.must(err)
}

func (f *fixture) commit(b job.Begun, state job.DeliveryState) {
	f.t.Helper()
	_, err := f.Commit(f.ctx, job.Commit{RunID: b.Run.ID, Epoch: b.Epoch, Token: "c", Reply: "r", Delivery: state})
	f.must(err)
}

func (f *fixture) collapse(first, last job.Millis, outcome job.Outcome, reason string) {
	f.t.Helper()
	f.rewind(first)
	j, err := f.Job(f.ctx, "j")
	f.must(err)
	moved, err := f.Collapse(f.ctx, job.Collapse{JobID: "j", UID: j.UID, Revision: j.Revision, Seen: first, First: first, Last: last,
		Count: int(last-first)/60_000 + 1, Outcome: outcome, Reason: reason, Next: last + 60_000, NextDue: last + 60_000, EmittedGrace: -1})
	f.must(err)
	if !moved {
		f.t.Fatal("the cursor did not move")
	}
}

func (f *fixture) update(edit func(job.Spec) job.Spec) {
	f.t.Helper()
	_, err := f.UpdateJob(f.ctx, "j", func(s job.Spec) (job.Spec, error) { return edit(s), nil })
	f.must(err)
}

// TestExplain: for each way in which a slot may end or hang, the words that say so.
func TestExplain(t *testing.T) {
	taken := health.Report{State: health.Degraded, Reasons: []health.Reason{{Code: health.Paused, Text: "no"},
		{Code: health.PlacesTaken, State: health.Degraded, Late: true, Text: "all 1 place of the workers is taken", Fix: health.Fix{Command: "more workers"}}}}
	for name, tc := range map[string]struct {
		prepare func(f *fixture) (at job.Millis) // 0: the last slots
		want    []string                         // each begins a line, * stands for anything
	}{
		"succeeded": {func(f *fixture) job.Millis {
			f.create(nil)
			f.commit(f.claim(f.minute(0)), job.DeliveryNotRequested)
			return f.minute(0)
		}, []string{`ok    slot * Europe/Berlin  succeeded: run j:* began * and took *; reply: not sent, because the job has no chat`}},
		"without a reply": {func(f *fixture) job.Millis {
			f.create(nil)
			b := f.claim(f.minute(0))
			_, err := f.Commit(f.ctx, job.Commit{RunID: b.Run.ID, Epoch: b.Epoch, Token: "c", Empty: true, Delivery: job.DeliverySuppressed})
			f.must(err)
			return f.minute(0)
		}, []string{`ok    slot *  succeeded: run j:* reply: none, because the agent ended its turn without a text`}},
		"not confirmed": {func(f *fixture) job.Millis {
			f.create(nil)
			b := f.claim(f.minute(0))
			f.commit(b, job.DeliveryNotRequested)
			f.must(f.rdb.HSet(f.ctx, prefix+"run:"+b.Run.ID, "delivery", "unknown").Err())
			return f.minute(0)
		}, []string{`warn  slot *  succeeded: * it may have arrived  -> gateway-cron run redeliver j:*`}},
		"failed": {func(f *fixture) job.Millis {
			f.create(nil)
			f.fail(f.claim(f.minute(0)), job.RetryNever)
			return f.minute(0)
		}, []string{`ok    job * 1 run failed in a row`, `warn  slot *  failed: run j:* ended * after 1 attempt, the last with: no model  -> gateway-cron run show j:`}},
		"retried": {func(f *fixture) job.Millis {
			f.create(func(s *job.Spec) { s.Schedule = "* * * * *"; s.At, s.Schedule = f.minute(60), "" })
			b := f.claim(f.minute(0))
			f.must(f.rdb.HSet(f.ctx, prefix+"job:j", "nextSlot", int64(f.minute(60))).Err())
			f.fail(b, job.RetryCounted)
			return f.minute(0)
		}, []string{`ok    unfinished * is tried again in 1 min *; attempt 1 was failed (ai_error): no model`, `ok    slot *  run j:* is tried again in`}},
		"running": {func(f *fixture) job.Millis {
			f.create(nil)
			f.claim(f.minute(0))
			return f.minute(0)
		}, []string{`ok    slot *  run j:* is in progress: attempt 1, for * ms, on w1`}},
		"overlap": {func(f *fixture) job.Millis {
			f.create(nil)
			f.claim(f.minute(-1))
			f.claim(f.minute(0))
			return f.minute(0)
		}, []string{`warn  slot *  skipped(overlap): the run of * Europe/Berlin was still in progress (run j:*)  -> a longer interval`}},
		"queued": {func(f *fixture) job.Millis {
			f.create(func(s *job.Spec) { s.Overlap = job.OverlapQueueOne })
			f.claim(f.minute(-1))
			f.claim(f.minute(0))
			return f.minute(0)
		}, []string{`ok    slot *  run j:* waits until no other run of the job is in progress (overlap: queue_one)`}},
		"parked": {func(f *fixture) job.Millis {
			f.create(func(s *job.Spec) { s.Overlap, s.SessionKey = job.OverlapAllow, "agent:main:x" })
			f.claim(f.minute(-1))
			f.claim(f.minute(0))
			return f.minute(0)
		}, []string{`ok    slot *  run j:* waits for the session agent:main:x, which run j:* holds`}},
		"without a place": {func(f *fixture) job.Millis {
			f.create(func(s *job.Spec) { s.Overlap = job.OverlapAllow })
			_, err := f.CreateJob(f.ctx, "other", job.Spec{Schedule: "0 0 29 2 *", Enabled: true, Task: "x", AgentID: "b"})
			f.must(err)
			_, err = f.CreateJob(f.ctx, "busy", job.Spec{Schedule: "0 0 29 2 *", Enabled: true, Task: "x"})
			f.must(err)
			f.must(f.Beat(f.ctx, job.Process{Role: "worker", Host: "w", Places: 2}, time.Minute))
			_, run, err := f.RunJob(f.ctx, "busy")
			f.must(err)
			_, err = f.Begin(f.ctx, run, "t", "w1")
			f.must(err)
			f.claim(f.minute(0))
			return f.minute(0)
		}, []string{`ok    slot *  run j:* waits for a place of its agent, which has as many runs in progress as one agent may have at once (GATEWAY_CRON_AGENT_SHARE)`}},
		"no worker": {func(f *fixture) job.Millis {
			f.create(nil)
			b := f.claim(f.minute(0))
			f.must(f.rdb.HSet(f.ctx, prefix+"run:"+b.Run.ID, "state", "waiting", "notBefore", int64(f.minute(-5))).Err())
			return f.minute(0)
		}, []string{`fail  unfinished * may begin, for * min* already, and no worker has begun it*, because all 1 place of the workers is taken  -> more workers`}},
		"stale": {func(f *fixture) job.Millis {
			f.create(nil)
			f.collapse(f.minute(-90), f.minute(-80), job.Missed, job.ReasonStale)
			return f.minute(-85)
		}, []string{`warn  slot *  missed(stale): nothing ran it within its grace of 1 h (misfireGraceSeconds); decided *, 1 h* after it was due; with 10 others, from * to *  -> were Redis`}},
		"superseded": {func(f *fixture) job.Millis {
			f.create(nil)
			f.collapse(f.minute(-3), f.minute(-3), job.Missed, job.ReasonSuperseded)
			return f.minute(-3)
		}, []string{`warn  slot *  missed(superseded): nothing ran it until a newer slot`}},
		"late": {func(f *fixture) job.Millis {
			f.create(func(s *job.Spec) { s.Misfire = job.MisfireSkip })
			f.collapse(f.minute(-3), f.minute(-3), job.Missed, job.ReasonLate)
			return f.minute(-3)
		}, []string{`warn  slot *  missed(late): nothing ran it within a minute, as its policy asks (misfire: skip)`}},
		"cancelled": {func(f *fixture) job.Millis {
			f.create(nil)
			b := f.claim(f.minute(0))
			_, err := f.CancelRun(f.ctx, b.Run.ID)
			f.must(err)
			return f.minute(0)
		}, []string{`warn  slot *  cancelled(requested): somebody cancelled it, `}},
		"paused, on record": {func(f *fixture) job.Millis {
			f.create(nil)
			f.collapse(f.minute(-3), f.minute(-3), job.Skipped, job.ReasonPaused)
			return f.minute(-3)
		}, []string{`warn  slot *  skipped(paused): everything was paused`}},
		"everything is paused": {func(f *fixture) job.Millis {
			f.create(nil)
			f.must(f.Pause(f.ctx, "wrong chat"))
			f.rewind(f.minute(0))
			return f.minute(0)
		}, []string{`warn  pause  everything is paused since *: wrong chat  -> gateway-cron resume-all`, `warn  slot *  has been due for * and does not run: everything was paused`}},
		"job paused": {func(f *fixture) job.Millis {
			f.create(nil)
			f.update(func(s job.Spec) job.Spec { return s.Paused("holiday") })
			f.set("updatedAt", int64(f.minute(-60)))
			return f.minute(-1)
		}, []string{`warn  job  paused: holiday; *  -> gateway-cron job resume j`, `ok    next  no slot, while it is paused`,
			`warn  slot *  did not run: the job was paused: holiday`}},
		"job paused, ahead": {func(f *fixture) job.Millis {
			f.create(nil)
			f.update(func(s job.Spec) job.Spec { return s.Paused("") })
			return f.minute(5)
		}, []string{`warn  slot *  will not run: the job is paused`}},
		"ahead": {func(f *fixture) job.Millis { f.create(nil); return f.minute(5) },
			[]string{`ok    next * Europe/Berlin`, `ok    slot *  is not due yet: in * min`}},
		"put off": {func(f *fixture) job.Millis {
			f.create(func(s *job.Spec) { s.Schedule, s.JitterSeconds = "0 0 1 1 *", 86_400 })
			return job.ToMillis(time.Date(2100, 1, 1, 0, 30, 0, 0, time.FixedZone("", 3600)))
		}, []string{`ok    schedule * (0 0 1 1 *), by the clock of Europe/Berlin; due * after each slot, by its jitterSeconds of 86400`,
			`ok    slot 2100-01-01 00:00 Europe/Berlin  is not due yet: in * days*put off by the jitter`}},
		"no scheduler": {func(f *fixture) job.Millis {
			f.create(nil)
			f.rewind(f.minute(-5))
			return f.minute(-5)
		}, []string{`fail  slot *  has been due for 5 min*, and no scheduler has put it into the queue  -> see the logs`}},
		"behind": {func(f *fixture) job.Millis {
			f.create(nil)
			f.rewind(f.minute(-5))
			return f.minute(-2)
		}, []string{`fail  slot *  has been due for 2 min* behind an earlier slot, *, which nobody has settled`}},
		"in the queue": {func(f *fixture) job.Millis {
			f.create(nil)
			f.rewind(f.minute(-5))
			f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: "j", At: f.minute(-5)}}))
			return f.minute(-5)
		}, []string{`fail  slot *  has been due for 5 min* and in the queue; no worker has taken it, because all 1 place of the workers is taken  -> more workers`}},
		"in the backlog": {func(f *fixture) job.Millis {
			f.create(nil)
			f.rewind(f.minute(-5))
			f.must(f.rdb.ZAdd(f.ctx, prefix+"due", redis.Z{Score: float64(f.minute(5)), Member: "j"}).Err())
			return f.minute(-5)
		}, []string{`ok    slot *  has been due for 5 min* and waits for its turn in the backlog`}},
		"not in the index": {func(f *fixture) job.Millis {
			f.create(nil)
			f.must(f.rdb.Del(f.ctx, prefix+"due").Err())
			return f.minute(5)
		}, []string{`fail  next *, but the index that schedulers read does not have it`}},
		"quarantined": {func(f *fixture) job.Millis {
			f.create(nil)
			f.rewind(f.minute(-1))
			_, err := f.Quarantine(f.ctx, []job.Unreadable{job.UnreadableJob("j", "misfireGrace is not a number")})
			f.must(err)
			return f.minute(-1)
		}, []string{`fail  record  job:j cannot be read since *: misfireGrace is not a number`, `fail  slot *  has been due for *: the job's record cannot be read`}},
		"edited later": {func(f *fixture) job.Millis {
			f.create(nil)
			f.update(func(s job.Spec) job.Spec { s.Task = "another"; return s })
			return f.minute(-30)
		}, []string{`ok    job * last edited `, `warn  slot *  has no record; the job was edited later, `}},
		"forgotten": {func(f *fixture) job.Millis {
			f.create(nil)
			f.set("lastSlot", int64(f.minute(-1)))
			return f.minute(-30)
		}, []string{`warn  slot *  was settled, but its record is no longer kept; there is no history`}},
		"unexplained": {func(f *fixture) job.Millis { f.create(nil); return f.minute(-30) },
			[]string{`fail  slot *  has no record, and nothing says why; there is no history`}},
		"used up": {func(f *fixture) job.Millis {
			f.create(func(s *job.Spec) { s.MaxRuns = 2 })
			f.set("claims", 2)
			f.must(f.rdb.HDel(f.ctx, prefix+"job:j", "nextSlot").Err())
			return f.minute(-1)
		}, []string{`ok    next  no slot: its 2 runs are used up (maxRuns)`, `warn  slot *  did not run: its 2 runs were used up (maxRuns)`}},
		"not yet created": {func(f *fixture) job.Millis { f.create(nil); return f.minute(-48 * 60) },
			[]string{`warn  slot *  the job was not there yet: it was created `}},
		"no slot": {func(f *fixture) job.Millis {
			f.create(func(s *job.Spec) { s.Schedule = "0 0 * * *" })
			f.set("createdAt", int64(f.minute(-72*60)))
			noon := f.minute(0).Time().Truncate(24 * time.Hour).Add(-12 * time.Hour)
			return job.ToMillis(noon)
		}, []string{`warn  * is no time of its schedule as it is now; the next one after it is * 00:00 Europe/Berlin`, `warn  slot * 00:00 Europe/Berlin  has no record; the job was edited later`}},
		"no slot yet": {func(f *fixture) job.Millis {
			f.create(func(s *job.Spec) { s.StartAt = f.minute(60) })
			return f.minute(-1)
		}, []string{`warn  * its schedule begins at * (startAt)`}},
		"no slot any more": {func(f *fixture) job.Millis {
			f.create(func(s *job.Spec) { s.EndAt = f.minute(2) })
			return f.minute(30)
		}, []string{`warn  * its schedule ended at * (endAt)`}},
		"by an earlier schedule": {func(f *fixture) job.Millis {
			f.create(nil)
			slot := f.minute(-1)
			f.collapse(slot, slot, job.Missed, job.ReasonSuperseded)
			f.update(func(s job.Spec) job.Spec { s.Schedule = "30 2 29 2 *"; return s })
			return slot
		}, []string{`warn  slot *  missed(superseded)`}},
		"last slots": {func(f *fixture) job.Millis {
			f.create(nil)
			f.collapse(f.minute(-5), f.minute(0), job.Missed, job.ReasonSuperseded)
			return 0
		}, []string{`warn  slot *  missed`, `warn  slot *  missed`, `warn  slot *  missed`}},
		"none so far": {func(f *fixture) job.Millis { f.create(func(s *job.Spec) { s.StartAt = f.minute(60) }); return 0 },
			[]string{`ok    slots  none since the job was created`}},
		"deleted": {func(f *fixture) job.Millis {
			f.create(nil)
			slot := f.minute(-1)
			f.collapse(slot, slot, job.Missed, job.ReasonSuperseded)
			f.must(f.DeleteJob(f.ctx, "j"))
			return slot
		}, []string{`warn  job  it was deleted`, `warn  slot * UTC  missed(superseded)`}},
		"deleted, of late": {func(f *fixture) job.Millis {
			f.create(nil)
			f.collapse(f.minute(-1), f.minute(-1), job.Missed, job.ReasonSuperseded)
			f.must(f.DeleteJob(f.ctx, "j"))
			return 0
		}, []string{`warn  slot * UTC  missed(superseded)`}},
		"deleted, unknown time": {func(f *fixture) job.Millis {
			f.create(nil)
			f.collapse(f.minute(-1), f.minute(-1), job.Missed, job.ReasonSuperseded)
			f.must(f.DeleteJob(f.ctx, "j"))
			return f.minute(-99)
		}, []string{`warn  slot *  no record of that time is kept; the history goes back to `}},
		"never there": {func(*fixture) job.Millis { return 0 }, []string{`fail  job  there is none of that id, and no history of one`}},
		"newer": {func(f *fixture) job.Millis { f.create(nil); f.set("v", job.Version+1); return 0 },
			[]string{`fail  job  was written by a newer release`}},
		"damaged": {func(f *fixture) job.Millis {
			f.must(f.rdb.Set(f.ctx, prefix+"job:j", "x", 0).Err())
			return 0
		}, []string{`fail  job  cannot be read: `}},
		"damaged schedule": {func(f *fixture) job.Millis { f.create(nil); f.set("schedule", "x"); return 0 },
			[]string{`fail  schedule  it cannot be read: `}},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t)
			at := tc.prepare(f)
			before := f.dump()
			findings, err := Explain(f.ctx, f.Store, schedule.NewCache(16), taken, "j", at.Time())
			f.must(err)
			if f.dump() != before {
				t.Error("the examination changed Redis")
			}
			var text bytes.Buffer
			f.must(WriteText(&text, findings))
			for _, want := range tc.want {
				if !hasLine(text.String(), want) {
					t.Errorf("no line %s in\n%s", want, &text)
				}
			}
		})
	}
}

// dump is the content of Redis; the time to live of its keys aside.
func (f *fixture) dump() string {
	f.t.Helper()
	var b strings.Builder
	keys, err := f.rdb.Keys(f.ctx, "*").Result()
	f.must(err)
	sum := map[string]string{}
	for _, key := range keys {
		value, err := f.rdb.Dump(f.ctx, key).Result()
		f.must(err)
		sum[key] = value
	}
	for _, key := range sorted(sum) {
		b.WriteString(key + "=" + sum[key] + "\n")
	}
	return b.String()
}

// hasLine reports whether a line begins with the pattern, in which * is any text and
// white space is one blank.
func hasLine(text, pattern string) bool {
	for line := range strings.Lines(text) {
		rest, first, found := squeeze(line), true, true
		for part := range strings.SplitSeq(squeeze(pattern), "*") {
			i := strings.Index(rest, part)
			if i < 0 || first && i > 0 {
				found = false
				break
			}
			rest, first = rest[i+len(part):], false
		}
		if found {
			return true
		}
	}
	return false
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }
