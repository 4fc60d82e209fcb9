package store

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
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

// TestFirstFailureIsTold where nobody would hear of the next for long, or where the same
// would fail again; but not if the job says after how many.
func TestFirstFailureIsTold(t *testing.T) {
	for _, tc := range []struct {
		name      string
		next      int // minutes to the next slot
		permanent bool
		after     int
		failures  int // of which the last is told, and no other
	}{
		{"the next slot is near", 59, false, 0, 2},
		{"the next slot is far", 61, false, 0, 1},
		{"a week", 7 * 24 * 60, false, 0, 1},
		{"the same would fail again", 2, true, 0, 1},
		{"the job says when", 2, false, 4, 4},
		{"and is obeyed", 120, true, 3, 3},
		{"the job says at once", 2, false, 1, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := setup(t, Options{})
			spec := toChat(job.DeliverAlways)
			spec.AlertAfter = tc.after
			f.create("a", spec)
			for n := 1; n <= tc.failures; n++ {
				b := f.scheduledBefore("a", 30-n, 30-n+tc.next)
				_, _, err := f.Fail(f.ctx, job.Failure{RunID: b.Run.ID, Epoch: b.Epoch, Result: job.ResultFailed, Message: "no",
					Retry: job.RetryNever, Outcome: job.Failed, Permanent: tc.permanent})
				f.must(err)
				if told := len(f.waiting(chat)) == 1; told != (n == tc.failures) {
					t.Errorf("failure %d is told: %t", n, told)
				}
			}
		})
	}
}

// TestDeploymentsPolicy holds where a job has none.
func TestDeploymentsPolicy(t *testing.T) {
	f := setup(t, Options{AlertAfter: 3, AlertCooldown: time.Minute})
	f.create("a", toChat(job.DeliverAlways))
	own := toChat(job.DeliverAlways)
	own.AlertCooldownSeconds = 600
	f.create("b", own)
	told := ""
	for n := range 8 {
		for _, id := range []string{"a", "b"} {
			if f.failed(f.scheduled(id, 30-n)) {
				told += fmt.Sprint(id, n+1, " ")
			}
			if n >= 2 {
				f.forgetAlert(id, 31*time.Second)
			}
		}
	}
	if want := "a3 b3 a5 a7 "; told != want {
		t.Errorf("told %q, want %q", told, want)
	}
}

// TestWhoIsTold of a failure.
func TestWhoIsTold(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*job.Spec)
		to     string // "" for nobody
	}{
		{"its chat", func(*job.Spec) {}, chat},
		{"the deployment, of a job without a chat", func(s *job.Spec) { s.Channel, s.ChatID = "", "" }, "*"},
		{"the deployment, of one that says nothing to its chat", func(s *job.Spec) { s.Deliver = job.DeliverNever }, "*"},
		{"the chat that it names", func(s *job.Spec) { s.AlertChannel, s.AlertChatID, s.AlertThreadID = "slack", "C1", "9" }, `["slack","C1","9"]`},
		{"that chat, though its own gets nothing", func(s *job.Spec) {
			s.AlertChannel, s.AlertChatID, s.Deliver = "slack", "C1", job.DeliverNever
		}, `["slack","C1",""]`},
		{"nobody", func(s *job.Spec) { s.AlertChannel = job.AlertNone }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := setup(t, Options{})
			spec := toChat(job.DeliverAlways)
			tc.change(&spec)
			f.create("a", spec)
			b := f.scheduledBefore("a", 1, 7*24*60)
			f.fail(b, job.RetryNever, 0)
			for _, to := range []string{chat, "*", `["slack","C1","9"]`, `["slack","C1",""]`} {
				if n := len(f.waiting(to)); n == 1 != (to == tc.to) {
					t.Errorf("%s is told %d times", to, n)
				}
			}
			if r := f.record(b.Run.ID); len(r.Deliveries) == 1 != strings.HasPrefix(tc.to, "[") {
				t.Errorf("on record: %+v", r.Deliveries)
			}
		})
	}
}

