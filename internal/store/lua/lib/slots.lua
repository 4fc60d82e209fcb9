-- The slots of a job: its cursor, and what becomes of those that do not run.
-- job.nextSlot is the only truth about slots; every script compares with it.
-- include clock hash audit history alert

-- paused reports whether the operator has stopped everything.
local function paused() return redis.call('HEXISTS', PAUSED, 'since') == 1 end

-- held reports whether an unclaimed slot of that due time is past running because of
-- it. A resume makes up for nothing, so what was due by then stays held: this one time
-- says it of every pause before. One that lies ahead was written by a clock that was wrong.
local function held(due)
  local p = redis.call('HMGET', PAUSED, 'since', 'until')
  return p[1] or (p[2] and due <= tonumber(p[2]) and tonumber(p[2]) <= now + CLOCK_STEP)
end

-- is_news reports whether slots that did not run say something of their job. Those that
-- somebody paused, edited or deleted away do not, unless they were all that was left.
local function is_news(outcome, reason, over)
  if outcome == OUTCOME_MISSED then return true end
  return reason ~= REASON_DISABLED and reason ~= REASON_EDITED and reason ~= REASON_DELETED and (over or reason ~= REASON_PAUSED)
end

-- tell_missed tells of slots that did not run because their time had passed: whoever the
-- deployment tells, and the job's chat if no newer slot ran instead.
local function tell_missed(id, j, reason, last, count)
  local to, target = hearer(j)
  if not to then return end
  local at = reason == REASON_SUPERSEDED and 'supersededAt' or 'missedAt'
  if not j.at and now - (tonumber(j[at]) or 0) < alert_again(j) then return end
  if redis.call('EXISTS', JOB .. id) == 1 then redis.call('HSET', JOB .. id, at, int(now)) end
  local fact = { kind = j.at and NOTICE_NOT_RUN or NOTICE_MISSED, at = now, jobId = id, job = j.name or id, timezone = j.timezone,
    slot = tonumber(last), count = tonumber(count), reason = reason }
  post('*', nil, fact)
  if to ~= '*' and reason ~= REASON_SUPERSEDED then post(to, target, fact) end
end

-- record_slots writes what became of slots that do not run: one record for the
-- range, or the job's newest range extended if nothing else came between. over: no slot
-- of the job is left.
local function record_slots(id, j, outcome, reason, first, last, count, over)
  if outcome == OUTCOME_MISSED then
    pcall(tell_missed, id, j, reason, last, count)
  end
  local news = {}
  if is_news(outcome, reason, over) then news = { 'lastOutcome', outcome, 'lastOutcomeSlot', last } end
  local range, agent, session = j.range, j.agentId or DEFAULT_AGENT, j.session or ''
  if range then
    local r = redis.call('HMGET', RUN .. range, 'outcome', 'reason', 'agent', 'home')
    -- What became of the slots of one owner is not told to another.
    if r[1] == outcome and r[2] == reason and r[3] == agent and r[4] == session then
      redis.call('HSET', RUN .. range, 'lastSlot', last, 'finishedAt', int(now))
      redis.call('HINCRBY', RUN .. range, 'count', count)
      redis.call('PEXPIRE', RUN .. range, RETENTION)
      write(JOB .. id, news)
      index(id, range, agent, session)
      trim(id, agent, session)
      return
    end
  end
  range = id .. ':' .. int(tonumber(first) / 1000)
  redis.call('HSET', RUN .. range, 'v', VERSION, 'job', id, 'uid', j.uid, 'name', j.name or '',
    'trigger', TRIGGER_SCHEDULE, 'state', STATE_DONE, 'outcome', outcome, 'reason', reason,
    'slot', first, 'lastSlot', last, 'count', count, 'createdAt', int(now), 'finishedAt', int(now),
    'delivery', DELIVERY_NOT_REQUESTED, 'agent', agent, 'home', session)
  redis.call('PEXPIRE', RUN .. range, RETENTION)
  if redis.call('EXISTS', JOB .. id) == 1 then redis.call('HSET', JOB .. id, 'range', range, unpack(news)) end
  index(id, range, agent, session)
  trim(id, agent, session)
end

