-- resume ends the pause of everything that the caller has seen.
-- ARGV: since when everything is paused, actor
-- Returns: {ok}
-- Holds: what was due by now stays held, see held; a resend, or one that comes late,
--       does not end a pause that somebody else has begun since.
-- include clock hash audit slots
local was = hash(PAUSED)
if was.since == ARGV[1] then
  audit_first(ARGV[2], 'resume-all', '*', cjson.encode({ paused = true, pausedSince = tonumber(was.since), reason = was.reason }),
    cjson.encode({ paused = false }))
  redis.call('HSET', PAUSED, 'until', int(now))
  redis.call('HDEL', PAUSED, 'since', 'reason', 'abandoned')
end
return { 'ok' }
