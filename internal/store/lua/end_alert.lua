-- end_alert notes what became of the facts that were being sent, and what follows.
-- ARGV: target, token, what (delivered|retry|failed|unknown), message id, message, delay,
--       retry (counted|free), whether the deployment gets what failed ('1', '')
--   retry: it surely did not arrive, and goes again with what came meanwhile.
-- Returns, also to a resend: {ok, what} | {fenced}
-- Holds: no target gets another message within ALERT_EVERY of one that arrived or may have;
--       retries are bounded by age.
-- include clock hash delivery
local to, what = ARGV[1], ARGV[3]
local key = ALERT .. to
local a = hash(key)
local ended = TAKEN .. ARGV[2]
if a.token ~= ARGV[2] then
  local before = redis.call('GET', ended)
  if before and string.sub(before, 1, 6) == 'ended:' then return { 'ok', string.sub(before, 7) } end
  return { 'fenced' }
end
if what == SEND_RETRY and now - (tonumber(a.since) or now) > DELIVER_WITHIN then what = SEND_FAILED end
redis.call('SET', ended, 'ended:' .. what, 'PX', LOOK_AGAIN)
if what ~= SEND_RETRY then
  end_facts(to, a, what, ARGV[5], ARGV[4], what == SEND_FAILED and ARGV[8] == '1')
  return { 'ok', what }
end
redis.call('HDEL', key, 'token', 'n', 'told')
redis.call('HSETNX', key, 'since', int(now))
if ARGV[7] == RETRY_COUNTED then redis.call('HINCRBY', key, 'retries', 1) end
redis.call('ZADD', ALERTS, int(now + ARGV[6]), to)
return { 'ok', what }
