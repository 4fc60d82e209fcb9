package scheduler

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// repairs is the repair of a scheduler that is the emitter.
func (f *fixture) repairs() *repairer {
	f.t.Helper()
	r := f.scheduler().repair
	r.emitter = func() bool { return true }
	return r
}

func (f *fixture) report() job.Repairs {
	f.t.Helper()
	r, err := f.Repairs(f.ctx)
	f.must(err)
	return r
}

func TestLostJobIsEmittedAgain(t *testing.T) {
	f := setup(t)
	w, _ := f.emitter()
	r := f.repairs()
	f.create("lost")
	f.create("fine")
	slot := f.minute(0)
	f.put("lost", slot)
	f.must(f.rdb.ZRem(f.ctx, f.due(), "lost").Err())
	f.refresh(w)
	if f.hasTaskOf("lost") {
		t.Fatal("emitted without an entry in the index")
	}
	f.must(r.run(f.ctx))
	f.refresh(w)
	if f.runTasks()[job.RunID("lost", slot)] == nil {
		t.Error("the slot of a job that was missing from the index is not emitted")
	}
	f.must(r.run(f.ctx))
	if n := f.logs.count("level=WARN", "damage repaired", "kind=due_missing", "id=lost"); n != 1 {
		t.Errorf("reported %d times", n)
	}
	if d := cmp.Diff(map[job.Damage]int64{job.DueMissing: 1}, f.report().Counts); d != "" {
		t.Errorf("counts: %s", d)
	}
}

func TestStuckRunsAndDeliveriesGoOnToTheirEnd(t *testing.T) {
	f := setup(t)
	s := f.scheduler()
	r := f.repairs()
	run, delivered := f.unfinish()
	f.create("behind", func(s *job.Spec) { s.SessionKey = "shared" })
	f.create("ahead", func(s *job.Spec) { s.SessionKey = "shared" })
	_, ahead, err := f.RunJob(f.ctx, "ahead")
	f.must(err)
	_, behind, err := f.RunJob(f.ctx, "behind")
	f.must(err)
	holder, err := f.Begin(f.ctx, ahead, "t", "w")
	f.must(err)
	if b, err := f.Begin(f.ctx, behind, "t", "w"); err != nil || b.Verdict != job.BeginParked {
		t.Fatalf("%+v, %v", b, err)
	}

	// The whole list is lost.
	f.must(f.rdb.Del(f.ctx, f.wake()).Err())
	f.must(r.run(f.ctx))
	if d := cmp.Diff(map[job.Damage]int64{job.RunStuck: 3, job.DeliveryStuck: 1}, f.report().Counts); d != "" {
		t.Errorf("counts: %s", d)
	}
	f.must(s.sweep.run(f.ctx))
	if a, b := f.state(f.queues.Run(), run+":0"), f.state(f.queues.Deliver(), delivered+":deliver:1:0"); a != "pending" || b != "pending" {
		t.Errorf("the carriers of what was stuck are %s and %s", a, b)
	}
	end := func(b job.Begun) {
		t.Helper()
		_, err := f.Commit(f.ctx, job.Commit{RunID: b.Run.ID, Epoch: b.Epoch, Token: "c", Reply: "x", Delivery: job.DeliveryNotRequested})
		f.must(err)
	}
	b, err := f.Begin(f.ctx, run, "t", "w")
	f.must(err)
	end(b)
	end(holder)
	f.wakeAll()
	f.must(s.sweep.run(f.ctx))
	b, err = f.Begin(f.ctx, behind, "t2", "w")
	f.must(err)
	end(b)
	d, err := f.BeginDelivery(f.ctx, delivered, 1, "t")
	f.must(err)
	if ended, err := f.SendEnd(f.ctx, job.SendEnd{RunID: delivered, N: 1, Epoch: d.Epoch, Result: job.PartDelivered, MessageID: "m"}); err != nil || !ended {
		t.Errorf("ended %v, %v", ended, err)
	}
	f.must(r.run(f.ctx))
	if n, err := f.rdb.Exists(f.ctx, f.wake(), "{"+prefix+"}:open").Result(); err != nil || n != 0 {
		t.Errorf("%d lists of unfinished are left when all has ended, %v", n, err)
	}
}

