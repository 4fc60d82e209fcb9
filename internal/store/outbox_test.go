package store

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// ripen makes every target of alerts due.
func (f *fixture) ripen() {
	f.t.Helper()
	for _, to := range f.rdb.ZRange(f.ctx, f.keys.alerts(), 0, -1).Val() {
		f.must(f.rdb.ZAdd(f.ctx, f.keys.alerts(), redis.Z{Score: 1, Member: to}).Err())
	}
}

// take takes what is due as the leader does, unless t says who it is.
func (f *fixture) take(t job.AlertTake) job.AlertTaken {
	f.t.Helper()
	if t.Sender == "" {
		t.Sender, t.Leads = "leader", true
	}
	if t.Token == "" {
		t.Token = newToken()
	}
	if t.Lease == 0 {
		t.Lease = time.Minute
	}
	t.HoldFor = 5 * time.Second
	f.spread(t)
	f.ripen()
	taken, err := f.TakeAlert(f.ctx, t)
	f.must(err)
	return taken
}

// spread brings what is for the deployment to its targets; nothing is due by then.
func (f *fixture) spread(t job.AlertTake) {
	f.t.Helper()
	due := f.rdb.ZRangeWithScores(f.ctx, f.keys.alerts(), 0, -1).Val()
	for i := range due {
		due[i].Score = float64(f.now()) + 1e6
		f.must(f.rdb.ZAdd(f.ctx, f.keys.alerts(), due[i]).Err())
	}
	t.Token = newToken()
	if taken, err := f.TakeAlert(f.ctx, t); err != nil || taken.To != "" {
		f.t.Fatalf("%+v %v", taken, err)
	}
}

func (f *fixture) end(e job.AlertEnd) job.SendResult {
	f.t.Helper()
	result, err := f.EndAlert(f.ctx, e)
	f.must(err)
	return result
}

// alertOf is the one alert on the record of a run.
func (f *fixture) alertOf(run string) job.Delivery {
	f.t.Helper()
	r := f.record(run)
	if len(r.Deliveries) != 1 || r.Deliveries[0].Kind != job.KindAlert {
		f.t.Fatalf("run %+v", r)
	}
	return r.Deliveries[0]
}

// TestOneAlertTellsAll that waits for a chat, and their runs have what became of it.
func TestOneAlertTellsAll(t *testing.T) {
	f := setup(t, Options{})
	for n := range 40 {
		f.create(id(n), toChat(job.DeliverOnFailure))
		f.failed(f.scheduled(id(n), 1))
	}
	run := func(n int) string { return job.RunID(id(n), f.minute(-1)) }
	if taken, err := f.TakeAlert(f.ctx, job.AlertTake{Sender: "s", Leads: true, Token: "early", HoldFor: time.Second, Lease: time.Minute}); err != nil || taken.To != "" {
		t.Fatalf("before others could join: %+v %v", taken, err)
	}
	taken := f.take(job.AlertTake{Token: "t1"})
	if taken.To != chat || len(taken.Notices) != 40 || taken.Target.ChatID != "7" || taken.More != 0 {
		t.Fatalf("taken %s: %d", taken.To, len(taken.Notices))
	}
	again, err := f.TakeAlert(f.ctx, job.AlertTake{Sender: "leader", Leads: true, Token: "t1", HoldFor: time.Second, Lease: time.Minute})
	if err != nil || len(again.Notices) != 40 || again.To != chat {
		t.Fatalf("a resend: %s %d %v", again.To, len(again.Notices), err)
	}
	if other := f.takeAgain(); other.To != "" {
		t.Fatalf("another got %+v", other)
	}

	// What comes meanwhile waits for the next.
	f.create("late", toChat(job.DeliverOnFailure))
	f.failed(f.scheduled("late", 1))
	for range 2 { // resent by the client library
		if got := f.end(job.AlertEnd{To: chat, Token: "t1", Result: job.PartDelivered, MessageID: "m1"}); got != job.PartDelivered {
			t.Errorf("ended as %s", got)
		}
	}
	for n := range 40 {
		if d := f.alertOf(run(n)); d.State != job.DeliveryDelivered || d.Parts != 1 || !slices.Equal(d.MessageIDs, []string{"m1"}) || d.FinishedAt == 0 {
			t.Fatalf("run %d: %+v", n, d)
		}
	}
	if d := f.alertOf(job.RunID("late", f.minute(-1))); d.State != job.DeliveryPending {
		t.Errorf("what came later: %+v", d)
	}
	at, ok := f.score(f.keys.alerts(), chat)
	if wait := at - f.now(); !ok || wait < 55_000 || wait > 60_000 {
		t.Errorf("the next alert comes %d ms later", wait)
	}
	if taken := f.take(job.AlertTake{}); len(taken.Notices) != 1 || taken.Notices[0].JobID != "late" {
		t.Errorf("the next alert: %+v", taken)
	}
}

