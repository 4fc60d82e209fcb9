-- What an agent and a token may see and have.
-- include clock hash slots

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
  local most = tonumber(redis.call('HGET', TOKEN .. token, 'maxRunsPerDay') or '')
  return not most or tonumber(redis.call('GET', TOKEN_RUNS .. token .. ':' .. today()) or '0') < most
end

local function spend_run(token)
  if (token or '') == '' then return end
  redis.call('INCR', TOKEN_RUNS .. token .. ':' .. today())
  redis.call('PEXPIRE', TOKEN_RUNS .. token .. ':' .. today(), 2 * 86400000)
end

-- counted reads of a job what says whether it counts against a quota, which one that has
-- ended does not.
local function counted(id)
  local j = pick(JOB .. id, { 'uid', 'maker', 'madeBy', 'enabled', 'nextSlot', 'maxRuns', 'claims' })
  return j.uid and not ended(j) and j or {}
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
  local r = pick(RUN .. run, { 'v', 'job', 'uid', 'state', 'agent', 'home' })
  if not r.state or not r.job or not owned(r, agent, session) then return nil, 'run_unknown' end
  local j = pick(JOB .. r.job, { 'v', 'uid', 'agentId', 'session', 'maker', 'madeBy', 'made', 'allowScheduling' })
  if r.state ~= STATE_RUNNING or j.uid ~= r.uid then return nil, 'run_not_running' end
  if not owned(j, agent, session) then return nil, 'run_unknown' end
  if newer(r) or newer(j) then return nil, 'newer' end
  if j.madeBy then return nil, 'made_in_a_run' end
  if j.allowScheduling ~= '1' then return nil, 'scheduling_not_allowed' end
  return j, r.job
end
