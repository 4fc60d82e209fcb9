-- repair goes over one page of an index and says what disagrees with the records. It
-- puts right at once what is about one entry alone; what is about due is left to
-- redue, which knows where an entry belongs.
-- ARGV: index (jobs|due|ended|failing|undelivered|agents|tokens|wake|open), cursor ('0' begins), size of a page
-- Returns: {cursor ('0': this was the last page), kind, id, seen nextSlot, ...};
--       seen nextSlot is '' where nothing is left to redue
-- Holds: every script keeps the indexes and the records in step, so that whatever is
--       found here is damage. Records of a newer release are left to it, and an entry
--       that cannot be read stops nobody else.
-- include clock hash audit history slots session delivery
local index, cursor, size = ARGV[1], ARGV[2], ARGV[3]
local found = { '' }

local function note(kind, id, seen)
  for _, v in ipairs({ kind, id, seen or '' }) do found[#found + 1] = v end
end

-- ask calls a command that takes many arguments, a bounded number at a time, and
-- answers what it answered, one by one.
local function ask(command, key, args)
  local answers = {}
  for first = 1, #args, 1000 do
    local part = redis.call(command, key, unpack(args, first, math.min(first + 999, #args)))
    for _, v in ipairs(part) do answers[#answers + 1] = v end
  end
  return answers
end

local function each(members, check)
  for i, member in ipairs(members) do pcall(check, i, member) end
end

-- list puts a job into the list of jobs, at its creation.
local function list(id, created)
  local score = (tonumber(created) or now) * 1000
  while redis.call('ZCOUNT', JOBS, int(score), int(score)) > 0 do score = score + 1 end
  redis.call('ZADD', JOBS, int(score), id)
  own(id)
end

local check = {}

-- A job with a slot is in due, and an entry of jobs is a job.
function check.jobs(ids)
  local looks = ask('ZMSCORE', DUE, ids)
  each(ids, function(i, id)
    if looks[i] then return end
    local j = redis.call('HMGET', JOB .. id, 'uid', 'v', 'nextSlot')
    if j[1] and tonumber(j[2] or '0') <= VERSION and tonumber(j[3]) then
      note('due_missing', id, j[3])
    elseif redis.call('EXISTS', JOB .. id) == 0 then
      disown(id)
      redis.call('ZREM', JOBS, id)
      note('job_orphan', id)
    end
  end)
end

-- An entry of due is a job, and a job is in jobs.
function check.due(ids)
  local listed = ask('ZMSCORE', JOBS, ids)
  local alive = 0
  for first = 1, #ids, 1000 do
    local keys = {}
    for i = first, math.min(first + 999, #ids) do keys[#keys + 1] = JOB .. ids[i] end
    alive = alive + redis.call('EXISTS', unpack(keys))
  end
  each(ids, function(i, id)
    if alive < #ids and redis.call('EXISTS', JOB .. id) == 0 then
      note('due_orphan', id)
    elseif not listed[i] then
      local j = redis.call('HMGET', JOB .. id, 'uid', 'v', 'createdAt')
      if not j[1] or tonumber(j[2] or '0') > VERSION then return end
      list(id, j[3])
      note('job_unlisted', id)
    end
  end)
end

-- An entry of ended is a job that has. It goes when nothing has come of it for the retention.
function check.ended(ids)
  each(ids, function(_, id)
    local j = hash(JOB .. id)
    if newer(j) then return end
    if not j.uid or not ended(j) then
      disown(id)
      redis.call('ZREM', ENDED, id)
      own(id) -- as a job, if it is listed as one, too
      if j.uid and not redis.call('ZSCORE', JOBS, id) then list(id, j.createdAt) end
      note('ended_orphan', id)
      return
    end
    local last = math.floor(tonumber(redis.call('ZSCORE', ENDED, id)) / 1000)
    for _, at in ipairs({ j.updatedAt or '0', j.lastRunAt or '0' }) do last = math.max(last, tonumber(at) or 0) end
    if last < now - RETENTION then
      audit(PRODUCT, 'delete', id, cjson.encode({ name = j.name, ended = true }), '')
      drop_job(id)
    end
  end)
end

-- An entry of failing is a job that fails, one of undelivered a job whose reply has not
-- arrived. An older release leaves some behind, which is no damage.
function check.failing(ids)
  each(ids, function(_, id)
    local j = hash(JOB .. id)
    if not newer(j) and not fails(j) then redis.call('ZREM', FAILING, id) end
  end)
end

function check.undelivered(ids)
  each(ids, function(_, id)
    local j = hash(JOB .. id)
    if not newer(j) and (not j.lastDelivery or j.lastDelivery == DELIVERY_DELIVERED) then redis.call('ZREM', UNDELIVERED, id) end
  end)
end

-- What holds a place of an agent is a run of it in progress, or about to begin. What does
-- not would keep others waiting for ever.
function check.agents(agents)
  each(agents, function(_, agent)
    for key, kind in pairs({ [BUSY .. agent] = 'set', [QUEUE .. agent] = 'zset' }) do
      local is = redis.call('TYPE', key).ok
      if is ~= kind and is ~= 'none' then redis.call('DEL', key) end
    end
    for _, run in ipairs(redis.call('SMEMBERS', BUSY .. agent)) do
      local r = pick(RUN .. run, { 'v', 'state', 'notBefore', 'agent' })
      local holds = r.state == STATE_RUNNING or (r.state == STATE_WAITING and (tonumber(r.notBefore) or 0) <= now)
      if not newer(r) and not (holds and (r.agent or DEFAULT_AGENT) == agent and unfinished(run)) then
        redis.call('SREM', BUSY .. agent, run)
        note('place_leaked', 'r:' .. run)
      end
    end
    hand_places(agent)
  end)
end

-- What a token allows an agent to hold at once is noted beside: lost, or of another type, it
-- would bound nobody, and left by a token that a release before this one has revoked, for ever.
function check.tokens(ids)
  each(ids, function(_, id)
    local t = pick(TOKEN .. id, { 'v', 'agentId', 'maxConcurrent', 'revokedAt' })
    local most = not newer(t) and t.agentId and tonumber(t.maxConcurrent)
    if not most then return end
    local noted = tonumber(redis.pcall('GET', AT_ONCE .. t.agentId)) or math.huge
    if t.revokedAt and noted == most then
      bound_agent(t.agentId)
    elseif not t.revokedAt and noted > most then
      bound_agent(t.agentId)
      note('quota_lost', 'token:' .. id)
    end
  end)
end

-- record is what is needed of an unfinished run or delivery: its state ('' if it cannot
-- be read, nil if it is ended or gone), and when it may begin.
local function record(member)
  local key = (string.sub(member, 1, 1) == 'r' and P .. 'run:' or P .. 'delivery:') .. string.sub(member, 3)
  local h = redis.pcall('HMGET', key, 'state', 'notBefore', 'v')
  if h[1] == STATE_DONE or (not h[1] and redis.call('EXISTS', key) == 0) then return nil end
  return h[1] or '', tonumber(h[2] or '0') or 0, tonumber(h[3] or '0') or 0
end

local function foreign(member)
  local kind = string.sub(member, 1, 2)
  return kind ~= 'r:' and kind ~= 'd:'
end

-- What is unfinished and in wake is in open.
function check.wake(members)
  local open = ask('SMISMEMBER', OPEN, members)
  each(members, function(i, member)
    if open[i] == 1 or foreign(member) then return end
    local state, _, version = record(member)
    if state and version <= VERSION then
      redis.call('SADD', OPEN, member)
      note('open_missing', member)
    end
  end)
end

-- give_up tells a run whose delivery is gone that nobody knows what became of it.
local function give_up(run, n)
  local r = redis.call('HMGET', RUN .. run, 'deliveries', 'delivery', 'alert', 'job', 'uid')
  if r[1] ~= n then return end
  for i, field in ipairs({ 'delivery', 'alert' }) do
    if r[i + 1] == DELIVERY_PENDING then redis.call('HSET', RUN .. run, field, DELIVERY_UNKNOWN) end
  end
  if r[2] == DELIVERY_PENDING then note_delivery(r[4], r[5], run, DELIVERY_UNKNOWN) end
end

-- An entry of open is unfinished, and what is unfinished will be looked at: no look is
-- ever put off for longer than that at a parked run, or until it may begin.
function check.open(members)
  local looks = ask('ZMSCORE', WAKE, members)
  local furthest = now + 2 * LOOK_PARKED
  each(members, function(i, member)
    local look = looks[i] and tonumber(looks[i])
    if (look and look <= furthest) or foreign(member) then return end
    local state, begins, version = record(member)
    if not state then
      redis.call('SREM', OPEN, member)
      note('open_orphan', member)
      local run, n = string.match(member, '^d:(.*):(%d+)$')
      if run then give_up(run, n) end
    elseif version <= VERSION and not (look and look <= begins + 2 * LOOK_PARKED) then
      redis.call('ZADD', WAKE, int(now), member)
      note(string.sub(member, 1, 1) == 'r' and 'run_stuck' or 'delivery_stuck', member)
    end
  end)
end

local page = redis.call(index == 'open' and 'SSCAN' or 'ZSCAN', P .. index, cursor, 'COUNT', size)
local members = {}
for i = 1, #page[2], index == 'open' and 1 or 2 do members[#members + 1] = page[2][i] end
if #members > 0 then check[index](members) end
found[1] = page[1]
return found
