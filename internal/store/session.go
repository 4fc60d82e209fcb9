package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// messagesAtOnce is how many messages of a session are read at once, each of which can have
// megabytes.
const messagesAtOnce = 4

// ReadSession reads messages of a session, oldest first: the newest, or those before the
// page that the cursor comes from. They are at most limit, and so many that they have no
// more than maxBytes together, but one at least. The second value is the cursor of those
// before them, "" if there are none. Errors: job.ErrNotFound, and *job.InvalidError for a
// cursor that is none.
func (s *Store) ReadSession(ctx context.Context, key, cursor string, limit, maxBytes int) (job.Session, string, error) {
	if err := s.ownsSession(ctx, key); err != nil {
		return job.Session{}, "", fmt.Errorf("read session %s: %w", key, err)
	}
	from, err := placeOf(cursor)
	if err != nil {
		return job.Session{}, "", err
	}
	out, next, err := s.readBack(ctx, key, from, limit, maxBytes)
	if wrongType(err) { // the next reply puts that aside
		err = job.ErrNotFound
	}
	if err != nil {
		return job.Session{}, "", fmt.Errorf("read session %s: %w", key, err)
	}
	if cursor == "" && len(out.Messages) == 0 {
		return job.Session{}, "", fmt.Errorf("read session %s: %w", key, job.ErrNotFound)
	}
	return out, next, nil
}

// SessionID returns the id that the conversation of a session key has at the ai-server: the
// key, unless that would be the conversation of another one. It is the key's from then on, for
// as long as one that would be called the same is used. other, if there is one, is the key
// that the ai-server itself names as the one whose conversation has the id found.
// Errors: job.ErrConflict, if all ids that the key could have are those of others.
func (s *Store) SessionID(ctx context.Context, key, other, found string) (string, error) {
	args := []any{key, other, found}
	for _, id := range job.SessionIDs(key) {
		folds := job.Folds(id)
		args = append(args, id, len(folds))
		for _, fold := range folds {
			args = append(args, fold)
		}
	}
	said, rest, err := s.durably(ctx, s.scripts.sessionID, args...)
	switch {
	case err != nil:
		return "", fmt.Errorf("id of session %s: %w", key, err)
	case len(rest) != 1:
		return "", fmt.Errorf("id of session %s: %w", key, s.scripts.sessionID.notSo(said, rest))
	}
	return text(rest[0]), nil
}

// place is a message of a session: how far from the newest it was, from 1, and which it is,
// since newer ones may have come. The zero value is behind the newest.
type place struct {
	back      int64
	role, run string
}

// readBack reads from a place towards the oldest message.
func (s *Store) readBack(ctx context.Context, key string, at place, limit, maxBytes int) (job.Session, string, error) {
	out := job.Session{Key: key}
	size, more := 0, true
	for more && len(out.Messages) < limit {
		var (
			list    *redis.StringSliceCmd
			updated *redis.FloatCmd
		)
		// The message at the place comes along, to see that it still is there.
		asked := int64(min(messagesAtOnce, limit-len(out.Messages)))
		_, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
			list = p.LRange(ctx, s.keys.session(key), -at.back-asked, -max(at.back, 1))
			updated = p.ZScore(ctx, s.keys.sessions(), key)
			return nil
		})
		if err != nil && !isReply(err) {
			return out, "", err
		}
		if err := list.Err(); err != nil {
			return out, "", err
		}
		out.UpdatedAt = job.Millis(updated.Val())
		items := list.Val()
		if at.back > 0 {
			if len(items) == 0 {
				return out, "", nil // it is gone, and with it what was before it
			}
			there, err := decodeMessage(items[len(items)-1])
			if err != nil {
				return out, "", err
			}
			if there.Role != at.role || there.RunID != at.run {
				at.back++ // a newer one has come
				continue
			}
			items = items[:len(items)-1]
		}
		more = int64(len(items)) == asked
		for _, item := range slices.Backward(items) {
			if len(out.Messages) > 0 && size+len(item) > maxBytes {
				return oldestFirst(out), at.cursor(), nil
			}
			m, err := decodeMessage(item)
			if err != nil {
				return out, "", err
			}
			out.Messages = append(out.Messages, m)
			size += len(item)
			at = place{at.back + 1, m.Role, m.RunID}
		}
	}
	if more {
		n, err := s.client(ctx).LLen(ctx, s.keys.session(key)).Result()
		if err != nil {
			return out, "", err
		}
		more = n > at.back
	}
	if !more {
		return oldestFirst(out), "", nil
	}
	return oldestFirst(out), at.cursor(), nil
}

func oldestFirst(s job.Session) job.Session {
	slices.Reverse(s.Messages)
	return s
}

func decodeMessage(item string) (job.Message, error) {
	var m job.Message
	if err := json.Unmarshal([]byte(item), &m); err != nil {
		return m, fmt.Errorf("decode a message: %w", err)
	}
	return m, nil
}

// cursor is the place as a client sends it back.
func (p place) cursor() string { return strconv.FormatInt(p.back, 10) + "." + p.role + "." + p.run }

// placeOf reads a cursor.
func placeOf(cursor string) (place, error) {
	if cursor == "" {
		return place{}, nil
	}
	back, which, _ := strings.Cut(cursor, ".")
	role, run, ok := strings.Cut(which, ".")
	n, err := strconv.ParseInt(back, 10, 32)
	if err != nil || n < 1 || !ok || (place{n, role, run}).cursor() != cursor {
		return place{}, errCursor()
	}
	return place{n, role, run}, nil
}