// TestRecoveryIsTold once, to whom the failure was told, and only if it was.
func TestRecoveryIsTold(t *testing.T) {
	for _, tc := range []struct {
		name, runs string // as in TestFailureAlerts; R resumes
		told       int    // failures of the row, 0 for nothing
	}{
		{"a row that was told", "ffs", 2},
		{"longer than it was told", "ffffs", 4},
		{"by hand", "ffn", 2},
		{"once", "ffss", 2},
		{"not a row that was not told", "fs", 0},
		{"nor a manual one", "mms", 0},
		{"nor what goes on failing", "fff", 0},
		{"a job that was disabled and resumed", "ffffffffffRs", 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := setup(t, Options{})
			f.create("a", toChat(job.DeliverAlways))
			for n, run := range tc.runs {
				switch run {
				case 'f':
					f.failed(f.scheduled("a", 40-n))
				case 'm':
					f.failed(f.manual("a"))
				case 's':
					f.commit(f.scheduled("a", 40-n), "fine")
				case 'n':
					f.commit(f.manual("a"), "fine")
				case 'R':
					_, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { return s.Resumed(), nil })
					f.must(err)
				}
			}
			got := f.waitingOf(chat, job.NoticeRecovered)
			switch {
			case tc.told == 0 && len(got) > 0, tc.told > 0 && (len(got) != 1 || got[0].Failures != tc.told || got[0].JobID != "a"):
				t.Errorf("told %+v, want %d", got, tc.told)
			}
			if also := len(f.waitingOf("*", job.NoticeRecovered)); also != strings.Count(tc.runs, "R") {
				t.Errorf("the deployment is told %d times", also)
			}
		})
	}
}

// TestRecoveryGoesWhereTheFailureWasTold, though the job has another chat by then.
func TestRecoveryGoesWhereTheFailureWasTold(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", toChat(job.DeliverOnFailure))
	f.failed(f.scheduled("a", 5))
	_, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { s.ChatID = "8"; return s, nil })
	f.must(err)
	f.commit(f.scheduled("a", 4), "fine")
	if n := f.waitingOf(chat, job.NoticeRecovered); len(n) != 1 {
		t.Errorf("told %+v", n)
	}
}

// missed passes slots of a job that did not run.
func (f *fixture) missed(id, reason string, count int) {
	f.t.Helper()
	slot := f.minute(-30)
	f.rewind(id, slot)
	j := f.job(id)
	moved, err := f.Collapse(f.ctx, job.Collapse{JobID: id, UID: j.UID, Revision: j.Revision, Seen: slot, First: slot,
		Last: slot + minutes(count-1), Count: count, Outcome: job.Missed, Reason: reason, Next: f.minute(2), NextDue: f.minute(2)})
	f.must(err)
	if !moved {
		f.t.Fatal("not moved")
	}
}

// TestMissedSlotsAreTold to the deployment, and to the job's chat if nothing ran instead;
// not each hour's over and over.
func TestMissedSlotsAreTold(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", toChat(job.DeliverAlways))
	f.missed("a", job.ReasonSuperseded, 3)
	if n := f.waiting("*"); len(n) != 1 || n[0].Kind != job.NoticeMissed || n[0].Count != 3 || n[0].Reason != job.ReasonSuperseded || n[0].Job != "a" {
		t.Errorf("the deployment is told %+v", n)
	}
	if n := f.waiting(chat); len(n) > 0 {
		t.Errorf("its chat is told %+v", n)
	}
	f.missed("a", job.ReasonStale, 1)
	f.missed("a", job.ReasonStale, 1) // within the hour
	if n := f.waiting(chat); len(n) != 1 || n[0].Kind != job.NoticeMissed || n[0].Slot != f.minute(-30) {
		t.Errorf("its chat is told %+v", n)
	}
	if n := f.waiting("*"); len(n) != 2 {
		t.Errorf("the deployment is told %+v", n)
	}

	spec := toChat(job.DeliverAlways)
	spec.AlertChannel = job.AlertNone
	f.create("b", spec)
	f.missed("b", job.ReasonLate, 1)
	if n := f.waiting("*"); len(n) != 2 {
		t.Errorf("nobody was to be told: %+v", n)
	}
}

