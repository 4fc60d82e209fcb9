-- emitted notes that carriers of slots were enqueued (or stood there already).
-- ARGV: for each slot its job and its time
-- Returns: how many were still unclaimed
-- Holds: only while nextSlot is that slot: a claim that came first must not be
--       overwritten. The slot is looked at again after RECHECK_FIRST, then every RECHECK,
--       and collapse leaves it alone for the grace. While everything is paused nothing is
--       noted: a claim would be refused, and the slot wants its record.
-- include clock hash slots
if stepped or paused() then return 0 end
local entries, unclaimed = {}, {}
for i = 1, #ARGV, 2 do
  local id, slot = ARGV[i], ARGV[i + 1]
  local j = redis.pcall('HMGET', JOB .. id, 'nextSlot', 'v', 'nextDue', 'emitted') -- nothing, if it is no hash
  if j[1] == slot and (tonumber(j[2] or '0') or VERSION + 1) <= VERSION then
    redis.call('HSET', JOB .. id, 'emitted', slot)
    entries[#entries + 1] = int(now + (j[4] == slot and RECHECK or RECHECK_FIRST))
    entries[#entries + 1] = id
    unclaimed[#unclaimed + 1] = j[3] or slot
    unclaimed[#unclaimed + 1] = id
  end
end
if #entries > 0 then
  redis.call('ZADD', DUE, unpack(entries))
  redis.pcall('ZADD', UNCLAIMED, unpack(unclaimed))
end
return #entries / 2
