package scheduler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

const yearly = "0 0 1 1 *"

// outage leaves n jobs overdue by half an hour, none of which has a newer slot, and
// answers a time that leaves a minute until the real one.
func (f *fixture) outage(name string, n int, change ...func(*job.Spec)) (ids []string, now job.Millis) {
	f.t.Helper()
	now = f.now() - 60_000
	like := "like-" + name
	f.create(like, append([]func(*job.Spec){func(s *job.Spec) { s.Schedule = yearly }}, change...)...)
	return f.clone(like, name, n, all(now-1800_000)), now
}

// queue are the jobs in the queue, in the order in which they were enqueued.
func (f *fixture) queue() []string {
	f.t.Helper()
	tasks, err := f.rdb.LRange(f.ctx, "asynq:{"+f.queues.Run()+"}:pending", 0, -1).Result()
	f.must(err)
	slices.Reverse(tasks)
	for i, id := range tasks {
		tasks[i], _, _ = strings.Cut(id, ":")
	}
	return tasks
}

// TestBacklogKeepsToItsPace: what piled up goes out a hundred slots a second, nothing
// of it is lost, and what comes due meanwhile passes it.
func TestBacklogKeepsToItsPace(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	late, now := f.outage("late", 350)
	f.create("x", func(s *job.Spec) { s.Schedule = yearly })
	var want []string
	for n, let := range []int{100, 1, 100, 100, 49, 0} {
		clock.now = now + job.Millis(n)*1000
		punctual := f.clone("x", fmt.Sprint("punctual", n), 30, all(clock.now-job.Millis(n)*1900))
		before := len(f.queue())
		f.refresh(w)
		got := f.queue()[before:]
		if len(got) != len(punctual)+let {
			t.Fatalf("tick %d: %d slots were emitted, want %d on time and %d of the backlog", n, len(got), len(punctual), let)
		}
		if d := cmp.Diff(sorted(punctual), sorted(got[:len(punctual)])); d != "" {
			t.Errorf("tick %d: what is on time is not first: %s", n, d)
		}
		want = append(want, punctual...)
	}
	if d := cmp.Diff(sorted(append(want, late...)), sorted(f.queue())); d != "" {
		t.Errorf("emitted: %s", d)
	}
}

// TestBacklogKeepsToItsPaceInSlowRounds: a round that comes seconds after the one before
// finds several seconds' worth due, all looked at lately, and lets one second's worth go.
func TestBacklogKeepsToItsPaceInSlowRounds(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	late, now := f.outage("late", 750)
	clock.now = now
	for n := range 8 {
		before := len(f.queue())
		f.refresh(w)
		if let := len(f.queue()) - before; let != min(backlogRate, len(late)-before) {
			t.Errorf("round %d let %d slots of the backlog go", n, let)
		}
		clock.now += 4000
	}
	if d := cmp.Diff(sorted(late), sorted(f.queue())); d != "" {
		t.Errorf("emitted: %s", d)
	}
}

// beforeCollapse is a store at which something else happens before a cursor is moved.
type beforeCollapse struct {
	*at
	then func()
}

func (s *beforeCollapse) Collapse(ctx context.Context, c job.Collapse) (bool, error) {
	s.then()
	return s.at.Collapse(ctx, c)
}

// TestOnTimeWaitsForNoDecision: what is on time is in the queue before the first cursor
// that is an hour behind is moved.
func TestOnTimeWaitsForNoDecision(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	f.create("minutely")
	f.create("x", func(s *job.Spec) { s.Schedule = yearly })
	behind := f.clone("minutely", "behind", 30, all(f.minute(-60)))
	f.put("x", f.now())
	var once sync.Once
	w.store = &beforeCollapse{at: clock, then: func() {
		once.Do(func() {
			if queued := f.queue(); len(queued) != 1 || queued[0] != "x" {
				t.Errorf("in the queue: %q", queued)
			}
		})
	}}
	f.refresh(w)
	for _, id := range behind {
		if c := f.cursor(id); c.NextSlot < f.minute(-1) {
			t.Errorf("the cursor of %s is at %v", id, c.NextSlot.Time())
		}
	}
}

