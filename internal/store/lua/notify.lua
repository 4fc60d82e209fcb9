-- notify puts a fact that no step found into the outbox of alerts.
-- ARGV: kind, key ('' none), job ('' none), fact (JSON)
-- Returns: 1 added, 0 not: what has that key was told before, or, of a recovery, was not
-- Holds: what has a key is told once until its recovery, and that once. Whoever the
--       deployment tells gets it, and the chat of the job, if it has one.
-- include clock hash alert
local kind, once, id, fact = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if once ~= '' then
  if kind == NOTICE_RECOVERED then
    if redis.call('HDEL', TOLD, once) == 0 then return 0 end
  elseif redis.call('HSETNX', TOLD, once, int(now)) == 0 then
    return 0
  end
  redis.call('PEXPIRE', TOLD, RETENTION)
end
local to, target = '*', nil
if id ~= '' then
  to, target = hearer(pick(JOB .. id, { 'alertChannel', 'alertChatId', 'alertThreadId', 'deliver',
    'channel', 'chatId', 'peerId', 'threadId', 'isGroup' }))
end
if not to then return 1 end
post('*', nil, fact)
if to ~= '*' then post(to, target, fact) end
return 1
