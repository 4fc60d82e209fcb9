package tasks_test

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
	"github.com/gatewaycron/gatewaycron/tasks"
)

var queues = tasks.NewQueues("prod", 0)

func options(t *testing.T, c tasks.Carrier) map[asynq.OptionType]any {
	t.Helper()
	m := map[asynq.OptionType]any{}
	for _, o := range c.Opts {
		if _, twice := m[o.Type()]; twice {
			t.Errorf("option %v twice", o)
		}
		m[o.Type()] = o.Value()
	}
	return m
}

// TestTiming: what a carrier is told of when its job runs, it tells.
func TestTiming(t *testing.T) {
	at := time.UnixMilli(1_800_000_000_000).UTC()
	for _, want := range []schedule.Timing{
		{Cron: "0 9 * * *", Zone: "Europe/Berlin"},
		{Cron: "0 9 * * *", From: at, Until: at.Add(time.Hour), Jitter: 1234 * time.Millisecond},
		{Every: 90 * time.Second, Anchor: at},
		{At: at},
	} {
		if d := cmp.Diff(want, tasks.Run{}.WithTiming(want).Timing()); d != "" {
			t.Error(d)
		}
	}
}

// TestCarriers is the wire contract, spelled out: releases meet here.
func TestCarriers(t *testing.T) {
	delivery, err := queues.Carry("d", "a:1767225600:2", 5)
	if err != nil {
		t.Fatal(err)
	}
	run, err := queues.Carry("r", "a:manual:01J", 3)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		got                      tasks.Carrier
		kind, queue, id, payload string
	}{
		"slot": {
			got: queues.Slot(tasks.Run{Job: "a", UID: "u", Slot: 1767225600000, Revision: 4, Name: "N", Schedule: "0 9 * * *",
				Timezone: "Europe/Berlin"}),
			kind: "cron:run", queue: "prod-run", id: "a:1767225600",
			payload: `{"v":1,"job":"a","uid":"u","slot":1767225600000,"rev":4,"name":"N","schedule":"0 9 * * *","timezone":"Europe/Berlin"}`,
		},
		"slot of a job that every so often runs": {
			got: queues.Slot(tasks.Run{Job: "a", UID: "u", Slot: 60_000}.WithTiming(schedule.Timing{Every: 90 * time.Second,
				Anchor: time.UnixMilli(1000), From: time.UnixMilli(1000), Until: time.UnixMilli(9000), Jitter: 1500 * time.Millisecond})),
			kind: "cron:run", queue: "prod-run", id: "a:60",
			payload: `{"v":1,"job":"a","uid":"u","slot":60000,"every":90,"anchor":1000,"from":1000,"until":9000,"jitter":1500}`,
		},
		"slot of a job with the least": {
			got:  queues.Slot(tasks.Run{V: 99, Job: "a", UID: "u", Slot: 60_000}), // the version is ours to set
			kind: "cron:run", queue: "prod-run", id: "a:60", payload: `{"v":1,"job":"a","uid":"u","slot":60000}`,
		},
		"slots that are due together": {
			got:  queues.Batch([]tasks.Run{{Job: "a", UID: "u", Slot: 60_000, Name: "N"}, {V: 99, Job: "b", UID: "w", Slot: 60_000}}),
			kind: "cron:batch", queue: "prod-run", id: "a:60+1-bf6a02d15bdbbc3e",
			payload: `{"v":1,"slots":[{"v":1,"job":"a","uid":"u","slot":60000,"name":"N"},{"v":1,"job":"b","uid":"w","slot":60000}]}`,
		},
		"manual run": {
			got: queues.RunAgain("a:manual:01J", 0), kind: "cron:run", queue: "prod-run", id: "a:manual:01J:0",
			payload: `{"v":1,"run":"a:manual:01J"}`,
		},
		"later state of a run": {
			got: run, kind: "cron:run", queue: "prod-run", id: "a:manual:01J:3", payload: `{"v":1,"run":"a:manual:01J"}`,
		},
		"later state of a delivery": {
			got: delivery, kind: "cron:deliver", queue: "prod-deliver", id: "a:1767225600:deliver:2:5",
			payload: `{"v":1,"run":"a:1767225600","n":2}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := tc.got
			if c.Task.Type() != tc.kind || c.Queue != tc.queue || c.ID != tc.id || string(c.Task.Payload()) != tc.payload {
				t.Errorf("got %s in %s with id %s and payload\n%s", c.Task.Type(), c.Queue, c.ID, c.Task.Payload())
			}
			want := map[asynq.OptionType]any{
				asynq.TaskIDOpt: tc.id, asynq.QueueOpt: tc.queue,
				asynq.MaxRetryOpt: 1_000_000, // never reached: our retries are in the run record
				asynq.TimeoutOpt:  8 * time.Hour, asynq.RetentionOpt: 10 * time.Minute,
			}
			if d := cmp.Diff(want, options(t, c)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDeploymentsAreApart(t *testing.T) {
	other := tasks.NewQueues("test", time.Hour)
	if other.Run() == queues.Run() || other.Deliver() == queues.Deliver() || other.Run() == other.Deliver() {
		t.Errorf("queues %s, %s, %s, %s", queues.Run(), queues.Deliver(), other.Run(), other.Deliver())
	}
	if got := options(t, other.RunAgain("a:1", 0))[asynq.RetentionOpt]; got != time.Hour {
		t.Errorf("retention %v", got)
	}
}

// TestIDsAreDistinct: two different things to do must never share an id.
func TestIDsAreDistinct(t *testing.T) {
	seen := map[string]string{}
	add := func(what string, c tasks.Carrier) {
		key := c.Queue + " " + c.ID
		if other, taken := seen[key]; taken {
			t.Errorf("%s and %s are both %s", what, other, key)
		}
		seen[key] = what
	}
	add("slot", queues.Slot(tasks.Run{Job: "a", UID: "u", Slot: 60_000}))
	add("slot with another", queues.Batch([]tasks.Run{{Job: "a", UID: "u", Slot: 60_000}, {Job: "b", UID: "u", Slot: 60_000}}))
	add("slot with yet another", queues.Batch([]tasks.Run{{Job: "a", UID: "u", Slot: 60_000}, {Job: "c", UID: "u", Slot: 60_000}}))
	add("a batch of one", queues.Batch([]tasks.Run{{Job: "a", UID: "u", Slot: 60_000}}))
	add("slot of another job", queues.Slot(tasks.Run{Job: "a-1", UID: "u", Slot: 60_000}))
	add("the next slot", queues.Slot(tasks.Run{Job: "a", UID: "u", Slot: 120_000}))
	for _, run := range []string{"a:60", "a:manual:01J"} {
		add("a run", queues.RunAgain(run, 0))
		add("its next carrier", queues.RunAgain(run, 1))
		add("its delivery", queues.Delivery(run, 1, 0))
		add("its delivery's next carrier", queues.Delivery(run, 1, 1))
		add("its redelivery", queues.Delivery(run, 2, 0))
		add("a late one", queues.Delivery(run, 1, 10))
		add("a later one", queues.Delivery(run, 11, 0))
	}
}

func TestRoundTrips(t *testing.T) {
	want := tasks.Run{V: tasks.Version, Job: "a", UID: "u", Slot: math.MaxInt64 / 2, Revision: 7, Name: "Ünïcode \u2028 \"quoted\"",
		Schedule: "*/5 * * * *", Timezone: "America/Argentina/Buenos_Aires"}
	got, err := tasks.ParseRun(queues.Slot(want).Task)
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("slot: %v %s", err, d)
	}
	got, err = tasks.ParseRun(queues.RunAgain("a:60", 2).Task)
	if d := cmp.Diff(tasks.Run{V: tasks.Version, Run: "a:60"}, got); err != nil || d != "" {
		t.Errorf("run: %v %s", err, d)
	}
	d, err := tasks.ParseDeliver(queues.Delivery("a:60", 3, 2).Task)
	if diff := cmp.Diff(tasks.Deliver{V: tasks.Version, Run: "a:60", N: 3}, d); err != nil || diff != "" {
		t.Errorf("delivery: %v %s", err, diff)
	}
}

func TestParse(t *testing.T) {
	const slot = `"job":"a","uid":"u","slot":60000`
	for _, tc := range []struct {
		name, run, deliver string // payloads of both kinds
		want               string // in the error; "" means it is read
	}{
		{"as written", `{"v":1,` + slot + `}`, `{"v":1,"run":"a:60","n":1}`, ""},
		{"fields of a later release", `{"v":1,` + slot + `,"x":{"y":[1]}}`, `{"v":1,"run":"a:60","n":1,"x":null}`, ""},
		{"newer, with another shape", `{"v":2,"slots":[1]}`, `{"v":2,"runs":["a:60"]}`, ""},
		{"newer, with other types", `{"v":2,"slot":"2026-01-01","job":{}}`, `{"n":"first","run":7,"v":2}`, ""},
		{"empty", ``, ``, "decode"},
		{"not JSON", `{"v":1,`, `<xml/>`, "decode"},
		{"newer, but not JSON", `{"v":2,`, `{"v":2`, "decode"},
		{"two values", `{"v":1,` + slot + `} {}`, `{"v":1,"run":"a:60","n":1}x`, "decode"},
		{"not an object", `[1]`, `"a:60"`, "decode"},
		{"null", `null`, `null`, "neither a run nor a slot|no delivery"},
		{"nothing in it", `{"v":1}`, `{"v":1}`, "neither a run nor a slot|no delivery"},
		{"half of it", `{"v":1,"job":"a","slot":60000}`, `{"v":1,"run":"a:60"}`, "neither a run nor a slot|no delivery"},
		{"out of range", `{"v":1,"job":"a","uid":"u","slot":-60000}`, `{"v":1,"run":"a:60","n":0}`, "neither a run nor a slot|no delivery"},
		{"other types", `{"v":1,"job":"a","uid":"u","slot":"60000"}`, `{"v":1,"run":"a:60","n":1.5}`, "decode"},
		{"too large a number", `{"v":1,"job":"a","uid":"u","slot":1e30}`, `{"v":1,"run":"a:60","n":1e30}`, "decode"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, runErr := tasks.ParseRun(asynq.NewTask(tasks.TypeRun, []byte(tc.run)))
			_, deliverErr := tasks.ParseDeliver(asynq.NewTask(tasks.TypeDeliver, []byte(tc.deliver)))
			forRun, forDeliver, ok := strings.Cut(tc.want, "|")
			if !ok {
				forDeliver = forRun
			}
			check(t, runErr, forRun, tasks.TypeRun)
			check(t, deliverErr, forDeliver, tasks.TypeDeliver)
		})
	}
}

func TestParseBatch(t *testing.T) {
	const slot = `{"v":1,"job":"a","uid":"u","slot":60000}`
	many := func(n int) string {
		return `{"v":1,"slots":[` + strings.Join(slices.Repeat([]string{slot}, n), ",") + `]}`
	}
	for _, tc := range []struct{ name, payload, want string }{
		{"one", many(1), ""},
		{"the most", many(tasks.BatchSize), ""},
		{"fields of a later release", `{"v":1,"slots":[{"v":1,"job":"a","uid":"u","slot":60000,"x":[1]}],"y":{}}`, ""},
		{"newer, with another shape", `{"v":2,"slots":{"a":60000}}`, ""},
		{"one too many", many(tasks.BatchSize + 1), "17 slots, of 1 to 16"},
		{"none", many(0), "0 slots"},
		{"null", `null`, "0 slots"},
		{"a payload of one slot", slot, "0 slots"},
		{"not JSON", `{"v":1,"slots":[`, "decode"},
		{"other types", `{"v":1,"slots":[1]}`, "decode"},
		{"a slot without a job", `{"v":1,"slots":[` + slot + `,{"v":1,"uid":"u","slot":60000}]}`, "not only slots"},
		{"a run among them", `{"v":1,"slots":[{"v":1,"run":"a:60"}]}`, "not only slots"},
		{"a slot that is a run too", `{"v":1,"slots":[{"v":1,"job":"a","uid":"u","slot":60000,"run":"a:60"}]}`, "not only slots"},
		{"a slot of a later release", `{"v":1,"slots":[{"v":2,"job":"a","uid":"u","slot":60000}]}`, "not only slots"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := tasks.ParseBatch(asynq.NewTask(tasks.TypeBatch, []byte(tc.payload)))
			check(t, err, tc.want, tasks.TypeBatch)
		})
	}
}

// TestBatchKeepsItsSlots: each of them can be made a carrier of its own again.
func TestBatchKeepsItsSlots(t *testing.T) {
	want := []tasks.Run{
		tasks.Run{Job: "a", UID: "u", Slot: 60_000, Revision: 3, Name: "N"}.WithTiming(schedule.Timing{Cron: "0 9 * * *", Zone: "Europe/Berlin"}),
		tasks.Run{Job: "b", UID: "w", Slot: 120_000}.WithTiming(schedule.Timing{Every: time.Minute, Anchor: time.UnixMilli(1000)}),
	}
	got, err := tasks.ParseBatch(queues.Batch(want).Task)
	if err != nil {
		t.Fatal(err)
	}
	for i, slot := range got.Slots {
		alone := queues.Slot(slot)
		if ought := queues.Slot(want[i]); alone.ID != ought.ID || string(alone.Task.Payload()) != string(ought.Task.Payload()) {
			t.Errorf("got %s, want %s", alone.Task.Payload(), ought.Task.Payload())
		}
	}
	if want[0].V != 0 {
		t.Error("what the caller gave was changed")
	}
}

func check(t *testing.T, err error, want, kind string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", kind, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), kind)):
		t.Errorf("%s: error %v, want one with %q", kind, err, want)
	}
}

// TestNewerPayloadsAreRecognised: they are given back, whatever is in them.
func TestNewerPayloadsAreRecognised(t *testing.T) {
	p, err := tasks.ParseRun(asynq.NewTask(tasks.TypeRun, []byte(`{"slot":{"at":1},"v":9}`)))
	if err != nil || p.V != 9 {
		t.Errorf("run: %+v, %v", p, err)
	}
	d, err := tasks.ParseDeliver(asynq.NewTask(tasks.TypeDeliver, []byte(`{"n":"x","v":9}`)))
	if err != nil || d.V != 9 {
		t.Errorf("delivery: %+v, %v", d, err)
	}
}

func TestCarryRefuses(t *testing.T) {
	for _, tc := range [][2]string{{"", "a:60"}, {"x", "a:60"}, {"R", "a:60"}, {"d", ""}, {"d", "a"}, {"d", "1"}, {"d", ":1"},
		{"d", "a:60:"}, {"d", "a:60:x"}, {"d", "a:60:0"}, {"d", "a:60:-1"}, {"d", "a:60:99999999999999999999"}} {
		if c, err := queues.Carry(tc[0], tc[1], 0); err == nil || c.Task != nil {
			t.Errorf("Carry(%q, %q) made %s", tc[0], tc[1], c.ID)
		}
	}
}

func TestEnqueue(t *testing.T) {
	db := redistest.Start(t)
	client := asynq.NewClient(db.Asynq())
	defer client.Close()
	c := queues.RunAgain("a:60", 0)
	for range 2 { // the second finds the first
		if err := c.Enqueue(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	inspector := asynq.NewInspector(db.Asynq())
	defer inspector.Close()
	info, err := inspector.GetTaskInfo(queues.Run(), c.ID)
	if err != nil || info.State != asynq.TaskStatePending || string(info.Payload) != string(c.Task.Payload()) {
		t.Errorf("task %+v, %v", info, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := queues.RunAgain("a:61", 0).Enqueue(ctx, client); err == nil || !strings.Contains(err.Error(), "a:61:0") {
		t.Errorf("error %v, want one that names the task", err)
	}
}

func FuzzParseRun(f *testing.F) {
	for _, seed := range []string{
		`{"v":1,"job":"a","uid":"u","slot":1767225600000,"rev":4,"name":"N","schedule":"0 9 * * *","timezone":"UTC"}`,
		`{"v":1,"run":"a:manual:01J"}`, `{"v":2,"slots":[1]}`, `{"v":1,"slot":-1}`, `null`, `[]`, `{"V":1,"RUN":"x"}`, `{"v":1e400}`, "{\"run\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Add(queues.Batch([]tasks.Run{{Job: "a", UID: "u", Slot: 60_000}, {Job: "b", UID: "w", Slot: 60_000}}).Task.Payload())
	f.Fuzz(func(t *testing.T, payload []byte) {
		if b, err := tasks.ParseBatch(asynq.NewTask(tasks.TypeBatch, payload)); err == nil && b.V <= tasks.Version {
			for _, slot := range b.Slots {
				if _, err := tasks.ParseRun(queues.Slot(slot).Task); err != nil {
					t.Errorf("%q was read as a batch with %+v: %v", payload, slot, err)
				}
			}
		}
		p, err := tasks.ParseRun(asynq.NewTask(tasks.TypeRun, payload))
		if err != nil {
			if p != (tasks.Run{}) {
				t.Errorf("an error with %+v", p)
			}
			return
		}
		if p.V > tasks.Version {
			return
		}
		if p.Run == "" && (p.Job == "" || p.UID == "" || p.Slot <= 0) {
			t.Fatalf("%q was read as %+v, which is neither a run nor a slot", payload, p)
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if q, err := tasks.ParseRun(asynq.NewTask(tasks.TypeRun, again)); err != nil || q != p {
			t.Errorf("%+v is written and read as %+v, %v", p, q, err)
		}
	})
}