-- ended reports whether a job has no slot left and never will: one whose last run is under
-- way has not ended, because a pause may give that back.
local function ended(j)
  return j.enabled == '1' and not j.nextSlot and not (j.maxRuns and tonumber(j.claims or '0') >= tonumber(j.maxRuns))
end

-- fails reports whether a job's last runs of the schedule failed, or failures disabled it.
-- One that somebody has paused is in good hands.
local function fails(j)
  return j.disabledAt or (j.enabled == '1' and j.failures and not ended(j))
end

-- retire moves a job that has ended from the list of jobs to that of ended ones, where it
-- stays for the retention.
local function retire(id)
  local j = pick(JOB .. id, { 'enabled', 'nextSlot', 'maxRuns', 'claims', 'maker' })
  if not ended(j) then return end
  disown(id)
  add(ENDED, id)
  redis.call('ZREM', JOBS, id)
  own(id)
  redis.pcall('ZREM', FAILING, id)
  if j.maker then redis.pcall('SREM', TOKEN_JOBS .. j.maker, id) end
end

-- due_of is when a job's next slot is due: the slot, or later by the jitter.
local function due_of(j) return tonumber(j.nextDue or j.nextSlot) end

-- settled notes that the next slot of a job no longer waits for a claim.
local function settled(id, j)
  if j.emitted and j.emitted == j.nextSlot then redis.pcall('ZREM', UNCLAIMED, id) end
end

-- move_cursor passes the slots up to last; upcoming is the new cursor, '' for none, and
-- due is when it is due. lastSlot never goes back. j is the job as it stands, if the
-- caller has it whole; what follows are fields to write along.
local function move_cursor(id, last, upcoming, due, j, ...)
  local key, fields = JOB .. id, { ... }
  j = j or hash(key)
  settled(id, j)
  if last ~= '' and (not j.lastSlot or tonumber(last) > tonumber(j.lastSlot)) then
    fields[#fields + 1] = 'lastSlot'
    fields[#fields + 1] = last
  end
  if upcoming == '' then
    redis.call('ZREM', DUE, id)
  else
    fields[#fields + 1] = 'nextSlot'
    fields[#fields + 1] = upcoming
    if due ~= upcoming then
      fields[#fields + 1] = 'nextDue'
      fields[#fields + 1] = due
    end
    redis.call('ZADD', DUE, due, id)
  end
  erase(key, j, 'emitted', 'nextDue', 'after', 'afterDue', upcoming == '' and 'nextSlot' or nil)
  write(key, fields)
  if upcoming == '' then
    pcall(retire, id) -- a list that is damaged stops no slot
  end
end

-- pass_slots records slots that will not run and moves the cursor behind them. A job
-- that was disabled while slots of it were due keeps its cursor only until those have
-- their records; later ones were never its.
local function pass_slots(id, j, outcome, reason, first, last, count, next, due)
  if j.enabled ~= '1' then
    outcome, reason = OUTCOME_SKIPPED, REASON_DISABLED
    if next ~= '' and tonumber(next) > tonumber(j.disabledAt or now) then next = '' end
  end
  record_slots(id, j, outcome, reason, first, last, count, next == '')
  move_cursor(id, last, next, due, j)
end

local function drop_job(id)
  local maker = redis.pcall('HGET', JOB .. id, 'maker')
  if type(maker) == 'string' then redis.pcall('SREM', TOKEN_JOBS .. maker, id) end
  disown(id)
  redis.call('DEL', JOB .. id)
  for _, list in ipairs({ DUE, JOBS }) do redis.call('ZREM', list, id) end
  for _, list in ipairs({ UNCLAIMED, ENDED, FAILING, UNDELIVERED, CUT }) do redis.pcall('ZREM', list, id) end
end

-- disable pauses a job for a reason. A slot that is due already keeps its cursor: see
-- pass_slots.
local function disable(id, j, reason)
  reason = clip(reason, REASON)
  redis.call('HSET', JOB .. id, 'enabled', 0, 'disabledAt', int(now), 'pauseReason', reason, 'updatedAt', int(now))
  redis.call('HINCRBY', JOB .. id, 'rev', 1)
  audit(PRODUCT, 'pause', id, cjson.encode({ enabled = true }), cjson.encode({ enabled = false, pauseReason = reason }))
  if j.nextSlot and tonumber(j.nextSlot) > now then move_cursor(id, '', '', '') end
end
