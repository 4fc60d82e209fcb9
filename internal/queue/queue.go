// Package queue is what we know of asynq's own keys: how a queue of ours stands, and how
// to undo what holds it up. A task only says "have a look", so no state of asynq's may
// stop a job; asynq's tools can pause a queue, archive or delete its tasks, and a hand
// can damage its keys, and each is found and mended here.
//
// It must not know what a task is about. The layout of the keys is asynq's, see its
// internal/base; the tests hold it against asynq's own client, server and inspector.
package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// listed is the set in which asynq's inspector looks for a queue. Its client adds a queue
// with the first task of each process, and never again.
const listed = "asynq:queues"

// Queues reads and mends queues.
type Queues struct{ rdb redis.UniversalClient }

// New returns the queues of a Redis; the client stays the caller's to close.
func New(rdb redis.UniversalClient) *Queues { return &Queues{rdb} }

func key(queue, name string) string { return "asynq:{" + queue + "}:" + name }

// states are the keys that hold task ids, in the order in which the scripts take them.
var states = []string{"pending", "active", "scheduled", "retry", "archived", "completed"}

func keys(queue string, more ...string) []string {
	var all []string
	for _, name := range append(states, more...) {
		all = append(all, key(queue, name))
	}
	return all
}

// stateScript reads how a queue stands.
//
// KEYS: those of states, paused
// ARGV: what begins the key of a task
// Returns: now (ms); the length of each of states, -1 for a key of another type; since
// when it is paused (s, empty if not); since when the oldest pending task waits (ns,
// empty if that is not known)
//
// A task that a worker gave back stands in front without the time since when it waits,
// so some more are asked.
//
//nolint:dupword // Lua ends nested blocks so
var stateScript = redis.NewScript(`
local time = redis.call('TIME')
local found = { time[1] * 1000 + math.floor(time[2] / 1000) }
for i = 1, 6 do
  local n = redis.pcall(i <= 2 and 'LLEN' or 'ZCARD', KEYS[i])
  found[#found + 1] = type(n) == 'number' and n or -1
end
local paused = redis.pcall('GET', KEYS[7])
if type(paused) == 'table' then paused = '0' end
found[#found + 1] = paused or ''
local oldest = ''
if found[2] > 0 then
  for _, id in ipairs(redis.call('LRANGE', KEYS[1], -10, -1)) do
    local since = redis.pcall('HGET', ARGV[1] .. id, 'pending_since')
    if type(since) == 'string' and (oldest == '' or tonumber(since) < tonumber(oldest)) then oldest = since end
  end
end
found[#found + 1] = oldest
return found
`)

// States returns how queues stand. It writes nothing, and costs a few commands for each
// queue, however full it is.
func (q *Queues) States(ctx context.Context, names ...string) ([]job.QueueState, error) {
	var all []job.QueueState
	for _, name := range names {
		values, err := stateScript.Run(ctx, q.rdb, keys(name, "paused"), key(name, "t:")).Slice()
		if err != nil {
			return nil, fmt.Errorf("read the state of queue %s: %w", name, err)
		}
		s, err := decode(name, values)
		if err != nil {
			return nil, fmt.Errorf("read the state of queue %s: %w", name, err)
		}
		all = append(all, s)
	}
	return all, nil
}

func decode(name string, values []any) (job.QueueState, error) {
	s := job.QueueState{Name: name}
	if len(values) != 9 {
		return s, fmt.Errorf("script returned %d values", len(values))
	}
	number := func(i int) int64 { n, _ := values[i].(int64); return n }
	s.At = job.Millis(number(0))
	for i, n := range []*int{&s.Pending, &s.Active, &s.Scheduled, &s.Retry, &s.Archived, &s.Completed} {
		if *n = int(number(i + 1)); *n < 0 {
			*n, s.Damaged = 0, true
		}
	}
	if since, _ := values[7].(string); since != "" {
		s.Paused = true
		if sec, err := strconv.ParseInt(since, 10, 64); err == nil {
			s.PausedSince = job.Millis(sec * 1000)
		}
	}
	if since, _ := values[8].(string); since != "" {
		if ns, err := strconv.ParseInt(since, 10, 64); err == nil {
			s.OldestPending = job.Millis(ns / 1e6)
		}
	}
	return s, nil
}

