package alert_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/alert"
	"github.com/gatewaycron/gatewaycron/internal/channel"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/standin"
	"github.com/gatewaycron/gatewaycron/internal/store"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// every is what a minute is here.
const every = time.Second

// fixture is an outbox in a real Redis and a chat that writes down what it gets.
type fixture struct {
	t     *testing.T
	rdb   *redis.Client
	store *store.Store
	chat  *standin.RecordingChannel
	via   *channel.Manager
	log   *logBuffer
}

func setup(t *testing.T, reply func(standin.Message) standin.Answer) *fixture {
	t.Helper()
	rdb := redistest.Fresh(t).Client()
	f := &fixture{t: t, rdb: rdb, log: &logBuffer{},
		store: store.New(rdb, store.Options{AlertGather: 100 * time.Millisecond, AlertEvery: every})}
	var err error
	f.chat, err = standin.NewRecordingChannel(standin.ChannelOptions{Reply: reply})
	must(t, err)
	server, err := f.chat.Start("127.0.0.1:0")
	must(t, err)
	manager, err := channel.NewHTTP(channel.HTTPOptions{BaseURL: server.URL(), Timeout: 5 * time.Second})
	must(t, err)
	f.via = channel.NewManager(nil, manager)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", f.log)
		}
		manager.CloseIdle()
		must(t, errors.Join(f.chat.Close(), server.Close()))
	})
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logBuffer keeps a log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// sender runs a sender until the test ends, or until stop is called.
func (f *fixture) sender(id string, change func(*alert.Options)) (stop func()) {
	f.t.Helper()
	o := alert.Options{Outbox: f.store, Channels: f.via, ID: id, Logger: slog.New(slog.NewTextHandler(f.log, nil)), Tick: 20 * time.Millisecond}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan error, 1)
	go func() { done <- alert.New(o).Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		must(f.t, <-done)
	})
	f.t.Cleanup(stop)
	return stop
}

func leads() bool { return true }

func (f *fixture) await(what string, ok func() bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			f.t.Fatalf("no %s", what)
		case <-ticker.C:
		}
	}
}

// fail makes a job of a chat fail and returns its run.
func (f *fixture) fail(id string) string {
	f.t.Helper()
	ctx := f.t.Context()
	now, err := f.store.Now(ctx)
	must(f.t, err)
	j, err := f.store.CreateJob(ctx, id, job.Spec{Name: "Job " + id, Schedule: "* * * * *", Enabled: true, Task: "x",
		Channel: "telegram", ChatID: "7", SessionKey: "agent:main:" + id, Deliver: job.DeliverOnFailure})
	must(f.t, err)
	slot := job.ToMillis(now.Truncate(time.Minute))
	must(f.t, f.rdb.HSet(ctx, "{gateway-cron}:job:"+id, "nextSlot", int64(slot)).Err())
	b, err := f.store.Claim(ctx, job.Claim{JobID: id, UID: j.UID, Slot: slot, Revision: j.Revision, Next: slot + 60_000, NextDue: slot + 60_000, Token: id, Worker: "w"})
	must(f.t, err)
	if b.Verdict != job.BeginOK {
		f.t.Errorf("claim of %s: %s", id, b.Verdict)
	}
	_, _, err = f.store.Fail(ctx, job.Failure{RunID: b.Run.ID, Epoch: b.Epoch, Result: job.ResultFailed, Message: "boom", Retry: job.RetryNever, Outcome: job.Failed})
	must(f.t, err)
	return b.Run.ID
}

// state is that of the alert of a run.
func (f *fixture) state(run string) job.DeliveryState {
	f.t.Helper()
	r, err := f.store.Run(f.t.Context(), run)
	must(f.t, err)
	if len(r.Deliveries) != 1 || r.Deliveries[0].Kind != job.KindAlert {
		f.t.Fatalf("run %+v", r)
	}
	return r.Deliveries[0].State
}

func (f *fixture) ended(runs ...string) func() bool {
	return func() bool {
		for _, run := range runs {
			if f.state(run) == job.DeliveryPending {
				return false
			}
		}
		return true
	}
}

// TestAThousandJobsOfOneChat fail at once: the chat gets at most one alert in the time of
// one, and each failure is on record as told.
func TestAThousandJobsOfOneChat(t *testing.T) {
	f := setup(t, nil)
	f.sender("a", func(o *alert.Options) { o.Leads = leads })
	f.sender("b", nil)
	runs := make([]string, 1000)
	var wg sync.WaitGroup
	for part := range 10 {
		wg.Go(func() {
			for n := part; n < len(runs); n += 10 {
				runs[n] = f.fail(fmt.Sprint("j", n))
			}
		})
	}
	wg.Wait()
	f.await("end of every alert", f.ended(runs...))
	said := map[string]bool{}
	messages := f.chat.Messages()
	for i, m := range messages {
		if i > 0 && m.At-messages[i-1].At < every.Milliseconds()-50 {
			t.Errorf("message %d came %d ms after the one before", i, m.At-messages[i-1].At)
		}
		said[m.MessageID] = true
	}
	for _, run := range runs {
		r, err := f.store.Run(t.Context(), run)
		must(t, err)
		if d := r.Deliveries[0]; d.State != job.DeliveryDelivered || len(d.MessageIDs) != 1 || !said[d.MessageIDs[0]] {
			t.Fatalf("run %s: %+v", run, d)
		}
	}
	if !strings.Contains(messages[len(messages)-1].Text, " jobs fail: Job j") && len(messages) > 1 {
		t.Errorf("text %q", messages[len(messages)-1].Text)
	}
}

