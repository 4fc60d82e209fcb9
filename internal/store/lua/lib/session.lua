-- Who holds a session and a place of an agent, and who waits for one.
-- include clock hash

-- Carriers that the caller may enqueue at once, as a shortcut: {kind, id, n}.
-- Losing them costs only the time until the next look.
local kicks = {}

-- state_of returns the state of a run; one that is no hash has none.
local function state_of(run)
  local state = redis.pcall('HGET', RUN .. run, 'state')
  return type(state) == 'string' and state
end

-- unfinished reports whether others must wait for a run. For one that cannot be read
-- they would wait for ever.
local function unfinished(run)
  local state = state_of(run)
  return state and state ~= STATE_DONE and redis.pcall('HEXISTS', QUARANTINE, 'r:' .. run) ~= 1
end

-- make_waiting lets a run begin at the given time, by a carrier of a new number.
local function make_waiting(run, at)
  redis.call('HSET', RUN .. run, 'state', STATE_WAITING, 'notBefore', int(at))
  local n = redis.call('HINCRBY', RUN .. run, 'n', 1)
  redis.call('ZADD', WAKE, int(at), 'r:' .. run)
  if at <= now then kicks[#kicks + 1] = { 'r', run, int(n) } end
end

-- hand_on gives a session that nobody holds to its first waiting run.
local function hand_on(session)
  local first = keyed('ZPOPMIN', WAIT .. session)[1]
  while first do
    if state_of(first) == STATE_PARKED and pcall(make_waiting, first, now) then
      redis.call('SET', LOCK .. session, first)
      return
    end
    first = redis.call('ZPOPMIN', WAIT .. session)[1]
  end
end

-- leave takes a run out of its session: from the queue, where one that runs is not, and
-- as holder.
local function leave(session, run, state)
  if not session then return end
  if state ~= STATE_RUNNING then keyed('ZREM', WAIT .. session, run) end
  local holder = keyed('GETDEL', LOCK .. session)
  if holder and holder ~= run then
    redis.call('SET', LOCK .. session, holder)
  else
    hand_on(session)
  end
end

-- take gives the session to the run, or queues it behind the holder. A holder
-- that is ended or gone counts as none, and then the queue goes first.
local function take(session, run)
  local lock = LOCK .. session
  if not redis.call('SET', lock, run, 'NX') then
    local holder = keyed('GET', lock)
    if not holder or (holder ~= run and not unfinished(holder)) then
      redis.call('DEL', lock)
      hand_on(session)
      holder = redis.call('GET', lock)
    end
    if holder and holder ~= run then
      keyed('ZADD', WAIT .. session, int(micros), run)
      return false
    end
    redis.call('SET', lock, run)
  end
  return true
end

-- places_of is how many places an agent may hold at once: its share, or what its tokens say if
-- that is less; nil is no bound. What is damaged bounds nobody.
local function places_of(agent)
  local of = redis.call('MGET', SHARE, AT_ONCE .. agent)
  local share, own = tonumber(of[1]), tonumber(of[2])
  return share and own and math.min(share, own) or share or own
end

-- hand_places lets the runs of an agent that wait for a place begin, first come, first
-- served, while it holds fewer than one agent may. They have their place from here on, so
-- that no later run gets it before their task comes. A run waits with its session in hand:
-- one that has it no more is entered again by its look.
local function hand_places(agent)
  if redis.call('EXISTS', QUEUE .. agent) == 0 then return end
  local busy = BUSY .. agent
  local most, holds = places_of(agent), tonumber(redis.pcall('SCARD', busy)) or 0
  for _ = 1, HANDED do
    if most and holds >= most then return end
    local run = redis.pcall('ZPOPMIN', QUEUE .. agent)[1]
    if not run then return end
    local r = pick(RUN .. run, { 'state', 'session' })
    if r.state == STATE_PARKED and r.session and redis.pcall('GET', LOCK .. r.session) == run and pcall(make_waiting, run, now) then
      redis.pcall('SADD', busy, run)
      holds = holds + 1
    end
  end
end

-- take_place takes a place of its agent for a run that has its session, or queues it by
-- when it came: then the caller writes that it is parked, and calls hand_places.
local function take_place(agent, run, came)
  local busy = BUSY .. agent
  if redis.pcall('SADD', busy, run) ~= 1 then return true end -- it has one
  local most = places_of(agent)
  if not most then return true end
  if redis.call('SCARD', busy) <= most and redis.call('EXISTS', QUEUE .. agent) == 0 then return true end
  if type(redis.pcall('ZADD', QUEUE .. agent, int(came), run)) ~= 'number' then return true end
  redis.call('SREM', busy, run)
  return false
end

-- leave_place takes a run out of its agent's places, and out of the queue for them, where
-- one that runs is not.
local function leave_place(agent, run, state)
  redis.pcall('SREM', BUSY .. agent, run)
  if state ~= STATE_RUNNING then redis.pcall('ZREM', QUEUE .. agent, run) end
  hand_places(agent)
end

-- bound_agent notes what the tokens of an agent allow it to hold at once: the least. Where that
-- is more than before, runs that wait begin.
local function bound_agent(agent)
  local least
  for _, id in ipairs(redis.call('ZRANGE', TOKENS, 0, -1)) do
    local t = pick(TOKEN .. id, { 'agentId', 'maxConcurrent', 'revokedAt' })
    local most = t.agentId == agent and not t.revokedAt and tonumber(t.maxConcurrent)
    if most and most < (least or math.huge) then least = most end
  end
  if least then redis.call('SET', AT_ONCE .. agent, int(least)) else redis.call('DEL', AT_ONCE .. agent) end
  hand_places(agent)
end

-- bound_session keeps a session within its bytes after a turn of so many messages, one of
-- them long, came into it; that turn stays. It reports whether any messages went.
local function bound_session(key, turn)
  local last = redis.call('LLEN', key)
  local bytes = 0
  for back = 1, last do
    bytes = bytes + #redis.call('LINDEX', key, -back)
    if bytes > SESSION_BYTES and back > turn then
      redis.call('LTRIM', key, 1 - back, -1)
      return true
    end
  end
end

-- own_id reports whether a session key may have an id at the ai-server, and enters it: none
-- of the names under which a server may keep that, its folds, is another key's. What is
-- damaged is nobody's.
local function own_id(key, folds)
  local free, others = {}, false
  for _, fold in ipairs(folds) do
    local owner = redis.pcall('GET', SESSION_ID .. fold)
    if type(owner) ~= 'string' then
      free[#free + 1] = fold
    else
      stretch(SESSION_ID .. fold, SESSION_TTL)
      others = others or owner ~= key
    end
  end
  if others then return false end
  for _, fold in ipairs(free) do redis.call('SET', SESSION_ID .. fold, key, 'PX', SESSION_TTL) end
  return true
end

-- plain_id returns the id of a session key whose only fold is itself in small letters, as
-- that of nearly every key, if it may be the key; '' where session_id has to be asked.
local function plain_id(key)
  if string.find(key, '[^%w:._-]') or string.sub(key, -1) == '.' then return '' end
  local at = SESSION_ID .. string.lower(key)
  local owner = redis.pcall('SET', at, key, 'NX', 'GET', 'PX', SESSION_TTL)
  if owner == key then stretch(at, SESSION_TTL) end
  return (not owner or owner == key) and key or ''
end
