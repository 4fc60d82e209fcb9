package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// delivering is toChat with a policy.
func delivering(d job.Deliver) job.Spec {
	s := toChat()
	s.Deliver = d
	return s
}

// refusing is an ai-server that refuses for good.
func refusing(standin.ChatCall) standin.Answer {
	return standin.Answer{Status: http.StatusBadRequest, Text: "no such agent"}
}

// oldAlert gives a run that failed an alert as the release before the outbox of alerts made
// it: a delivery like any other, in the queue of the workers.
func (f *fixture) oldAlert(spec job.Spec) (run string) {
	f.t.Helper()
	spec.AlertChannel = job.AlertNone
	slot, run := f.due("a", spec)
	must(f.t, f.turn(slot))
	must(f.t, f.rdb.HSet(f.ctx, key("run", run), "deliveries", 1, "alert", "pending").Err())
	must(f.t, f.rdb.HSet(f.ctx, key("delivery", run, "1"), "v", 1, "kind", "alert", "state", "waiting",
		"target", `{"channel":"telegram","chatId":"123","threadId":"3"}`, "createdAt", int64(f.now()), "notBefore", 1,
		"n", 0, "attempt", 0, "epoch", 0, "retries", 0, "alert", `{"job":"Leap day","timezone":"UTC","slot":1795420800000,`+
			`"outcome":"failed","error":"no such agent","attempts":1,"failures":1,"next":1803859200000}`).Err())
	must(f.t, f.rdb.ZAdd(f.ctx, key("wake"), redis.Z{Score: 1, Member: "d:" + run + ":1"}).Err())
	must(f.t, f.rdb.SAdd(f.ctx, key("open"), "d:"+run+":1").Err())
	return run
}

// TestOldAlertIsSent through the channel, once, whatever happens to its carriers.
func TestOldAlertIsSent(t *testing.T) {
	f := setup(t, setupOptions{reply: refusing})
	run := f.oldAlert(toChat())
	must(t, f.deliver(run))
	must(t, f.deliver(run))

	got := f.chat.Messages()
	if len(got) != 1 {
		t.Fatalf("messages %+v", got)
	}
	if want := "⚠️ Leap day failed (2026-11-23 08:00 UTC).\nno such agent.\nNext run: 2027-03-01 00:00 UTC."; got[0].Text != want {
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
	if _, err := f.store.Session(f.ctx, toChat().ResolveSession("a"), 10); err == nil {
		t.Error("the session has an entry")
	}
}

// TestOldAlertGoesOnAtTheFirstUnsentPart: an old alert has parts like any message.
func TestOldAlertGoesOnAtTheFirstUnsentPart(t *testing.T) {
	f := setup(t, setupOptions{reply: refusing, wrap: inChunks(40), send: func(m standin.Message) standin.Answer {
		if m.N == 2 {
			return standin.Answer{Status: http.StatusServiceUnavailable, Text: "restarting"}
		}
		return standin.Answer{}
	}})
	run := f.oldAlert(toChat())
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

func TestDamagedOldAlertIsNotSent(t *testing.T) {
	f := setup(t, setupOptions{reply: refusing})
	run := f.oldAlert(toChat())
	must(t, f.rdb.HDel(f.ctx, key("delivery", run, "1"), "alert").Err())
	must(t, f.deliver(run))
	if d := f.record(run).Deliveries[0]; d.State != job.DeliveryFailed || f.chat.Count() != 0 {
		t.Errorf("delivery %+v", d)
	}
}

// TestAlertsAreNotTheWorkers: what there is to tell waits in the outbox of alerts, with no
// task for it in the queue.
func TestAlertsAreNotTheWorkers(t *testing.T) {
	f := setup(t, setupOptions{reply: refusing})
	slot, run := f.due("a", delivering(job.DeliverOnFailure))
	must(t, f.turn(slot))
	if d := f.record(run).Deliveries; len(d) != 1 || d[0].Kind != job.KindAlert || d[0].State != job.DeliveryPending {
		t.Errorf("deliveries %+v", d)
	}
	carriers, _, err := f.store.Look(f.ctx, 10)
	must(t, err)
	if _, err := f.rdb.ZScore(f.ctx, key("wake"), "d:"+run+":1").Result(); len(carriers) > 0 || !errors.Is(err, redis.Nil) {
		t.Errorf("carriers %v, in wake: %v", carriers, err)
	}
	taken, err := f.store.TakeAlert(f.ctx, job.AlertTake{Sender: "s", Token: "t", HoldFor: time.Second, Lease: time.Minute})
	must(t, err)
	if taken.To != "" {
		t.Errorf("before others could join: %+v", taken)
	}
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
	if d := f.record(job.RunID("a", slot)).Deliveries; len(d) != 1 || d[0].Kind != job.KindAlert {
		t.Errorf("told %+v", d)
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
