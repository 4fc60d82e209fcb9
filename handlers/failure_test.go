package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatewaycron/gatewaycron/internal/executor"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/outcome"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// wantFailed checks the newest attempt of a run, and that the run waits exactly
// the delay for a retry, or has ended if there is none.
func (f *fixture) wantFailed(run string, result job.Result, cause job.Cause, delay time.Duration) {
	f.t.Helper()
	r := f.record(run)
	if len(r.Attempts) == 0 {
		f.t.Fatalf("run %+v has no attempt", r)
	}
	a := r.Attempts[len(r.Attempts)-1]
	if a.Result != result || a.Cause != cause || a.Error == "" {
		f.t.Errorf("attempt %d: %s of %s (%s), want %s of %s", a.N, a.Result, a.Cause, a.Error, result, cause)
	}
	if delay == 0 {
		want := job.Failed
		if result == job.ResultTimedOut {
			want = job.TimedOut
		}
		if r.State != job.StateDone || r.Outcome != want || r.Error == "" || r.DeliveryState != job.DeliveryNotRequested {
			f.t.Errorf("run: %s %s (%s), delivery %s; want %s", r.State, r.Outcome, r.Error, r.DeliveryState, want)
		}
		return
	}
	// Both are written by one script, by one clock.
	if got := time.Duration(r.NotBefore-a.EndedAt) * time.Millisecond; r.State != job.StateWaiting || got != delay {
		f.t.Errorf("run: %s %s for another %s, want a retry after %s", r.State, r.Outcome, got, delay)
	}
}

// What each way to fail means for the run. A retry that counts is one of three.
func TestFailures(t *testing.T) {
	const first = 30 * time.Second // the delay before the first retry
	status := func(code int, text string) standin.Answer { return standin.Answer{Status: code, Text: text} }
	after := func(code int, seconds string) standin.Answer {
		return standin.Answer{Status: code, Header: http.Header{"Retry-After": {seconds}}}
	}
	tests := []struct {
		name    string
		answer  standin.Answer
		result  job.Result
		cause   job.Cause
		delay   time.Duration // before the retry; 0: none
		counted int           // retries used up
		says    string
	}{
		{"error", status(500, "boom"), job.ResultFailed, job.CauseAIError, first, 1, "boom"},
		{"bad gateway", status(502, ""), job.ResultFailed, job.CauseAIError, first, 1, "502"},
		{"too many requests", after(429, "7"), job.ResultFailed, job.CauseRateLimited, 7 * time.Second, 0, "429"},
		{"too many requests, no time", status(429, "slow down"), job.ResultFailed, job.CauseRateLimited, 30 * time.Second, 0, "slow down"},
		{"unavailable for a while", after(503, "90"), job.ResultFailed, job.CauseRateLimited, 90 * time.Second, 0, "503"},
		{"unavailable", status(503, ""), job.ResultFailed, job.CauseAIError, first, 1, "503"},
		{"unknown model", status(500, "Unknown model: x/y"), job.ResultFailed, job.CauseAIError, 0, 0, "Unknown model: x/y"},
		{"no key", status(500, "ANTHROPIC_API_KEY is required"), job.ResultFailed, job.CauseAIError, 0, 0, "ANTHROPIC_API_KEY"},
		{"bad request", status(400, "messages array is required"), job.ResultFailed, job.CauseAIError, 0, 0, "messages array"},
		{"not found", status(404, ""), job.ResultFailed, job.CauseAIError, 0, 0, "404"},
		{"empty body", standin.Answer{Body: []byte{}}, job.ResultFailed, job.CauseAIError, first, 1, "an empty body"},
		{"text of null", standin.Answer{Body: []byte(`{"text":null}`)}, job.ResultFailed, job.CauseAIError, first, 1, "field text"},
		{"HTML", standin.Answer{Body: []byte("<html>Welcome</html>")}, job.ResultFailed, job.CauseAIError, first, 1, "base URL"},
		{"no text", standin.Answer{Body: []byte(`{"reply":"hello"}`)}, job.ResultFailed, job.CauseAIError, first, 1, "field text"},
		{"broken off", standin.Answer{Body: []byte(`{"text":"hel`)}, job.ResultAmbiguous, job.CauseBroken, first, 1, "broke off"},
		{"dropped", standin.Answer{Drop: true}, job.ResultAmbiguous, job.CauseBroken, first, 1, "was sent"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			f := setup(t, setupOptions{reply: func(standin.ChatCall) standin.Answer { return tc.answer }})
			slot, run := f.due("a", toChat())
			must(t, f.turn(slot))
			f.wantFailed(run, tc.result, tc.cause, tc.delay)
			if n := f.number(key("run", run), "retries"); n != tc.counted {
				t.Errorf("%d retries used up, want %d", n, tc.counted)
			}
			if text := f.record(run).Attempts[0].Error; !strings.Contains(text, tc.says) {
				t.Errorf("says %q, want %q in it", text, tc.says)
			}
			// A carrier that comes at once changes nothing.
			if err := f.turn(slot); (err != nil) != (tc.delay > 0) || f.ai.Count() != 1 {
				t.Errorf("the carrier again: %v, %d calls", err, f.ai.Count())
			}
			if _, err := f.store.Session(f.ctx, "agent:main:slack:dm:C1", 10); !errors.Is(err, job.ErrNotFound) {
				t.Errorf("a failed attempt is in the session: %v", err)
			}
			if f.chat.Count() != 0 {
				t.Errorf("%d messages", f.chat.Count())
			}
		})
	}
}

