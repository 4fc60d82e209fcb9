package judge

import (
	"fmt"
	"slices"
	"testing"
)

// sec is the nth second after t0.
func sec(n int) int64 { return t0 + int64(n)*second }

// single is a log of one job without a chat, into which runs of slots are put, each
// with one call that is answered two seconds after it was due.
type single struct{ Log }

// lone is the log of a job that was made at t0, with what the test says about it.
func lone(change func(*Job)) *single {
	j := Job{ID: "a", Name: "job a", Misfire: "run_once", GraceMillis: 3_600_000, Overlap: "skip", OnAmbiguous: "retry", MaxRetries: 3,
		Listed: true, Definitions: []Definition{{Sent: t0, Acked: t0, Enabled: true, Task: "do"}}}
	change(&j)
	return &single{Log{Jobs: []Job{j}, Until: at(5, 0)}}
}

// ran puts in a run of a slot, created at an instant and begun at another.
func (s *single) ran(slot, created, started int64) {
	n := len(s.Runs) + 1
	nonce := fmt.Sprintf("n-%d", n)
	r := Run{ID: fmt.Sprintf("a:%d", slot/1000), JobID: "a", Trigger: "schedule", State: "done", Outcome: "succeeded", Slot: slot,
		SessionKey: "s", CreatedAt: created, StartedAt: started, FinishedAt: started + 2000, Reply: nonce + " hello",
		Attempts: []Attempt{{N: 1, StartedAt: started, EndedAt: started + 2000, Result: "succeeded"}}}
	s.Runs = append(s.Runs, r)
	s.Calls = append(s.Calls, Call{N: n, At: started + 10, Process: "worker-1.1", Run: r.ID, Session: "s", Task: "do",
		Nonce: nonce, Kept: true, EndedAt: started + 1990, How: HowOK})
	s.transcribe()
}

// onTime puts in runs that began as soon as they were due.
func (s *single) onTime(slots ...int64) {
	for _, slot := range slots {
		due := slot + s.Jobs[0].ShareMillis
		s.ran(slot, due, due)
	}
}

// run is the one of a slot.
func (s *single) run(slot int64) *Run {
	return &s.Runs[slices.IndexFunc(s.Runs, func(r Run) bool { return r.Slot == slot })]
}

// transcribe makes the session what was committed.
func (s *single) transcribe() {
	session := Session{Key: "s"}
	for _, r := range s.Runs {
		if r.Outcome == "succeeded" {
			session.Messages = append(session.Messages, struct {
				Role  string `json:"role"`
				Text  string `json:"text"`
				RunID string `json:"runId"`
			}{"assistant", r.Reply, r.ID})
		}
	}
	s.Sessions = []Session{session}
}

// cancels makes the run of a slot one that was cancelled by request while its call was
// under way.
func (s *single) cancels(slot, when int64) *Call {
	r := s.run(slot)
	r.Outcome, r.Reason, r.FinishedAt, r.Reply, r.Attempts[0].Result = "cancelled", "requested", when, "", "cancelled"
	c := &s.Calls[slices.IndexFunc(s.Calls, func(c Call) bool { return c.Run == r.ID })]
	c.How, c.EndedAt = HowHungUp, when+500
	s.transcribe()
	return c
}

// passed puts in a record of slots that did not run, made at an instant.
func (s *single) passed(reason string, first, last int64, count int, when int64) {
	outcome := "missed"
	if reason == "overlap" {
		outcome = "skipped"
	}
	s.Runs = append(s.Runs, Run{ID: fmt.Sprintf("a:%d", first/1000), JobID: "a", Trigger: "schedule", State: "done", Outcome: outcome,
		Reason: reason, Slot: first, LastSlot: last, Count: count, CreatedAt: when, FinishedAt: when})
}

func everySoOften(j *Job) {
	d := &j.Definitions[0]
	d.Every, d.StartAt, d.EndAt = 45*second, sec(67), sec(247)
}

func once(j *Job) { j.Definitions[0].At, j.Listed = sec(77), false }

// minutely is a job of every minute that has three slots.
func minutely(overlap, misfire string) func(*Job) {
	return func(j *Job) {
		j.Overlap, j.Misfire = overlap, misfire
		j.Definitions[0].Schedule, j.Definitions[0].EndAt = "* * * * *", at(3, 30_000)
	}
}

