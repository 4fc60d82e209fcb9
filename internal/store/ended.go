package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// missing says what is known of a job that there is not: a *job.GoneError of one that has had
// its runs, else job.ErrNotFound. Its newest record has that, and whose it was.
func (s *Store) missing(ctx context.Context, id string) error {
	ids, err := s.client(ctx).ZRange(ctx, s.keys.runs(id), -1, -1).Result()
	if err != nil && !isReply(err) {
		return err
	}
	if len(ids) == 0 {
		return job.ErrNotFound
	}
	found, err := s.parts(ctx, ids, s.keys.run, []string{"v", "name", "ended", "agent", "home"})
	if err != nil {
		return err
	}
	var how struct {
		Run      string
		Outcome  job.Outcome
		Runs, Of int
		At       job.Millis
	}
	f := found[0]
	if f.int("v") > job.Version || !pass(runScope(ctx), f) || json.Unmarshal([]byte(f["ended"]), &how) != nil {
		return job.ErrNotFound
	}
	last, err := s.parts(ctx, []string{how.Run}, s.keys.run, []string{"delivery"})
	if err != nil {
		return err
	}
	return &job.GoneError{ID: id, Name: f["name"], Runs: how.Runs, Of: how.Of, LastRunID: how.Run, Outcome: how.Outcome,
		Delivery: job.DeliveryState(last[0]["delivery"]), At: how.At}
}

// Ailing reads the jobs that fail and those whose replies do not arrive, at most limit of
// each. Of a token they are its own, among the first maxExamined of these.
func (s *Store) Ailing(ctx context.Context, limit int) (job.Ailing, error) {
	var (
		a   job.Ailing
		err error
	)
	if a.Failing, a.FailingCount, err = s.ailing(ctx, s.keys.failing(), limit, fails); err == nil {
		a.Undelivered, a.UndeliveredCount, err = s.ailing(ctx, s.keys.undelivered(), limit, undelivered)
	}
	if err != nil {
		return job.Ailing{}, fmt.Errorf("read the jobs in trouble: %w", err)
	}
	return a, nil
}

// fails reports whether a job's last runs of the schedule failed, or failures disabled it, as
// lib/slots.lua does.
func fails(j job.Job) bool { return j.DisabledAt != 0 || j.Enabled && j.Failures > 0 && !j.Ended() }

// undelivered reports whether nothing says of a job that its replies arrive.
func undelivered(j job.Job) bool {
	return j.LastDelivery != "" && j.LastDelivery != job.DeliveryDelivered
}

// ailing reads the head of an index of jobs in trouble. Each job's record is asked whether it
// is, because an older release leaves entries behind.
func (s *Store) ailing(ctx context.Context, index string, limit int, is func(job.Job) bool) ([]job.AilingJob, int, error) {
	var (
		entries []redis.Z
		err     error
	)
	if job.TokenOf(ctx) != nil {
		entries, err = s.ownScores(ctx, index)
	} else {
		entries, err = s.client(ctx).ZRangeWithScores(ctx, index, 0, int64(limit)-1).Result()
	}
	if err != nil {
		return nil, 0, err
	}
	entries = entries[:min(len(entries), max(maxExamined, limit))]
	hashes, err := s.hashes(ctx, members(entries), s.keys.job)
	if err != nil {
		return nil, 0, err
	}
	var found []job.AilingJob
	for i, z := range entries {
		j, err := decodeJob(member(z), hashes[i])
		if err != nil || !is(j) || !pass(jobScope(ctx), hashes[i]) {
			continue
		}
		found = append(found, job.AilingJob{ID: j.ID, Name: j.Name, Since: job.Millis(z.Score), Failures: j.Failures, DisabledAt: j.DisabledAt,
			PauseReason: j.PauseReason, LastRunID: j.LastRunID, LastDelivery: j.LastDelivery, LastReplyID: hashes[i]["lastReplyId"]})
	}
	count := len(found)
	if job.TokenOf(ctx) == nil && len(entries) == limit {
		total, err := s.client(ctx).ZCard(ctx, index).Result()
		if err != nil {
			return nil, 0, err
		}
		count += int(total) - len(entries)
	}
	found = found[:min(limit, len(found))]
	return found, count, s.addErrors(ctx, found)
}

// addErrors reads why the last runs of jobs failed, and their deliveries.
func (s *Store) addErrors(ctx context.Context, jobs []job.AilingJob) error {
	runs, replies := make([]*redis.StringCmd, len(jobs)), make([]*redis.StringCmd, len(jobs))
	if len(jobs) == 0 {
		return nil
	}
	if _, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, j := range jobs {
			runs[i] = p.HGet(ctx, s.keys.run(j.LastRunID), "error")
			replies[i] = p.HGet(ctx, s.keys.run(j.LastReplyID), "deliveries")
		}
		return nil
	}); err != nil && !isReply(err) {
		return err
	}
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		n, _ := strconv.Atoi(replies[i].Val()) // none: an id of no delivery
		ids[i] = fmt.Sprintf("%s:%d", j.LastReplyID, n)
	}
	deliveries, err := s.parts(ctx, ids, s.keys.delivery, []string{"error"})
	if err != nil {
		return err
	}
	for i := range jobs {
		jobs[i].LastError, jobs[i].DeliveryError = runs[i].Val(), deliveries[i]["error"]
	}
	return nil
}