func TestRefusedConnection(t *testing.T) {
	f := setup(t, setupOptions{})
	gone, err := f.ai.Start("127.0.0.1:0")
	must(t, err)
	must(t, gone.Close())
	f.worker.runs.executor, _ = f.executorAt(gone.URL())
	slot, run := f.due("a", rarely())
	must(t, f.turn(slot))
	f.wantFailed(run, job.ResultFailed, job.CauseAIError, 30*time.Second)
	if f.ai.Count() != 0 {
		t.Errorf("%d calls", f.ai.Count())
	}
}

// The turn may still be going on over there: trying again could do everything twice.
func TestDeadline(t *testing.T) {
	t.Parallel() // it waits for the deadline, a second at least
	turn := newHold(t)
	f := setup(t, setupOptions{reply: func(standin.ChatCall) standin.Answer { turn.wait(); return standin.Answer{} }})
	spec := toChat()
	spec.TimeoutSeconds = 1
	slot, run := f.due("a", spec)
	must(t, f.turn(slot))
	f.wantFailed(run, job.ResultTimedOut, job.CauseDeadline, 0)
	turn.letGo()
	if err := f.turn(slot); err != nil || f.ai.Count() != 1 {
		t.Errorf("the carrier again: %v, %d calls", err, f.ai.Count())
	}
}

func TestRetriesRunOut(t *testing.T) {
	f := setup(t, setupOptions{reply: func(standin.ChatCall) standin.Answer { return standin.Answer{Status: 500, Text: "boom"} }})
	slot, run := f.due("a", toChat())
	must(t, f.turn(slot))
	for i, delay := range []time.Duration{30 * time.Second, time.Minute, 5 * time.Minute} {
		f.wantFailed(run, job.ResultFailed, job.CauseAIError, delay)
		must(t, f.again(run))
		if f.ai.Count() != i+2 {
			t.Errorf("%d calls after retry %d", f.ai.Count(), i+1)
		}
	}
	f.wantFailed(run, job.ResultFailed, job.CauseAIError, 0)
	if r := f.record(run); len(r.Attempts) != 4 {
		t.Errorf("%d attempts", len(r.Attempts))
	}
	for _, call := range f.ai.Calls() {
		if call.IdempotencyKey != run {
			t.Errorf("call %d with the key %s, want that of the run", call.N, call.IdempotencyKey)
		}
	}
}

func TestRetryDelaysOfItsOwn(t *testing.T) {
	f := setup(t, setupOptions{reply: func(c standin.ChatCall) standin.Answer {
		return standin.Answer{Status: map[bool]int{true: 429, false: 500}[c.N == 1]}
	}})
	spec := rarely()
	spec.RetryDelaysSeconds, spec.MaxRetries = []int{7, 90}, new(3)
	slot, run := f.due("a", spec)
	must(t, f.turn(slot))
	f.wantFailed(run, job.ResultFailed, job.CauseRateLimited, 7*time.Second)
	for _, delay := range []time.Duration{7 * time.Second, 90 * time.Second, 90 * time.Second, 0} {
		must(t, f.again(run))
		f.wantFailed(run, job.ResultFailed, job.CauseAIError, delay)
	}
	if n := f.ai.Count(); n != 5 {
		t.Errorf("%d calls", n)
	}

	// Whatever the delay, not past the next slot.
	spec.Schedule, spec.RetryDelaysSeconds = "* * * * *", []int{3600}
	slot, run = f.due("b", spec)
	must(t, f.turn(slot))
	f.wantFailed(run, job.ResultFailed, job.CauseAIError, 0)
}

