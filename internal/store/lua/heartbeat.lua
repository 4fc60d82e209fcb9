-- heartbeat notes that a process is alive, what it says of itself, and that the store is
-- still the one that it knew.
-- ARGV: process (<role>:<host>:<pid>), what it says (JSON), time to live, how long a process
--       that is gone is remembered, the identity of the store as the process knows it ('' not
--       yet) and how many jobs it had then, an identity to give a store that has none
-- Returns: {identity, how many jobs there are}
-- Holds: a store that was emptied under a process that knew its jobs says so until it is
--       emptied again: whoever finds another identity first writes that down.
local process, known, had = ARGV[1], ARGV[5], ARGV[6]
redis.call('SET', P .. 'beat:' .. process, ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', BEATS, int(now), process)
redis.call('ZREMRANGEBYSCORE', BEATS, '-inf', int(now - tonumber(ARGV[4])))
redis.call('PEXPIRE', BEATS, ARGV[4])
local is, emptied = unpack(redis.call('HMGET', IDENTITY, 'id', 'emptied'))
if not is then
  is = ARGV[7]
  redis.call('HSET', IDENTITY, 'id', is, 'since', int(now))
end
if known ~= '' and known ~= is and had ~= '0' and not emptied then
  redis.call('HSET', IDENTITY, 'emptied', int(now), 'jobs', had)
end
return { is, redis.call('ZCARD', JOBS) }
