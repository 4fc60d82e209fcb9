package store

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// quarantine registers entries and answers those that are new.
func (f *fixture) quarantine(bad ...job.Unreadable) []job.Unreadable {
	f.t.Helper()
	entered, err := f.Quarantine(f.ctx, bad)
	f.must(err)
	return entered
}

// forget makes the last try of every registered record older than the quiet time.
func (f *fixture) forget() {
	f.t.Helper()
	for _, q := range f.repairs().Quarantined {
		f.must(f.rdb.HSet(f.ctx, f.keys.quarantine(), q.Entry,
			fmt.Sprintf(`{"since":%d,"last":%d,"reason":%q}`, q.Since, int64(q.Last)-quietFor.Milliseconds()-1000, q.Reason)).Err())
	}
}

// release answers what left the register.
func (f *fixture) release() []string {
	f.t.Helper()
	released, left, err := f.Release(f.ctx)
	f.must(err)
	if n := len(f.repairs().Quarantined); n != left {
		f.t.Errorf("%d are said to be left, and %d are", left, n)
	}
	var names []string
	for _, q := range released {
		names = append(names, q.Entry)
	}
	return names
}

func TestQuarantineIsEnteredOnce(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	f.must(f.rdb.HSet(f.ctx, f.keys.job("a"), "schedule", "often").Err())
	bad := []job.Unreadable{{Entry: "job:a", Reason: "one"}, {Entry: "job:a", Reason: "two"}, {Entry: "d:x:1", Reason: "three"}}
	if d := cmp.Diff([]job.Unreadable{bad[0], bad[2]}, f.quarantine(bad...)); d != "" {
		t.Errorf("entered: %s", d)
	}
	first := f.repairs().Quarantined
	if len(first) != 2 || first[1].Entry != "job:a" || first[1].Reason != "two" || first[1].Since == 0 || first[1].Last < first[1].Since {
		t.Fatalf("registered %+v", first)
	}
	f.forget()
	if entered := f.quarantine(bad[0]); len(entered) != 0 {
		t.Errorf("entered again: %v", entered)
	}
	again := f.repairs().Quarantined
	if again[1].Since != first[1].Since || again[1].Last < first[1].Last {
		t.Errorf("registered %+v, before %+v", again, first)
	}
}

func TestQuarantineIsBounded(t *testing.T) {
	f := setup(t, Options{})
	var bad []job.Unreadable
	for i := range maxQuarantined + 5 {
		bad = append(bad, job.UnreadableJob(id(i), "x"))
	}
	if n := len(f.quarantine(bad...)); n != maxQuarantined {
		t.Errorf("%d entered", n)
	}
	if n := len(f.quarantine(bad...)); n != 0 {
		t.Errorf("%d entered a full register", n)
	}
	// None of these jobs exists: they all leave.
	if n := len(f.release()); n != maxQuarantined {
		t.Errorf("%d were released", n)
	}
}

func TestQuarantineIsLeft(t *testing.T) {
	f := setup(t, Options{})
	f.create("bad", everyMinute())
	f.create("mended", everyMinute())
	f.create("gone", everyMinute())
	f.must(f.rdb.HDel(f.ctx, f.keys.job("bad"), "uid").Err())
	_, stuck, err := f.RunJob(f.ctx, "mended")
	f.must(err)
	_, ended, err := f.RunJob(f.ctx, "mended")
	f.must(err)
	f.must(f.rdb.HSet(f.ctx, f.keys.run(stuck), "epoch", "x").Err())
	f.must(f.rdb.Set(f.ctx, f.keys.run("string"), "no hash", 0).Err())
	delivery := "d:" + f.delivery("delivers") + ":1"
	f.quarantine(job.UnreadableJob("bad", "x"), job.UnreadableJob("mended", "x"), job.UnreadableJob("gone", "x"),
		job.Unreadable{Entry: "r:" + stuck}, job.Unreadable{Entry: "r:" + ended}, job.Unreadable{Entry: "r:gone"},
		job.Unreadable{Entry: "r:string"}, job.Unreadable{Entry: delivery}, job.Unreadable{Entry: "d:gone:1"})
	f.must(f.rdb.HSet(f.ctx, f.keys.quarantine(), "job:garbled", "no json").Err())
	f.must(f.DeleteJob(f.ctx, "gone"))
	_, err = f.CancelRun(f.ctx, ended)
	f.must(err)

	got := f.release()
	want := map[string]bool{"job:gone": true, "job:garbled": true, "r:" + ended: true, "r:gone": true, "d:gone:1": true}
	if len(got) != len(want) {
		t.Errorf("released %v", got)
	}
	for _, entry := range got {
		if !want[entry] {
			t.Errorf("released %s", entry)
		}
	}
	// What nobody complained about for long reads again, but for a job that does not.
	f.forget()
	f.quarantine(job.Unreadable{Entry: "r:" + stuck})
	if got := f.release(); len(got) != 3 { // the job mended, the delivery, and the string that nothing looks at
		t.Errorf("released %v", got)
	}
	var left []string
	for _, q := range f.repairs().Quarantined {
		left = append(left, q.Entry+" "+q.Reason)
	}
	if d := cmp.Diff([]string{"job:bad uid is missing", "r:" + stuck + " "}, left); d != "" {
		t.Errorf("left: %s", d)
	}
}

