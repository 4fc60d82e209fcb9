package store

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// failing has the next scheduled run of a job fail.
func (f *fixture) failing(j job.Job, slot job.Millis) job.Begun {
	f.t.Helper()
	f.rewind(j.ID, slot)
	b := f.claim(j, slot, newToken())
	f.fail(b, job.RetryNever, 0)
	return b
}

// replied commits a reply of a job that has a chat.
func (f *fixture) replied(b job.Begun) {
	f.t.Helper()
	c := commitOf(b, "the reply")
	c.Delivery, c.Target = job.DeliveryPending, job.Target{Channel: "telegram", ChatID: "1"}
	_, err := f.Commit(f.ctx, c)
	f.must(err)
}

// sent ends the n-th delivery of a run.
func (f *fixture) sent(run string, n int, result job.SendResult, message string) {
	f.t.Helper()
	b, err := f.BeginDelivery(f.ctx, run, n, newToken())
	f.must(err)
	_, err = f.SendBegin(f.ctx, run, n, b.Epoch, 0, 1, newToken())
	f.must(err)
	_, err = f.SendEnd(f.ctx, job.SendEnd{RunID: run, N: n, Epoch: b.Epoch, Result: result, Message: message})
	f.must(err)
}

func (f *fixture) ailingNow() job.Ailing {
	f.t.Helper()
	a, err := f.Ailing(f.ctx, 10)
	f.must(err)
	return a
}

func TestFailingJobsAreKnown(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.Name = "Bread"
	j := f.create("a", spec)
	f.create("fine", everyMinute())
	f.failing(j, f.minute(-50))
	b := f.failing(j, f.minute(-49))
	want := job.AilingJob{ID: "a", Name: "Bread", Failures: 2, LastRunID: b.Run.ID, LastError: "no"}
	a := f.ailingNow()
	if d := cmp.Diff([]job.AilingJob{want}, a.Failing, cmpopts.IgnoreFields(job.AilingJob{}, "Since")); d != "" || a.FailingCount != 1 || a.UndeliveredCount != 0 {
		t.Errorf("%+v: %s", a, d)
	}
	if since := a.Failing[0].Since; since > f.now() || since < f.now()-60_000 {
		t.Errorf("since %d", since)
	}
	since := a.Failing[0].Since

	for n := 2; n < 10; n++ {
		f.failing(j, f.minute(n-50))
	}
	if a := f.ailingNow().Failing; len(a) != 1 || a[0].Since != since || a[0].DisabledAt == 0 || a[0].PauseReason == "" || a[0].Failures != 10 {
		t.Errorf("disabled: %+v", a)
	}
	set := func(enabled bool) {
		t.Helper()
		_, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) {
			if enabled {
				return s.Resumed(), nil
			}
			return s.Paused(""), nil
		})
		f.must(err)
	}
	set(true)
	if a := f.ailingNow(); a.FailingCount != 0 {
		t.Errorf("resumed: %+v", a)
	}
	f.failing(j, f.minute(-20))
	set(false)
	if a := f.ailingNow(); a.FailingCount != 0 {
		t.Errorf("paused by somebody: %+v", a)
	}
	set(true)
	f.failing(j, f.minute(-56))
	f.rewind("a", f.minute(-55))
	f.commit(f.claim(j, f.minute(-55), newToken()), "well again")
	if a := f.ailingNow(); a.FailingCount != 0 || f.rdb.Exists(f.ctx, f.keys.failing()).Val() != 0 {
		t.Errorf("after a success: %+v", a)
	}
	f.failing(j, f.minute(-54))
	f.must(f.DeleteJob(f.ctx, "a"))
	if f.rdb.Exists(f.ctx, f.keys.failing()).Val() != 0 {
		t.Error("a job that is gone is failing")
	}
}

