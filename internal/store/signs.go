package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

const (
	// beatsKept is how long a role is remembered that ended without saying so.
	beatsKept = time.Hour
	// slowLook is how overdue a look is before it is named: schedulers come by every
	// second.
	slowLook = 30 * time.Second
	// slowBegin is how long a run that may begin can wait for a worker before it is named.
	slowBegin = 2 * time.Minute
	// named is how many overdue entries are named, examined how many unfinished ones are
	// read.
	named, examined = 5, 200
)

// Beat is the sign of life of a role on a host; it lasts for ttl.
func (s *Store) Beat(ctx context.Context, role, host string, ttl time.Duration) error {
	now, err := s.Now(ctx)
	if err != nil {
		return fmt.Errorf("beat of %s: %w", role, err)
	}
	_, err = s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, s.keys.beat(role, host), 1, ttl)
		p.ZAdd(ctx, s.keys.beats(), redis.Z{Score: float64(now.UnixMilli()), Member: role + ":" + host})
		p.ZRemRangeByScore(ctx, s.keys.beats(), "-inf", strconv.FormatInt(now.Add(-beatsKept).UnixMilli(), 10))
		p.PExpire(ctx, s.keys.beats(), beatsKept)
		return nil
	})
	if err != nil {
		return fmt.Errorf("beat of %s: %w", role, err)
	}
	return nil
}

// Rest takes the sign of life back when a role stops.
func (s *Store) Rest(ctx context.Context, role, host string) error {
	_, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, s.keys.beat(role, host))
		p.ZRem(ctx, s.keys.beats(), role+":"+host)
		return nil
	})
	if err != nil {
		return fmt.Errorf("rest of %s: %w", role, err)
	}
	return nil
}

// Alive reports whether the role gave a sign of life on the host lately.
func (s *Store) Alive(ctx context.Context, role, host string) (bool, error) {
	n, err := s.client(ctx).Exists(ctx, s.keys.beat(role, host)).Result()
	if err != nil {
		return false, fmt.Errorf("look for the beat of %s: %w", role, err)
	}
	return n > 0, nil
}

// Signs reads the signs of life of the deployment, and what is overdue.
func (s *Store) Signs(ctx context.Context) (job.Signs, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return job.Signs{}, fmt.Errorf("read the signs of life: %w", err)
	}
	var (
		emitter     *redis.StringCmd
		looked      *redis.StringCmd
		beats, open *redis.ZSliceCmd
	)
	_, err = s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		emitter = p.Get(ctx, s.keys.emitter())
		looked = p.HGet(ctx, s.keys.looks(), "last")
		beats = p.ZRangeWithScores(ctx, s.keys.beats(), 0, examined-1)
		open = p.ZRangeWithScores(ctx, s.keys.wake(), 0, examined-1)
		return nil
	})
	if err != nil && !isReply(err) {
		return job.Signs{}, fmt.Errorf("read the signs of life: %w", err)
	}
	signs := job.Signs{Now: job.ToMillis(now), Emitter: emitter.Val(), Looked: fields{"last": looked.Val()}.millis("last")}
	for _, z := range beats.Val() {
		role, host, _ := strings.Cut(member(z), ":")
		signs.Beats = append(signs.Beats, job.Beat{Role: role, Host: host, Last: job.Millis(z.Score)})
	}
	slices.SortFunc(signs.Beats, func(a, b job.Beat) int {
		return cmp.Or(strings.Compare(a.Role, b.Role), strings.Compare(a.Host, b.Host))
	})
	for i, b := range signs.Beats {
		if signs.Beats[i].Alive, err = s.Alive(ctx, b.Role, b.Host); err != nil {
			return job.Signs{}, err
		}
	}
	if signs.Due, err = s.overdue(ctx, s.keys.due(), now); err != nil {
		return job.Signs{}, fmt.Errorf("read the due index: %w", err)
	}
	if signs.Wake, err = s.overdue(ctx, s.keys.wake(), now); err != nil {
		return job.Signs{}, fmt.Errorf("read what is unfinished: %w", err)
	}
	if signs.Untouched, err = s.untouched(ctx, open.Val(), now); err != nil {
		return job.Signs{}, fmt.Errorf("read what is unfinished: %w", err)
	}
	return signs, nil
}

