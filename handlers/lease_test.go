package handlers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// renewer counts the renewals it is asked for and answers them.
type renewer struct {
	asked  atomic.Int64
	answer func(context.Context) error // nil: renewed
}

func (r *renewer) renew(ctx context.Context) error {
	r.asked.Add(1)
	if r.answer == nil {
		return nil
	}
	return r.answer(ctx)
}

// hang is a Redis that does not answer.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func refuse(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

// withLease runs a test in fake time with a lease granted now. ctx is the attempt's.
func withLease(t *testing.T, r *renewer, test func(t *testing.T, ctx context.Context, l *lease)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, fence := context.WithCancelCause(t.Context())
		defer fence(nil)
		l := holdLease(time.Now(), r.renew, fence)
		defer l.release()
		test(t, ctx, l)
	})
}

func pass(d time.Duration) { <-time.After(d) } // in fake time

func TestLeaseIsRenewed(t *testing.T) {
	r := &renewer{}
	withLease(t, r, func(t *testing.T, ctx context.Context, l *lease) {
		pass(time.Minute + time.Millisecond)
		synctest.Wait()
		if r.asked.Load() != 12 || ctx.Err() != nil {
			t.Errorf("%d renewals in a minute, %v; want one every 5 seconds", r.asked.Load(), ctx.Err())
		}
		l.release()
		pass(time.Minute)
		if r.asked.Load() != 12 {
			t.Errorf("%d renewals after the release", r.asked.Load()-12)
		}
	})
}

// A Redis that stands still, or says something else, is no reason to give up a
// call: nobody declares its lease dead meanwhile. When it is back, a renewal must
// come before the second look at a lease that ran out, six seconds after the first.
func TestLeaseOutlivesAnOutage(t *testing.T) {
	for name, away := range map[string]func(context.Context) error{"hanging": hang, "refusing": refuse(errors.New("LOADING"))} {
		t.Run(name, func(t *testing.T) {
			var back time.Time
			var renewed atomic.Int64
			r := &renewer{answer: func(ctx context.Context) error {
				if back.IsZero() {
					back = time.Now().Add(time.Hour + time.Second) // in the middle of a try
				}
				if time.Now().Before(back) {
					return away(ctx)
				}
				renewed.Add(1)
				return nil
			}}
			withLease(t, r, func(t *testing.T, ctx context.Context, _ *lease) {
				pass(time.Hour)
				synctest.Wait()
				if ctx.Err() != nil || renewed.Load() != 0 || r.asked.Load() < 300 {
					t.Errorf("after an hour without Redis: %v, %d renewals asked for", context.Cause(ctx), r.asked.Load())
				}
				pass(renewEvery + time.Second + renewEvery + renewAgain) // the first two are of the outage
				synctest.Wait()
				if renewed.Load() == 0 {
					t.Error("no renewal with Redis back")
				}
			})
		})
	}
}

func TestLostLeaseEndsTheAttempt(t *testing.T) {
	r := &renewer{answer: refuse(job.ErrFenced)}
	withLease(t, r, func(t *testing.T, ctx context.Context, _ *lease) {
		began := time.Now()
		<-ctx.Done()
		if took := time.Since(began); took != renewEvery || !isFenced(context.Cause(ctx)) {
			t.Errorf("ended after %s by %v", took, context.Cause(ctx))
		}
	})
}

