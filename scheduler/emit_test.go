package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// TestNearSlotsAreEmittedWhenDue: an entry that is registered too late would wait
// for the same minute of next year.
func TestNearSlotsAreEmittedWhenDue(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	f.create("a")
	f.create("b")
	slot := f.minute(3)
	f.put("a", slot)
	f.put("b", slot)
	f.index("b", slot-1) // a wrong entry is put right on the way

	for _, step := range []struct {
		now           job.Millis
		armed, queued int
	}{
		{slot - job.Millis(armBefore.Milliseconds()), 0, 0},
		{slot - 1, 0, 0},
		{slot, 0, 2},
		{slot + 5000, 0, 2},
	} {
		clock.now = step.now
		f.refresh(w)
		if a, q := len(f.configs(w)), len(f.runTasks()); a != step.armed || q != step.queued {
			t.Errorf("%d ms after the slot: %d armed and %d enqueued, want %d and %d", step.now-slot, a, q, step.armed, step.queued)
		}
	}

	w, clock = f.emitter()
	clock.now = slot - job.Millis(armBefore.Milliseconds()) - 1
	f.put("a", slot)
	f.refresh(w)
	if len(f.configs(w)) != 1 {
		t.Error("a slot just far enough is not armed")
	}
}

func TestWhoEmitsWhatIsDue(t *testing.T) {
	for _, tc := range []struct {
		name    string
		emitter bool
		armed   bool
		late    job.Millis
		want    int
	}{
		{"the emitter at once", true, false, 0, 1},
		{"an armed slot is left to ring", true, true, 1000, 0},
		{"an armed slot that did not ring", true, true, 1001, 1},
		{"another scheduler waits for the emitter", false, false, 1000, 0},
		{"another scheduler when it is overdue", false, false, 1001, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := setup(t)
			w, clock := f.emitter()
			f.create("a")
			slot := f.minute(5)
			f.put("a", slot)
			if tc.armed {
				f.refresh(w)
				if len(f.configs(w)) != 1 {
					t.Fatal("not armed")
				}
			}
			w.emitter = func() bool { return tc.emitter }
			clock.now = slot + tc.late
			f.refresh(w)
			queued := f.runTasks()
			if len(queued) != tc.want {
				t.Fatalf("%d tasks, want %d", len(queued), tc.want)
			}
			if c := f.cursor("a"); c.Emitted != (tc.want == 1) {
				t.Errorf("emitted is %v", c.Emitted)
			}
			if look := f.look("a"); tc.want == 1 && look <= f.now() {
				t.Errorf("the next look is in %d ms", look-f.now())
			}
			// However long it is looked at: one task.
			f.refresh(w)
			f.refresh(w)
			if n := len(f.runTasks()); n != tc.want {
				t.Errorf("%d tasks after more looks", n)
			}
		})
	}
}

// TestEmittedTaskIsTheArmedOne: the ring and the emitter build the same task, or
// its id would keep nothing from running twice.
func TestEmittedTaskIsTheArmedOne(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	f.create("a")
	slot := f.minute(5)
	f.put("a", slot)
	f.refresh(w)
	entry := f.configs(w)["a"]
	clock.now = slot + 1001
	f.refresh(w)
	id := options(entry.Opts)[asynq.TaskIDOpt].(string)
	info := f.runTasks()[id]
	if info == nil {
		t.Fatalf("no task %s", id)
	}
	if d := cmp.Diff(string(entry.Task.Payload()), string(info.Payload)); d != "" {
		t.Error(d)
	}
	opts := options(entry.Opts)
	if info.Type != entry.Task.Type() || info.MaxRetry != opts[asynq.MaxRetryOpt] || info.Timeout != opts[asynq.TimeoutOpt] ||
		info.Retention != opts[asynq.RetentionOpt] {
		t.Errorf("the task differs from the entry: %+v", info)
	}
}

// TestLostMarkIsHarmless: the entry rang and nobody wrote it down.
func TestLostMarkIsHarmless(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	f.create("a")
	slot := f.minute(5)
	f.put("a", slot)
	f.refresh(w)
	entry := f.configs(w)["a"]
	_, err := asynq.NewClientFromRedisClient(f.rdb).Enqueue(entry.Task, entry.Opts...)
	f.must(err)
	f.complete(f.queues.Run()) // whatever became of the task, a first emission leaves it

	clock.now = slot + 1001
	f.refresh(w)
	tasks := f.runTasks()
	if id := options(entry.Opts)[asynq.TaskIDOpt].(string); len(tasks) != 1 || tasks[id].State != asynq.TaskStateCompleted {
		t.Errorf("tasks %v", tasks)
	}
	if !f.cursor("a").Emitted {
		t.Error("the conflict did not count as emitted")
	}
}