func TestNewestReplyTellsHowItsDeliveryIsDoing(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.Channel, spec.ChatID = "telegram", "1"
	j := f.create("a", spec)
	next := 0
	begin := func() job.Begun {
		t.Helper()
		slot := f.minute(next - 30)
		next++
		f.rewind("a", slot)
		return f.claim(j, slot, newToken())
	}
	state := func(when string, want job.DeliveryState, undelivered int) {
		t.Helper()
		if a, j := f.ailingNow(), f.job("a"); j.LastDelivery != want || a.UndeliveredCount != undelivered || len(a.Undelivered) != undelivered {
			t.Errorf("%s: %s, %+v", when, j.LastDelivery, a.Undelivered)
		}
	}
	state("at first", "", 0)
	first := begin()
	f.replied(first)
	state("on its way", job.DeliveryPending, 0)
	f.sent(first.Run.ID, 1, job.PartFailed, "the topic is deleted")
	state("refused", job.DeliveryFailed, 1)
	want := job.AilingJob{ID: "a", LastRunID: first.Run.ID, LastReplyID: first.Run.ID, LastDelivery: job.DeliveryFailed, DeliveryError: "the topic is deleted"}
	if d := cmp.Diff([]job.AilingJob{want}, f.ailingNow().Undelivered, cmpopts.IgnoreFields(job.AilingJob{}, "Since")); d != "" {
		t.Error(d)
	}
	since := f.ailingNow().Undelivered[0].Since

	second := begin()
	f.replied(second)
	state("the next one is on its way", job.DeliveryPending, 1)
	f.fail(begin(), job.RetryNever, 0) // it has no reply, and says nothing of those before
	f.sent(second.Run.ID, 1, job.PartUnknown, "cut off")
	state("nobody knows", job.DeliveryUnknown, 1)
	if got := f.ailingNow().Undelivered[0].Since; got != since {
		t.Errorf("since %d, then %d", since, got)
	}
	_, err := f.Redeliver(f.ctx, first.Run.ID)
	f.must(err)
	f.sent(first.Run.ID, 2, job.PartDelivered, "")
	state("an older one has arrived", job.DeliveryUnknown, 1)
	_, err = f.Redeliver(f.ctx, second.Run.ID)
	f.must(err)
	state("once more", job.DeliveryPending, 1)
	f.sent(second.Run.ID, 2, job.PartDelivered, "")
	state("arrived", job.DeliveryDelivered, 0)

	third := begin()
	f.replied(third)
	f.sent(third.Run.ID, 1, job.PartFailed, "no")
	fourth := begin()
	c := commitOf(fourth, job.NoReply)
	c.Delivery = job.DeliverySuppressed
	_, err = f.Commit(f.ctx, c)
	f.must(err)
	state("nothing to tell", job.DeliverySuppressed, 1)
	_, err = f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) {
		s.ChatID = "2"
		return s, nil
	})
	f.must(err)
	state("to another chat", job.DeliverySuppressed, 0)
}

func TestTokenSeesOnlyItsOwnJobsInTrouble(t *testing.T) {
	f := setup(t, Options{})
	for _, id := range []string{"a", "b", "c"} {
		spec := everyMinute()
		spec.AgentID = map[string]string{"c": "ada"}[id]
		f.failing(f.create(id, spec), f.minute(0))
	}
	if a, err := f.Ailing(f.ctx, 1); err != nil || a.FailingCount != 3 || len(a.Failing) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
	a, err := f.Ailing(job.WithToken(f.ctx, &job.Token{AgentID: "ada"}), 1)
	if err != nil || a.FailingCount != 1 || len(a.Failing) != 1 || a.Failing[0].ID != "c" {
		t.Errorf("%+v, %v", a, err)
	}
}