// takeAgain takes what is due, without making anything due.
func (f *fixture) takeAgain() job.AlertTaken {
	f.t.Helper()
	taken, err := f.TakeAlert(f.ctx, job.AlertTake{Sender: "leader", Leads: true, Token: newToken(), HoldFor: time.Second, Lease: time.Minute})
	f.must(err)
	return taken
}

// TestAFreeChatStaysQuietForAMinute, also if nothing waited when the alert went.
func TestAFreeChatStaysQuietForAMinute(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", toChat(job.DeliverOnFailure))
	f.create("b", toChat(job.DeliverOnFailure))
	f.failed(f.scheduled("a", 1))
	f.take(job.AlertTake{Token: "t1"})
	f.end(job.AlertEnd{To: chat, Token: "t1", Result: job.PartDelivered, MessageID: "m1"})
	if _, ok := f.score(f.keys.alerts(), chat); ok {
		t.Error("something waits")
	}
	f.failed(f.scheduled("b", 1))
	if at, _ := f.score(f.keys.alerts(), chat); at-f.now() < 50_000 {
		t.Errorf("the next alert comes %d ms later", at-f.now())
	}
}

// TestSendersThatDie between the mark and the end: what they had may have arrived, and is
// not sent again; what came meanwhile is.
func TestSendersThatDie(t *testing.T) {
	f := setup(t, Options{})
	for _, id := range []string{"a", "b"} {
		f.create(id, toChat(job.DeliverOnFailure))
	}
	f.failed(f.scheduled("a", 1))
	f.take(job.AlertTake{Token: "dead"})
	f.failed(f.scheduled("b", 1))
	lost := f.take(job.AlertTake{Token: "t2"}) // by then its lease is over
	if lost.To != chat || lost.Lost != 1 || len(lost.Notices) > 0 {
		t.Fatalf("taken %+v", lost)
	}
	if d := f.alertOf(job.RunID("a", f.minute(-1))); d.State != job.DeliveryUnknown || d.Error == "" {
		t.Errorf("the alert of a: %+v", d)
	}
	if _, err := f.EndAlert(f.ctx, job.AlertEnd{To: chat, Token: "dead", Result: job.PartDelivered}); !errors.Is(err, job.ErrFenced) {
		t.Errorf("the dead one ends it: %v", err)
	}
	if at, _ := f.score(f.keys.alerts(), chat); at-f.now() < 50_000 {
		t.Errorf("it may have arrived, and the next comes %d ms later", at-f.now())
	}
	if taken := f.take(job.AlertTake{}); len(taken.Notices) != 1 || taken.Notices[0].JobID != "b" {
		t.Errorf("the next: %+v", taken)
	}
}