func TestFresh(t *testing.T) {
	tests := []struct {
		name    string
		age     time.Duration
		answer  func(context.Context) error
		renewed int64
		want    error
		took    time.Duration
	}{
		{"just confirmed", 2*time.Second - time.Millisecond, nil, 0, nil, 0},
		{"older", 2 * time.Second, nil, 1, nil, 0},
		{"lost", 2 * time.Second, refuse(job.ErrFenced), 1, job.ErrFenced, 0},
		{"Redis hangs", 2 * time.Second, hang, 1, errNotConfirmed, 2 * time.Second},
		{"Redis refuses", 2 * time.Second, refuse(errors.New("LOADING")), 1, errNotConfirmed, 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := &renewer{answer: tc.answer}
			withLease(t, r, func(t *testing.T, ctx context.Context, l *lease) {
				pass(tc.age)
				began := time.Now()
				err := l.fresh(ctx)
				if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) || r.asked.Load() != tc.renewed {
					t.Errorf("%v after %d renewals, want %v after %d", err, r.asked.Load(), tc.want, tc.renewed)
				}
				if took := time.Since(began); took != tc.took {
					t.Errorf("took %s of fake time, want %s", took, tc.took)
				}
				if isFenced(err) != isFenced(context.Cause(ctx)) {
					t.Errorf("%v, while the attempt's context says %v", err, context.Cause(ctx))
				}
				if err != nil {
					return
				}
				if err := l.fresh(ctx); err != nil || r.asked.Load() != tc.renewed {
					t.Errorf("asked again at once: %v after %d renewals", err, r.asked.Load())
				}
			})
		})
	}
}

// TestFreshCountsFromTheQuestion: an answer that took long says how things were when it
// was asked for.
func TestFreshCountsFromTheQuestion(t *testing.T) {
	r := &renewer{answer: func(context.Context) error { pass(3 * time.Second); return nil }}
	withLease(t, r, func(t *testing.T, ctx context.Context, l *lease) {
		pass(renewEvery + 3*time.Second)
		synctest.Wait()
		if r.asked.Load() != 1 {
			t.Fatalf("%d renewals", r.asked.Load())
		}
		if err := l.fresh(ctx); err != nil || r.asked.Load() != 2 {
			t.Errorf("%v after %d renewals, want another one", err, r.asked.Load())
		}
	})
}

// redisError is an error answer of Redis.
type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

func TestInsist(t *testing.T) {
	down := errors.New("no Redis")
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		err := insist(t.Context(), func(context.Context) error {
			if tries++; tries < 100 {
				return down
			}
			return nil
		})
		if err != nil || tries != 100 {
			t.Errorf("%v after %d tries", err, tries)
		}
		tries = 0
		if err := insist(t.Context(), func(context.Context) error { tries++; return job.ErrFenced }); !isFenced(err) || tries != 1 {
			t.Errorf("%v after %d tries of what was answered", err, tries)
		}

		// Redis refuses for reasons that pass, and for some that do not.
		for text, again := range map[string]bool{
			"LOADING Redis is loading the dataset in memory":              true,
			"OOM command not allowed. script: ab, on @user_script:9.":     true,
			"READONLY You can't write against a read only replica.":       true,
			"ERR max number of clients reached":                           true,
			"ERR user_script:9: attempt to compare nil. script: ab":       false,
			"WRONGTYPE Operation against a key holding the wrong kind of": false,
		} {
			tries = 0
			_ = insist(t.Context(), func(context.Context) error {
				if tries++; tries == 1 {
					return fmt.Errorf("commit: %w", redisError(text))
				}
				return nil
			})
			if (tries == 2) != again {
				t.Errorf("%d tries after %q", tries, text)
			}
		}

		// A worker that is cut has a moment for what it knows.
		base, cut := context.WithCancelCause(t.Context())
		write, cancel := lastWords(base)
		defer cancel()
		pass(time.Hour)
		cut(errShutdown)
		began := time.Now()
		if err := insist(write, refuse(down)); !errors.Is(err, down) || time.Since(began) != cutWithin {
			t.Errorf("%v after %s of fake time", err, time.Since(began))
		}
	})
}

// begun makes a run whose attempt is this worker's, with a conversation that the
// ai-server knows, so that nothing but the lease is asked of Redis before the call.
func (f *fixture) begun(id string) job.Begun {
	f.t.Helper()
	f.create(id, rarely())
	f.ai.SetSession("agent:main:cron:"+id, []standin.ChatMessage{{Role: "user", Text: "earlier"}}, standin.ChatGateway{})
	_, run := f.manual(id)
	b, err := f.store.Begin(f.ctx, run, "token", "worker-1")
	must(f.t, err)
	return b
}

// old is when a lease was granted whose confirmation is too old for a call.
func old() time.Time { return time.Now().Add(-time.Minute) }

