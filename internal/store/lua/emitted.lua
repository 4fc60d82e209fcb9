-- emitted notes that carriers of slots were enqueued (or stood there already).
-- ARGV: for each slot its job, its time, and '1' if it shares its carrier, or ''
-- Answer: how many were still unclaimed
-- Holds: only while nextSlot is that slot: a claim that came first must not be
--       overwritten. The slot is looked at again after RECHECK, or RECHECK_SHARED if it
--       shares its carrier, and collapse leaves it alone for the grace. While everything
--       is paused nothing is noted: a claim would be refused, and the slot wants its record.
if stepped or paused() then return 0 end
local look, sooner, entries, unclaimed = int(now + RECHECK), int(now + RECHECK_SHARED), {}, {}
for i = 1, #ARGV, 3 do
  local id, slot = ARGV[i], ARGV[i + 1]
  local j = redis.pcall('HMGET', job_key(id), 'nextSlot', 'v', 'nextDue') -- nothing, if it is no hash
  if j[1] == slot and (tonumber(j[2] or '0') or VERSION + 1) <= VERSION then
    redis.call('HSET', job_key(id), 'emitted', slot)
    entries[#entries + 1] = ARGV[i + 2] == '1' and sooner or look
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
