-- The lists of jobs and runs, those of their owners, and what is kept of old runs.
-- include clock hash

-- entries_of lists the entries of a job in the lists of owners, by the list that it is in and
-- by whose its record says that it is: of one agent, and of one session of that.
local function entries_of(id)
  local j, entries = pick(JOB .. id, { 'agentId', 'session' }), {}
  local agent = j.agentId or DEFAULT_AGENT
  for _, list in ipairs({ { 'j', JOBS }, { 'e', ENDED } }) do
    local score = redis.pcall('ZSCORE', list[2], id)
    if type(score) == 'string' then
      local entry = ' ' .. string.format('%016d', score) .. ' ' .. id
      entries[#entries + 1] = list[1] .. ':' .. agent .. entry
      entries[#entries + 1] = list[1] .. 's:' .. agent .. ' ' .. (j.session or '') .. entry
    end
  end
  return entries
end

-- disown takes a job out of the lists of its owners, before it leaves a list or has another
-- owner, and own enters it, afterwards. These lists are there to be read only: damaged, they
-- keep nothing from happening.
local function disown(id)
  for _, entry in ipairs(entries_of(id)) do redis.pcall('ZREM', OWNED, entry) end
end

local function own(id)
  for _, entry in ipairs(entries_of(id)) do redis.pcall('ZADD', OWNED, 0, entry) end
end

-- keep_own_runs gives the lists of the runs of an owner their full time to live once more.
local function keep_own_runs(agent, session)
  redis.pcall('PEXPIRE', OWN_RUNS .. agent, RETENTION)
  redis.pcall('PEXPIRE', OWN_RUNS .. agent .. ' ' .. session, RETENTION)
end

-- own_run enters a run in the lists of its owners, with the score that it has in the list of
-- all jobs' runs. The repair keeps them within their cap (see own), so that a run need not.
local function own_run(id, agent, session, score)
  redis.call('ZADD', OWN_RUNS .. agent, score, id)
  redis.call('ZADD', OWN_RUNS .. agent .. ' ' .. session, score, id)
end

local function disown_run(id, agent, session)
  redis.pcall('ZREM', OWN_RUNS .. agent, id)
  redis.pcall('ZREM', OWN_RUNS .. agent .. ' ' .. session, id)
end

-- trim keeps a job's history within its cap and retention and spares what is
-- unfinished. It looks at the 50 oldest records at most, so that one call is cheap, and
-- for those beyond the retention only now and then. agent, session: whose its newest run is,
-- whose lists are kept as long as its history.
local function trim(job, agent, session)
  local key = RUNS_OF .. job
  local kept = keyed('ZCARD', key)
  local stretched = stretch(key, RETENTION, kept == 1)
  if stretched and agent then
    keep_own_runs(agent, session)
  end
  if stretched or kept > HISTORY then
    kept = kept - redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. int(micros - RETENTION * 1000))
  end
  local over = kept - HISTORY
  if over > 0 then
    for _, id in ipairs(redis.call('ZRANGE', key, 0, 49)) do
      if over == 0 then break end
      local r = redis.pcall('HMGET', RUN .. id, 'state', 'delivery', 'deliveries', 'alert', 'finishedAt', 'agent', 'home')
      -- An alert that waits for so long has lost its place in the outbox.
      local told = r[4] ~= DELIVERY_PENDING or now - (tonumber(r[5]) or 0) > ALERT_KEPT
      if (not r[1]) or (r[1] == STATE_DONE and r[2] ~= DELIVERY_PENDING and told) then
        for n = 1, tonumber(r[3] or '0') or 0 do redis.call('DEL', DELIVERY .. id .. ':' .. n) end
        redis.call('DEL', RUN .. id)
        redis.call('ZREM', key, id)
        redis.pcall('ZREM', RUNS, id)
        if r[6] then disown_run(id, r[6], r[7] or '') end
        over = over - 1
      end
    end
  end
end

-- add puts a record at the newest end of a list; scores are microseconds, made unique,
-- so that a page can be cut at any of them. It returns the score.
local function add(key, id)
  local score = int(micros)
  if keyed('ZCOUNT', key, score, '+inf') > 0 then -- the clock went back, or stood still
    score = int(tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]) + 1)
  end
  redis.call('ZADD', key, score, id)
  return score
