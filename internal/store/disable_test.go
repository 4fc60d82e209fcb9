package store

import (
	"strings"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// failures makes a job that has failed so often in a row, and has just told so.
func (f *fixture) failures(id string, spec job.Spec, n int) {
	f.t.Helper()
	f.create(id, spec)
	for i := range n {
		f.failed(f.scheduled(id, 50-i))
	}
	if j := f.job(id); j.Failures != n || !j.Enabled {
		f.t.Fatalf("after %d failures: %+v", n, j)
	}
}

func TestDisabledAfterTenFailures(t *testing.T) {
	f := setup(t, Options{})
	f.failures("a", toChat(job.DeliverAlways), 9)
	before := f.job("a")
	f.failed(f.manual("a")) // does not count
	if j := f.job("a"); !j.Enabled {
		t.Fatal("disabled by a manual run")
	}
	b := f.scheduled("a", 20)
	long := strings.Repeat("ü", 400)
	_, _, err := f.Fail(f.ctx, job.Failure{RunID: b.Run.ID, Epoch: b.Epoch, Result: job.ResultFailed, Message: "no!\n" + long,
		Retry: job.RetryNever, Outcome: job.Failed})
	f.must(err)

	j := f.job("a")
	if j.Enabled || j.Failures != 10 || j.Revision != before.Revision+1 || j.NextSlot != 0 || j.UpdatedAt < before.UpdatedAt {
		t.Errorf("job %+v", j)
	}
	if want := "auto-disabled after 10 failures in a row; the last: no! üü"; !strings.HasPrefix(j.PauseReason, want) ||
		len(j.PauseReason) > job.MaxReasonBytes {
		t.Errorf("reason %q", j.PauseReason)
	}
	if _, ok := f.score(f.keys.due(), "a"); ok {
		t.Error("it is still in the due index")
	}
	// The hour does not keep this one back.
	for to, alerts := range map[string]int{chat: 1, "*": 1} {
		n := f.waitingOf(to, job.NoticeDisabled)
		if len(n) != alerts || !n[0].Disabled || n[0].Failures != 10 || n[0].Next != 0 {
			t.Errorf("%s is told %+v", to, n)
		}
	}
	if n := len(f.runs("a")); n != 11 {
		t.Errorf("%d records", n)
	}

	// It can be edited as it is, and begins anew when it is resumed.
	edit := func(change func(job.Spec) job.Spec) job.Job {
		j, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { s = change(s); return s, s.Validate() })
		f.must(err)
		return j
	}
	if j := edit(func(s job.Spec) job.Spec { s.Task = "mended"; return s }); j.Failures != 10 || j.Enabled {
		t.Errorf("an edit: %+v", j)
	}
	if j := edit(job.Spec.Resumed); j.Failures != 0 || !j.Enabled || j.PauseReason != "" || j.NextSlot <= f.now() {
		t.Errorf("resumed: %+v", j)
	}
	if f.failed(f.scheduled("a", 15)) {
		t.Error("the first failure after that is told")
	}
	if !f.failed(f.scheduled("a", 14)) {
		t.Error("the hour of before keeps back the second")
	}
	if j := f.job("a"); j.Failures != 2 || !j.Enabled {
		t.Errorf("failing again: %+v", j)
	}
}

func TestDisablingTellsOnlyWhoIsToBeTold(t *testing.T) {
	f := setup(t, Options{})
	for name, spec := range map[string]job.Spec{"never": toChat(job.DeliverNever), "nobody": everyMinute()} {
		f.failures(name, spec, 9)
		if f.failed(f.scheduled(name, 20)) {
			t.Errorf("%s is told", name)
		}
		if j := f.job(name); j.Enabled || j.PauseReason == "" {
			t.Errorf("%s: %+v", name, j)
		}
	}
}

// TestPausedJobKeepsItsReason: a run under way that fails after somebody paused the job.
func TestPausedJobKeepsItsReason(t *testing.T) {
	f := setup(t, Options{})
	f.failures("a", toChat(job.DeliverAlways), 9)
	b := f.scheduled("a", 20)
	_, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { return s.Paused("on holiday"), nil })
	f.must(err)
	f.failed(b)
	if j := f.job("a"); j.PauseReason != "on holiday" || j.Failures != 10 {
		t.Errorf("job %+v", j)
	}
}

func TestLastRunIsNotDisabled(t *testing.T) {
	f := setup(t, Options{})
	spec := toChat(job.DeliverAlways)
	spec.MaxRuns = 10
	f.failures("a", spec, 9)
	f.forgetAlert("a", time.Hour)
	b := f.scheduled("a", 20)
	if !f.failed(b) {
		t.Error("its last failure is not told")
	}
	if n := f.waiting(chat); n[len(n)-1].Disabled || n[len(n)-1].Next != 0 || n[len(n)-1].Kind != job.NoticeFailure {
		t.Errorf("told %+v", n)
	}
	if _, err := f.Job(f.ctx, "a"); err == nil {
		t.Error("the job is still there")
	}
}

