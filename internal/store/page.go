package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// position reads a cursor, the score of the last entry of the page before; "" is 0. It
// refuses what is none of ours, another spelling of the same number included.
func position(cursor string) (int64, error) {
	if cursor == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(cursor, 10, 64)
	if err != nil || n <= 0 || len(cursor) > 16 || cursorAt(n) != cursor {
		return 0, errCursor()
	}
	return n, nil
}

// cursorAt is the cursor of what comes after a score.
func cursorAt(score int64) string { return strconv.FormatInt(score, 10) }

func errCursor() error {
	return &job.InvalidError{Problems: []job.Problem{{Field: "cursor",
		Detail: "must be a nextCursor of an earlier answer, or absent for the first page"}}}
}

// index is a range of a sorted set, from where a page begins. One with a prefix is a list of
// an owner's; see ownJobs.
type index struct {
	redis.ZRangeArgs
	prefix string
}

// behind returns the index from behind an entry of that score.
func (i index) behind(score int64) index {
	i.Start = "(" + cursorAt(score)
	if i.prefix != "" {
		i.Start = fmt.Sprintf("(%s%016d!", i.prefix, score) // a space comes before the id
	}
	return i
}

// head reads the first entries of an index, at most limit, and whether there are more.
func (s *Store) head(ctx context.Context, z index, limit int) ([]redis.Z, bool, error) {
	z.Count = int64(limit) + 1
	var entries []redis.Z
	if z.prefix != "" {
		own, err := s.client(ctx).ZRangeArgs(ctx, z.ZRangeArgs).Result()
		if err != nil {
			return nil, false, err
		}
		entries = z.decode(own)
	} else {
		var err error
		if entries, err = s.client(ctx).ZRangeArgsWithScores(ctx, z.ZRangeArgs).Result(); err != nil {
			return nil, false, err
		}
	}
	more := len(entries) > limit
	return entries[:min(len(entries), limit)], more, nil
}

// members are the members of entries.
func members(entries []redis.Z) []string {
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i], _ = e.Member.(string)
	}
	return ids
}

// hashes reads many hashes in one round trip; a missing one is empty.
func (s *Store) hashes(ctx context.Context, ids []string, key func(string) string) ([]fields, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	cmds := make([]*redis.MapStringStringCmd, len(ids))
	_, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
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

// parts reads some fields of many hashes in one round trip; a missing one is empty.
func (s *Store) parts(ctx context.Context, ids []string, key func(string) string, names []string) ([]fields, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	cmds := make([]*redis.SliceCmd, len(ids))
	_, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			cmds[i] = p.HMGet(ctx, key(id), names...)
		}
		return nil
	})
	if err != nil && !isReply(err) {
		return nil, err
	}
	out := make([]fields, len(ids))
	for i, cmd := range cmds {
		out[i] = fields{}
		for k, v := range cmd.Val() {
			out[i][names[k]] = text(v)
		}
	}
	return out, nil
}

// wrongType reports whether Redis said that a key is of another type.
func wrongType(err error) bool {
	refusal, ok := errors.AsType[redis.Error](err)
	return ok && strings.HasPrefix(refusal.Error(), "WRONGTYPE ")
}

// isReply reports whether err is an error answer of Redis to one command, as
// opposed to a failure to talk to it.
func isReply(err error) bool {
	_, ok := errors.AsType[redis.Error](unanswered(err))
	return ok
}