func TestTiming(t *testing.T) {
	bounded := func(j *Job) {
		d := &j.Definitions[0]
		d.Schedule, d.StartAt, d.EndAt = "* * * * *", at(1, 0), at(2, 0)
	}
	jittery := func(j *Job) {
		minutely("skip", "skip")(j)
		j.JitterMillis, j.ShareMillis = 20*second, 5*second
	}
	whole := []int64{sec(67), sec(112), sec(157), sec(202), sec(247)}
	tests := []struct {
		name  string
		job   func(*Job)
		slots []int64
		then  func(*single)
		want  []string
	}{
		{name: "every 45 seconds, bounds included", job: everySoOften, slots: whole},
		{name: "a slot of every is missing", job: everySoOften, slots: slices.Concat(whole[:2], whole[3:]), want: []string{"slot without an outcome"}},
		{name: "the first slot of every is missing", job: everySoOften, slots: whole[1:], want: []string{"slot without an outcome"}},
		{name: "the last slot of every is missing", job: everySoOften, slots: whole[:4], want: []string{"slot without an outcome"}},
		{name: "a run between two slots of every", job: everySoOften, slots: append(slices.Clone(whole), sec(120)), want: []string{"phantom run", "wrong order"}},
		{name: "a run of every before startAt", job: everySoOften, slots: append([]int64{sec(22)}, whole...), want: []string{"phantom run"}},
		{name: "a run of every after endAt", job: everySoOften, slots: append(slices.Clone(whole), sec(292)), want: []string{"phantom run"}},
		{name: "every, paused over a slot", job: func(j *Job) {
			everySoOften(j)
			d := j.Definitions[0]
			off, on := d, d
			off.Sent, off.Acked, off.Enabled = sec(114), sec(115), false
			on.Sent, on.Acked = sec(170), sec(171)
			j.Definitions = append(j.Definitions, off, on)
		}, slots: slices.Concat(whole[:2], whole[3:])},

		{name: "every, paused just after a slot was claimed early", job: func(j *Job) {
			everySoOften(j)
			off := j.Definitions[0]
			off.Sent, off.Acked, off.Enabled = sec(112)-600, sec(112)-500, false
			j.Definitions = append(j.Definitions, off)
		}, slots: whole[:1], then: func(s *single) { s.ran(sec(112), sec(112)-900, sec(112)-900) }},

		{name: "cron within bounds", job: bounded, slots: []int64{at(1, 0), at(2, 0)}},
		{name: "a run of cron after endAt", job: bounded, slots: []int64{at(1, 0), at(2, 0), at(3, 0)}, want: []string{"phantom run"}},
		{name: "a slot of cron on endAt is missing", job: bounded, slots: []int64{at(1, 0)}, want: []string{"slot without an outcome"}},

		{name: "at", job: once, slots: []int64{sec(77)}},
		{name: "at never ran", job: once, want: []string{"job lost", "slot without an outcome"}},
		{name: "at ran at another time, too", job: once, slots: []int64{sec(77), sec(137)}, want: []string{"phantom run", "too many runs"}},
		{name: "at ran twice", job: once, slots: []int64{sec(77), sec(77)},
			want: []string{"call without an attempt", "calls overlap", "slot recorded twice", "too many runs", "two replies"}},
		{name: "at ran, and the job stays", job: once, slots: []int64{sec(77)}, then: func(s *single) { s.Jobs[0].Listed = true },
			want: []string{"job not gone"}},
		{name: "at was missed, and the job stays", job: once, then: func(s *single) {
			s.passed("stale", sec(77), sec(77), 1, sec(137))
			s.Jobs[0].Listed = true
		}},
		{name: "at was missed, and the job is gone", job: once, then: func(s *single) { s.passed("stale", sec(77), sec(77), 1, sec(137)) },
			want: []string{"job lost"}},

		{name: "jitter", job: jittery, slots: []int64{at(1, 0), at(2, 0), at(3, 0)}},
		{name: "a call before the jitter is over", job: jittery, slots: []int64{at(1, 0), at(2, 0), at(3, 0)},
			then: func(s *single) { s.Calls[1].At = at(2, 3500) }, want: []string{"call before its time"}},
		{name: "more jitter than asked for", job: jittery, slots: []int64{at(1, 0), at(2, 0), at(3, 0)},
			then: func(s *single) { s.Jobs[0].JitterMillis = 4 * second }, want: []string{"too much jitter"}},
		{name: "a minute late, counted from when it was due", job: jittery, slots: []int64{at(1, 0), at(2, 0)},
			then: func(s *single) { s.ran(at(3, 0), at(4, 4900), at(4, 4900)) }},
		{name: "over a minute late", job: jittery, slots: []int64{at(1, 0), at(2, 0)},
			then: func(s *single) { s.ran(at(3, 0), at(4, 5100), at(4, 5100)) }, want: []string{"stale run"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := lone(tt.job)
			s.onTime(tt.slots...)
			if tt.then != nil {
				tt.then(s)
			}
			expect(t, &s.Log, tt.want)
		})
	}
}