// Being asked to wait is no failure: a success may follow any number of it.
func TestRateLimitsUseUpNoRetry(t *testing.T) {
	const limited = 6
	f := setup(t, setupOptions{reply: func(c standin.ChatCall) standin.Answer {
		if c.N <= limited {
			return standin.Answer{Status: 429}
		}
		return standin.Answer{}
	}})
	slot, run := f.due("a", rarely())
	must(t, f.turn(slot))
	for i := range limited {
		f.wantFailed(run, job.ResultFailed, job.CauseRateLimited, job.Spec{}.RetryDelay(i+1)) // longer each time
		must(t, f.again(run))
	}
	if r := f.record(run); r.Outcome != job.Succeeded || len(r.Attempts) != limited+1 || f.ai.Count() != limited+1 {
		t.Errorf("%s after %d attempts and %d calls", r.Outcome, len(r.Attempts), f.ai.Count())
	}
}

func TestOnAmbiguousFail(t *testing.T) {
	f := setup(t, setupOptions{reply: func(standin.ChatCall) standin.Answer { return standin.Answer{Drop: true} }})
	spec := rarely()
	spec.OnAmbiguous = job.OnAmbiguousFail
	slot, run := f.due("a", spec)
	must(t, f.turn(slot))
	f.wantFailed(run, job.ResultAmbiguous, job.CauseBroken, 0)
	if err := f.turn(slot); err != nil || f.ai.Count() != 1 {
		t.Errorf("the carrier again: %v, %d calls", err, f.ai.Count())
	}
}

// A turn that ends without a text, as one that only acts, is a success: another call would
// act twice. Nothing is sent, and the next call brings no empty message along.
func TestEmptyReply(t *testing.T) {
	for name, tc := range map[string]struct {
		text   string
		spec   job.Spec
		own    bool // the ai-server keeps no session: ours is sent
		change func(*job.Spec)
		want   job.DeliveryState
	}{
		"nothing":                   {"", toChat(), false, nil, job.DeliverySuppressed},
		"white space":               {" \n\t ", toChat(), false, nil, job.DeliverySuppressed},
		"what is not seen":          {"\u200b\ufeff", toChat(), false, nil, job.DeliverySuppressed},
		"by our own transcript":     {"", toChat(), true, nil, job.DeliverySuppressed},
		"ambiguous ones are to end": {"", toChat(), false, func(s *job.Spec) { s.OnAmbiguous = job.OnAmbiguousFail }, job.DeliverySuppressed},
		"isolated":                  {"", toChat(), false, func(s *job.Spec) { s.Context = job.ContextIsolated }, job.DeliverySuppressed},
		"without a chat":            {"", rarely(), false, nil, job.DeliveryNotRequested},
		"no replies wanted":         {"", delivering(job.DeliverNever), false, nil, job.DeliveryNotRequested},
	} {
		t.Run(name, func(t *testing.T) {
			o := setupOptions{reply: func(c standin.ChatCall) standin.Answer {
				if c.N > 1 {
					return standin.Answer{Text: "hello"}
				}
				return standin.Answer{Status: http.StatusOK, Text: tc.text}
			}}
			if tc.own {
				o.front = sessions(func(w http.ResponseWriter, _ *http.Request) {
					http.Error(w, `{"error":"Session not found"}`, http.StatusNotFound)
				})
			}
			f := setup(t, o)
			if tc.change != nil {
				tc.change(&tc.spec)
			}
			slot, run := f.due("a", tc.spec)
			must(t, f.rdb.HSet(f.ctx, key("job", "a"), "failures", 3).Err())
			must(t, f.turn(slot))
			r := f.record(run)
			if r.Outcome != job.Succeeded || !r.Empty || r.Reply != tc.text || r.DeliveryState != tc.want || len(r.Deliveries) != 0 ||
				len(r.Attempts) != 1 || r.Attempts[0].Result != job.ResultSucceeded {
				t.Errorf("run %+v", r)
			}
			session, err := f.store.Session(f.ctx, r.SessionKey, 10)
			if err != nil || len(session.Messages) != 1 || session.Messages[0].Role != "user" || session.Messages[0].Text != tc.spec.Task {
				t.Errorf("session %+v, %v", session, err)
			}
			if err := f.turn(slot); err != nil || f.ai.Count() != 1 || f.chat.Count() != 0 {
				t.Errorf("the carrier again: %v, %d calls, %d messages", err, f.ai.Count(), f.chat.Count())
			}
			if _, err := f.store.Redeliver(f.ctx, run); !errors.Is(err, job.ErrNoReply) {
				t.Errorf("redelivered: %v", err)
			}
			if j, err := f.store.Job(f.ctx, "a"); err != nil || j.Failures != 0 || j.LastOutcome != job.Succeeded {
				t.Errorf("job after %s with %d failures, %v", j.LastOutcome, j.Failures, err)
			}

			next, again := f.manual("a")
			must(t, f.turn(next))
			for _, m := range f.ai.Calls()[1].Messages {
				if job.Blank(m.Text) {
					t.Errorf("the next call brought %+v along", f.ai.Calls()[1].Messages)
				}
			}
			if r := f.record(again); r.Outcome != job.Succeeded || r.Empty || r.Reply != "hello" {
				t.Errorf("the next run %+v", r)
			}
		})
	}
}