// The last act before a request is written is a renewal that is answered.
func TestLeaseIsFreshBeforeTheCall(t *testing.T) {
	for _, tc := range []struct {
		name    string
		granted func() time.Time
		renewed int64
	}{{"fresh", time.Now, 0}, {"old", old, 1}} {
		t.Run(tc.name, func(t *testing.T) {
			turn := newHold(t)
			f := setup(t, setupOptions{reply: func(standin.ChatCall) standin.Answer { turn.wait(); return standin.Answer{} }})
			b := f.begun("a")
			done := side(func() error { f.worker.runs.attempt(&watched{}, b, tc.granted()); return nil })
			receive(f, "the call", turn.arrived)
			if n := f.store.renews.Load(); n != tc.renewed {
				t.Errorf("%d renewals before the call, want %d", n, tc.renewed)
			}
			turn.letGo()
			receive(f, "the end of the attempt", done)
			if r := f.record(b.Run.ID); r.Outcome != job.Succeeded || f.ai.Count() != 1 {
				t.Errorf("%s after %d calls", r.Outcome, f.ai.Count())
			}
		})
	}
}

// A worker that woke up late must not call: another one may have.
func TestNoCallOfAFencedAttempt(t *testing.T) {
	f := setup(t, setupOptions{})
	b := f.begun("a")
	f.steal(key("run", b.Run.ID))
	f.worker.runs.attempt(&watched{}, b, old())
	if r := f.record(b.Run.ID); r.State != job.StateRunning || r.Attempts[0].Result != "" || f.ai.Count() != 0 {
		t.Errorf("%s, attempt %+v, %d calls", r.State, r.Attempts[0], f.ai.Count())
	}
}

func TestNoCallWithoutAConfirmedLease(t *testing.T) {
	t.Parallel() // it waits for the renewal that is not answered, two seconds
	server := redistest.Start(t)
	f := setup(t, setupOptions{redis: server})
	b := f.begun("a")
	server.Freeze()
	done := side(func() error { f.worker.runs.attempt(&watched{}, b, old()); return nil })
	f.await("the attempt gives up", func() bool { return f.store.fails.Load() > 0 })
	server.Thaw()
	receive(f, "the end of the attempt", done)
	f.wantFailed(b.Run.ID, job.ResultFailed, job.CauseInternal, time.Second)
	if n := f.number(key("run", b.Run.ID), "retries"); f.ai.Count() != 0 || n != 0 {
		t.Errorf("%d calls, %d retries used up", f.ai.Count(), n)
	}
	must(t, f.again(b.Run.ID))
	if r := f.record(b.Run.ID); r.Outcome != job.Succeeded || f.ai.Count() != 1 {
		t.Errorf("with Redis back: %s after %d calls", r.Outcome, f.ai.Count())
	}
}

// wantDropped checks that nothing of a fenced attempt was kept.
func (f *fixture) wantDropped(run string) {
	f.t.Helper()
	r := f.record(run)
	if r.State != job.StateRunning || r.Reply != "" || r.Attempts[0].Result != "" || len(r.Deliveries) != 0 {
		f.t.Errorf("run after a fenced attempt: %+v", r)
	}
	if _, err := f.store.Session(f.ctx, r.SessionKey, 10); !errors.Is(err, job.ErrNotFound) {
		f.t.Errorf("a fenced attempt is in the session: %v", err)
	}
}

func TestFencedReplyIsNotCommitted(t *testing.T) {
	for name, answer := range map[string]standin.Answer{"a reply": {}, "an error": {Status: 500}, "dropped": {Drop: true}} {
		t.Run(name, func(t *testing.T) {
			turn := newHold(t)
			f := setup(t, setupOptions{reply: func(standin.ChatCall) standin.Answer { turn.wait(); return answer }})
			slot, run := f.due("a", toChat())
			done := side(func() error { return f.turn(slot) })
			receive(f, "the call", turn.arrived)
			f.steal(key("run", run))
			turn.letGo()
			must(t, receive(f, "the turn", done))
			f.wantDropped(run)
		})
	}
}

