package store

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// inAnHour is a job for one instant.
func (f *fixture) inAnHour() job.Spec {
	return job.Spec{At: f.now() + 3600_000, Enabled: true, Task: "remind me", Name: "Bread"}
}

// passed has the only slot of a job pass without a run, as a scheduler does after an outage.
func (f *fixture) passed(id string, spec job.Spec, outcome job.Outcome, reason string) job.Job {
	f.t.Helper()
	j := f.create(id, spec)
	slot := f.minute(-200)
	f.rewind(id, slot)
	f.pass(j, slot, 0, outcome, reason)
	return f.job(id)
}

// pass has a slot of a job pass without a run.
func (f *fixture) pass(j job.Job, slot, next job.Millis, outcome job.Outcome, reason string) {
	f.t.Helper()
	moved, err := f.Collapse(f.ctx, job.Collapse{JobID: j.ID, UID: j.UID, Revision: j.Revision, Seen: slot, First: slot, Last: slot, Count: 1,
		Outcome: outcome, Reason: reason, Next: next, NextDue: next, EmittedGrace: -1})
	f.must(err)
	if !moved {
		f.t.Fatalf("the cursor of %s has not moved", j.ID)
	}
}

func (f *fixture) ids(filter job.JobFilter) []string {
	f.t.Helper()
	jobs, _, err := f.FindJobs(f.ctx, filter, "", 100)
	f.must(err)
	var ids []string
	for _, j := range jobs {
		ids = append(ids, j.ID)
	}
	return ids
}

func (f *fixture) setHash(key string, fields ...any) {
	f.t.Helper()
	f.must(f.rdb.HSet(f.ctx, key, fields...).Err())
}

// repairAll goes over an index to its end.
func (f *fixture) repairAll(index job.Index) []job.Repaired {
	f.t.Helper()
	page, err := f.Repair(f.ctx, index, "", 500)
	f.must(err)
	if page.Next != "" {
		f.t.Fatalf("%s goes on", index)
	}
	return page.Repaired
}

func TestJobWhoseSlotsPassedWithoutARunHasEnded(t *testing.T) {
	for name, tt := range map[string]struct {
		spec    func(f *fixture) job.Spec
		outcome job.Outcome
		reason  string
	}{
		"one instant, after an outage":      {(*fixture).inAnHour, job.Missed, job.ReasonStale},
		"one instant, while all was paused": {(*fixture).inAnHour, job.Skipped, job.ReasonPaused},
		"the last of two runs": {func(*fixture) job.Spec {
			s := everyMinute()
			s.MaxRuns = 2
			return s
		}, job.Missed, job.ReasonLate},
		"the last slot before endAt": {func(f *fixture) job.Spec {
			s := everyMinute()
			s.EndAt = f.minute(3)
			return s
		}, job.Missed, job.ReasonSuperseded},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, Options{})
			f.create("other", everyMinute())
			j := f.passed("a", tt.spec(f), tt.outcome, tt.reason)
			if !j.Ended() || !j.Enabled || j.LastOutcome != tt.outcome || j.LastOutcomeSlot != f.minute(-200) || j.LastRunAt != 0 {
				t.Errorf("the job is %+v", j)
			}
			if d := cmp.Diff([]string{"other"}, f.ids(job.JobFilter{})); d != "" {
				t.Errorf("jobs: %s", d)
			}
			for _, filter := range []job.JobFilter{{Ended: true}, {Ended: true, LastOutcome: tt.outcome}} {
				if d := cmp.Diff([]string{"a"}, f.ids(filter)); d != "" {
					t.Errorf("jobs that have ended: %s", d)
				}
			}
			if st, err := f.Status(f.ctx); err != nil || st.Jobs != 1 {
				t.Errorf("%d jobs, %v", st.Jobs, err)
			}
			// What the repair finds is damage: there is none.
			for _, index := range []job.Index{job.IndexJobs, job.IndexDue, job.IndexEnded} {
				if repaired := f.repairAll(index); len(repaired) != 0 {
					t.Errorf("repaired in %s: %v", index, repaired)
				}
			}
		})
	}
}

