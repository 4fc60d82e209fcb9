package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redact"
)

// Claim turns a due slot into a run and begins its first attempt. A carrier whose
// slot was claimed before goes on to begin the run that exists.
func (s *Store) Claim(ctx context.Context, c job.Claim) (job.Begun, error) {
	said, rest, err := s.durably(ctx, s.scripts.claim, "job", c.JobID, "uid", c.UID, "slot", int64(c.Slot), "revision", c.Revision,
		"next", optional(c.Next), "due", optional(cmp.Or(c.NextDue, c.Next)), "token", c.Token, "worker", c.Worker)
	if err != nil {
		return job.Begun{}, fmt.Errorf("claim %s at %d: %w", c.JobID, c.Slot, err)
	}
	b, err := s.scripts.claim.begun(job.RunID(c.JobID, c.Slot), said, rest)
	if err != nil {
		return job.Begun{}, fmt.Errorf("claim %s at %d: %w", c.JobID, c.Slot, err)
	}
	return b, nil
}

// Begin gives a run's next attempt to the caller. A resend with the same token
// gets the same answer.
func (s *Store) Begin(ctx context.Context, run, token, worker string) (job.Begun, error) {
	said, rest, err := s.durably(ctx, s.scripts.begin, run, token, worker)
	if err != nil {
		return job.Begun{}, fmt.Errorf("begin %s: %w", run, err)
	}
	b, err := s.scripts.begin.begun(run, said, rest)
	if err != nil {
		return job.Begun{}, fmt.Errorf("begin %s: %w", run, err)
	}
	return b, nil
}

// begun reads what a script returned that gives somebody an attempt of a run.
func (st step) begun(id string, said word, rest []any) (job.Begun, error) {
	b := job.Begun{Verdict: job.Verdict(said)}
	switch {
	case b.Verdict == job.BeginEarly && len(rest) == 1:
		b.Delay = time.Duration(number(rest[0])) * time.Millisecond
	case b.Verdict == job.BeginStale && len(rest) == 1:
		def, err := flatFields(rest[0])
		if err != nil {
			return b, err
		}
		b.Revision, b.Timing = def.int("rev"), timing(id[:strings.LastIndexByte(id, ':')], def)
	case b.Verdict == job.BeginOK && len(rest) == 10:
		def, err := flatFields(rest[8])
		if err != nil {
			return b, err
		}
		jobID, _, _ := strings.Cut(id, ":")
		if b.Job, err = decodeJob(jobID, def); err != nil {
			return b, fmt.Errorf("job %s: %w", jobID, err)
		}
		b.Now, b.Epoch, b.Attempt, b.Retries = job.Millis(number(rest[0])), number(rest[1]), int(number(rest[2])), int(number(rest[3]))
		b.Run = job.Run{ID: id, JobID: jobID, Trigger: job.Trigger(text(rest[4])), Slot: job.Millis(number(rest[5])), SessionKey: text(rest[6])}
		b.Transcript, b.SessionID = number(rest[7]) == 1, text(rest[9])
		return b, nil
	case b.Verdict == job.BeginOK, b.Verdict == job.BeginEarly, b.Verdict == job.BeginStale:
		return b, st.notSo(said, rest)
	}
	return b, nil
}

// Renew keeps the lease of an attempt. Errors: job.ErrFenced.
func (s *Store) Renew(ctx context.Context, run string, epoch int64) error {
	ok, err := s.run(ctx, s.scripts.renew, run, epoch).Int()
	if err != nil {
		return fmt.Errorf("renew %s: %w", run, err)
	}
	if ok == 0 {
		return fmt.Errorf("renew %s: %w", run, job.ErrFenced)
	}
	return nil
}

// Commit ends a run with its reply and returns the carriers that may be enqueued
// at once. A resend with the same token gets the same answer. Errors: job.ErrFenced.
func (s *Store) Commit(ctx context.Context, c job.Commit) ([]job.Carrier, error) {
	task, err := json.Marshal(c.Messages[0])
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", c.RunID, err)
	}
	reply := []byte{}
	if !c.Empty {
		if reply, err = json.Marshal(c.Messages[1]); err != nil {
			return nil, fmt.Errorf("commit %s: %w", c.RunID, err)
		}
	}
	target, err := json.Marshal(c.Target)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", c.RunID, err)
	}
	_, rest, err := s.durably(ctx, s.scripts.commit, c.RunID, c.Epoch, c.Token, c.Reply, task, reply,
		string(c.Delivery), target)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", c.RunID, err)
	}
	return kicks(rest), nil
}

// Fail ends an attempt that did not succeed and reports whether the run will be
// tried again; it returns the carriers that may be enqueued at once.
// Errors: job.ErrFenced.
func (s *Store) Fail(ctx context.Context, f job.Failure) (retry bool, carriers []job.Carrier, err error) {
	said, rest, err := s.answer(ctx, s.scripts.fail, "run", f.RunID, "epoch", f.Epoch, "result", string(f.Result), "cause", string(f.Cause),
		"message", oneLine(redact.Text(f.Message)), "retry", string(f.Retry), "delay", f.Delay.Milliseconds(), "outcome", string(f.Outcome),
		"permanent", flag(f.Permanent))
	if err != nil {
		return false, nil, fmt.Errorf("fail %s: %w", f.RunID, err)
	}
	return said == saidRetry, kicks(rest), nil
}

