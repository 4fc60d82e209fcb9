package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

var indexes = []job.Index{job.IndexDue, job.IndexJobs, job.IndexWake, job.IndexOpen}

// scan goes over all indexes and jobs once, in pages of the given size, and answers
// what it repaired, as "kind id", sorted, and what it could not read.
func (f *fixture) scan(size int) (repaired []string, bad []job.Unreadable) {
	f.t.Helper()
	walk := func(page func(cursor string) (job.RepairPage, error)) {
		f.t.Helper()
		for cursor := ""; ; {
			p, err := page(cursor)
			f.must(err)
			for _, r := range p.Repaired {
				repaired = append(repaired, string(r.Damage)+" "+r.ID)
			}
			bad = append(bad, p.Unreadable...)
			if cursor = p.Next; cursor == "" {
				return
			}
		}
	}
	for _, index := range indexes {
		walk(func(cursor string) (job.RepairPage, error) { return f.Repair(f.ctx, index, cursor, size) })
	}
	walk(func(cursor string) (job.RepairPage, error) { return f.CheckJobs(f.ctx, cursor, size) })
	slices.Sort(repaired)
	return repaired, bad
}

func (f *fixture) repairs() job.Repairs {
	f.t.Helper()
	r, err := f.Repairs(f.ctx)
	f.must(err)
	return r
}

func (f *fixture) zadd(key string, score job.Millis, member string) {
	f.t.Helper()
	f.must(f.rdb.ZAdd(f.ctx, key, redis.Z{Score: float64(score), Member: member}).Err())
}

// everyState makes jobs, runs and deliveries in every state they can be in.
func (f *fixture) everyState() {
	f.t.Helper()
	f.create("idle", everyMinute())
	paused := everyMinute()
	paused.Enabled = false
	f.create("paused", paused)
	f.create("emitted", everyMinute())
	f.rewind("emitted", f.minute(0))
	f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: "emitted", At: f.minute(0)}}))
	put := f.create("postponed", everyMinute())
	f.must(f.Postpone(f.ctx, []job.Later{{JobID: "postponed", Seen: put.NextSlot, Look: f.now() + 60_000}}))
	f.create("every", job.Spec{EverySeconds: 90, JitterSeconds: 20, StartAt: f.minute(10), Enabled: true, Task: "x"})
	f.create("once", job.Spec{At: f.minute(60), Enabled: true, Task: "x"})
	_, next := f.overlapping("queues", job.OverlapQueueOne)
	if b := f.claim(f.job("queues"), next, "t"); b.Verdict != job.BeginParked {
		f.t.Fatalf("claim: %s", b.Verdict)
	}
	f.create("newer", everyMinute())
	f.must(f.rdb.HSet(f.ctx, f.keys.job("newer"), "v", job.Version+1, "nextSlot", 1, "session", "").Err())

	shared := everyMinute()
	shared.SessionKey = "shared"
	f.begun("runs", shared)
	f.create("parks", shared)
	f.rewind("parks", f.minute(0))
	if b := f.claim(f.job("parks"), f.minute(0), "t"); b.Verdict != job.BeginParked {
		f.t.Fatalf("claim: %s", b.Verdict)
	}
	f.create("waits", everyMinute())
	_, waits, err := f.RunJob(f.ctx, "waits")
	f.must(err)
	f.fail(f.begin(waits), job.RetryFree, time.Hour)
	f.commit(f.begun("ended", everyMinute()), "x")
	_, _, err = f.RunJob(f.ctx, "idle")
	f.must(err)
	f.beginDelivery(f.delivery("sends"))
	f.delivery("delivers")
	run := f.delivery("delivered")
	b := f.beginDelivery(run)
	f.sendBegin(run, b, 0)
	f.sendEnd(run, b, 0, job.SendEnd{Result: job.PartDelivered, MessageID: "m"})
	f.create("deleted", everyMinute())
	_, _, err = f.RunJob(f.ctx, "deleted")
	f.must(err)
	f.must(f.DeleteJob(f.ctx, "deleted"))
}

func TestScanLeavesAHealthySystemAlone(t *testing.T) {
	f := setup(t, Options{})
	f.everyState()
	before := dump(f)
	repaired, bad := f.scan(3)
	if len(repaired)+len(bad) != 0 {
		t.Errorf("repaired %v, unreadable %v", repaired, bad)
	}
	if d := cmp.Diff(before, dump(f)); d != "" {
		t.Error(d)
	}
	if left, _, err := f.Release(f.ctx); err != nil || len(left) != 0 {
		t.Errorf("released %v, %v", left, err)
	}
}

