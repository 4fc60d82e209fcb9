package handlers

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// delivering is toChat with a policy.
func delivering(d job.Deliver) job.Spec {
	s := toChat()
	s.Deliver = d
	return s
}

func TestAlertText(t *testing.T) {
	const slot, next = 1795420800_000, 1795507200_000 // 2026-11-23 and -24, 08:00 UTC
	for _, tc := range []struct {
		name  string
		alert job.Alert
		want  string
	}{
		{"in a row", job.Alert{Job: "Morning summary", Timezone: "Europe/Berlin", Slot: slot, Outcome: job.Failed, Attempts: 4,
			Error: "ai-server answered 500: overloaded", Failures: 2, Next: next},
			"⚠️ Morning summary failed 2 times in a row (last: 2026-11-23 09:00 Europe/Berlin).\n" +
				"After 4 attempts: ai-server answered 500: overloaded.\n" +
				"Next run: 2026-11-24 09:00 Europe/Berlin."},
		{"once, with no run to come", job.Alert{Job: "a", Slot: slot, Outcome: job.Failed, Attempts: 1, Error: "no.", Failures: 1},
			"⚠️ a failed (2026-11-23 08:00 UTC).\nno."},
		{"timed out", job.Alert{Job: "a", Slot: slot + 30_000, Outcome: job.TimedOut, Attempts: 1, Error: "too long...", Failures: 1},
			"⚠️ a timed out (2026-11-23 08:00:30 UTC).\ntoo long..."},
		{"timed out in a row", job.Alert{Job: "a", Slot: slot, Outcome: job.TimedOut, Attempts: 1, Error: "too long", Failures: 3},
			"⚠️ a failed 3 times in a row (last: 2026-11-23 08:00 UTC).\ntoo long."},
		{"disabled", job.Alert{Job: "a", Slot: slot, Outcome: job.Failed, Attempts: 1, Error: "no", Failures: 10, Disabled: true},
			"⚠️ a failed 10 times in a row (last: 2026-11-23 08:00 UTC).\nno.\nThe job is disabled now, until somebody resumes it."},
		{"a zone that is no more", job.Alert{Job: "a", Timezone: "Mars/Olympus", Slot: slot, Outcome: job.Failed, Failures: 1, Next: next},
			"⚠️ a failed (2026-11-23 08:00 UTC).\nNext run: 2026-11-24 08:00 UTC."},
		{"damaged", job.Alert{}, ""},
	} {
		if diff := cmp.Diff(tc.want, alertText(tc.alert)); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
	}
}

// refusing is an ai-server that refuses for good.
func refusing(standin.ChatCall) standin.Answer {
	return standin.Answer{Status: http.StatusBadRequest, Text: "no such agent"}
}

