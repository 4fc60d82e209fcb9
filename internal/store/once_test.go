package store

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

func TestARequestIsCarriedOutOnce(t *testing.T) {
	f := setup(t, Options{})
	creates, runs := job.Once{Key: "c", Print: "1"}, job.Once{Key: "r", Print: "2"}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		made = map[string]bool{}
		ran  = map[string]bool{}
	)
	together := func(do func()) {
		for range 20 {
			wg.Go(do)
		}
		wg.Wait()
	}
	together(func() {
		j, err := f.CreateJob(f.ctx, "", everyMinute(), creates)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			t.Error(err)
		}
		made[j.ID] = true
	})
	if jobs, _, err := f.FindJobs(f.ctx, job.JobFilter{}, "", 10); err != nil || len(jobs) != 1 || len(made) != 1 || !made[jobs[0].ID] {
		t.Fatalf("%d jobs, answered %v, %v", len(jobs), made, err)
	}
	var id string
	for id = range made {
	}
	together(func() {
		_, run, err := f.RunJob(f.ctx, id, runs)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			t.Error(err)
		}
		ran[run] = true
	})
	if n := len(f.runs(id)); n != 1 || len(ran) != 1 {
		t.Fatalf("%d runs, answered %v", n, ran)
	}
	for key, first := range map[string]job.Once{"c": creates, "r": runs} {
		if left := f.rdb.PTTL(f.ctx, f.keys.once(key)).Val(); left < 23*time.Hour || left > 24*time.Hour {
			t.Errorf("%s is remembered for %v", key, left)
		}
		first.Print = "3"
		if _, err := f.CreateJob(f.ctx, "", everyMinute(), first); !errors.Is(err, job.ErrOtherRequest) {
			t.Errorf("creating with another request's key: %v", err)
		}
		if _, _, err := f.RunJob(f.ctx, id, first); !errors.Is(err, job.ErrOtherRequest) {
			t.Errorf("running with another request's key: %v", err)
		}
	}

	// The job as it is now, and none instead of one that is gone.
	_, err := f.UpdateJob(f.ctx, id, func(s job.Spec) (job.Spec, error) { s.Name = "renamed"; return s, nil })
	f.must(err)
	if j, err := f.CreateJob(f.ctx, "", everyMinute(), creates); err != nil || j.ID != id || j.Name != "renamed" {
		t.Errorf("%+v, %v", j, err)
	}
	f.must(f.DeleteJob(f.ctx, id))
	f.create(id, everyMinute()) // not the one that was made
	var spent *job.SpentError
	if _, err := f.CreateJob(f.ctx, "", everyMinute(), creates); !errors.As(err, &spent) || spent.ID != id {
		t.Errorf("creating what is gone: %v", err)
	}
	if _, _, err := f.RunJob(f.ctx, id, runs); !errors.As(err, &spent) || !ran[spent.ID] {
		t.Errorf("running what is gone: %v", err)
	}
	if jobs, _, err := f.FindJobs(f.ctx, job.JobFilter{}, "", 10); err != nil || len(jobs) != 1 {
		t.Errorf("%d jobs, %v", len(jobs), err)
	}
}

// What was refused may be sent again with the same key.
func TestARefusalIsNotRemembered(t *testing.T) {
	f := setup(t, Options{})
	once := job.Once{Key: "k", Print: "p"}
	f.create("a", everyMinute())
	if _, err := f.CreateJob(f.ctx, "a", everyMinute(), once); !errors.Is(err, job.ErrExists) {
		t.Errorf("%v", err)
	}
	f.must(f.DeleteJob(f.ctx, "a"))
	j, err := f.CreateJob(f.ctx, "a", everyMinute(), once)
	f.must(err)
	if again, err := f.CreateJob(f.ctx, "a", everyMinute(), once); err != nil || again.UID != j.UID {
		t.Errorf("%+v, %v", again, err)
	}
	f.must(f.Pause(f.ctx, ""))
	run := job.Once{Key: "r", Print: "p"}
	if _, _, err := f.RunJob(f.ctx, "a", run); !errors.Is(err, job.ErrPaused) {
		t.Errorf("%v", err)
	}
	_, err = f.Resume(f.ctx)
	f.must(err)
	_, first, err := f.RunJob(f.ctx, "a", run)
	f.must(err)
	if _, again, err := f.RunJob(f.ctx, "a", run); err != nil || again != first {
		t.Errorf("first %s, then %s, %v", first, again, err)
	}
}