// The two lists of what is unfinished hold the same, whatever the state.
func TestOpenHoldsWhatWakeHolds(t *testing.T) {
	f := setup(t, Options{})
	f.everyState()
	open, err := f.rdb.SMembers(f.ctx, f.keys.open()).Result()
	f.must(err)
	wake, err := f.rdb.ZRange(f.ctx, f.keys.wake(), 0, -1).Result()
	f.must(err)
	slices.Sort(open)
	slices.Sort(wake)
	if d := cmp.Diff(wake, open); d != "" || len(open) != 9 {
		t.Errorf("%d: %s", len(open), d)
	}
}

func TestDamageIsRepaired(t *testing.T) {
	f := setup(t, Options{})
	f.everyState()
	yearly := everyMinute()
	yearly.Schedule = "0 0 1 1 *"
	for _, id := range []string{"missing", "unlisted", "unlisted2", "never", "far"} {
		f.create(id, yearly)
	}
	runs := f.runs("runs")[0].ID
	waits := f.runs("waits")[0].ID
	parks := f.runs("parks")[0].ID
	manual := f.runs("idle")[0].ID
	ended := f.runs("ended")[0].ID
	sends, delivers := f.runs("sends")[0].ID+":1", f.runs("delivers")[0].ID+":1"
	due, wake, jobs, open := f.keys.due(), f.keys.wake(), f.keys.jobs(), f.keys.open()

	f.must(f.rdb.ZRem(f.ctx, due, "missing").Err())
	f.must(f.rdb.ZRem(f.ctx, jobs, "unlisted", "unlisted2").Err())
	at := f.job("unlisted").CreatedAt
	f.must(f.rdb.HSet(f.ctx, f.keys.job("unlisted2"), "createdAt", int64(at)).Err())
	f.zadd(due, f.now()+1000_000_000, "orphan")
	f.zadd(jobs, 5, "lost")
	f.must(f.rdb.Del(f.ctx, f.keys.job("never")).Err())
	f.zadd(due, f.job("far").NextSlot+27*3600_000, "far")
	f.must(f.rdb.ZRem(f.ctx, wake, "r:"+runs, "r:"+parks, "r:"+manual, "d:"+sends).Err())
	f.zadd(wake, f.now()+2*3600_000, "r:"+waits)
	f.zadd(wake, f.now()+11*60_000, "d:"+delivers)
	f.must(f.rdb.SRem(f.ctx, open, "r:"+waits).Err())
	f.must(f.rdb.SAdd(f.ctx, open, "r:"+ended, "r:gone", "d:gone:1", "z:of a newer release").Err())
	f.zadd(wake, 1, "y:of a newer release")

	want := []string{
		"delivery_stuck d:" + delivers, "delivery_stuck d:" + sends, "due_missing missing",
		"due_orphan never", "due_orphan orphan", "due_wrong far",
		"job_orphan lost", "job_orphan never",
		"job_unlisted unlisted", "job_unlisted unlisted2",
		"open_missing r:" + waits,
		"open_orphan d:gone:1", "open_orphan r:" + ended, "open_orphan r:gone",
		"run_stuck r:" + manual, "run_stuck r:" + parks, "run_stuck r:" + runs, "run_stuck r:" + waits,
	}
	slices.Sort(want)
	repaired, bad := f.scan(4)
	if d := cmp.Diff(want, repaired); d != "" || len(bad) != 0 {
		t.Errorf("unreadable %v, repaired: %s", bad, d)
	}
	for _, id := range []string{"missing", "far"} {
		if at, _ := f.score(due, id); at != f.job(id).NextSlot {
			t.Errorf("%s is due at %d", id, at)
		}
	}
	listed, _, err := f.FindJobs(f.ctx, job.JobFilter{}, "", 100)
	f.must(err)
	for _, id := range []string{"unlisted", "unlisted2"} {
		if !slices.ContainsFunc(listed, func(j job.Job) bool { return j.ID == id }) {
			t.Errorf("%s is not in the list", id)
		}
	}
	a, _ := f.score(jobs, "unlisted")
	if b, _ := f.score(jobs, "unlisted2"); a == b {
		t.Error("two jobs have one place in the list")
	}
	wantCounts := map[job.Damage]int64{job.DeliveryStuck: 2, job.DueMissing: 1, job.DueOrphan: 2, job.DueWrong: 1, job.JobOrphan: 2,
		job.JobUnlisted: 2, job.OpenMissing: 1, job.OpenOrphan: 3, job.RunStuck: 4}
	if d := cmp.Diff(wantCounts, f.repairs().Counts); d != "" {
		t.Errorf("counts: %s", d)
	}
	if repaired, _ := f.scan(4); len(repaired) != 0 {
		t.Errorf("the next scan repaired %v", repaired)
	}
}

