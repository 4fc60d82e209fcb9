package store

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// delivery commits a run with a pending delivery and answers the run's id.
func (f *fixture) delivery(id string) string {
	f.t.Helper()
	b := f.begun(id, everyMinute())
	c := commitOf(b, "the reply")
	c.Delivery, c.Target = job.DeliveryPending, job.Target{Channel: "telegram", ChatID: "7", ThreadID: "3"}
	_, err := f.Commit(f.ctx, c)
	f.must(err)
	return b.Run.ID
}

func (f *fixture) beginDelivery(run string) job.DeliveryBegun {
	f.t.Helper()
	b, err := f.BeginDelivery(f.ctx, run, 1, newToken())
	f.must(err)
	return b
}

func (f *fixture) sendBegin(run string, b job.DeliveryBegun, part int) job.SendVerdict {
	f.t.Helper()
	v, err := f.SendBegin(f.ctx, run, 1, b.Epoch, part, 2, "t")
	f.must(err)
	return v
}

func (f *fixture) sendEnd(run string, b job.DeliveryBegun, part int, e job.SendEnd) bool {
	f.t.Helper()
	e.RunID, e.N, e.Epoch, e.Part = run, 1, b.Epoch, part
	ended, err := f.SendEnd(f.ctx, e)
	f.must(err)
	return ended
}

func TestDeliveryInParts(t *testing.T) {
	f := setup(t, Options{})
	run := f.delivery("a")
	b := f.beginDelivery(run)
	if b.Verdict != job.BeginOK || b.Reply != "the reply" || b.Delivery.Target.ThreadID != "3" {
		t.Fatalf("begin: %+v", b)
	}
	if other := f.beginDelivery(run); other.Verdict != job.BeginBusy {
		t.Errorf("second carrier: %s", other.Verdict)
	}
	resent := f.delivery("resent")
	for range 2 {
		if d, err := f.BeginDelivery(f.ctx, resent, 1, "t"); err != nil || d.Verdict != job.BeginOK || d.Epoch != 1 {
			t.Errorf("begin, sent twice: %+v %v", d, err)
		}
	}
	f.sendBegin(run, b, 0)
	if v := f.sendBegin(run, b, 0); v != job.SendOK { // resent by the client library
		t.Errorf("resent: %s", v)
	}
	twice := f.delivery("twice")
	if d := f.beginDelivery(twice); f.sendBegin(twice, d, 0) != job.SendOK {
		t.Error("a first begin is refused")
	} else if v, err := f.SendBegin(f.ctx, twice, 1, d.Epoch, 0, 2, "another"); err != nil || v != job.SendUnknown {
		t.Errorf("a part that was begun and not answered, by the same attempt: %s %v", v, err)
	}
	f.sendEnd(run, b, 0, job.SendEnd{Result: job.PartSent, MessageID: "m0"})
	f.sendBegin(run, b, 1)
	// The second part is refused for now; the first must not be sent again.
	if f.sendEnd(run, b, 1, job.SendEnd{Result: job.PartRetry, Retry: job.RetryCounted, Message: "busy"}) {
		t.Fatal("ended")
	}
	b = f.beginDelivery(run)
	if b.Verdict != job.BeginOK || !b.Sent[0] || b.Sent[1] || b.Retries != 1 {
		t.Fatalf("retry: %+v", b)
	}
	if v := f.sendBegin(run, b, 0); v != job.SendSent {
		t.Errorf("a sent part: %s", v)
	}
	f.sendBegin(run, b, 1)
	if !f.sendEnd(run, b, 1, job.SendEnd{Result: job.PartDelivered, MessageID: "m1"}) {
		t.Fatal("not ended")
	}
	r := f.record(run)
	d := r.Deliveries[0]
	if r.DeliveryState != job.DeliveryDelivered || d.State != job.DeliveryDelivered || d.Parts != 2 || len(d.MessageIDs) != 2 ||
		d.MessageIDs[1] != "m1" || d.Error != "" || d.Attempts != 2 {
		t.Errorf("delivery %+v", d)
	}
	if got := f.beginDelivery(run); got.Verdict != job.BeginDone {
		t.Errorf("afterwards: %s", got.Verdict)
	}
	if _, ok := f.score(f.keys.wake(), "d:"+run+":1"); ok {
		t.Error("an ended delivery is still in wake")
	}
}

func TestSenderThatDied(t *testing.T) {
	f := setup(t, Options{})
	dead := f.declareSenderDead

	between := f.delivery("between") // died between two parts: go on
	b := f.beginDelivery(between)
	f.sendBegin(between, b, 0)
	f.sendEnd(between, b, 0, job.SendEnd{Result: job.PartSent, MessageID: "m"})
	dead(between)
	second := f.beginDelivery(between)
	if second.Verdict != job.BeginOK || !second.Sent[0] || second.Retries != 1 {
		t.Errorf("died between parts: %+v", second)
	}
	if _, err := f.SendBegin(f.ctx, between, 1, b.Epoch, 1, 2, "z"); !errors.Is(err, job.ErrFenced) {
		t.Errorf("zombie sends: %v", err)
	}
	if _, err := f.SendEnd(f.ctx, job.SendEnd{RunID: between, N: 1, Epoch: b.Epoch}); !errors.Is(err, job.ErrFenced) {
		t.Errorf("zombie reports: %v", err)
	}
	if err := f.RenewDelivery(f.ctx, between, 1, b.Epoch); !errors.Is(err, job.ErrFenced) {
		t.Errorf("zombie renews: %v", err)
	}

	during := f.delivery("during") // died in the middle of a send: may have arrived
	b = f.beginDelivery(during)
	f.sendBegin(during, b, 0)
	dead(during)
	if got := f.beginDelivery(during); got.Verdict != job.BeginEnded {
		t.Errorf("died in a send: %s", got.Verdict)
	}
	if _, err := f.SendEnd(f.ctx, job.SendEnd{RunID: during, N: 1, Epoch: b.Epoch, Result: job.PartRetry}); !errors.Is(err, job.ErrFenced) {
		t.Errorf("it wakes after the end: %v", err)
	}
	if r := f.record(during); r.DeliveryState != job.DeliveryUnknown || r.Outcome != job.Succeeded {
		t.Errorf("run %s, delivery %s", r.Outcome, r.DeliveryState)
	}
}