func TestLastClaimBeforeEndAtEndsTheJob(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	f.rewind("a", f.minute(0))
	b, err := f.Claim(f.ctx, job.Claim{JobID: "a", UID: j.UID, Slot: f.minute(0), Revision: j.Revision, Token: "t", Worker: "w"})
	f.must(err)
	f.commit(b, "the last one")
	if j := f.job("a"); !j.Ended() || j.LastOutcome != job.Succeeded {
		t.Errorf("the job is %+v", j)
	}
	if d := cmp.Diff([]string{"a"}, f.ids(job.JobFilter{Ended: true})); d != "" {
		t.Error(d)
	}
}

// A job whose last run is under way is neither ended nor gone; a pause may give it back.
func TestJobWithItsLastRunUnderWayHasNotEnded(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("a", f.inAnHour()) // with a slot after it, where a schedule that is lost goes on
	if j := f.job("a"); j.Ended() || len(f.ids(job.JobFilter{})) != 1 {
		t.Errorf("the job is %+v", j)
	}
	f.must(f.Pause(f.ctx, ""))
	f.must(f.rdb.HDel(f.ctx, f.keys.job("a"), "after", "afterDue").Err())
	if n, err := f.CancelPaused(f.ctx); err != nil || n != 1 {
		t.Fatalf("%d cancelled, %v", n, err)
	}
	if j := f.job("a"); !j.Ended() || j.LastOutcome != job.Cancelled {
		t.Errorf("after %s was cancelled the job is %+v", b.Run.ID, j)
	}
	if d := cmp.Diff([]string{"a"}, f.ids(job.JobFilter{Ended: true})); d != "" {
		t.Error(d)
	}
}

func TestEditOfAnEndedJobRevivesIt(t *testing.T) {
	f := setup(t, Options{})
	f.passed("a", f.inAnHour(), job.Missed, job.ReasonStale)
	edit := func(change func(*job.Spec)) job.Job {
		t.Helper()
		j, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) {
			change(&s)
			return s, nil
		})
		f.must(err)
		return j
	}
	if j := edit(func(s *job.Spec) { s.Name = "Rolls" }); !j.Ended() {
		t.Errorf("with another name it is %+v", j)
	}
	if j := edit(func(s *job.Spec) { s.At = f.now() + 60_000 }); j.Ended() || j.NextSlot == 0 {
		t.Errorf("with another time it is %+v", j)
	}
	if jobs, ended := f.ids(job.JobFilter{}), f.ids(job.JobFilter{Ended: true}); len(jobs) != 1 || len(ended) != 0 {
		t.Errorf("jobs %v, ended %v", jobs, ended)
	}
	if n := f.rdb.ZCard(f.ctx, f.keys.ended()).Val(); n != 0 {
		t.Errorf("%d are listed as ended", n)
	}
}

func TestIdOfAnEndedJobIsFree(t *testing.T) {
	f := setup(t, Options{})
	f.create("other", everyMinute())
	old := f.passed("a", f.inAnHour(), job.Missed, job.ReasonStale)
	if _, err := f.CreateJob(job.WithToken(f.ctx, &job.Token{ID: "t", AgentID: "ada", MaxJobs: 9}), "a",
		job.Spec{Schedule: "* * * * *", AgentID: "ada", Task: "x", Enabled: true}); !errors.Is(err, job.ErrExists) {
		t.Errorf("somebody else's: %v", err)
	}
	j, err := f.CreateJob(f.ctx, "a", everyMinute())
	f.must(err)
	if j.UID == old.UID || j.Name != "" || j.LastOutcome != "" || j.Ended() {
		t.Errorf("made %+v", j)
	}
	if jobs, ended := f.ids(job.JobFilter{}), f.ids(job.JobFilter{Ended: true}); len(jobs) != 2 || len(ended) != 0 {
		t.Errorf("jobs %v, ended %v", jobs, ended)
	}
	if _, err := f.CreateJob(f.ctx, "a", everyMinute()); !errors.Is(err, job.ErrExists) {
		t.Errorf("of one that goes on: %v", err)
	}
	if len(f.runs("a")) != 1 {
		t.Error("the history is gone")
	}
}

