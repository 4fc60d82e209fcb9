package store

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

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
	s.Name = rapid.SampledFrom([]string{"", "a", "a b"}).Draw(t, "name")
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
	f.Match = rapid.SampledFrom([]string{"", "", "a", id(3), id(12)[:len(id(12))-1]}).Draw(t, "want match")
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
		(f.Match == "" || j.Name == f.Match || strings.HasPrefix(j.ID, f.Match)) &&
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
		all, _, err := f.FindJobs(f.ctx, job.JobFilter{}, "", manyJobs)
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

func TestCursorsOfOthersAreRefused(t *testing.T) {
	f := setup(t, Options{})
	for _, cursor := range []string{"x", "-1", "0", "1.5", "12345678901234567", " 1", "+1", "01"} {
		_, _, jobsErr := f.FindJobs(f.ctx, job.JobFilter{Label: "a"}, cursor, 10)
		_, _, runsErr := f.FindRuns(f.ctx, job.RunFilter{JobID: "a"}, cursor, 10)
		for _, err := range []error{jobsErr, runsErr} {
			if invalid, ok := errors.AsType[*job.InvalidError](err); !ok || invalid.Problems[0].Field != "cursor" {
				t.Errorf("cursor %q: %v", cursor, err)
			}
		}
	}
}

// meanwhile does something after records were tested and before they are read.
type meanwhile struct {
	do func()
}

func (m *meanwhile) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (m *meanwhile) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (m *meanwhile) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if cmds[0].Name() == "hmget" {
			m.do()
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
	client.AddHook(hook)
	jobs, _, err := New(client, Options{}).FindJobs(f.ctx, job.JobFilter{Enabled: new(true)}, "", 10)
	f.must(err)
	if len(jobs) != 1 || jobs[0].ID != "b" {
		t.Errorf("found %+v", jobs)
	}
}

// TestListsAreReadInTurn: a claim waits for one batch of a list, however many are asked for,
// and who waits for his turn goes when his request ends.
func TestListsAreReadInTurn(t *testing.T) {
	s := New(nil, Options{})
	var reads, at, most atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := s.readPage(t.Context(), make([]string, 3*readBatch), func(_ context.Context, ids []string) ([]fields, error) {
				most.Store(max(most.Load(), at.Add(1)))
				defer at.Add(-1)
				reads.Add(1)
				runtime.Gosched()
				return make([]fields, len(ids)), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if reads.Load() != 24 || most.Load() != 1 {
		t.Errorf("%d reads, %d of them at once", reads.Load(), most.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.readPage(t.Context(), make([]string, 1), func(context.Context, []string) ([]fields, error) {
		cancel()
		return s.inTurn(ctx, nil, nil)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("who waits is told %v", err)
	}
}
