-- now is the clock of the shard that decides: in a cluster every node has one.
-- Returns: {seconds, microseconds}, and to a caller that knows nothing yet since, by and until of
--       the last step
-- include clock
if expected then return clock end
local step = redis.call('HMGET', CLOCK, 'since', 'by', 'until')
return { clock[1], clock[2], step[1] or '', step[2] or '', step[3] or '' }