// List makes asynq's inspector find queues, and returns those that it did not find.
func (q *Queues) List(ctx context.Context, names ...string) (missing []string, err error) {
	for _, name := range names {
		added, err := q.rdb.SAdd(ctx, listed, name).Result()
		if err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE ") {
			// asynq's client could enqueue nothing any more.
			if err = q.rdb.Del(ctx, listed).Err(); err == nil {
				added, err = q.rdb.SAdd(ctx, listed, name).Result()
			}
		}
		if err != nil {
			return missing, fmt.Errorf("list queue %s: %w", name, err)
		}
		if added == 1 {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// Resume lets a paused queue go on, and reports whether it was paused.
func (q *Queues) Resume(ctx context.Context, name string) (bool, error) {
	n, err := q.rdb.Del(ctx, key(name, "paused")).Result()
	if err != nil {
		return false, fmt.Errorf("resume queue %s: %w", name, err)
	}
	return n == 1, nil
}

// cleanScript drops keys of another type.
//
// KEYS: those of states, lease
// Returns: how many were of another type
//
//nolint:dupword // Lua ends nested blocks so
var cleanScript = redis.NewScript(`
local dropped = 0
for i, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= (i <= 2 and 'list' or 'zset') then
    dropped = dropped + redis.call('DEL', key)
  end
end
return dropped
`)

// Clean drops the keys of a queue that are of another type, with which nothing can be
// enqueued or taken, and returns how many. The tasks that they held are enqueued anew by
// the looks of what they carried.
func (q *Queues) Clean(ctx context.Context, name string) (int, error) {
	n, err := cleanScript.Run(ctx, q.rdb, keys(name, "lease")).Int()
	if err != nil {
		return 0, fmt.Errorf("clean queue %s: %w", name, err)
	}
	return n, nil
}

// unarchiveScript puts archived tasks back.
//
// KEYS: archived, pending
// ARGV: what begins the key of a task, most
// Returns: the ids of the tasks that wait again
//
//nolint:dupword // Lua ends nested blocks so
var unarchiveScript = redis.NewScript(`
local time = redis.call('TIME')
local ids = redis.call('ZRANGE', KEYS[1], 0, ARGV[2] - 1)
local back = {}
for _, id in ipairs(ids) do
  redis.call('ZREM', KEYS[1], id)
  local task = ARGV[1] .. id
  local message = redis.pcall('HGET', task, 'msg')
  if type(message) == 'string' then
    redis.call('HSET', task, 'state', 'pending', 'pending_since', string.format('%.0f', time[1] * 1e9 + time[2] * 1e3))
    redis.call('LPUSH', KEYS[2], id)
    back[#back + 1] = id
  else
    redis.call('DEL', task)
  end
end
return back
`)

// Unarchive puts archived tasks back, the oldest first and no more than most, and returns
// their ids: nothing of ours is ever given up by asynq, so somebody has put them there.
func (q *Queues) Unarchive(ctx context.Context, name string, most int) ([]string, error) {
	ids, err := unarchiveScript.Run(ctx, q.rdb, []string{key(name, "archived"), key(name, "pending")}, key(name, "t:"), most).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("take tasks of queue %s out of the archive: %w", name, err)
	}
	return ids, nil
}

// trimScript deletes finished tasks.
//
// KEYS: completed
// ARGV: what begins the key of a task, how many stay, most to delete
// Returns: how many were deleted
var trimScript = redis.NewScript(`
local over = math.min(redis.call('ZCARD', KEYS[1]) - ARGV[2], tonumber(ARGV[3]))
if over <= 0 then return 0 end
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, over - 1)) do
  redis.call('ZREM', KEYS[1], id)
  redis.call('DEL', ARGV[1] .. id)
end
return over
`)

// Trim deletes the finished tasks that expire first, so that keep are left, but no more
// than most at once, and returns how many.
func (q *Queues) Trim(ctx context.Context, name string, keep, most int) (int, error) {
	n, err := trimScript.Run(ctx, q.rdb, []string{key(name, "completed")}, key(name, "t:"), keep, most).Int()
	if err != nil {
		return 0, fmt.Errorf("trim the finished tasks of queue %s: %w", name, err)
	}
	return n, nil
}

// makeRoomScript frees the id of a task.
//
// KEYS: the task, those of states, lease
// ARGV: its id, what begins the key of a task
// Returns: 1 if what held the id is gone, 0 if a task of that id is on its way
//
// A task is on its way if it stands where its state says, and will come up soon: one
// that is finished, archived, of no known state, put off by more than a minute (ours
// never are), in no list, or worked on by nobody (without a lease nobody ever looks
// whether its worker is alive) is not. The list of pending tasks is searched, from its
// front, only for one that should have been taken before the oldest.
var makeRoomScript = redis.NewScript(`
local task, pending, active, lease = KEYS[1], KEYS[2], KEYS[3], KEYS[8]
local id, now = ARGV[1], tonumber(redis.call('TIME')[1])
local function score(key)
  local s = redis.pcall('ZSCORE', key, id)
  return type(s) == 'string' and tonumber(s) or nil
end
local function waits(since)
  local oldest = redis.pcall('LINDEX', pending, -1)
  if type(oldest) ~= 'string' then return false end
  local first = redis.pcall('HGET', ARGV[2] .. oldest, 'pending_since')
  first, since = tonumber(type(first) == 'string' and first or nil), tonumber(since or nil)
  if first and since and since >= first then return true end
  return type(redis.call('LPOS', pending, id, 'RANK', -1)) == 'number'
end
local message
local function on_its_way()
  local t = redis.pcall('HMGET', task, 'msg', 'state', 'pending_since')
  message = not t.err and t[1]
  if not message then return false end
  local state = t[2]
  if state == 'pending' then return waits(t[3]) end
  if state == 'active' then return score(lease) ~= nil end
  if state ~= 'retry' and state ~= 'scheduled' then return false end
  local at = score(state == 'retry' and KEYS[5] or KEYS[4])
  return at ~= nil and at <= now + 60
end
if on_its_way() then return 0 end
redis.pcall('LREM', active, 0, id)
for i = 4, 8 do redis.pcall('ZREM', KEYS[i], id) end
if not message then redis.pcall('LREM', pending, 0, id) end
redis.call('DEL', task)
return 1
`)

// MakeRoom removes whatever holds the id of a task without being on its way, and reports
// whether the id is free.
func (q *Queues) MakeRoom(ctx context.Context, name, id string) (bool, error) {
	n, err := makeRoomScript.Run(ctx, q.rdb, append([]string{key(name, "t:"+id)}, keys(name, "lease")...), id, key(name, "t:")).Int()
	if err != nil {
		return false, fmt.Errorf("make room for task %s: %w", id, err)
	}
	return n == 1, nil
}

// statsKept is how long asynq keeps what it counts of a day.
const statsKept = 90 * 24 * time.Hour

// CountFailed counts a finished task as failed, as asynq itself does only for those that
// it tries again: the dashboard's "failed" then tells of what failed.
func (q *Queues) CountFailed(ctx context.Context, name string, now time.Time) error {
	today := key(name, "failed:"+now.UTC().Format(time.DateOnly))
	_, err := q.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Incr(ctx, today)
		p.Expire(ctx, today, statsKept)
		p.Incr(ctx, key(name, "failed"))
		return nil
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("count a failed task of queue %s: %w", name, err)
	}
	return nil
}
