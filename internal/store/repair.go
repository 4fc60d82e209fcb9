package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// dueSlack is how far behind its slot, or behind now, an entry of the due index may
// lie: a re-check comes a minute after now, a jittered slot at most a day late.
const dueSlack = 26 * time.Hour

// Repair goes over one page of an index, puts right what disagrees with the records,
// and counts it. The cursor of the first page is "". About size entries are a page.
func (s *Store) Repair(ctx context.Context, index job.Index, cursor string, size int) (job.RepairPage, error) {
	if cursor == "" {
		cursor = "0"
	}
	flat, err := s.run(ctx, s.scripts.repair, string(index), cursor, size).StringSlice()
	if err != nil {
		return job.RepairPage{}, fmt.Errorf("repair %s: %w", index, unanswered(err))
	}
	if len(flat)%3 != 1 {
		return job.RepairPage{}, fmt.Errorf("repair %s: script answered %d values", index, len(flat))
	}
	page := job.RepairPage{Next: nextCursor(flat[0])}
	for found := range slices.Chunk(flat[1:], 3) {
		r, seen := job.Repaired{Damage: job.Damage(found[0]), ID: found[1]}, fields{"seen": found[2]}.millis("seen")
		if r.Damage == job.DueMissing || r.Damage == job.DueOrphan {
			moved, err := s.redue(ctx, r.ID, seen)
			if err != nil {
				return job.RepairPage{}, fmt.Errorf("repair %s: %w", index, err)
			}
			if !moved {
				continue // its cursor has moved meanwhile, and the entry with it
			}
		}
		page.Repaired = append(page.Repaired, r)
	}
	if err := s.CountRepairs(ctx, page.Repaired); err != nil {
		return job.RepairPage{}, fmt.Errorf("repair %s: %w", index, err)
	}
	return page, nil
}

// CheckJobs reads the jobs of one page of their index: it finds those that cannot be
// read, puts cursors and entries of the due index right that would come too late, and enters
// a job in the lists that an older release does not keep. It notes whose the jobs are.
func (s *Store) CheckJobs(ctx context.Context, cursor string, size int) (job.RepairPage, error) {
	at, err := strconv.ParseUint(cursor, 10, 64)
	if err != nil && cursor != "" {
		return job.RepairPage{}, fmt.Errorf("check jobs: cursor %q: %w", cursor, err)
	}
	flat, at, err := s.client(ctx).ZScan(ctx, s.keys.jobs(), at, "", int64(size)).Result()
	if err != nil {
		return job.RepairPage{}, fmt.Errorf("check jobs: %w", err)
	}
	page := job.RepairPage{Next: nextCursor(strconv.FormatUint(at, 10))}
	ids := scanned(flat)
	if len(ids) == 0 {
		return page, s.seeAgentIDs(ctx, map[string]bool{}, cursor == "", page.Next == "")
	}
	heads, err := s.jobHeads(ctx, ids)
	if err != nil {
		return job.RepairPage{}, fmt.Errorf("check jobs: %w", err)
	}
	now, err := s.Now(ctx)
	if err != nil {
		return job.RepairPage{}, fmt.Errorf("check jobs: %w", err)
	}
	if err := s.noteAgents(ctx, heads, now); err != nil {
		return job.RepairPage{}, fmt.Errorf("check jobs: %w", err)
	}
	// The cursors were read first: one that moves meanwhile is found out by redue.
	looks, err := s.client(ctx).ZMScore(ctx, s.keys.due(), ids...).Result()
	if err != nil {
		return job.RepairPage{}, fmt.Errorf("check jobs: %w", err)
	}
	failing, err := s.rdb.ZMScore(ctx, s.keys.failing(), ids...).Result()
	if err != nil {
		return job.RepairPage{}, fmt.Errorf("check jobs: %w", err)
	}
	agents := map[string]bool{}
	for i, id := range ids {
		if head := heads[i]; head.err == nil && !head.gone() {
			agents[cmp.Or(head.fields["agentId"], job.DefaultAgent)] = true
		}
		if reason := s.damageOfJob(heads[i]); reason != "" {
			page.Unreadable = append(page.Unreadable, job.UnreadableJob(id, reason))
			continue
		}
		if !heads[i].newer() && misplaced(id, heads[i].fields, failing[i] != 0) {
			if err := s.run(ctx, s.scripts.relist, id).Err(); err != nil {
				return job.RepairPage{}, fmt.Errorf("check jobs: list %s: %w", id, unanswered(err))
			}
		}
		moved, err := s.putCursorRight(ctx, id, heads[i], now)
		if err != nil {
			return job.RepairPage{}, fmt.Errorf("check jobs: %w", err)
		}
		if page.Repaired = append(page.Repaired, moved...); len(moved) > 0 {
			continue // with its entry
		}
		slot, look := heads[i].fields.millis("nextSlot"), job.Millis(looks[i])
		if heads[i].newer() || slot == 0 || !look.Time().After(later(slot.Time(), now).Add(dueSlack)) {
			continue
		}
		put, err := s.redue(ctx, id, slot)
		if err != nil {
			return job.RepairPage{}, fmt.Errorf("check jobs: %w", err)
		}
		if put {
			page.Repaired = append(page.Repaired, job.Repaired{Damage: job.DueWrong, ID: id})
		}
	}
	if err := s.seeAgentIDs(ctx, agents, cursor == "", page.Next == ""); err != nil {
		return job.RepairPage{}, fmt.Errorf("check jobs: %w", err)
	}
	if err := s.CountRepairs(ctx, page.Repaired); err != nil {
		return job.RepairPage{}, fmt.Errorf("check jobs: %w", err)
	}
	return page, nil
}

