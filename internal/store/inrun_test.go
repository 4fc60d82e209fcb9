package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// in is a context of what is asked for in a run.
func in(ctx context.Context, run string) context.Context {
	return job.WithOrigin(ctx, job.Origin{Run: run})
}

// scheduling is a job that may make others.
func scheduling() job.Spec {
	spec := everyMinute()
	spec.AllowScheduling = true
	return spec
}

// refusedInRun is why something was not done in a run, "" if that is not what err says.
func refusedInRun(err error) job.InRunCode {
	refused, _ := errors.AsType[*job.InRunError](err)
	if refused == nil {
		return ""
	}
	return refused.Code
}

// TestAJobIsMadeInARun: it is made, says by which job, counts against it and leaves it
// as it was.
func TestAJobIsMadeInARun(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("digest", scheduling())
	before := f.job("digest")
	made, err := f.CreateJob(in(f.ctx, b.Run.ID), "", everyMinute())
	f.must(err)
	if made.MadeBy != "digest" || made.AllowScheduling || f.job(made.ID).MadeBy != "digest" {
		t.Errorf("made %+v", made)
	}
	if after := f.job("digest"); after.Revision != before.Revision || after.UpdatedAt != before.UpdatedAt || after.MadeBy != "" {
		t.Errorf("the job that made it is %+v now", after)
	}
	edited, err := f.UpdateJob(f.ctx, made.ID, func(s job.Spec) (job.Spec, error) { s.Name = "n"; return s, nil })
	f.must(err)
	f.commit(b, "done") // the attempt is none the worse for it
	f.must(f.DeleteJob(f.ctx, "digest"))
	if edited.MadeBy != "digest" || f.job(made.ID).MadeBy != "digest" {
		t.Errorf("after an edit and a delete it is made by %q and %q", edited.MadeBy, f.job(made.ID).MadeBy)
	}
}