// TestDueSlotsOfADisabledJob end as skipped, whoever comes to them first, and leave no
// cursor behind.
func TestDueSlotsOfADisabledJob(t *testing.T) {
	for name, settle := range map[string]func(f *fixture, first, second, next job.Millis){
		"claimed one by one": func(f *fixture, first, second, next job.Millis) {
			for _, c := range [][2]job.Millis{{first, second}, {second, next}} {
				j := f.job("a")
				b, err := f.Claim(f.ctx, job.Claim{JobID: "a", UID: j.UID, Slot: c[0], Revision: j.Revision, Next: c[1], NextDue: c[1], Token: "t"})
				f.must(err)
				if b.Verdict != job.BeginDropped {
					f.t.Errorf("claim: %s", b.Verdict)
				}
			}
		},
		"passed over": func(f *fixture, first, second, next job.Millis) {
			j := f.job("a")
			moved, err := f.Collapse(f.ctx, job.Collapse{JobID: "a", UID: j.UID, Revision: j.Revision, Seen: j.NextSlot,
				First: first, Last: second, Count: 2, Reason: job.ReasonStale, Next: next, NextDue: next})
			f.must(err)
			if !moved {
				f.t.Error("not moved")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, Options{})
			f.failures("a", everyMinute(), 9)
			b := f.scheduledBefore("a", 20, 16) // the next one came due meanwhile
			first, second, next := b.Run.Slot+minutes(16), b.Run.Slot+minutes(17), b.Run.Slot+minutes(25)
			f.failed(b)
			if j := f.job("a"); j.Enabled || j.NextSlot != first {
				t.Fatalf("disabled: %+v", j)
			}
			got, err := f.Claim(f.ctx, job.Claim{JobID: "a", UID: b.Job.UID, Slot: first, Revision: b.Job.Revision, Token: "t0"})
			f.must(err)
			if got.Verdict != job.BeginStale {
				t.Errorf("a carrier of before: %s", got.Verdict)
			}
			settle(f, first, second, next)
			j := f.job("a")
			if _, ok := f.score(f.keys.due(), "a"); ok || j.NextSlot != 0 || j.LastSlot != second {
				t.Errorf("afterwards: %+v", j)
			}
			r := f.runs("a")[0]
			if r.Outcome != job.Skipped || r.Reason != job.ReasonDisabled || r.Slot != first || r.LastSlot != second || r.Count != 2 {
				t.Errorf("record %+v", r)
			}
		})
	}
}

// TestSlotsAfterTheDisabling are nobody's, however late the ones before it are settled.
func TestSlotsAfterTheDisabling(t *testing.T) {
	for name, settle := range map[string]func(f *fixture, due, after job.Millis){
		"claimed": func(f *fixture, due, after job.Millis) {
			j := f.job("a")
			b, err := f.Claim(f.ctx, job.Claim{JobID: "a", UID: j.UID, Slot: due, Revision: j.Revision, Next: after, Token: "t"})
			f.must(err)
			if b.Verdict != job.BeginDropped {
				f.t.Errorf("claim: %s", b.Verdict)
			}
		},
		"resumed": func(f *fixture, _, _ job.Millis) {
			_, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { return s.Resumed(), nil })
			f.must(err)
		},
		"deleted": func(f *fixture, _, _ job.Millis) { f.must(f.DeleteJob(f.ctx, "a")) },
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, Options{})
			f.failures("a", everyMinute(), 9)
			b := f.scheduledBefore("a", 20, 16)
			f.failed(b)
			due := b.Run.Slot + minutes(16)
			f.must(f.rdb.HSet(f.ctx, f.keys.job("a"), "disabledAt", int64(due+1)).Err())
			if c, err := f.Cursors(f.ctx, []string{"a"}); err != nil || c[0].DisabledAt != due+1 {
				t.Fatalf("%+v, %v", c, err)
			}
			settle(f, due, due+minutes(1))
			if r := f.runs("a")[0]; r.Outcome != job.Skipped || r.Slot != due || r.LastSlot != due || r.Count != 1 {
				t.Errorf("record %+v", r)
			}
			if j, err := f.Job(f.ctx, "a"); err == nil && (j.DisabledAt != 0) == j.Enabled {
				t.Errorf("job %+v", j)
			}
		})
	}
}

// TestResumeRecordsTheDueSlot of a job that was disabled over it.
func TestResumeRecordsTheDueSlot(t *testing.T) {
	f := setup(t, Options{})
	f.failures("a", everyMinute(), 9)
	b := f.scheduledBefore("a", 20, 19)
	f.failed(b)
	j, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { return s.Resumed(), nil })
	f.must(err)
	r := f.runs("a")[0]
	if r.Outcome != job.Skipped || r.Reason != job.ReasonDisabled || r.Slot != b.Run.Slot+minutes(19) || j.NextSlot <= f.now() {
		t.Errorf("record %+v of %+v", r, j)
	}
}

// TestWaitingRunsOfADisabledJob are cancelled, like those of a paused one.
func TestWaitingRunsOfADisabledJob(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.Overlap, spec.MaxRuns = job.OverlapAllow, 50
	f.failures("a", spec, 9)
	last := f.scheduled("a", 20)
	slot := last.Run.Slot + minutes(1)
	f.rewind("a", slot)
	if parked := f.claim(f.job("a"), slot, "t"); parked.Verdict != job.BeginParked {
		t.Fatalf("claim: %s", parked.Verdict)
	}
	f.failed(last)
	run := job.RunID("a", slot)
	if b := f.begin(run); b.Verdict != job.BeginEnded {
		t.Errorf("begin: %s", b.Verdict)
	}
	if r, j := f.record(run), f.job("a"); r.Outcome != job.Cancelled || r.Reason != job.ReasonDisabled || j.Claims != 10 {
		t.Errorf("run %+v of %+v", r, j)
	}
}
