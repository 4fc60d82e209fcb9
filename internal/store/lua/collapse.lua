-- collapse moves a cursor that is behind past slots that will not run and records them.
-- Given: job, uid, revision, seen (nextSlot), first, last, count of the passed slots,
--       outcome (missed|skipped), reason, next slot ('' none) and when it is due,
--       grace of an emitted slot
-- Returns: 1 moved, 0 not (somebody was faster, the slot is emitted and within its grace, or the
--       clock was set)
-- Holds: an emitted slot waits for its claim until it is older than the grace.
-- include clock hash slots
local given = named()
local id, seen = given.job, given.seen
if stepped then return 0 end
local j = hash(JOB .. id)
if j.uid ~= given.uid or newer(j) or j.rev ~= given.revision or j.nextSlot ~= seen then return 0 end
if j.emitted == seen and now - due_of(j) <= tonumber(given.grace) then return 0 end
pass_slots(id, j, given.outcome, given.reason, given.first, given.last, given.count, given.next, given.due)
return 1
