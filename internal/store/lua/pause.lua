-- pause stops everything: no run begins, no slot is claimed, no manual run is written,
-- until resume. What is under way goes on.
-- ARGV: reason ('' keeps the one there is), token, actor
-- Returns: {ok}
-- Holds: whatever begins reads this key in its own script, so that nothing begins after
--       the answer. A pause keeps its beginning when it is paused again; a resend
--       changes nothing, not even after a resume.
-- include clock hash audit slots
if redis.call('HGET', PAUSED, 'token') == ARGV[2] then return { 'ok' } end
local was = hash(PAUSED)
redis.call('HSET', PAUSED, 'token', ARGV[2])
redis.call('HSETNX', PAUSED, 'since', int(now))
if ARGV[1] ~= '' then redis.call('HSET', PAUSED, 'reason', ARGV[1]) end
local is = hash(PAUSED)
if not was.since or was.reason ~= is.reason then
  audit(ARGV[3], 'pause-all', '*', cjson.encode({ paused = was.since ~= nil, reason = was.reason }),
    cjson.encode({ paused = true, reason = is.reason }))
end
return { 'ok' }
