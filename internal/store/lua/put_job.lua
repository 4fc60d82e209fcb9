-- put_job creates or edits a job and sets its cursor, in one step.
-- Given: job (its id), mode (create|edit), uid, token, revision (as it was seen), seen (nextSlot,
--       '' none), cursor (keep|check|set), next slot ('' none) and when it is due; reason and
--       first, last, count of the due slots that this edit passes over (count 0: none), and
--       after (the slot after them by the old schedule, '' none); each field to write as
--       =<field> ('' deletes it); actor, action ('' where an edit changes nothing), was and
--       becomes (before and after, see audit); key and print of the request ('' none; see recall); caller (the
--       id of its token, '' none), how many jobs it may have (quota), its agent and its session
--       (see owned); run (that it is made or edited in, '' none); made_in (the job that made a
--       new one elsewhere, '' none); makes (how many a job may make); and, where another agent
--       is to have the job, its id (new_agent), folds and stems (see enter_agent)
--   keep: the cursor is not touched; check: nor may it have moved; set: it is set, maybe to
--   the slot where it stands, to be due at another time.
-- Returns: {ok, job} | {same, id, job} (the request made it before) | {spent, id} (and it is
--       gone) | {other} (the key was another request's) | {exists} | {gone} | {newer} | {full} (the token has
--       as many jobs as it may have) | {in_run, why not (see scheduling)} | {agent} (see enter_agent) | {changed} (read again) | {late} (the
--       next slot has become due meanwhile: compute it again)
-- Holds: an edit and its new next slot are one step; a due slot that an edit
--       passes over gets its record here; a resend gets the same answer. A job that is made
--       in a run counts against the job that runs, and against the token that made that.
-- include clock hash audit once history slots quota
local given = named()
local id, mode, uid, token = given.job, given.mode, given.uid, given.token
local key = JOB .. id
local j = hash(key)
local next = given.next
local once, print = given.key, given.print
local maker, most = given.caller, tonumber(given.quota)
local run, made_in, makes = given.run, given.made_in, tonumber(given.makes)
local made = nil -- by the job that makes this one, with it
local replaces, returns = false, false -- a job that has ended; to the list of jobs

local changes = {}
for name, value in pairs(given) do
  local field = string.match(name, '^=(.*)$')
  if field then changes[field] = value end
end

-- is_full reports whether a token has as many jobs as it may have. Whatever became of the
-- jobs it counts, none that is gone or has ended may keep it from another.
local function is_full(token)
  if token == '' or not most or redis.call('SCARD', TOKEN_JOBS .. token) < most then return false end
  for _, one in ipairs(redis.call('SMEMBERS', TOKEN_JOBS .. token)) do
    if counted(one).maker ~= token then redis.call('SREM', TOKEN_JOBS .. token, one) end
  end
  return redis.call('SCARD', TOKEN_JOBS .. token) >= most
end