func TestWrongIndexEntriesArePutRight(t *testing.T) {
	f := setup(t)
	w, _ := f.emitter()
	next := f.minute(10)
	for _, id := range []string{"late", "paused", "deleted", "string"} {
		f.create(id)
	}
	f.put("late", next)
	_, err := f.UpdateJob(f.ctx, "paused", func(s job.Spec) (job.Spec, error) { s.Enabled = false; return s, nil })
	f.must(err)
	f.must(f.DeleteJob(f.ctx, "deleted"))
	f.must(f.rdb.Set(f.ctx, f.key("job", "string"), "no hash", 0).Err())
	for _, id := range []string{"late", "paused", "deleted", "string", "never"} {
		f.index(id, f.now()-5000)
	}
	f.refresh(w)
	for id, want := range map[string]job.Millis{"late": next, "paused": 0, "deleted": 0, "string": 0, "never": 0} {
		if got := f.look(id); got != want {
			t.Errorf("%s: the entry is at %d, want %d", id, got, want)
		}
	}
	if n := len(f.runTasks()); n != 0 {
		t.Errorf("%d tasks were enqueued", n)
	}
}

func TestOneBadRecordStopsNobodyElse(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	due := f.minute(0)
	clock.now = due + 500
	var good []string
	for i := range 5 {
		good = append(good, fmt.Sprint("good", i))
		f.create(good[i])
		f.put(good[i], due)
	}
	for id, spoil := range map[string]map[string]any{
		"a-unreadable": {"schedule": "every now and then"},
		"a-nowhere":    {"timezone": "Atlantis/Capital"},
		"a-newer":      {"v": job.Version + 1},
		"a-no-uid":     {"uid": ""},
		"a-numbers":    {"misfireGrace": "long", "rev": "x"},
		// Its collapse fails in Redis: its record has the wrong type.
		"a-history": {"nextSlot": int64(due - 7_200_000)},
	} {
		f.create(id)
		f.put(id, due-1000)
		f.must(f.rdb.HSet(f.ctx, f.key("job", id), spoil).Err())
	}
	f.must(f.rdb.Set(f.ctx, f.key("run", job.RunID("a-history", due-7_200_000)), "no hash", 0).Err())

	for range 3 {
		f.refresh(w)
	}
	queued := f.runTasks()
	for _, id := range good {
		if queued[job.RunID(id, due)] == nil {
			t.Errorf("%s was not emitted", id)
		}
	}
	for _, id := range []string{"a-unreadable", "a-nowhere", "a-no-uid", "a-history"} {
		if n := f.logs.count("level=ERROR", "record cannot be read", "entry=job:"+id+" "); n != 1 || f.look(id) <= f.now() {
			t.Errorf("%s was reported %d times in three looks, and is looked at again in %d ms", id, n, f.look(id)-f.now())
		}
		for task := range queued {
			if strings.HasPrefix(task, id) {
				t.Errorf("%s was emitted", id)
			}
		}
	}
	if c := f.cursor("a-newer"); c.NextSlot != due-1000 || c.Emitted || f.look("a-newer") != due-1000 {
		t.Errorf("the record of a newer release is %+v, with a look at %d", c, f.look("a-newer"))
	}

	// Mended, it goes on.
	f.must(f.rdb.HSet(f.ctx, f.key("job", "a-unreadable"), "schedule", "* * * * *").Err())
	f.put("a-unreadable", due)
	f.refresh(w)
	if !f.hasTaskOf("a-unreadable") {
		t.Error("a mended job was not emitted")
	}
}

// TestNewerRecordsAreLeftToNewerSchedulers: this one may hold the lease, so the
// newer one, which acts only on what is overdue, must get to see its entries.
func TestNewerRecordsAreLeftToNewerSchedulers(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	f.create("a")
	slot := f.minute(0)
	f.put("a", slot)
	f.must(f.rdb.HSet(f.ctx, f.key("job", "a"), "v", job.Version+1).Err())
	for _, late := range []job.Millis{0, 1500, 60_000} {
		clock.now = slot + late
		f.refresh(w)
		if f.look("a") != slot {
			t.Fatalf("its entry was moved %d ms after the slot", late)
		}
	}
	// There is none: the entry is not to fill the head of the index for ever.
	clock.now = slot + 60_001
	f.refresh(w)
	if f.look("a") <= f.now() {
		t.Error("its entry stays at the head of the index")
	}
	if c := f.cursor("a"); c.NextSlot != slot || c.Emitted || len(f.runTasks()) != 0 {
		t.Errorf("the job was touched: %+v", c)
	}
}

