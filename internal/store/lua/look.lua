-- look goes through what is unfinished and due for a look, and returns the
-- carriers to enqueue.
-- ARGV: most entries to look at
-- Returns: {kind, id, n, kind, id, n, ...}; kind r: a run, d: a delivery, x: an entry
--       that cannot be read (id is the entry, n the error)
-- Holds: whatever is unfinished is looked at until it is ended. A lease is dead
--       only if it was seen expired, with the same epoch, in two looks DEAD_AFTER
--       apart, with no gap between looks: a Redis that stood still must not
--       declare every running call dead, and neither must a clock that was set. One bad entry stops nobody else: what its
--       carrier would stumble over is not carried. A kind of a newer release is left
--       to it.
-- include clock hash session run
if stepped then return {} end
local last, since = unpack(redis.call('HMGET', LOOKS, 'last', 'since'))
if not last or now - tonumber(last) > LOOK_GAP or now < tonumber(last) then since = int(now) end
redis.call('HSET', LOOKS, 'last', int(now), 'since', since)
since = tonumber(since)

local carriers = {}

local function numbers(h, ...)
  for _, field in ipairs({ ... }) do
    if not tonumber(h[field]) then error(field .. ' is not a number: ' .. tostring(h[field]), 0) end
  end
end

-- must_begin raises an error if begin would.
local function must_begin(kind, h)
  numbers(h, 'n', 'epoch', 'attempt', 'retries')
  if kind == 'd' then return numbers(h, 'createdAt') end
  if not (h.job and h.uid) then error('its job is not named', 0) end
  local j = redis.pcall('HMGET', JOB .. h.job, 'uid', 'session')
  if j.err then error('its job cannot be read', 0) end
  if j[1] and not j[2] then error('its job has no session', 0) end
end

local function carry(member, kind, id, h, n)
  must_begin(kind, h)
  carriers[#carriers + 1] = kind
  carriers[#carriers + 1] = id
  carriers[#carriers + 1] = n
  redis.call('ZADD', WAKE, int(now + LOOK_AGAIN), member)
end

local function look_parked(member, id, h)
  must_begin('r', h)
  local session = h.session
  local holder = keyed('GET', LOCK .. session)
  if holder == id then -- then it waits for a place of its agent
    redis.pcall('ZADD', QUEUE .. (h.agent or DEFAULT_AGENT), 'NX', int(tonumber(h.createdAt) or now), id)
    redis.call('ZADD', WAKE, int(now + LOOK_PLACE), member)
    hand_places(h.agent or DEFAULT_AGENT)
    return
  end
  -- Being parked means being in the queue: put back what is not.
  keyed('ZADD', WAIT .. session, 'NX', int(micros), id)
  redis.call('ZADD', WAKE, int(now + LOOK_PARKED), member)
  if not holder or not unfinished(holder) then
    redis.call('DEL', LOCK .. session)
    hand_on(session)
  end
end

local function look_at(member)
  local kind, id = string.sub(member, 1, 1), string.sub(member, 3)
  if kind ~= 'r' and kind ~= 'd' then
    redis.call('ZADD', WAKE, int(now + LOOK_AGAIN), member)
    return
  end
  local key = kind == 'r' and RUN .. id or DELIVERY .. id
  local h = hash(key)
  local lease = tonumber(h.leaseUntil) or 0
  if h.state == STATE_DONE or not next(h) then
    redis.call('ZREM', WAKE, member)
  elseif not h.state then
    error('it has no state', 0)
  elseif newer(h) then
    redis.call('ZADD', WAKE, int(now + LOOK_AGAIN), member)
  elseif h.state == STATE_PARKED then
    look_parked(member, id, h)
  elseif h.state == STATE_QUEUED then
    must_begin('r', h)
    redis.call('ZADD', WAKE, int(now + LOOK_PARKED), member)
    release(h.job, h.uid)
  elseif h.state == STATE_WAITING then
    numbers(h, 'notBefore')
    if tonumber(h.notBefore) > now then
      redis.call('ZADD', WAKE, h.notBefore, member)
    else
      carry(member, kind, id, h, h.n)
    end
  elseif h.state ~= STATE_RUNNING then
    error('its state is ' .. h.state, 0)
  elseif lease > now and lease <= now + LEASE then
    redis.call('HDEL', key, 'seenEpoch', 'seenAt')
    redis.call('ZADD', WAKE, h.leaseUntil, member)
  elseif h.deadEpoch == h.epoch then
    carry(member, kind, id, h, h.n)
  else
    local seen = h.seenEpoch == h.epoch and tonumber(h.seenAt) >= since and tonumber(h.seenAt) or nil
    if not seen then
      redis.call('HSET', key, 'seenEpoch', h.epoch, 'seenAt', int(now))
      redis.call('ZADD', WAKE, int(now + DEAD_AFTER), member)
    elseif now - seen < DEAD_AFTER then
      redis.call('ZADD', WAKE, int(seen + DEAD_AFTER), member)
    else
      redis.call('HSET', key, 'deadEpoch', h.epoch)
      carry(member, kind, id, h, int(redis.call('HINCRBY', key, 'n', 1)))
    end
  end
end

for _, member in ipairs(redis.call('ZRANGEBYSCORE', WAKE, '-inf', int(now), 'LIMIT', 0, ARGV[1])) do
  local ok, err = pcall(look_at, member)
  if not ok then
    redis.call('ZADD', WAKE, int(now + RECHECK), member)
    carriers[#carriers + 1] = 'x'
    carriers[#carriers + 1] = member
    carriers[#carriers + 1] = type(err) == 'table' and err.err or tostring(err)
  end
end
for _, k in ipairs(kicks) do
  for i = 1, 3 do carriers[#carriers + 1] = k[i] end
end
return carriers
