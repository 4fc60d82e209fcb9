-- What all scripts share. Go puts a header before it (constants.go) with what it knows, by
-- names in capitals: the key prefix P ("{name}:"), the settings of the deployment, the
-- durations of the lease protocol, and every word that a record can hold.
-- Each script gets of all this only what it uses (link.go), so every declaration begins
-- with "local" at the beginning of a line, and does nothing but declare. Names in capitals
-- are constants, one on a line: they are written out where they are used.
-- A branch that begins with "-- seldom" makes there what only such branches use, so no name
-- around it may be one of the library's.
-- KEYS[1] is P again, only so that a cluster routes the script: every key has the same tag.
--
-- The rules that hold everything together:
--   job.nextSlot is the only truth about slots; every script compares with it.
--   wake lists everything unfinished; only the script that ends it removes it. open
--   lists the same, so that each of the two can be mended from the other.
--   TIME of Redis is the only clock. Each caller says, as the last of its ARGV, what the
--   time should be there ('' if it does not know); where that is far off, the clock was set,
--   and until that has proved right a script goes by what its caller says.
-- Times and durations are milliseconds.

local HANDED = 100         -- so many of these begin in one step at most
local RUNS_KEPT = 20000    -- so many of the newest records are in the list of all jobs' runs
local ALERT_FAR = 3600000  -- the first failure is told if the next slot is further away
local ALERT_KEPT = 7 * 24 * 3600000 -- what nobody sends is kept for this long
local ALERTS_WAIT = 1000   -- so many facts wait for one target; what comes then is counted
local DISABLE_AFTER = 10   -- a job is disabled after so many failed runs in a row
local ALERT_ERROR = 300    -- most bytes of an alert's error
local REASON = 500         -- most bytes of why a job is disabled
local REPLY_HEAD = 2004    -- most bytes of a reply in a list: over 500 characters, however long each is
local AUDITED = 10000      -- so many changes of the administrator are on record, and as many of all others together
local AUDIT_SHARE = 1000   -- so many of these may be one token's
local AUDIT_SHARED = 5000  -- so many may be the product's own, or those of runs without a token
local AUDIT_MOST = 40000   -- the stream has no more, whatever became of the shares
local PRODUCT = 'gateway-cron' -- the actor of what nobody asked for
local REMEMBERED = 24 * 3600000 -- what a request with a key did is known for this long

local clock = redis.call('TIME')
local measured = clock[1] * 1000000 + clock[2]
local expected = tonumber(table.remove(ARGV) or '')
local stepped = expected ~= nil and math.abs(measured / 1000 - expected) > CLOCK_STEP
local micros = stepped and expected * 1000 or measured
local now = math.floor(micros / 1000)

-- Keys; keys.go documents the type and content of each.
local function job_key(id) return P .. 'job:' .. id end
local function run_key(id) return P .. 'run:' .. id end
local function runs_key(job) return P .. 'runs:' .. job end
-- own_runs_key: of the runs of an agent, or of those in one session of it.
local function own_runs_key(agent, session) return P .. 'runs@' .. agent .. (session and ' ' .. session or '') end
local function replies_key(job) return P .. 'replies:' .. job end
local function active_key(job, uid) return P .. 'active:' .. job .. ':' .. uid end
local function delivery_key(run, n) return P .. 'delivery:' .. run .. ':' .. n end
local function session_key(key) return P .. 'session:' .. key end
local function lock_key(session) return P .. 'lock:' .. session end
local function wait_key(session) return P .. 'wait:' .. session end
local function busy_key(agent) return P .. 'busy:' .. agent end
local function queue_key(agent) return P .. 'queue:' .. agent end
local function at_once_key(agent) return P .. 'atonce:' .. agent end
local function session_id_key(fold) return P .. 'sessionid:' .. fold end
local function once_key(key) return P .. 'idem:' .. key end
local function token_key(id) return P .. 'token:' .. id end
local function token_jobs_key(id) return P .. 'tokenjobs:' .. id end
local function token_runs_key(id, day) return P .. 'tokenruns:' .. id .. ':' .. day end
local function audit_key(share) return P .. 'audit:' .. share end
local function alert_key(to) return P .. 'alert:' .. to end
local function facts_key(to) return P .. 'facts:' .. to end
local function taken_key(token) return P .. 'taken:' .. token end
local function damaged_key(name) return P .. 'damaged:' .. name end
local JOBS = P .. 'jobs'
local ENDED = P .. 'ended'
local OWNED = P .. 'owned'
local CUT = P .. 'cut'
local FAILING = P .. 'failing'
local UNDELIVERED = P .. 'undelivered'
local DUE = P .. 'due'
local UNCLAIMED = P .. 'unclaimed'
local WAKE = P .. 'wake'
local OPEN = P .. 'open'
local RUNS = P .. 'runs'
local SESSIONS = P .. 'sessions'
local AGENTS = P .. 'agents'
local SHARE = P .. 'share'
local QUARANTINE = P .. 'quarantine'
local REPAIRS = P .. 'repairs'
local AUDIT = P .. 'audit'
local AUDITORS = P .. 'auditors'
local TOKENS = P .. 'tokens'
local AGENT_IDS = P .. 'agentids'
local LOOKS = P .. 'looks'
local EMITTER = P .. 'emitter'
local CANCELS = P .. 'cancels'
local PAUSED = P .. 'paused'
local ALERTS = P .. 'alerts'
local ALERTER = P .. 'alerter'
local TOLD = P .. 'told'
local CLOCK = P .. 'clock'
local CHECK = P .. 'check'
local BEATS = P .. 'beats'
local IDENTITY = P .. 'identity'

-- Carriers that the caller may enqueue at once, as a shortcut: {kind, id, n}.
-- Losing them costs only the time until the next look.
local kicks = {}

local function int(x) return string.format('%d', x) end

-- named returns the arguments of a script that is given each with its name before it.
local function named()
  local given = {}
  for i = 1, #ARGV, 2 do given[ARGV[i]] = ARGV[i + 1] end
  return given
