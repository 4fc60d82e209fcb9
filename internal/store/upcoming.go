package store

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// Upcoming looks ahead over all jobs: the next limit slots by when they are due, at most
// within from now, 0 for any. A slot that is due, though nobody has claimed it yet, does
// not lie ahead any more.
//
// The due index has the order, and jobs are read from it until no other can come first:
// its entries are put off only while a slot is due. With over examineBatch jobs one whose
// due slot waits may so be left out, and past maxExamined jobs the look ends. The jobs of a
// token are its holder's alone, in the order that they have there.
func (s *Store) Upcoming(ctx context.Context, within time.Duration, limit int) (job.Upcoming, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return job.Upcoming{}, fmt.Errorf("look ahead: %w", err)
	}
	unread, err := s.firstDue(ctx)
	if err != nil {
		return job.Upcoming{}, fmt.Errorf("look ahead: %w", err)
	}
	paused, err := s.client(ctx).HExists(ctx, s.keys.paused(), "since").Result()
	if err != nil {
		return job.Upcoming{}, fmt.Errorf("look ahead: %w", err)
	}
	out := job.Upcoming{Now: job.ToMillis(now), Paused: paused}
	end := job.Millis(math.MaxInt64)
	if within > 0 {
		end = job.ToMillis(now.Add(within))
	}
	var ahead turns
	for len(out.Slots) < limit {
		if len(unread) > 0 && (len(ahead) == 0 || float64(ahead[0].due) >= unread[0].Score) {
			n := min(len(unread), examineBatch)
			more, err := s.turns(ctx, members(unread[:n]), now)
			if err != nil {
				return job.Upcoming{}, fmt.Errorf("look ahead: %w", err)
			}
			ahead, unread = append(ahead, more...), unread[n:]
			heap.Init(&ahead)
			continue
		}
		if len(ahead) == 0 || ahead[0].due > end {
			break
		}
		t := ahead[0]
		if tt, err := s.schedules.Timetable(t.timing); err == nil { // else it has no slot anybody could run
			out.Slots = append(out.Slots, job.UpcomingSlot{JobID: t.id, Name: t.name, At: t.at, Due: t.due,
				Zone: tt.Location(), Description: tt.Describe()})
			if next, ok := tt.Next(t.at.Time()); ok && t.left > 1 {
				t.at, t.due, t.left = job.ToMillis(next), job.ToMillis(tt.Due(next)), t.left-1
				ahead[0] = t
				heap.Fix(&ahead, 0)
				continue
			}
		}
		heap.Pop(&ahead)
	}
	return out, nil
}

// firstDue reads the jobs of the caller that come due next, at most maxExamined.
func (s *Store) firstDue(ctx context.Context) ([]redis.Z, error) {
	if job.TokenOf(ctx) == nil {
		return s.client(ctx).ZRangeWithScores(ctx, s.keys.due(), 0, maxExamined-1).Result()
	}
	own, err := s.ownScores(ctx, s.keys.due())
	return own[:min(len(own), maxExamined)], err
}

// turn is a job's next slot ahead.
type turn struct {
	id, name string
	timing   schedule.Timing
	at, due  job.Millis
	left     int // slots that may still be claimed, this one included
}

// turns reads the next slots ahead of jobs; those that have none are left out.
func (s *Store) turns(ctx context.Context, ids []string, now time.Time) (turns, error) {
	names := append([]string{"v", "uid", "name", "enabled", "nextSlot", "nextDue", "maxRuns", "claims", "agentId", "session"}, timingFields...)
	rows, err := s.parts(ctx, ids, s.keys.job, names)
	if err != nil {
		return nil, err
	}
	mine := jobScope(ctx)
	var out turns
	for i, id := range ids {
		f := rows[i]
		if f["uid"] == "" || f.int("v") > job.Version || f["enabled"] != "1" || f["nextSlot"] == "" || !pass(mine, f) {
			continue
		}
		t := turn{id: id, name: f["name"], timing: timing(id, f), at: f.millis("nextSlot"), due: nextDue(f), left: math.MaxInt}
		if most := f.int("maxRuns"); most > 0 {
			t.left = int(most - f.int("claims"))
		}
		if !t.due.Time().After(now) {
			t.left-- // for the slot that is due
			tt, err := s.schedules.Timetable(t.timing)
			if err != nil {
				continue
			}
			next, ok := slotAhead(tt, t.timing.Jitter, t.at.Time(), now)
			if !ok {
				continue
			}
			t.at, t.due = job.ToMillis(next), job.ToMillis(tt.Due(next))
		}
		if t.left > 0 {
			out = append(out, t)
		}
	}
	return out, nil
}

// slotAhead is the first slot after the given one that is due after now.
func slotAhead(tt *schedule.Timetable, jitter time.Duration, after, now time.Time) (time.Time, bool) {
	// Jitter puts a slot off by less than the next one is away, so of the slots up to now
	// only the last can lie ahead. It is found by halving, however many there are.
	from := now.Add(-jitter).Truncate(time.Second)
	if after.After(from) {
		from = after
	}
	start := func(i int) time.Time { return from.Add(time.Duration(i) * time.Second) }
	none := sort.Search(max(0, int(now.Sub(from)/time.Second)), func(i int) bool {
		next, ok := tt.Next(start(i))
		return !ok || next.After(now)
	})
	if none > 0 {
		if last, ok := tt.Next(start(none - 1)); ok && tt.Due(last).After(now) {
			return last, true
		}
	}
	return tt.Next(now)
}

// turns is a heap, the slot that is due first on top.
type turns []turn

func (t *turns) Len() int      { return len(*t) }
func (t *turns) Swap(i, k int) { (*t)[i], (*t)[k] = (*t)[k], (*t)[i] }
func (t *turns) Less(i, k int) bool {
	a, b := (*t)[i], (*t)[k]
	return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.id, b.id)) < 0
}

func (t *turns) Push(x any) {
	next, _ := x.(turn)
	*t = append(*t, next)
}

func (t *turns) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	*t = (*t)[:last]
	return x
}
