package store

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// toChat is a job of every minute with a chat.
func toChat(deliver job.Deliver) job.Spec {
	s := everyMinute()
	s.Channel, s.ChatID, s.Deliver = "telegram", "7", deliver
	return s
}

// minutes is so many minutes.
func minutes(n int) job.Millis { return job.Millis(n) * 60_000 }

// scheduled begins the run of the slot n minutes ago; the next slot is two minutes ahead.
func (f *fixture) scheduled(id string, n int) job.Begun {
	f.t.Helper()
	return f.scheduledBefore(id, n, n+2)
}

// scheduledBefore begins the run of the slot n minutes ago; the next slot comes that much
// later.
func (f *fixture) scheduledBefore(id string, n, later int) job.Begun {
	f.t.Helper()
	slot := f.minute(-n)
	f.rewind(id, slot)
	j, next := f.job(id), slot+minutes(later)
	b, err := f.Claim(f.ctx, job.Claim{JobID: id, UID: j.UID, Slot: slot, Revision: j.Revision, Next: next, NextDue: next,
		Token: newToken(), Worker: "w1"})
	f.must(err)
	if b.Verdict != job.BeginOK {
		f.t.Fatalf("claim: %s", b.Verdict)
	}
	return b
}

func (f *fixture) manual(id string) job.Begun {
	f.t.Helper()
	_, run, err := f.RunJob(f.ctx, id)
	f.must(err)
	return f.begin(run)
}

// chat is the chat of toChat among the targets of alerts.
const chat = `["telegram","7",""]`

// waiting are the facts that wait for a target.
func (f *fixture) waiting(to string) (notices []job.Notice) {
	f.t.Helper()
	facts, err := f.rdb.LRange(f.ctx, f.keys.facts(to), 0, -1).Result()
	f.must(err)
	for _, fact := range facts {
		var n job.Notice
		f.must(json.Unmarshal([]byte(fact), &n))
		notices = append(notices, n)
	}
	return notices
}

// waitingOf are the facts of one kind that wait for a target.
func (f *fixture) waitingOf(to string, kind job.NoticeKind) (notices []job.Notice) {
	f.t.Helper()
	for _, n := range f.waiting(to) {
		if n.Kind == kind {
			notices = append(notices, n)
		}
	}
	return notices
}

// failed fails an attempt for good and reports whether its chat is to be told of its run.
func (f *fixture) failed(b job.Begun) (alert bool) {
	f.t.Helper()
	before := len(f.waiting(chat))
	f.fail(b, job.RetryNever, 0)
	r := f.record(b.Run.ID)
	if r.Outcome != job.Failed || r.DeliveryState != job.DeliveryNotRequested {
		f.t.Errorf("run %s: %s, delivery %s", r.ID, r.Outcome, r.DeliveryState)
	}
	for _, d := range r.Deliveries {
		if d.Kind != job.KindAlert || d.Target.ChatID != "7" || d.State != job.DeliveryPending {
			f.t.Errorf("run %s has %+v", r.ID, d)
		}
	}
	notices := f.waiting(chat)
	if len(notices) != before+len(r.Deliveries) || len(r.Deliveries) > 1 {
		f.t.Errorf("run %s: %d alerts, %d facts after %d", r.ID, len(r.Deliveries), len(notices), before)
	}
	if alert = len(r.Deliveries) == 1; alert && notices[before].Run != r.ID {
		f.t.Errorf("run %s: %+v", r.ID, notices[before])
	}
	return alert
}

// forget makes the last alert of a job older.
func (f *fixture) forgetAlert(id string, by time.Duration) {
	f.t.Helper()
	f.must(f.rdb.HIncrBy(f.ctx, f.keys.job(id), "alertedAt", -by.Milliseconds()).Err())
}

