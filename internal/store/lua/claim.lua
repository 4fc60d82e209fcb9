-- claim turns a due slot into a run and begins its first attempt.
-- ARGV: job, uid, slot, revision, next slot ('' none) and when it is due, token, worker
-- Answer: that of begin_run | {gone} | {newer} | {moved} (the cursor is elsewhere) |
--       {early, delay} | {stale, job} (compute the next slot again) |
--       {dropped} (policy kept the slot from running; recorded)
-- Holds: a slot is claimed iff it is the cursor and the uid is the job's; the run,
--       the cursor and the due index change together. A doubled or resent carrier
--       finds the run and goes on to begin.
local id, uid, slot = ARGV[1], ARGV[2], ARGV[3]
local token, worker = ARGV[7], ARGV[8]
local run = id .. ':' .. int(tonumber(slot) / 1000)
if redis.call('HGET', run_key(run), 'uid') == uid then return begin_run(run, token, worker) end

local j = hash(job_key(id))
if j.uid ~= uid then
  -- A carrier of an earlier job of this id stood in the way of this one's.
  if j.nextSlot == slot then redis.call('ZADD', DUE, int(now), id) end
  return { 'gone' }
end
if newer(j) then return { 'newer' } end
if j.nextSlot ~= slot then return { 'moved' } end
if due_of(j) > now + 1000 then return { 'early', due_of(j) - now } end
if j.rev ~= ARGV[4] then return { 'stale', redis.call('HGETALL', job_key(id)) } end

local next, late = ARGV[5], now - due_of(j)
local reason = nil
if j.enabled ~= '1' then -- since this slot was due
  reason = 'disabled'
elseif j.misfire == 'skip' then
  if late > LATE then reason = 'late' end
elseif late > tonumber(j.misfireGrace) * 1000 then
  reason = 'stale'
end
if reason then
  pass_slots(id, j, 'missed', reason, slot, slot, 1, next, ARGV[6])
  return { 'dropped' }
end
if j.overlap == 'cancel_previous' then
  -- Manual runs were asked for by somebody: they are not in the way, and stay.
  for _, previous in ipairs(redis.call('SMEMBERS', active_key(id, uid))) do
    local r = hash(run_key(previous))
    if r.trigger == 'schedule' and r.state ~= 'done' and not newer(r) then cancel_run(previous, r, 'overlap') end
  end
elseif in_progress(id, uid) and not (j.overlap == 'allow' and redis.call('SCARD', active_key(id, uid)) < MAX_UNFINISHED) then
  record_slots(id, j, 'skipped', 'overlap', slot, slot, 1)
  move_cursor(id, slot, next, ARGV[6])
  return { 'dropped' }
end

local claims = redis.call('HINCRBY', job_key(id), 'claims', 1)
if j.maxRuns and claims >= tonumber(j.maxRuns) then next = '' end
redis.call('HDEL', job_key(id), 'range')
new_run(run, id, j, 'schedule', slot)
move_cursor(id, slot, next, ARGV[6])
return begin_run(run, token, worker)
