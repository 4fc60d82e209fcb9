package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
	"github.com/gatewaycron/gatewaycron/tasks"
)

type windowStore interface {
	markStore
	quarantineStore
	DueWindow(ctx context.Context, behind, horizon time.Duration, limit int) (job.DueWindow, error)
	Cursors(ctx context.Context, ids []string) ([]job.Cursor, error)
	Collapse(ctx context.Context, c job.Collapse) (bool, error)
	Redue(ctx context.Context, id string, seen job.Millis) error
	Postpone(ctx context.Context, entries []job.Later) error
	NoteStep(ctx context.Context, step job.ClockStep) (bool, error)
	CheckCursor(ctx context.Context, id string) (bool, error)
}

const (
	// preview is how many of the next slots are armed, within previewHorizon: they are
	// what the dashboard shows as due soon. All others are emitted directly when due,
	// many at a time, which costs a fraction of an entry of asynq's manager: that
	// hashes and sorts all of its entries, and enqueues each by itself.
	preview        = 100
	previewHorizon = 24 * time.Hour
	// maxArmed bounds the armed entries, with those that ring.
	maxArmed = 2 * preview
	// headSize is how much of the due index is read when little is due: room for
	// the preview behind what is due, or waits for its claim.
	headSize = 2 * preview
	// maxWindow bounds one reading of what is due.
	maxWindow = 10_000
	// keepArmed is how long an entry stays after its time, unchanged, so that
	// nothing arms the slot again while its carrier is on the way.
	keepArmed = 8 * time.Second
	// armBefore is how near a slot may be to be armed: nearer, the manager's next
	// sync may come too late, and the entry would wait for the same minute of next
	// year.
	armBefore = 2*syncEvery + 500*time.Millisecond
	// ringGrace is how long an armed slot, or any slot where another scheduler is
	// the emitter, may be overdue before it is emitted here.
	ringGrace = time.Second
	// recheck is when an entry that cannot be settled is looked at again.
	recheck = time.Minute
	// batch is how many cursors are read, or carriers enqueued, at a time.
	batch = 500
	// joinFrom is how many slots must be due at once to share carriers: fewer are
	// started sooner by themselves.
	joinFrom = 64
)

// armed is a future slot that asynq's manager will enqueue.
type armed struct {
	slot   job.Millis
	config *asynq.PeriodicTaskConfig
}

// window is the head of the due index: it arms future slots, and emits at once
// what is due and not armed. It is the asynq.PeriodicTaskConfigProvider.
type window struct {
	store     windowStore
	queues    tasks.Queues
	enqueue   *enqueuer
	emitter   func() bool
	schedules *schedule.Cache
	logger    *slog.Logger

	mu    sync.Mutex
	armed map[string]armed // by job id

	// emittedLooks are re-checks that lie ahead, by job id; they need no reading.
	// Only refresh uses it.
	emittedLooks map[string]job.Millis
	// heldUntil is until when everything was paused, as refresh has read it last.
	heldUntil job.Millis
	// ahead are cursors that were read before they were due, by job id, for one refresh.
	ahead map[string]job.Cursor
	// clock is that of Redis, as refresh has read it, and held how it was set, if that is not
	// believed.
	clock redisClock
	held  job.ClockStep
	// doubt reports whether cursors are still to be checked, so that one may stand at no slot.
	doubt func() bool
	// righted is called when the clock counts again: what was done by it is to be checked.
	righted func()
}

// GetConfigs returns the armed slots, one entry each: the exact minute in UTC. It
// reads memory only, so that no outage of Redis can fail the manager's start or
// empty its list.
func (w *window) GetConfigs() ([]*asynq.PeriodicTaskConfig, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	configs := make([]*asynq.PeriodicTaskConfig, 0, len(w.armed))
	for _, a := range w.armed {
		configs = append(configs, a.config)
	}
	return configs, nil
}