end

-- add_to_all puts a record into the list of all jobs' runs, and into its owners', and keeps
-- that within its cap and the retention, give or take 64, so that most calls are cheap. What
-- falls out of it stays in its job's history.
local function add_to_all(id, agent, session)
  own_run(id, agent, session, add(RUNS, id))
  if redis.call('ZCARD', RUNS) % 64 ~= 1 then return end
  redis.call('ZREMRANGEBYRANK', RUNS, 0, -RUNS_KEPT - 1)
  redis.call('ZREMRANGEBYSCORE', RUNS, '-inf', '(' .. int(micros - RETENTION * 1000))
  redis.call('PEXPIRE', RUNS, RETENTION)
end

-- index puts a record into its job's history and into the list of all jobs' runs and those of
-- its owners, which are there to be read only: damaged, they keep nothing from running.
local function index(job, id, agent, session)
  add(RUNS_OF .. job, id)
  pcall(add_to_all, id, agent, session)
end

-- newest_record is that of a job's history, nil without any.
local function newest_record(id) return redis.pcall('ZRANGE', RUNS_OF .. id, -1, -1)[1] end

-- remember_end leaves in the newest record of a job that has had its runs how it ended: the
-- answer to its id for as long as that record is kept.
local function remember_end(id, how)
  local record = newest_record(id)
  if record then redis.pcall('HSET', RUN .. record, 'ended', cjson.encode(how)) end
end

-- forget_end takes it back: the newest job of that id was deleted by somebody.
local function forget_end(id)
  local record = newest_record(id)
  if record then redis.pcall('HDEL', RUN .. record, 'ended') end
end

-- head_of is what lists show of a long reply.
local function head_of(reply) return reply:sub(1, REPLY_HEAD) end

-- note_cut notes of a job that a reply in its history, or messages of its session, went because
-- of a bound in bytes; for a day the health says so.
local function note_cut(job)
  if redis.call('EXISTS', JOB .. job) == 0 then return end
  redis.pcall('HSET', JOB .. job, 'cutAt', int(now))
  redis.pcall('ZADD', CUT, int(now), job)
  redis.pcall('ZREMRANGEBYSCORE', CUT, '-inf', int(now - 24 * 3600000))
  redis.pcall('ZREMRANGEBYRANK', CUT, 0, -1001)
  redis.pcall('PEXPIRE', CUT, 24 * 3600000)
end

-- drop_replies keeps the whole replies of a job within their bytes when run has one of so
-- many: of the oldest only the head stays, in their records. What is still to be delivered
-- is spared.
local function drop_replies(job, run, bytes)
  local key = REPLIES .. job
  keyed('RPUSH', key, int(bytes) .. ' ' .. run)
  redis.call('PEXPIRE', key, RETENTION)
  redis.call('LTRIM', key, -HISTORY, -1) -- the records of others are gone
  local kept, whole = redis.call('LRANGE', key, 0, -1), 0
  for _, entry in ipairs(kept) do whole = whole + (tonumber(string.match(entry, '^%d+')) or 0) end
  for _, entry in ipairs(kept) do
    if whole <= HISTORY_BYTES then break end
    local size, id = string.match(entry, '^(%d+) (.*)$')
    local r = id and pick(RUN .. id, { 'head', 'delivery' }) or {}
    if id ~= run and r.delivery ~= DELIVERY_PENDING then
      if r.head then
        local whole_characters = string.gsub(r.head, '[\192-\255][\128-\191]*$', '')
        redis.call('HSET', RUN .. id, 'reply', whole_characters, 'replyDropped', '1')
        redis.call('HDEL', RUN .. id, 'head')
        note_cut(job)
      end
      redis.call('LREM', key, 1, entry)
      whole = whole - (tonumber(size) or 0)
    end
  end
end
