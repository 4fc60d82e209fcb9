package store

import (
	"strings"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/clock"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// stepped is a store on a Redis whose clock can be set, which knows what it says now.
func stepped(t *testing.T, o clock.Options) (*fixture, *redistest.Server) {
	t.Helper()
	redistest.NeedClock(t)
	server := redistest.Start(t, redistest.WithClock())
	written.watch(t, server.Options())
	rdb := server.Client()
	f := &fixture{Store: New(rdb, Options{Clock: o}), t: t, rdb: rdb, ctx: t.Context()}
	f.now()
	return f, server
}

// TestAStepHoldsBeforeAnybodyHasNoticed: the first script that meets a clock that was set
// claims, passes, marks and judges nothing, and what is written goes by the right time.
func TestAStepHoldsBeforeAnybodyHasNoticed(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{366 * 24 * time.Hour, 2 * time.Hour, -2 * time.Hour} {
		f, server := stepped(t, clock.Options{})
		f.create("a", everyMinute())
		slot := f.minute(0)
		f.rewind("a", slot)
		under := f.begun("under-way", everyMinute())
		before := f.rdb.HGetAll(f.ctx, f.keys.job("a")).Val()
		right := f.now()
		server.SetClock(by)

		if b := f.claim(f.job("a"), slot, "t"); b.Verdict != job.BeginClockStep {
			t.Errorf("%s: claim: %s", by, b.Verdict)
		}
		j := f.job("a")
		moved, err := f.Collapse(f.ctx, job.Collapse{JobID: "a", UID: j.UID, Revision: j.Revision, Seen: slot, First: slot, Last: slot,
			Count: 1, Outcome: job.Missed, Reason: job.ReasonLate, Next: slot + 60_000, NextDue: slot + 60_000})
		f.must(err)
		f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: "a", At: slot}}))
		f.must(f.Postpone(f.ctx, []job.Later{{JobID: "a", Seen: slot, Look: slot + 60_000}}))
		if carriers := f.look(); moved || len(carriers) != 0 {
			t.Errorf("%s: passed %t, carried %v", by, moved, carriers)
		}
		if after := f.rdb.HGetAll(f.ctx, f.keys.job("a")).Val(); after["nextSlot"] != before["nextSlot"] || after["emitted"] != "" {
			t.Errorf("%s: the job is %v", by, after)
		}
		if look, _ := f.score(f.keys.due(), "a"); look != slot {
			t.Errorf("%s: the look moved by %d", by, look-slot)
		}

		// What is under way ends, and what is edited follows, by the right time.
		f.commit(under, "done")
		if r := f.record(under.Run.ID); (r.FinishedAt - right).Time().After(time.UnixMilli(60_000)) || r.FinishedAt < right-60_000 {
			t.Errorf("%s: it ended at %s", by, r.FinishedAt.Time())
		}
		if j := f.create("made", everyMinute()); j.NextSlot < right || j.NextSlot > right+120_000 {
			t.Errorf("%s: a job that is made meanwhile begins at %s", by, j.NextSlot.Time())
		}
		if f.HeldStep().By == 0 {
			t.Errorf("%s: a reading has not told of the step", by)
		}

		server.SetClock(0)
		if now := f.now(); f.HeldStep().By != 0 || now < right {
			t.Errorf("%s: held by %+v", by, f.HeldStep())
		}
		if b := f.claim(f.job("a"), slot, "t"); b.Verdict != job.BeginOK {
			t.Errorf("%s: claim afterwards: %s", by, b.Verdict)
		}
	}
}

// TestWhoOnlyBeatsFollowsTheClock: a process that asks for the time for nothing else, as a
// worker, finds out that the clock was set, and that it is right.
func TestWhoOnlyBeatsFollowsTheClock(t *testing.T) {
	t.Parallel()
	f, server := stepped(t, clock.Options{Hold: time.Nanosecond})
	f.create("a", job.Spec{Schedule: "0 * * * *", Enabled: true, Task: "x"})
	server.SetClock(3 * time.Hour)
	slot := f.job("a").NextSlot
	if b := f.claim(f.job("a"), slot, "t"); b.Verdict != job.BeginClockStep {
		t.Errorf("claim: %s", b.Verdict)
	}
	for range 2 { // it was set, and is still there
		f.must(f.Beat(f.ctx, job.Process{Role: "worker"}, time.Minute))
	}
	if b := f.claim(f.job("a"), slot, "t"); b.Verdict != job.BeginDropped { // it is hours late by then
		t.Errorf("claim afterwards: %s", b.Verdict)
	}
}

