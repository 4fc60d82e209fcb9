package store

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

func (f *fixture) cancel(run string) []job.Carrier {
	f.t.Helper()
	carriers, err := f.CancelRun(f.ctx, run)
	f.must(err)
	return carriers
}

// wantCancelled checks that a run ended by a cancel, and that nothing waits for it.
func (f *fixture) wantCancelled(run string) job.Run {
	f.t.Helper()
	r := f.record(run)
	if r.State != job.StateDone || r.Outcome != job.Cancelled || r.Reason != job.ReasonRequested || r.FinishedAt == 0 ||
		r.DeliveryState != job.DeliveryNotRequested {
		f.t.Errorf("cancelled run: %+v", r)
	}
	if _, ok := f.score(f.keys.wake(), "r:"+run); ok {
		f.t.Errorf("%s is still looked at", run)
	}
	return r
}

// TestCancelUnderWay: the attempt is fenced, its session goes to the next run, and
// nothing of it is ever kept.
func TestCancelUnderWay(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.SessionKey = "shared"
	b := f.begun("a", spec)
	f.create("b", spec)
	_, behind, err := f.RunJob(f.ctx, "b")
	f.must(err)
	if v := f.begin(behind).Verdict; v != job.BeginParked {
		t.Fatalf("behind: %s", v)
	}

	carriers := f.cancel(b.Run.ID)
	if len(carriers) != 1 || carriers[0].ID != behind {
		t.Errorf("carriers %v, want that of %s", carriers, behind)
	}
	if a := f.wantCancelled(b.Run.ID).Attempts[0]; a.Result != job.ResultCancelled || a.Cause != job.CauseRequested || a.EndedAt == 0 {
		t.Errorf("attempt %+v", a)
	}
	if epoch := f.rdb.HGet(f.ctx, f.keys.run(b.Run.ID), "epoch").Val(); epoch == strconv.FormatInt(b.Epoch, 10) {
		t.Error("the attempt has its epoch still")
	}
	if err := f.Renew(f.ctx, b.Run.ID, b.Epoch); !errors.Is(err, job.ErrFenced) {
		t.Errorf("renewal: %v", err)
	}
	if _, err := f.Commit(f.ctx, commitOf(b, "too late")); !errors.Is(err, job.ErrFenced) {
		t.Errorf("commit: %v", err)
	}
	if _, _, err := f.Fail(f.ctx, job.Failure{RunID: b.Run.ID, Epoch: b.Epoch, Retry: job.RetryCounted}); !errors.Is(err, job.ErrFenced) {
		t.Errorf("failure: %v", err)
	}
	if v := f.begin(b.Run.ID).Verdict; v != job.BeginDone {
		t.Errorf("its carrier: %s", v)
	}
	if v := f.begin(behind).Verdict; v != job.BeginOK {
		t.Errorf("the run behind it: %s", v)
	}
	if j := f.job("a"); j.Failures != 0 || j.LastOutcome != job.Cancelled {
		t.Errorf("job: %d failures, last %s", j.Failures, j.LastOutcome)
	}
}

func TestCancelBeforeItBegins(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.SessionKey = "shared"
	holder := f.begun("a", spec)
	f.create("b", spec)
	_, parked, err := f.RunJob(f.ctx, "b")
	f.must(err)
	f.begin(parked)
	_, waiting, err := f.RunJob(f.ctx, "b")
	f.must(err)
	for _, run := range []string{parked, waiting} {
		f.cancel(run)
		if r := f.wantCancelled(run); len(r.Attempts) != 0 {
			t.Errorf("attempts of what never began: %+v", r.Attempts)
		}
	}
	f.commit(holder, "done")
	if n := f.rdb.Exists(f.ctx, f.keys.lock("shared"), f.keys.wait("shared")).Val(); n != 0 {
		t.Error("the session is not free")
	}
}

func TestCancelRefusals(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("a", everyMinute())
	f.commit(b, "the reply")
	if _, err := f.CancelRun(f.ctx, b.Run.ID); !errors.Is(err, job.ErrEnded) {
		t.Errorf("a committed run: %v", err)
	}
	if r := f.record(b.Run.ID); r.Outcome != job.Succeeded || r.Reply != "the reply" {
		t.Errorf("a committed run became %+v", r)
	}
	if _, err := f.CancelRun(f.ctx, "a:1"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("no run: %v", err)
	}
	newer := f.begun("b", everyMinute())
	f.must(f.rdb.HSet(f.ctx, f.keys.run(newer.Run.ID), "v", job.Version+1).Err())
	if _, err := f.CancelRun(f.ctx, newer.Run.ID); !errors.Is(err, job.ErrNewerVersion) {
		t.Errorf("a run of a newer release: %v", err)
	}
}

