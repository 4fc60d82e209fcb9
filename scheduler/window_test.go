package scheduler

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// options are the options of an entry or a task, by their kind.
func options(opts []asynq.Option) map[asynq.OptionType]any {
	m := map[asynq.OptionType]any{}
	for _, o := range opts {
		m[o.Type()] = o.Value()
	}
	return m
}

func TestArmedEntry(t *testing.T) {
	f := setup(t)
	w, _ := f.emitter()
	j := f.create("a", func(s *job.Spec) { s.Timezone, s.Channel, s.ChatID = "Asia/Kolkata", "telegram", "42" })
	slot := f.minute(10)
	f.put("a", slot)
	f.refresh(w)

	entry := f.configs(w)["a"]
	if entry == nil {
		t.Fatal("the slot is not armed")
	}
	// Its exact minute in UTC, whatever the job's zone: the first time that the
	// expression names is the slot.
	if at, ok := parse(t, entry.Cronspec, "UTC").Next(f.now().Time()); !ok || job.ToMillis(at) != slot {
		t.Errorf("%q fires at %v, want %v", entry.Cronspec, at, slot.Time())
	}
	if !strings.HasSuffix(entry.Cronspec, " *") || strings.Count(entry.Cronspec, "*") != 1 {
		t.Errorf("%q is not one minute of a year", entry.Cronspec)
	}
	if entry.Task.Type() != tasks.TypeRun {
		t.Errorf("type %q", entry.Task.Type())
	}
	got, err := tasks.ParseRun(entry.Task)
	f.must(err)
	want := tasks.Run{V: tasks.Version, Job: "a", UID: j.UID, Slot: int64(slot), Revision: j.Revision,
		Name: "Name of a", Schedule: "* * * * *", Timezone: "Asia/Kolkata"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if body := string(entry.Task.Payload()); strings.Contains(body, secret) || strings.Contains(body, "telegram") {
		t.Errorf("the payload %s says more than what to recognise it by", body)
	}
	opts := options(entry.Opts)
	if id := "a:" + strconv.FormatInt(int64(slot)/1000, 10); opts[asynq.TaskIDOpt] != id || opts[asynq.QueueOpt] != "t-run" {
		t.Errorf("id %v in queue %v, want %s in t-run", opts[asynq.TaskIDOpt], opts[asynq.QueueOpt], id)
	}
	if n := len(f.runTasks()); n != 0 {
		t.Errorf("arming enqueued %d tasks", n)
	}
}

func TestOnlyTheEmitterArms(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	f.create("a")
	f.create("b")
	slot := f.minute(10)
	f.put("a", slot)
	f.put("b", slot)
	emitter := false
	w.emitter = func() bool { return emitter }

	f.refresh(w)
	if n := len(f.configs(w)); n != 0 || clock.reads != 0 {
		t.Fatalf("without the lease, %d slots are armed and %d cursors read", n, clock.reads)
	}
	emitter = true
	f.refresh(w)
	if n := len(f.configs(w)); n != 2 {
		t.Fatalf("with the lease, %d slots are armed", n)
	}
	// With the lease lost, what is about to ring rings; the rest is the other's.
	emitter = false
	f.refresh(w)
	if n := len(f.configs(w)); n != 0 {
		t.Errorf("after the loss of the lease, %d far slots stay armed", n)
	}
	emitter = true
	f.refresh(w)
	emitter, clock.now = false, slot-2500
	f.refresh(w)
	if n := len(f.configs(w)); n != 2 {
		t.Errorf("after the loss of the lease, %d near slots stay armed", n)
	}
}

// all is the same slot for every clone.
func all(slot job.Millis) func(int) job.Millis { return func(int) job.Millis { return slot } }

func sorted(ids []string) []string { return slices.Sorted(slices.Values(ids)) }

func TestPreview(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	f.create("x")
	f.put("x", f.minute(26*60)) // beyond the preview
	base := f.minute(5)
	far := f.clone("x", "far", preview+30, func(i int) job.Millis { return base + job.Millis(i)*60_000 })
	f.refresh(w)
	if d := cmp.Diff(sorted(far[:preview]), slices.Sorted(maps.Keys(f.configs(w)))); d != "" {
		t.Fatalf("armed are not the next %d slots: %s", preview, d)
	}
	f.refresh(w)
	if clock.reads != preview {
		t.Errorf("read %d cursors for %d armed slots", clock.reads, preview)
	}

	// They are pushed out by those that are nearer.
	slot := f.minute(3)
	near := f.clone("x", "near", preview-10, all(slot))
	f.refresh(w)
	if d := cmp.Diff(sorted(append(near, far[:10]...)), slices.Sorted(maps.Keys(f.configs(w)))); d != "" {
		t.Errorf("armed are not the next %d slots: %s", preview, d)
	}
}

func TestNoMoreThanThePreviewIsArmed(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	f.create("x")
	f.put("x", f.minute(10))
	slot := f.minute(5)
	clock.now = slot - 17_000
	const n, over = headSize + 60, headSize + 60 - preview
	ids := f.clone("x", "job", n, all(slot))
	f.refresh(w)
	armed := f.configs(w)
	if len(armed) != preview {
		t.Fatalf("%d slots are armed, want %d", len(armed), preview)
	}
	f.refresh(w)
	if d := cmp.Diff(armed, f.configs(w), cmp.Comparer(func(a, b *asynq.PeriodicTaskConfig) bool { return a == b })); d != "" {
		t.Errorf("the armed slots change: %s", d)
	}
	// The rest is emitted directly when due, and the armed ones are left to ring.
	clock.now = slot + 900
	f.refresh(w)
	tasks := f.runTasks()
	if len(tasks) != over {
		t.Errorf("%d slots over the preview were emitted, want %d", len(tasks), over)
	}
	for _, task := range tasks {
		if id, _, _ := strings.Cut(task.ID, ":"); armed[id] != nil {
			t.Errorf("%s is armed and was emitted", id)
		}
	}
	// While they ring, there is room for the next preview and for no more.
	for _, id := range ids {
		f.index(id, f.minute(60))
	}
	for _, minutes := range []int{7, 6} {
		f.clone("x", "next"+strconv.Itoa(minutes), preview, all(f.minute(minutes)))
		f.refresh(w)
		if got := f.configs(w); len(got) != maxArmed {
			t.Errorf("%d slots are armed, want %d", len(got), maxArmed)
		}
	}
}

// TestWhatIsDueBetweenMinutes: an entry rings at minutes, so that a slot between them,
// or one that is due later than its time, is enqueued when it is due and not before.
func TestWhatIsDueBetweenMinutes(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	startAt := f.minute(60)
	every := f.create("every", func(s *job.Spec) {
		s.Schedule, s.EverySeconds, s.StartAt, s.EndAt = "", 90, startAt, startAt+3600_000
	})
	later := f.create("later", func(s *job.Spec) { s.Schedule, s.JitterSeconds = "0 0 * * *", 50 })
	at := f.create("at", func(s *job.Spec) { s.Schedule, s.At = "", startAt+91_000 })
	if late := later.NextDue - later.NextSlot; late <= 0 || late > 50_000 {
		t.Fatalf("the jitter puts the slot off by %d ms", late)
	}
	put := func(j job.Job, slot job.Millis) {
		f.put(j.ID, slot)
		due := slot + j.NextDue - j.NextSlot
		f.must(f.rdb.HSet(f.ctx, f.key("job", j.ID), "nextDue", int64(due)).Err())
		f.index(j.ID, due)
	}
	due := map[string]job.Millis{"every": startAt + 90_000, "at": startAt + 91_000, "later": later.NextSlot + (later.NextDue - later.NextSlot)}
	put(every, startAt+90_000)

	for _, id := range []string{"every", "at", "later"} {
		for _, j := range []job.Job{every, at, later} { // only one of them is near
			if j.ID != id {
				f.must(f.rdb.ZRem(f.ctx, f.due(), j.ID).Err())
			}
		}
		f.index(id, due[id])
		before := len(f.runTasks())
		for _, ahead := range []job.Millis{10_000, 3_000, 1} {
			clock.now = due[id] - ahead
			f.refresh(w)
			if n := len(f.configs(w)); n != 0 || len(f.runTasks()) != before {
				t.Fatalf("%s, %d ms before it is due: %d armed, %d tasks", id, ahead, n, len(f.runTasks())-before)
			}
		}
		clock.now = due[id]
		f.refresh(w)
		cursor := f.cursor(id)
		task := f.runTasks()[job.RunID(id, cursor.NextSlot)]
		if task == nil {
			t.Fatalf("%s is due and not enqueued", id)
		}
		p, err := tasks.ParseRun(asynq.NewTask(task.Type, task.Payload))
		f.must(err)
		if p.Slot != int64(cursor.NextSlot) {
			t.Errorf("%s: the carrier is of %d, want the slot %d", id, p.Slot, cursor.NextSlot)
		}
	}
}

// TestRingingEntryStays: the entry keeps its hash for as long as its carrier is on
// the way, or the manager would take it for another one.
func TestRingingEntryStays(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	j := f.create("a")
	slot := f.minute(5)
	f.put("a", slot)
	f.refresh(w)
	entry := f.configs(w)["a"]

	// A rename keeps the slot, and so the entry; the claim copes with the revision.
	_, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) { s.Name = "renamed"; return s, nil })
	f.must(err)
	f.refresh(w)
	if f.configs(w)["a"] != entry {
		t.Error("a rename changed the entry")
	}

	// It rings, and the slot is claimed: the cursor goes beyond the preview.
	due := f.minute(0)
	f.put("a", due)
	b, err := f.Claim(f.ctx, job.Claim{JobID: "a", UID: j.UID, Slot: due, Revision: j.Revision + 1,
		Next: f.minute(26 * 60), NextDue: f.minute(26 * 60), Token: "t", Worker: "w"})
	if f.must(err); b.Verdict != job.BeginOK {
		t.Fatalf("claim: %s", b.Verdict)
	}
	clock.now = slot + 7999
	f.refresh(w)
	if f.configs(w)["a"] != entry {
		t.Error("the entry was gone or changed before its 8 s were over")
	}
	clock.now = slot + 8000
	f.refresh(w)
	if len(f.configs(w)) != 0 {
		t.Error("the entry stayed for more than 8 s: it would ring again next year")
	}
	if n := len(f.runTasks()); n != 0 {
		t.Errorf("a claimed slot was emitted again: %d tasks", n)
	}
}