// oneLine makes an error fit for what quotes it: a pause reason, a message to a chat.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r // what is no UTF-8 becomes U+FFFD
	}, s)
}

// CancelRun ends an unfinished run and returns the carriers that may be enqueued at
// once, for those that waited for its session. Errors: job.ErrNotFound, job.ErrEnded,
// job.ErrNewerVersion.
func (s *Store) CancelRun(ctx context.Context, id string) ([]job.Carrier, error) {
	_, rest, err := s.durably(ctx, s.scripts.cancel, id, newToken(), job.ActorOf(ctx),
		job.TokenOf(ctx).Agent(), job.TokenOf(ctx).Session())
	if err != nil {
		return nil, fmt.Errorf("cancel %s: %w", id, err)
	}
	return kicks(rest), nil
}

// Cancelled tells the ids of runs as they are cancelled, until ctx ends, and "" whenever
// some may have gone untold: at first, and after the connection was lost.
func (s *Store) Cancelled(ctx context.Context, tell func(run string)) {
	sub := s.client(ctx).Subscribe(ctx, s.keys.cancels())
	defer sub.Close()
	messages := sub.ChannelWithSubscriptions()
	for {
		select {
		case <-ctx.Done():
			return
		case m, open := <-messages:
			if !open {
				return
			}
			switch m := m.(type) {
			case *redis.Message:
				tell(m.Payload)
			case *redis.Subscription:
				tell("")
			}
		}
	}
}

// kicks reads the carriers that a script returns for the shortcut.
func kicks(rest []any) []job.Carrier {
	if len(rest) == 0 {
		return nil
	}
	list, _ := rest[0].([]any)
	out := make([]job.Carrier, 0, len(list))
	for _, item := range list {
		if k, ok := item.([]any); ok && len(k) == 3 {
			out = append(out, job.Carrier{Kind: job.CarrierKind(text(k[0])), ID: text(k[1]), N: number(k[2])})
		}
	}
	return out
}

// Run reads one run with its deliveries; of another's than the caller's it knows nothing. Errors: job.ErrNotFound.
func (s *Store) Run(ctx context.Context, id string) (job.Run, error) {
	f, err := s.client(ctx).HGetAll(ctx, s.keys.run(id)).Result()
	if err != nil {
		return job.Run{}, fmt.Errorf("read run %s: %w", id, err)
	}
	if !pass(runScope(ctx), f) {
		return job.Run{}, fmt.Errorf("read run %s: %w", id, job.ErrNotFound)
	}
	r, err := decodeRun(id, f)
	if err != nil {
		return job.Run{}, fmt.Errorf("read run %s: %w", id, err)
	}
	var ids []string
	for n := range fields(f).int("deliveries") {
		ids = append(ids, id+":"+strconv.FormatInt(n+1, 10))
	}
	hashes, err := s.hashes(ctx, ids, s.keys.delivery)
	if err != nil {
		return job.Run{}, fmt.Errorf("read the deliveries of run %s: %w", id, err)
	}
	for i, h := range hashes {
		if len(h) > 0 {
			d, _ := decodeDelivery(i+1, h)
			r.Deliveries = append(r.Deliveries, d)
		}
	}
	return r, nil
}

// Runs reads one page of a job's history; see FindRuns.
func (s *Store) Runs(ctx context.Context, jobID, cursor string, limit int) ([]job.Run, string, error) {
	return s.FindRuns(ctx, job.RunFilter{JobID: jobID}, cursor, limit)
}

// Session reads the newest limit messages of a session. Errors: job.ErrNotFound.
func (s *Store) Session(ctx context.Context, key string, limit int) (job.Session, error) {
	if err := s.ownsSession(ctx, key); err != nil {
		return job.Session{}, fmt.Errorf("read session %s: %w", key, err)
	}
	var (
		list    *redis.StringSliceCmd
		updated *redis.FloatCmd
	)
	_, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		list = p.LRange(ctx, s.keys.session(key), -int64(limit), -1)
		updated = p.ZScore(ctx, s.keys.sessions(), key)
		return nil
	})
	if err != nil && !isReply(err) {
		return job.Session{}, fmt.Errorf("read session %s: %w", key, err)
	}
	if len(list.Val()) == 0 {
		return job.Session{}, fmt.Errorf("read session %s: %w", key, job.ErrNotFound)
	}
	out := job.Session{Key: key, UpdatedAt: job.Millis(updated.Val())}
	for _, item := range list.Val() {
		var m job.Message
		if err := json.Unmarshal([]byte(item), &m); err != nil {
			return job.Session{}, fmt.Errorf("decode session %s: %w", key, err)
		}
		out.Messages = append(out.Messages, m)
	}
	return out, nil
}
