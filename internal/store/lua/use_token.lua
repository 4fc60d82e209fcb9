-- use_token notes that a token was used.
-- ARGV: id
-- Returns: {ok}
-- Holds: nothing is written of a token that is gone.
-- include clock hash
local key = TOKEN .. ARGV[1]
if redis.call('EXISTS', key) == 1 then redis.call('HSET', key, 'lastUsedAt', int(now)) end
return { 'ok' }
