-- emitted notes that carriers of slots were enqueued (or stood there already).
-- ARGV: job, slot, job, slot, ...
-- Answer: how many were still unclaimed
-- Holds: only while nextSlot is that slot: a claim that came first must not be
--       overwritten. The slot is looked at again after RECHECK, and collapse leaves it
--       alone for the grace. While everything is paused nothing is noted: a claim would
--       be refused, and the slot wants its record.
if paused() then return 0 end
local noted = 0
for i = 1, #ARGV, 2 do
  local id, slot = ARGV[i], ARGV[i + 1]
  local j = redis.call('HMGET', job_key(id), 'nextSlot', 'v')
  if j[1] == slot and tonumber(j[2] or '0') <= VERSION then
    redis.call('HSET', job_key(id), 'emitted', slot)
    redis.call('ZADD', DUE, int(now + RECHECK), id)
    noted = noted + 1
  end
end
return noted
