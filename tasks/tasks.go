// Package tasks is the wire contract of the queue: task types, payloads, task
// ids, queues and options. Schedulers and workers of different releases meet
// here, so a change must be readable by both.
//
// A task is only a carrier: it may be lost, doubled or late. The run record in
// the store decides what happens. A payload holds ids and what a person needs to
// recognise it in the dashboard, never the task text.
//
// It must not import anything of ours but schedule, whose timings a payload spells out.
package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// Task types.
const (
	TypeRun     = "cron:run"
	TypeBatch   = "cron:batch" // several slots, for the queue's sake: see Batch
	TypeDeliver = "cron:deliver"
)

// Version is the payload version this release writes; a higher one is given back
// to the queue for a newer worker.
const Version = 1

const (
	// timeout is larger than any deadline of ours, so that asynq never ends a
	// handler: the handler's own deadline, lease and shutdown do.
	timeout = 8 * time.Hour
	// maxRetry is never reached. asynq's retries carry only "Redis is away", "too
	// early" and "newer than me"; ours are in the run record. With zero, a crash
	// would archive the task.
	maxRetry = 1_000_000
	// DefaultRetention is how long a finished task stays visible in the dashboard, with
	// what became of it. Its id is taken for as long; a later state has another id. How
	// many are kept is bounded by the scheduler.
	DefaultRetention = 10 * time.Minute
)

// Run is the payload of cron:run. A carrier of a slot has Job, UID, Slot and
// Revision; a carrier of an existing run has Run.
type Run struct {
	V        int    `json:"v"`
	Job      string `json:"job,omitempty"`
	UID      string `json:"uid,omitempty"`
	Slot     int64  `json:"slot,omitempty"` // UTC ms
	Revision int64  `json:"rev,omitempty"`
	Name     string `json:"name,omitempty"`
	Schedule string `json:"schedule,omitempty"`
	Timezone string `json:"timezone,omitempty"`
	// The rest of what says when the job's runs are due; seconds, and UTC ms.
	Every  int64  `json:"every,omitempty"`
	Anchor int64  `json:"anchor,omitempty"`
	At     int64  `json:"at,omitempty"`
	From   int64  `json:"from,omitempty"`
	Until  int64  `json:"until,omitempty"`
	Jitter int64  `json:"jitter,omitempty"` // ms
	Run    string `json:"run,omitempty"`
}

// WithTiming returns r with what says when the job's runs are due.
func (r Run) WithTiming(t schedule.Timing) Run {
	ms := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.UnixMilli()
	}
	r.Schedule, r.Timezone = t.Cron, t.Zone
	r.Every, r.Anchor, r.At = int64(t.Every/time.Second), ms(t.Anchor), ms(t.At)
	r.From, r.Until, r.Jitter = ms(t.From), ms(t.Until), t.Jitter.Milliseconds()
	return r
}

// Timing is what WithTiming was given.
func (r Run) Timing() schedule.Timing {
	at := func(ms int64) time.Time {
		if ms == 0 {
			return time.Time{}
		}
		return time.UnixMilli(ms).UTC()
	}
	return schedule.Timing{
		Cron: r.Schedule, Zone: r.Timezone, Every: time.Duration(r.Every) * time.Second, Anchor: at(r.Anchor), At: at(r.At),
		From: at(r.From), Until: at(r.Until), Jitter: time.Duration(r.Jitter) * time.Millisecond,
	}
}

// Batch is the payload of cron:batch: slots that are due at once. The queue's work for
// a task is several times that for a slot, so where hundreds are due some share one. A
// worker runs them one after the other, and hands back as carriers of their own what
// would wait.
type Batch struct {
	V     int   `json:"v"`
	Slots []Run `json:"slots"`
}

// BatchSize is the most slots of a batch. A larger one takes a higher Version, or workers
// of this release would give it up.
const BatchSize = 16

// Deliver is the payload of cron:deliver.
type Deliver struct {
	V   int    `json:"v"`
	Run string `json:"run"`
	N   int    `json:"n"` // the run's n-th delivery
}

// Queues names the queues of a deployment and builds its tasks. A class of tasks
// has one queue, because a task id is unique only within its queue.
type Queues struct {
	prefix    string
	retention time.Duration
}

// NewQueues returns the queues of the deployment with that key prefix: asynq's
// own keys have a fixed prefix, so the queue names keep deployments apart. A
// retention of 0 means DefaultRetention.
func NewQueues(prefix string, retention time.Duration) Queues {
	if retention == 0 {
		retention = DefaultRetention
	}
	return Queues{prefix: prefix, retention: retention}
}

// Run is the queue of cron:run and cron:batch tasks.
func (q Queues) Run() string { return q.prefix + "-run" }

// Deliver is the queue of cron:deliver tasks.
func (q Queues) Deliver() string { return q.prefix + "-deliver" }

// Carrier is a task with its options, apart because asynq's periodic task
// manager takes them apart.
type Carrier struct {
	Task *asynq.Task
	Opts []asynq.Option
	ID   string
	// Queue is where it goes.
	Queue string
}

// Slot is the carrier of a due slot: its id is <job>:<slot, unix seconds>.
func (q Queues) Slot(p Run) Carrier {
	p.V = Version
	return q.carrier(TypeRun, q.Run(), slotID(p), p)
}

