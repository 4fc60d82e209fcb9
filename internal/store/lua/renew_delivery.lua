-- renew_delivery keeps the lease of a delivery under way.
-- ARGV: run, n, epoch
-- Returns: 1 renewed, 0 fenced
-- include clock hash
local key = DELIVERY .. ARGV[1] .. ':' .. ARGV[2]
local d = redis.call('HMGET', key, 'state', 'epoch', 'seenEpoch', 'deadEpoch')
if d[1] ~= STATE_RUNNING or d[2] ~= ARGV[3] then return 0 end
redis.call('HSET', key, 'leaseUntil', int(now + LEASE))
if d[3] or d[4] then redis.call('HDEL', key, 'seenEpoch', 'seenAt', 'deadEpoch') end
redis.call('ZADD', WAKE, int(now + LEASE), 'd:' .. ARGV[1] .. ':' .. ARGV[2])
return 1
