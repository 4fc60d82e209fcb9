package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// DueWindow reads the head of the due index: everything to be looked at within
// the horizon, at most limit entries. With behind, those that are overdue by more are
// left out.
func (s *Store) DueWindow(ctx context.Context, behind, horizon time.Duration, limit int) (job.DueWindow, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return job.DueWindow{}, fmt.Errorf("read the due index: %w", err)
	}
	from := "-inf"
	if behind > 0 {
		from = strconv.FormatInt(now.Add(-behind).UnixMilli(), 10)
	}
	var (
		entries *redis.ZSliceCmd
		pause   *redis.MapStringStringCmd
	)
	_, err = s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		entries = p.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{Key: s.keys.due(), ByScore: true,
			Start: from, Stop: strconv.FormatInt(now.Add(horizon).UnixMilli(), 10), Count: int64(limit)})
		// After the clock: what is due by then is due in the pause that is found.
		pause = p.HGetAll(ctx, s.keys.paused())
		return nil
	})
	if err != nil {
		return job.DueWindow{}, fmt.Errorf("read the due index: %w", err)
	}
	w := job.DueWindow{Now: job.ToMillis(now), Step: s.HeldStep(), Entries: make([]job.Due, len(entries.Val())),
		HeldUntil: fields(pause.Val()).millis("until")}
	if w.HeldUntil.Time().After(now.Add(s.clock.Tolerance())) {
		w.HeldUntil = 0 // by a clock that was wrong
	}
	if pause.Val()["since"] != "" {
		w.HeldUntil = w.Now
	}
	for i, e := range entries.Val() {
		id, _ := e.Member.(string)
		w.Entries[i] = job.Due{JobID: id, Look: job.Millis(e.Score)}
	}
	return w, nil
}

// Cursors reads the cursors of jobs, in one round trip; a missing job has an
// empty UID.
func (s *Store) Cursors(ctx context.Context, ids []string) ([]job.Cursor, error) {
	names := append([]string{"v", "uid", "rev", "name", "nextSlot", "nextDue", "emitted", "misfire", "misfireGrace", "disabledAt"}, timingFields...)
	rows, err := s.parts(ctx, ids, s.keys.job, names)
	if err != nil {
		return nil, fmt.Errorf("read cursors: %w", err)
	}
	out := make([]job.Cursor, len(ids))
	for i, id := range ids {
		f := rows[i]
		out[i] = job.Cursor{
			JobID: id, UID: f["uid"], Revision: f.int("rev"), Name: f["name"],
			Timing: timing(id, f), NextSlot: f.millis("nextSlot"), NextDue: nextDue(f),
			Emitted: f["emitted"] != "" && f["emitted"] == f["nextSlot"],
			Misfire: job.Misfire(f["misfire"]), Grace: time.Duration(f.int("misfireGrace")) * time.Second,
			DisabledAt: f.millis("disabledAt"),
			Newer:      f.int("v") > job.Version,
		}
	}
	return out, nil
}

// timingFields are the fields of a job that say when its runs are due.
var timingFields = []string{"schedule", "timezone", "every", "anchor", "at", "startAt", "endAt", "jitter"}

// timing is when a job's runs are due, by the fields of its hash.
func timing(id string, f fields) schedule.Timing {
	spec := job.Spec{Schedule: f["schedule"], Timezone: f["timezone"], EverySeconds: int(f.int("every")), At: f.millis("at"),
		StartAt: f.millis("startAt"), EndAt: f.millis("endAt"), JitterSeconds: int(f.int("jitter"))}
	return spec.Timing(id, f.millis("anchor"))
}