// refresh reads the head of the due index, arms what lies ahead, and emits what is due.
func (w *window) refresh(ctx context.Context) error {
	emitter := w.emitter()
	asked := time.Now()
	head, err := w.store.DueWindow(ctx, 0, previewHorizon, headSize)
	if err != nil {
		return err
	}
	if err := w.step(ctx, head.Step); err != nil || head.Step.By != 0 {
		return err
	}
	w.clock.learn(asked, time.Now(), head.Now.Time())
	w.heldUntil = head.HeldUntil
	first := head
	if n := len(head.Entries); n == headSize && head.Entries[n-1].Look <= head.Now {
		if head.Now.Time().Sub(head.Entries[0].Look.Time()) <= backlogAfter {
			// They start while the others are read. What of them is late by its slot is read
			// again, so that a round lets one second's worth of a backlog go, not two.
			if _, err := w.emitOnTime(ctx, head.Entries, head.Now, emitter); err != nil {
				return err
			}
		}
		if head, err = w.store.DueWindow(ctx, 0, 0, maxWindow); err != nil {
			return err
		}
	}
	if n := len(head.Entries); n == maxWindow && head.Now.Time().Sub(head.Entries[n-1].Look.Time()) > backlogAfter {
		// A backlog fills the window: what is on time must not wait until it is worked off.
		near, err := w.store.DueWindow(ctx, backlogAfter, 0, maxWindow)
		if err != nil {
			return err
		}
		head.Entries = append(head.Entries, near.Entries...)
	}
	w.heldUntil = head.HeldUntil
	var due, ahead []job.Due
	for _, entry := range head.Entries {
		if entry.Look <= head.Now {
			due = append(due, entry)
		} else {
			ahead = append(ahead, entry)
		}
	}
	if err := w.arm(ctx, head.Now, ahead, emitter && !w.doubt()); err != nil {
		return err
	}
	err = w.emit(ctx, due, head.Now, emitter)
	if w.ahead = nil; err != nil || !emitter {
		return err
	}
	return w.readAhead(ctx, first)
}

// step notes when Redis's clock was set, and when it is right again or believed. Nothing is
// armed or emitted in between.
func (w *window) step(ctx context.Context, held job.ClockStep) error {
	if held == w.held {
		return nil
	}
	if _, err := w.store.NoteStep(ctx, held); err != nil {
		return err
	}
	if held.By == 0 {
		w.logger.Warn("the clock of redis counts again", "now_by", w.held.By.String(), "since", w.held.Since.Time())
		w.righted()
	} else {
		w.logger.Error("the clock of redis was set, nothing is emitted or claimed until that is undone or proves right",
			"by", held.By.String(), "since", held.Since.Time(), "until", held.Until.Time())
		w.mu.Lock()
		w.armed = map[string]armed{}
		w.mu.Unlock()
	}
	w.held = held
	return nil
}

// arm makes the armed set what the index says, and keeps what has just rung.
func (w *window) arm(ctx context.Context, now job.Millis, ahead []job.Due, emitter bool) error {
	w.mu.Lock()
	old := w.armed
	w.mu.Unlock()

	next := make(map[string]armed, len(old))
	for id, a := range old {
		if since := now.Time().Sub(a.slot.Time()); since >= -armBefore && since < keepArmed {
			next[id] = a
		}
	}
	looks := map[string]job.Millis{}
	var fresh []job.Due
	if emitter {
		shown := 0
		for _, entry := range ahead {
			if shown+len(fresh) == preview {
				break
			}
			a, isArmed := old[entry.JobID]
			switch {
			case isArmed && a.slot == entry.Look:
				next[entry.JobID] = a
				shown++
			case w.emittedLooks[entry.JobID] == entry.Look:
				looks[entry.JobID] = entry.Look
			case entry.Look.Time().Sub(now.Time()) > armBefore && len(next)+len(fresh) < maxArmed:
				fresh = append(fresh, entry)
			}
		}
	}
	for chunk := range slices.Chunk(fresh, batch) {
		cursors, err := w.store.Cursors(ctx, jobIDs(chunk))
		if err != nil {
			return err
		}
		for i, c := range cursors {
			switch {
			case c.UID == "" || c.Newer:
			case c.NextSlot != chunk[i].Look, c.NextSlot%60_000 != 0:
				// Enqueued already, or later than the slot, or at no minute: an entry rings
				// at minutes only.
				looks[c.JobID] = chunk[i].Look
			default:
				next[c.JobID] = armed{slot: c.NextSlot, config: w.config(c)}
			}
		}
	}
	w.emittedLooks = looks
	w.mu.Lock()
	w.armed = next
	w.mu.Unlock()
	return nil
}