func TestPolicies(t *testing.T) {
	// A run of the second slot that came while that of the first one had not ended.
	pair := func(second func(s *single)) func(*single) {
		return func(s *single) {
			s.ran(at(1, 0), at(1, 0), at(2, 30_000))
			s.run(at(1, 0)).StartedAt = at(1, 0)
			second(s)
			s.onTime(at(3, 0))
		}
	}
	behind := pair(func(s *single) { s.ran(at(2, 0), at(2, 0), at(2, 32_000)) })
	// Nothing ran until some instant; then so many missed slots did, each in its turn.
	catchUp := func(misfire string, every int64, missed int) (func(*Job), func(*single)) {
		return func(j *Job) {
				j.Misfire, j.Definitions[0].Every, j.Definitions[0].StartAt = misfire, every, sec(60)
				j.Definitions[0].EndAt = sec(60) + every*int64(missed-1)
			}, func(s *single) {
				now := s.Jobs[0].Definitions[0].EndAt + minute
				s.Until = now + minute
				for i := range missed {
					s.ran(sec(60)+every*int64(i), now, now)
					now += 2500
				}
			}
	}
	elevenJob, eleven := catchUp("run_all", 10*second, 11)
	twelveJob, twelve := catchUp("run_all", 10*second, 12)
	twoJob, two := catchUp("run_once", 60*second, 2)
	threeJob, three := catchUp("run_once", 60*second, 3)
	// The second one was over a minute late when it came.
	late := func(came int64) func(*single) {
		return func(s *single) {
			s.ran(at(1, 0), at(3, 10_000), at(3, 10_000))
			s.ran(at(2, 0), came, at(3, 13_000))
			s.ran(at(3, 0), at(3, 16_000), at(3, 16_000))
		}
	}

	// Of slots every ten seconds two were passed over; the others ran, the first of them
	// when so many were due.
	passing := func(reason string, grace int64, others int) (func(*Job), func(*single)) {
		return func(j *Job) {
				d := &j.Definitions[0]
				j.Misfire, j.GraceMillis = "run_all", grace
				d.Every, d.StartAt, d.EndAt = 10*second, sec(60), sec(70+10*others)
			}, func(s *single) {
				now := s.Jobs[0].Definitions[0].EndAt
				s.passed(reason, sec(60), sec(70), 2, now)
				for n := range others {
					s.ran(sec(80+10*n), now, now)
					now += 2500
				}
			}
	}
	enoughJob, enough := passing("superseded", 3_600_000, 10)
	fewJob, few := passing("superseded", 3_600_000, 9)
	oldJob, old := passing("superseded", 60_000, 7)
	skippedJob, skipped := passing("overlap", 3_600_000, 7)
	dueJob, due := passing("overlap", 3_600_000, 1)
	soonJob, soon := passing("overlap", 3_600_000, 0)

	tests := []struct {
		name string
		job  func(*Job)
		log  func(*single)
		want []string
	}{
		{"a slot that was not skipped", minutely("skip", "run_once"), behind, []string{"runs overlap"}},
		{"allowed to overlap", minutely("allow", "run_once"), behind, nil},
		{"allowed to overlap, on time", minutely("allow", "run_all"), behind, nil},
		{"a run that was not cancelled for its successor", minutely("cancel_previous", "run_once"), behind, []string{"runs overlap"}},
		{"queued", minutely("queue_one", "run_once"), behind, nil},
		{"queued behind a run and a manual one", minutely("queue_one", "run_once"), func(s *single) {
			behind(s)
			s.Jobs[0].Manual = 1
			s.Runs = append(s.Runs, Run{ID: "a:manual:1", JobID: "a", Trigger: "manual", State: "done", Outcome: "failed", CreatedAt: at(1, 1000), FinishedAt: at(2, 5000)})
		}, nil},
		{"queued, but begun before its turn", minutely("queue_one", "run_once"),
			pair(func(s *single) {
				s.ran(at(2, 0), at(2, 0), at(2, 32_000))
				s.run(at(2, 0)).StartedAt = at(2, 31_000)
			}), []string{"runs overlap"}},
		{"two queued", minutely("queue_one", "run_once"), func(s *single) {
			s.ran(at(1, 0), at(1, 0), at(3, 30_000))
			s.ran(at(2, 0), at(2, 0), at(3, 33_000))
			s.ran(at(3, 0), at(3, 0), at(3, 36_000))
		}, []string{"two queued"}},
		{"two queued behind a manual run", minutely("queue_one", "run_once"), func(s *single) {
			s.Jobs[0].Manual = 1
			s.Runs = append(s.Runs, Run{ID: "a:manual:1", JobID: "a", Trigger: "manual", State: "done", Outcome: "failed", CreatedAt: at(0, 50_000), FinishedAt: at(2, 10_000)})
			s.ran(at(1, 0), at(1, 0), at(2, 11_000))
			s.ran(at(2, 0), at(2, 0), at(2, 14_000))
			s.onTime(at(3, 0))
		}, []string{"two queued"}},
		{"in any order", minutely("allow", "run_once"), func(s *single) {
			s.ran(at(2, 0), at(2, 0), at(2, 10_000))
			s.ran(at(1, 0), at(2, 0), at(2, 13_000))
			s.onTime(at(3, 0))
		}, nil},
		{"in any order, where that is not allowed", minutely("queue_one", "run_once"), func(s *single) {
			s.ran(at(2, 0), at(2, 0), at(2, 10_000))
			s.ran(at(1, 0), at(2, 12_500), at(2, 13_000))
			s.onTime(at(3, 0))
		}, []string{"wrong order"}},
		{"two calls of a job at once, in two sessions", minutely("queue_one", "run_once"), func(s *single) {
			s.onTime(at(1, 0), at(2, 0), at(3, 0))
			s.Calls[0].EndedAt, s.Calls[1].Session = at(2, 1500), "another"
		}, []string{"calls overlap"}},
		{"two calls of a job at once, in two sessions, as allowed", minutely("allow", "run_once"), func(s *single) {
			s.onTime(at(1, 0), at(2, 0), at(3, 0))
			s.Calls[0].EndedAt, s.Calls[1].Session = at(2, 1500), "another"
		}, nil},

		{"eleven caught up with, the first of them queued before", elevenJob, eleven, nil},
		{"twelve caught up with", twelveJob, twelve, []string{"too many late runs"}},
		{"the newest and one that was queued before", twoJob, two, nil},
		{"more than the newest", threeJob, three, []string{"too many late runs"}},
		{"passed over for ten newer ones", enoughJob, enough, nil},
		{"passed over for nine newer ones", fewJob, few, []string{"not caught up with"}},
		{"passed over as too old", oldJob, old, nil},
		{"skipped for a run in front, over a minute late", skippedJob, skipped, []string{"not caught up with"}},
		{"skipped for a run in front when the next one was due", dueJob, due, []string{"not caught up with"}},
		{"skipped for a run in front", soonJob, soon, nil},
		{"caught up with one after the other", minutely("allow", "run_all"), late(at(3, 12_500)), nil},
		{"caught up with beside another run, before a minute was over", minutely("allow", "run_all"), func(s *single) {
			s.ran(at(1, 0), at(2, 10_000), at(2, 10_000))
			s.ran(at(2, 0), at(3, 0), at(3, 1000))
			s.ran(at(3, 0), at(3, 5000), at(3, 5000))
			s.run(at(1, 0)).FinishedAt = at(3, 500)
		}, []string{"runs overlap"}},
		{"caught up with beside another run", minutely("allow", "run_all"), late(at(3, 11_000)), []string{"runs overlap"}},

		{"retries that are left", minutely("skip", "run_once"), func(s *single) {
			s.onTime(at(1, 0), at(2, 0), at(3, 0))
			s.Jobs[0].MaxRetries = 1
			s.run(at(1, 0)).Attempts = []Attempt{{N: 1, Result: "failed", Cause: "rate_limited"}, {N: 2, Result: "ambiguous", Cause: "connection"}, {N: 3, Result: "succeeded"}}
		}, nil},
		{"more retries than wanted", minutely("skip", "run_once"), func(s *single) {
			s.onTime(at(1, 0), at(2, 0), at(3, 0))
			s.Jobs[0].MaxRetries = 1
			s.run(at(1, 0)).Attempts = []Attempt{{N: 1, Result: "failed", Cause: "ai_error"}, {N: 2, Result: "ambiguous", Cause: "connection"}, {N: 3, Result: "succeeded"}}
		}, []string{"too many attempts"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := lone(tt.job)
			tt.log(s)
			expect(t, &s.Log, tt.want)
		})
	}
}