// What an older release did is entered by the repair, and what it left behind leaves.
func TestListsOfJobsFollowTheirRecords(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.Channel, spec.ChatID = "telegram", "1"
	for _, id := range []string{"failing", "undelivered", "arrived", "ended"} {
		f.create(id, spec)
	}
	// It knows none of the fields of the newest reply, and none of the lists.
	for _, id := range []string{"undelivered", "arrived"} {
		f.rewind(id, f.minute(0))
		b := f.claim(f.job(id), f.minute(0), "t")
		f.replied(b)
		f.sent(b.Run.ID, 1, job.PartFailed, "no")
		f.must(f.rdb.HDel(f.ctx, f.keys.job(id), "lastReplyId", "lastDelivery").Err())
	}
	f.setHash(f.keys.run(job.RunID("arrived", f.minute(0))), "delivery", "delivered")
	f.setHash(f.keys.job("failing"), "failures", 3, "lastOutcome", "failed", "lastRunAt", 1000)
	f.setHash(f.keys.job("ended"), "endAt", int64(f.minute(-1)))
	f.must(f.rdb.HDel(f.ctx, f.keys.job("ended"), "nextSlot").Err())
	f.must(f.rdb.ZRem(f.ctx, f.keys.due(), "ended").Err())
	f.must(f.rdb.Del(f.ctx, f.keys.failing(), f.keys.undelivered(), f.keys.ended()).Err())
	f.must(f.rdb.ZAdd(f.ctx, f.keys.undelivered(), redis.Z{Score: 1, Member: "arrived"}).Err())
	page, err := f.CheckJobs(f.ctx, "", 100)
	f.must(err)
	if len(page.Repaired)+len(page.Unreadable) != 0 {
		t.Errorf("that is no damage: %+v", page)
	}
	a := f.ailingNow()
	if len(a.Failing) != 1 || a.Failing[0].ID != "failing" || a.Failing[0].Since != 1000 || len(a.Undelivered) != 1 || a.Undelivered[0].ID != "undelivered" {
		t.Errorf("%+v", a)
	}
	if d := cmp.Diff([]string{"ended"}, f.ids(job.JobFilter{Ended: true})); d != "" {
		t.Error(d)
	}

	// It ends the row and revives a job without taking them off the lists.
	f.must(f.rdb.HDel(f.ctx, f.keys.job("failing"), "failures").Err())
	f.setHash(f.keys.job("undelivered"), "lastDelivery", "delivered")
	slot := f.minute(5)
	f.setHash(f.keys.job("ended"), "nextSlot", int64(slot))
	f.must(f.rdb.ZAdd(f.ctx, f.keys.due(), redis.Z{Score: float64(slot), Member: "ended"}).Err())
	if a, ended := f.ailingNow(), f.ids(job.JobFilter{Ended: true}); len(a.Failing)+len(a.Undelivered)+len(ended) != 0 {
		t.Errorf("before the repair: %+v, %v", a, ended)
	}
	for _, index := range []job.Index{job.IndexFailing, job.IndexUndelivered} {
		if repaired := f.repairAll(index); len(repaired) != 0 {
			t.Errorf("that is no damage: %v", repaired)
		}
	}
	if d := cmp.Diff([]job.Repaired{{Damage: job.EndedOrphan, ID: "ended"}}, f.repairAll(job.IndexEnded)); d != "" {
		t.Error(d)
	}
	if n := f.rdb.Exists(f.ctx, f.keys.failing(), f.keys.undelivered(), f.keys.ended()).Val(); n != 0 {
		t.Errorf("%d lists are not empty", n)
	}
	if d := cmp.Diff([]string{"ended", "failing", "undelivered", "arrived"}, f.ids(job.JobFilter{}), cmpopts.SortSlices(func(a, b string) bool { return a < b })); d != "" {
		t.Error(d)
	}
}

// A job that is disabled has more slots; one that has ended has not, and is told of instead.
func TestEndedJobIsNotDisabled(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	f.setHash(f.keys.job("a"), "failures", 9)
	f.rewind("a", f.minute(0))
	b, err := f.Claim(f.ctx, job.Claim{JobID: "a", UID: j.UID, Slot: f.minute(0), Revision: j.Revision, Token: "t", Worker: "w"})
	f.must(err)
	f.fail(b, job.RetryNever, time.Second)
	if j := f.job("a"); !j.Ended() || j.DisabledAt != 0 {
		t.Errorf("the job is %+v", j)
	}
	if a := f.ailingNow(); a.FailingCount != 0 {
		t.Errorf("it is failing: %+v", a)
	}
}