// The ai-server keeps what it was sent, and an empty reply: a message that says nothing is
// left out, and a picture says something.
func TestNoEmptyMessageIsSentOn(t *testing.T) {
	f := setup(t, setupOptions{})
	picture := standin.ChatMessage{Role: "user", Images: json.RawMessage(`[{"data":"AA==","mimeType":"image/png"}]`)}
	f.ai.SetSession("s", []standin.ChatMessage{{Role: "user", Text: "act"}, {Role: "assistant"}, picture, {Role: "assistant", Text: " \n"}}, standin.ChatGateway{})
	spec := rarely()
	spec.SessionKey = "s"
	slot, run := f.due("a", spec)
	must(t, f.turn(slot))
	want := []standin.ChatMessage{{Role: "user", Text: "act"}, picture, {Role: "user", Text: spec.Task, Timestamp: seconds(f.record(run).StartedAt)}}
	if d := cmp.Diff(want, f.ai.Calls()[0].Messages); d != "" {
		t.Error(d)
	}
}

// NO_REPLY, in whatever it is dressed, is committed as it is, and nothing is sent.
func TestNoReply(t *testing.T) {
	tests := []struct {
		reply string
		spec  job.Spec
		want  job.DeliveryState
	}{
		{"NO_REPLY", toChat(), job.DeliverySuppressed},
		{" NO_REPLY\r\n", toChat(), job.DeliverySuppressed},
		{"`NO_REPLY`", toChat(), job.DeliverySuppressed},
		{"**NO_REPLY**", toChat(), job.DeliverySuppressed},
		{"NO_REPLY.", toChat(), job.DeliverySuppressed},
		{`"NO_REPLY"`, toChat(), job.DeliverySuppressed},
		{"no_reply", toChat(), job.DeliverySuppressed},
		{"Nothing new.\n\nNO_REPLY", toChat(), job.DeliverySuppressed},
		{strings.Repeat("long ", 61) + "\n\nNO_REPLY", toChat(), job.DeliveryPending},
		{"I will answer NO_REPLY when nothing happens.", toChat(), job.DeliveryPending},
		{"NO_REPLY", rarely(), job.DeliveryNotRequested},
		{"hello", rarely(), job.DeliveryNotRequested},
		{"hello", delivering(job.DeliverOnFailure), job.DeliveryNotRequested},
		{"hello", delivering(job.DeliverNever), job.DeliveryNotRequested},
		{"NO_REPLY", delivering(job.DeliverNever), job.DeliveryNotRequested},
		{"hello", delivering(job.DeliverAlways), job.DeliveryPending},
	}
	for _, tc := range tests {
		t.Run(fmt.Sprintf("%q to %q %s", tc.reply, tc.spec.Channel, tc.spec.Deliver), func(t *testing.T) {
			f := setup(t, setupOptions{reply: func(standin.ChatCall) standin.Answer { return standin.Answer{Text: tc.reply} }})
			slot, run := f.due("a", tc.spec)
			must(t, f.turn(slot))
			r := f.record(run)
			if r.Outcome != job.Succeeded || r.Reply != tc.reply || r.DeliveryState != tc.want {
				t.Errorf("%s with reply %q, delivery %s; want it %s", r.Outcome, r.Reply, r.DeliveryState, tc.want)
			}
			if pending := tc.want == job.DeliveryPending; (len(r.Deliveries) == 1) != pending {
				t.Errorf("%d deliveries", len(r.Deliveries))
			}
			session, err := f.store.Session(f.ctx, r.SessionKey, 10)
			if err != nil || len(session.Messages) != 2 || session.Messages[1].Text != tc.reply || r.Empty {
				t.Errorf("session %+v, %v", session, err)
			}
		})
	}
}

// panicking is an executor with a defect.
type panicking struct{ executor.Executor }