// Batch is the carrier of several due slots, at least one. Its id names the first, and the
// others by their number and a hash of all: two schedulers that find the same due say the
// same, and another batch says something else.
func (q Queues) Batch(slots []Run) Carrier {
	p := Batch{V: Version, Slots: slices.Clone(slots)}
	all := fnv.New64a()
	for i := range p.Slots {
		p.Slots[i].V = Version
		_, _ = io.WriteString(all, slotID(slots[i])+"\n") // a hash takes all
	}
	id := fmt.Sprintf("%s+%d-%016x", slotID(slots[0]), len(slots)-1, all.Sum64())
	return q.carrier(TypeBatch, q.Run(), id, p)
}

func slotID(p Run) string { return p.Job + ":" + strconv.FormatInt(p.Slot/1000, 10) }

// RunAgain carries an existing run; n grows with each change of its state.
func (q Queues) RunAgain(run string, n int64) Carrier {
	return q.carrier(TypeRun, q.Run(), run+":"+strconv.FormatInt(n, 10), Run{V: Version, Run: run})
}

// Delivery carries the n-th delivery of a run; look grows with each change of its state.
func (q Queues) Delivery(run string, n int, look int64) Carrier {
	return q.carrier(TypeDeliver, q.Deliver(), fmt.Sprintf("%s:deliver:%d:%d", run, n, look),
		Deliver{V: Version, Run: run, N: n})
}

// Carry builds the carrier of something unfinished: a run (kind "r", id <run>) or
// a delivery (kind "d", id <run>:<n>).
func (q Queues) Carry(kind, id string, n int64) (Carrier, error) {
	at := strings.LastIndexByte(id, ':')
	switch kind {
	case "r":
		return q.RunAgain(id, n), nil
	case "d":
		if nth, err := strconv.Atoi(id[at+1:]); err == nil && at > 0 && nth > 0 {
			return q.Delivery(id[:at], nth, n), nil
		}
	}
	return Carrier{}, fmt.Errorf("unfinished entry %s:%s is neither a run nor a delivery", kind, id)
}

// Enqueue puts the carrier into its queue; that one of its id stands there
// already is success.
func (c Carrier) Enqueue(ctx context.Context, client *asynq.Client) error {
	if _, err := client.EnqueueContext(ctx, c.Task, c.Opts...); err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
		return fmt.Errorf("enqueue %s: %w", c.ID, err)
	}
	return nil
}

func (q Queues) carrier(kind, queue, id string, payload any) Carrier {
	body, err := json.Marshal(payload)
	if err != nil {
		panic(err) // strings and integers: cannot fail
	}
	// No Unique (it leaves stale locks behind) and no Deadline.
	opts := []asynq.Option{asynq.TaskID(id), asynq.Queue(queue), asynq.MaxRetry(maxRetry), asynq.Timeout(timeout), asynq.Retention(q.retention)}
	return Carrier{Task: asynq.NewTask(kind, body), ID: id, Queue: queue, Opts: opts}
}

// ParseRun reads the payload of a cron:run task. Of a payload newer than Version
// only V is to be trusted: what a later release writes is not checked here.
func ParseRun(t *asynq.Task) (Run, error) {
	var p Run
	err := json.Unmarshal(t.Payload(), &p)
	if p.V > Version {
		return p, nil
	}
	if err != nil {
		return Run{}, fmt.Errorf("decode the payload of %s: %w", t.Type(), err)
	}
	if p.Run == "" && !p.isSlot() {
		return Run{}, fmt.Errorf("decode the payload of %s: neither a run nor a slot", t.Type())
	}
	return p, nil
}

func (r Run) isSlot() bool { return r.Job != "" && r.UID != "" && r.Slot > 0 }

// ParseBatch reads the payload of a cron:batch task; see ParseRun for newer ones.
func ParseBatch(t *asynq.Task) (Batch, error) {
	var p Batch
	err := json.Unmarshal(t.Payload(), &p)
	if p.V > Version {
		return p, nil
	}
	if err != nil {
		return Batch{}, fmt.Errorf("decode the payload of %s: %w", t.Type(), err)
	}
	for _, slot := range p.Slots {
		if !slot.isSlot() || slot.Run != "" || slot.V > Version {
			return Batch{}, fmt.Errorf("decode the payload of %s: not only slots", t.Type())
		}
	}
	if len(p.Slots) == 0 || len(p.Slots) > BatchSize {
		return Batch{}, fmt.Errorf("decode the payload of %s: %d slots, of 1 to %d", t.Type(), len(p.Slots), BatchSize)
	}
	return p, nil
}

// ParseDeliver reads the payload of a cron:deliver task; see ParseRun for newer
// ones.
func ParseDeliver(t *asynq.Task) (Deliver, error) {
	var p Deliver
	err := json.Unmarshal(t.Payload(), &p)
	if p.V > Version {
		return p, nil
	}
	if err != nil {
		return Deliver{}, fmt.Errorf("decode the payload of %s: %w", t.Type(), err)
	}
	if p.Run == "" || p.N < 1 {
		return Deliver{}, fmt.Errorf("decode the payload of %s: no delivery", t.Type())
	}
	return p, nil
}
