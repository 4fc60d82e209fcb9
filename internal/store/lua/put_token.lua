-- put_token makes a token.
-- ARGV: id, most tokens of a deployment, actor, what it is (JSON, see audit), the agent that its
--       holder acts as with folds and stems (see enter_agent), field, value, ...
-- Returns, also to a resend: {ok, when it was made} | {many} | {agent} (see enter_agent)
-- Holds: the list has no more than its cap; tokens whose records are gone leave it here.
-- include clock hash audit history quota session
local id = ARGV[1]
local key = TOKEN .. id
local made = redis.call('HGET', key, 'createdAt')
if made then return { 'ok', made } end
if redis.call('ZCARD', TOKENS) >= tonumber(ARGV[2]) then
  for _, other in ipairs(redis.call('ZRANGE', TOKENS, 0, -1)) do
    if redis.call('EXISTS', TOKEN .. other) == 0 then redis.call('ZREM', TOKENS, other) end
  end
  if redis.call('ZCARD', TOKENS) >= tonumber(ARGV[2]) then return { 'many' } end
end
if not enter_agent(ARGV[5], ARGV[6], ARGV[7]) then return { 'agent' } end
audit_first(ARGV[3], 'create-token', '*', '', ARGV[4])
redis.call('HSET', key, 'v', VERSION, 'createdAt', int(now), unpack(ARGV, 8))
add(TOKENS, id)
if redis.call('HEXISTS', key, 'maxConcurrent') == 1 then
  bound_agent(ARGV[5])
end
return { 'ok', int(now) }
