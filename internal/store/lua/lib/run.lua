-- Runs: how they begin, end and are cancelled.
-- wake lists everything unfinished; only the script that ends it removes it. open lists the
-- same, so that each of the two can be mended from the other.
-- include clock hash audit history alert slots session delivery

-- booked lists the field of a run that says how its attempt ended.
local function booked(r, result, cause, message)
  local field = 'a' .. r.attempt
  local readable, a = pcall(cjson.decode, r[field] or '')
  if not readable or type(a) ~= 'table' then a = { n = tonumber(r.attempt) } end
  a.endedAt, a.result = now, result
  if cause ~= '' then a.cause = cause end
  if message ~= '' then a.error = message end
  return { field, cjson.encode(a) }
end

-- may_retry: a retry must be left (a free one takes none), and it must not come
-- after the next slot.
local function may_retry(r, j, at, free)
  if tonumber(r.attempt) >= MAX_ATTEMPTS then return false end
  if not free and tonumber(r.retries) >= tonumber(j.maxRetries or MAX_RETRIES) then return false end
  return r.trigger == TRIGGER_MANUAL or not j.nextSlot or at < due_of(j)
end

-- active_runs are the unfinished runs of a job. An entry whose run is gone or ended
-- must not block the job for ever: it is dropped on sight.
local function active_runs(job, uid)
  local runs = {}
  for _, id in ipairs(keyed('SMEMBERS', ACTIVE .. job .. ':' .. uid)) do
    if not unfinished(id) then
      redis.call('SREM', ACTIVE .. job .. ':' .. uid, id)
    else
      local r = redis.call('HMGET', RUN .. id, 'state', 'trigger', 'catchup')
      runs[#runs + 1] = { id = id, state = r[1], trigger = r[2], catchup = r[3] }
    end
  end
  return runs
end

-- release lets a job's queued run begin when nothing else of the job is in progress. It
-- returns how many runs are unfinished.
local function release(job, uid)
  local runs, queued = active_runs(job, uid), nil
  for _, r in ipairs(runs) do
    if r.state ~= STATE_QUEUED then return #runs end
    queued = r.id
  end
  if queued then
    pcall(make_waiting, queued, now) -- a look says if it cannot be read
  end
  return #runs
end

-- give_back undoes the claim of a run that a pause ended; returns the claims left. If it
-- was the last claim, it ended the schedule too, which goes on where it stopped (after).
local function give_back(job)
  local key = JOB .. job
  local claims = redis.call('HINCRBY', key, 'claims', -1)
  local j = redis.call('HMGET', key, 'after', 'afterDue')
  if j[1] then move_cursor(job, '', j[1], j[2]) else pcall(retire, job) end
  return claims
end

-- count_failure counts a failed run of the schedule, disables a job that fails too often
-- in a row, and tells of it whoever is to hear. over: it was the job's last run, so that
-- nobody would hear of it from a second one, and nothing is left to disable. A job that says
-- nothing else tells of its first failure too if the same would fail again, or if the next
-- run is far away.
local function count_failure(id, r, outcome, message, over)
  local key = JOB .. r.job
  local failures, j = redis.call('HINCRBY', key, 'failures', 1), hash(key)
  local disabled = failures >= DISABLE_AFTER and j.enabled == '1' and not over
  if not over then redis.pcall('ZADD', FAILING, 'NX', int(now), r.job) end
  if disabled then
    disable(r.job, j, 'auto-disabled after ' .. int(failures) .. ' failures in a row; the last: ' .. message)
  end
  local to, target = hearer(j)
  if not to then return end
  local following = tonumber(j.nextSlot)
  local enough = over or failures >= (tonumber(j.alertAfter) or (j.deliver == DELIVER_ON_FAILURE and 1) or ALERT_AFTER)
    or (not j.alertAfter and (r.permanent or not following or following > now + ALERT_FAR))
  local lately = now - (tonumber(j.alertedAt) or 0) < alert_again(j)
  if not disabled and (lately or not enough) then return end
  redis.call('HSET', key, 'alertedAt', int(now), 'toldFailures', failures,
    'told', cjson.encode({ to = to, target = target, disabled = disabled or nil }))
  if disabled then following = nil end
  local fact = { kind = disabled and NOTICE_DISABLED or NOTICE_FAILURE, at = now, jobId = r.job, run = id, job = j.name or r.job,
    timezone = j.timezone, slot = tonumber(r.slot), outcome = outcome, error = clip(message, ALERT_ERROR),
    attempts = tonumber(r.attempt), failures = failures, next = following, disabled = disabled }
  if disabled or to == '*' then post('*', nil, fact) end
  if to == '*' then return end
  fact.n = tonumber(add_delivery(id, KIND_ALERT, target))
  if not post(to, target, fact) then
    end_delivery(id, int(fact.n), DELIVERY_FAILED, 'too much waits for this chat, and the next alert counts it; or the outbox is damaged')
  end
end

-- tell_recovery tells whoever heard that a job fails that it works again.
local function tell_recovery(r, told, failures)
  local key = JOB .. r.job
  local j = pick(key, { 'name', 'timezone' })
  redis.call('HDEL', key, 'told', 'toldFailures')
  local was = cjson.decode(told)
  local fact = { kind = NOTICE_RECOVERED, at = now, jobId = r.job, job = j.name or r.job, timezone = j.timezone,
    slot = tonumber(r.slot), failures = failures }
  if was.disabled or was.to == '*' then post('*', nil, fact) end
  if was.to ~= '*' then post(was.to, was.target, fact) end
end

-- end_run is the only way a run ends: it leaves wake, open, the job's active set, its
-- session and its place, lets go what waits behind it, tells the job, and deletes a job whose
-- last run this was. fields, if any, list what else there is to write of the run.
local function end_run(id, r, outcome, reason, message, fields)
  local key, stamp = RUN .. id, int(now)
  fields = fields or {}
  if reason ~= '' then
    fields[#fields + 1] = 'reason'
    fields[#fields + 1] = reason
  end
  if message ~= '' then
    fields[#fields + 1] = 'error'
    fields[#fields + 1] = message
  end
  if not r.delivery and outcome ~= OUTCOME_SUCCEEDED then -- whose commit says it
    fields[#fields + 1] = 'delivery'
    fields[#fields + 1] = DELIVERY_NOT_REQUESTED
  end
  redis.call('HSET', key, 'state', STATE_DONE, 'outcome', outcome, 'finishedAt', stamp, unpack(fields))
  erase(key, r, 'token', 'leaseUntil', 'seenEpoch', 'seenAt', 'deadEpoch', 'notBefore')
  redis.call('PEXPIRE', key, RETENTION)
  redis.call('ZREM', WAKE, 'r:' .. id)
  redis.call('SREM', OPEN, 'r:' .. id)
  keyed('SREM', ACTIVE .. r.job .. ':' .. r.uid, id)
  leave(r.session, id, r.state)
  leave_place(r.agent or DEFAULT_AGENT, id, r.state)
  local unfinished_runs = release(r.job, r.uid)
  local jk = JOB .. r.job
  -- Nothing, if it is no hash.
  local v, uid, name, most, claims, misfire, slot, due, failures, enabled, told, told_failures = unpack(redis.pcall('HMGET', jk,
    'v', 'uid', 'name', 'maxRuns', 'claims', 'misfire', 'nextSlot', 'nextDue', 'failures', 'enabled', 'told', 'toldFailures'))
  if uid == r.uid and not newer({ v = v or nil }) then
    claims = tonumber(claims or '0')
    if (reason == REASON_DISABLED or reason == REASON_PAUSED) and r.trigger ~= TRIGGER_MANUAL then
      claims = give_back(r.job)
    end
    local last = { 'lastRunId', id, 'lastOutcome', outcome, 'lastRunAt', r.startedAt or stamp }
    local over = most and claims >= tonumber(most) and unfinished_runs == 0
    if outcome == OUTCOME_SUCCEEDED then
      last[7], last[8], last[9], last[10] = 'lastReplyId', id, 'lastDelivery', r.delivery
      if failures then
        redis.call('HDEL', jk, 'failures')
        redis.pcall('ZREM', FAILING, r.job)
      end
      if told then
        pcall(tell_recovery, r, told, math.max(tonumber(failures) or 0, tonumber(told_failures) or 0))
      end
    end
    redis.call('HSET', jk, unpack(last))
    if outcome ~= OUTCOME_SUCCEEDED and outcome ~= OUTCOME_CANCELLED and r.trigger == TRIGGER_SCHEDULE then
      count_failure(id, r, outcome, message, over or ended({ enabled = enabled, nextSlot = slot, maxRuns = most, claims = claims }))
    end
    -- The next slot to catch up with was refused while this run was in progress.
    if misfire == MISFIRE_RUN_ALL and slot and tonumber(due or slot) <= now then redis.call('ZADD', DUE, stamp, r.job) end
    if over then
      audit(PRODUCT, 'delete', r.job, cjson.encode({ name = name or nil, runsUsed = claims }), '')
      drop_job(r.job)
      remember_end(r.job, { run = id, outcome = outcome, runs = claims, of = tonumber(most), at = now })
    end
  end
  trim(r.job, r.agent, r.home or '')
end

-- cancel_run ends an unfinished run and fences its attempt, whose worker is told. It
-- returns how many turns that leaves behind: the request of an attempt is dropped, but
-- nobody tells the ai-server, which may go on with it. 0 for a run that only waited.
local function cancel_run(id, r, reason)
  redis.call('HINCRBY', RUN .. id, 'epoch', 1)
  end_run(id, r, OUTCOME_CANCELLED, reason, '', r.state == STATE_RUNNING and booked(r, RESULT_CANCELLED, reason, '') or nil)
  redis.pcall('PUBLISH', CANCELS, id)
  return r.state == STATE_RUNNING and 1 or 0
end

-- attempt_of lists the fields of a run whose attempt n begins now.
local function attempt_of(j, n, epoch, token, worker)
  local stamp = int(now)
  local fields = { 'state', STATE_RUNNING, 'session', j.session, 'token', token, 'leaseUntil', int(now + LEASE),
    'attempt', n, 'epoch', epoch, 'a' .. n, cjson.encode({ n = n, worker = worker, startedAt = now }) }
  if n == 1 then
    fields[#fields + 1] = 'startedAt'
    fields[#fields + 1] = stamp
  end
  if j.context == CONTEXT_ISOLATED then
    fields[#fields + 1] = 'isolated'
    fields[#fields + 1] = '1'
  end
  return fields
end

-- began returns an attempt of the run r to whom it was given, whether its session has
-- messages here, and the id of that at the ai-server (see plain_id); job lists the job's fields.
local function began(epoch, attempt, r, job)
  return { 'ok', now, tonumber(epoch), tonumber(attempt), tonumber(r.retries) or 0, r.trigger or '', r.slot or '0',
    r.session, redis.call('EXISTS', SESSION .. r.session), job, plain_id(r.session) }
end

-- hand_over moves a run, read as r, to the lists of the owners that its job j has by now.
local function hand_over(id, r, j)
  if r.agent then disown_run(id, r.agent, r.home or '') end
  local score = redis.call('ZSCORE', RUNS, id)
  if score then own_run(id, j.agentId or DEFAULT_AGENT, j.session or '', score) end
end

-- begin_run gives the next attempt of a run, which was read as r, to the caller, or says
-- why not: gone, newer, done, busy, parked, early (and the delay), ended.
-- The job is read again here: nothing starts by an old definition.
local function begin_run(id, r, token, worker)
  local key = RUN .. id
  if not r.state then return { 'gone' } end
  if newer(r) then return { 'newer' } end
  if r.state == STATE_DONE then return { 'done' } end
  if r.state == STATE_PARKED or r.state == STATE_QUEUED then return { 'parked' } end
  if r.state == STATE_WAITING and tonumber(r.notBefore) > now then
    return { 'early', tonumber(r.notBefore) - now }
  end
  local j, job = hash(JOB .. r.job)
  local dead = false
  if r.state == STATE_RUNNING then
    if r.token == token then return began(r.epoch, r.attempt, r, job) end
    if r.deadEpoch ~= r.epoch then return { 'busy' } end
    dead = true
  end

  if j.uid and newer(j) then return { 'newer' } end
  local fields = {} -- what the end of a dead attempt leaves behind
  if dead then
    fields = booked(r, RESULT_AMBIGUOUS, CAUSE_LEASE_EXPIRED, 'the worker stopped renewing its lease')
  end
  if j.uid ~= r.uid then
    end_run(id, r, OUTCOME_CANCELLED, REASON_DELETED, '', fields)
    return { 'ended' }
  end
  if j.enabled ~= '1' and r.trigger ~= TRIGGER_MANUAL then
    end_run(id, r, OUTCOME_CANCELLED, REASON_DISABLED, '', fields)
    return { 'ended' }
  end
  if paused() then
    end_run(id, r, OUTCOME_CANCELLED, REASON_PAUSED, '', fields)
    return { 'ended' }
  end
  if dead then
    if j.onAmbiguous == ON_AMBIGUOUS_FAIL or not may_retry(r, j, now) then
      end_run(id, r, OUTCOME_FAILED, '', 'the worker stopped in the middle of the call; whether the agent acted is unknown', fields)
      return { 'ended' }
    end
    r.retries = int(tonumber(r.retries) + 1)
    fields[#fields + 1] = 'retries'
    fields[#fields + 1] = r.retries
  end

  if r.session and r.session ~= j.session then leave(r.session, id, r.state) end
  local mine = take(j.session, id) -- first: where it fails on a damaged key, nothing is booked yet
  local agent = j.agentId or DEFAULT_AGENT
  if r.agent and r.agent ~= agent then leave_place(r.agent, id, r.state) end
  -- The session comes before the place, here and everywhere, and nobody keeps a place who
  -- waits for a session: so no two wait for each other.
  local placed = mine and take_place(agent, id, tonumber(r.createdAt) or now)
  if r.agent ~= agent or r.home ~= j.session then
    pcall(hand_over, id, r, j)
  end
  redis.call('HSET', key, 'session', j.session, 'agent', agent, 'home', j.session, unpack(fields))
  if not placed then
    redis.call('HSET', key, 'state', STATE_PARKED)
    redis.call('ZADD', WAKE, int(now + (mine and LOOK_PLACE or LOOK_PARKED)), 'r:' .. id)
    if mine then hand_places(agent) else leave_place(agent, id, r.state) end
    return { 'parked' }
  end
  local n, epoch = tonumber(r.attempt) + 1, tonumber(r.epoch) + 1
  redis.call('HSET', key, unpack(attempt_of(j, n, epoch, token, worker)))
  erase(key, r, 'seenEpoch', 'seenAt', 'deadEpoch', 'notBefore', j.context ~= CONTEXT_ISOLATED and 'isolated' or nil)
  redis.call('ZADD', WAKE, int(now + LEASE), 'r:' .. id)
  r.session = j.session
  return began(epoch, n, r, job)
end

-- enter writes an unfinished run and enters it where such are listed, to be looked at at
-- the given time. What follows are the fields that say how far it is.
local function enter(id, job, j, trigger, slot, look, ...)
  redis.call('HSET', RUN .. id, 'v', VERSION, 'job', job, 'uid', j.uid, 'name', j.name or '', 'trigger', trigger,
    'slot', slot, 'lastSlot', slot, 'count', '1', 'createdAt', int(now), 'n', '0', 'retries', '0',
    'agent', j.agentId or DEFAULT_AGENT, 'home', j.session or '', ...)
  redis.call('ZADD', WAKE, int(look), 'r:' .. id)
  redis.call('SADD', OPEN, 'r:' .. id)
  keyed('SADD', ACTIVE .. job .. ':' .. j.uid, id)
  index(job, id, j.agentId or DEFAULT_AGENT, j.session or '')
end