// TestScanLeavesAloneWhatIsNoDamage: records of a newer release, what may not begin for
// hours, and a delivery that another one has followed.
func TestScanLeavesAloneWhatIsNoDamage(t *testing.T) {
	f := setup(t, Options{})
	newer := func(key string) { f.must(f.rdb.HSet(f.ctx, key, "v", job.Version+1).Err()) }
	f.create("a", everyMinute())
	f.create("b", everyMinute())
	f.must(f.rdb.ZRem(f.ctx, f.keys.due(), "a").Err())
	f.must(f.rdb.ZRem(f.ctx, f.keys.jobs(), "b").Err())
	newer(f.keys.job("a"))
	newer(f.keys.job("b"))
	f.create("c", everyMinute())
	asleep, closed, later := f.runNow("c"), f.runNow("c"), f.runNow("c")
	f.must(f.rdb.ZRem(f.ctx, f.keys.wake(), "r:"+asleep).Err())
	f.must(f.rdb.SRem(f.ctx, f.keys.open(), "r:"+closed).Err())
	newer(f.keys.run(asleep))
	newer(f.keys.run(closed))
	f.must(f.rdb.HSet(f.ctx, f.keys.run(later), "notBefore", int64(f.now())+7200_000).Err())
	f.zadd(f.keys.wake(), f.now()+7200_000, "r:"+later)
	f.zadd(f.keys.wake(), f.now()+5000, "y:"+f.delivery("e")+":1") // of a kind of a newer release
	before := dump(f)
	if repaired, bad := f.scan(10); len(repaired)+len(bad) != 0 {
		t.Errorf("repaired %v, unreadable %v", repaired, bad)
	}
	if d := cmp.Diff(before, dump(f)); d != "" {
		t.Error(d)
	}

	run := f.delivery("d")
	b := f.beginDelivery(run)
	f.sendEnd(run, b, 0, job.SendEnd{Result: job.PartFailed})
	_, err := f.Redeliver(f.ctx, run)
	f.must(err)
	f.must(f.rdb.Del(f.ctx, f.keys.delivery(run+":1")).Err())
	f.must(f.rdb.SAdd(f.ctx, f.keys.open(), "d:"+run+":1").Err())
	f.scan(10)
	if state := f.rdb.HGet(f.ctx, f.keys.run(run), "delivery").Val(); state != "pending" {
		t.Errorf("the second delivery is %s", state)
	}
}

// A list that is far longer than a page is gone over whole, and in pages.
func TestScanCoversManyPages(t *testing.T) {
	f := setup(t, Options{})
	f.create("like", everyMinute())
	hash, err := f.rdb.HGetAll(f.ctx, f.keys.job("like")).Result()
	f.must(err)
	const n, page = 3000, 100
	_, err = f.rdb.Pipelined(f.ctx, func(p redis.Pipeliner) error {
		for i := range n {
			p.HSet(f.ctx, f.keys.job(id(i)), hash)
			p.ZAdd(f.ctx, f.keys.jobs(), redis.Z{Score: float64(i + 1), Member: id(i)})
			p.SAdd(f.ctx, f.keys.open(), fmt.Sprint("r:gone-", i))
		}
		return nil
	})
	f.must(err)
	p, err := f.Repair(f.ctx, job.IndexJobs, "", page)
	f.must(err)
	if p.Next == "" || len(p.Repaired) == 0 || len(p.Repaired) > 2*page {
		t.Errorf("the first page repaired %d, the next is %q", len(p.Repaired), p.Next)
	}
	repaired, _ := f.scan(page)
	if got := len(repaired) + len(p.Repaired); got != 2*n {
		t.Errorf("%d of %d were repaired", got, 2*n)
	}
}

