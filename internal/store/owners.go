package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// Here are the lists of owners: which jobs an agent has, or one session of it, and which runs.
// What a token asks for costs what its holder owns, and tells nothing of others, a cursor
// included. The scripts that keep the lists of all jobs and runs keep these in the same step.
// They are there to be read only, and each reader asks the records as well: an entry that a
// release of before left behind tells nobody anything.

const (
	// ownersPage is how many entries one script brings in step.
	ownersPage = 500
	// relistEvery is how long a process that has gone over everything lets others mend what is
	// missing meanwhile.
	relistEvery = time.Minute
	// ownedAtOnce is how many of its jobs are read at once of an owner.
	ownedAtOnce = 1000
)

// owners is how far this process knows the lists of owners.
type owners struct {
	turn chan struct{} // is full while somebody goes over them
	at   string        // how far that is, which goes on where one whose time was up has stopped
	last time.Time     // when it was done
	runs atomic.Bool   // it was done once
}

// The lists that the lists of owners are made of, in the order in which these are gone over.
var ownerSources = []string{"owned", "jobs", "ended", "runs"}

// RelistOwners brings one page of the lists of owners in step with the records. The cursor of
// the first page is "", and so is the next one after the last; with an error it is the same.
func (s *Store) RelistOwners(ctx context.Context, cursor string, size int) (string, error) {
	list, at, ok := strings.Cut(cursor, " ")
	if !ok {
		list, at = ownerSources[0], "0"
	}
	next, err := s.run(ctx, s.scripts.own, list, at, size).Text()
	if err != nil {
		return cursor, fmt.Errorf("list the owners of %s: %w", list, unanswered(err))
	}
	if next != "0" {
		return list + " " + next, nil
	}
	for i, source := range ownerSources[:len(ownerSources)-1] {
		if source == list {
			return ownerSources[i+1] + " 0", nil
		}
	}
	return "", nil
}

// listOwners returns when the lists of owners are whole. Each job has one entry of its agent, so
// it takes no more than counting to know that a release before these lists has left none. Of
// runs nothing tells, so each process goes over them once.
func (s *Store) listOwners(ctx context.Context, runs bool) error {
	whole, err := s.ownersWhole(ctx)
	if err != nil {
		return fmt.Errorf("list the owners: %w", err)
	}
	if whole && (!runs || s.owners.runs.Load()) {
		return nil
	}
	select {
	case s.owners.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("list the owners: %w", ctx.Err())
	}
	defer func() { <-s.owners.turn }()
	// Somebody else has just done it; or processes of a release before make jobs all the
	// time, and the repair follows them.
	if s.owners.runs.Load() && time.Since(s.owners.last) < relistEvery {
		return nil
	}
	for {
		if s.owners.at, err = s.RelistOwners(ctx, s.owners.at, ownersPage); err != nil {
			return err
		}
		if s.owners.at == "" {
			break
		}
	}
	s.owners.last = time.Now()
	s.owners.runs.Store(true)
	return nil
}

// ownersWhole reports whether there are as many entries of agents as jobs.
func (s *Store) ownersWhole(ctx context.Context) (bool, error) {
	var jobs, ended, owned, ownedEnded *redis.IntCmd
	_, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		jobs, ended = p.ZCard(ctx, s.keys.jobs()), p.ZCard(ctx, s.keys.ended())
		owned = p.ZLexCount(ctx, s.keys.owned(), "[j:", "(j;")
		ownedEnded = p.ZLexCount(ctx, s.keys.owned(), "[e:", "(e;")
		return nil
	})
	if err != nil && !isReply(err) {
		return false, err
	}
	return err == nil && jobs.Val() == owned.Val() && ended.Val() == ownedEnded.Val(), nil
}

// ownPrefix is how the entries in owned begin of the jobs, or of the ended ones, of a token's
// holder.
func ownPrefix(t *job.Token, ended bool) string {
	kind := "j"
	if ended {
		kind = "e"
	}
	if t.Session() != "" {
		return kind + "s:" + t.Agent() + " " + t.Session() + " "
	}
	return kind + ":" + t.Agent() + " "
}

// ownJobs is the index of the jobs of a token's holder behind a score.
func (s *Store) ownJobs(t *job.Token, ended bool, after int64) index {
	prefix := ownPrefix(t, ended)
	z := index{prefix: prefix, ZRangeArgs: redis.ZRangeArgs{Key: s.keys.owned(), ByLex: true, Stop: "(" + strings.TrimSuffix(prefix, " ") + "!"}}
	return z.behind(after)
}

// decode makes of the entries of a list of an owner those of the list that it is a part of.
func (i index) decode(own []string) []redis.Z {
	entries := make([]redis.Z, len(own))
	for k, entry := range own {
		score, id, _ := strings.Cut(strings.TrimPrefix(entry, i.prefix), " ")
		n, _ := strconv.ParseInt(score, 10, 64) // what is damaged is of no record
		entries[k] = redis.Z{Score: float64(n), Member: id}
	}
	return entries
}

// ownIDs are the ids of all jobs of the caller, who has a token, those that have ended included.
func (s *Store) ownIDs(ctx context.Context) ([]string, error) {
	if err := s.listOwners(ctx, false); err != nil {
		return nil, err
	}
	var ids []string
	for _, ended := range []bool{false, true} {
		z := s.ownJobs(job.TokenOf(ctx), ended, 0)
		for more := true; more; {
			var entries []redis.Z
			var err error
			if entries, more, err = s.head(ctx, z, ownedAtOnce); err != nil {
				return nil, err
			}
			ids = append(ids, members(entries)...)
			if more {
				z = z.behind(int64(entries[len(entries)-1].Score))
			}
		}
	}
	return ids, nil
}

// ownScores are the entries of an index of jobs that are the caller's, who has a token, in its
// order.
func (s *Store) ownScores(ctx context.Context, key string) ([]redis.Z, error) {
	ids, err := s.ownIDs(ctx)
	if err != nil {
		return nil, err
	}
	var found []redis.Z
	for some := range slices.Chunk(ids, ownedAtOnce) {
		scores, err := s.client(ctx).ZMScore(ctx, key, some...).Result()
		if err != nil {
			return nil, err
		}
		for i, score := range scores {
			if score != 0 { // which the client makes of none
				found = append(found, redis.Z{Score: score, Member: some[i]})
			}
		}
	}
	slices.SortStableFunc(found, func(a, b redis.Z) int { return cmp.Compare(a.Score, b.Score) })
	return found, nil
}