// telling stands before the ai-server and tells when the caller of a turn hangs up.
func telling(aborted chan<- struct{}) func(http.Handler) http.Handler {
	return func(ai http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				defer context.AfterFunc(r.Context(), func() { aborted <- struct{}{} })()
			}
			ai.ServeHTTP(w, r)
		})
	}
}

func TestFencedCallIsAborted(t *testing.T) {
	t.Parallel() // it waits for the next renewal, five seconds
	turn := newHold(t)
	aborted := make(chan struct{}, 1)
	f := setup(t, setupOptions{
		reply: func(standin.ChatCall) standin.Answer { turn.wait(); return standin.Answer{} },
		front: telling(aborted),
	})
	slot, run := f.due("a", toChat())
	done := side(func() error { return f.turn(slot) })
	receive(f, "the call", turn.arrived)
	f.steal(key("run", run))
	receive(f, "the caller hangs up", aborted)
	must(t, receive(f, "the turn", done))
	f.wantDropped(run)
	if f.store.fails.Load()+f.store.commits.Load() != 0 {
		t.Error("a fenced attempt tried to write its result")
	}
}

func TestFencedSendIsAborted(t *testing.T) {
	t.Parallel() // it waits for the next renewal, five seconds
	send := newHold(t)
	f := setup(t, setupOptions{send: func(standin.Message) standin.Answer { send.wait(); return standin.Answer{} }})
	run := f.committed("a", toChat())
	done := side(func() error { return f.deliver(run) })
	receive(f, "the message", send.arrived)
	f.steal(key("delivery", run, "1"))
	must(t, receive(f, "the delivery, though the chat does not answer", done))
	if d := f.delivery(run); d.State != job.DeliveryPending || d.Error != "" || len(d.MessageIDs) != 0 {
		t.Errorf("delivery after a fenced send: %+v", d)
	}
}

// What an attempt and a send have learned is written down when Redis is back, be
// it frozen or killed: nothing is called or sent twice.
func TestResultsSurviveAnOutage(t *testing.T) {
	for name, outage := range map[string]struct{ begin, end func(*redistest.Server) }{
		"frozen": {(*redistest.Server).Freeze, (*redistest.Server).Thaw},
		"killed": {(*redistest.Server).Kill, (*redistest.Server).Restart},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // a try at a frozen Redis takes five seconds
			server := redistest.Start(t, redistest.WithAOF())
			called, release := make(chan string), make(chan struct{})
			warm := true
			block := func(who string) {
				if !warm {
					called <- who
					<-release
				}
			}
			f := setup(t, setupOptions{redis: server,
				reply: func(c standin.ChatCall) standin.Answer {
					if block("ai-server"); c.N%2 == 1 {
						return standin.Answer{Status: 500, Text: "boom"}
					}
					return standin.Answer{}
				},
				send: func(standin.Message) standin.Answer { block("chat"); return standin.Answer{} },
			})
			// Redis knows every script from here on: it runs what it was sent while
			// frozen, though nobody listens to the answer any more.
			before, first := f.due("before", toChat())
			must(t, f.turn(before))
			must(t, f.again(first))
			must(t, f.deliver(first))
			warm = false
			calls, messages := f.ai.Count(), f.chat.Count()
			slot, run := f.due("a", toChat())

			// during lets something be answered while Redis is away, until its
			// result was tried to be written for the second time.
			during := func(what string, tries func() int64, do func() error) {
				t.Helper()
				done := side(do)
				receive(f, what, called)
				before := tries()
				outage.begin(server)
				release <- struct{}{}
				f.await(what+": it insists", func() bool { return tries() >= before+2 })
				outage.end(server)
				must(t, receive(f, "the end of "+what, done))
			}
			during("the failed call", f.store.fails.Load, func() error { return f.turn(slot) })
			f.wantFailed(run, job.ResultFailed, job.CauseAIError, 30*time.Second)

			must(t, f.rdb.HSet(f.ctx, key("run", run), "notBefore", 1).Err())
			retry := f.queues.RunAgain(run, 1)
			during("the good call", f.store.commits.Load, func() error { return f.turn(retry) })
			r := f.record(run)
			if r.Outcome != job.Succeeded || r.DeliveryState != job.DeliveryPending || f.ai.Count() != calls+2 {
				t.Fatalf("%s, delivery %s after %d calls", r.Outcome, r.DeliveryState, f.ai.Count()-calls)
			}
			if s, err := f.store.Session(f.ctx, r.SessionKey, 10); err != nil || len(s.Messages) != 4 {
				t.Errorf("session %+v, %v", s, err)
			}

			during("the message", f.store.sendEnds.Load, func() error { return f.deliver(run) })
			if r := f.record(run); r.DeliveryState != job.DeliveryDelivered {
				t.Errorf("delivery %+v", r.Deliveries)
			}
			must(t, f.turn(retry))
			must(t, f.deliver(run))
			// What was written by a try whose answer was lost is known as our own.
			for _, text := range []string{"not committed", "no longer ours", "not written down"} {
				if strings.Contains(f.log.String(), text) {
					t.Errorf("the log says %q", text)
				}
			}
			if f.ai.Count() != calls+2 || f.chat.Count() != messages+1 {
				t.Errorf("%d calls, %d messages", f.ai.Count()-calls, f.chat.Count()-messages)
			}
		})
	}
}

