-- claim turns a due slot into a run and begins its first attempt.
-- Given: job, uid, slot, revision, next slot ('' none) and when it is due, token, worker
-- Returns: that of begin_run | {gone} | {newer} | {moved} (the cursor is elsewhere,
--       or will be: a pause held the slot) |
--       {early, delay} | {clock_step} (the clock was set, and is not believed yet) | {stale, job} (compute the next slot again) |
--       {dropped} (policy kept the slot from running; recorded) | {behind} (it is caught
--       up with when the run in progress has ended, which makes it due)
-- Holds: a slot is claimed iff it is the cursor and the uid is the job's; the run,
--       the cursor and the due index change together. A doubled or resent carrier
--       finds the run and goes on to begin.
-- include clock hash slots quota session run
local given = named()
local id, uid, slot = given.job, given.uid, given.slot
local token, worker = given.token, given.worker
if stepped then return { 'clock_step' } end
local run = id .. ':' .. int(tonumber(slot) / 1000)
local found = hash(RUN .. run)
if found.uid == uid then
  local j = hash(JOB .. id)
  if j.uid ~= uid or j.nextSlot ~= slot or newer(j) or newer(found) then return begin_run(run, found, token, worker) end
  -- A clock that was set, or damage, has brought the cursor back to it.
  if found.outcome ~= OUTCOME_MISSED and found.outcome ~= OUTCOME_SKIPPED then
    move_cursor(id, slot, given.next, given.due, j)
    return begin_run(run, found, token, worker)
  end
end
local leftover = next(found) -- of an earlier job of this id, or of slots that were not to be

local j, job = hash(JOB .. id)
if j.uid ~= uid then
  -- A carrier of an earlier job of this id stood in the way of this one's.
  if j.nextSlot == slot then redis.call('ZADD', DUE, int(now), id) end
  return { 'gone' }
end
if newer(j) then return { 'newer' } end
if j.nextSlot ~= slot then return { 'moved' } end
local wait = due_of(j) - now
if wait > 1000 or (wait > 0 and paused()) then return { 'early', wait } end
if held(due_of(j)) then
  redis.call('ZADD', DUE, int(now), id) -- for its record
  return { 'moved' }
end
if j.rev ~= given.revision then return { 'stale', job } end

local upcoming, late = given.next, now - due_of(j)
local reason = nil
if j.enabled ~= '1' then -- since this slot was due
  reason = REASON_DISABLED
elseif j.misfire == MISFIRE_SKIP then
  if late > LATE then reason = REASON_LATE end
elseif late > tonumber(j.misfireGrace) * 1000 then
  reason = REASON_STALE
end
if reason then
  pass_slots(id, j, OUTCOME_MISSED, reason, slot, slot, 1, upcoming, given.due)
  return { 'dropped' }
end
local runs = active_runs(id, uid)
local catching = false
for _, r in ipairs(runs) do catching = catching or r.catchup ~= false end
local behind = j.misfire == MISFIRE_RUN_ALL and (late > LATE or (upcoming ~= '' and tonumber(given.due) <= now))
-- What is caught up with runs one after the other, and overlap is about other slots.
if #runs > 0 and (behind or (j.misfire == MISFIRE_RUN_ALL and catching)) then
  settled(id, j) -- it waits for that run, not for a worker
  return { 'behind' }
end

if j.maker then
  if not runs_left(j.maker) then
    record_slots(id, j, OUTCOME_SKIPPED, REASON_QUOTA, slot, slot, 1)
    move_cursor(id, slot, upcoming, given.due, j)
    return { 'dropped' }
  end
end
local queue = false
if #runs > 0 then
  if j.overlap == OVERLAP_CANCEL_PREVIOUS then
    -- Manual runs were asked for by somebody: they are not in the way, and stay.
    for _, previous in ipairs(runs) do
      if previous.trigger == TRIGGER_SCHEDULE then
        local r = hash(RUN .. previous.id)
        if not newer(r) then cancel_run(previous.id, r, REASON_OVERLAP) end
      end
    end
    j, job = hash(JOB .. id) -- their ends were noted there, or were the job's
    if j.uid ~= uid then return { 'gone' } end
  else
    local queued = false
    for _, r in ipairs(runs) do queued = queued or r.state == STATE_QUEUED end
    queue = j.overlap == OVERLAP_QUEUE_ONE and not queued
    if not queue and not (j.overlap == OVERLAP_ALLOW and #runs < MAX_UNFINISHED) then
      record_slots(id, j, OUTCOME_SKIPPED, REASON_OVERLAP, slot, slot, 1)
      move_cursor(id, slot, upcoming, given.due, j)
      return { 'dropped' }
    end
  end
end

if j.maker then
  spend_run(j.maker)
end
if leftover then redis.call('DEL', RUN .. run) end
local agent = j.agentId or DEFAULT_AGENT
local mine = not queue and take(j.session, run)
local began_now = mine and take_place(agent, run, now)
local fields, look = nil, now + (mine and LOOK_PLACE or LOOK_PARKED)
if began_now then
  fields, look = attempt_of(j, 1, 1, token, worker), now + LEASE
elseif queue then
  fields = { 'state', STATE_QUEUED, 'attempt', '0', 'epoch', '0' }
else
  fields = { 'state', STATE_PARKED, 'attempt', '0', 'epoch', '0', 'session', j.session }
end
if behind then
  fields[#fields + 1] = 'catchup'
  fields[#fields + 1] = '1'
end
enter(run, id, j, TRIGGER_SCHEDULE, slot, look, unpack(fields))
if mine and not began_now then
  hand_places(agent)
end

if j.range then redis.call('HDEL', JOB .. id, 'range') end
settled(id, j)
j.emitted = nil -- of this slot alone, which never comes back: not worth another write
local claims = tonumber(j.claims or '0') + 1
if not j.maxRuns or claims < tonumber(j.maxRuns) then
  move_cursor(id, slot, upcoming, given.due, j, 'ranSlot', slot, 'claims', int(claims))
elseif upcoming == '' then
  move_cursor(id, slot, '', '', j, 'ranSlot', slot, 'claims', int(claims))
else
  -- The last run; a pause that ends it gives it back, and the schedule goes on there.
  move_cursor(id, slot, '', '', j, 'ranSlot', slot, 'claims', int(claims), 'after', upcoming, 'afterDue', given.due)
end
if not began_now then return { 'parked' } end
return { 'ok', now, 1, 1, 0, TRIGGER_SCHEDULE, slot, j.session, redis.call('EXISTS', SESSION .. j.session), job, plain_id(j.session) }
