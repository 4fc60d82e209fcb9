-- set_cursor puts a cursor where it belongs that a wrong clock, other zone rules or damage
-- have left elsewhere.
-- ARGV: job, uid, revision, seen nextSlot ('' none), next slot ('' none) and when it is due
-- Returns: 1 put there, 0 not (the job changed meanwhile)
-- Holds: no slot that ran comes again. What a wrong clock has passed and not run is still to
--       come, so lastSlot, which never goes back otherwise, does here.
-- include clock hash history slots
local id, next = ARGV[1], ARGV[5]
local key = JOB .. id
local j = hash(key)
if stepped or newer(j) or j.uid ~= ARGV[2] or j.rev ~= ARGV[3] or (j.nextSlot or '') ~= ARGV[4] then return 0 end
if next ~= '' and j.ranSlot and tonumber(next) <= tonumber(j.ranSlot) then return 0 end
if next ~= '' and j.lastSlot and tonumber(j.lastSlot) >= tonumber(next) then
  redis.call('HDEL', key, 'lastSlot', 'range')
  j.lastSlot = nil
end
if next ~= '' and redis.call('ZSCORE', ENDED, id) then
  disown(id)
  redis.call('ZREM', ENDED, id)
  add(JOBS, id)
  own(id)
  if j.maker then redis.pcall('SADD', TOKEN_JOBS .. j.maker, id) end
end
move_cursor(id, tonumber(j.ranSlot or '0') > 0 and j.ranSlot or '', next, ARGV[6], j)
return 1
