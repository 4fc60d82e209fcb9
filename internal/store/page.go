package store

import (
	"context"
	"errors"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// checkCursor refuses what is not a cursor of ours: the score of the last entry
// of the page before.
func checkCursor(cursor string) error {
	if n, err := strconv.ParseInt(cursor, 10, 64); err != nil || n <= 0 || len(cursor) > 16 {
		return &job.InvalidError{Problems: []job.Problem{{Field: "cursor",
			Detail: "must be a nextCursor of an earlier answer, or absent for the first page"}}}
	}
	return nil
}

// page reads up to limit members of a ZSET and the cursor of the next page, ""
// if there is none.
func (s *Store) page(ctx context.Context, z redis.ZRangeArgs, limit int) (ids []string, next string, err error) {
	z.Count = int64(limit) + 1
	entries, err := s.rdb.ZRangeArgsWithScores(ctx, z).Result()
	if err != nil {
		return nil, "", err
	}
	if len(entries) > limit {
		entries = entries[:limit]
		next = strconv.FormatInt(int64(entries[limit-1].Score), 10)
	}
	for _, e := range entries {
		id, _ := e.Member.(string)
		ids = append(ids, id)
	}
	return ids, next, nil
}

// hashes reads many hashes in one round trip; a missing one is empty.
func (s *Store) hashes(ctx context.Context, ids []string, key func(string) string) ([]fields, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	cmds := make([]*redis.MapStringStringCmd, len(ids))
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			cmds[i] = p.HGetAll(ctx, key(id))
		}
		return nil
	})
	if err != nil && !isReply(err) {
		return nil, err
	}
	out := make([]fields, len(ids))
	for i, cmd := range cmds {
		out[i] = cmd.Val() // a key of the wrong type reads as missing: one bad record stops nobody
	}
	return out, nil
}

// isReply reports whether err is an error answer of Redis to one command, as
// opposed to a failure to talk to it.
func isReply(err error) bool {
	_, ok := errors.AsType[redis.Error](unanswered(err))
	return ok
}
