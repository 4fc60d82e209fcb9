-- renew keeps the lease of an attempt, and forgets what looks have seen of it. The attempt
-- is entered among those that hold a place of their agent: that may have been lost.
-- ARGV: run, epoch
-- Returns: 1 renewed, 0 fenced
-- include clock hash
local key = RUN .. ARGV[1]
local r = redis.call('HMGET', key, 'state', 'epoch', 'seenEpoch', 'deadEpoch', 'agent')
if r[1] ~= STATE_RUNNING or r[2] ~= ARGV[2] then return 0 end
redis.call('HSET', key, 'leaseUntil', int(now + LEASE))
if r[3] or r[4] then redis.call('HDEL', key, 'seenEpoch', 'seenAt', 'deadEpoch') end
redis.pcall('SADD', BUSY .. (r[5] or DEFAULT_AGENT), ARGV[1])
redis.call('ZADD', WAKE, int(now + LEASE), 'r:' .. ARGV[1])
return 1