// slowStore answers the begin of a send when it is too late, unless it was asked to answer
// within the bound.
type slowStore struct {
	DeliveryStore
	asked atomic.Int64
}

func (s *slowStore) SendBegin(ctx context.Context, run string, n int, epoch int64, part, parts int, token string) (job.SendVerdict, error) {
	s.asked.Add(1)
	if by, bounded := ctx.Deadline(); bounded && time.Until(by) <= freshFor {
		return "", context.DeadlineExceeded
	}
	return s.DeliveryStore.SendBegin(ctx, run, n, epoch, part, parts, token)
}

// TestNoSendAfterALateAnswer: what Redis answered long ago says nothing about whose send
// it is now.
func TestNoSendAfterALateAnswer(t *testing.T) {
	f := setup(t, setupOptions{})
	run := f.committed("a", toChat())
	slow := &slowStore{DeliveryStore: f.store}
	f.worker.deliveries.store = slow
	done := side(func() error { return f.deliver(run) })
	f.await("the begin is asked again", func() bool { return slow.asked.Load() > 1 || f.chat.Count() > 0 })
	f.worker.cut(errShutdown)
	must(t, receive(f, "the delivery", done))
	if n := f.chat.Count(); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// thievedStore gives a delivery to somebody else when its first part is about to be sent.
type thievedStore struct {
	DeliveryStore
	steal func()
}

func (s thievedStore) SendBegin(ctx context.Context, run string, n int, epoch int64, part, parts int, token string) (job.SendVerdict, error) {
	s.steal()
	return s.DeliveryStore.SendBegin(ctx, run, n, epoch, part, parts, token)
}

func TestNoSendOfAFencedDelivery(t *testing.T) {
	f := setup(t, setupOptions{})
	run := f.committed("a", toChat())
	f.worker.deliveries.store = thievedStore{f.store, func() { f.steal(key("delivery", run, "1")) }}
	must(t, f.deliver(run))
	if n := f.chat.Count(); n != 0 {
		t.Errorf("%d messages", n)
	}
	if d := f.delivery(run); d.State != job.DeliveryPending {
		t.Errorf("delivery %+v", d)
	}
}

// refusal is an error reply of Redis.
type refusal string

func (r refusal) Error() string { return string(r) }
func (r refusal) RedisError()   {}

// TestWhatIsAnswered: only what asking again would not change.
func TestWhatIsAnswered(t *testing.T) {
	script := func(text string) error { return refusal("ERR " + text + " script: 1, on @user_script:1.") }
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("commit: %w", job.ErrFenced), true},
		{fmt.Errorf("commit: %w", script("attempt to index a nil value")), true},
		{refusal("WRONGTYPE Operation against a key"), true},
		{fmt.Errorf("commit: %w: %w", job.ErrStoreDenied, script("The user executing the script can't run this command")), false},
		{errors.New("i/o timeout"), false},
		{refusal("LOADING Redis is loading"), false},
	} {
		if got := answered(tt.err); got != tt.want {
			t.Errorf("%v: %t", tt.err, got)
		}
	}
}