// TestOneShotThatDidNotRunIsTold to its chat: nothing else will tell.
func TestOneShotThatDidNotRunIsTold(t *testing.T) {
	f := setup(t, Options{})
	spec := toChat(job.DeliverAlways)
	spec.Schedule, spec.At, spec.Name = "", f.minute(5), "Dentist"
	f.create("a", spec)
	f.missed("a", job.ReasonStale, 1)
	for _, to := range []string{chat, "*"} {
		if n := f.waiting(to); len(n) != 1 || n[0].Kind != job.NoticeNotRun || n[0].Job != "Dentist" || n[0].JobID != "a" {
			t.Errorf("%s is told %+v", to, n)
		}
	}
}

// TestSkippedSlotsAreNotTold: somebody wanted it so.
func TestSkippedSlotsAreNotTold(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", toChat(job.DeliverAlways))
	f.scheduled("a", 3)
	j := f.job("a")
	slot := f.minute(0)
	f.rewind("a", slot)
	b, err := f.Claim(f.ctx, job.Claim{JobID: "a", UID: j.UID, Slot: slot, Revision: j.Revision, Next: slot + minutes(1), NextDue: slot + minutes(1), Token: "x", Worker: "w"})
	f.must(err)
	if b.Verdict != job.BeginDropped {
		t.Fatalf("claim: %s", b.Verdict)
	}
	if n := append(f.waiting("*"), f.waiting(chat)...); len(n) > 0 {
		t.Errorf("told %+v", n)
	}
}

// TestUndeliveredIsTold to the deployment, and to the chat that the job names for that: its
// own is what fails.
func TestUndeliveredIsTold(t *testing.T) {
	for _, tc := range []struct {
		result job.SendResult
		told   bool
	}{{job.PartFailed, true}, {job.PartUnknown, true}, {job.PartDelivered, false}, {job.PartRetry, false}} {
		t.Run(string(tc.result), func(t *testing.T) {
			f := setup(t, Options{})
			spec := toChat(job.DeliverAlways)
			spec.AlertChannel, spec.AlertChatID, spec.Name = "slack", "C1", "Morning"
			f.create("a", spec)
			for n := range 2 { // the second is within the hour
				b := f.scheduled("a", 9-n)
				c := commitOf(b, "the reply")
				c.Delivery, c.Target = job.DeliveryPending, job.Target{Channel: "telegram", ChatID: "7", ThreadID: "3"}
				_, err := f.Commit(f.ctx, c)
				f.must(err)
				d := f.beginDelivery(b.Run.ID)
				f.sendBegin(b.Run.ID, d, 0)
				f.sendEnd(b.Run.ID, d, 0, job.SendEnd{Result: tc.result, Message: "message thread not found", Retry: job.RetryCounted, Delay: time.Hour})
			}
			want := 0
			if tc.told {
				want = 1
			}
			for to, want := range map[string]int{"*": want, `["slack","C1",""]`: want, chat: 0} {
				n := f.waiting(to)
				if len(n) != want || want > 0 && (n[0].Kind != job.NoticeUndelivered || n[0].Job != "Morning" || n[0].Chat != "telegram 7" ||
					n[0].Error != "message thread not found" || n[0].Run == "") {
					t.Errorf("%s is told %+v", to, n)
				}
			}
		})
	}
}

// TestUndeliveredOfAJobThatIsGone is told as well.
func TestUndeliveredOfAJobThatIsGone(t *testing.T) {
	f := setup(t, Options{})
	spec := toChat(job.DeliverAlways)
	spec.MaxRuns = 1
	f.create("a", spec)
	b := f.scheduled("a", 1)
	c := commitOf(b, "the reply")
	c.Delivery, c.Target = job.DeliveryPending, job.Target{Channel: "telegram", ChatID: "7"}
	_, err := f.Commit(f.ctx, c)
	f.must(err)
	d := f.beginDelivery(b.Run.ID)
	f.sendBegin(b.Run.ID, d, 0)
	f.sendEnd(b.Run.ID, d, 0, job.SendEnd{Result: job.PartFailed, Message: "no"})
	if n := f.waiting("*"); len(n) != 1 || n[0].Job != "a" {
		t.Errorf("told %+v", n)
	}
	if n := f.rdb.Exists(f.ctx, f.keys.job("a")).Val(); n != 0 {
		t.Error("and the job is there again")
	}
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