// TestAlertIsSent through the channel, once, whatever happens to its carriers.
func TestAlertIsSent(t *testing.T) {
	f := setup(t, setupOptions{reply: refusing})
	spec := delivering(job.DeliverOnFailure)
	spec.Name, spec.ThreadID = "Leap day", "3"
	slot, run := f.due("a", spec)
	must(t, f.turn(slot))
	must(t, f.deliver(run))
	must(t, f.deliver(run))

	got := f.chat.Messages()
	if len(got) != 1 {
		t.Fatalf("messages %+v", got)
	}
	lines := strings.Split(got[0].Text, "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "⚠️ Leap day failed (20") || !strings.Contains(lines[1], "no such agent") ||
		!strings.HasPrefix(lines[2], "Next run: 20") || !strings.HasSuffix(lines[2], "-02-29 00:00 UTC.") {
		t.Errorf("text %q", got[0].Text)
	}
	r := f.record(run)
	if d := r.Deliveries; len(d) != 1 || d[0].Kind != job.KindAlert || d[0].State != job.DeliveryDelivered || !cmp.Equal(d[0].MessageIDs, []string{"m-1"}) {
		t.Errorf("deliveries %+v", d)
	}
	if r.Outcome != job.Failed || r.DeliveryState != job.DeliveryNotRequested {
		t.Errorf("run %s, delivery %s", r.Outcome, r.DeliveryState)
	}
	// It was no turn: nothing of it is in the session.
	if _, err := f.store.Session(f.ctx, spec.ResolveSession("a"), 10); err == nil {
		t.Error("the session has an entry")
	}
}

// TestAlertGoesOnAtTheFirstUnsentPart: an alert has parts like any message.
func TestAlertGoesOnAtTheFirstUnsentPart(t *testing.T) {
	f := setup(t, setupOptions{reply: refusing, wrap: inChunks(40), send: func(m standin.Message) standin.Answer {
		if m.N == 2 {
			return standin.Answer{Status: http.StatusServiceUnavailable, Text: "restarting"}
		}
		return standin.Answer{}
	}})
	slot, run := f.due("a", delivering(job.DeliverOnFailure))
	must(t, f.turn(slot))
	must(t, f.deliver(run))
	if d := f.record(run).Deliveries[0]; d.State != job.DeliveryPending || len(d.MessageIDs) != 1 {
		t.Fatalf("delivery %+v", d)
	}
	must(t, f.deliverAgain(run))
	d := f.record(run).Deliveries[0]
	if d.State != job.DeliveryDelivered || d.Parts < 2 || len(d.MessageIDs) != d.Parts {
		t.Errorf("delivery %+v", d)
	}
	begun := map[string]int{}
	for _, m := range f.chat.Messages() {
		begun[m.IdempotencyKey]++
	}
	for part := range d.Parts {
		want := 1
		if part == 1 { // refused once
			want = 2
		}
		if n := begun[fmt.Sprintf("%s:1:%d", run, part)]; n != want {
			t.Errorf("part %d was sent %d times, want %d", part, n, want)
		}
	}
}

func TestDamagedAlertIsNotSent(t *testing.T) {
	f := setup(t, setupOptions{reply: refusing})
	slot, run := f.due("a", delivering(job.DeliverOnFailure))
	must(t, f.turn(slot))
	must(t, f.rdb.HDel(f.ctx, key("delivery", run, "1"), "alert").Err())
	must(t, f.deliver(run))
	if d := f.record(run).Deliveries[0]; d.State != job.DeliveryFailed || f.chat.Count() != 0 {
		t.Errorf("delivery %+v", d)
	}
}

// TestServedAlert: nobody but the worker's own shortcut brings the carrier.
func TestServedAlert(t *testing.T) {
	f := setup(t, setupOptions{reply: refusing})
	slot, run := f.due("a", delivering(job.DeliverOnFailure))
	f.serve()
	f.enqueue(slot)
	f.await("the alert", func() bool {
		r, err := f.store.Run(f.ctx, run)
		return err == nil && len(r.Deliveries) == 1 && r.Deliveries[0].State == job.DeliveryDelivered
	})
}

// TestCarriersOfADisabledJob: the slots that were due when its job was disabled are
// recorded by the carriers that are under way, and none of them runs.
func TestCarriersOfADisabledJob(t *testing.T) {
	f := setup(t, setupOptions{reply: refusing})
	spec := toChat()
	spec.Schedule = "* * * * *"
	j := f.create("a", spec)
	must(t, f.rdb.HSet(f.ctx, key("job", "a"), "failures", 9).Err())
	slot := f.minute(-3)
	f.moveTo("a", slot)
	must(t, f.turn(f.slotOf(j, slot)))
	must(t, f.deliver(job.RunID("a", slot)))
	if texts := f.texts(); len(texts) != 1 || !strings.HasSuffix(texts[0], "The job is disabled now, until somebody resumes it.") {
		t.Errorf("told %q", texts)
	}
	passed := 0
	for {
		now, err := f.store.Job(f.ctx, "a")
		must(t, err)
		if now.Enabled || !strings.Contains(now.PauseReason, "no such agent") {
			t.Fatalf("job %+v", now)
		}
		if now.NextSlot == 0 {
			break
		}
		if passed++; passed > 10 {
			t.Fatalf("the cursor is at %s", now.NextSlot.Time())
		}
		must(t, f.turn(f.slotOf(j, now.NextSlot)))
	}
	runs, _, err := f.store.Runs(f.ctx, "a", "", 10)
	must(t, err)
	if len(runs) != 2 || runs[0].Outcome != job.Skipped || runs[0].Reason != job.ReasonDisabled || runs[0].Count != passed || passed < 3 {
		t.Errorf("%d slots passed, history %+v", passed, runs)
	}
	if n := f.ai.Count(); n != 1 {
		t.Errorf("%d calls", n)
	}
}
