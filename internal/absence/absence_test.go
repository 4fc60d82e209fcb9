package absence

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
	"github.com/gatewaycron/gatewaycron/internal/store"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

const prefix = "{gateway-cron}:"

// fixture is a deployment of jobs that have been there for ten days, and a check of it.
type fixture struct {
	*store.Store
	*testing.T
	rdb   *redis.Client
	ctx   context.Context
	now   time.Time // the running minute
	check *Check
	told  []job.Slot
}

func setup(t *testing.T) *fixture {
	t.Helper()
	rdb := redistest.Fresh(t).Client()
	f := &fixture{Store: store.New(rdb, store.Options{}), T: t, rdb: rdb, ctx: t.Context()}
	now, err := f.Now(f.ctx)
	f.must(err)
	f.now = now.Truncate(time.Minute)
	f.check = New(Options{Store: f.Store, Leads: func() bool { return true }, Logger: slog.New(slog.DiscardHandler), Page: 2,
		After: time.Millisecond, Tell: func(_ context.Context, absent []job.Slot) { f.told = append(f.told, absent...) }})
	return f
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) minute(n int) job.Millis {
	return job.ToMillis(f.now.Add(time.Duration(n) * time.Minute))
}

// create makes a job whose next slot is a minute ahead, and that has a record of none.
func (f *fixture) create(id string, spec job.Spec, set ...any) {
	f.Helper()
	spec.Task, spec.Enabled = "x", true
	if spec.Schedule == "" && spec.At == 0 && spec.EverySeconds == 0 {
		spec.Schedule = "* * * * *"
	}
	_, err := f.CreateJob(f.ctx, id, spec)
	f.must(err)
	long := int64(f.minute(-10 * 24 * 60))
	f.set(id, append([]any{"createdAt", long, "updatedAt", long, "anchor", long}, set...)...)
}

func (f *fixture) set(id string, set ...any) {
	f.must(f.rdb.HSet(f.ctx, prefix+"job:"+id, set...).Err())
}

// record writes that slots of a job were skipped.
func (f *fixture) record(id string, first, last job.Millis) {
	f.Helper()
	run := fmt.Sprintf("%s:%d", id, first/1000)
	f.must(f.rdb.HSet(f.ctx, prefix+"run:"+run, "slot", int64(first), "lastSlot", int64(last), "state", "done").Err())
	f.must(f.rdb.ZAdd(f.ctx, prefix+"runs:"+id, redis.Z{Score: float64(last) * 1000, Member: run}).Err())
}

// pass goes over all jobs once and returns what is absent then.
func (f *fixture) pass() []string {
	f.Helper()
	for done := false; !done; {
		var err error
		done, err = f.check.step(f.ctx)
		f.must(err)
	}
	o, err := f.Absent(f.ctx)
	f.must(err)
	return o.IDs
}

// TestOtherRulesOfAZone: what is a slot by rules that those who fire did not follow yet, or do
// not, is owed by nobody.
func TestOtherRulesOfAZone(t *testing.T) {
	f := setup(t)
	f.create("a", job.Spec{})
	rules := schedule.ZoneRules()
	long, moment := int64(f.minute(-60)), f.now.Add(time.Hour).UnixMilli()
	for _, tt := range []struct {
		name   string
		check  []any
		absent bool
	}{
		{"nobody has noted any", nil, true},
		{"the same for long", []any{"why", "zones", "since", long, "ended", long, "rules", rules, "rulesAt", long}, true},
		{"of before it was noted since when", []any{"why", "zones", "since", long, "ended", long, "rules", rules}, true},
		{"others, and nobody looks at the cursors yet", []any{"why", "zones", "since", long, "ended", long, "rules", "other", "rulesAt", long}, false},
		{"the cursors are being looked at", []any{"why", "zones", "since", moment, "ended", "", "rules", "other", "rulesAt", long}, false},
		{"they were just now", []any{"why", "zones", "since", moment, "ended", moment, "rules", rules, "rulesAt", moment}, false},
		{"the clock was set since", []any{"why", "clock", "since", moment, "ended", moment, "rules", rules, "rulesAt", long}, true},
	} {
		f.must(f.rdb.Del(f.ctx, prefix+"check", prefix+"absent").Err())
		if tt.check != nil {
			f.must(f.rdb.HSet(f.ctx, prefix+"check", tt.check...).Err())
		}
		f.check.known = nil
		if got := f.pass(); (len(got) == 1) != tt.absent {
			t.Errorf("%s: absent %v", tt.name, got)
		}
	}
}

