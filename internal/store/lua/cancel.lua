-- cancel ends an unfinished run, wherever it is. An attempt under way is fenced by its
-- epoch; its worker is told at once, and finds out with its next renewal otherwise.
-- ARGV: run, token, actor, agent and session of the caller (see owned)
-- Returns: {ok, kicks} | {gone} | {newer} | {done}
-- Holds: a committed run is never cancelled, a cancelled one never commits; a resend
--       gets the same answer.
-- include hash audit quota session run
local id = ARGV[1]
local key = RUN .. id
local r = hash(key)
if not r.state or not owned(r, ARGV[4], ARGV[5]) then return { 'gone' } end
if newer(r) then return { 'newer' } end
if r.state == STATE_DONE then
  if r.cancel == ARGV[2] then return { 'ok', {} } end
  return { 'done' }
end
audit_first(ARGV[3], 'cancel', id, cjson.encode({ state = r.state }), '')
redis.call('HSET', key, 'cancel', ARGV[2])
cancel_run(id, r, REASON_REQUESTED)
return { 'ok', kicks }
