package store

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// Of a job's replies so many bytes are kept whole; of the oldest beyond that the beginning
// stays, and the run says so.
func TestHistoryIsBoundedInBytes(t *testing.T) {
	f := setup(t, Options{HistoryBytes: 30_000})
	spec := everyMinute()
	spec.Context = job.ContextIsolated // whose session holds the last run alone
	f.create("a", spec)
	f.create("other", spec)
	reply := func(id string, bytes int) string {
		run := f.runNow(id)
		f.commit(f.begin(run), strings.Repeat("ä", bytes/2))
		return run
	}
	waits := f.runNow("a")
	pending := commitOf(f.begin(waits), strings.Repeat("x", 10_000))
	pending.Delivery, pending.Target = job.DeliveryPending, job.Target{Channel: "x", ChatID: "1"}
	_, err := f.Commit(f.ctx, pending)
	f.must(err)
	other := reply("other", 10_000)
	oldest, short := reply("a", 9_000), reply("a", 600)
	second, newest := reply("a", 9_000), reply("a", 9_000)
	want := func(run string, whole bool, bytes int) {
		t.Helper()
		r := f.record(run)
		if r.ReplyDropped == whole || whole && len(r.Reply) != bytes || !whole && (len(r.Reply) > 2004 || len(r.Reply) < 1900) || !utf8.ValidString(r.Reply) {
			t.Errorf("%s: dropped %v, %d bytes", run, r.ReplyDropped, len(r.Reply))
		}
	}
	want(waits, true, 10_000) // is still to be delivered
	want(oldest, false, 0)
	want(short, true, 600)
	want(second, true, 9_000)
	want(newest, true, 9_000)
	want(other, true, 10_000)
	last := reply("a", 40_000)
	want(last, true, 40_000) // the newest, whatever it has
	want(newest, false, 0)
	want(waits, true, 10_000)
	if _, err := f.Redeliver(f.ctx, newest); !errors.Is(err, job.ErrReplyDropped) {
		t.Errorf("delivered again: %v", err)
	}
	for _, r := range f.runs("a") {
		if r.ReplyDropped != (r.ID == oldest || r.ID == second || r.ID == newest) {
			t.Errorf("listed %s: dropped %v", r.ID, r.ReplyDropped)
		}
	}
	f.wantCut("a")
	if n := f.rdb.LLen(f.ctx, f.keys.replies("a")).Val(); n != 2 {
		t.Errorf("%d are listed as whole", n)
	}
}

// A session keeps so many bytes of long messages, and the last turn in any case.
func TestSessionIsBoundedInBytes(t *testing.T) {
	f := setup(t, Options{SessionBytes: 30_000, SessionMessages: 100})
	f.create("a", everyMinute())
	f.wantCut()
	session := f.job("a").ResolveSession("a")
	for _, tc := range []struct{ bytes, messages int }{{100, 2}, {9_000, 4}, {9_000, 6}, {9_000, 8}, {9_000, 6}, {100, 8}, {25_000, 4}, {90_000, 2},
		{100, 2}, {9_000, 4}} {
		f.commit(f.begin(f.runNow("a")), strings.Repeat("x", tc.bytes))
		s, err := f.Session(f.ctx, session, 1000)
		f.must(err)
		if len(s.Messages) != tc.messages {
			t.Errorf("after a reply of %d bytes %d messages, want %d", tc.bytes, len(s.Messages), tc.messages)
		}
	}
	f.wantCut("a")
	f.must(f.DeleteJob(f.ctx, "a"))
	f.wantCut()
}

// wantCut says of which jobs something went, to the signs and at each.
func (f *fixture) wantCut(ids ...string) {
	f.t.Helper()
	s, err := f.Signs(f.ctx, time.Minute)
	f.must(err)
	if d := cmp.Diff(ids, s.Cut.IDs); d != "" || s.Cut.Count != len(ids) {
		f.t.Errorf("something went of %d jobs: %s", s.Cut.Count, d)
	}
	for _, id := range ids {
		if f.job(id).CutAt == 0 {
			f.t.Errorf("%s does not say that something of it went", id)
		}
	}
}

// A page of a list has so many bytes at most, and its cursor goes on where it was cut.
func TestPagesAreBoundedInBytes(t *testing.T) {
	f := setup(t, Options{})
	long := strings.Repeat("x", maxPageBytes/10)
	var runs, jobs []string
	f.create("a", everyMinute())
	for n := range 25 {
		run := f.runNow("a")
		f.must(f.rdb.HSet(f.ctx, f.keys.run(run), "error", long).Err())
		runs = append(runs, run)
		spec := everyMinute()
		spec.Task, spec.Labels = long, []string{"long"}
		jobs = append(jobs, f.create(id(n), spec).ID)
	}
	f.must(f.rdb.HSet(f.ctx, f.keys.run(runs[3]), "error", strings.Repeat(long, 11)).Err()) // alone in its page
	slices.Reverse(runs)
	for name, tc := range map[string]struct {
		page func(cursor string) (ids []string, bytes int, next string, err error)
		want []string
	}{
		"runs of a job": {func(cursor string) (ids []string, bytes int, next string, err error) {
			page, next, err := f.Runs(f.ctx, "a", cursor, 100)
			for _, r := range page {
				ids, bytes = append(ids, r.ID), bytes+len(r.Error)
			}
			return ids, bytes, next, err
		}, runs},
		"runs by a filter": {func(cursor string) (ids []string, bytes int, next string, err error) {
			page, next, err := f.FindRuns(f.ctx, job.RunFilter{Trigger: job.TriggerManual}, cursor, 100)
			for _, r := range page {
				ids, bytes = append(ids, r.ID), bytes+len(r.Error)
			}
			return ids, bytes, next, err
		}, runs},
		"jobs": {func(cursor string) (ids []string, bytes int, next string, err error) {
			page, next, err := f.FindJobs(f.ctx, job.JobFilter{Label: "long"}, cursor, 100)
			for _, j := range page {
				ids, bytes = append(ids, j.ID), bytes+len(j.Task)
			}
			return ids, bytes, next, err
		}, jobs},
	} {
		var all []string
		pages := 0
		for cursor := ""; ; {
			ids, bytes, next, err := tc.page(cursor)
			f.must(err)
			if bytes > maxPageBytes && len(ids) > 1 || len(ids) == 0 {
				t.Errorf("%s: a page of %d with %d bytes", name, len(ids), bytes)
			}
			all = append(all, ids...)
			pages++
			if cursor = next; cursor == "" {
				break
			}
		}
		if d := cmp.Diff(tc.want, all); d != "" || pages < 3 {
			t.Errorf("%s: %d pages, %s", name, pages, d)
		}
	}
}
