-- hold_emitter takes or renews the emitter's lease, which only saves work.
-- ARGV: holder, time to live
-- Returns: 1 held, 0 held by another
-- Holds: a lease that would last longer is of a clock that was set back since.
local holder = redis.call('GET', EMITTER)
if holder and holder ~= ARGV[1] and redis.call('PTTL', EMITTER) <= tonumber(ARGV[2]) then return 0 end
redis.call('SET', EMITTER, ARGV[1], 'PX', ARGV[2])
return 1
