-- cancel_paused ends unfinished runs because everything is paused, wherever they are.
-- Whom they hand their session to needs no carrier: it is unfinished too.
-- ARGV: actor, token, run, run, ...
-- Returns, also to a resend: {ok, how many this call ended}
-- Holds: only while everything is paused; a committed run is never cancelled. One that
--       cannot be read is left to the looks, and keeps no other from being cancelled. The
--       turns that were under way are counted until the resume: see cancel_run.
-- include hash audit slots run
local ended, new, turns = 0, 0, 0

local function cancel(id)
  local r = hash(RUN .. id)
  if r.state == STATE_DONE and r.cancel == ARGV[2] then ended = ended + 1 end
  if not r.state or r.state == STATE_DONE or newer(r) then return end
  redis.call('HSET', RUN .. id, 'cancel', ARGV[2])
  turns = turns + cancel_run(id, r, REASON_PAUSED)
  ended, new = ended + 1, new + 1
end

if paused() then
  for i = 3, #ARGV do pcall(cancel, ARGV[i]) end
end
if turns > 0 then redis.call('HINCRBY', PAUSED, 'abandoned', turns) end
if new > 0 then audit(ARGV[1], 'cancel', '*', '', cjson.encode({ cancelledRuns = new })) end
return { 'ok', ended }