// A run that cannot be read holds up neither its job nor its session.
func TestUnreadableRunStopsNobody(t *testing.T) {
	for name, spoil := range map[string]func(f *fixture, run string) error{
		"no hash":        func(f *fixture, run string) error { return f.rdb.Set(f.ctx, f.keys.run(run), "x", 0).Err() },
		"garbled":        func(f *fixture, run string) error { return f.rdb.HSet(f.ctx, f.keys.run(run), "epoch", "x").Err() },
		"without number": func(f *fixture, run string) error { return f.rdb.HDel(f.ctx, f.keys.run(run), "n").Err() },
		"without job":    func(f *fixture, run string) error { return f.rdb.HDel(f.ctx, f.keys.run(run), "job").Err() },
		"without state":  func(f *fixture, run string) error { return f.rdb.HDel(f.ctx, f.keys.run(run), "state").Err() },
		"odd state":      func(f *fixture, run string) error { return f.rdb.HSet(f.ctx, f.keys.run(run), "state", "?").Err() },
	} {
		for _, overlap := range []job.Overlap{job.OverlapSkip, job.OverlapCancelPrevious} {
			t.Run(name+" "+string(overlap), func(t *testing.T) {
				f := setup(t, Options{HistoryPerJob: 1})
				spec := everyMinute()
				spec.SessionKey, spec.Overlap = "shared", overlap
				first := f.begun("a", spec)
				f.create("b", spec)
				_, parked, err := f.RunJob(f.ctx, "b")
				f.must(err)
				if b := f.begin(parked); b.Verdict != job.BeginParked {
					t.Fatalf("begin: %s", b.Verdict)
				}
				f.must(spoil(f, first.Run.ID))
				f.must(f.rdb.HSet(f.ctx, f.keys.looks(), "last", 1).Err())
				f.zadd(f.keys.wake(), 1, "r:"+first.Run.ID)
				_, bad, err := f.Look(f.ctx, 100)
				f.must(err)
				if name == "garbled" || name == "without number" || name == "without job" {
					// Its lease still counts: it is tried when that has run out.
					f.must(f.rdb.HSet(f.ctx, f.keys.run(first.Run.ID), "leaseUntil", 1, "deadEpoch",
						f.rdb.HGet(f.ctx, f.keys.run(first.Run.ID), "epoch").Val()).Err())
					f.zadd(f.keys.wake(), 1, "r:"+first.Run.ID)
					_, bad, err = f.Look(f.ctx, 100)
					f.must(err)
				}
				if len(bad) != 1 || bad[0].Entry != "r:"+first.Run.ID {
					t.Fatalf("unreadable: %v", bad)
				}
				f.quarantine(bad...)

				// The session goes on, with who waited first, and so does the job.
				f.zadd(f.keys.wake(), 1, "r:"+parked)
				if c := f.look(); len(c) != 1 || c[0].ID != parked {
					t.Fatalf("carried %v", c)
				}
				f.commit(f.begin(parked), "x")
				slot := f.minute(0) + 60_000
				f.rewind("a", slot-120_000)
				b := f.claim(first.Job, slot-120_000, "t2")
				if b.Verdict != job.BeginOK {
					t.Fatalf("claim: %s", b.Verdict)
				}
				f.commit(b, "y")
			})
		}
	}
}

// Nor is it in the way when everything is stopped, or of the end that it waits for.
func TestUnreadableRunIsPassedOver(t *testing.T) {
	f := setup(t, Options{})
	first, next := f.overlapping("a", job.OverlapQueueOne)
	if v := f.claim(f.job("a"), next, "t2").Verdict; v != job.BeginParked {
		t.Fatalf("claim: %s", v)
	}
	f.must(f.rdb.HSet(f.ctx, f.keys.run(job.RunID("a", next)), "n", "x").Err())
	f.commit(first, "x")

	var runs []string
	for n := range 3 {
		runs = append(runs, f.begun(id(n), everyMinute()).Run.ID)
	}
	f.must(f.rdb.Set(f.ctx, f.keys.run(runs[0]), "no hash", 0).Err())
	f.must(f.rdb.HDel(f.ctx, f.keys.run(runs[1]), "attempt").Err())
	f.pause("")
	if _, err := f.CancelPaused(f.ctx); err != nil {
		t.Error(err)
	}
	if r := f.record(runs[2]); r.Outcome != job.Cancelled {
		t.Errorf("a run beside unreadable ones is %s", r.State)
	}
}