// TestStepIsToldToWhoBegins: it holds what the others hold, and is on record.
func TestStepIsToldToWhoBegins(t *testing.T) {
	t.Parallel()
	f, server := stepped(t, clock.Options{})
	server.SetClock(2 * time.Hour)
	f.now()
	held := f.HeldStep()
	for n, want := range []bool{true, false} {
		if noted, err := f.NoteStep(f.ctx, held); err != nil || noted != want {
			t.Errorf("note %d: %t %v", n, noted, err)
		}
	}
	late := &fixture{Store: New(f.rdb, Options{}), t: t, rdb: f.rdb, ctx: f.ctx}
	f.create("a", everyMinute())
	if off := late.now() - f.now(); off < -60_000 || off > 60_000 || late.HeldStep() != held {
		t.Errorf("whoever begins is %d ms off, held by %+v", off, late.HeldStep())
	}
	c, err := late.Clock(f.ctx)
	f.must(err)
	if c.Held != held || c.Last != held || !c.Check.Pending() || c.Check.Why != job.CheckClock {
		t.Errorf("%+v", c)
	}
	server.SetClock(0)
	f.now()
	if noted, err := f.NoteStep(f.ctx, f.HeldStep()); err != nil || !noted {
		t.Errorf("the end: %t %v", noted, err)
	}
	entries, _, err := f.Audit(f.ctx, "", "", 10)
	f.must(err)
	var actions []string
	for _, e := range entries {
		actions = append(actions, e.Action)
	}
	if got := strings.Join(actions, " "); got != "clock-right create clock-step" {
		t.Errorf("on record: %s", got)
	}
}

// TestStepThatLastsIsTheTime: what is due by it runs, and when it is taken back, what it has
// passed and not run comes when it is due.
func TestStepThatLastsIsTheTime(t *testing.T) {
	t.Parallel()
	f, server := stepped(t, clock.Options{Hold: time.Nanosecond})
	hourly := job.Spec{Schedule: "0 * * * *", Enabled: true, Task: "x"}
	f.create("passed", hourly)
	f.create("ran", hourly)
	at := f.now()/1000*1000 + 1800_000
	f.create("once", job.Spec{At: at, Enabled: true, Task: "x"})
	want := f.job("passed").NextSlot
	server.SetClock(3 * time.Hour)
	f.now()
	f.now() // it is still there
	if f.HeldStep().By != 0 {
		t.Fatalf("held by %+v", f.HeldStep())
	}
	last := want + 2*3600_000
	for _, id := range []string{"passed", "once"} {
		j := f.job(id)
		next, until := last+3600_000, last
		if id == "once" {
			next, until = 0, at
		}
		moved, err := f.Collapse(f.ctx, job.Collapse{JobID: id, UID: j.UID, Revision: j.Revision, Seen: j.NextSlot, First: j.NextSlot,
			Last: until, Count: 1, Outcome: job.Missed, Reason: job.ReasonStale, Next: next, NextDue: next})
		f.must(err)
		if !moved {
			t.Fatalf("%s is not passed", id)
		}
	}
	f.rewind("ran", last)
	f.commit(f.claim(f.job("ran"), last, "t"), "done")

	server.SetClock(0)
	f.now()
	f.now()
	f.must(f.StartCheck(f.ctx, job.CheckClock))
	c, err := f.Clock(f.ctx)
	f.must(err)
	check, moved := c.Check, []job.Repaired(nil)
	for range 2 { // the jobs, and those that have ended
		var some []job.Repaired
		check, some, err = f.CheckCursors(f.ctx, check, 100, "rules")
		f.must(err)
		moved = append(moved, some...)
	}
	if check.Pending() || check.Checked != 3 || check.Moved != 2 || len(moved) != 2 {
		t.Errorf("%+v, moved %v", check, moved)
	}
	for id, want := range map[string]job.Millis{"passed": want, "once": at, "ran": last + 3600_000} {
		look, _ := f.score(f.keys.due(), id)
		if j := f.job(id); id != "ran" && (j.NextSlot != want || look != want || j.LastSlot >= want) || id == "ran" && j.NextSlot < want-3540_000 {
			t.Errorf("%s: %s, looked at %s, last %s; want %s", id, j.NextSlot.Time(), look.Time(), j.LastSlot.Time(), want.Time())
		}
	}
}