// TestArmedEntryFollowsAnEdit: an entry of another slot would ring at the wrong time, and
// one of a newer release is that release's.
func TestArmedEntryFollowsAnEdit(t *testing.T) {
	f := setup(t)
	w, _ := f.emitter()
	f.create("a")
	f.create("newer")
	f.put("a", f.minute(10))
	f.put("newer", f.minute(10))
	f.must(f.rdb.HSet(f.ctx, "{"+prefix+"}:job:newer", "v", job.Version+1).Err())
	f.refresh(w)
	if f.configs(w)["newer"] != nil {
		t.Error("a slot of a newer release is armed")
	}
	for _, in := range []int{30, 20} {
		f.put("a", f.minute(in))
		f.refresh(w)
		entry := f.configs(w)["a"]
		if entry == nil {
			t.Fatalf("after an edit no slot is armed")
		}
		if at, ok := parse(t, entry.Cronspec, "UTC").Next(f.now().Time()); !ok || job.ToMillis(at) != f.minute(in) {
			t.Errorf("%q fires at %v, want %v", entry.Cronspec, at, f.minute(in).Time())
		}
	}
}

func TestEmittedSlotsAreNotArmedAgain(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	f.create("a")
	slot := f.minute(0)
	f.put("a", slot)
	f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: "a", At: slot}}))
	for range 3 {
		f.refresh(w)
	}
	if n := len(f.configs(w)); n != 0 || len(f.runTasks()) != 0 {
		t.Errorf("a slot that waits for its claim: %d armed, %d enqueued", n, len(f.runTasks()))
	}
	if clock.reads != 1 {
		t.Errorf("its cursor was read %d times before the next look", clock.reads)
	}

	// The next look finds it unclaimed and enqueues it, once more or for the first time.
	f.index("a", f.now())
	f.refresh(w)
	if n := len(f.runTasks()); n != 1 {
		t.Fatalf("the look at an unclaimed slot left %d tasks", n)
	}
	// The task stands there: left alone. It is over, and the slot still unclaimed:
	// it makes room.
	id := slices.Collect(maps.Keys(f.runTasks()))[0]
	f.index("a", f.now())
	f.refresh(w)
	if s := f.state(f.queues.Run(), id); s != "pending" {
		t.Fatalf("after a look at a pending task it is %s", s)
	}
	f.complete(f.queues.Run())
	f.refresh(w)
	if s := f.state(f.queues.Run(), id); s != "completed" {
		t.Fatalf("between looks the task became %s", s)
	}
	f.index("a", f.now())
	f.refresh(w)
	if s := f.state(f.queues.Run(), id); s != "pending" {
		t.Errorf("a completed task of an unclaimed slot is %s, want pending", s)
	}
}

