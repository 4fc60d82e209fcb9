package store

import (
	"cmp"
	"context"
	"encoding/json"
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

// Beat is the sign of life of a role of a process; it lasts for ttl. The store that it
// answers about is known by its id from then on: see job.Emptied.
func (s *Store) Beat(ctx context.Context, p job.Process, ttl time.Duration) error {
	says, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("beat of %s: %w", processName(p), err)
	}
	// A worker reads the clock for nothing else, and holds whatever is due until it has.
	if _, err := s.Now(ctx); err != nil {
		return fmt.Errorf("beat of %s: %w", processName(p), err)
	}
	known := s.known.Load()
	if known == nil {
		known = &identity{}
	}
	reply, err := s.run(ctx, s.scripts.heartbeat, processName(p), says, ttl.Milliseconds(), beatsKept.Milliseconds(),
		known.id, known.jobs, newToken()).Slice()
	if err == nil && len(reply) != 2 {
		err = fmt.Errorf("script returned %d values", len(reply))
	}
	if err != nil {
		return fmt.Errorf("beat of %s: %w", processName(p), err)
	}
	s.known.Store(&identity{text(reply[0]), number(reply[1])})
	return nil
}

// identity is which store this is, and how many jobs it had when that was seen.
type identity struct {
	id   string
	jobs int64
}

// Rest takes the sign of life back when a role stops.
func (s *Store) Rest(ctx context.Context, p job.Process) error {
	_, err := s.client(ctx).Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Del(ctx, s.keys.beat(processName(p)))
		pipe.ZRem(ctx, s.keys.beats(), processName(p))
		return nil
	})
	if err != nil {
		return fmt.Errorf("rest of %s: %w", processName(p), err)
	}
	return nil
}

// Alive reports whether a process of the role gave a sign of life on the host lately.
func (s *Store) Alive(ctx context.Context, role, host string) (bool, error) {
	processes, err := s.processes(ctx)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(processes, func(p job.Process) bool { return p.Alive && p.Role == role && p.Host == host }), nil
}

// processName names a role of a process.
func processName(p job.Process) string {
	return p.Role + ":" + p.Host + ":" + strconv.Itoa(p.PID)
}

// processOf is what processName has named. A release before this one leaves the pid out.
func processOf(name string) job.Process {
	role, host, _ := strings.Cut(name, ":")
	p := job.Process{Role: role, Host: host}
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		if pid, err := strconv.Atoi(host[i+1:]); err == nil {
			p.Host, p.PID = host[:i], pid
		}
	}
	return p
}

// processes reads the signs of life, by role, host and pid.
func (s *Store) processes(ctx context.Context) ([]job.Process, error) {
	beats, err := s.client(ctx).ZRevRangeWithScores(ctx, s.keys.beats(), 0, examined-1).Result()
	if err != nil {
		return nil, fmt.Errorf("read the signs of life: %w", err)
	}
	if len(beats) == 0 {
		return nil, nil
	}
	processes := make([]job.Process, len(beats))
	says := make([]*redis.StringCmd, len(beats))
	_, err = s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, z := range beats {
			says[i] = p.Get(ctx, s.keys.beat(member(z)))
		}
		return nil
	})
	if err != nil && !isReply(err) {
		return nil, fmt.Errorf("read the signs of life: %w", err)
	}
	for i, z := range beats {
		p := processOf(member(z))
		if p.Last = job.Millis(z.Score); says[i].Err() == nil {
			p.Alive = true
			_ = json.Unmarshal([]byte(says[i].Val()), &p) // it is alive, whatever it says
			toOurClock(&p)
		}
		processes[i] = p
	}
	slices.SortFunc(processes, func(a, b job.Process) int {
		return cmp.Or(strings.Compare(a.Role, b.Role), strings.Compare(a.Host, b.Host), cmp.Compare(a.PID, b.PID))
	})
	return processes, nil
}

// toOurClock moves the times that a process tells by its own clock to that of Redis: it
// said them when it gave its last sign.
func toOurClock(p *job.Process) {
	if p.At == 0 {
		return
	}
	off := p.Last - p.At
	move := func(at *job.Millis) {
		if *at != 0 {
			*at += off
		}
	}
	move(&p.At)
	move(&p.StartedAt)
	move(&p.FullSince)
	move(&p.WaitingSince)
	for i := range p.Parties {
		for _, at := range []*job.Millis{&p.Parties[i].Since, &p.Parties[i].LastSuccess, &p.Parties[i].LastFailure} {
			move(at)
		}
	}
}

