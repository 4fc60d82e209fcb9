package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// cancelBatch is how many runs one script cancels at most: everybody else waits
// meanwhile.
const cancelBatch = 100

// Pause stops everything: after the answer no run begins, by a slot, by a retry or by
// hand. Attempts under way and deliveries go on. Paused already, it stays paused since
// then, and an empty reason keeps the one that was given.
func (s *Store) Pause(ctx context.Context, reason string) error {
	if _, _, err := s.durably(ctx, s.scripts.pause, reason, newToken(), job.ActorOf(ctx)); err != nil {
		return fmt.Errorf("pause everything: %w", err)
	}
	return nil
}

// Resume ends the pause of everything and returns since when it was; 0 if it was not.
// Slots that came due until now and were not claimed do not run.
func (s *Store) Resume(ctx context.Context) (job.Millis, error) {
	since, err := s.client(ctx).HGet(ctx, s.keys.paused(), "since").Int64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("resume everything: %w", err)
	}
	if _, _, err := s.durably(ctx, s.scripts.resume, since, job.ActorOf(ctx)); err != nil {
		return 0, fmt.Errorf("resume everything: %w", err)
	}
	return job.Millis(since), nil
}

// CancelPaused cancels every unfinished run while everything is paused, those under way
// included, and returns how many. It can be called again if it did not come to its end.
func (s *Store) CancelPaused(ctx context.Context) (cancelled int, err error) {
	// Nothing new becomes unfinished meanwhile, and a scan finds all that stays.
	for cursor := uint64(0); ; {
		var found []string
		found, cursor, err = s.client(ctx).ZScan(ctx, s.keys.wake(), cursor, "r:*", cancelBatch).Result()
		if err != nil {
			return cancelled, fmt.Errorf("cancel what is unfinished: %w", err)
		}
		ids := make([]string, 0, len(found)/2)
		for entry := range slices.Chunk(found, 2) { // member, score
			ids = append(ids, strings.TrimPrefix(entry[0], "r:"))
		}
		slices.Sort(ids)
		runs := make([]any, 0, len(ids))
		for _, id := range slices.Compact(ids) { // a scan may find one twice
			runs = append(runs, id)
		}
		for batch := range slices.Chunk(runs, cancelBatch) {
			_, rest, err := s.durably(ctx, s.scripts.cancelPaused, append([]any{job.ActorOf(ctx), newToken()}, batch...)...)
			if err != nil {
				return cancelled, fmt.Errorf("cancel what is unfinished: %w", err)
			}
			if len(rest) == 1 {
				cancelled += int(number(rest[0]))
			}
		}
		if cursor == 0 {
			return cancelled, nil
		}
	}
}

// Status is how the deployment as a whole stands.
func (s *Store) Status(ctx context.Context) (job.Status, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return job.Status{}, fmt.Errorf("read the status: %w", err)
	}
	var (
		pause                 *redis.MapStringStringCmd
		jobs, due, unfinished *redis.IntCmd
	)
	_, err = s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		pause = p.HGetAll(ctx, s.keys.paused())
		jobs = p.ZCard(ctx, s.keys.jobs())
		due = p.ZCount(ctx, s.keys.due(), "-inf", strconv.FormatInt(now.UnixMilli(), 10))
		unfinished = p.ZCard(ctx, s.keys.wake())
		return nil
	})
	if err != nil {
		return job.Status{}, fmt.Errorf("read the status: %w", err)
	}
	repairs, err := s.Repairs(ctx)
	if err != nil {
		return job.Status{}, fmt.Errorf("read the status: %w", err)
	}
	f := fields(pause.Val())
	return job.Status{PausedSince: f.millis("since"), PauseReason: f["reason"], AbandonedTurns: int(f.int("abandoned")),
		Jobs: int(jobs.Val()), Due: int(due.Val()), Unfinished: int(unfinished.Val()), Repairs: repairs}, nil
}