func TestCancels(t *testing.T) {
	run := fmt.Sprintf("a:%d", at(2, 0)/1000)
	asked := Cancel{Run: run, Asked: at(2, 900)}
	confirmed := Cancel{Run: run, Asked: at(2, 900), Acked: at(2, 1100)}
	tests := []struct {
		name string
		log  func(*single)
		want []string
	}{
		{"cancelled", func(s *single) {
			s.cancels(at(2, 0), at(2, 1000))
			s.Cancels = []Cancel{confirmed}
		}, nil},
		{"cancelled, and nobody heard the answer", func(s *single) {
			s.cancels(at(2, 0), at(2, 1000))
			s.Cancels = []Cancel{asked}
		}, nil},
		{"asked for too late", func(s *single) { s.Cancels = []Cancel{asked} }, nil},
		{"cancelled by nobody", func(s *single) { s.cancels(at(2, 0), at(2, 1000)) }, []string{"cancelled by nobody"}},
		{"cancelled before it was asked for", func(s *single) {
			s.cancels(at(2, 0), at(2, 800))
			s.Cancels = []Cancel{confirmed}
		}, []string{"cancelled by nobody"}},
		{"confirmed, and yet it succeeded", func(s *single) { s.Cancels = []Cancel{confirmed} }, []string{"cancel ignored"}},
		{"confirmed before it was so", func(s *single) {
			s.cancels(at(2, 0), at(2, 1200))
			s.Cancels = []Cancel{confirmed}
		}, []string{"cancel ignored"}},
		{"on record a moment too early, while the clock was wrong", func(s *single) {
			s.cancels(at(2, 0), at(2, 899))
			s.Cancels = []Cancel{confirmed}
			s.Troubles = []Trouble{{Kind: Clock, Process: "redis", From: at(2, 500), To: at(2, 950), Detail: "2h0m0s"}}
		}, nil},
		{"on record a moment too early", func(s *single) {
			s.cancels(at(2, 0), at(2, 899))
			s.Cancels = []Cancel{confirmed}
			s.Troubles = []Trouble{{Kind: Clock, Process: "redis", From: at(1, 0), To: at(1, 950), Detail: "2h0m0s"}}
		}, []string{"cancelled by nobody"}},
		{"a call by who had not heard yet", func(s *single) {
			s.cancels(at(2, 0), at(2, 1000)).At = at(2, 3400)
			s.Calls[1].EndedAt = at(2, 3500)
			s.Cancels = []Cancel{confirmed}
		}, nil},
		{"a call by who must have heard", func(s *single) {
			s.cancels(at(2, 0), at(2, 1000)).At = at(2, 3600)
			s.Calls[1].EndedAt = at(2, 3700)
			s.Cancels = []Cancel{confirmed}
		}, []string{"call after the end"}},
		{"a call by who had not heard yet, beside its successor's", func(s *single) {
			s.cancels(at(2, 0), at(3, -1000)).At = at(3, 500)
			s.Calls[1].EndedAt = at(3, 600)
			s.Cancels = []Cancel{{Run: run, Asked: at(3, -1100), Acked: at(3, -900)}}
		}, nil},
		{"its reply was delivered", func(s *single) {
			c := s.cancels(at(2, 0), at(2, 1000))
			s.Cancels = []Cancel{confirmed}
			s.Messages = []Message{{N: 1, At: at(2, 2100), Process: "worker-2.1", MessageID: "m1", Nonce: c.Nonce, First: 1, Last: 1, Lines: 1, Delivered: true, How: HowOK}}
		}, []string{"phantom message"}},
		{"its reply was committed", func(s *single) {
			sessions := s.Sessions
			s.cancels(at(2, 0), at(2, 1000))
			s.Sessions = sessions
			s.Cancels = []Cancel{confirmed}
		}, []string{"transcript"}},
		{"its successor's call while the ai-server is still at it", func(s *single) {
			s.cancels(at(2, 0), at(2, 59_000))
			s.Calls[1].EndedAt = at(3, 5000)
			s.Cancels = []Cancel{{Run: run, Asked: at(2, 58_000), Acked: at(2, 59_100)}}
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := lone(minutely("skip", "run_once"))
			s.onTime(at(1, 0), at(2, 0), at(3, 0))
			tt.log(s)
			expect(t, &s.Log, tt.want)
		})
	}
}