func TestDeliveryRetriesAreBounded(t *testing.T) {
	f := setup(t, Options{})
	run := f.delivery("a")
	ended := false
	for n := 0; !ended; n++ {
		if n > maxDeliveryRetries {
			t.Fatal("no bound")
		}
		b := f.beginDelivery(run)
		f.sendBegin(run, b, 0)
		ended = f.sendEnd(run, b, 0, job.SendEnd{Result: job.PartRetry, Retry: job.RetryCounted, Message: "503"})
	}
	if r := f.record(run); r.DeliveryState != job.DeliveryFailed || r.Deliveries[0].Error != "503" || r.Outcome != job.Succeeded {
		t.Errorf("run %+v", r)
	}
}

// TestWhatKillsSendersEnds: a delivery whose every sender dies, because it does not fit
// into memory perhaps, must not go on for ever.
func TestWhatKillsSendersEnds(t *testing.T) {
	f := setup(t, Options{})
	run := f.delivery("a")
	for n := range maxDeliveryRetries + 1 {
		if b := f.beginDelivery(run); b.Verdict != job.BeginOK || b.Retries != n {
			t.Fatalf("begin %d: %+v", n, b)
		}
		f.declareSenderDead(run)
	}
	if b := f.beginDelivery(run); b.Verdict != job.BeginEnded {
		t.Fatalf("no bound: %+v", b)
	}
	if r := f.record(run); r.DeliveryState != job.DeliveryFailed || r.Outcome != job.Succeeded {
		t.Errorf("run %+v", r)
	}
	if _, ok := f.score(f.keys.wake(), "d:"+run+":1"); ok {
		t.Error("it is looked at for ever")
	}
}

// TestForeignMarkStays: a failover can lose the answer to a send and keep its begin. An
// attempt that then does not even try must not forget it.
func TestForeignMarkStays(t *testing.T) {
	f := setup(t, Options{})
	run := f.delivery("a")
	first := f.beginDelivery(run)
	f.sendBegin(run, first, 0) // it arrived; that was lost
	f.sendBegin(run, first, 1)
	f.sendEnd(run, first, 1, job.SendEnd{Result: job.PartRetry, Retry: job.RetryCounted, Message: "503"})
	second := f.beginDelivery(run)
	f.sendEnd(run, second, 0, job.SendEnd{Result: job.PartRetry, Retry: job.RetryFree, Message: "the channel is busy"})
	third := f.beginDelivery(run)
	if v := f.sendBegin(run, third, 0); v != job.SendUnknown {
		t.Errorf("a part that may have arrived: %s", v)
	}
}

func TestDeliveryWaits(t *testing.T) {
	f := setup(t, Options{})
	run := f.delivery("a")
	b := f.beginDelivery(run)
	f.sendEnd(run, b, 0, job.SendEnd{Result: job.PartRetry, Retry: job.RetryFree, Delay: time.Minute})
	if got := f.beginDelivery(run); got.Verdict != job.BeginEarly || got.Delay < 50*time.Second {
		t.Errorf("begin: %+v", got)
	}
	if look, _ := f.score(f.keys.wake(), "d:"+run+":1"); look < f.now()+50_000 || look > f.now()+60_000 {
		t.Errorf("looked at in %d ms", look-f.now())
	}
	// Its next carrier has a number of its own, or the old one would stand in its way.
	f.letDeliver(run)
	if c := f.look(); len(c) != 1 || c[0] != (job.Carrier{Kind: job.CarryDelivery, ID: run + ":1", N: 1}) {
		t.Errorf("carriers %v", c)
	}
	// Waiting because a channel asked for it uses up no retry.
	b = f.beginDelivery(run)
	f.must(f.rdb.HSet(f.ctx, f.keys.delivery(run+":1"), "retries", maxDeliveryRetries).Err())
	if f.sendEnd(run, b, 0, job.SendEnd{Result: job.PartRetry, Retry: job.RetryFree}) {
		t.Error("it was given up for waiting")
	}
	b, err := f.BeginDelivery(f.ctx, run, 2, "t")
	f.must(err)
	if b.Verdict != job.BeginGone {
		t.Errorf("a delivery that never was: %s", b.Verdict)
	}
}

// letDeliver makes a waiting delivery due now.
func (f *fixture) letDeliver(run string) {
	f.t.Helper()
	f.must(f.rdb.HSet(f.ctx, f.keys.delivery(run+":1"), "notBefore", 1).Err())
	f.must(f.rdb.ZAdd(f.ctx, f.keys.wake(), redis.Z{Score: 1, Member: "d:" + run + ":1"}).Err())
}

// declareSenderDead takes a delivery's lease through both looks.
func (f *fixture) declareSenderDead(run string) {
	f.t.Helper()
	key, member := f.keys.delivery(run+":1"), "d:"+run+":1"
	f.killWorker(key, member)
	f.look()
	f.age(key, member, 7*time.Second)
	if c := f.look(); len(c) != 1 || c[0].Kind != job.CarryDelivery || c[0].ID != run+":1" {
		f.t.Fatalf("look: %v", c)
	}
}