// TestWhoMayNotMakeAJobInARun has a row for each refusal; none may leave a job behind.
func TestWhoMayNotMakeAJobInARun(t *testing.T) {
	other := &job.Token{ID: "t", AgentID: "other", MaxJobs: 10}
	for name, tt := range map[string]struct {
		want job.InRunCode
		run  func(f *fixture) string // in which it is asked for
		as   *job.Token
		spec func(*job.Spec)
	}{
		"a run that there is not": {want: job.RunUnknown, run: func(*fixture) string { return "digest:1" }},
		"somebody else's": {want: job.RunUnknown, run: func(f *fixture) string { return f.begun("digest", scheduling()).Run.ID }, as: other,
			spec: func(s *job.Spec) { s.AgentID = "other" }},
		"somebody else's job meanwhile": {want: job.RunUnknown, as: &job.Token{ID: "t", AgentID: "main", MaxJobs: 10}, run: func(f *fixture) string {
			b := f.begun("digest", scheduling())
			_, err := f.UpdateJob(f.ctx, "digest", func(s job.Spec) (job.Spec, error) { s.AgentID = "other"; return s, nil })
			f.must(err)
			return b.Run.ID
		}},
		"somebody else's, of a job that is the caller's meanwhile": {want: job.RunUnknown, as: other, spec: func(s *job.Spec) { s.AgentID = "other" },
			run: func(f *fixture) string {
				b := f.begun("digest", scheduling())
				_, err := f.UpdateJob(f.ctx, "digest", func(s job.Spec) (job.Spec, error) { s.AgentID = "other"; return s, nil })
				f.must(err)
				return b.Run.ID
			}},
		"a job that may not": {want: job.SchedulingNotAllowed, run: func(f *fixture) string { return f.begun("digest", everyMinute()).Run.ID }},
		"a job that may no more": {want: job.SchedulingNotAllowed, run: func(f *fixture) string {
			b := f.begun("digest", scheduling())
			_, err := f.UpdateJob(f.ctx, "digest", func(s job.Spec) (job.Spec, error) { s.AllowScheduling = false; return s, nil })
			f.must(err)
			return b.Run.ID
		}},
		"a run that has ended": {want: job.RunNotRunning, run: func(f *fixture) string {
			b := f.begun("digest", scheduling())
			f.commit(b, "done")
			return b.Run.ID
		}},
		"a run that was cancelled": {want: job.RunNotRunning, run: func(f *fixture) string {
			b := f.begun("digest", scheduling())
			_, err := f.CancelRun(f.ctx, b.Run.ID)
			f.must(err)
			return b.Run.ID
		}},
		"a run that waits for its retry": {want: job.RunNotRunning, run: func(f *fixture) string {
			b := f.begun("digest", scheduling())
			f.fail(b, job.RetryCounted, time.Second)
			return b.Run.ID
		}},
		"a run that has not begun": {want: job.RunNotRunning, run: func(f *fixture) string {
			f.create("digest", scheduling())
			_, run, err := f.RunJob(f.ctx, "digest")
			f.must(err)
			return run
		}},
		"a record of slots that did not run": {want: job.RunNotRunning, run: func(f *fixture) string {
			f.create("digest", scheduling())
			f.rewind("digest", f.minute(-1))
			_, err := f.UpdateJob(f.ctx, "digest", func(s job.Spec) (job.Spec, error) { s.Schedule = "0 0 1 1 *"; return s, nil })
			f.must(err)
			return f.runs("digest")[0].ID
		}},
		"a run whose job is gone": {want: job.RunNotRunning, run: func(f *fixture) string {
			b := f.begun("digest", scheduling())
			f.must(f.DeleteJob(f.ctx, "digest"))
			return b.Run.ID
		}},
		"a run of a job that had the id before": {want: job.RunNotRunning, run: func(f *fixture) string {
			b := f.begun("digest", scheduling())
			f.must(f.DeleteJob(f.ctx, "digest"))
			f.create("digest", scheduling())
			return b.Run.ID
		}},
		"a job that was made in a run itself": {want: job.MadeInARun, run: func(f *fixture) string {
			b := f.begun("first", scheduling())
			_, err := f.CreateJob(in(f.ctx, b.Run.ID), "digest", everyMinute())
			f.must(err)
			_, err = f.UpdateJob(f.ctx, "digest", func(s job.Spec) (job.Spec, error) { s.AllowScheduling = true; return s, nil })
			f.must(err)
			f.rewind("digest", f.minute(0))
			return f.claim(f.job("digest"), f.minute(0), "t").Run.ID
		}},
		"one that may make others": {want: job.SchedulingIsFixed, run: func(f *fixture) string { return f.begun("digest", scheduling()).Run.ID },
			spec: func(s *job.Spec) { s.AllowScheduling = true }},
		"one too many": {want: job.TooManyMade, run: func(f *fixture) string {
			b := f.begun("digest", scheduling())
			for n := range job.MaxMadeJobs {
				_, err := f.CreateJob(in(f.ctx, b.Run.ID), fmt.Sprint("made-", n), everyMinute())
				f.must(err)
			}
			return b.Run.ID
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, Options{})
			run := tt.run(f)
			spec := everyMinute()
			if tt.spec != nil {
				tt.spec(&spec)
			}
			before, _, err := f.FindJobs(f.ctx, job.JobFilter{}, "", 100)
			f.must(err)
			_, err = f.CreateJob(job.WithToken(in(f.ctx, run), tt.as), "", spec)
			if got := refusedInRun(err); got != tt.want {
				t.Errorf("refused with %q: %v", got, err)
			}
			after, _, err := f.FindJobs(f.ctx, job.JobFilter{}, "", 100)
			f.must(err)
			if len(after) != len(before) {
				t.Errorf("%d jobs, %d before", len(after), len(before))
			}
		})
	}
}

// TestTheRightToMakeJobsIsNotForARunToChange: nor is anything else of a job kept from it.
func TestTheRightToMakeJobsIsNotForARunToChange(t *testing.T) {
	f := setup(t, Options{})
	run := f.begun("digest", everyMinute()).Run.ID
	f.create("other", scheduling())
	for id, allow := range map[string]bool{"digest": true, "other": false} {
		_, err := f.UpdateJob(in(f.ctx, run), id, func(s job.Spec) (job.Spec, error) { s.AllowScheduling = allow; return s, nil })
		if got := refusedInRun(err); got != job.SchedulingIsFixed || f.job(id).AllowScheduling == allow {
			t.Errorf("%s: refused with %q, and may %v", id, got, f.job(id).AllowScheduling)
		}
		_, err = f.UpdateJob(in(f.ctx, run), id, func(s job.Spec) (job.Spec, error) { s.Name = "n"; return s, nil })
		f.must(err)
	}
}