// TestOneMessageOfManyFacts: forty at once are one message.
func TestOneMessageOfManyFacts(t *testing.T) {
	f := setup(t, nil)
	runs := make([]string, 40)
	for n := range runs {
		runs[n] = f.fail(fmt.Sprint("j", n))
	}
	f.sender("a", func(o *alert.Options) { o.Leads = leads })
	f.await("end of every alert", f.ended(runs...))
	if m := f.chat.Messages(); len(m) != 1 || !strings.HasPrefix(m[0].Text, "⚠️ 40 jobs fail: Job j0, ") || m[0].ChatID != "7" ||
		!strings.HasPrefix(m[0].IdempotencyKey, "alert:") {
		t.Errorf("messages %+v", m)
	}
}

// TestRefusals: what the chat says decides what follows.
func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer standin.Answer
		state  job.DeliveryState
		times  int  // messages
		ops    bool // the deployment's chat is told instead
	}{
		{"asked to wait", standin.Answer{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}}, job.DeliveryDelivered, 2, false},
		{"refused for good", standin.Answer{Status: http.StatusBadRequest, Text: "chat not found, token=hunter2"}, job.DeliveryFailed, 1, true},
		{"no answer", standin.Answer{Drop: true}, job.DeliveryUnknown, 1, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var first sync.Once
			f := setup(t, func(m standin.Message) (a standin.Answer) {
				if m.ChatID == "7" {
					first.Do(func() { a = tc.answer })
				}
				return a
			})
			f.sender("a", func(o *alert.Options) { o.Chat = job.Target{Channel: "slack", ChatID: "ops"} })
			run := f.fail("a")
			f.await("end", f.ended(run))
			if got := f.state(run); got != tc.state {
				t.Errorf("the alert is %s", got)
			}
			count := func(chat string) (n int) {
				for _, m := range f.chat.Messages() {
					if m.ChatID == chat {
						n++
					}
				}
				return n
			}
			if tc.ops {
				f.await("word to the deployment", func() bool { return count("ops") == 1 })
			}
			if n := count("7"); n != tc.times {
				t.Errorf("%d messages", n)
			}
			if m := f.chat.Messages(); tc.times == 2 && m[1].At-m[0].At < 1000 {
				t.Errorf("it went again after %d ms", m[1].At-m[0].At)
			}
			if strings.Contains(f.log.String(), "hunter2") {
				t.Error("a password is in the log")
			}
		})
	}
}

// TestTheSenderDies in the middle of a send: another process goes on. What was being sent
// may have arrived and is not sent again; what came meanwhile is.
func TestTheSenderDies(t *testing.T) {
	f := setup(t, nil)
	first := f.fail("a")
	f.await("something to take", func() bool {
		taken, err := f.store.TakeAlert(t.Context(), job.AlertTake{Sender: "dead", Leads: true, Token: "t", HoldFor: 300 * time.Millisecond, Lease: time.Second})
		must(t, err)
		return taken.To != ""
	})
	second := f.fail("b")
	f.sender("api", nil)
	f.await("end", f.ended(first, second))
	if a, b := f.state(first), f.state(second); a != job.DeliveryUnknown || b != job.DeliveryDelivered {
		t.Errorf("the first is %s, the second %s", a, b)
	}
	if m := f.chat.Messages(); len(m) != 1 || !strings.Contains(m[0].Text, "Job b failed") {
		t.Errorf("messages %+v", m)
	}
	if !strings.Contains(f.log.String(), "alert lost") {
		t.Error("nothing in the log")
	}
}

// TestTheLeaderDies: an API process sends what comes then.
func TestTheLeaderDies(t *testing.T) {
	f := setup(t, nil)
	stop := f.sender("scheduler", func(o *alert.Options) { o.Leads = leads })
	f.sender("api", nil)
	run := f.fail("a")
	f.await("end", f.ended(run))
	stop()
	run = f.fail("b")
	f.await("end", f.ended(run))
	if m := f.chat.Messages(); len(m) != 2 {
		t.Errorf("messages %+v", m)
	}
}

// TestStopping waits for what is being sent.
func TestStopping(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	f := setup(t, func(standin.Message) standin.Answer {
		close(arrived)
		<-release
		return standin.Answer{}
	})
	stop := f.sender("a", nil)
	run := f.fail("a")
	<-arrived
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	close(release)
	<-stopped
	if got := f.state(run); got != job.DeliveryDelivered {
		t.Errorf("the alert is %s", got)
	}
}

// TestADeadChatKeepsNoOther from being told.
func TestADeadChatKeepsNoOther(t *testing.T) {
	hang := make(chan struct{})
	f := setup(t, func(m standin.Message) standin.Answer {
		if m.ChatID == "7" {
			<-hang
		}
		return standin.Answer{}
	})
	defer close(hang)
	f.sender("a", func(o *alert.Options) { o.Chat = job.Target{Channel: "slack", ChatID: "ops"} })
	f.fail("a")
	f.await("the first send", func() bool { return f.chat.Count() == 1 })
	must(t, f.store.Notify(t.Context(), job.Notice{Kind: job.NoticeHealth, Text: "bad"}))
	f.await("word to the deployment", func() bool { return f.chat.Count() == 2 })
}
