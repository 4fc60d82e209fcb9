package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// manyJobs is more than one request looks at, so that a walk goes over that bound.
const manyJobs = maxExamined + 300

// someSpec is a job of few values, so that filters often meet.
func someSpec(t *rapid.T) job.Spec {
	s := everyMinute()
	s.Enabled = rapid.Bool().Draw(t, "enabled")
	s.AgentID = rapid.SampledFrom([]string{"", "main", "other"}).Draw(t, "agent")
	s.SessionKey = rapid.SampledFrom([]string{"", "agent:main:telegram:dm:1", "s"}).Draw(t, "session")
	if rapid.Bool().Draw(t, "chat") {
		s.Channel, s.ChatID = rapid.SampledFrom([]string{"telegram", "slack"}).Draw(t, "channel"), "1"
	}
	s.Labels = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "aa", "team:a"}), 0, 3, rapid.ID).Draw(t, "labels")
	return s
}

func someJobFilter(t *rapid.T) (f job.JobFilter) {
	if rapid.Bool().Draw(t, "by enabled") {
		f.Enabled = new(rapid.Bool().Draw(t, "want enabled"))
	}
	f.AgentID = rapid.SampledFrom([]string{"", "", "main", "other"}).Draw(t, "want agent")
	f.SessionKey = rapid.SampledFrom([]string{"", "", "", "agent:main:telegram:dm:1", "s"}).Draw(t, "want session")
	f.Channel = rapid.SampledFrom([]string{"", "", "telegram", "slack", "none"}).Draw(t, "want channel")
	f.Label = rapid.SampledFrom([]string{"", "", "a", "aa", "b"}).Draw(t, "want label")
	f.LastOutcome = rapid.SampledFrom([]job.Outcome{"", "", job.Failed, job.Succeeded}).Draw(t, "want outcome")
	f.NextAfter = rapid.SampledFrom([]job.Millis{0, 0, 1, 20}).Draw(t, "after")
	f.NextBefore = rapid.SampledFrom([]job.Millis{0, 0, 20, 30}).Draw(t, "before")
	return f
}

// picks says what a filter means, by the job instead of by its record.
func picks(f job.JobFilter, j job.Job) bool {
	return (f.Enabled == nil || *f.Enabled == j.Enabled) &&
		(f.AgentID == "" || f.AgentID == j.ResolveAgent()) &&
		(f.SessionKey == "" || f.SessionKey == j.ResolveSession(j.ID)) &&
		(f.Channel == "" || f.Channel == j.Channel) &&
		(f.Label == "" || slices.Contains(j.Labels, f.Label)) &&
		(f.LastOutcome == "" || f.LastOutcome == j.LastOutcome) &&
		(f.NextAfter == 0 || j.NextSlot >= f.NextAfter) &&
		(f.NextBefore == 0 || j.NextSlot != 0 && j.NextSlot < f.NextBefore)
}

// fill writes n jobs straight into the database: those given, and repeats of them among
// others that are like none of them, so that filters find little.
func (f *fixture) fill(n int, specs []job.Spec) {
	f.must(f.rdb.FlushDB(f.ctx).Err())
	outcomes := []job.Outcome{"", job.Failed, job.Succeeded}
	_, err := f.rdb.Pipelined(f.ctx, func(p redis.Pipeliner) error {
		for i := range n {
			spec := job.Spec{AgentID: "rare", Channel: "rare", ChatID: "1", Enabled: true}
			if i < len(specs) || (len(specs) > 0 && i%3 == 0) {
				spec = specs[i%len(specs)]
			}
			h := specFields(id(i), spec)
			h["uid"], h["nextSlot"], h["lastOutcome"] = "u", strconv.Itoa(10*(i%4)), string(outcomes[i%len(outcomes)])
			p.HSet(f.ctx, f.keys.job(id(i)), h)
			p.ZAdd(f.ctx, f.keys.jobs(), redis.Z{Score: float64(1000 + 7*i), Member: id(i)})
		}
		return nil
	})
	f.must(err)
}