func TestEndedJobsCountAgainstNoQuota(t *testing.T) {
	f := setup(t, Options{})
	token, _, err := f.CreateToken(f.ctx, job.Token{Name: "t", AgentID: "ada", MaxJobs: 1})
	f.must(err)
	f.ctx = job.WithToken(f.ctx, &token)
	spec := f.inAnHour()
	spec.AgentID = "ada"
	f.passed("a", spec, job.Missed, job.ReasonStale)
	f.create("b", spec)
	if _, err := f.CreateJob(f.ctx, "c", spec); !errors.Is(err, job.ErrJobQuota) {
		t.Errorf("a second one: %v", err)
	}
	revive := func(s job.Spec) (job.Spec, error) {
		s.At += 60_000
		return s, nil
	}
	if _, err := f.UpdateJob(f.ctx, "a", revive); !errors.Is(err, job.ErrJobQuota) {
		t.Errorf("one that had ended: %v", err)
	}
	f.must(f.DeleteJob(f.ctx, "b"))
	if _, err := f.UpdateJob(f.ctx, "a", revive); err != nil {
		t.Errorf("with room for it: %v", err)
	}
	if _, err := f.CreateJob(f.ctx, "c", spec); !errors.Is(err, job.ErrJobQuota) {
		t.Errorf("beside the one that is back: %v", err)
	}

	// An older release lets one end and leaves it counted.
	f.setHash(f.keys.job("a"), "claims", 0)
	f.must(f.rdb.HDel(f.ctx, f.keys.job("a"), "nextSlot").Err())
	f.create("c", spec)
}

func TestEndedJobsThatARunHasMadeCountNoMore(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("maker", job.Spec{Schedule: "* * * * *", Task: "x", Enabled: true, AllowScheduling: true})
	f.ctx = job.WithOrigin(f.ctx, job.Origin{Run: b.Run.ID})
	for n := range job.MaxMadeJobs {
		f.passed(id(n), f.inAnHour(), job.Missed, job.ReasonStale)
	}
	for n := range job.MaxMadeJobs {
		f.create(id(100+n), f.inAnHour())
	}
	inRun := func(err error) job.InRunCode {
		refused, _ := errors.AsType[*job.InRunError](err)
		if refused == nil {
			return ""
		}
		return refused.Code
	}
	if _, err := f.CreateJob(f.ctx, "more", f.inAnHour()); inRun(err) != job.TooManyMade {
		t.Errorf("an eleventh: %v", err)
	}
	revive := func(s job.Spec) (job.Spec, error) {
		s.At += 60_000
		return s, nil
	}
	if _, err := f.UpdateJob(f.ctx, id(0), revive); inRun(err) != job.TooManyMade {
		t.Errorf("one that had ended: %v", err)
	}
	f.must(f.DeleteJob(f.ctx, id(100)))
	_, err := f.UpdateJob(f.ctx, id(0), revive)
	f.must(err)
	if _, err := f.CreateJob(f.ctx, "more", f.inAnHour()); inRun(err) != job.TooManyMade {
		t.Errorf("beside the one that is back: %v", err)
	}
}

func TestEndedJobGoesAfterTheRetention(t *testing.T) {
	f := setup(t, Options{Retention: time.Hour})
	f.passed("kept", f.inAnHour(), job.Missed, job.ReasonStale)
	f.passed("used", f.inAnHour(), job.Missed, job.ReasonStale)
	f.passed("old", f.inAnHour(), job.Missed, job.ReasonStale)
	long := int64(f.now()) - 2*3600_000
	for _, id := range []string{"used", "old"} {
		f.setHash(f.keys.job(id), "updatedAt", long)
		f.must(f.rdb.ZAdd(f.ctx, f.keys.ended(), redis.Z{Score: float64(long) * 1000, Member: id}).Err())
	}
	f.setHash(f.keys.job("used"), "lastRunAt", int64(f.now())) // by hand
	if repaired := f.repairAll(job.IndexEnded); len(repaired) != 0 {
		t.Errorf("repaired: %v", repaired)
	}
	if d := cmp.Diff([]string{"used", "kept"}, f.ids(job.JobFilter{Ended: true})); d != "" {
		t.Error(d)
	}
	if _, err := f.Job(f.ctx, "old"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("the old one: %v", err)
	}
}