func TestScanIsBoundedAndGoesOn(t *testing.T) {
	f := setup(t)
	r := f.repairs()
	const most = repairPages * repairPage
	const n = most + 2*repairPage
	_, err := f.rdb.Pipelined(f.ctx, func(p redis.Pipeliner) error {
		for i := range n {
			p.ZAdd(f.ctx, "{"+prefix+"}:jobs", redis.Z{Score: float64(i + 1), Member: fmt.Sprint("gone-", i)})
		}
		return nil
	})
	f.must(err)
	f.must(r.run(f.ctx))
	first := f.report().Counts[job.JobOrphan]
	if first < most/2 || first >= n {
		t.Errorf("the first scan repaired %d of %d", first, n)
	}
	if a, b := f.logs.count("msg=\"damage repaired\"", "kind=job_orphan"), f.logs.count("more damage repaired", fmt.Sprint("count=", first-logged)); a != logged || b != 1 {
		t.Errorf("%d lines one by one and %d for the others", a, b)
	}
	f.must(r.run(f.ctx))
	f.must(r.run(f.ctx))
	if all := f.report().Counts[job.JobOrphan]; all != n {
		t.Errorf("three scans repaired %d of %d", all, n)
	}
}

// TestScanGetsToTheEnd of lists that are longer than one scan, and of which hardly
// anything is damaged.
func TestScanGetsToTheEnd(t *testing.T) {
	f := setup(t)
	r := f.repairs()
	const damaged, jobs = 200, checkPage + 50
	_, err := f.rdb.Pipelined(f.ctx, func(p redis.Pipeliner) error {
		for i := range repairPages*repairPage + 2*repairPage {
			p.ZAdd(f.ctx, f.wake(), redis.Z{Score: float64(f.now()) + 1e6, Member: fmt.Sprint("z:of a newer release-", i)})
		}
		for i := range damaged {
			run := fmt.Sprint("a:", i)
			p.HSet(f.ctx, "{"+prefix+"}:run:"+run, "v", job.Version, "state", "waiting", "notBefore", 1)
			p.ZAdd(f.ctx, f.wake(), redis.Z{Score: float64(f.now()) + 1e6, Member: "r:" + run})
		}
		for i := range jobs { // without a uid
			p.HSet(f.ctx, fmt.Sprintf("{%s}:job:bad-%d", prefix, i), "v", job.Version)
			p.ZAdd(f.ctx, "{"+prefix+"}:jobs", redis.Z{Score: float64(i + 1), Member: fmt.Sprint("bad-", i)})
		}
		return nil
	})
	f.must(err)
	for range 3 {
		f.must(r.run(f.ctx))
	}
	if rep := f.report(); rep.Counts[job.OpenMissing] != damaged || len(rep.Quarantined) != jobs {
		t.Errorf("three scans repaired %d of %d, and found %d of %d", rep.Counts[job.OpenMissing], damaged, len(rep.Quarantined), jobs)
	}
}

func TestOnlyTheEmitterScans(t *testing.T) {
	f := setup(t)
	r := f.scheduler().repair // holds no lease
	f.create("a")
	f.must(f.rdb.ZRem(f.ctx, f.due(), "a").Err())
	f.must(r.run(f.ctx))
	if f.look("a") != 0 {
		t.Error("a scheduler that is not the emitter repaired")
	}
}

func TestBrokenIndexStopsNoOther(t *testing.T) {
	f := setup(t)
	r := f.repairs()
	run, _ := f.unfinish()
	f.must(f.rdb.Set(f.ctx, f.due(), "no index", 0).Err())
	f.must(f.rdb.ZRem(f.ctx, f.wake(), "r:"+run).Err())
	if err := r.run(f.ctx); err == nil {
		t.Error("no error")
	}
	if n := f.report().Counts[job.RunStuck]; n != 1 {
		t.Errorf("%d runs were repaired beside a broken index", n)
	}
}

func TestHealthyWorkIsNoDamage(t *testing.T) {
	f := setup(t)
	w, _ := f.emitter()
	r := f.repairs()
	s := f.scheduler().sweep
	f.unfinish()
	f.create("due")
	f.put("due", f.minute(0))
	for range 3 {
		f.refresh(w)
		f.wakeAll()
		f.must(s.run(f.ctx))
		f.must(r.run(f.ctx))
	}
	if rep := f.report(); len(rep.Counts)+len(rep.Quarantined) != 0 || f.logs.count("level=WARN")+f.logs.count("level=ERROR") != 0 {
		t.Errorf("repaired %+v, logged %q", rep, f.logs.lines)
	}
}