// TestRetriesGatherWhatComes meanwhile, and end by age.
func TestRetriesGatherWhatComes(t *testing.T) {
	f := setup(t, Options{})
	for _, id := range []string{"a", "b"} {
		f.create(id, toChat(job.DeliverOnFailure))
	}
	f.failed(f.scheduled("a", 1))
	f.take(job.AlertTake{Token: "t1"})
	f.end(job.AlertEnd{To: chat, Token: "t1", Result: job.PartRetry, Delay: 5 * time.Minute, Retry: job.RetryCounted, Message: "away"})
	if at, _ := f.score(f.keys.alerts(), chat); at-f.now() < 290_000 {
		t.Errorf("it goes again in %d ms", at-f.now())
	}
	f.failed(f.scheduled("b", 1))
	if at, _ := f.score(f.keys.alerts(), chat); at-f.now() < 290_000 {
		t.Errorf("and a new fact makes it go in %d ms", at-f.now())
	}
	taken := f.take(job.AlertTake{Token: "t2"})
	if len(taken.Notices) != 2 || taken.Retries != 1 {
		t.Fatalf("taken %+v", taken)
	}
	f.must(f.rdb.HIncrBy(f.ctx, f.keys.alert(chat), "since", -25*time.Hour.Milliseconds()).Err())
	if got := f.end(job.AlertEnd{To: chat, Token: "t2", Result: job.PartRetry, Delay: time.Second, Retry: job.RetryFree, Message: "still away"}); got != job.PartFailed {
		t.Errorf("after a day it is %s", got)
	}
	for _, id := range []string{"a", "b"} {
		if d := f.alertOf(job.RunID(id, f.minute(-1))); d.State != job.DeliveryFailed || d.Error != "still away" {
			t.Errorf("the alert of %s: %+v", id, d)
		}
	}
}

// TestWhatAChatRefusesGoesToTheDeployment, and not round and round.
func TestWhatAChatRefusesGoesToTheDeployment(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", toChat(job.DeliverOnFailure))
	f.failed(f.scheduled("a", 1))
	f.take(job.AlertTake{Token: "t1"})
	f.end(job.AlertEnd{To: chat, Token: "t1", Result: job.PartFailed, Message: "chat not found", Forward: true})
	if d := f.alertOf(job.RunID("a", f.minute(-1))); d.State != job.DeliveryFailed {
		t.Errorf("on record: %+v", d)
	}
	operators := job.Target{Channel: "slack", ChatID: "ops"}
	taken := f.take(job.AlertTake{Token: "t2", Chat: operators})
	if taken.To != `["slack","ops",""]` || len(taken.Notices) != 1 || taken.Notices[0].JobID != "a" {
		t.Fatalf("taken %+v", taken)
	}
	f.end(job.AlertEnd{To: taken.To, Token: "t2", Result: job.PartFailed, Message: "no"})
	if n := append(f.waiting("*"), f.waiting(taken.To)...); len(n) > 0 {
		t.Errorf("still told: %+v", n)
	}
}

// TestDeploymentsTargets: its chat and its hook get the same; without any nobody does.
func TestDeploymentsTargets(t *testing.T) {
	f := setup(t, Options{})
	notify := func(text string) { f.must(f.Notify(f.ctx, job.Notice{Kind: job.NoticeHealth, Text: text})) }
	notify("one")
	if taken := f.take(job.AlertTake{}); taken.To != "" {
		t.Errorf("nobody is told, but %+v", taken)
	}
	notify("two")
	both := job.AlertTake{Chat: job.Target{Channel: "telegram", ChatID: "7"}, Hook: true}
	f.create("a", toChat(job.DeliverOnFailure)) // of the same chat
	f.failed(f.scheduled("a", 1))
	got := map[string]int{}
	for range 2 {
		both.Token = newToken()
		taken := f.take(both)
		got[taken.To] = len(taken.Notices)
		f.end(job.AlertEnd{To: taken.To, Token: both.Token, Result: job.PartDelivered})
	}
	if got[chat] != 2 || got[job.HookTarget] != 1 {
		t.Errorf("told %v", got)
	}
}

