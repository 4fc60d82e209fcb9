-- redue puts a job's entry in the due index right if it disagrees with the cursor.
-- ARGV: job, seen nextSlot ('' none)
-- Answer: 1 put right, 0 not (the cursor moved meanwhile)
local id, seen = ARGV[1], ARGV[2]
local slot = redis.pcall('HGET', job_key(id), 'nextSlot')
if type(slot) == 'table' then slot = false end -- not a hash: no job, so no entry
if (slot or '') ~= seen then return 0 end
if seen == '' then redis.call('ZREM', DUE, id) else redis.call('ZADD', DUE, seen, id) end
return 1