end

-- hash returns a hash, and the list that it was read as: what returns one just as it
-- was need not make that again.
local function hash(key)
  local list, h = redis.call('HGETALL', key), {}
  for i = 1, #list, 2 do h[list[i]] = list[i + 1] end
  return h, list
end

-- flat lists fields as Redis does: name, value, name, value.
local function flat(fields)
  local list = {}
  for name, value in pairs(fields) do
    list[#list + 1] = name
    list[#list + 1] = type(value) == 'number' and int(value) or value
  end
  return list
end

-- write sets fields of a hash, listed as Redis does, if there are any to set.
local function write(key, list)
  if #list > 0 then redis.call('HSET', key, unpack(list)) end
end

-- erase deletes fields of a hash that was read as h, if it has any of them.
local function erase(key, h, ...)
  local there = nil
  for _, name in ipairs({ ... }) do
    if h[name] then
      there = there or {}
      there[#there + 1] = name
    end
  end
  if there then redis.call('HDEL', key, unpack(there)) end
end

-- stretch gives a key its full time to live once more, and returns whether it did. One
-- that has nearly all of it is left alone: to look is cheaper than to write, here and
-- for the disk. new: it has none yet.
local function stretch(key, ttl, new)
  local left = new and 0 or redis.call('PTTL', key)
  if left > 0.99 * ttl and left <= ttl then return false end
  redis.call('PEXPIRE', key, ttl)
  return true
end

-- pick reads some fields of a hash.
local function pick(key, names)
  local values, h = redis.pcall('HMGET', key, unpack(names)), {}
  for i, name in ipairs(names) do h[name] = values[i] or nil end -- nothing, if it is no hash
  return h
end

-- clip cuts a text to so many bytes, between two characters.
local function clip(text, most)
  if #text <= most then return text end
  return (string.gsub(string.sub(text, 1, most - 3), '[\192-\255][\128-\191]*$', '')) .. '...'
end

-- newer reports whether a record is of a newer release; a version that is no number, as Go
-- reads them, is damage.
local function newer(h) return (tonumber(h.v or '0') or 0) > VERSION and not string.find(h.v, '%D') end

-- put_aside moves away what is of another type than its key is for, since nothing that uses
-- the key could go on: it stays readable for the retention, and the operator is told. What
-- the records of unfinished runs say of it is put back: who holds a session, and which runs
-- a job has.
local function put_aside(key)
  local name = string.sub(key, #P + 1)
  local kind, aside = redis.call('TYPE', key), damaged_key(name)
  redis.call('RENAME', key, aside)
  redis.call('PEXPIRE', aside, RETENTION)
  local session, runs_of = string.match(name, '^lock:(.*)$'), string.match(name, '^active:(.*)$')
  for _, member in ipairs((session or runs_of) and redis.call('SMEMBERS', OPEN) or {}) do
    local run = string.match(member, '^r:(.*)$')
    local r = run and pick(run_key(run), { 'state', 'session', 'job', 'uid' }) or {}
    if runs_of and r.job and r.uid and r.job .. ':' .. r.uid == runs_of then redis.call('SADD', key, run) end
    if session and r.state == STATE_RUNNING and r.session == session then redis.call('SET', key, run) end
  end
  redis.pcall('HINCRBY', REPAIRS, 'key_damaged', 1)
  local full = redis.pcall('HLEN', QUARANTINE)
  if type(full) == 'number' and full < QUARANTINED then
    redis.call('HSET', QUARANTINE, 'key:' .. name, cjson.encode({ since = now, last = now,
      reason = 'it was a ' .. (kind.ok or kind) .. ', and is kept as damaged:' .. name .. '; what needs it goes on without' }))
  end
end

-- keyed calls a command on a key; what there is of another type it puts aside, and calls
-- the command again.
local function keyed(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  -- seldom
  if string.find(answer.err, 'WRONGTYPE', 1, true) then put_aside(key) end
  return redis.call(command, key, ...)
end

-- share_of returns whose share of the audit a note counts against. A token's covers what
-- its holder does, in a run or not, and what the product does to the jobs made with it: so
-- nobody pushes out the notes of another by making jobs that end by themselves. What
-- concerns everything is kept with what the administrator did.
local function share_of(actor, target)
  local token = string.match(actor, '^token:(%w+)') or string.match(actor, '^run:%S+ token:(%w+)')
  if actor == PRODUCT and target ~= '*' then
    token = redis.call('HGET', job_key(target), 'maker')
    if not token then return PRODUCT end
  end
  if token then return 'token:' .. token end
  return string.sub(actor, 1, 4) == 'run:' and 'run' or 'api'
end

-- drop_note takes the oldest note of a share out of the audit.
local function drop_note(share)
  local note = redis.call('LPOP', audit_key(share))
  if note then redis.call('XDEL', AUDIT, note) end
  if share == 'api' then return end
  redis.call('ZINCRBY', AUDITORS, -1, '*')
  if tonumber(redis.call('ZINCRBY', AUDITORS, -1, share)) <= 0 then redis.call('ZREM', AUDITORS, share) end
end

-- bound_share counts a note against a share. Where that is full its own oldest note goes;
-- where all shares but the administrator's are full together, the oldest of the largest.
local function bound_share(share, note)
  local has = redis.call('RPUSH', audit_key(share), note)
  if share == 'api' then
    if has > AUDITED then drop_note(share) end
    return
  end
  redis.call('ZADD', AUDITORS, has, share)
  local all = tonumber(redis.call('ZINCRBY', AUDITORS, 1, '*'))
  if has > (string.sub(share, 1, 6) == 'token:' and AUDIT_SHARE or AUDIT_SHARED) then
    drop_note(share)
  elseif all > AUDITED then
    local largest = redis.call('ZREVRANGE', AUDITORS, 0, 1)
    drop_note(largest[1] == '*' and largest[2] or largest[1])
  end
end

-- audit notes a change in the step that makes it, so that no change is without its
-- note. before and after are what of the target changed (JSON, '' for nothing). A stream
-- or a share that is damaged keeps nobody from changing things, or from stopping them. A
-- job is noted before it is dropped: whose share it is, its record says.
local function audit(actor, action, target, before, after)
  local note = redis.pcall('XADD', AUDIT, 'MAXLEN', '~', AUDIT_MOST, '*', 'at', int(now), 'actor', actor, 'action', action,
    'target', target, 'before', before, 'after', after)
  if type(note) == 'string' then pcall(function() bound_share(share_of(actor, target), note) end) end
  return note
end

-- audit_first notes a change before anything of it is written: where Redis takes no note,
-- being full or denying it, the script ends here and has changed nothing.
local function audit_first(...)
  local note = audit(...)
  if type(note) == 'string' or string.find(note.err, 'WRONGTYPE', 1, true) or string.find(note.err, 'The stream', 1, true) then return end
  -- seldom
  redis.call('XADD', AUDIT, '*', 'at', int(now)) -- again, for its error
end

-- recall returns what a request with that key ('' for none) did when it came first: the
-- id and the uid of what it made, and the print of what it asked for.
local function recall(key)
  if key == '' then return nil end
  local first = hash(once_key(key))
  return first.print and first
end

-- remember notes what a request did, in the step that does it: a retry finds either both
-- or nothing.
local function remember(key, print, id, uid)
  if key == '' then return end
  redis.call('HSET', once_key(key), 'print', print, 'id', id, 'uid', uid)
  redis.call('PEXPIRE', once_key(key), REMEMBERED)
end

-- state_of returns the state of a run; one that is no hash has none.
local function state_of(run)
  local state = redis.pcall('HGET', run_key(run), 'state')
  return type(state) == 'string' and state
end

-- paused reports whether the operator has stopped everything.
local function paused() return redis.call('HEXISTS', PAUSED, 'since') == 1 end

-- held reports whether an unclaimed slot of that due time is past running because of
-- it. A resume makes up for nothing, so what was due by then stays held: this one time
-- says it of every pause before. One that lies ahead was written by a clock that was wrong.
local function held(due)
  local p = redis.call('HMGET', PAUSED, 'since', 'until')
  return p[1] or (p[2] and due <= tonumber(p[2]) and tonumber(p[2]) <= now + CLOCK_STEP)
end

-- unfinished reports whether others must wait for a run. For one that cannot be read
-- they would wait for ever.
local function unfinished(run)
  local state = state_of(run)
  return state and state ~= STATE_DONE and redis.pcall('HEXISTS', QUARANTINE, 'r:' .. run) ~= 1
end

-- entries_of lists the entries of a job in the lists of owners, by the list that it is in and
-- by whose its record says that it is: of one agent, and of one session of that.
local function entries_of(id)
  local j, entries = pick(job_key(id), { 'agentId', 'session' }), {}
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
  redis.pcall('PEXPIRE', own_runs_key(agent), RETENTION)
  redis.pcall('PEXPIRE', own_runs_key(agent, session), RETENTION)
end

-- own_run enters a run in the lists of its owners, with the score that it has in the list of
-- all jobs' runs. The repair keeps them within their cap (see own), so that a run need not.
local function own_run(id, agent, session, score)
  redis.call('ZADD', own_runs_key(agent), score, id)
  redis.call('ZADD', own_runs_key(agent, session), score, id)
end

local function disown_run(id, agent, session)
  redis.pcall('ZREM', own_runs_key(agent), id)
  redis.pcall('ZREM', own_runs_key(agent, session), id)
end

-- trim keeps a job's history within its cap and retention and spares what is
-- unfinished. It looks at the 50 oldest records at most, so that one call is cheap, and
-- for those beyond the retention only now and then. agent, session: whose its newest run is,
-- whose lists are kept as long as its history.
local function trim(job, agent, session)
  local key = runs_key(job)
  local kept = keyed('ZCARD', key)
  local stretched = stretch(key, RETENTION, kept == 1)
  if stretched and agent then
    -- seldom
    keep_own_runs(agent, session)
  end
  if stretched or kept > HISTORY then
    kept = kept - redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. int(micros - RETENTION * 1000))
  end
  local over = kept - HISTORY
  if over > 0 then
    for _, id in ipairs(redis.call('ZRANGE', key, 0, 49)) do
      if over == 0 then break end
      local r = redis.pcall('HMGET', run_key(id), 'state', 'delivery', 'deliveries', 'alert', 'finishedAt', 'agent', 'home')
      -- An alert that waits for so long has lost its place in the outbox.
      local told = r[4] ~= DELIVERY_PENDING or now - (tonumber(r[5]) or 0) > ALERT_KEPT
      if (not r[1]) or (r[1] == STATE_DONE and r[2] ~= DELIVERY_PENDING and told) then
        for n = 1, tonumber(r[3] or '0') or 0 do redis.call('DEL', delivery_key(id, n)) end
        redis.call('DEL', run_key(id))
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
  add(runs_key(job), id)
  pcall(add_to_all, id, agent, session)
end

-- is_news reports whether slots that did not run say something of their job. Those that
-- somebody paused, edited or deleted away do not, unless they were all that was left.
local function is_news(outcome, reason, over)
  if outcome == OUTCOME_MISSED then return true end
  return reason ~= REASON_DISABLED and reason ~= REASON_EDITED and reason ~= REASON_DELETED and (over or reason ~= REASON_PAUSED)
end

-- target_of is where a job sends its messages, nil for nowhere.
local function target_of(j)
  if not j.channel then return nil end
  local group = nil
  if j.isGroup then group = j.isGroup == 'true' end
  return cjson.encode({ channel = j.channel, chatId = j.chatId, peerId = j.peerId, threadId = j.threadId, isGroup = group })
end

-- chat_of names the chat of a target in the outbox of alerts.
local function chat_of(channel, chat, thread) return cjson.encode({ channel, chat or '', thread or '' }) end

-- hearer is who is told of a job: a chat, by its name in the outbox, and the target; or
-- '*', whoever the deployment tells; or nil, nobody.
local function hearer(j)
  if j.alertChannel == ALERT_NONE then return nil end
  if j.alertChannel then
    return chat_of(j.alertChannel, j.alertChatId, j.alertThreadId),
      cjson.encode({ channel = j.alertChannel, chatId = j.alertChatId, threadId = j.alertThreadId })
  end
  local target = target_of(j)
  if j.deliver == DELIVER_NEVER or not target then return '*' end
  return chat_of(j.channel, j.chatId, j.threadId), target
end

-- alert_again is how long a job is silent after it has told of something.
local function alert_again(j) return (tonumber(j.alertCooldown) or ALERT_AGAIN / 1000) * 1000 end

local function add_fact(to, target, fact)
  local key, facts = alert_key(to), facts_key(to)
  if to ~= '*' then
    local free = tonumber(redis.call('HGET', key, 'free') or '0')
    redis.call('ZADD', ALERTS, 'NX', int(math.max(now + ALERT_GATHER, free)), to)
    redis.call('HSET', key, 'target', target)
    redis.call('PEXPIRE', key, ALERT_KEPT)
  end
  if redis.call('LLEN', facts) >= ALERTS_WAIT then
    redis.call('HINCRBY', key, 'more', 1)
    redis.call('PEXPIRE', key, ALERT_KEPT)
    return false
  end
  redis.call('RPUSH', facts, type(fact) == 'table' and cjson.encode(fact) or fact)
  redis.call('PEXPIRE', facts, ALERT_KEPT)
  return true
end

-- post adds a fact (a table, or JSON) to what waits for a target, and reports whether it
-- did: what is too much is counted, and an outbox that is damaged keeps nothing from
-- ending. What goes to '*' has no time of its own, because take_alert moves it on to the
-- deployment's targets.
local function post(to, target, fact)
  local whole, added = pcall(add_fact, to, target, fact)
  return whole and added
end

-- tell_missed tells of slots that did not run because their time had passed: whoever the
-- deployment tells, and the job's chat if no newer slot ran instead.
local function tell_missed(id, j, reason, last, count)
  local to, target = hearer(j)
  if not to then return end
  local at = reason == REASON_SUPERSEDED and 'supersededAt' or 'missedAt'
  if not j.at and now - (tonumber(j[at]) or 0) < alert_again(j) then return end
  if redis.call('EXISTS', job_key(id)) == 1 then redis.call('HSET', job_key(id), at, int(now)) end
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
    -- seldom
    pcall(tell_missed, id, j, reason, last, count)
  end
  local news = {}
  if is_news(outcome, reason, over) then news = { 'lastOutcome', outcome, 'lastOutcomeSlot', last } end
  local range, agent, session = j.range, j.agentId or DEFAULT_AGENT, j.session or ''
  if range then
    local r = redis.call('HMGET', run_key(range), 'outcome', 'reason', 'agent', 'home')
    -- What became of the slots of one owner is not told to another.
    if r[1] == outcome and r[2] == reason and r[3] == agent and r[4] == session then
      redis.call('HSET', run_key(range), 'lastSlot', last, 'finishedAt', int(now))
      redis.call('HINCRBY', run_key(range), 'count', count)
      redis.call('PEXPIRE', run_key(range), RETENTION)
      write(job_key(id), news)
      index(id, range, agent, session)
      trim(id, agent, session)
      return
    end
  end
  range = id .. ':' .. int(tonumber(first) / 1000)
  redis.call('HSET', run_key(range), 'v', VERSION, 'job', id, 'uid', j.uid, 'name', j.name or '',
    'trigger', TRIGGER_SCHEDULE, 'state', STATE_DONE, 'outcome', outcome, 'reason', reason,
    'slot', first, 'lastSlot', last, 'count', count, 'createdAt', int(now), 'finishedAt', int(now),
    'delivery', DELIVERY_NOT_REQUESTED, 'agent', agent, 'home', session)
  redis.call('PEXPIRE', run_key(range), RETENTION)
  if redis.call('EXISTS', job_key(id)) == 1 then redis.call('HSET', job_key(id), 'range', range, unpack(news)) end
  index(id, range, agent, session)
  trim(id, agent, session)
end

-- owned reports whether a caller who is bound to an agent ('' for nobody), and maybe to a
-- session ('' for all of the agent's), may see and touch a job or a run.
local function owned(job_or_run, agent, session)
  if (agent or '') == '' then return true end
  local of = job_or_run
  if of.state then of = { agentId = of.agent or '', session = of.home } end
  return (of.agentId or DEFAULT_AGENT) == agent and (session == '' or of.session == session)
end

-- enter_agent enters an agent id among those in use, or returns false: it could not be told
-- from another one's, because the sessions of one would begin like the other's, or because a
-- server that replaces characters would see one of the two. folds are the names that
-- it may have there, stems what each begins with up to a colon, with spaces between.
-- One that is in use stays so, whatever else is.
local function enter_agent(id, folds, stems)
  local own, others = { 'i ' .. id }, { 'i ' .. id }
  for fold in string.gmatch(folds, '%S+') do
    own[#own + 1] = 'f ' .. fold
    others[#others + 1] = 'f ' .. fold
    others[#others + 1] = 's ' .. fold
  end
  for stem in string.gmatch(stems, '%S+') do
    own[#own + 1] = 's ' .. stem
    others[#others + 1] = 'f ' .. stem
  end
  local used = redis.call('ZMSCORE', AGENT_IDS, unpack(others))
  if not used[1] then
    for i = 2, #others do
      if used[i] then return false end
    end
  end
  local entries = {}
  for _, member in ipairs(own) do
    entries[#entries + 1] = int(now)
    entries[#entries + 1] = member
  end
  redis.call('ZADD', AGENT_IDS, unpack(entries))
  return true
end

-- today is the day of the quotas: days since the epoch, UTC.
local function today() return int(math.floor(now / 86400000)) end

-- runs_left reports whether a token (nil or '' for none) may have another run today, and
-- spend_run counts one. A token that is gone bounds nothing.
local function runs_left(token)
  if (token or '') == '' then return true end
  local most = tonumber(redis.call('HGET', token_key(token), 'maxRunsPerDay') or '')
  return not most or tonumber(redis.call('GET', token_runs_key(token, today())) or '0') < most
end

local function spend_run(token)
  if (token or '') == '' then return end
  redis.call('INCR', token_runs_key(token, today()))
  redis.call('PEXPIRE', token_runs_key(token, today()), 2 * 86400000)
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

-- counted reads of a job what says whether it counts against a quota, which one that has
-- ended does not.
local function counted(id)
  local j = pick(job_key(id), { 'uid', 'maker', 'madeBy', 'enabled', 'nextSlot', 'maxRuns', 'claims' })
  return j.uid and not ended(j) and j or {}
end

-- retire moves a job that has ended from the list of jobs to that of ended ones, where it
-- stays for the retention.
local function retire(id)
  local j = pick(job_key(id), { 'enabled', 'nextSlot', 'maxRuns', 'claims', 'maker' })
  if not ended(j) then return end
  disown(id)
  add(ENDED, id)
  redis.call('ZREM', JOBS, id)
  own(id)
  redis.pcall('ZREM', FAILING, id)
  if j.maker then redis.pcall('SREM', token_jobs_key(j.maker), id) end
end

-- made_by lists the jobs made in runs of a job that exist and have not ended.
local function made_by(id, j)
  local made = {}
  for one in string.gmatch(j.made or '', '%S+') do
    if counted(one).madeBy == id then made[#made + 1] = one end
  end
  return made
end

-- scheduling returns the job in whose run another may be made, and its id; or nil, and why
-- none may. agent, session: the caller's, see owned.
local function scheduling(run, agent, session)
  local r = pick(run_key(run), { 'v', 'job', 'uid', 'state', 'agent', 'home' })
  if not r.state or not r.job or not owned(r, agent, session) then return nil, 'run_unknown' end
  local j = pick(job_key(r.job), { 'v', 'uid', 'agentId', 'session', 'maker', 'madeBy', 'made', 'allowScheduling' })
  if r.state ~= STATE_RUNNING or j.uid ~= r.uid then return nil, 'run_not_running' end
  if not owned(j, agent, session) then return nil, 'run_unknown' end
  if newer(r) or newer(j) then return nil, 'newer' end
  if j.madeBy then return nil, 'made_in_a_run' end
  if j.allowScheduling ~= '1' then return nil, 'scheduling_not_allowed' end
  return j, r.job
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
  local key, fields = job_key(id), { ... }
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
    -- seldom
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
  local maker = redis.pcall('HGET', job_key(id), 'maker')
  if type(maker) == 'string' then redis.pcall('SREM', token_jobs_key(maker), id) end
  disown(id)
  redis.call('DEL', job_key(id))
  for _, list in ipairs({ DUE, JOBS }) do redis.call('ZREM', list, id) end
  for _, list in ipairs({ UNCLAIMED, ENDED, FAILING, UNDELIVERED, CUT }) do redis.pcall('ZREM', list, id) end
end

-- newest_record is that of a job's history, nil without any.
local function newest_record(id) return redis.pcall('ZRANGE', runs_key(id), -1, -1)[1] end

-- remember_end leaves in the newest record of a job that has had its runs how it ended: the
-- answer to its id for as long as that record is kept.
local function remember_end(id, how)
  local record = newest_record(id)
  if record then redis.pcall('HSET', run_key(record), 'ended', cjson.encode(how)) end
end

-- forget_end takes it back: the newest job of that id was deleted by somebody.
local function forget_end(id)
  local record = newest_record(id)
  if record then redis.pcall('HDEL', run_key(record), 'ended') end
end

-- make_waiting lets a run begin at the given time, by a carrier of a new number.
local function make_waiting(run, at)
  redis.call('HSET', run_key(run), 'state', STATE_WAITING, 'notBefore', int(at))
  local n = redis.call('HINCRBY', run_key(run), 'n', 1)
  redis.call('ZADD', WAKE, int(at), 'r:' .. run)
  if at <= now then kicks[#kicks + 1] = { 'r', run, int(n) } end
end

-- hand_on gives a session that nobody holds to its first waiting run.
local function hand_on(session)
  local first = keyed('ZPOPMIN', wait_key(session))[1]
  while first do
    -- seldom
    if state_of(first) == STATE_PARKED and pcall(make_waiting, first, now) then
      redis.call('SET', lock_key(session), first)
      return
    end
    first = redis.call('ZPOPMIN', wait_key(session))[1]
  end
end

-- leave takes a run out of its session: from the queue, where one that runs is not, and
-- as holder.
local function leave(session, run, state)
  if not session then return end
  if state ~= STATE_RUNNING then keyed('ZREM', wait_key(session), run) end
  local holder = keyed('GETDEL', lock_key(session))
  if holder and holder ~= run then
    redis.call('SET', lock_key(session), holder)
  else
    hand_on(session)
  end
end

-- take gives the session to the run, or queues it behind the holder. A holder
-- that is ended or gone counts as none, and then the queue goes first.
local function take(session, run)
  local lock = lock_key(session)
  if not redis.call('SET', lock, run, 'NX') then
    -- seldom
    local holder = keyed('GET', lock)
    if not holder or (holder ~= run and not unfinished(holder)) then
      redis.call('DEL', lock)
      hand_on(session)
      holder = redis.call('GET', lock)
    end
    if holder and holder ~= run then
      keyed('ZADD', wait_key(session), int(micros), run)
      return false
    end
    redis.call('SET', lock, run)
  end
  return true
end

-- places_of is how many places an agent may hold at once: its share, or what its tokens say if
-- that is less; nil is no bound. What is damaged bounds nobody.
local function places_of(agent)
  local of = redis.call('MGET', SHARE, at_once_key(agent))
  local share, own = tonumber(of[1]), tonumber(of[2])
  return share and own and math.min(share, own) or share or own
end

-- hand_places lets the runs of an agent that wait for a place begin, first come, first
-- served, while it holds fewer than one agent may. They have their place from here on, so
-- that no later run gets it before their task comes. A run waits with its session in hand:
-- one that has it no more is entered again by its look.
local function hand_places(agent)
  if redis.call('EXISTS', queue_key(agent)) == 0 then return end
  -- seldom
  local busy = busy_key(agent)
  local most, holds = places_of(agent), tonumber(redis.pcall('SCARD', busy)) or 0
  for _ = 1, HANDED do
    if most and holds >= most then return end
    local run = redis.pcall('ZPOPMIN', queue_key(agent))[1]
    if not run then return end
    local r = pick(run_key(run), { 'state', 'session' })
    if r.state == STATE_PARKED and r.session and redis.pcall('GET', lock_key(r.session)) == run and pcall(make_waiting, run, now) then
      redis.pcall('SADD', busy, run)
      holds = holds + 1
    end
  end
end

-- take_place takes a place of its agent for a run that has its session, or queues it by
-- when it came: then the caller writes that it is parked, and calls hand_places.
local function take_place(agent, run, came)
  local busy = busy_key(agent)
  if redis.pcall('SADD', busy, run) ~= 1 then return true end -- it has one
  local most = places_of(agent)
  if not most then return true end
  if redis.call('SCARD', busy) <= most and redis.call('EXISTS', queue_key(agent)) == 0 then return true end
  if type(redis.pcall('ZADD', queue_key(agent), int(came), run)) ~= 'number' then return true end
  redis.call('SREM', busy, run)
  return false
end

-- leave_place takes a run out of its agent's places, and out of the queue for them, where
-- one that runs is not.
local function leave_place(agent, run, state)
  redis.pcall('SREM', busy_key(agent), run)
  if state ~= STATE_RUNNING then redis.pcall('ZREM', queue_key(agent), run) end
  hand_places(agent)
end

-- bound_agent notes what the tokens of an agent allow it to hold at once: the least. Where that
-- is more than before, runs that wait begin.
local function bound_agent(agent)
  local least
  for _, id in ipairs(redis.call('ZRANGE', TOKENS, 0, -1)) do
    local t = pick(token_key(id), { 'agentId', 'maxConcurrent', 'revokedAt' })
    local most = t.agentId == agent and not t.revokedAt and tonumber(t.maxConcurrent)
    if most and most < (least or math.huge) then least = most end
  end
  if least then redis.call('SET', at_once_key(agent), int(least)) else redis.call('DEL', at_once_key(agent)) end
  hand_places(agent)
end

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
  for _, id in ipairs(keyed('SMEMBERS', active_key(job, uid))) do
    -- seldom
    if not unfinished(id) then
      redis.call('SREM', active_key(job, uid), id)
    else
      local r = redis.call('HMGET', run_key(id), 'state', 'trigger', 'catchup')
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
    -- seldom
    pcall(make_waiting, queued, now) -- a look says if it cannot be read
  end
  return #runs
end

-- give_back undoes the claim of a run that a pause ended; returns the claims left. If it
-- was the last claim, it ended the schedule too, which goes on where it stopped (after).
local function give_back(job)
  local key = job_key(job)
  local claims = redis.call('HINCRBY', key, 'claims', -1)
  local j = redis.call('HMGET', key, 'after', 'afterDue')
  if j[1] then move_cursor(job, '', j[1], j[2]) else pcall(retire, job) end
  return claims
end

-- add_delivery writes the next delivery of a run, and returns its number.
local function add_delivery(run, kind, target)
  local n = int(redis.call('HINCRBY', run_key(run), 'deliveries', 1))
  redis.call('HSET', run_key(run), kind == KIND_ALERT and 'alert' or 'delivery', DELIVERY_PENDING)
  redis.call('HSET', delivery_key(run, n), 'v', VERSION, 'kind', kind, 'state', STATE_WAITING, 'target', target,
    'createdAt', int(now), 'notBefore', int(now), 'n', 0, 'attempt', 0, 'epoch', 0, 'retries', 0)
  return n
end

-- head_of is what lists show of a long reply.
local function head_of(reply) return reply:sub(1, REPLY_HEAD) end

-- note_cut notes of a job that a reply in its history, or messages of its session, went because
-- of a bound in bytes; for a day the health says so.
local function note_cut(job)
  if redis.call('EXISTS', job_key(job)) == 0 then return end
  redis.pcall('HSET', job_key(job), 'cutAt', int(now))
  redis.pcall('ZADD', CUT, int(now), job)
  redis.pcall('ZREMRANGEBYSCORE', CUT, '-inf', int(now - 24 * 3600000))
  redis.pcall('ZREMRANGEBYRANK', CUT, 0, -1001)
  redis.pcall('PEXPIRE', CUT, 24 * 3600000)
end

-- drop_replies keeps the whole replies of a job within their bytes when run has one of so
-- many: of the oldest only the head stays, in their records. What is still to be delivered
-- is spared.
local function drop_replies(job, run, bytes)
  local key = replies_key(job)
  keyed('RPUSH', key, int(bytes) .. ' ' .. run)
  redis.call('PEXPIRE', key, RETENTION)
  redis.call('LTRIM', key, -HISTORY, -1) -- the records of others are gone
  local kept, whole = redis.call('LRANGE', key, 0, -1), 0
  for _, entry in ipairs(kept) do whole = whole + (tonumber(string.match(entry, '^%d+')) or 0) end
  for _, entry in ipairs(kept) do
    if whole <= HISTORY_BYTES then break end
    local size, id = string.match(entry, '^(%d+) (.*)$')
    local r = id and pick(run_key(id), { 'head', 'delivery' }) or {}
    if id ~= run and r.delivery ~= DELIVERY_PENDING then
      if r.head then
        local whole_characters = string.gsub(r.head, '[\192-\255][\128-\191]*$', '')
        redis.call('HSET', run_key(id), 'reply', whole_characters, 'replyDropped', '1')
        redis.call('HDEL', run_key(id), 'head')
        note_cut(job)
      end
      redis.call('LREM', key, 1, entry)
      whole = whole - (tonumber(size) or 0)
    end
  end
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

-- new_delivery puts a run's reply into the outbox.
local function new_delivery(run, target)
  local n = add_delivery(run, KIND_REPLY, target)
  -- The caller enqueues the carrier itself; the sweeper need not race it.
  redis.call('ZADD', WAKE, int(now + 5000), 'd:' .. run .. ':' .. n)
  redis.call('SADD', OPEN, 'd:' .. run .. ':' .. n)
  kicks[#kicks + 1] = { 'd', run .. ':' .. n, '0' }
end

-- disable pauses a job for a reason. A slot that is due already keeps its cursor: see
-- pass_slots.
local function disable(id, j, reason)
  reason = clip(reason, REASON)
  redis.call('HSET', job_key(id), 'enabled', 0, 'disabledAt', int(now), 'pauseReason', reason, 'updatedAt', int(now))
  redis.call('HINCRBY', job_key(id), 'rev', 1)
  audit(PRODUCT, 'pause', id, cjson.encode({ enabled = true }), cjson.encode({ enabled = false, pauseReason = reason }))
  if j.nextSlot and tonumber(j.nextSlot) > now then move_cursor(id, '', '', '') end
end

-- tell_undelivered tells whoever the deployment tells, and the chat that the job names for
-- this, that a reply did not arrive: its own chat is what fails.
local function tell_undelivered(run, key, outcome, message)
  local r, d = pick(run_key(run), { 'job', 'uid', 'name', 'slot' }), pick(key, { 'target', 'error' })
  local j = hash(job_key(r.job))
  if j.uid ~= r.uid then j = {} end
  local to, target = hearer(j)
  if not to or now - (tonumber(j.undeliveredAt) or 0) < alert_again(j) then return end
  if j.uid then redis.call('HSET', job_key(r.job), 'undeliveredAt', int(now)) end
  local failed = cjson.decode(d.target)
  local fact = { kind = NOTICE_UNDELIVERED, at = now, jobId = r.job, run = run, job = j.name or (r.name ~= '' and r.name) or r.job, timezone = j.timezone,
    slot = tonumber(r.slot), outcome = outcome, error = clip(message, ALERT_ERROR), chat = failed.channel .. ' ' .. (failed.chatId or '') }
  post('*', nil, fact)
  if j.alertChannel then post(to, target, fact) end
end

-- note_delivery notes in a job how the delivery of its newest reply stands. Until another one
-- has arrived, or goes elsewhere, a job is known for one that did not.
local function note_delivery(id, uid, run, state)
  local j = pick(job_key(id), { 'v', 'uid', 'lastReplyId' })
  if j.uid ~= uid or newer(j) or j.lastReplyId ~= run then return end
  redis.call('HSET', job_key(id), 'lastDelivery', state)
  if state == DELIVERY_FAILED or state == DELIVERY_UNKNOWN then
    redis.pcall('ZADD', UNDELIVERED, 'NX', int(now), id)
  elseif state == DELIVERY_DELIVERED then
    redis.pcall('ZREM', UNDELIVERED, id)
  end
end

-- end_delivery is the only way a delivery ends.
local function end_delivery(run, n, outcome, message)
  local key = delivery_key(run, n)
  redis.call('HSET', key, 'state', STATE_DONE, 'outcome', outcome, 'finishedAt', int(now))
  if message ~= '' then redis.call('HSET', key, 'error', message) end
  redis.call('HDEL', key, 'token', 'leaseUntil', 'seenEpoch', 'seenAt', 'deadEpoch', 'notBefore')
  redis.call('PEXPIRE', key, RETENTION)
  redis.call('ZREM', WAKE, 'd:' .. run .. ':' .. n)
  redis.call('SREM', OPEN, 'd:' .. run .. ':' .. n)
  -- It is the run's newest: the next one is made after the end of this.
  if redis.call('HGET', key, 'kind') == KIND_ALERT then
    redis.call('HSET', run_key(run), 'alert', outcome)
    return
  end
  redis.call('HSET', run_key(run), 'delivery', outcome)
  local of = redis.call('HMGET', run_key(run), 'job', 'uid')
  if of[1] then note_delivery(of[1], of[2], run, outcome) end
  if outcome ~= DELIVERY_DELIVERED then
    -- seldom
    pcall(tell_undelivered, run, key, outcome, message)
  end
end

-- count_failure counts a failed run of the schedule, disables a job that fails too often
-- in a row, and tells of it whoever is to hear. over: it was the job's last run, so that
-- nobody would hear of it from a second one, and nothing is left to disable. A job that says
-- nothing else tells of its first failure too if the same would fail again, or if the next
-- run is far away.
local function count_failure(id, r, outcome, message, over)
  local key = job_key(r.job)
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
  local key = job_key(r.job)
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
  local key, stamp = run_key(id), int(now)
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
  keyed('SREM', active_key(r.job, r.uid), id)
  leave(r.session, id, r.state)
  leave_place(r.agent or DEFAULT_AGENT, id, r.state)
  local unfinished_runs = release(r.job, r.uid)
  local jk = job_key(r.job)
  -- Nothing, if it is no hash.
  local v, uid, name, most, claims, misfire, slot, due, failures, enabled, told, told_failures = unpack(redis.pcall('HMGET', jk,
    'v', 'uid', 'name', 'maxRuns', 'claims', 'misfire', 'nextSlot', 'nextDue', 'failures', 'enabled', 'told', 'toldFailures'))
  if uid == r.uid and not newer({ v = v or nil }) then
    claims = tonumber(claims or '0')
    if (reason == REASON_DISABLED or reason == REASON_PAUSED) and r.trigger ~= TRIGGER_MANUAL then
      -- seldom
      claims = give_back(r.job)
    end
    local last = { 'lastRunId', id, 'lastOutcome', outcome, 'lastRunAt', r.startedAt or stamp }
    local over = most and claims >= tonumber(most) and unfinished_runs == 0
    if outcome == OUTCOME_SUCCEEDED then
      last[7], last[8], last[9], last[10] = 'lastReplyId', id, 'lastDelivery', r.delivery
      if failures then
        -- seldom
        redis.call('HDEL', jk, 'failures')
        redis.pcall('ZREM', FAILING, r.job)
      end
      if told then
        -- seldom
        pcall(tell_recovery, r, told, math.max(tonumber(failures) or 0, tonumber(told_failures) or 0))
      end
    end
    redis.call('HSET', jk, unpack(last))
    if outcome ~= OUTCOME_SUCCEEDED and outcome ~= OUTCOME_CANCELLED and r.trigger == TRIGGER_SCHEDULE then
      -- seldom
      count_failure(id, r, outcome, message, over or ended({ enabled = enabled, nextSlot = slot, maxRuns = most, claims = claims }))
    end
    -- The next slot to catch up with was refused while this run was in progress.
    if misfire == MISFIRE_RUN_ALL and slot and tonumber(due or slot) <= now then redis.call('ZADD', DUE, stamp, r.job) end
    if over then
      -- seldom
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
  redis.call('HINCRBY', run_key(id), 'epoch', 1)
  end_run(id, r, OUTCOME_CANCELLED, reason, '', r.state == STATE_RUNNING and booked(r, RESULT_CANCELLED, reason, '') or nil)
  redis.pcall('PUBLISH', CANCELS, id)
  return r.state == STATE_RUNNING and 1 or 0
end

-- own_id reports whether a session key may have an id at the ai-server, and enters it: none
-- of the names under which a server may keep that, its folds, is another key's. What is
-- damaged is nobody's.
local function own_id(key, folds)
  local free, others = {}, false
  for _, fold in ipairs(folds) do
    local owner = redis.pcall('GET', session_id_key(fold))
    if type(owner) ~= 'string' then
      free[#free + 1] = fold
    else
      stretch(session_id_key(fold), SESSION_TTL)
      others = others or owner ~= key
    end
  end
  if others then return false end
  for _, fold in ipairs(free) do redis.call('SET', session_id_key(fold), key, 'PX', SESSION_TTL) end
  return true
end

-- plain_id returns the id of a session key whose only fold is itself in small letters, as
-- that of nearly every key, if it may be the key; '' where session_id has to be asked.
local function plain_id(key)
  if string.find(key, '[^%w:._-]') or string.sub(key, -1) == '.' then return '' end
  local at = session_id_key(string.lower(key))
  local owner = redis.pcall('SET', at, key, 'NX', 'GET', 'PX', SESSION_TTL)
  if owner == key then stretch(at, SESSION_TTL) end
  return (not owner or owner == key) and key or ''
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
    r.session, redis.call('EXISTS', session_key(r.session)), job, plain_id(r.session) }
end

-- hand_over moves a run, read as r, to the lists of the owners that its job j has by now.
local function hand_over(id, r, j)
  if r.agent then disown_run(id, r.agent, r.home or '') end
  local score = redis.call('ZSCORE', RUNS, id)
  if score then own_run(id, j.agentId or DEFAULT_AGENT, j.session, score) end
end

-- begin_run gives the next attempt of a run, which was read as r, to the caller, or says
-- why not: gone, newer, done, busy, parked, early (and the delay), ended.
-- The job is read again here: nothing starts by an old definition.
local function begin_run(id, r, token, worker)
  local key = run_key(id)
  if not r.state then return { 'gone' } end
  if newer(r) then return { 'newer' } end
  if r.state == STATE_DONE then return { 'done' } end
  if r.state == STATE_PARKED or r.state == STATE_QUEUED then return { 'parked' } end
  if r.state == STATE_WAITING and tonumber(r.notBefore) > now then
    return { 'early', tonumber(r.notBefore) - now }
  end
  local j, job = hash(job_key(r.job))
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
    -- seldom
    pcall(hand_over, id, r, j)
  end
  redis.call('HSET', key, 'session', j.session, 'agent', agent, 'home', j.session, unpack(fields))
  if not placed then
    -- seldom
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
  redis.call('HSET', run_key(id), 'v', VERSION, 'job', job, 'uid', j.uid, 'name', j.name or '', 'trigger', trigger,
    'slot', slot, 'lastSlot', slot, 'count', '1', 'createdAt', int(now), 'n', '0', 'retries', '0',
    'agent', j.agentId or DEFAULT_AGENT, 'home', j.session or '', ...)
  redis.call('ZADD', WAKE, int(look), 'r:' .. id)
  redis.call('SADD', OPEN, 'r:' .. id)
  keyed('SADD', active_key(job, j.uid), id)
  index(job, id, j.agentId or DEFAULT_AGENT, j.session or '')
end

-- end_facts ends the facts of a target that were being sent: they leave the outbox, and
-- the runs they are about have the outcome. a is the target's record. forward: whoever the
-- deployment tells gets them instead.
local function end_facts(to, a, outcome, message, message_id, forward)
  local facts, n = facts_key(to), tonumber(a.n) or 0
  for _, text in ipairs(n > 0 and redis.call('LRANGE', facts, 0, n - 1) or {}) do
    local readable, fact = pcall(cjson.decode, text)
    if readable and type(fact) == 'table' then
      if fact.run and fact.n then
        local key = delivery_key(fact.run, int(fact.n))
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
  local key, left = alert_key(to), (tonumber(a.more) or 0) - (tonumber(a.told) or 0)
  if forward and tonumber(a.told or '0') > 0 then redis.call('HINCRBY', alert_key('*'), 'more', a.told) end
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