// listen hears of cancels until the test ends, from the first word on.
func (f *fixture) listen() <-chan string {
	f.t.Helper()
	told := make(chan string, 10)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Cancelled(ctx, func(run string) { told <- run })
	}()
	f.t.Cleanup(func() { stop(); <-done })
	if first := <-told; first != "" {
		f.t.Errorf("the first word is %q: what was cancelled before is not known", first)
	}
	return told
}

func TestCancelIsToldAndResent(t *testing.T) {
	f := setup(t, Options{})
	b, last := f.begun("a", everyMinute()), f.begun("b", everyMinute())
	told := f.listen()
	for range 2 {
		word, _, err := f.answer(f.ctx, f.scripts.cancel, b.Run.ID, "t", "me")
		f.must(err)
		if word != "ok" {
			t.Errorf("answered %s", word)
		}
	}
	f.cancel(last.Run.ID)
	if got := []string{<-told, <-told}; got[0] != b.Run.ID || got[1] != last.Run.ID {
		t.Errorf("told %q", got)
	}
}

// TestLostCancelsAreToldOf: whoever listens must know that some of it may be missing.
func TestLostCancelsAreToldOf(t *testing.T) {
	f := setup(t, Options{})
	b := f.begun("a", everyMinute())
	told := f.listen()
	f.must(f.rdb.Do(f.ctx, "CLIENT", "KILL", "TYPE", "pubsub").Err())
	if got := <-told; got != "" {
		t.Errorf("told %q after a break", got)
	}
	f.cancel(b.Run.ID)
	if got := <-told; got != b.Run.ID {
		t.Errorf("told %q", got)
	}
}

func TestRedeliver(t *testing.T) {
	f := setup(t, Options{})
	run := f.delivery("a")
	if _, err := f.Redeliver(f.ctx, run); !errors.Is(err, job.ErrUnfinished) {
		t.Errorf("while the first is under way: %v", err)
	}
	b := f.beginDelivery(run)
	f.sendBegin(run, b, 0)
	f.sendEnd(run, b, 0, job.SendEnd{Result: job.PartFailed, Message: "chat not found"})

	// The job has no chat, so it goes where it went.
	carriers, err := f.Redeliver(f.ctx, run)
	f.must(err)
	if len(carriers) != 1 || carriers[0] != (job.Carrier{Kind: job.CarryDelivery, ID: run + ":2"}) {
		t.Errorf("carriers %v", carriers)
	}
	if _, ok := f.score(f.keys.wake(), "d:"+run+":2"); !ok {
		t.Error("nobody looks at it")
	}
	second, err := f.BeginDelivery(f.ctx, run, 2, "t")
	f.must(err)
	if second.Verdict != job.BeginOK || second.Reply != "the reply" || second.Delivery.Target.ChatID != "7" {
		t.Errorf("begin: %+v", second)
	}
	_, err = f.SendEnd(f.ctx, job.SendEnd{RunID: run, N: 2, Epoch: second.Epoch, Result: job.PartDelivered, MessageID: "m"})
	f.must(err)

	// Mended, it goes where the job sends now.
	group := true
	_, err = f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) {
		s.Channel, s.ChatID, s.IsGroup = "telegram", "8", &group
		return s, nil
	})
	f.must(err)
	_, err = f.Redeliver(f.ctx, run)
	f.must(err)
	r := f.record(run)
	if len(r.Deliveries) != 3 || r.Deliveries[0].State != job.DeliveryFailed || r.Deliveries[1].State != job.DeliveryDelivered ||
		r.Deliveries[2].State != job.DeliveryPending || r.DeliveryState != job.DeliveryPending || r.Outcome != job.Succeeded {
		t.Errorf("run %+v", r)
	}
	if target := r.Deliveries[2].Target; target.ChatID != "8" || target.ThreadID != "" || target.IsGroup == nil || !*target.IsGroup {
		t.Errorf("target %+v", target)
	}
}