// TestMadeJobsAreCountedWhileTheyExist, however they go.
func TestMadeJobsAreCountedWhileTheyExist(t *testing.T) {
	f := setup(t, Options{})
	ctx := in(f.ctx, f.begun("digest", scheduling()).Run.ID)
	create := func(id string, spec job.Spec) {
		t.Helper()
		_, err := f.CreateJob(ctx, id, spec)
		f.must(err)
	}
	once := everyMinute()
	once.MaxRuns = 1
	create("once", once)
	for n := range job.MaxMadeJobs - 1 {
		create(id(n), everyMinute())
	}
	full := func(when string) {
		t.Helper()
		if _, err := f.CreateJob(ctx, "too-many", everyMinute()); refusedInRun(err) != job.TooManyMade {
			t.Errorf("%s: %v", when, err)
		}
	}
	full("with as many as may be")
	f.rewind("once", f.minute(0))
	f.commit(f.claim(f.job("once"), f.minute(0), "t"), "done") // deletes it
	create("after-the-last-run", everyMinute())
	full("after the last run of one")
	f.must(f.DeleteJob(ctx, id(0)))
	f.create(id(0), everyMinute()) // by somebody, under the id of one that was made
	create("after-a-delete", everyMinute())
	full("after a delete")
	f.must(f.rdb.Del(f.ctx, f.keys.job(id(1))).Err()) // lost, not deleted
	f.must(f.rdb.Set(f.ctx, f.keys.job(id(2)), "damaged", 0).Err())
	create("after-a-loss", everyMinute())
	create("after-damage", everyMinute())
	full("after loss and damage")
}