// A delivery whose record is gone is not pending for ever.
func TestLostDeliveryIsUnknown(t *testing.T) {
	f := setup(t, Options{})
	run, other := f.delivery("a"), f.delivery("b")
	f.must(f.rdb.HSet(f.ctx, f.keys.run(other), "deliveries", 2).Err())
	f.must(f.rdb.SAdd(f.ctx, f.keys.open(), "d:"+other+":3").Err()) // not the one that it waits for
	f.must(f.rdb.Del(f.ctx, f.keys.delivery(run+":1")).Err())
	f.zadd(f.keys.wake(), 1, "d:"+run+":1")
	f.look()
	repaired, _ := f.scan(10)
	if d := cmp.Diff([]string{"open_orphan d:" + run + ":1", "open_orphan d:" + other + ":3"}, repaired); d != "" {
		t.Error(d)
	}
	if a, b := f.record(run).DeliveryState, f.record(other).DeliveryState; a != job.DeliveryUnknown || b != job.DeliveryPending {
		t.Errorf("the lost one is %s, the other %s", a, b)
	}
	if _, err := f.Redeliver(f.ctx, run); !errors.Is(err, job.ErrNoTarget) {
		t.Errorf("redeliver: %v", err) // its job names no chat
	}
}

// Damage to a lease leads to an end, not into the quarantine.
func TestRunWithoutALeaseIsTakenOver(t *testing.T) {
	f := setup(t, Options{})
	run := f.begun("a", everyMinute()).Run.ID
	key, member := f.keys.run(run), "r:"+run
	f.must(f.rdb.HDel(f.ctx, key, "leaseUntil").Err())
	f.zadd(f.keys.wake(), 1, member)
	if c := f.look(); len(c) != 0 {
		t.Fatalf("the first look carried %v", c)
	}
	f.age(key, member, 7*time.Second)
	if c := f.look(); len(c) != 1 {
		t.Fatalf("the second look carried %v", c)
	}
	f.commit(f.begin(run), "x")
}

func TestUnreadableJobs(t *testing.T) {
	f := setup(t, Options{})
	f.everyState()
	spoil := map[string]func(key string) error{
		"uid is missing":                      func(key string) error { return f.rdb.HDel(f.ctx, key, "uid").Err() },
		"session is missing":                  func(key string) error { return f.rdb.HDel(f.ctx, key, "session").Err() },
		`misfireGrace is not a number: ""`:    func(key string) error { return f.rdb.HDel(f.ctx, key, "misfireGrace").Err() },
		`rev is not a number: "x"`:            func(key string) error { return f.rdb.HSet(f.ctx, key, "rev", "x").Err() },
		`nextSlot is not a number: "soon"`:    func(key string) error { return f.rdb.HSet(f.ctx, key, "nextSlot", "soon").Err() },
		`maxRuns is not a number: "many"`:     func(key string) error { return f.rdb.HSet(f.ctx, key, "maxRuns", "many").Err() },
		"read the stored schedule: ":          func(key string) error { return f.rdb.HSet(f.ctx, key, "schedule", "often").Err() },
		"WRONGTYPE Operation against a key h": func(key string) error { return f.rdb.Set(f.ctx, key, "no hash", 0).Err() },
	}
	want, n := map[string]string{}, 0
	for reason, do := range spoil {
		n++
		f.create(id(n), everyMinute())
		f.must(do(f.keys.job(id(n))))
		f.must(f.rdb.ZRem(f.ctx, f.keys.due(), id(n)).Err()) // that must not matter
		want["job:"+id(n)] = reason
	}
	repaired, bad := f.scan(5)
	for _, b := range bad {
		if !strings.HasPrefix(b.Reason, want[b.Entry]) || want[b.Entry] == "" {
			t.Errorf("%s: %s, want %s", b.Entry, b.Reason, want[b.Entry])
		}
		delete(want, b.Entry)
	}
	if len(want) != 0 {
		t.Errorf("not found: %v", want)
	}
	for _, r := range repaired {
		if !strings.HasPrefix(r, "due_missing ") {
			t.Errorf("an unreadable job was mended: %s", r)
		}
	}
	if jobs, _, err := f.FindJobs(f.ctx, job.JobFilter{}, "", 100); err != nil || len(jobs) < 10 {
		t.Errorf("beside unreadable jobs %d are listed, %v", len(jobs), err)
	}
}
