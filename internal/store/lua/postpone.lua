-- postpone looks at entries of the due index later: what cannot be settled now must not
-- stand in the way of the others, and a backlog goes out at a pace. It leaves the jobs alone.
-- ARGV: job, look that was seen, look instead, job, ...
-- Returns: how many entries were moved
-- Holds: only while the entry stands where it was seen: a claim or an edit since has put it
--       where it belongs, and of two schedulers that spread a backlog the first one did.
-- include clock
if stepped then return 0 end
local moved = 0
for i = 1, #ARGV, 3 do
  local look = redis.call('ZSCORE', DUE, ARGV[i])
  if look and tonumber(look) == tonumber(ARGV[i + 1]) then
    redis.call('ZADD', DUE, ARGV[i + 2], ARGV[i])
    moved = moved + 1
  end
end
return moved
