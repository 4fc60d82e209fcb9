package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// historyJob is a job of history, each of another agent or session.
func historyJob(id string) job.Spec {
	spec := everyMinute()
	switch id {
	case "b":
		spec.AgentID = "other"
	case "c":
		spec.SessionKey = "agent:main:talk"
	}
	return spec
}

// history makes runs of every kind, each as it comes about, and answers them.
func (f *fixture) history() (all []job.Run) {
	f.t.Helper()
	f.create("a", historyJob("a"))
	for _, end := range []func(job.Begun){
		func(b job.Begun) { f.commit(b, "x") },
		func(b job.Begun) { f.fail(b, job.RetryNever, 0) },
		func(b job.Begun) { f.fail(b, job.RetryFree, time.Hour) },
		func(job.Begun) {},
	} {
		_, run, err := f.RunJob(f.ctx, "a")
		f.must(err)
		b := f.begin(run)
		if b.Verdict == job.BeginOK {
			end(b)
		}
	}
	f.begun("b", historyJob("b"))
	j := f.create("c", historyJob("c"))
	f.rewind("c", f.minute(-3))
	moved, err := f.Collapse(f.ctx, job.Collapse{JobID: "c", UID: j.UID, Revision: j.Revision, Seen: f.minute(-3),
		First: f.minute(-3), Last: f.minute(-1), Count: 3, Outcome: job.Missed, Reason: job.ReasonStale, Next: f.minute(1), NextDue: f.minute(1)})
	f.must(err)
	if !moved {
		f.t.Fatal("nothing was collapsed")
	}
	for _, id := range []string{"a", "b", "c"} {
		all = append(all, f.runs(id)...)
	}
	return all
}

// runPicks says what a filter means, its bounds aside.
func runPicks(f job.RunFilter, r job.Run) bool {
	of := historyJob(r.JobID)
	return (f.AgentID == "" || f.AgentID == of.ResolveAgent()) && (f.SessionKey == "" || f.SessionKey == of.ResolveSession(r.JobID)) &&
		(f.JobID == "" || f.JobID == r.JobID) && (f.Outcome == "" || f.Outcome == r.Outcome) &&
		(f.Delivery == "" || f.Delivery == r.DeliveryState) && (f.Trigger == "" || f.Trigger == r.Trigger) && (f.State == "" || f.State == r.State) &&
		(f.Match == "" || strings.HasPrefix(r.ID, f.Match))
}