// TestAWalkFindsWhatTheFilterPicks: each job once, those made, changed or deleted
// meanwhile aside.
func TestAWalkFindsWhatTheFilterPicks(t *testing.T) {
	f := setup(t, Options{})
	rapid.Check(t, func(t *rapid.T) {
		specs := rapid.SliceOfN(rapid.Custom(someSpec), 1, 12).Draw(t, "specs")
		f.fill(rapid.SampledFrom([]int{0, 1, 30, manyJobs}).Draw(t, "jobs"), specs)
		all, _, err := f.Jobs(f.ctx, "", manyJobs)
		f.must(err)
		filter := someJobFilter(t)
		touched := map[string]bool{}
		got := map[string]int{}
		limit := rapid.SampledFrom([]int{1, 7, 200}).Draw(t, "limit")
		if len(all) > 100 {
			limit = max(limit, 50) // a walk in ones over many says no more and takes long
		}
		for cursor, first := "", true; cursor != "" || first; first = false {
			var page []job.Job
			page, cursor, err = f.FindJobs(f.ctx, filter, cursor, limit)
			f.must(err)
			if len(page) > limit {
				t.Fatalf("a page of %d, asked for %d", len(page), limit)
			}
			for _, j := range page {
				got[j.ID]++
				if !picks(filter, j) {
					t.Fatalf("%+v finds %+v", filter, j)
				}
			}
			f.disturb(t, all, touched)
		}
		for _, j := range all {
			want := 0
			if picks(filter, j) {
				want = 1
			}
			if !touched[j.ID] && got[j.ID] != want {
				t.Fatalf("%+v finds %s %d times, want %d", filter, j.ID, got[j.ID], want)
			}
		}
	})
}

// disturb makes, changes or deletes a job, as others do between two pages.
func (f *fixture) disturb(t *rapid.T, all []job.Job, touched map[string]bool) {
	if len(all) == 0 {
		return
	}
	id := rapid.SampledFrom(all).Draw(t, "touched").ID
	switch rapid.IntRange(0, 3).Draw(t, "how") {
	case 0:
		return
	case 1:
		f.must(f.rdb.HSet(f.ctx, f.keys.job(id), "enabled", rapid.IntRange(0, 1).Draw(t, "flip"), "labels", "a b").Err())
	case 2:
		f.must(f.rdb.Del(f.ctx, f.keys.job(id)).Err())
		f.must(f.rdb.ZRem(f.ctx, f.keys.jobs(), id).Err())
	case 3:
		made := f.create("", everyMinute())
		id = made.ID
	}
	touched[id] = true
}

func TestASparseFilterLooksAtABoundedNumberOfJobs(t *testing.T) {
	f := setup(t, Options{})
	f.fill(manyJobs, nil)
	f.must(f.rdb.HSet(f.ctx, f.keys.job(id(manyJobs-1)), "labels", "needle").Err())
	page, next, err := f.FindJobs(f.ctx, job.JobFilter{Label: "needle"}, "", 50)
	f.must(err)
	if len(page) != 0 || next == "" {
		t.Fatalf("the first page has %d jobs, cursor %q", len(page), next)
	}
	page, next, err = f.FindJobs(f.ctx, job.JobFilter{Label: "needle"}, next, 50)
	f.must(err)
	if len(page) != 1 || page[0].ID != id(manyJobs-1) || next != "" {
		t.Fatalf("the second page has %d jobs, cursor %q", len(page), next)
	}
}

// TestFiltersFollowWhatHappens uses records as the scripts write them.
func TestFiltersFollowWhatHappens(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.Labels, spec.Channel, spec.ChatID = []string{"daily", "team:ops"}, "telegram", "7"
	f.create("a", spec)
	spec = everyMinute()
	spec.Enabled = false
	f.create("b", spec)
	b := f.begun("c", everyMinute())
	f.commit(b, "hello")
	next := f.job("a").NextSlot
	for name, tt := range map[string]struct {
		filter job.JobFilter
		want   []string
	}{
		"any":              {job.JobFilter{}, []string{"a", "b", "c"}},
		"enabled":          {job.JobFilter{Enabled: new(true)}, []string{"a", "c"}},
		"paused":           {job.JobFilter{Enabled: new(false)}, []string{"b"}},
		"default agent":    {job.JobFilter{AgentID: "main"}, []string{"a", "b", "c"}},
		"another agent":    {job.JobFilter{AgentID: "x"}, nil},
		"a derived key":    {job.JobFilter{SessionKey: "agent:main:telegram:dm:7"}, []string{"a"}},
		"its own key":      {job.JobFilter{SessionKey: "agent:main:cron:b"}, []string{"b"}},
		"channel":          {job.JobFilter{Channel: "telegram"}, []string{"a"}},
		"label":            {job.JobFilter{Label: "team:ops"}, []string{"a"}},
		"part of a label":  {job.JobFilter{Label: "team"}, nil},
		"last outcome":     {job.JobFilter{LastOutcome: job.Succeeded}, []string{"c"}},
		"next, from":       {job.JobFilter{NextAfter: next}, []string{"a", "c"}},
		"next, before":     {job.JobFilter{NextBefore: next}, nil},
		"next, in between": {job.JobFilter{NextAfter: next, NextBefore: next + 1}, []string{"a", "c"}},
		"two at once":      {job.JobFilter{Enabled: new(true), LastOutcome: job.Succeeded, Channel: "telegram"}, nil},
	} {
		jobs, cursor, err := f.FindJobs(f.ctx, tt.filter, "", 10)
		f.must(err)
		var got []string
		for _, j := range jobs {
			got = append(got, j.ID)
		}
		if d := cmp.Diff(tt.want, got); d != "" || cursor != "" {
			t.Errorf("%s: cursor %q, %s", name, cursor, d)
		}
	}
}

