-- redue puts a job's entry in the due index right if it disagrees with the cursor.
-- ARGV: job, seen nextSlot ('' none)
-- Returns: 1 put right, 0 not (the cursor moved meanwhile)
-- include clock
if stepped then return 0 end
local id, seen = ARGV[1], ARGV[2]
local j = redis.pcall('HMGET', JOB .. id, 'nextSlot', 'nextDue')
if j.err then j = {} end -- not a hash: no job, so no entry
if (j[1] or '') ~= seen then return 0 end
if seen == '' then redis.call('ZREM', DUE, id) else redis.call('ZADD', DUE, j[2] or seen, id) end
return 1
