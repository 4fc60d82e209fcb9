package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// Which agents there are. The sessions of an agent begin with its id, and an id may have
// colons, so that only who knows all ids can tell whose a session is. A new id that could be
// mistaken for another one's is refused (enter_agent in lib/quota.lua). Stores of before have such
// ids, and their jobs go on: there a session belongs to the longest id that it begins with.
//
// An id is in use while a job or a token has it, and for as long after as its sessions and
// runs may be there. The repair notes it each time it comes by, so that no run has to.

// agentsPage is how many records are read at once for their agents.
const agentsPage = 1000

// seenEvery is how old the note that an agent is in use becomes before it is renewed.
const seenEvery = time.Hour

// allAgents is a member of the ids in use: they are those of all records, not only of what was
// written since there is such a list.
const allAgents = "*"

// agentArgs are an agent id, its folds and their stems, as scripts take them.
func agentArgs(id string) (_, folds, stems string) {
	f, s := agentFolds(id)
	return id, strings.Join(f, " "), strings.Join(s, " ")
}

func agentFolds(id string) (folds, stems []string) {
	folds = job.Folds(id)
	for _, fold := range folds {
		stems = append(stems, job.Stems(fold)...)
	}
	return folds, stems
}

// agentMember is how an id is among those in use.
func agentMember(id string) string { return "i " + id }

func errAgent() error { return errAgentOf("agentId", `"main"`) }

// errAgentOf does not name the other agent, who may be a stranger to whoever asks.
func errAgentOf(field, example string) error {
	return &job.InvalidError{Problems: []job.Problem{{Field: field, Example: example,
		Detail: "names an agent that could not be told from another one that is in use: their ids differ in nothing but case and special characters, " +
			"or one begins with the other and a colon. Use that one, or a name of its own"}}}
}

// permits returns an *job.OutOfScopeError if the holder of a token may not define a job so.
func (s *Store) permits(ctx context.Context, t *job.Token, id string, before *job.Spec, spec job.Spec) error {
	if err := t.Permits(id, before, spec); err != nil {
		return err
	}
	if t == nil || spec.SessionKey == "" || before != nil && before.SessionKey == spec.SessionKey {
		return nil
	}
	owns, err := s.tokenOwnsSession(ctx, t, spec.SessionKey)
	if err == nil && !owns {
		err = &job.OutOfScopeError{Problem: job.Problem{Field: "sessionKey", Detail: "is that of another agent; leave it out, or use one of the token's own",
			Example: strconv.Quote("agent:" + t.Agent() + ":morning")}}
	}
	return err
}

// ownsSession returns job.ErrNotFound if a session is not the caller's.
func (s *Store) ownsSession(ctx context.Context, key string) error {
	owns, err := s.tokenOwnsSession(ctx, job.TokenOf(ctx), key)
	if err == nil && !owns {
		err = job.ErrNotFound
	}
	return err
}

func (s *Store) tokenOwnsSession(ctx context.Context, t *job.Token, key string) (bool, error) {
	if !t.OwnsSession(key) {
		return false, nil
	}
	if t == nil || t.SessionKey != "" {
		return true, nil
	}
	longer := slices.DeleteFunc(job.AgentsOf(key), func(id string) bool { return len(id) <= len(t.AgentID) })
	other, err := s.longestAgent(ctx, longer)
	return other == "", err
}

// withOwner returns a token for a session with the agent whose that is; that of a token of
// before is not on record.
func (s *Store) withOwner(ctx context.Context, t job.Token) (job.Token, error) {
	if t.SessionKey == "" || t.Owner != "" {
		return t, nil
	}
	var err error
	t.Owner, err = s.longestAgent(ctx, job.AgentsOf(t.SessionKey))
	return t, err
}

// longestAgent returns the last of some ids that is in use, "" if none is.
func (s *Store) longestAgent(ctx context.Context, ids []string) (string, error) {
	if len(ids) == 0 {
		return "", nil
	}
	if err := s.learnAgents(ctx); err != nil {
		return "", err
	}
	pipe, cmds := s.client(ctx).Pipeline(), make([]*redis.FloatCmd, len(ids))
	for i, id := range ids {
		cmds[i] = pipe.ZScore(ctx, s.keys.agentIDs(), agentMember(id))
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("whose session: %w", err)
	}
	for i, cmd := range slices.Backward(cmds) {
		if cmd.Err() == nil {
			return ids[i], nil
		}
	}
	return "", nil
}

