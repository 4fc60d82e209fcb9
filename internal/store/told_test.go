package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

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