// TestEmittedSlotsAreNoBacklog: what stands in the queue already is only looked after.
func TestEmittedSlotsAreNoBacklog(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	late, now := f.outage("late", 250)
	var slots []job.Slot
	for _, id := range late {
		slots = append(slots, job.Slot{JobID: id, At: now - 1800_000})
	}
	f.must(f.MarkEmitted(f.ctx, slots)) // and the queue was lost
	for _, id := range late {
		f.index(id, now)
	}
	clock.now = now
	f.refresh(w)
	if n := len(f.queue()); n != len(late) {
		t.Errorf("%d of %d lost carriers were replaced", n, len(late))
	}
}

// TestSchedulersShareThePace: all of them find the same backlog due, at the same time
// and between each other's ticks, and none has the lease.
func TestSchedulersShareThePace(t *testing.T) {
	f := setup(t)
	late, now := f.outage("late", 450)
	var windows [3]*window
	var clocks [3]*at
	for i := range windows {
		windows[i], clocks[i] = f.emitter()
	}
	most := 0
	for n := range 8 {
		before := len(f.queue())
		for _, between := range []job.Millis{0, 300, 600} {
			var wg sync.WaitGroup
			for i, w := range windows {
				clocks[i].now = now + job.Millis(n)*1000 + between
				wg.Go(func() {
					if err := w.refresh(f.ctx); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		most = max(most, len(f.queue())-before)
	}
	if most > backlogRate {
		t.Errorf("%d slots of the backlog were emitted in a second", most)
	}
	if d := cmp.Diff(sorted(late), sorted(f.queue())); d != "" {
		t.Errorf("emitted: %s", d)
	}
}

// afterMark is a store at which something else happens right after slots were marked.
type afterMark struct {
	*at
	then func()
}

func (s *afterMark) MarkEmitted(ctx context.Context, slots []job.Slot) error {
	err := s.at.MarkEmitted(ctx, slots)
	if len(slots) > 0 {
		s.then()
	}
	return err
}

// TestNobodyElseFindsTheRestDue: the moment a scheduler has let its share go, another
// one looks.
func TestNobodyElseFindsTheRestDue(t *testing.T) {
	f := setup(t)
	_, now := f.outage("late", 250)
	first, clock := f.emitter()
	other, theirs := f.emitter()
	clock.now, theirs.now = now, now
	looked := false
	first.store = &afterMark{at: clock, then: func() { looked = true; f.refresh(other) }}
	f.refresh(first)
	if n := len(f.queue()); !looked || n != backlogRate {
		t.Errorf("%d slots were emitted", n)
	}
}

// TestBacklogDoesNotOutliveItsGrace: the pace makes nothing stale.
func TestBacklogDoesNotOutliveItsGrace(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	f.outage("late", 400)
	short := func(seconds int) func(*job.Spec) {
		return func(s *job.Spec) { s.MisfireGraceSeconds = 1800 + seconds }
	}
	// More than may go in a second must go now; as many have a second or two.
	urgent, _ := f.outage("urgent", 130, short(9))
	soon, now := f.outage("soon", 130, short(12))
	clock.now = now
	f.refresh(w)
	if d := cmp.Diff(sorted(urgent), sorted(f.queue())); d != "" {
		t.Errorf("in the first tick: %s", d)
	}
	for range 2 {
		clock.now += 1000
		f.refresh(w)
	}
	got := f.queue()
	for _, id := range soon {
		if !slices.Contains(got, id) {
			t.Errorf("%s is not emitted 10 s before it is too late", id)
		}
	}
	for range 8 {
		clock.now += 1000
		f.refresh(w)
	}
	if n := len(f.queue()); n != 660 {
		t.Errorf("%d of 660 were emitted in the end", n)
	}
}

// TestBacklogGivesWayToTheNextSlot: a job that still waits when its next slot comes runs
// that one, on time, and the other is on record.
func TestBacklogGivesWayToTheNextSlot(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	next := f.minute(0)
	f.create("x")
	ids := f.clone("x", "job", 150, all(next-60_000))
	clock.now = next - 100
	f.refresh(w)
	first := f.queue()
	if len(first) != backlogRate {
		t.Fatalf("%d of the backlog were emitted", len(first))
	}
	for _, id := range ids {
		if look := f.look(id); !slices.Contains(first, id) && look != next {
			t.Fatalf("%s is looked at %v after its next slot", id, look.Time().Sub(next.Time()))
		}
	}
	for range 2 { // moves the cursors, and emits
		clock.now = next + 500
		f.refresh(w)
	}
	tasks := f.runTasks()
	if len(tasks) != len(ids) {
		t.Errorf("%d tasks for %d jobs", len(tasks), len(ids))
	}
	for _, id := range ids {
		if slices.Contains(first, id) {
			continue
		}
		runs, _, err := f.Runs(f.ctx, id, "", 10)
		f.must(err)
		if tasks[job.RunID(id, next)] == nil || len(runs) != 1 || runs[0].Slot != next-60_000 || runs[0].Reason != job.ReasonSuperseded {
			t.Errorf("%s: records %+v", id, runs)
		}
	}
}

// TestPostponedEntriesAreReadOnce: what waits for its place costs nothing.
func TestPostponedEntriesAreReadOnce(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	late, now := f.outage("late", 700)
	clock.now = now
	f.refresh(w)
	f.refresh(w)
	before := clock.reads
	f.refresh(w)
	if n := clock.reads - before; n != 0 || len(f.configs(w)) != 0 {
		t.Errorf("of %d jobs that wait, %d cursors were read again and %d slots armed", len(late)-backlogRate, n, len(f.configs(w)))
	}
}

// TestOnTimeBeyondAFullWindow: a backlog that fills the whole window hides nothing.
func TestOnTimeBeyondAFullWindow(t *testing.T) {
	f := setup(t)
	w, _ := f.emitter()
	f.outage("late", maxWindow+50)
	f.create("x", func(s *job.Spec) { s.Schedule = yearly })
	f.put("x", f.now())
	f.refresh(w)
	if queued := f.queue(); len(queued) != backlogRate+1 || queued[0] != "x" {
		t.Errorf("%d slots were emitted, the first of %q", len(queued), queued[:min(1, len(queued))])
	}
}

// TestPace: of any backlog, nothing is lost, what is let go beyond the rate must go now,
// and nobody waits for longer than its place, its grace or its next slot say.
func TestPace(t *testing.T) {
	now := time.Date(2026, 3, 2, 12, 0, 30, 0, time.UTC)
	w := &window{schedules: schedule.NewCache(16)}
	rapid.Check(t, func(t *rapid.T) {
		var late []job.Cursor
		looks := map[string]job.Millis{}
		for i := range rapid.IntRange(1, 400).Draw(t, "jobs") {
			c := job.Cursor{JobID: fmt.Sprint("job", i), Misfire: rapid.SampledFrom([]job.Misfire{job.MisfireRunOnce, job.MisfireSkip}).Draw(t, "misfire"),
				Timing: schedule.Timing{Cron: rapid.SampledFrom([]string{"* * * * *", "*/5 * * * *", "0 * * * *", "0 12 * * *"}).Draw(t, "schedule")},
				Grace:  time.Duration(rapid.IntRange(31, 600).Draw(t, "grace")) * time.Second}
			c.NextSlot = job.ToMillis(now.Truncate(time.Minute))
			c.NextDue = c.NextSlot
			looks[c.JobID] = c.NextSlot + job.Millis(i)
			late = append(late, c)
		}
		byID := map[string]job.Cursor{}
		for _, c := range late {
			byID[c.JobID] = c
		}
		expires := func(c job.Cursor) time.Time { return c.NextSlot.Time().Add(graceOf(c) - backlogMargin) }

		ready, rest, err := w.pace(late, looks, job.ToMillis(now))
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range ready {
			if i >= backlogRate && expires(c).After(now) {
				t.Fatalf("%s is number %d and has time until %v", c.JobID, i, expires(c))
			}
			delete(byID, c.JobID)
		}
		if len(rest) > 0 && len(ready) < backlogRate {
			t.Fatalf("%d go, %d wait", len(ready), len(rest))
		}
		for k, l := range rest {
			c, ok := byID[l.JobID]
			if !ok || l.Seen != looks[l.JobID] {
				t.Fatalf("%+v is of nobody, or was not seen there", l)
			}
			delete(byID, l.JobID)
			next, _ := timetable(t, c.Timing).Next(c.NextSlot.Time())
			place := now.Add(time.Second + time.Duration(k)*time.Second/backlogRate)
			want := slices.MinFunc([]time.Time{place, expires(c), next}, time.Time.Compare)
			if l.Look != job.ToMillis(want) || !want.After(now) {
				t.Fatalf("number %d is looked at at %v, want %v", k, l.Look.Time(), want)
			}
		}
		if len(byID) != 0 {
			t.Fatalf("%d are lost", len(byID))
		}
	})
}