// TestTooManyAlertsAreCounted, and on record.
func TestTooManyAlertsAreCounted(t *testing.T) {
	f := setup(t, Options{})
	for n := range 1002 {
		f.must(f.rdb.RPush(f.ctx, f.keys.facts(chat), `{"kind":"failure","jobId":"x`+strconv.Itoa(n)+`","outcome":"failed"}`).Err())
	}
	f.must(f.rdb.LTrim(f.ctx, f.keys.facts(chat), 0, 998).Err())
	for _, id := range []string{"a", "b", "c"} { // of which one finds room
		f.create(id, toChat(job.DeliverOnFailure))
		b := f.scheduled(id, 1)
		f.fail(b, job.RetryNever, 0)
		want := job.DeliveryFailed
		if id == "a" {
			want = job.DeliveryPending
		}
		if d := f.alertOf(b.Run.ID); d.State != want {
			t.Errorf("%s: %+v", id, d)
		}
	}
	taken := f.take(job.AlertTake{Token: "t1"})
	if len(taken.Notices) != 1000 || taken.More != 2 {
		t.Errorf("%d and %d more", len(taken.Notices), taken.More)
	}
	f.end(job.AlertEnd{To: chat, Token: "t1", Result: job.PartDelivered, MessageID: "m"})
	if taken := f.take(job.AlertTake{}); taken.To != "" {
		t.Errorf("told again: %+v", taken)
	}
}

// TestWhoSends: the leader, before any other; who does not lead only while nobody does.
func TestWhoSends(t *testing.T) {
	f := setup(t, Options{})
	for _, step := range []struct {
		sender     string
		leads, may bool
	}{
		{"api-1", false, true}, // nobody leads, or an older release that does not send
		{"api-2", false, false},
		{"scheduler-1", true, true},
		{"api-1", false, false},
		{"scheduler-2", true, true}, // which took the lead
		{"scheduler-1", false, false},
		{"", false, false}, // the leader dies
		{"api-2", false, true},
		{"api-1", false, false},
	} {
		if step.sender == "" {
			f.must(f.rdb.Del(f.ctx, f.keys.alerter()).Err()) // its time is over
			continue
		}
		f.must(f.Notify(f.ctx, job.Notice{Kind: job.NoticeHealth, Text: "x"}))
		_, err := f.TakeAlert(f.ctx, job.AlertTake{Sender: step.sender, Leads: step.leads, Token: newToken(), HoldFor: time.Minute, Lease: time.Minute, Hook: true})
		f.must(err)
		if may := len(f.waiting("*")) == 0; may != step.may {
			t.Errorf("%s may send: %t", step.sender, may)
		}
		f.must(f.rdb.Del(f.ctx, f.keys.facts("*")).Err())
	}
}

// TestNotify: what has a key is told once, until it is over, and that once.
func TestNotify(t *testing.T) {
	f := setup(t, Options{})
	told := func() int { return len(f.waiting("*")) }
	failing := job.Notice{Kind: job.NoticeHealth, Key: "health", Text: "token=hunter2 was\nrefused"}
	over := job.Notice{Kind: job.NoticeRecovered, Key: "health", Text: "well again"}
	for i, step := range []struct {
		notice job.Notice
		told   int
	}{{over, 0}, {failing, 1}, {failing, 1}, {over, 2}, {over, 2}, {failing, 3}} {
		f.must(f.Notify(f.ctx, step.notice))
		if got := told(); got != step.told {
			t.Errorf("step %d: %d told, want %d", i, got, step.told)
		}
	}
	if n := f.waiting("*")[0]; n.Text != "token=[redacted] was refused" || n.At == 0 || n.Key != "health" {
		t.Errorf("told %+v", n)
	}

	f.create("a", toChat(job.DeliverAlways))
	f.must(f.Notify(f.ctx, job.Notice{Kind: job.NoticeAbsent, Key: "absent:a", JobID: "a", Text: "a was not heard of"}))
	if n := f.waiting(chat); len(n) != 1 || n[0].JobID != "a" {
		t.Errorf("its chat is told %+v", n)
	}
}