func TestRedeliverRefusals(t *testing.T) {
	f := setup(t, Options{})
	under := f.begun("under-way", everyMinute())
	failed := f.begun("failed", everyMinute())
	f.fail(failed, job.RetryNever, 0)
	silent := f.begun("nowhere", everyMinute())
	f.commit(silent, "for nobody")
	for run, want := range map[string]error{
		"a:1": job.ErrNotFound, under.Run.ID: job.ErrUnfinished, failed.Run.ID: job.ErrNoReply, silent.Run.ID: job.ErrNoTarget,
	} {
		if _, err := f.Redeliver(f.ctx, run); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", run, err, want)
		}
	}
	often := f.delivery("often")
	f.must(f.rdb.HSet(f.ctx, f.keys.run(often), "deliveries", maxDeliveries).Err())
	if _, err := f.Redeliver(f.ctx, often); !errors.Is(err, job.ErrTooOften) {
		t.Errorf("the %dth: %v", maxDeliveries+1, err)
	}
}

// TestRedeliverOfAJobHandedOver: a reply is not sent into the chat of the agent, or of the
// session, that has the job by now.
func TestRedeliverOfAJobHandedOver(t *testing.T) {
	f := setup(t, Options{})
	redeliver := func(ctx context.Context, id string) error {
		_, err := f.Redeliver(ctx, f.job(id).LastRunID)
		return err
	}
	hand := func(id string, to func(*job.Spec)) {
		_, err := f.UpdateJob(f.ctx, id, func(s job.Spec) (job.Spec, error) { to(&s); return s, nil })
		f.must(err)
	}
	spec := everyMinute()
	spec.AgentID, spec.SessionKey, spec.Channel, spec.ChatID = "alpha", "agent:alpha:one", "telegram", "7"
	bound := job.WithToken(f.ctx, &job.Token{ID: "t", SessionKey: "agent:alpha:one"})
	for id, to := range map[string]func(*job.Spec){
		"kept":           func(s *job.Spec) { s.ChatID = "8" },
		"of another":     func(s *job.Spec) { s.AgentID, s.ChatID = "beta", "8" },
		"in another one": func(s *job.Spec) { s.SessionKey, s.ChatID = "agent:alpha:two", "8" },
	} {
		id = strings.ReplaceAll(id, " ", "-")
		f.commit(f.begun(id, spec), "mine")
		hand(id, to)
		for _, ctx := range []context.Context{bound, f.ctx} {
			want := error(nil)
			if id == "of-another" || id == "in-another-one" && ctx == bound {
				want = job.ErrForeign
			}
			if err := redeliver(ctx, id); !errors.Is(err, want) && !(want == nil && errors.Is(err, job.ErrUnfinished)) {
				t.Errorf("%s, bound %t: %v, want %v", id, ctx == bound, err, want)
			}
		}
	}
}

func TestRedeliveryResent(t *testing.T) {
	f := setup(t, Options{})
	run := f.delivery("a")
	b := f.beginDelivery(run)
	f.sendEnd(run, b, 0, job.SendEnd{Result: job.PartFailed})
	for range 2 {
		word, _, err := f.answer(f.ctx, f.scripts.redeliver, "run", run, "token", "t", "most", maxDeliveries, "actor", "me", "key", "", "print", "")
		f.must(err)
		if word != "ok" {
			t.Errorf("answered %s", word)
		}
	}
	if n := len(f.record(run).Deliveries); n != 2 {
		t.Errorf("%d deliveries", n)
	}
}

// TestRedeliverOfAnotherJob: a job that was made of the same id since, or that this release
// cannot read, does not say where a reply goes.
func TestRedeliverOfAnotherJob(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.Channel, spec.ChatID = "telegram", "of another"
	for name, change := range map[string]func(id string){
		"made-again": func(id string) { f.must(f.DeleteJob(f.ctx, id)); f.create(id, spec) },
		"newer": func(id string) {
			f.must(f.rdb.HSet(f.ctx, f.keys.job(id), "v", job.Version+1, "channel", "telegram", "chatId", "of another").Err())
		},
	} {
		run := f.delivery(name)
		b := f.beginDelivery(run)
		f.sendBegin(run, b, 0)
		f.sendEnd(run, b, 0, job.SendEnd{Result: job.PartFailed})
		change(name)
		_, err := f.Redeliver(f.ctx, run)
		f.must(err)
		if d := f.record(run).Deliveries; len(d) != 2 || d[1].Target != d[0].Target {
			t.Errorf("%s: deliveries %+v", name, d)
		}
	}
}