// TestMisfire: what was missed gets its record, and the newest slot its task.
func TestMisfire(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	f.create("a")
	f.create("b", func(s *job.Spec) { s.Misfire = job.MisfireSkip })
	first, newest := f.minute(-9), f.minute(0)
	clock.now = newest + 30_000
	f.put("a", first)
	f.put("b", first)
	f.refresh(w)
	if n := len(f.runTasks()); n != 0 {
		t.Errorf("%d tasks before the cursor has moved", n)
	}
	f.refresh(w)
	f.refresh(w)
	got := slices.Sorted(maps.Keys(f.runTasks()))
	if d := cmp.Diff([]string{job.RunID("a", newest), job.RunID("b", newest)}, got); d != "" {
		t.Errorf("tasks: %s", d)
	}
	for id, reason := range map[string]string{"a": job.ReasonSuperseded, "b": job.ReasonLate} {
		runs, _, err := f.Runs(f.ctx, id, "", 10)
		f.must(err)
		if len(runs) != 1 || runs[0].Outcome != job.Missed || runs[0].Reason != reason || runs[0].Slot != first ||
			runs[0].LastSlot != newest-60_000 || runs[0].Count != 9 {
			t.Errorf("%s: records %+v", id, runs)
		}
		if n := f.logs.count("slots missed", "job_id="+id, "count=9", "reason="+reason); n != 1 {
			t.Errorf("%s: logged %d times", id, n)
		}
	}
}

// TestWorkersAway: an emitted slot waits for its claim until it is older than the
// grace; then it goes, with its task, and the newest one follows. So a job leaves
// one task behind, however long its workers are away.
func TestWorkersAway(t *testing.T) {
	f := setup(t)
	w, clock := f.emitter()
	f.create("a", func(s *job.Spec) { s.MisfireGraceSeconds = 90 })
	old, newest := f.minute(-4), f.minute(0)
	f.put("a", old)
	clock.now = old + 500
	f.refresh(w)
	if d := cmp.Diff([]string{job.RunID("a", old)}, slices.Collect(maps.Keys(f.runTasks()))); d != "" {
		t.Fatalf("tasks: %s", d)
	}
	f.index("a", old)
	clock.now = old + 90_000
	f.refresh(w)
	if c := f.cursor("a"); c.NextSlot != old || !c.Emitted {
		t.Errorf("an emitted slot was passed within its grace: %+v", c)
	}
	f.index("a", old)
	clock.now = newest + 500
	f.refresh(w)
	f.refresh(w)
	if d := cmp.Diff([]string{job.RunID("a", newest)}, slices.Collect(maps.Keys(f.runTasks()))); d != "" {
		t.Errorf("tasks: %s", d)
	}
	runs, _, err := f.Runs(f.ctx, "a", "", 10)
	f.must(err)
	if len(runs) != 1 || runs[0].Slot != old || runs[0].Count != 4 || runs[0].Reason != job.ReasonSuperseded {
		t.Errorf("records %+v", runs)
	}
}

// TestDisabledJob: what was due when a job was disabled gets its record, and what came
// later gets none.
func TestDisabledJob(t *testing.T) {
	f := setup(t)
	w, _ := f.emitter()
	f.create("a")
	first := f.minute(-200)
	f.put("a", first)
	f.must(f.rdb.HSet(f.ctx, f.key("job", "a"), "enabled", 0, "disabledAt", int64(first+90_000)).Err())
	for range 3 {
		f.refresh(w)
	}
	for _, task := range f.runTasks() {
		b, err := f.Claim(f.ctx, job.Claim{JobID: "a", UID: f.cursor("a").UID, Slot: f.cursor("a").NextSlot, Revision: f.cursor("a").Revision,
			Next: f.cursor("a").NextSlot + 60_000, Token: task.ID})
		if f.must(err); b.Verdict != job.BeginDropped {
			t.Errorf("claim: %s", b.Verdict)
		}
	}
	runs, _, err := f.Runs(f.ctx, "a", "", 10)
	f.must(err)
	if len(runs) != 1 || runs[0].Outcome != job.Skipped || runs[0].Slot != first || runs[0].LastSlot != first+60_000 || runs[0].Count != 2 {
		t.Errorf("records %+v", runs)
	}
	if c := f.cursor("a"); c.NextSlot != 0 || f.look("a") != 0 {
		t.Errorf("cursor %+v", c)
	}
}