// Signs reads the signs of life of the deployment, and what is overdue: slots that have
// been due for longer than lateAfter, and what should have been looked at or begun.
func (s *Store) Signs(ctx context.Context, lateAfter time.Duration) (job.Signs, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return job.Signs{}, fmt.Errorf("read the signs of life: %w", err)
	}
	var (
		emitter  *redis.StringCmd
		looked   *redis.StringCmd
		identity *redis.MapStringStringCmd
		open     *redis.ZSliceCmd
	)
	_, err = s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		emitter = p.Get(ctx, s.keys.emitter())
		looked = p.HGet(ctx, s.keys.looks(), "last")
		identity = p.HGetAll(ctx, s.keys.identity())
		open = p.ZRangeWithScores(ctx, s.keys.wake(), 0, examined-1)
		return nil
	})
	if err != nil && !isReply(err) {
		return job.Signs{}, fmt.Errorf("read the signs of life: %w", err)
	}
	lost := fields(identity.Val())
	signs := job.Signs{Now: job.ToMillis(now), Emitter: emitter.Val(), Looked: fields{"last": looked.Val()}.millis("last"),
		Emptied: job.Emptied{At: lost.millis("emptied"), Jobs: int(lost.int("jobs"))}}
	if signs.Processes, err = s.processes(ctx); err != nil {
		return job.Signs{}, err
	}
	if signs.Late, err = s.late(ctx, now.Add(-lateAfter)); err != nil {
		return job.Signs{}, fmt.Errorf("read what is late: %w", err)
	}
	if signs.Wake, err = s.overdue(ctx, s.keys.wake(), now.Add(-slowLook), named); err != nil {
		return job.Signs{}, fmt.Errorf("read what is unfinished: %w", err)
	}
	if signs.Cut, err = s.overdue(ctx, s.keys.cut(), now, named); err != nil && !isReply(err) {
		return job.Signs{}, fmt.Errorf("read what was cut: %w", err)
	}
	if signs.Untouched, err = s.untouched(ctx, open.Val(), now); err != nil {
		return job.Signs{}, fmt.Errorf("read what is unfinished: %w", err)
	}
	return signs, nil
}

// overdue counts the entries of an index that lie before a time, and names the first.
func (s *Store) overdue(ctx context.Context, key string, until time.Time, most int64) (job.Overdue, error) {
	stop := strconv.FormatInt(until.UnixMilli(), 10)
	var (
		count *redis.IntCmd
		some  *redis.ZSliceCmd
	)
	_, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		count = p.ZCount(ctx, key, "-inf", stop)
		some = p.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{Key: key, ByScore: true, Start: "-inf", Stop: stop, Count: most})
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

// late finds the slots that were due by then and that are still nobody's: those in the
// queue that no worker has claimed, and those that no scheduler has looked at. What the two
// indexes say is held against the jobs, because a release before this one keeps only one
// of them; of more than are examined the number is at least what is told.
func (s *Store) late(ctx context.Context, until time.Time) (job.Overdue, error) {
	unclaimed, err := s.overdue(ctx, s.keys.unclaimed(), until, examined)
	if err != nil {
		return job.Overdue{}, err
	}
	unseen, err := s.overdue(ctx, s.keys.due(), until, examined)
	if err != nil {
		return job.Overdue{}, err
	}
	ids := slices.Concat(unclaimed.IDs, unseen.IDs)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	cursors, err := s.Cursors(ctx, ids)
	if err != nil {
		return job.Overdue{}, err
	}
	cursors = slices.DeleteFunc(cursors, func(c job.Cursor) bool { return c.NextSlot == 0 || c.NextDue > job.ToMillis(until) })
	slots := make([]job.Slot, len(cursors))
	for i, c := range cursors {
		slots[i] = job.Slot{JobID: c.JobID, At: c.NextDue}
	}
	o := oldest(slots)
	if unclaimed.Count > examined || unseen.Count > examined {
		o.Count = max(o.Count, unclaimed.Count, unseen.Count)
	}
	return o, nil
}

// oldest counts slots, and names the jobs of the oldest.
func oldest(slots []job.Slot) job.Overdue {
	slices.SortFunc(slots, func(a, b job.Slot) int {
		return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.JobID, b.JobID))
	})
	o := job.Overdue{Count: len(slots)}
	for i, slot := range slots[:min(named, len(slots))] {
		if o.IDs = append(o.IDs, slot.JobID); i == 0 {
			o.Oldest = slot.At
		}
	}
	return o
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