func (panicking) Run(context.Context, executor.Turn) (string, error) { panic("nil map") }

func TestPanic(t *testing.T) {
	f := setup(t, setupOptions{})
	f.worker.runs.executor = panicking{}
	slot, run := f.due("a", rarely())
	must(t, f.turn(slot))
	f.wantFailed(run, job.ResultFailed, job.CauseInternal, 0)
	f.awaitLog("attempt panicked")
}

// Every error, with the worker stopped meanwhile and not.
func TestClassify(t *testing.T) {
	ai := func(k outcome.Kind) error { return fmt.Errorf("call: %w", &outcome.Error{Kind: k, Message: "m"}) }
	wait := fmt.Errorf("call: %w", &outcome.Error{Kind: outcome.RateLimited, RetryAfter: 7 * time.Second, Message: "m"})
	const second, third = time.Minute, 5 * time.Minute // the delays before the retries
	failed := func(c job.Cause, r job.Retry, d time.Duration) job.Failure {
		return job.Failure{Result: job.ResultFailed, Cause: c, Retry: r, Delay: d, Outcome: job.Failed}
	}
	ambiguous := func(c job.Cause, d time.Duration) job.Failure {
		return job.Failure{Result: job.ResultAmbiguous, Cause: c, Retry: job.RetryCounted, Delay: d, Outcome: job.Failed}
	}
	permanent := failed(job.CauseAIError, job.RetryNever, 0)
	permanent.Permanent = true
	timedOut := job.Failure{Result: job.ResultTimedOut, Cause: job.CauseDeadline, Retry: job.RetryNever, Outcome: job.TimedOut}
	cut := failed(job.CauseShutdown, job.RetryFree, 0)

	tests := []struct {
		name             string
		err              error
		running, stopped job.Failure
	}{
		{"retryable", ai(outcome.Retryable), failed(job.CauseAIError, job.RetryCounted, second), cut},
		{"permanent", ai(outcome.Permanent), permanent, permanent},
		{"rate limited", ai(outcome.RateLimited), failed(job.CauseRateLimited, job.RetryFree, third), failed(job.CauseRateLimited, job.RetryFree, third)},
		{"rate limited with a time", wait, failed(job.CauseRateLimited, job.RetryFree, 7*time.Second), failed(job.CauseRateLimited, job.RetryFree, 7*time.Second)},
		{"deadline", ai(outcome.Deadline), timedOut, timedOut},
		{"ambiguous", ai(outcome.Ambiguous), ambiguous(job.CauseBroken, second), ambiguous(job.CauseShutdown, 0)},
		{"not confirmed", fmt.Errorf("%w: %w", errNotConfirmed, context.DeadlineExceeded), failed(job.CauseInternal, job.RetryFree, time.Second), cut},
		{"panic", errPanic, failed(job.CauseInternal, job.RetryNever, 0), failed(job.CauseInternal, job.RetryNever, 0)},
		{"our own records", errors.New("load the transcript: EOF"), failed(job.CauseInternal, job.RetryCounted, second), cut},
	}
	for _, tc := range tests {
		for _, cause := range []error{nil, context.Canceled, context.DeadlineExceeded, errShutdown, fmt.Errorf("cut: %w", errShutdown)} {
			want := tc.running
			if errors.Is(cause, errShutdown) {
				want = tc.stopped
			}
			got := classify(tc.err, cause, job.Begun{Attempt: 3, Retries: 1})
			if got.Message != tc.err.Error() {
				t.Errorf("%s: message %q", tc.name, got.Message)
			}
			opts := []cmp.Option{cmpopts.IgnoreFields(job.Failure{}, "Message")}
			if want.Retry == job.RetryNever {
				opts = append(opts, cmpopts.IgnoreFields(job.Failure{}, "Delay"))
			}
			if diff := cmp.Diff(want, got, opts...); diff != "" {
				t.Errorf("%s, its context ended by %v: %s", tc.name, cause, diff)
			}
		}
	}
}

// The delays of counted retries grow with the retries that are used up.
func TestClassifyDelays(t *testing.T) {
	for used, want := range []time.Duration{30 * time.Second, time.Minute, 5 * time.Minute, 5 * time.Minute} {
		for _, kind := range []outcome.Kind{outcome.Retryable, outcome.Ambiguous} {
			if f := classify(&outcome.Error{Kind: kind}, nil, job.Begun{Attempt: used + 1, Retries: used}); f.Delay != want || f.Retry != job.RetryCounted {
				t.Errorf("%s after %d retries: %s after %s, want %s", kind, used, f.Retry, f.Delay, want)
			}
		}
	}
}