// MarkEmitted notes that carriers of these slots were enqueued.
func (s *Store) MarkEmitted(ctx context.Context, slots []job.Slot) error {
	// Not all at once, so that others have their turn in between.
	for some := range slices.Chunk(slots, 500) {
		args := make([]any, 0, 2*len(some))
		for _, slot := range some {
			args = append(args, slot.JobID, int64(slot.At))
		}
		if err := s.run(ctx, s.scripts.emitted, args...).Err(); err != nil {
			return fmt.Errorf("mark %d slots as emitted: %w", len(some), err)
		}
	}
	return nil
}

// Collapse moves a cursor past slots that will not run and records them. It
// reports false if the cursor was moved meanwhile, or waits for a claim.
func (s *Store) Collapse(ctx context.Context, c job.Collapse) (bool, error) {
	moved, err := s.run(ctx, s.scripts.collapse, "job", c.JobID, "uid", c.UID, "revision", c.Revision, "seen", optional(c.Seen),
		"first", int64(c.First), "last", int64(c.Last), "count", c.Count, "outcome", string(c.Outcome), "reason", c.Reason,
		"next", optional(c.Next), "due", optional(c.NextDue), "grace", c.EmittedGrace.Milliseconds()).Int()
	if err != nil {
		return false, fmt.Errorf("collapse %s: %w", c.JobID, err)
	}
	return moved == 1, nil
}

// Redue puts a job's entry in the due index right where it disagrees with the
// cursor that was seen.
func (s *Store) Redue(ctx context.Context, id string, seen job.Millis) error {
	if err := s.run(ctx, s.scripts.redue, id, optional(seen)).Err(); err != nil {
		return fmt.Errorf("correct the due entry of %s: %w", id, err)
	}
	return nil
}

// Postpone looks at entries of the due index later, all in one step: those that still
// stand where they were seen.
func (s *Store) Postpone(ctx context.Context, entries []job.Later) error {
	if len(entries) == 0 {
		return nil
	}
	args := make([]any, 0, 3*len(entries))
	for _, e := range entries {
		args = append(args, e.JobID, int64(e.Seen), int64(e.Look))
	}
	if err := s.run(ctx, s.scripts.postpone, args...).Err(); err != nil {
		return fmt.Errorf("postpone %d due entries, the first of %s: %w", len(entries), entries[0].JobID, err)
	}
	return nil
}

// Look goes through up to limit unfinished runs and deliveries that are due for a
// look, and returns the carriers to enqueue and what it could not read. It must be
// called every second or two, due or not: a gap forgets what was seen of expired
// leases.
func (s *Store) Look(ctx context.Context, limit int) ([]job.Carrier, []job.Unreadable, error) {
	flat, err := s.run(ctx, s.scripts.look, limit).Slice()
	if err != nil {
		return nil, nil, fmt.Errorf("look at what is unfinished: %w", err)
	}
	carriers := make([]job.Carrier, 0, len(flat)/3)
	var bad []job.Unreadable
	for i := 0; i+2 < len(flat); i += 3 {
		kind, id := text(flat[i]), text(flat[i+1])
		if kind == "x" {
			bad = append(bad, job.Unreadable{Entry: id, Reason: text(flat[i+2])})
			continue
		}
		carriers = append(carriers, job.Carrier{Kind: job.CarrierKind(kind), ID: id, N: number(flat[i+2])})
	}
	return carriers, bad, nil
}

// HoldEmitter takes or renews the emitter's lease for ttl.
func (s *Store) HoldEmitter(ctx context.Context, holder string, ttl time.Duration) (bool, error) {
	held, err := s.run(ctx, s.scripts.holdEmitter, holder, ttl.Milliseconds()).Int()
	if err != nil {
		return false, fmt.Errorf("hold the emitter lease: %w", err)
	}
	return held == 1, nil
}

// ReleaseEmitter gives the emitter's lease up if holder has it.
func (s *Store) ReleaseEmitter(ctx context.Context, holder string) error {
	if err := s.run(ctx, s.scripts.releaseEmitter, holder).Err(); err != nil {
		return fmt.Errorf("release the emitter lease: %w", err)
	}
	return nil
}