// TestArmedListSurvivesRedis: an empty list would unregister everything, and an
// error of the first call would keep the manager from starting.
func TestArmedListSurvivesRedis(t *testing.T) {
	server := redistest.Start(t)
	f := newFixture(t, server.Client())
	w, _ := f.emitter()
	if configs, err := w.GetConfigs(); err != nil || len(configs) != 0 {
		t.Errorf("before the first look: %v, %v", configs, err)
	}
	f.create("a")
	f.put("a", f.minute(10))
	f.refresh(w)
	before := f.configs(w)
	server.Kill()
	if err := w.refresh(f.ctx); err == nil {
		t.Fatal("no error without Redis")
	}
	if after := f.configs(w); len(after) != 1 || after["a"] != before["a"] {
		t.Errorf("without Redis the list became %v", after)
	}
}

func TestRedisThatFailsHalfwayChangesNothing(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	f.create("a")
	f.create("b")
	f.put("a", f.minute(10))
	f.put("b", f.minute(30*60))
	f.refresh(w)
	before := f.configs(w)
	f.put("b", f.minute(11)) // a reason to read cursors
	broken := errors.New("connection lost")
	w.store = &failing{at: clock, err: broken}
	if err := w.refresh(f.ctx); !errors.Is(err, broken) {
		t.Fatalf("error %v", err)
	}
	if after := f.configs(w); len(after) != 1 || after["a"] != before["a"] {
		t.Errorf("the list became %v", after)
	}
	w.store = clock
	f.refresh(w)
	if n := len(f.configs(w)); n != 2 {
		t.Errorf("%d armed afterwards", n)
	}

	// Nor is an outage between two scripts the fault of a record.
	f.put("a", f.minute(-5))
	f.put("b", f.minute(-5))
	w.store = &failingScripts{at: clock, err: broken}
	if err := w.refresh(f.ctx); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if n := f.logs.count("record cannot be read"); n != 0 {
		t.Errorf("an outage was reported as %d bad records", n)
	}
}
