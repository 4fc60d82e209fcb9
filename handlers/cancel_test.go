package handlers

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// tellingStore tells of runs that were cancelled.
type tellingStore struct {
	RunStore
	runs []string
}

func (s tellingStore) Cancelled(ctx context.Context, tell func(string)) {
	for _, run := range s.runs {
		tell(run)
	}
	<-ctx.Done()
}

// TestCancelIsLookedIntoAtOnce: not with the next renewal, which may be seconds away;
// and whatever may have gone untold, too.
func TestCancelIsLookedIntoAtOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		told  []string
		asked map[string]int
	}{
		"by name":       {[]string{"a:1", "a:2", "a:4", "a:5"}, map[string]int{"a:1": 1, "a:2": 1}},
		"after a break": {[]string{""}, map[string]int{"a:1": 1, "a:2": 1, "a:3": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				asked := map[string]int{}
				h := &runHandler{store: tellingStore{runs: tc.told}, watched: map[*watched]struct{}{}}
				ctx, fence := context.WithCancelCause(t.Context())
				defer fence(nil)
				for _, run := range []string{"a:1", "a:2", "a:3", "a:4"} {
					w, forget := h.watch(run)
					l := holdLease(time.Now(), func(context.Context) error {
						mu.Lock()
						defer mu.Unlock()
						asked[run]++
						return job.ErrFenced
					}, fence)
					defer l.release()
					h.leased(w, l)
					if run == "a:4" { // over
						forget()
					}
				}
				watch, stop := context.WithCancel(t.Context())
				began := time.Now()
				go h.watchCancels(watch)
				<-ctx.Done()
				stop()
				synctest.Wait()
				if took := time.Since(began); took != 0 || !isFenced(context.Cause(ctx)) {
					t.Errorf("%v after %v", context.Cause(ctx), took)
				}
				if d := cmp.Diff(tc.asked, asked); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

// overtakingStore cancels each run while the answer to its begin is on its way, and
// tells of it at once.
type overtakingStore struct {
	*watchedStore
	tell func(run string)
}

func (s overtakingStore) Claim(ctx context.Context, c job.Claim) (job.Begun, error) {
	b, err := s.watchedStore.Claim(ctx, c)
	return b, s.cancel(ctx, b, err)
}

func (s overtakingStore) Begin(ctx context.Context, run, token, worker string) (job.Begun, error) {
	b, err := s.watchedStore.Begin(ctx, run, token, worker)
	return b, s.cancel(ctx, b, err)
}

func (s overtakingStore) cancel(ctx context.Context, b job.Begun, err error) error {
	if err == nil {
		_, err = s.CancelRun(ctx, b.Run.ID)
		s.tell("another:1")
		s.tell(b.Run.ID)
	}
	return err
}

// TestCancelOvertakesTheBegin: what is cancelled before its worker knows that it has
// begun is never called.
func TestCancelOvertakesTheBegin(t *testing.T) {
	for name, carrier := range map[string]func(*fixture) (tasks.Carrier, string){
		"of a slot": func(f *fixture) (tasks.Carrier, string) { return f.due("a", toChat()) },
		"of a run": func(f *fixture) (tasks.Carrier, string) {
			f.create("a", toChat())
			return f.manual("a")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, setupOptions{})
			runs := f.worker.runs
			runs.store = overtakingStore{f.store, func(run string) { runs.told(f.ctx, run) }}
			c, run := carrier(f)
			must(t, f.turn(c))
			if r := f.record(run); r.Outcome != job.Cancelled || r.Attempts[0].Result != job.ResultCancelled || f.ai.Count() != 0 {
				t.Errorf("%s, attempts %+v, %d calls", r.Outcome, r.Attempts, f.ai.Count())
			}
			if n := f.store.fails.Load() + f.store.commits.Load(); n != 0 || len(runs.watched) != 0 {
				t.Errorf("%d results written, %d runs still watched", n, len(runs.watched))
			}
		})
	}
}

// TestCancelledCallIsAborted: from the API's step to the ai-server, which sees its
// caller hang up.
func TestCancelledCallIsAborted(t *testing.T) {
	turn := newHold(t)
	aborted := make(chan struct{}, 1)
	f := setup(t, setupOptions{
		reply: func(standin.ChatCall) standin.Answer { turn.wait(); return standin.Answer{} },
		front: telling(aborted),
	})
	watch, stop := context.WithCancel(f.ctx)
	defer stop()
	go f.worker.runs.watchCancels(watch)
	slot, run := f.due("a", toChat())
	done := side(func() error { return f.turn(slot) })
	receive(f, "the call", turn.arrived)
	_, err := f.store.CancelRun(f.ctx, run)
	must(t, err)
	receive(f, "the caller hangs up", aborted)
	must(t, receive(f, "the turn", done))
	if r := f.record(run); r.Outcome != job.Cancelled || r.Reply != "" || len(r.Deliveries) != 0 {
		t.Errorf("run %+v", r)
	}
	if f.store.fails.Load()+f.store.commits.Load() != 0 {
		t.Error("a cancelled attempt tried to write its result")
	}
}