func TestJobThatHasHadItsRunsIsRemembered(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.Name, spec.MaxRuns, spec.AgentID = "Bread", 2, "ada"
	f.commit(f.begun("a", spec), "one")
	j := f.job("a")
	f.rewind("a", f.minute(1))
	f.setHash(f.keys.job("a"), "nextSlot", int64(f.minute(0)+1000)) // due, and another slot than the first
	b := f.claim(j, f.minute(0)+1000, "t2")
	f.fail(b, job.RetryNever, 0)

	want := &job.GoneError{ID: "a", Name: "Bread", Runs: 2, Of: 2, LastRunID: b.Run.ID, Outcome: job.Failed, Delivery: job.DeliveryNotRequested}
	owner := job.WithToken(f.ctx, &job.Token{AgentID: "ada"})
	other := job.WithToken(f.ctx, &job.Token{AgentID: "eve"})
	edit := func(s job.Spec) (job.Spec, error) { return s, nil }
	for name, ask := range map[string]func() error{
		"read":   func() error { _, err := f.Job(f.ctx, "a"); return err },
		"owner":  func() error { _, err := f.Job(owner, "a"); return err },
		"edit":   func() error { _, err := f.UpdateJob(f.ctx, "a", edit); return err },
		"delete": func() error { return f.DeleteJob(f.ctx, "a") },
		"run":    func() error { _, _, err := f.RunJob(f.ctx, "a"); return err },
	} {
		err := ask()
		gone, ok := errors.AsType[*job.GoneError](err)
		if !ok || !errors.Is(err, job.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want.At = gone.At
		if d := cmp.Diff(want, gone); d != "" || f.now()-gone.At > 60_000 {
			t.Errorf("%s: %s", name, d)
		}
	}
	for name, ask := range map[string]func() error{
		"read": func() error { _, err := f.Job(other, "a"); return err },
		"run":  func() error { _, _, err := f.RunJob(other, "a"); return err },
	} {
		if _, ok := errors.AsType[*job.GoneError](ask()); ok {
			t.Errorf("somebody else may %s it", name)
		}
	}

	// It is a memory of the newest job of that id.
	f.create("a", everyMinute())
	f.must(f.DeleteJob(f.ctx, "a"))
	_, err := f.Job(f.ctx, "a")
	if _, ok := errors.AsType[*job.GoneError](err); ok || !errors.Is(err, job.ErrNotFound) {
		t.Errorf("deleted by hand: %v", err)
	}
}

func TestWhatIsNewsOfAJob(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	after := func(outcome job.Outcome, reason string) job.Outcome {
		t.Helper()
		slot := f.minute(0)
		f.rewind("a", slot)
		f.setHash(f.keys.job("a"), "lastOutcome", "succeeded", "lastRunAt", 7)
		f.pass(j, slot, slot+60_000, outcome, reason)
		if j := f.job("a"); j.LastRunAt != 7 {
			t.Errorf("%s(%s): its last run is one of %d", outcome, reason, j.LastRunAt)
		}
		return f.job("a").LastOutcome
	}
	for _, tt := range []struct {
		outcome job.Outcome
		reason  string
		want    job.Outcome
	}{
		{job.Missed, job.ReasonStale, job.Missed},
		{job.Missed, job.ReasonStale, job.Missed}, // the record is extended
		{job.Skipped, job.ReasonOverlap, job.Skipped},
		{job.Skipped, job.ReasonQuota, job.Skipped},
		{job.Skipped, job.ReasonPaused, job.Succeeded},
		{job.Skipped, job.ReasonPaused, job.Succeeded},
		{job.Skipped, job.ReasonDisabled, job.Succeeded},
		{job.Skipped, job.ReasonEdited, job.Succeeded},
	} {
		if got := after(tt.outcome, tt.reason); got != tt.want {
			t.Errorf("after %s(%s) it is %s, want %s", tt.outcome, tt.reason, got, tt.want)
		}
	}
}

// The newest of what happened counts: slots that pass while a run is in progress hide how the
// one before ended, and its own end hides them.
func TestEndOfARunIsNewerThanTheSlotsItKeptFromRunning(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("a", everyMinute())
	f.rewind("a", f.minute(0)+1000)
	if v := f.claim(b.Job, f.minute(0)+1000, "t2"); v.Verdict != job.BeginDropped {
		t.Fatal(v.Verdict)
	}
	if j := f.job("a"); j.LastOutcome != job.Skipped || j.LastOutcomeSlot != f.minute(0)+1000 {
		t.Errorf("meanwhile: %+v", j)
	}
	f.fail(b, job.RetryNever, 0)
	if j := f.job("a"); j.LastOutcome != job.Failed || j.LastOutcomeSlot != 0 || j.LastRunID != b.Run.ID {
		t.Errorf("then: %+v", j)
	}
}