// TestCheck: which slots are absent, for each reason why one may have no run of its own.
func TestCheck(t *testing.T) {
	f := setup(t)
	at := f.minute(-1)
	late := func(id string) {
		f.set(id, "nextSlot", int64(at))
		f.must(f.rdb.ZAdd(f.ctx, prefix+"due", redis.Z{Score: float64(at), Member: id}).Err())
	}
	f.create("a-gap", job.Spec{})
	f.create("b-lost-entry", job.Spec{})
	late("b-lost-entry")
	f.must(f.rdb.ZRem(f.ctx, prefix+"due", "b-lost-entry").Err())
	f.create("c-far-entry", job.Spec{})
	late("c-far-entry")
	f.must(f.rdb.ZAdd(f.ctx, prefix+"due", redis.Z{Score: float64(f.minute(9999)), Member: "c-far-entry"}).Err())
	f.create("d-once", job.Spec{At: f.minute(1)}, "at", int64(f.minute(-3*24*60)))
	f.create("e-every", job.Spec{EverySeconds: 600})
	f.create("f-daily", job.Spec{Schedule: f.now.Add(-2 * time.Hour).Format("4 15 * * *"), Timezone: "Europe/Berlin"})
	f.set("f-daily", "timezone", "UTC")

	f.create("ran", job.Spec{})
	f.record("ran", f.minute(0), f.minute(0))
	f.create("in-a-range", job.Spec{})
	f.record("in-a-range", f.minute(-30), f.minute(0))
	f.create("late", job.Spec{})
	late("late")
	f.create("disabled", job.Spec{}, "enabled", 0)
	f.create("new", job.Spec{}, "createdAt", int64(f.minute(0)))
	f.create("edited", job.Spec{}, "updatedAt", int64(f.minute(0)))
	f.create("spent", job.Spec{MaxRuns: 1}, "claims", 1)
	f.create("newer", job.Spec{}, "v", job.Version+1)
	f.create("not-yet", job.Spec{At: f.minute(60)})
	f.create("long-ago", job.Spec{Schedule: "0 0 1 1 *"}, "at", 0)
	f.create("unreadable", job.Spec{}, "schedule", "x")
	f.create("trimmed", job.Spec{})
	for i := range 20 {
		f.record("trimmed", f.minute(i+1), f.minute(i+1))
	}

	f.pass()
	all, err := f.AbsentJobs(f.ctx)
	f.must(err)
	got := map[string]bool{}
	for _, id := range all {
		got[id] = true
	}
	for _, id := range []string{"a-gap", "b-lost-entry", "c-far-entry", "d-once", "e-every", "f-daily"} {
		if !got[id] {
			t.Errorf("%s is not told", id)
		}
		delete(got, id)
	}
	if len(got) > 0 {
		t.Errorf("told as absent: %v", got)
	}
	if len(f.told) != 6 {
		t.Errorf("told: %v", f.told)
	}
}

// What is absent is told once, and no more when it has its record, or its job is gone.
func TestAbsenceEnds(t *testing.T) {
	f := setup(t)
	for _, id := range []string{"a", "b", "c", "d"} {
		f.create(id, job.Spec{Schedule: "0 0 1 1 *", Timezone: "UTC"}, "schedule", f.now.Add(-time.Hour).Format("4 15 2 1 *"))
	}
	is := func(want ...string) {
		t.Helper()
		if d := cmp.Diff(want, f.pass()); d != "" {
			t.Error(d)
		}
	}
	is("a", "b", "c", "d")
	is("a", "b", "c", "d")
	f.record("a", f.minute(-60), f.minute(-60))
	f.must(f.DeleteJob(f.ctx, "d"))
	is("b", "c")
	f.check = New(Options{Store: f.Store, Leads: func() bool { return true }, Logger: slog.New(slog.DiscardHandler), Page: 1, After: time.Millisecond})
	f.record("b", f.minute(-60), f.minute(-60))
	is("c") // another process goes on with what is known
	if len(f.told) != 4 {
		t.Errorf("told: %v", f.told)
	}
	f.check.Leads = func() bool { return false }
	f.record("c", f.minute(-60), f.minute(-60))
	is("c") // who does not lead does nothing
}

// Whatever fails, the check goes on.
func TestRun(t *testing.T) {
	f := setup(t)
	f.create("a", job.Spec{Schedule: "0 0 1 1 *", Timezone: "UTC"}, "schedule", f.now.Add(-time.Hour).Format("4 15 2 1 *"))
	broken := &sometimes{Store: f.Store, left: 3}
	told := make(chan job.Slot, 1)
	c := New(Options{Store: broken, Leads: func() bool { return true }, Logger: slog.New(slog.DiscardHandler), Every: time.Millisecond, Pace: time.Millisecond,
		Tell: func(_ context.Context, absent []job.Slot) { told <- absent[0] }})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	if slot := <-told; slot != (job.Slot{JobID: "a", At: f.minute(-60)}) {
		t.Errorf("%+v", slot)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// sometimes is a store whose first calls fail.
type sometimes struct {
	*store.Store
	left int
}

func (s *sometimes) ExpectedJobs(ctx context.Context, cursor string, size int) ([]job.Expected, string, error) {
	if s.left--; s.left >= 0 {
		return nil, "", context.DeadlineExceeded
	}
	return s.Store.ExpectedJobs(ctx, cursor, size)
}