func TestDeleteCancelsTheRuns(t *testing.T) {
	f := setup(t, Options{})
	shared := everyMinute()
	shared.SessionKey = "shared"
	running := f.begun("a", shared)
	_, waiting, err := f.RunJob(f.ctx, "a")
	f.must(err)
	_, damaged, err := f.RunJob(f.ctx, "a")
	f.must(err)
	f.must(f.rdb.HDel(f.ctx, f.keys.run(damaged), "job").Err())
	f.create("b", shared)
	_, behind, err := f.RunJob(f.ctx, "b")
	f.must(err)
	if b := f.begin(behind); b.Verdict != job.BeginParked {
		t.Fatalf("behind: %s", b.Verdict)
	}
	told := f.rdb.Subscribe(f.ctx, f.keys.cancels())
	defer told.Close()
	_, err = told.Receive(f.ctx)
	f.must(err)

	n, err := f.DeleteJobAndRuns(f.ctx, "a")
	f.must(err)
	if want := (job.Stopped{Runs: 2, AbandonedTurns: 1}); n != want {
		t.Errorf("%+v, want %+v", n, want)
	}
	for range 2 {
		m, err := told.ReceiveMessage(f.ctx)
		f.must(err)
		if m.Payload != running.Run.ID && m.Payload != waiting {
			t.Errorf("told of %s", m.Payload)
		}
	}
	for _, id := range []string{running.Run.ID, waiting} {
		if r := f.record(id); r.Outcome != job.Cancelled || r.Reason != job.ReasonDeleted {
			t.Errorf("%s became %+v", id, r)
		}
	}
	if a := f.record(running.Run.ID).Attempts; len(a) != 1 || a[0].Result != job.ResultCancelled || a[0].Cause != job.CauseDeleted {
		t.Errorf("the attempt became %+v", a)
	}
	if _, err := f.Commit(f.ctx, commitOf(running, "late")); !errors.Is(err, job.ErrFenced) {
		t.Errorf("a commit of the cancelled run: %v", err)
	}
	if b := f.begin(behind); b.Verdict != job.BeginOK {
		t.Errorf("what waited behind it: %s", b.Verdict)
	}
	if _, err := f.DeleteJobAndRuns(f.ctx, "a"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("deleted again: %v", err)
	}
	notes := f.notes("a")
	if d := cmp.Diff(object(`{"cancelledRuns":2}`), notes[len(notes)-1].After); d != "" {
		t.Error(d)
	}
}

// A check is asked about the very state that is changed.
func TestChecksSeeWhatIsChanged(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	stale := errors.New("stale")
	touch := func() {
		_, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { return s, nil })
		f.must(err)
	}
	for name, change := range map[string]func(check func(job.Job) error) error{
		"edit": func(check func(job.Job) error) error {
			_, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { s.Name = "x"; return s, nil }, check)
			return err
		},
		"delete": func(check func(job.Job) error) error { return f.DeleteJob(f.ctx, "a", check) },
		"delete with the runs": func(check func(job.Job) error) error {
			_, err := f.DeleteJobAndRuns(f.ctx, "a", check)
			return err
		},
	} {
		seen := f.job("a").Revision
		asked := 0
		err := change(func(j job.Job) error {
			asked++
			if j.Revision != seen {
				return stale
			}
			touch() // somebody else, after the check and before the step
			return nil
		})
		if !errors.Is(err, stale) || asked != 2 || f.job("a").Name != "" {
			t.Errorf("%s: %v after %d checks", name, err, asked)
		}
	}
}

// The client library sends a delete again whose answer was lost; somebody else's is not
// taken for it.
func TestDeleteResent(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	f.begin(f.runNow("a"))
	send := func(token string) word {
		said, rest, err := f.answer(f.ctx, f.scripts.deleteJob, "a", j.UID, optional(j.NextSlot), "", "", 0, "", j.Revision, "1", "me", "", token)
		f.must(err)
		if said == saidOK && (len(rest) != 2 || number(rest[0]) != 1 || number(rest[1]) != 1) {
			t.Errorf("answered %v", rest)
		}
		return said
	}
	for n, want := range []word{saidOK, saidOK, saidGone} {
		token := "mine"
		if want == saidGone {
			token = "other"
		}
		if got := send(token); got != want {
			t.Errorf("call %d: %s, want %s", n, got, want)
		}
	}
	f.create("a", everyMinute())
	if got := send("mine"); got != "ok" {
		t.Errorf("resent after it was made again: %s", got)
	}
	f.job("a")
	if left := f.rdb.PTTL(f.ctx, f.keys.once("mine")).Val(); left <= 0 || left > time.Minute {
		t.Errorf("remembered for %v", left)
	}
	if n := len(f.notes("a")); n != 4 {
		t.Errorf("%d notes of a create, a run, a delete and a create", n)
	}
}
