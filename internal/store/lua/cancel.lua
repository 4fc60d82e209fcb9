-- cancel ends an unfinished run, wherever it is. An attempt under way is fenced by its
-- epoch; its worker is told at once, and finds out with its next renewal otherwise.
-- ARGV: run, token
-- Answer: {ok, kicks} | {gone} | {newer} | {done}
-- Holds: a committed run is never cancelled, a cancelled one never commits; a resend
--       gets the same answer.
local id = ARGV[1]
local key = run_key(id)
local r = hash(key)
if not r.state then return { 'gone' } end
if newer(r) then return { 'newer' } end
if r.state == 'done' then
  if r.cancel == ARGV[2] then return { 'ok', {} } end
  return { 'done' }
end
if r.state == 'running' then book(id, r, 'cancelled', 'requested', '') end
redis.call('HINCRBY', key, 'epoch', 1)
redis.call('HSET', key, 'cancel', ARGV[2])
end_run(id, r, 'cancelled', 'requested', '')
redis.pcall('PUBLISH', CANCELS, id)
return { 'ok', kicks }
