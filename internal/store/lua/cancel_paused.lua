-- cancel_paused ends unfinished runs because everything is paused, wherever they are.
-- Whom they hand their session to needs no carrier: it is unfinished too.
-- ARGV: actor, run, run, ...
-- Answer: {ok, how many this call ended}
-- Holds: only while everything is paused; a committed run is never cancelled. One that
--       cannot be read is left to the looks, and keeps no other from being cancelled.
local ended = 0

local function cancel(id)
  local r = hash(run_key(id))
  if r.state and r.state ~= 'done' and not newer(r) then
    cancel_run(id, r, 'paused')
    ended = ended + 1
  end
end

if paused() then
  for i = 2, #ARGV do pcall(cancel, ARGV[i]) end
end
if ended > 0 then audit(ARGV[1], 'cancel', '*', '', cjson.encode({ cancelledRuns = ended })) end
return { 'ok', ended }