// TestQuarantine: what cannot be read is reported once by whoever meets it first, is
// tried again, stops nobody else, and is reported when it reads again.
func TestQuarantine(t *testing.T) {
	f := setup(t)
	w, _ := f.emitter()
	r := f.repairs()
	s := f.scheduler().sweep
	run, delivered := f.unfinish()
	f.create("good")
	for _, id := range []string{"string", "no-zone", "no-uid"} {
		f.create(id)
		f.put(id, f.minute(0))
	}
	f.put("good", f.minute(0))
	f.must(f.rdb.Set(f.ctx, f.key("job", "string"), "no hash", 0).Err())
	f.must(f.rdb.HSet(f.ctx, f.key("job", "no-zone"), "timezone", "Atlantis").Err())
	f.must(f.rdb.HDel(f.ctx, f.key("job", "no-uid"), "uid").Err())
	f.must(f.rdb.HDel(f.ctx, f.key("run", run), "epoch").Err())
	round := func() {
		t.Helper()
		for _, id := range []string{"no-zone", "no-uid"} {
			f.index(id, f.now()-5000)
		}
		f.wakeAll()
		f.refresh(w)
		f.must(s.run(f.ctx))
		f.must(r.run(f.ctx))
	}
	for range 3 {
		round()
	}
	entries := []string{"job:string", "job:no-zone", "job:no-uid", "r:" + run}
	for _, entry := range entries {
		if n := f.logs.count("level=ERROR", "record cannot be read", "entry="+entry+" "); n != 1 {
			t.Errorf("%s was reported %d times in three rounds", entry, n)
		}
	}
	if n := len(f.report().Quarantined); n != len(entries) {
		t.Errorf("%d are registered", n)
	}
	if !f.hasTaskOf("good") || f.state(f.queues.Deliver(), delivered+":deliver:1:0") != "pending" {
		t.Error("what can be read did not go on")
	}
	if f.hasTaskOf("no-uid") || f.hasTaskOf("no-zone") || f.state(f.queues.Run(), run+":0") != "none" {
		t.Error("what cannot be read was carried")
	}

	f.must(f.rdb.HSet(f.ctx, f.key("run", run), "epoch", 0).Err())
	f.must(f.rdb.HSet(f.ctx, f.key("job", "no-zone"), "timezone", "").Err())
	f.must(f.rdb.HSet(f.ctx, f.key("job", "no-uid"), "uid", "u").Err())
	f.must(f.rdb.Del(f.ctx, f.key("job", "string")).Err())
	round()
	if f.logs.count("level=INFO", "record left the quarantine", "entry=job:string ") != 1 || len(f.report().Quarantined) != 3 {
		t.Errorf("registered after the repair: %+v", f.report().Quarantined)
	}
	if !f.hasTaskOf("no-uid") || !f.hasTaskOf("no-zone") || f.state(f.queues.Run(), run+":0") != "pending" {
		t.Error("what reads again did not go on")
	}
	// The others leave when nobody has stumbled over them for a while.
	for _, entry := range entries[1:] {
		f.must(f.rdb.HSet(f.ctx, "{"+prefix+"}:quarantine", entry, `{"since":1,"last":1,"reason":"x"}`).Err())
	}
	round()
	for _, entry := range entries[1:] {
		if n := f.logs.count("level=INFO", "record left the quarantine", "entry="+entry+" "); n != 1 {
			t.Errorf("%s: %d reports of its release", entry, n)
		}
	}
	if left := f.report().Quarantined; len(left) != 0 {
		t.Errorf("left %+v", left)
	}
}

// TestAJobOfAnOlderReleaseIsListedWithItsOwner by a scan, which counts no damage: none is.
func TestAJobOfAnOlderReleaseIsListedWithItsOwner(t *testing.T) {
	f := setup(t)
	r := f.repairs()
	f.create("a")
	owned := "{" + prefix + "}:owned"
	want := f.rdb.ZRange(f.ctx, owned, 0, -1).Val()
	if len(want) != 2 {
		t.Fatalf("listed as %q", want)
	}
	f.must(f.rdb.Del(f.ctx, owned).Err())
	f.must(f.rdb.ZAdd(f.ctx, owned, redis.Z{Member: "j:main 0000000000000001 deleted"}).Err())
	f.must(r.run(f.ctx))
	if d := cmp.Diff(want, f.rdb.ZRange(f.ctx, owned, 0, -1).Val()); d != "" {
		t.Error(d)
	}
	if counts := f.report().Counts; len(counts) != 0 {
		t.Errorf("counted %v", counts)
	}
}
