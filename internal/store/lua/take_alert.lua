-- take_alert gives the caller what waits for a target of alerts, marked as being sent.
-- ARGV: sender, whether it leads ('1', ''), how long it then is the sender, token, how long
--       it may send, the deployment's chat (JSON, '' none), whether it has a hook ('1', '')
-- Returns: {held} (another sends) | {idle} | {lost, target, how many facts} (their sender
--       died: they may have arrived) | {damaged, target} (it was dropped) | {send, target ('hook' is the hook), where it is
--       (JSON), retries, how many more there are, facts (JSON, ...)}; a resend gets the same
-- Holds: what was marked is not sent by another. The leading scheduler sends, and who
--       leads not only while nobody does. What is for '*' goes to the deployment's targets,
--       or to nobody where there are none.
local token, taken = ARGV[4], taken_key(ARGV[4])
local to = redis.call('GET', taken)
if not to then
  local holder = redis.call('GET', ALERTER)
  if holder and holder ~= ARGV[1] and ARGV[2] == '' then return { 'held' } end
  redis.call('SET', ALERTER, ARGV[1], 'PX', ARGV[3])

  local all = redis.pcall('LRANGE', facts_key('*'), 0, -1)
  local more = redis.pcall('HGET', alert_key('*'), 'more')
  if all.err or type(more) == 'table' then
    all, more = {}, nil
    redis.call('DEL', facts_key('*'), alert_key('*'))
  end
  if #all > 0 or more then
    -- seldom
    redis.call('DEL', facts_key('*'), alert_key('*'))
    local targets = {}
    if ARGV[6] ~= '' then
      local chat = cjson.decode(ARGV[6])
      targets[#targets + 1] = { chat_of(chat.channel, chat.chatId, chat.threadId), ARGV[6] }
    end
    if ARGV[7] ~= '' then targets[#targets + 1] = { 'hook', '{}' } end
    for _, t in ipairs(targets) do
      for _, fact in ipairs(all) do post(t[1], t[2], fact) end
      if more and #all > 0 then redis.call('HINCRBY', alert_key(t[1]), 'more', more) end
    end
  end
  to = redis.call('ZRANGEBYSCORE', ALERTS, '-inf', int(now), 'LIMIT', 0, 1)[1]
end
if not to then return { 'idle' } end

local function take_from()
  local a = hash(alert_key(to))
  if a.token and a.token ~= token then
    -- seldom
    end_facts(to, a, DELIVERY_UNKNOWN, 'the sender stopped in the middle of a send; the message may have arrived', '')
    return { 'lost', to, tonumber(a.n) or 0 }
  end
  local last, more = (a.token and tonumber(a.n) or ALERTS_WAIT) - 1, tonumber(a.token and a.told or a.more) or 0
  local facts = last >= 0 and redis.call('LRANGE', facts_key(to), 0, last) or {}
  if not a.token then
    if #facts == 0 and more <= 0 then
      redis.call('ZREM', ALERTS, to)
      return { 'idle' }
    end
    redis.call('HSET', alert_key(to), 'token', token, 'n', #facts, 'told', more)
    redis.call('PEXPIRE', alert_key(to), ALERT_KEPT)
    redis.call('ZADD', ALERTS, int(now + ARGV[5]), to)
    redis.call('SET', taken, to, 'PX', ARGV[5])
  end
  return { 'send', to, a.target or '', tonumber(a.retries) or 0, more, facts }
end

local whole, answer = pcall(take_from)
if whole then return answer end
redis.call('DEL', alert_key(to), facts_key(to))
redis.call('ZREM', ALERTS, to)
return { 'damaged', to }
