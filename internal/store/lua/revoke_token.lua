-- revoke_token ends a token. Its record stays for the retention, to be seen; the jobs it has
-- made stay.
-- ARGV: id, actor
-- Returns, also to a resend: {ok, token} | {gone} | {newer}
-- include clock hash audit session
local id = ARGV[1]
local key = TOKEN .. id
local t = hash(key)
if not t.hash then return { 'gone' } end
if newer(t) then return { 'newer' } end
if not t.revokedAt then
  audit_first(ARGV[2], 'revoke-token', '*', cjson.encode({ id = id, name = t.name, agentId = t.agentId, sessionKey = t.sessionKey }), '')
  redis.call('HSET', key, 'revokedAt', int(now))
  redis.call('PEXPIRE', key, RETENTION)
  if t.maxConcurrent then
    bound_agent(t.agentId)
  end
end
return { 'ok', redis.call('HGETALL', key) }