// TestFailureAlerts: each letter is a run: f fails, m is a manual run that fails, s and n
// succeed by schedule and by hand, h lets an hour pass, c cancels. Capital: it is told.
func TestFailureAlerts(t *testing.T) {
	for _, tc := range []struct {
		name, runs string
		deliver    job.Deliver
	}{
		{"the second in a row", "fF", job.DeliverAlways},
		{"no other within the hour", "fFffhF", job.DeliverAlways},
		{"a success ends the row", "fsfF", job.DeliverAlways},
		{"and leaves the hour alone", "fFsffhF", job.DeliverAlways},
		{"a manual success ends the row, too", "fnfF", job.DeliverAlways},
		{"a manual failure does not count", "mmmfmmF", job.DeliverAlways},
		{"nor does a cancelled run", "fccF", job.DeliverAlways},
		{"on failure, the first", "sF", job.DeliverOnFailure},
		{"on failure, within the hour", "FffshF", job.DeliverOnFailure},
		{"on failure, not a manual one", "mmF", job.DeliverOnFailure},
		{"never", "fffhff", job.DeliverNever},
		{"without a policy", "fF", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := setup(t, Options{})
			f.create("a", toChat(tc.deliver))
			told := ""
			for n, run := range strings.ToLower(tc.runs) {
				alert := false
				switch run {
				case 'f':
					alert = f.failed(f.scheduled("a", 30-n))
				case 'm':
					alert = f.failed(f.manual("a"))
				case 's':
					f.commit(f.scheduled("a", 30-n), "fine")
				case 'n':
					f.commit(f.manual("a"), "fine")
				case 'c':
					_, err := f.CancelRun(f.ctx, f.scheduled("a", 30-n).Run.ID)
					f.must(err)
				case 'h':
					f.forgetAlert("a", time.Hour)
				}
				if alert {
					run += 'A' - 'a'
				}
				told += string(run)
			}
			if told != tc.runs {
				t.Errorf("told %s, want %s", told, tc.runs)
			}
		})
	}
}

func TestNoAlertWithoutAChat(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.Deliver = job.DeliverOnFailure
	f.create("a", spec)
	for n := range 3 {
		if f.failed(f.scheduled("a", 3-n)) {
			t.Error("an alert for nobody")
		}
	}
	if j := f.job("a"); j.Failures != 3 {
		t.Errorf("%d failures", j.Failures)
	}
}

func TestAlertHasTheFacts(t *testing.T) {
	f := setup(t, Options{})
	spec := toChat(job.DeliverOnFailure)
	spec.Name, spec.Timezone, spec.ThreadID, spec.IsGroup = "Morning", "Europe/Berlin", "3", new(true)
	f.create("a", spec)
	b := f.scheduled("a", 1)
	fail := job.Failure{RunID: b.Run.ID, Epoch: b.Epoch, Result: job.ResultTimedOut, Cause: job.CauseDeadline,
		Message: "one\ntwo! \xff" + strings.Repeat("ü", 600), Retry: job.RetryNever, Outcome: job.TimedOut}
	for range 2 { // resent by the client library
		_, carriers, err := f.Fail(f.ctx, fail)
		f.must(err)
		if len(carriers) > 0 {
			t.Errorf("carriers %v", carriers)
		}
	}
	if r := f.record(b.Run.ID); len(r.Deliveries) != 1 || r.DeliveryState != job.DeliveryNotRequested {
		t.Fatalf("run %+v", r)
	}
	// Later changes of the job are none of its.
	_, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { s.Name, s.ChatID = "Evening", "8"; return s, nil })
	f.must(err)

	taken := f.take(job.AlertTake{})
	if got := taken.Target; got.ChatID != "7" || got.ThreadID != "3" || !*got.IsGroup || len(taken.Notices) != 1 {
		t.Fatalf("taken %+v", taken)
	}
	n := taken.Notices[0]
	if len(n.Error) > 300 || !strings.HasPrefix(n.Error, "one two! \uFFFDüü") || !strings.HasSuffix(n.Error, "ü...") {
		t.Errorf("error %q", n.Error)
	}
	n.Error, n.At = "", 0
	want := job.Notice{Kind: job.NoticeFailure, JobID: "a", Run: b.Run.ID,
		Alert: job.Alert{Job: "Morning", Timezone: "Europe/Berlin", Slot: b.Run.Slot, Outcome: job.TimedOut, Attempts: 1, Failures: 1, Next: b.Run.Slot + minutes(3)}}
	if diff := cmp.Diff(want, n); diff != "" {
		t.Error(diff)
	}
}

// TestDeadWorkerCounts: a run that is ended for its dead worker is told of like any other.
func TestDeadWorkerCounts(t *testing.T) {
	f := setup(t, Options{})
	spec := toChat(job.DeliverOnFailure)
	spec.OnAmbiguous = job.OnAmbiguousFail
	f.create("a", spec)
	b := f.scheduled("a", 1)
	f.declareDead(b.Run.ID)
	if got := f.begin(b.Run.ID); got.Verdict != job.BeginEnded {
		t.Fatalf("begin: %s", got.Verdict)
	}
	if r := f.record(b.Run.ID); r.Outcome != job.Failed || len(r.Deliveries) != 1 {
		t.Errorf("run %+v", r)
	}
}

