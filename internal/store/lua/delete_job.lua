-- delete_job removes a job. Its history stays for the retention; unfinished runs
-- are cancelled when they come to begin, running ones finish.
-- ARGV: id, uid, seen nextSlot ('' none), first, last, count of its due slots (count 0:
--       none), the slot after them ('' none)
-- Answer: {ok} | {gone} | {newer} | {changed}
-- Holds: a due slot that a delete passes over gets its record here.
local id = ARGV[1]
local j = hash(job_key(id))
if j.uid ~= ARGV[2] then return { 'gone' } end
if newer(j) then return { 'newer' } end
if (j.nextSlot or '') ~= ARGV[3] then return { 'changed' } end
if ARGV[7] ~= '' and tonumber(ARGV[7]) <= now then return { 'changed' } end
drop_job(id)
if tonumber(ARGV[6]) > 0 then
  record_slots(id, j, 'skipped', 'deleted', ARGV[4], ARGV[5], ARGV[6])
end
return { 'ok' }