// TestCursorThatWasPutBack: what is on record as missed and has not run, runs; what ran does
// not run again, and stops nobody.
func TestCursorThatWasPutBack(t *testing.T) {
	f := setup(t, Options{})
	slot := f.minute(0)
	f.create("missed", everyMinute())
	f.rewind("missed", slot)
	j := f.job("missed")
	_, err := f.Collapse(f.ctx, job.Collapse{JobID: j.ID, UID: j.UID, Revision: j.Revision, Seen: slot, First: slot, Last: slot,
		Count: 1, Outcome: job.Missed, Reason: job.ReasonLate, Next: slot + 60_000, NextDue: slot + 60_000})
	f.must(err)
	f.rewind("missed", slot)
	if b := f.claim(j, slot, "t"); b.Verdict != job.BeginOK || f.job("missed").NextSlot != slot+60_000 {
		t.Errorf("claim: %s", b.Verdict)
	}
	if r := f.record(job.RunID("missed", slot)); r.State != job.StateRunning || r.Outcome != "" {
		t.Errorf("run %+v", r)
	}

	f.commit(f.begun("ran", everyMinute()), "done")
	f.rewind("ran", slot)
	if b := f.claim(f.job("ran"), slot, "t2"); b.Verdict != job.BeginDone || f.job("ran").NextSlot != slot+60_000 {
		t.Errorf("claim of a slot that ran: %s, the cursor is at %s", b.Verdict, f.job("ran").NextSlot.Time())
	}
}

// TestCursorsFollowTheTimetable: those that stand at no slot, or beyond the next one, are put
// where they belong; all others stay.
func TestCursorsFollowTheTimetable(t *testing.T) {
	f := setup(t, Options{})
	hourly := job.Spec{Schedule: "0 * * * *", Enabled: true, Task: "x"}
	next := job.ToMillis(f.now().Time().Truncate(time.Hour).Add(time.Hour))
	const hour = 3600_000
	for _, c := range []struct {
		name   string
		cursor job.Millis
		fields []any
		want   job.Millis // after the repair, and after a check of all
	}{
		{"right", next, nil, next},
		{"beyond", next + 5*hour, nil, next},
		{"a year beyond", next + 365*24*hour, []any{"lastSlot", int64(next + 364*24*hour), "ranSlot", int64(next - hour)}, next},
		{"after what ran", next + 2*hour, []any{"ranSlot", int64(next + hour), "lastSlot", int64(next + hour)}, next + 2*hour},
		{"beyond what ran", next + 4*hour, []any{"ranSlot", int64(next + hour)}, next + 2*hour},
		{"passed by an old release", next + hour, []any{"lastSlot", int64(next), "ranSlot", ""}, next + hour},
		{"due", next - 2*hour, []any{"ranSlot", int64(next - 3*hour)}, next - 2*hour},
		{"at no slot, before the next", next - 60_000, []any{"lastSlot", int64(next - hour), "updatedAt", 1}, next},
		{"at no slot, after the one of today", next - 60_000, []any{"lastSlot", int64(next - 2*hour), "updatedAt", 1}, next - hour},
		{"at no slot, edited since", next - 60_000, []any{"lastSlot", int64(next - 2*hour)}, next},
		{"none", 0, nil, next},
		{"none, used", 0, []any{"maxRuns", 1, "claims", 1}, 0},
		{"none, not enabled", 0, []any{"enabled", 0}, 0},
	} {
		for n := range 2 {
			f.must(f.rdb.FlushDB(f.ctx).Err())
			f.create("a", hourly)
			f.rewind("a", c.cursor)
			if c.cursor == 0 {
				f.must(f.rdb.HDel(f.ctx, f.keys.job("a"), "nextSlot").Err())
				f.must(f.rdb.ZRem(f.ctx, f.keys.due(), "a").Err())
			}
			if len(c.fields) > 0 {
				f.must(f.rdb.HSet(f.ctx, f.keys.job("a"), c.fields...).Err())
			}
			if n == 0 {
				_, err := f.CheckJobs(f.ctx, "", 10)
				f.must(err)
			} else {
				_, _, err := f.CheckCursors(f.ctx, job.CursorCheck{Page: "0"}, 10, "r")
				f.must(err)
			}
			look, _ := f.score(f.keys.due(), "a")
			if got := f.job("a").NextSlot; got != c.want || look != c.want {
				t.Errorf("%s, %d: the cursor is at %s, looked at %s, want %s", c.name, n, got.Time(), look.Time(), c.want.Time())
			}
		}
	}
}
