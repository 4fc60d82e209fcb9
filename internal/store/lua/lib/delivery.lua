-- Deliveries of a run and how they end.
-- include clock hash alert session

-- add_delivery writes the next delivery of a run, and returns its number.
local function add_delivery(run, kind, target)
  local n = int(redis.call('HINCRBY', RUN .. run, 'deliveries', 1))
  redis.call('HSET', RUN .. run, kind == KIND_ALERT and 'alert' or 'delivery', DELIVERY_PENDING)
  redis.call('HSET', DELIVERY .. run .. ':' .. n, 'v', VERSION, 'kind', kind, 'state', STATE_WAITING, 'target', target,
    'createdAt', int(now), 'notBefore', int(now), 'n', 0, 'attempt', 0, 'epoch', 0, 'retries', 0)
  return n
end

-- new_delivery puts a run's reply into the outbox.
local function new_delivery(run, target)
  local n = add_delivery(run, KIND_REPLY, target)
  -- The caller enqueues the carrier itself; the sweeper need not race it.
  redis.call('ZADD', WAKE, int(now + 5000), 'd:' .. run .. ':' .. n)
  redis.call('SADD', OPEN, 'd:' .. run .. ':' .. n)
  kicks[#kicks + 1] = { 'd', run .. ':' .. n, '0' }
end

-- tell_undelivered tells whoever the deployment tells, and the chat that the job names for
-- this, that a reply did not arrive: its own chat is what fails.
local function tell_undelivered(run, key, outcome, message)
  local r, d = pick(RUN .. run, { 'job', 'uid', 'name', 'slot' }), pick(key, { 'target', 'error' })
  local j = hash(JOB .. r.job)
  if j.uid ~= r.uid then j = {} end
  local to, target = hearer(j)
  if not to or now - (tonumber(j.undeliveredAt) or 0) < alert_again(j) then return end
  if j.uid then redis.call('HSET', JOB .. r.job, 'undeliveredAt', int(now)) end
  local failed = cjson.decode(d.target)
  local fact = { kind = NOTICE_UNDELIVERED, at = now, jobId = r.job, run = run, job = j.name or (r.name ~= '' and r.name) or r.job, timezone = j.timezone,
    slot = tonumber(r.slot), outcome = outcome, error = clip(message, ALERT_ERROR), chat = failed.channel .. ' ' .. (failed.chatId or '') }
  post('*', nil, fact)
  if j.alertChannel then post(to, target, fact) end
end

-- note_delivery notes in a job how the delivery of its newest reply stands. Until another one
-- has arrived, or goes elsewhere, a job is known for one that did not.
local function note_delivery(id, uid, run, state)
  local j = pick(JOB .. id, { 'v', 'uid', 'lastReplyId' })
  if j.uid ~= uid or newer(j) or j.lastReplyId ~= run then return end
  redis.call('HSET', JOB .. id, 'lastDelivery', state)
  if state == DELIVERY_FAILED or state == DELIVERY_UNKNOWN then
    redis.pcall('ZADD', UNDELIVERED, 'NX', int(now), id)
  elseif state == DELIVERY_DELIVERED then
    redis.pcall('ZREM', UNDELIVERED, id)
  end
end

-- end_delivery is the only way a delivery ends.
local function end_delivery(run, n, outcome, message)
  local key = DELIVERY .. run .. ':' .. n
  redis.call('HSET', key, 'state', STATE_DONE, 'outcome', outcome, 'finishedAt', int(now))
  if message ~= '' then redis.call('HSET', key, 'error', message) end
  redis.call('HDEL', key, 'token', 'leaseUntil', 'seenEpoch', 'seenAt', 'deadEpoch', 'notBefore')
  redis.call('PEXPIRE', key, RETENTION)
  redis.call('ZREM', WAKE, 'd:' .. run .. ':' .. n)
  redis.call('SREM', OPEN, 'd:' .. run .. ':' .. n)
  -- It is the run's newest: the next one is made after the end of this.
  if redis.call('HGET', key, 'kind') == KIND_ALERT then
    redis.call('HSET', RUN .. run, 'alert', outcome)
    return
  end
  redis.call('HSET', RUN .. run, 'delivery', outcome)
  local of = redis.call('HMGET', RUN .. run, 'job', 'uid')
  if of[1] then note_delivery(of[1], of[2], run, outcome) end
  if outcome ~= DELIVERY_DELIVERED then
    pcall(tell_undelivered, run, key, outcome, message)
  end
end

-- end_facts ends the facts of a target that were being sent: they leave the outbox, and
-- the runs they are about have the outcome. a is the target's record. forward: whoever the
-- deployment tells gets them instead.
local function end_facts(to, a, outcome, message, message_id, forward)
  local facts, n = FACTS .. to, tonumber(a.n) or 0
  for _, text in ipairs(n > 0 and redis.call('LRANGE', facts, 0, n - 1) or {}) do
    local readable, fact = pcall(cjson.decode, text)
    if readable and type(fact) == 'table' then
      if fact.run and fact.n then
        local key = DELIVERY .. fact.run .. ':' .. int(fact.n)
        if redis.pcall('HGET', key, 'state') == STATE_WAITING then
          redis.call('HSET', key, 'attempt', (tonumber(a.retries) or 0) + 1, 'parts', 1)
          if message_id ~= '' then redis.call('HSET', key, 'p0', 's:' .. message_id) end
          end_delivery(fact.run, int(fact.n), outcome, message)
        end
        fact.n = nil
      end
      if forward then post('*', nil, fact) end
    end
  end
  redis.call('LTRIM', facts, n, -1)
  local key, left = ALERT .. to, (tonumber(a.more) or 0) - (tonumber(a.told) or 0)
  if forward and tonumber(a.told or '0') > 0 then redis.call('HINCRBY', ALERT .. '*', 'more', a.told) end
  redis.call('HDEL', key, 'token', 'n', 'told', 'retries', 'since')
  redis.call('HSET', key, 'more', int(left), 'free', int(now + ALERT_EVERY))
  if left > 0 or redis.call('LLEN', facts) > 0 then
    redis.call('ZADD', ALERTS, int(now + ALERT_EVERY), to)
  else
    redis.call('ZREM', ALERTS, to)
    -- For longer than it counts: a clock that is set by hours ends what has less.
    redis.call('PEXPIRE', key, ALERT_KEPT)
  end
end