// oldAlert gives an ended run an alert as the release before the outbox of alerts made it:
// a delivery like any other.
func (f *fixture) oldAlert(run, facts string) {
	f.t.Helper()
	f.must(f.rdb.HSet(f.ctx, f.keys.run(run), "deliveries", 1, "alert", "pending").Err())
	f.must(f.rdb.HSet(f.ctx, f.keys.delivery(run+":1"), "v", 1, "kind", "alert", "state", "waiting", "target", `{"channel":"telegram","chatId":"7"}`,
		"createdAt", int64(f.now()), "notBefore", 1, "n", 0, "attempt", 0, "epoch", 0, "retries", 0, "alert", facts).Err())
	f.must(f.rdb.ZAdd(f.ctx, f.keys.wake(), redis.Z{Score: 1, Member: "d:" + run + ":1"}).Err())
	f.must(f.rdb.SAdd(f.ctx, f.keys.open(), "d:"+run+":1").Err())
}

const oldFacts = `{"job":"a","timezone":"UTC","slot":1795420800000,"outcome":"failed","error":"no","attempts":1,"failures":2}`

// TestOldAlertIsStillADelivery: what an older worker has put into the outbox of replies, or
// still does, is sent from there.
func TestOldAlertIsStillADelivery(t *testing.T) {
	f := setup(t, Options{HistoryPerJob: 2})
	f.create("a", toChat(job.DeliverNever))
	b := f.scheduled("a", 30)
	f.fail(b, job.RetryNever, 0)
	run := b.Run.ID
	f.oldAlert(run, oldFacts)
	for n := range 4 { // a run with an open alert is not trimmed
		f.commit(f.scheduled("a", 29-n), "fine")
	}
	if c := f.look(); len(c) != 1 || c[0].ID != run+":1" {
		t.Errorf("carriers %v", c)
	}
	d := f.beginDelivery(run)
	if d.Verdict != job.BeginOK || d.Delivery.Kind != job.KindAlert || d.Alert.Failures != 2 || d.Reply != "" {
		t.Fatalf("begin: %+v", d)
	}
	f.sendBegin(run, d, 0)
	f.declareSenderDead(run)
	if got := f.beginDelivery(run); got.Verdict != job.BeginEnded {
		t.Errorf("died in a send: %s", got.Verdict)
	}
	r := f.record(run)
	if r.Deliveries[0].State != job.DeliveryUnknown || r.DeliveryState != job.DeliveryNotRequested || r.Outcome != job.Failed {
		t.Errorf("run %+v", r)
	}
	if n := len(f.waitingOf("*", job.NoticeUndelivered)); n > 0 {
		t.Errorf("%d replies did not arrive", n)
	}
	f.commit(f.scheduled("a", 20), "fine")
	if n := f.rdb.Exists(f.ctx, f.keys.run(run), f.keys.delivery(run+":1")).Val(); n != 0 {
		t.Error("and its run is kept for ever")
	}
}

// TestRedeliverWhatWasNotSent: a person may ask for a reply that the job keeps to itself.
func TestRedeliverWhatWasNotSent(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", toChat(job.DeliverNever))
	b := f.scheduled("a", 1)
	f.commit(b, "kept")
	carriers, err := f.Redeliver(f.ctx, b.Run.ID)
	f.must(err)
	if len(carriers) != 1 || carriers[0].ID != b.Run.ID+":1" {
		t.Errorf("carriers %v", carriers)
	}
	if d := f.beginDelivery(b.Run.ID); d.Reply != "kept" || d.Delivery.Kind != job.KindReply || d.Delivery.Target.ChatID != "7" {
		t.Errorf("delivery %+v", d)
	}
}

// TestDamagedOldAlertHasNothingToTell, and stops nobody.
func TestDamagedOldAlertHasNothingToTell(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", toChat(job.DeliverNever))
	for n, damage := range []string{"", "{", `{"slot":"x"}`} {
		b := f.scheduled("a", 9-n)
		f.fail(b, job.RetryNever, 0)
		f.oldAlert(b.Run.ID, damage)
		if d := f.beginDelivery(b.Run.ID); d.Verdict != job.BeginOK || d.Alert.Outcome != "" {
			t.Errorf("%s: %+v", strconv.Quote(damage), d)
		}
	}
}

// TestLastRunIsToldOf: a job that is for one instant, or whose runs are used up, has no
// second failure to tell of.
func TestLastRunIsToldOf(t *testing.T) {
	for name, spec := range map[string]func(*job.Spec, job.Millis){
		"at":      func(s *job.Spec, at job.Millis) { s.Schedule, s.At = "", at },
		"maxRuns": func(s *job.Spec, _ job.Millis) { s.MaxRuns = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, Options{})
			s := toChat(job.DeliverAlways)
			spec(&s, f.minute(5))
			f.create("a", s)
			if !f.failed(f.scheduled("a", 0)) {
				t.Error("nobody is told")
			}
			if _, err := f.Job(f.ctx, "a"); !errors.Is(err, job.ErrNotFound) {
				t.Errorf("the job: %v", err)
			}
		})
	}
}
