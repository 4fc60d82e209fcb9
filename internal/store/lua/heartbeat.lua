-- heartbeat notes that a process is alive, what it says of itself, and that the store is
-- still the one that it knew. That of a worker notes how many places one agent may hold.
-- ARGV: process (<role>:<host>:<pid>), what it says (JSON), time to live, how long a process
--       that is gone is remembered, the identity of the store as the process knows it ('' not
--       yet) and how many jobs it had then, an identity to give a store that has none
-- Returns: {identity, how many jobs there are}
-- Holds: a store that was emptied under a process that knew its jobs says so until it is
--       emptied again: whoever finds another identity first writes that down.
-- include clock hash session
local process, known, had = ARGV[1], ARGV[5], ARGV[6]
redis.call('SET', P .. 'beat:' .. process, ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', BEATS, int(now), process)
redis.call('ZREMRANGEBYSCORE', BEATS, '-inf', int(now - tonumber(ARGV[4])))
redis.call('PEXPIRE', BEATS, ARGV[4])

-- share_out notes how many places one agent may hold: a share of those of all workers that
-- live, while jobs of more agents than one are known. Where it is more than before, runs that
-- wait for one begin.
local function share_out()
  redis.call('ZREMRANGEBYSCORE', AGENTS, '-inf', int(now - 24 * 3600000))
  local before, places = tonumber(redis.pcall('GET', SHARE)), 0
  for _, name in ipairs(redis.call('ZRANGE', BEATS, 0, -1)) do
    local says = string.sub(name, 1, 7) == 'worker:' and redis.call('GET', P .. 'beat:' .. name)
    local readable, worker = pcall(cjson.decode, says or '')
    if readable and type(worker) == 'table' then places = places + (tonumber(worker.places) or 0) end
  end
  local most = math.max(1, math.floor(places * AGENT_SHARE / 100))
  if AGENT_SHARE >= 100 or places < 2 or redis.call('ZCARD', AGENTS) < 2 then most = nil end
  if most then redis.call('SET', SHARE, int(most), 'PX', ARGV[3]) else redis.call('DEL', SHARE) end
  if before and (not most or most > before) then
    for _, agent in ipairs(redis.call('ZRANGE', AGENTS, 0, -1)) do hand_places(agent) end
  end
end
-- What is damaged bounds no agent, and is made anew.
if string.sub(process, 1, 7) == 'worker:' and not pcall(share_out) then redis.call('DEL', AGENTS, SHARE) end

local is, emptied = unpack(redis.call('HMGET', IDENTITY, 'id', 'emptied'))
if not is then
  is = ARGV[7]
  redis.call('HSET', IDENTITY, 'id', is, 'since', int(now))
end
if known ~= '' and known ~= is and had ~= '0' and not emptied then
  redis.call('HSET', IDENTITY, 'emptied', int(now), 'jobs', had)
end
return { is, redis.call('ZCARD', JOBS) }