// TestMadeJobsKeepToTheirNumberAllAtOnce: whoever asks at once, together they get as many
// as may be, also while some are deleted.
func TestMadeJobsKeepToTheirNumberAllAtOnce(t *testing.T) {
	f := setup(t, Options{})
	ctx := in(f.ctx, f.begun("digest", scheduling()).Run.ID)
	var made, deleted atomic.Int32
	var wg sync.WaitGroup
	for n := range 40 {
		wg.Go(func() {
			j, err := f.CreateJob(ctx, "", everyMinute())
			switch {
			case err == nil:
				made.Add(1)
				if n%4 == 0 && f.DeleteJob(ctx, j.ID) == nil {
					deleted.Add(1)
				}
			case refusedInRun(err) != job.TooManyMade:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	jobs, _, err := f.FindJobs(f.ctx, job.JobFilter{}, "", 200)
	f.must(err)
	there := int32(len(slices.DeleteFunc(jobs, func(j job.Job) bool { return j.MadeBy == "" })))
	if there != made.Load()-deleted.Load() || there > job.MaxMadeJobs || made.Load() < job.MaxMadeJobs {
		t.Errorf("%d exist: %d were made, %d of them deleted", there, made.Load(), deleted.Load())
	}
	for range job.MaxMadeJobs - there {
		_, err := f.CreateJob(ctx, "", everyMinute())
		f.must(err)
	}
	if _, err := f.CreateJob(ctx, "", everyMinute()); refusedInRun(err) != job.TooManyMade {
		t.Errorf("one more: %v", err)
	}
}

// TestMadeJobsCountAgainstTheTokenOfTheJobThatRuns, whoever asks for them: else an agent had
// no quota as soon as its tools use another token.
func TestMadeJobsCountAgainstTheTokenOfTheJobThatRuns(t *testing.T) {
	f := setup(t, Options{})
	ctx, token, _ := f.with(job.Token{Name: "n", AgentID: "main", MaxJobs: 2, MaxRunsPerDay: 5})
	_, err := f.CreateJob(ctx, "digest", scheduling())
	f.must(err)
	f.rewind("digest", f.minute(0))
	run := f.claim(f.job("digest"), f.minute(0), "t").Run.ID
	of, err := f.TokenOfRun(f.ctx, run)
	f.must(err)
	if of == nil || of.ID != token.ID || of.MaxJobs != 2 {
		t.Errorf("the token of the run is %+v", of)
	}

	foreign := everyMinute()
	foreign.AgentID = "other"
	if _, err := f.CreateJob(in(f.ctx, run), "", foreign); !outOfScope(err) {
		t.Errorf("for another agent: %v", err)
	}
	made, err := f.CreateJob(in(f.ctx, run), "", everyMinute())
	f.must(err)
	if got := f.rdb.HGet(f.ctx, f.keys.job(made.ID), "maker").Val(); got != token.ID {
		t.Errorf("made with %q", got)
	}
	edit := func(to job.Spec) error {
		_, err := f.UpdateJob(in(f.ctx, run), made.ID, func(job.Spec) (job.Spec, error) { return to, nil })
		return err
	}
	if err := edit(foreign); !outOfScope(err) {
		t.Errorf("given to another agent: %v", err)
	}
	f.must(edit(made.Spec))
	if _, err := f.CreateJob(in(f.ctx, run), "", everyMinute()); !errors.Is(err, job.ErrJobQuota) {
		t.Errorf("one more than the token may have: %v", err)
	}
	f.must(f.DeleteJob(f.ctx, made.ID))
	f.must(f.rdb.Del(f.ctx, f.keys.token(token.ID)).Err()) // revoked long ago: it bounds nothing
	_, err = f.CreateJob(in(f.ctx, run), "", everyMinute())
	f.must(err)
	if of, err := f.TokenOfRun(f.ctx, run); of != nil || err != nil {
		t.Errorf("the token of the run is %+v, %v", of, err)
	}
}

func outOfScope(err error) bool {
	_, ok := errors.AsType[*job.OutOfScopeError](err)
	return ok
}

// TestTheTokenOfARun is for the caller's runs alone, and of jobs that are there.
func TestTheTokenOfARun(t *testing.T) {
	f := setup(t, Options{})
	ctx, _, _ := f.with(job.Token{Name: "n", AgentID: "main"})
	_, err := f.CreateJob(ctx, "digest", scheduling())
	f.must(err)
	_, run, err := f.RunJob(ctx, "digest")
	f.must(err)
	f.create("plain", scheduling())
	_, plain, err := f.RunJob(f.ctx, "plain")
	f.must(err)
	stranger, _, _ := f.with(job.Token{Name: "s", AgentID: "other"})
	want := func(what string, ctx context.Context, run string, there bool) {
		t.Helper()
		if of, err := f.TokenOfRun(ctx, run); err != nil || (of != nil) != there {
			t.Errorf("%s: %+v, %v", what, of, err)
		}
	}
	want("the holder's", ctx, run, true)
	want("for the administrator", f.ctx, run, true)
	want("a stranger's", stranger, run, false)
	want("of a job that no token made", f.ctx, plain, false)
	want("of none", f.ctx, "none:1", false)
	f.must(f.DeleteJob(f.ctx, "digest"))
	f.create("digest", everyMinute())
	want("of a job that is gone", f.ctx, run, false)
}

// TestAJobInARunIsMadeOnce, though its answer was lost and the run has ended since.
func TestAJobInARunIsMadeOnce(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("digest", scheduling())
	once := job.Once{Key: "k", Print: "p"}
	first, err := f.CreateJob(in(f.ctx, b.Run.ID), "", everyMinute(), once)
	f.must(err)
	f.commit(b, "done")
	second, err := f.CreateJob(in(f.ctx, b.Run.ID), "", everyMinute(), once)
	f.must(err)
	if second.ID != first.ID {
		t.Errorf("%s and %s", first.ID, second.ID)
	}
}

// TestMadeElsewhere: a job that comes from elsewhere keeps by whom it was made, and counts.
func TestMadeElsewhere(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("digest", scheduling())
	from := job.WithOrigin(f.ctx, job.Origin{MadeBy: "digest"})
	for n := range job.MaxMadeJobs + 1 {
		j, err := f.CreateJob(from, id(n), scheduling())
		f.must(err)
		if j.MadeBy != "digest" {
			t.Errorf("made by %q", j.MadeBy)
		}
	}
	if _, err := f.CreateJob(in(f.ctx, b.Run.ID), "", everyMinute()); refusedInRun(err) != job.TooManyMade {
		t.Errorf("one more: %v", err)
	}
	f.rewind(id(0), f.minute(0))
	run := f.claim(f.job(id(0)), f.minute(0), "t").Run.ID
	if _, err := f.CreateJob(in(f.ctx, run), "", everyMinute()); refusedInRun(err) != job.MadeInARun {
		t.Errorf("by one that was made: %v", err)
	}
	j, err := f.CreateJob(job.WithOrigin(f.ctx, job.Origin{MadeBy: "gone"}), "of-one-that-is-gone", everyMinute())
	f.must(err)
	if exists := f.rdb.Exists(f.ctx, f.keys.job("gone")).Val(); j.MadeBy != "gone" || exists != 0 {
		t.Errorf("made by %q, of which there are %d", j.MadeBy, exists)
	}
}

// TestNothingIsMadeInRunsOfNewerReleases: their records are theirs.
func TestNothingIsMadeInRunsOfNewerReleases(t *testing.T) {
	for _, newer := range []func(f *fixture, run string) string{
		func(f *fixture, run string) string { return f.keys.run(run) },
		func(f *fixture, _ string) string { return f.keys.job("digest") },
	} {
		f := setup(t, Options{})
		run := f.begun("digest", scheduling()).Run.ID
		f.must(f.rdb.HSet(f.ctx, newer(f, run), "v", job.Version+1).Err())
		if _, err := f.CreateJob(in(f.ctx, run), "", everyMinute()); !errors.Is(err, job.ErrNewerVersion) {
			t.Errorf("%v", err)
		}
		if f.rdb.HExists(f.ctx, f.keys.job("digest"), "made").Val() {
			t.Error("the job was written to")
		}
	}
}