// config is the entry of a slot: its exact minute, in UTC, once.
func (w *window) config(c job.Cursor) *asynq.PeriodicTaskConfig {
	t := c.NextSlot.Time()
	carrier := w.queues.Slot(slotPayload(c))
	return &asynq.PeriodicTaskConfig{
		Cronspec: fmt.Sprintf("%d %d %d %d *", t.Minute(), t.Hour(), t.Day(), int(t.Month())),
		Task:     carrier.Task,
		Opts:     carrier.Opts,
	}
}

// emit enqueues what is due, after the misfire decision: what is on time first, and
// of a backlog as much as its pace allows.
func (w *window) emit(ctx context.Context, due []job.Due, now job.Millis, emitter bool) error {
	late, err := w.emitOnTime(ctx, due, now, emitter)
	if err != nil || len(late) == 0 {
		return err
	}
	ready, later, err := w.pace(late, looksOf(due), now)
	if err != nil {
		return err
	}
	// Before anything is enqueued: another scheduler must not find the rest due.
	if err := w.store.Postpone(ctx, later); err != nil {
		return err
	}
	return w.place(ctx, ready, func() bool { return false }) // few at a time, and perhaps no worker is back yet
}

// emitOnTime enqueues what is due and no backlog, after the misfire decision, and returns
// the cursors of the backlog.
func (w *window) emitOnTime(ctx context.Context, due []job.Due, now job.Millis, emitter bool) (late []job.Cursor, err error) {
	w.mu.Lock()
	ringing := maps.Clone(w.armed)
	w.mu.Unlock()
	looks := looksOf(due)
	mayJoin := sync.OnceValue(func() bool { return w.enqueue.flows(w.queues.Run()) })
	for _, chunk := range onTimeFirst(due, now) {
		cursors, err := w.cursors(ctx, chunk)
		if err != nil {
			return nil, err
		}
		cursors = slices.DeleteFunc(cursors, func(c job.Cursor) bool {
			overdue := now.Time().Sub(looks[c.JobID].Time())
			// Its entry, the emitter, or a newer scheduler is about to do it.
			return overdue <= ringGrace && (!emitter || ringing[c.JobID].slot == c.NextSlot) ||
				overdue <= job.LateAfter && c.Newer
		})
		ready, err := w.settleAll(ctx, cursors, looks, now)
		if err != nil {
			return nil, err
		}
		var onTime []job.Cursor
		for _, c := range ready {
			if inBacklog(c, now) {
				late = append(late, c)
			} else {
				onTime = append(onTime, c)
			}
		}
		if err := w.place(ctx, onTime, mayJoin); err != nil {
			return nil, err
		}
	}
	return late, nil
}

// place enqueues the carriers of slots, and notes those that stand in the queue.
func (w *window) place(ctx context.Context, cursors []job.Cursor, mayJoin func() bool) error {
	placed, err := w.enqueue.all(ctx, w.carriers(cursors, mayJoin))
	var slots []job.Slot
	for _, p := range placed {
		slots = append(slots, p.slots...)
	}
	if markErr := w.store.MarkEmitted(ctx, slots); markErr != nil {
		return markErr
	}
	return err
}

// carriers builds the carriers of slots: one each, or, of many that go out for the first
// time, one for several. What goes out again goes by itself: its carrier is looked for by
// its id.
func (w *window) carriers(cursors []job.Cursor, mayJoin func() bool) []carrier {
	one := func(c job.Cursor) carrier {
		return carrier{Carrier: w.queues.Slot(slotPayload(c)), again: c.Emitted, slots: []job.Slot{{JobID: c.JobID, At: c.NextSlot}}}
	}
	var first []job.Cursor
	var carriers []carrier
	for _, c := range cursors {
		if c.Emitted {
			carriers = append(carriers, one(c))
		} else {
			first = append(first, c)
		}
	}
	if len(first) < joinFrom || !mayJoin() {
		for _, c := range first {
			carriers = append(carriers, one(c))
		}
		return carriers
	}
	for together := range slices.Chunk(first, tasks.BatchSize) {
		var c carrier
		var payload []tasks.Run
		for _, cursor := range together {
			payload = append(payload, slotPayload(cursor))
			c.slots = append(c.slots, job.Slot{JobID: cursor.JobID, At: cursor.NextSlot})
		}
		c.Carrier = w.queues.Batch(payload)
		carriers = append(carriers, c)
	}
	return carriers
}