// noteAgents notes that agents have jobs: while more than one has, each is bound to its
// share of the places. One of which no job was seen for a day is forgotten.
func (s *Store) noteAgents(ctx context.Context, heads []jobHead, now time.Time) error {
	seen := map[string]bool{}
	var names []string
	for _, h := range heads {
		agent := cmp.Or(h.fields["agentId"], job.DefaultAgent)
		if h.err == nil && !h.gone() && !seen[agent] {
			seen[agent] = true
			names = append(names, agent)
		}
	}
	if len(names) == 0 {
		return nil
	}
	noted, err := s.client(ctx).ZMScore(ctx, s.keys.agents(), names...).Result()
	if err != nil {
		return fmt.Errorf("note whose the jobs are: %w", err)
	}
	var agents []redis.Z
	for i, name := range names {
		if noted[i] < float64(now.Add(-time.Hour).UnixMilli()) { // often enough
			agents = append(agents, redis.Z{Score: float64(now.UnixMilli()), Member: name})
		}
	}
	if len(agents) == 0 {
		return nil
	}
	if err := s.client(ctx).ZAdd(ctx, s.keys.agents(), agents...).Err(); err != nil {
		return fmt.Errorf("note whose the jobs are: %w", err)
	}
	return nil
}

// listedFields are the fields of a job that say in which lists it belongs.
var listedFields = []string{"enabled", "claims", "failures", "disabledAt", "lastRunId", "lastOutcome", "lastReplyId", "lastDelivery"}

// misplaced reports whether a job of the list of jobs may belong elsewhere, or how its newest
// reply is doing may not be noted in it; relist decides.
func misplaced(id string, f fields, failing bool) bool {
	j, err := decodeJob(id, f)
	if err != nil {
		return false
	}
	unnoted := f["lastReplyId"] != j.LastRunID && j.LastOutcome != job.Failed && j.LastOutcome != job.TimedOut && j.LastOutcome != job.Cancelled
	return j.Ended() || fails(j) && !failing || unnoted || j.LastDelivery == job.DeliveryPending
}

// Repairs reads what was repaired since the deployment began, and what cannot be.
func (s *Store) Repairs(ctx context.Context) (job.Repairs, error) {
	counts, err := s.client(ctx).HGetAll(ctx, s.keys.repairs()).Result()
	if err != nil {
		return job.Repairs{}, fmt.Errorf("read the repairs: %w", err)
	}
	var r job.Repairs
	for kind := range counts {
		if r.Counts == nil {
			r.Counts = map[job.Damage]int64{}
		}
		r.Counts[job.Damage(kind)] = fields(counts).int(kind)
	}
	r.Quarantined, err = s.quarantined(ctx)
	return r, err
}

// redue is Redue, and reports whether the entry was put right.
func (s *Store) redue(ctx context.Context, id string, seen job.Millis) (bool, error) {
	n, err := s.run(ctx, s.scripts.redue, id, optional(seen)).Int()
	if err != nil {
		return false, fmt.Errorf("correct the due entry of %s: %w", id, err)
	}
	return n == 1, nil
}

// CountRepairs adds to what is kept for the operator.
func (s *Store) CountRepairs(ctx context.Context, repaired []job.Repaired) error {
	counts := map[job.Damage]int64{}
	for _, r := range repaired {
		counts[r.Damage]++
	}
	if len(counts) == 0 {
		return nil
	}
	_, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		for kind, n := range counts {
			p.HIncrBy(ctx, s.keys.repairs(), string(kind), n)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("count the repairs: %w", err)
	}
	return nil
}

// nextCursor is the cursor after a page; Redis begins and ends with 0.
func nextCursor(cursor string) string {
	if cursor == "0" {
		return ""
	}
	return cursor
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