// TestRunFilters asks for every combination that a run here can have.
func TestRunFilters(t *testing.T) {
	f := setup(t, Options{})
	all := f.history()
	seen := map[job.Outcome]bool{}
	for _, like := range all {
		seen[like.Outcome] = true
		for bits := range 256 {
			filter := job.RunFilter{}
			if bits&16 != 0 {
				filter.JobID = like.JobID
			}
			if bits&1 != 0 {
				filter.Outcome = like.Outcome
			}
			if bits&2 != 0 {
				filter.Delivery = like.DeliveryState
			}
			if bits&4 != 0 {
				filter.Trigger = like.Trigger
			}
			if bits&8 != 0 {
				filter.State = like.State
			}
			if bits&32 != 0 {
				filter.AgentID = historyJob(like.JobID).ResolveAgent()
			}
			if bits&64 != 0 {
				filter.SessionKey = historyJob(like.JobID).ResolveSession(like.JobID)
			}
			if bits&128 != 0 {
				filter.Match = like.ID[:len(like.ID)-1]
			}
			want, got := map[string]bool{}, map[string]bool{}
			for _, r := range all {
				if runPicks(filter, r) {
					want[r.ID] = true
				}
			}
			for cursor, first := "", true; cursor != "" || first; first = false {
				page, next, err := f.FindRuns(f.ctx, filter, cursor, 2)
				f.must(err)
				cursor = next
				for _, r := range page {
					if got[r.ID] {
						t.Fatalf("%+v finds %s twice", filter, r.ID)
					}
					got[r.ID] = true
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%+v: %s", filter, d)
			}
		}
	}
	if got := slices.Sorted(maps.Keys(seen)); len(got) != 4 { // unfinished, failed, missed, succeeded
		t.Errorf("the history has only the outcomes %q", got)
	}
}

func TestRunsBetweenTwoTimes(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	const runs = 9
	for i := range runs {
		run := fmt.Sprintf("a:manual:%d", i)
		f.must(f.rdb.HSet(f.ctx, f.keys.run(run), "state", "done", "job", "a").Err())
		f.must(f.rdb.ZAdd(f.ctx, f.keys.runs("a"), redis.Z{Score: float64(100_000 + 1000*i + i), Member: run}).Err())
	}
	for after := range job.Millis(runs + 2) {
		for before := range job.Millis(runs + 2) {
			filter := job.RunFilter{JobID: "a", After: 99 + after, Before: 99 + before}
			var got, want []string
			for i := runs - 1; i >= 0; i-- {
				if at := job.Millis(100 + i); at >= filter.After && at < filter.Before {
					want = append(want, fmt.Sprintf("a:manual:%d", i))
				}
			}
			for cursor, first := "", true; cursor != "" || first; first = false {
				page, next, err := f.FindRuns(f.ctx, filter, cursor, 2)
				f.must(err)
				cursor = next
				for _, r := range page {
					got = append(got, r.ID)
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("from %d, before %d: %s", filter.After, filter.Before, d)
			}
		}
	}
}

// ids of the runs of all jobs, newest first, by a walk.
func (f *fixture) allRuns(limit int) (ids []string) {
	f.t.Helper()
	for cursor, first := "", true; cursor != "" || first; first = false {
		page, next, err := f.FindRuns(f.ctx, job.RunFilter{}, cursor, limit)
		f.must(err)
		cursor = next
		for _, r := range page {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// TestAllRunsAreListedInTheOrderOfTheirRecords, whose jobs may be gone.
func TestAllRunsAreListedInTheOrderOfTheirRecords(t *testing.T) {
	f := setup(t, Options{HistoryPerJob: 3})
	var want []string
	for i := range 4 {
		for _, id := range []string{"a", "b"} {
			if i == 0 {
				f.create(id, everyMinute())
			}
			_, run, err := f.RunJob(f.ctx, id)
			f.must(err)
			f.commit(f.begin(run), "x")
			if i > 0 { // the first is trimmed from its job's history, and so from here
				want = append(want, run)
			}
		}
	}
	f.must(f.DeleteJob(f.ctx, "a"))
	slices.Reverse(want)
	for _, limit := range []int{1, 4, 100} {
		if d := cmp.Diff(want, f.allRuns(limit)); d != "" {
			t.Errorf("in pages of %d: %s", limit, d)
		}
	}
	if n := f.rdb.ZCard(f.ctx, f.keys.allRuns()).Val(); n != int64(len(want)) {
		t.Errorf("%d entries of %d records", n, len(want))
	}
}

// TestAWalkOverRunsWhileOthersComeAndGo finds those that stay once.
func TestAWalkOverRunsWhileOthersComeAndGo(t *testing.T) {
	f := setup(t, Options{HistoryPerJob: 3})
	run := func(id string) string {
		t.Helper()
		_, run, err := f.RunJob(f.ctx, id)
		f.must(err)
		f.commit(f.begin(run), "x")
		return run
	}
	var want []string
	for _, id := range []string{"a", "b", "c", "d"} {
		f.create(id, everyMinute())
		for range 3 {
			if r := run(id); id != "b" { // whose history moves on during the walk
				want = append(want, r)
			}
		}
	}
	slices.Reverse(want)
	var got []string
	for cursor, first := "", true; cursor != "" || first; first = false {
		page, next, err := f.FindRuns(f.ctx, job.RunFilter{Outcome: job.Succeeded}, cursor, 2)
		f.must(err)
		cursor = next
		for _, r := range page {
			if r.JobID != "b" {
				got = append(got, r.ID)
			}
		}
		run("b")
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestARangeThatGrowsMovesToTheFront(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("c", everyMinute())
	collapse := func(n int) {
		t.Helper()
		f.rewind("c", f.minute(n))
		moved, err := f.Collapse(f.ctx, job.Collapse{JobID: "c", UID: j.UID, Revision: j.Revision, Seen: f.minute(n), First: f.minute(n),
			Last: f.minute(n), Count: 1, Outcome: job.Missed, Reason: job.ReasonStale, Next: f.minute(1), NextDue: f.minute(1)})
		f.must(err)
		if !moved {
			t.Fatal("nothing was collapsed")
		}
	}
	collapse(-3)
	f.begun("a", everyMinute())
	collapse(-2)
	if got := f.allRuns(10); len(got) != 2 || got[0] != job.RunID("c", f.minute(-3)) {
		t.Errorf("listed: %q", got)
	}
}

func TestTheListOfAllRunsIsCapped(t *testing.T) {
	f := setup(t, Options{Retention: time.Hour})
	now := int64(f.now()) * 1000
	entries := []redis.Z{{Score: float64(now - 2*time.Hour.Microseconds()), Member: "old"}}
	const most = 20_000
	for i := range most + 31 { // it is looked after when it has 64n+1
		entries = append(entries, redis.Z{Score: float64(now - 2*most + int64(i)), Member: strconv.Itoa(i)})
	}
	f.must(f.rdb.ZAdd(f.ctx, f.keys.allRuns(), entries...).Err())
	for range 3 { // the first puts out what is too much
		f.begun(newToken(), everyMinute())
	}
	ids := f.rdb.ZRange(f.ctx, f.keys.allRuns(), 0, -1).Val()
	if len(ids) != most+2 || ids[0] != "32" {
		t.Errorf("%d entries, the oldest %q", len(ids), ids[0])
	}
	if ttl := f.rdb.PTTL(f.ctx, f.keys.allRuns()).Val(); ttl <= 0 || ttl > time.Hour {
		t.Errorf("it goes after %s", ttl)
	}
}

func TestADamagedListOfAllRunsStopsNothing(t *testing.T) {
	f := setup(t, Options{HistoryPerJob: 1})
	f.must(f.rdb.Set(f.ctx, f.keys.allRuns(), "x", 0).Err())
	f.create("a", everyMinute())
	for range 3 {
		_, run, err := f.RunJob(f.ctx, "a")
		f.must(err)
		f.commit(f.begin(run), "x")
	}
	if n := len(f.runs("a")); n != 1 {
		t.Errorf("%d records of the job", n)
	}
}

func TestRunsOfNoJob(t *testing.T) {
	f := setup(t, Options{})
	for _, filter := range []job.RunFilter{{JobID: "a"}, {JobID: "a", Outcome: job.Failed}, {JobID: "a", After: 1}} {
		if _, _, err := f.FindRuns(f.ctx, filter, "", 10); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("%+v of no job: %v", filter, err)
		}
	}
	f.begun("a", everyMinute())
	f.must(f.DeleteJob(f.ctx, "a"))
	for _, filter := range []job.RunFilter{{JobID: "a"}, {JobID: "a", Outcome: job.Failed}, {JobID: "a", Before: 1}} {
		if _, _, err := f.FindRuns(f.ctx, filter, "", 10); err != nil {
			t.Errorf("%+v of a job that is gone: %v", filter, err)
		}
	}
}