// settleAll decides about due cursors and returns those whose slot is to be emitted.
func (w *window) settleAll(ctx context.Context, cursors []job.Cursor, looks map[string]job.Millis, now job.Millis) ([]job.Cursor, error) {
	var ready []job.Cursor
	var others []unsettled
	for _, c := range cursors {
		if collapse, err := w.decide(c, now); collapse == nil && err == nil {
			ready = append(ready, c)
		} else {
			others = append(others, unsettled{c, collapse, err})
		}
	}
	_, err := sideBySide(others, func(u unsettled) (func(), error) {
		later := job.Later{JobID: u.JobID, Seen: looks[u.JobID], Look: job.ToMillis(now.Time().Add(recheck))}
		return func() {}, w.settle(ctx, u, later)
	})
	return ready, err
}

// unsettled is a due cursor whose slot is not to be emitted, and what was decided instead.
type unsettled struct {
	job.Cursor
	collapse *job.Collapse
	err      error
}

// settle puts a wrong index entry right, or moves a cursor that is behind. A job that
// cannot be settled is looked at again later, so that it stops nobody else.
func (w *window) settle(ctx context.Context, u unsettled, later job.Later) error {
	err := u.err
	switch {
	case errors.Is(err, errNewer): // nobody has done it: not in the way of the others
		return w.store.Postpone(ctx, []job.Later{later})
	case errors.Is(err, errNoSlot):
		_, err = w.store.CheckCursor(ctx, u.JobID)
	case errors.Is(err, errMisplaced):
		err = w.store.Redue(ctx, u.JobID, u.NextSlot)
	case err == nil:
		err = w.collapse(ctx, u.Cursor, *u.collapse)
	}
	if err != nil && w.store.Postpone(ctx, []job.Later{later}) == nil {
		// Redis takes writes, so it is about this record alone.
		err = quarantine(ctx, w.store, w.logger, []job.Unreadable{job.UnreadableJob(u.JobID, err.Error())})
	}
	return err
}

var (
	errNewer     = errors.New("written by a newer version")
	errMisplaced = errors.New("not due")
	errNoSlot    = errors.New("no slot of its timetable")
)

// decide says what becomes of a cursor that the index calls due: nil if its slot is to be
// emitted now. Errors: errNewer, errMisplaced, errNoSlot.
func (w *window) decide(c job.Cursor, now job.Millis) (*job.Collapse, error) {
	switch {
	case c.Newer:
		return nil, errNewer
	case c.UID == "" && c.NextSlot != 0:
		return nil, errors.New("uid is missing")
	case c.NextSlot == 0 || c.NextDue > now:
		return nil, errMisplaced
	}
	timetable, err := w.schedules.Timetable(c.Timing)
	if err != nil {
		return nil, fmt.Errorf("read the stored schedule: %w", err)
	}
	if w.doubt() && !timetable.Has(c.NextSlot.Time()) {
		return nil, errNoSlot
	}
	if held := hold(c, timetable, w.heldUntil.Time()); held != nil {
		return held, nil
	}
	return decide(c, timetable, until(c, now).Time()), nil
}

// collapse moves a cursor past slots that do not run. The newest slot, if one may still
// run, is due in the index then: the next look emits it.
func (w *window) collapse(ctx context.Context, c job.Cursor, collapse job.Collapse) error {
	moved, err := w.store.Collapse(ctx, collapse)
	if err != nil {
		return err
	}
	if moved {
		about := []any{"job_id", c.JobID, "first", collapse.First.Time(), "last", collapse.Last.Time(),
			"count", collapse.Count, "reason", collapse.Reason}
		if collapse.Outcome == job.Missed {
			w.logger.Warn("slots missed", about...)
		} else {
			w.logger.Debug("slots skipped", about...) // as somebody wanted it
		}
		if c.Emitted {
			return w.enqueue.drop(w.queues.Slot(slotPayload(c)))
		}
	}
	return nil
}

func slotPayload(c job.Cursor) tasks.Run {
	return tasks.Run{Job: c.JobID, UID: c.UID, Slot: int64(c.NextSlot), Revision: c.Revision, Name: c.Name}.WithTiming(c.Timing)
}

// looksOf are the looks of due entries, by job id.
func looksOf(due []job.Due) map[string]job.Millis {
	looks := make(map[string]job.Millis, len(due))
	for _, d := range due {
		looks[d.JobID] = d.Look
	}
	return looks
}

func jobIDs(entries []job.Due) []string {
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.JobID
	}
	return ids
}