// TestDamagedOutbox keeps no run from ending, and no other target from being told.
func TestDamagedOutbox(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", toChat(job.DeliverOnFailure))
	f.must(f.rdb.RPush(f.ctx, f.keys.facts(chat), "{", "[]", `{"kind":7}`).Err())
	f.fail(f.scheduled("a", 9), job.RetryNever, 0)
	taken := f.take(job.AlertTake{Token: "t1"})
	if len(taken.Notices) != 4 || taken.Notices[3].JobID != "a" {
		t.Fatalf("taken %+v", taken)
	}
	f.end(job.AlertEnd{To: chat, Token: "t1", Result: job.PartDelivered, MessageID: "m"})

	for n, key := range []string{f.keys.alerts(), f.keys.facts(chat), f.keys.facts("*"), f.keys.alert(chat)} {
		f.must(f.rdb.Del(f.ctx, f.keys.alerts(), f.keys.facts(chat), f.keys.facts("*"), f.keys.alert(chat)).Err())
		f.must(f.rdb.Set(f.ctx, key, "x", 0).Err())
		f.forgetAlert("a", time.Hour)
		b := f.scheduled("a", 8-n)
		f.fail(b, job.RetryNever, 0)
		if r := f.record(b.Run.ID); r.Outcome != job.Failed || len(r.Deliveries) != 1 || (r.Deliveries[0].State == job.DeliveryPending) != (key == f.keys.facts("*")) {
			t.Errorf("%s: run %+v", key, r)
		}
	}
	for _, key := range []string{f.keys.facts(chat), f.keys.facts("*"), f.keys.alert(chat)} {
		f.must(f.rdb.Del(f.ctx, f.keys.alerts(), f.keys.facts(chat), f.keys.facts("*"), f.keys.alert(chat)).Err())
		f.must(f.rdb.Set(f.ctx, key, "x", 0).Err())
		f.must(f.rdb.ZAdd(f.ctx, f.keys.alerts(), redis.Z{Score: 1, Member: chat}, redis.Z{Score: 2, Member: `["slack","C1",""]`}).Err())
		f.must(f.rdb.HSet(f.ctx, f.keys.alert(`["slack","C1",""]`), "target", `{"channel":"slack","chatId":"C1"}`).Err())
		f.must(f.rdb.RPush(f.ctx, f.keys.facts(`["slack","C1",""]`), oldFacts).Err())
		f.takeAgain()
		if taken := f.takeAgain(); taken.To != `["slack","C1",""]` || len(taken.Notices) != 1 {
			t.Errorf("%s: the other target: %+v", key, taken)
		}
		f.must(f.rdb.Del(f.ctx, f.keys.alert(`["slack","C1",""]`), f.keys.facts(`["slack","C1",""]`)).Err())
	}
}

// TestLostAlertDoesNotKeepItsRun for ever.
func TestLostAlertDoesNotKeepItsRun(t *testing.T) {
	f := setup(t, Options{HistoryPerJob: 2})
	f.create("a", toChat(job.DeliverOnFailure))
	b := f.scheduled("a", 30)
	f.failed(b)
	for n := range 4 {
		f.commit(f.scheduled("a", 29-n), "fine")
	}
	if n := f.rdb.Exists(f.ctx, f.keys.run(b.Run.ID)).Val(); n != 1 {
		t.Fatal("a run with an open alert was trimmed")
	}
	f.must(f.rdb.HIncrBy(f.ctx, f.keys.run(b.Run.ID), "finishedAt", -8*24*time.Hour.Milliseconds()).Err())
	f.commit(f.scheduled("a", 20), "fine")
	if n := f.rdb.Exists(f.ctx, f.keys.run(b.Run.ID)).Val(); n != 0 {
		t.Error("its run is kept for ever")
	}
}