if mode == 'create' then
  local first = recall(once)
  if first then
    if first.print ~= print then return { 'other' } end
    if redis.call('HGET', JOB .. first.id, 'uid') ~= first.uid then return { 'spent', first.id } end
    return { 'same', first.id, redis.call('HGETALL', JOB .. first.id) }
  end
  if j.uid then
    if j.uid == uid then return { 'ok', redis.call('HGETALL', key) } end
    if newer(j) or not ended(j) or not owned(j, given.agent, given.session) then return { 'exists' } end
    replaces = true
  end
  if run ~= '' then
    local by, is = scheduling(run, given.agent, given.session)
    if is == 'newer' then return { 'newer' } end
    if not by then return { 'in_run', is } end
    made_in, made = is, made_by(is, by)
    if #made >= makes then return { 'in_run', 'too_many_made' } end
    made[#made + 1] = id
    if by.maker then
      maker, most = by.maker, tonumber(redis.call('HGET', TOKEN .. by.maker, 'maxJobs') or '')
    end
  elseif made_in ~= '' then
    local by = pick(JOB .. made_in, { 'v', 'uid', 'made' })
    if by.uid and not newer(by) then
      made = made_by(made_in, by)
      made[#made + 1] = id
    end
  end
  if is_full(maker) then return { 'full' } end
else
  if j.uid ~= uid then return { 'gone' } end
  if newer(j) then return { 'newer' } end
  if j.token == token then return { 'ok', redis.call('HGETALL', key) } end
  if j.rev ~= given.revision then return { 'changed' } end
  returns = ended(j) and given.cursor == 'set' and (next ~= '' or changes.enabled == '0')
  if returns then -- it counts again, and is refused to whom it is counted
    local bound = maker ~= '' or run ~= ''
    maker, made_in = j.maker or '', j.madeBy or ''
    most = tonumber(redis.call('HGET', TOKEN .. maker, 'maxJobs') or '')
    if bound and is_full(maker) then return { 'full' } end
    local by = pick(JOB .. made_in, { 'v', 'uid', 'made' })
    if by.uid and not newer(by) then
      made = made_by(made_in, by)
      if run ~= '' and #made >= makes then return { 'in_run', 'too_many_made' } end
      made[#made + 1] = id
    end
  end
end
if given.cursor ~= 'keep' and (j.nextSlot or '') ~= given.seen then return { 'changed' } end
if given.cursor == 'set' then
  -- A slot that came due since the caller looked needs its record too.
  if given.after ~= '' and tonumber(given.after) <= now then return { 'changed' } end
  if next ~= '' and next ~= given.seen and tonumber(next) <= now then return { 'late' } end
end

if given.new_agent and not enter_agent(given.new_agent, given.folds, given.stems) then return { 'agent' } end

if replaces then audit_first(given.actor, 'delete', id, cjson.encode({ name = j.name, ended = true }), '') end
if given.action ~= '' then audit_first(given.actor, given.action, id, given.was, given.becomes) end
if replaces then drop_job(id) end
-- It is entered again when it is written.
local moves = mode == 'create' or returns or changes.agentId or changes.session
if moves then disown(id) end
if mode == 'create' or returns then
  -- Strictly growing scores give the list a stable order to page through.
  local newest = redis.call('ZRANGE', JOBS, -1, -1, 'WITHSCORES')[2]
  local score = micros
  if newest and tonumber(newest) >= score then score = tonumber(newest) + 1 end
  redis.call('ZADD', JOBS, int(score), id)
  redis.pcall('ZREM', ENDED, id)
  if maker ~= '' then redis.call('SADD', TOKEN_JOBS .. maker, id) end
  if made then redis.call('HSET', JOB .. made_in, 'made', table.concat(made, ' ')) end
end
if mode == 'create' then
  redis.call('HSET', key, 'v', VERSION, 'uid', uid, 'rev', 0, 'createdAt', int(now), 'ranSlot', 0) -- none ran
  if maker ~= '' then redis.call('HSET', key, 'maker', maker) end
  if made_in ~= '' then redis.call('HSET', key, 'madeBy', made_in) end
else
  if tonumber(given.count) > 0 then record_slots(id, j, OUTCOME_SKIPPED, given.reason, given.first, given.last, given.count) end
  -- What it was known for is another matter from now on.
  if changes.enabled then redis.pcall('ZREM', FAILING, id) end
  if changes.channel or changes.chatId or changes.peerId or changes.threadId or changes.deliver then
    redis.pcall('ZREM', UNDELIVERED, id)
  end
end
for field, value in pairs(changes) do
  if value == '' then redis.call('HDEL', key, field) else redis.call('HSET', key, field, value) end
end
redis.call('HSET', key, 'token', token, 'updatedAt', int(now))
redis.pcall('ZADD', AGENTS, int(now), redis.call('HGET', key, 'agentId') or DEFAULT_AGENT)
redis.call('HINCRBY', key, 'rev', 1)
if moves then own(id) end
if given.cursor == 'set' then move_cursor(id, given.last, next, given.due) end
remember(once, print, id, uid)
return { 'ok', redis.call('HGETALL', key) }