// learnAgents sees to it that the agents of all records are known.
func (s *Store) learnAgents(ctx context.Context) error {
	if s.agentIDsKnown.Load() {
		return nil
	}
	s.learning.Lock()
	defer s.learning.Unlock()
	if s.agentIDsKnown.Load() {
		return nil
	}
	err := s.client(ctx).ZScore(ctx, s.keys.agentIDs(), allAgents).Err()
	if errors.Is(err, redis.Nil) || wrongType(err) {
		err = s.readAgents(ctx)
	}
	if err != nil {
		return fmt.Errorf("learn which agents there are: %w", err)
	}
	s.agentIDsKnown.Store(true)
	return nil
}

// readAgents reads the agents of all jobs and tokens, and of those runs of deleted jobs that
// are still listed. A scan finds all that is there from its beginning to its end; what is made
// meanwhile enters its agent itself.
func (s *Store) readAgents(ctx context.Context) error {
	agents := map[string]bool{}
	for _, of := range []struct {
		list   string
		record func(string) string
		field  string
	}{{s.keys.jobs(), s.keys.job, "agentId"}, {s.keys.ended(), s.keys.job, "agentId"}, {s.keys.allRuns(), s.keys.run, "agent"}} {
		for cursor := uint64(0); ; {
			flat, next, err := s.client(ctx).ZScan(ctx, of.list, cursor, "", agentsPage).Result()
			if wrongType(err) {
				break // a damaged list stops nothing, and what is mended of it is seen then
			}
			if err != nil {
				return err
			}
			if ids := scanned(flat); len(ids) > 0 {
				cmds := make([]*redis.StringCmd, len(ids))
				if _, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
					for i, id := range ids {
						cmds[i] = p.HGet(ctx, of.record(id), of.field)
					}
					return nil
				}); err != nil && !isReply(err) {
					return err
				}
				for _, cmd := range cmds {
					agents[cmp.Or(cmd.Val(), job.DefaultAgent)] = true
				}
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
	}
	if err := s.seeAgentIDs(ctx, agents, true, false); err != nil {
		return err
	}
	return s.client(ctx).ZAdd(ctx, s.keys.agentIDs(), redis.Z{Score: math.Inf(1), Member: allAgents}).Err()
}

// seeAgentIDs notes agents as in use, and with tokens also those of the tokens. With all, the
// agents of all jobs were seen since it was last called so: what nobody has seen for as long
// as its sessions and runs are kept is in use no more.
func (s *Store) seeAgentIDs(ctx context.Context, agents map[string]bool, tokens, all bool) error {
	if tokens {
		list, err := s.Tokens(ctx)
		if err != nil {
			return err
		}
		for _, t := range list {
			agents[t.Agent()] = true
		}
	}
	now, err := s.Now(ctx)
	if err != nil {
		return err
	}
	err = s.noteAgentIDs(ctx, slices.Sorted(maps.Keys(agents)), now)
	if err == nil && all {
		err = s.client(ctx).ZRemRangeByScore(ctx, s.keys.agentIDs(), "-inf", strconv.FormatInt(now.Add(-s.agentIDTTL).UnixMilli(), 10)).Err()
	}
	if wrongType(err) { // all can be read again
		if err = s.client(ctx).Del(ctx, s.keys.agentIDs()).Err(); err == nil {
			err = s.readAgents(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("note the agents in use: %w", err)
	}
	return nil
}

// noteAgentIDs notes agents as in use, unless that was done within seenEvery.
func (s *Store) noteAgentIDs(ctx context.Context, ids []string, now time.Time) error {
	for ids := range slices.Chunk(ids, agentsPage) {
		members := make([]string, len(ids))
		for i, id := range ids {
			members[i] = agentMember(id)
		}
		seen, err := s.client(ctx).ZMScore(ctx, s.keys.agentIDs(), members...).Result()
		if err != nil {
			return err
		}
		var entries []redis.Z
		for i, id := range ids {
			if now.Sub(job.Millis(seen[i]).Time()) < seenEvery {
				continue
			}
			folds, stems := agentFolds(id)
			for kind, names := range map[string][]string{"i ": {id}, "f ": folds, "s ": stems} {
				for _, name := range names {
					entries = append(entries, redis.Z{Score: float64(now.UnixMilli()), Member: kind + name})
				}
			}
		}
		if len(entries) == 0 {
			continue
		}
		if err := s.client(ctx).ZAdd(ctx, s.keys.agentIDs(), entries...).Err(); err != nil {
			return err
		}
	}
	return nil
}
