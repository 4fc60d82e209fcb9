-- resume ends the pause of everything that the caller has seen.
-- ARGV: since when everything is paused
-- Answer: {ok}
-- Holds: what was due by now stays held, see held; a resend, or one that comes late,
--       does not end a pause that somebody else has begun since.
if redis.call('HGET', PAUSED, 'since') == ARGV[1] then
  redis.call('HSET', PAUSED, 'until', int(now))
  redis.call('HDEL', PAUSED, 'since', 'reason')
end
return { 'ok' }
