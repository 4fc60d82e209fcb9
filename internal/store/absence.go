package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

const (
	// absentKept bounds how long an absence is told after the check has last confirmed it:
	// without a check, nothing is known.
	absentKept = 15 * time.Minute
	// maxAbsent bounds the jobs of which something is noted as absent.
	maxAbsent = 1000
	// newestRecords is how many records of a job are looked through for one that stands for
	// a range of slots.
	newestRecords = 20
)

// ExpectedJobs returns a page of all jobs, oldest first, as the absence check reads them,
// and the cursor of the next page; "" after the last.
func (s *Store) ExpectedJobs(ctx context.Context, cursor string, size int) ([]job.Expected, string, error) {
	after, err := position(cursor)
	if err != nil {
		return nil, "", err
	}
	entries, more, err := s.head(ctx, index{ZRangeArgs: redis.ZRangeArgs{Key: s.keys.jobs(), ByScore: true, Start: "(" + cursorAt(after), Stop: "+inf"}}, size)
	if err != nil {
		return nil, "", fmt.Errorf("read the list of jobs: %w", err)
	}
	next := ""
	if more {
		next = cursorAt(int64(entries[len(entries)-1].Score))
	}
	ids := members(entries)
	names := append([]string{"v", "uid", "enabled", "createdAt", "updatedAt", "nextSlot", "maxRuns", "claims"}, timingFields...)
	rows, err := s.parts(ctx, ids, s.keys.job, names)
	if err != nil {
		return nil, "", fmt.Errorf("read jobs: %w", err)
	}
	if len(ids) == 0 {
		return nil, "", nil
	}
	looks, err := s.client(ctx).ZMScore(ctx, s.keys.due(), ids...).Result()
	if err != nil {
		return nil, "", fmt.Errorf("read the due index: %w", err)
	}
	jobs := make([]job.Expected, 0, len(ids))
	for i, id := range ids {
		f := rows[i]
		if f["uid"] == "" {
			continue // gone, or damaged
		}
		most := f.int("maxRuns")
		jobs = append(jobs, job.Expected{ID: id, Enabled: f["enabled"] == "1", Newer: f.int("v") > job.Version,
			Timing: timing(id, f), Since: max(f.millis("createdAt"), f.millis("updatedAt")), NextSlot: f.millis("nextSlot"),
			Look: job.Millis(looks[i]), Spent: most > 0 && f.int("claims") >= most})
	}
	return jobs, next, nil
}

// HaveRecords says of each slot whether its job's history has it: by a run of its own, or
// in a range of slots. Of one from before the oldest record that is kept nobody can tell,
// and it counts as had.
func (s *Store) HaveRecords(ctx context.Context, slots []job.Slot) ([]bool, error) {
	if len(slots) == 0 {
		return nil, nil
	}
	own := make([]*redis.IntCmd, len(slots))
	if _, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, slot := range slots {
			own[i] = p.Exists(ctx, s.keys.run(job.RunID(slot.JobID, slot.At)))
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("look for the records of slots: %w", err)
	}
	have := make([]bool, len(slots))
	for i, slot := range slots {
		have[i] = own[i].Val() > 0
		if have[i] {
			continue
		}
		var err error
		if have[i], err = s.inHistory(ctx, slot); err != nil {
			return nil, fmt.Errorf("look through the history of %s: %w", slot.JobID, err)
		}
	}
	return have, nil
}

// inHistory reports whether a slot is in a range of its job's history, or older than that.
func (s *Store) inHistory(ctx context.Context, slot job.Slot) (bool, error) {
	var (
		newest *redis.StringSliceCmd
		oldest *redis.ZSliceCmd
	)
	if _, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		newest = p.ZRevRange(ctx, s.keys.runs(slot.JobID), 0, newestRecords-1)
		oldest = p.ZRangeWithScores(ctx, s.keys.runs(slot.JobID), 0, 0)
		return nil
	}); err != nil {
		return false, err
	}
	if len(newest.Val()) == newestRecords && oldest.Val()[0].Score > float64(slot.At)*1000 {
		return true, nil // as many records as that hide what was before
	}
	rows, err := s.parts(ctx, newest.Val(), s.keys.run, []string{"slot", "lastSlot"})
	if err != nil {
		return false, err
	}
	for _, f := range rows {
		if first := f.millis("slot"); first != 0 && first <= slot.At && slot.At <= max(first, f.millis("lastSlot")) {
			return true, nil
		}
	}
	return false, nil
}

// AbsentJobs are the jobs of which a slot is noted as absent.
func (s *Store) AbsentJobs(ctx context.Context) ([]string, error) {
	ids, err := s.client(ctx).HKeys(ctx, s.keys.absent()).Result()
	if err != nil {
		return nil, fmt.Errorf("read what is absent: %w", err)
	}
	return ids, nil
}

// NoteAbsent notes slots that have no record, and jobs of which none is absent any more. It
// returns the slots that were not known before. Of more than 1,000 jobs the first are kept.
func (s *Store) NoteAbsent(ctx context.Context, absent []job.Slot, present []string) ([]job.Slot, error) {
	key := s.keys.absent()
	known := make([]*redis.StringCmd, len(absent))
	var size *redis.IntCmd
	if _, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		size = p.HLen(ctx, key)
		for i, slot := range absent {
			known[i] = p.HGet(ctx, key, slot.JobID)
		}
		return nil
	}); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("note what is absent: %w", err)
	}
	var fresh []job.Slot
	_, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		if len(present) > 0 {
			p.HDel(ctx, key, present...)
		}
		room := maxAbsent - int(size.Val())
		for i, slot := range absent {
			at := strconv.FormatInt(int64(slot.At), 10)
			isNew := errors.Is(known[i].Err(), redis.Nil)
			if isNew && room <= 0 {
				continue
			}
			if isNew {
				room--
			}
			if known[i].Val() != at {
				p.HSet(ctx, key, slot.JobID, at)
				fresh = append(fresh, slot)
			}
		}
		p.PExpire(ctx, key, absentKept)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("note what is absent: %w", err)
	}
	return fresh, nil
}

// Absent says what should have run and has no record, as far as the check knows.
func (s *Store) Absent(ctx context.Context) (job.Overdue, error) {
	all, err := s.client(ctx).HGetAll(ctx, s.keys.absent()).Result()
	if err != nil {
		return job.Overdue{}, fmt.Errorf("read what is absent: %w", err)
	}
	var slots []job.Slot
	for id, at := range all {
		slots = append(slots, job.Slot{JobID: id, At: fields{"at": at}.millis("at")})
	}
	return oldest(slots), nil
}