// overdue counts the entries of an index whose look should have been a while ago.
func (s *Store) overdue(ctx context.Context, key string, now time.Time) (job.Overdue, error) {
	until := strconv.FormatInt(now.Add(-slowLook).UnixMilli(), 10)
	var (
		count *redis.IntCmd
		some  *redis.ZSliceCmd
	)
	_, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		count = p.ZCount(ctx, key, "-inf", until)
		some = p.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{Key: key, ByScore: true, Start: "-inf", Stop: until, Count: named})
		return nil
	})
	if err != nil {
		return job.Overdue{}, err
	}
	o := job.Overdue{Count: int(count.Val())}
	for _, z := range some.Val() {
		if o.IDs = append(o.IDs, member(z)); len(o.IDs) == 1 {
			o.Oldest = job.Millis(z.Score)
		}
	}
	return o, nil
}

// untouched are the runs among unfinished entries that could have begun a while ago.
func (s *Store) untouched(ctx context.Context, entries []redis.Z, now time.Time) (job.Overdue, error) {
	cmds := map[string]*redis.SliceCmd{}
	_, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, z := range entries {
			if id, isRun := strings.CutPrefix(member(z), "r:"); isRun {
				cmds[id] = p.HMGet(ctx, s.keys.run(id), "state", "notBefore")
			}
		}
		return nil
	})
	if err != nil && !isReply(err) {
		return job.Overdue{}, err
	}
	type late struct {
		id    string
		since job.Millis
	}
	var found []late
	for id, cmd := range cmds {
		if v := cmd.Val(); len(v) == 2 && text(v[0]) == string(job.StateWaiting) {
			if since := job.Millis(number(v[1])); now.Sub(since.Time()) > slowBegin {
				found = append(found, late{id, since})
			}
		}
	}
	slices.SortFunc(found, func(a, b late) int {
		return cmp.Or(cmp.Compare(a.since, b.since), strings.Compare(a.id, b.id))
	})
	o := job.Overdue{Count: len(found)}
	for i, f := range found[:min(named, len(found))] {
		if o.IDs = append(o.IDs, f.id); i == 0 {
			o.Oldest = f.since
		}
	}
	return o, nil
}

// Trace reads what stands about a job besides its own record.
func (s *Store) Trace(ctx context.Context, j job.Job) (job.Trace, error) {
	var (
		look    *redis.FloatCmd
		emitted *redis.StringCmd
		until   *redis.StringCmd
		active  *redis.StringSliceCmd
	)
	_, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		look = p.ZScore(ctx, s.keys.due(), j.ID)
		emitted = p.HGet(ctx, s.keys.job(j.ID), "emitted")
		until = p.HGet(ctx, s.keys.paused(), "until")
		active = p.SMembers(ctx, s.keys.active(j.ID, j.UID))
		return nil
	})
	if err != nil && !isReply(err) {
		return job.Trace{}, fmt.Errorf("trace job %s: %w", j.ID, err)
	}
	stored := fields{"emitted": emitted.Val(), "until": until.Val()}
	t := job.Trace{Look: job.Millis(look.Val()), HeldUntil: stored.millis("until"),
		Emitted: j.NextSlot != 0 && stored.millis("emitted") == j.NextSlot, Holders: map[string]string{}}
	hashes, err := s.hashes(ctx, active.Val(), s.keys.run)
	if err != nil {
		return job.Trace{}, fmt.Errorf("trace job %s: %w", j.ID, err)
	}
	for i, id := range active.Val() {
		if r, err := decodeRun(id, hashes[i]); err == nil && r.State != job.StateDone {
			t.Unfinished = append(t.Unfinished, r)
		}
	}
	slices.SortFunc(t.Unfinished, func(a, b job.Run) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	for _, r := range t.Unfinished {
		if r.State != job.StateParked || t.Holders[r.SessionKey] != "" {
			continue
		}
		holder, err := s.client(ctx).Get(ctx, s.keys.lock(r.SessionKey)).Result()
		if err != nil && !isReply(err) {
			return job.Trace{}, fmt.Errorf("trace job %s: %w", j.ID, err)
		}
		t.Holders[r.SessionKey] = holder
	}
	return t, nil
}

func member(z redis.Z) string {
	id, _ := z.Member.(string)
	return id
}