// outcomes of runs, each made as it comes about.
func (f *fixture) history() (all []job.Run) {
	f.t.Helper()
	f.create("a", everyMinute())
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
	f.begun("b", everyMinute())
	j := f.create("c", everyMinute())
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
	return (f.JobID == "" || f.JobID == r.JobID) && (f.Outcome == "" || f.Outcome == r.Outcome) &&
		(f.Delivery == "" || f.Delivery == r.DeliveryState) && (f.Trigger == "" || f.Trigger == r.Trigger) && (f.State == "" || f.State == r.State)
}

// TestRunFilters asks for every combination that a run here can have.
func TestRunFilters(t *testing.T) {
	f := setup(t, Options{})
	all := f.history()
	seen := map[job.Outcome]bool{}
	for _, like := range all {
		seen[like.Outcome] = true
		for bits := range 32 {
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
	for i := range most - 1 {
		entries = append(entries, redis.Z{Score: float64(now - most + int64(i)), Member: strconv.Itoa(i)})
	}
	f.must(f.rdb.ZAdd(f.ctx, f.keys.allRuns(), entries...).Err())
	for range 3 { // the first puts out what is past the retention
		f.begun(newToken(), everyMinute())
	}
	ids := f.rdb.ZRange(f.ctx, f.keys.allRuns(), 0, -1).Val()
	if len(ids) != most || ids[0] != "2" {
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

func TestCursorsOfOthersAreRefused(t *testing.T) {
	f := setup(t, Options{})
	for _, cursor := range []string{"x", "-1", "0", "1.5", "12345678901234567", " 1"} {
		_, _, jobsErr := f.FindJobs(f.ctx, job.JobFilter{Label: "a"}, cursor, 10)
		_, _, runsErr := f.FindRuns(f.ctx, job.RunFilter{JobID: "a"}, cursor, 10)
		for _, err := range []error{jobsErr, runsErr} {
			if invalid, ok := errors.AsType[*job.InvalidError](err); !ok || invalid.Problems[0].Field != "cursor" {
				t.Errorf("cursor %q: %v", cursor, err)
			}
		}
	}
}

// meanwhile does something after the first pipeline of a client.
type meanwhile struct {
	redis.Hook
	do func()
}

func (m *meanwhile) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (m *meanwhile) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (m *meanwhile) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if do := m.do; do != nil {
			m.do = nil
			do()
		}
		return err
	}
}

func TestAnAnswerFitsTheFilterWhateverChangesMeanwhile(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	f.create("b", everyMinute())
	hook := &meanwhile{do: func() { f.must(f.rdb.HSet(f.ctx, f.keys.job("a"), "enabled", 0).Err()) }}
	client := redis.NewClient(f.rdb.Options())
	defer client.Close()
	f.must(client.Ping(f.ctx).Err()) // the handshake is a pipeline, too
	client.AddHook(hook)
	jobs, _, err := New(client, Options{}).FindJobs(f.ctx, job.JobFilter{Enabled: new(true)}, "", 10)
	f.must(err)
	if len(jobs) != 1 || jobs[0].ID != "b" {
		t.Errorf("found %+v", jobs)
	}
}
