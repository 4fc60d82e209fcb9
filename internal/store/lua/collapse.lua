-- collapse moves a cursor that is behind past slots that will not run and records them.
-- ARGV: job, uid, revision, seen nextSlot, first, last, count of the passed slots,
--       outcome (missed|skipped), reason, next slot ('' none) and when it is due,
--       grace of an emitted slot
-- Answer: 1 moved, 0 not (somebody was faster, the slot is emitted and within its grace, or the
--       clock was set)
-- Holds: an emitted slot waits for its claim until it is older than the grace.
local id, seen = ARGV[1], ARGV[4]
if stepped then return 0 end
local j = hash(job_key(id))
if j.uid ~= ARGV[2] or newer(j) or j.rev ~= ARGV[3] or j.nextSlot ~= seen then return 0 end
if j.emitted == seen and now - due_of(j) <= tonumber(ARGV[12]) then return 0 end
pass_slots(id, j, ARGV[8], ARGV[9], ARGV[5], ARGV[6], ARGV[7], ARGV[10], ARGV[11])
return 1