// Carriers of what cannot begin would fail for ever: it is said what is wrong instead.
func TestWhatCannotBeginIsNotCarried(t *testing.T) {
	for _, tc := range []struct{ spoil, field, value, reason string }{
		{"run", "n", "", "n is not a number: nil"},
		{"run", "epoch", "x", "epoch is not a number: x"},
		{"run", "attempt", "", "attempt is not a number: nil"},
		{"run", "retries", "", "retries is not a number: nil"},
		{"run", "notBefore", "", "notBefore is not a number: nil"},
		{"run", "job", "", "its job is not named"},
		{"run", "uid", "", "its job is not named"},
		{"run", "state", "", "it has no state"},
		{"run", "state", "?", "its state is ?"},
		{"job", "session", "", "its job has no session"},
		{"delivery", "createdAt", "", "createdAt is not a number: nil"},
		{"delivery", "retries", "x", "retries is not a number: x"},
		{"parked", "n", "x", "n is not a number: x"},
	} {
		t.Run(tc.spoil+" "+tc.field+" "+tc.value, func(t *testing.T) {
			f := setup(t, Options{})
			f.create("a", everyMinute())
			_, run, err := f.RunJob(f.ctx, "a")
			f.must(err)
			_, parked, err := f.RunJob(f.ctx, "a")
			f.must(err)
			delivery := f.delivery("b") + ":1"
			key, member := f.keys.run(run), "r:"+run
			switch tc.spoil {
			case "job":
				key = f.keys.job("a")
			case "delivery":
				key, member = f.keys.delivery(delivery), "d:"+delivery
				f.must(f.rdb.HSet(f.ctx, key, "notBefore", 1).Err())
			case "parked":
				f.begin(run)
				f.begin(parked)
				key, member = f.keys.run(parked), "r:"+parked
			}
			if tc.value == "" {
				f.must(f.rdb.HDel(f.ctx, key, tc.field).Err())
			} else {
				f.must(f.rdb.HSet(f.ctx, key, tc.field, tc.value).Err())
			}
			f.zadd(f.keys.wake(), 1, member)
			c, bad, err := f.Look(f.ctx, 10)
			f.must(err)
			if d := cmp.Diff([]job.Unreadable{{Entry: member, Reason: tc.reason}}, bad); d != "" || len(c) != 0 {
				t.Errorf("carried %v, unreadable: %s", c, d)
			}
		})
	}
}

// Damaged history is trimmed like any other.
func TestTrimmingDropsWhatCannotBeRead(t *testing.T) {
	f := setup(t, Options{HistoryPerJob: 1})
	f.create("a", everyMinute())
	for range 3 {
		_, run, err := f.RunJob(f.ctx, "a")
		f.must(err)
		f.commit(f.begin(run), "x")
		f.must(f.rdb.HSet(f.ctx, f.keys.run(run), "deliveries", "x").Err())
	}
	if n := f.rdb.ZCard(f.ctx, f.keys.runs("a")).Val(); n != 1 {
		t.Errorf("%d records are kept", n)
	}
}

// Nor does one that waits in a session keep its holder from ending.
func TestUnreadableRunInTheQueueStopsNobody(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.SessionKey = "shared"
	holder := f.begun("a", spec)
	var parked []string
	for n := range 3 {
		f.create(id(n), spec)
		_, run, err := f.RunJob(f.ctx, id(n))
		f.must(err)
		f.begin(run)
		parked = append(parked, run)
	}
	f.must(f.rdb.Set(f.ctx, f.keys.run(parked[0]), "no hash", 0).Err())
	f.must(f.rdb.HSet(f.ctx, f.keys.run(parked[1]), "n", "x").Err())
	carriers := f.commit(holder, "x")
	if len(carriers) != 1 || carriers[0].ID != parked[2] {
		t.Errorf("the session went on with %v, want %s", carriers, parked[2])
	}
	f.commit(f.begin(parked[2]), "y")
}

// A run whose job cannot be read waits without holding anybody up, and goes on when
// the job reads again.
func TestRunOfAnUnreadableJob(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	hash, err := f.rdb.HGetAll(f.ctx, f.keys.job("a")).Result()
	f.must(err)
	_, run, err := f.RunJob(f.ctx, "a")
	f.must(err)
	f.must(f.rdb.Set(f.ctx, f.keys.job("a"), "no hash", 0).Err())
	f.zadd(f.keys.wake(), 1, "r:"+run)
	c, bad, err := f.Look(f.ctx, 10)
	f.must(err)
	if len(c) != 0 || len(bad) != 1 || bad[0].Reason != "its job cannot be read" {
		t.Fatalf("carried %v, unreadable %v", c, bad)
	}
	f.must(f.rdb.Del(f.ctx, f.keys.job("a")).Err())
	f.must(f.rdb.HSet(f.ctx, f.keys.job("a"), hash).Err())
	f.zadd(f.keys.wake(), 1, "r:"+run)
	if c := f.look(); len(c) != 1 {
		t.Fatalf("carried %v", c)
	}
	b := f.begin(run)
	f.must(f.rdb.Set(f.ctx, f.keys.job("a"), "no hash", 0).Err())
	f.must(f.rdb.HSet(f.ctx, f.keys.run(run), "a1", "no json").Err())
	f.commit(b, "what was paid for is kept")
	if r := f.record(run); r.Outcome != job.Succeeded {
		t.Errorf("run %+v", r)
	}
}
