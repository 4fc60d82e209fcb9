-- take_alert gives the caller what waits for a target of alerts, marked as being sent.
-- ARGV: sender, whether it leads ('1', ''), how long it then is the sender, token, how long
--       it may send, the deployment's chat (JSON, '' none), whether it has a hook ('1', '')
-- Returns: {held} (another sends) | {idle} | {lost, target, how many facts} (their sender
--       died: they may have arrived) | {damaged, target} (it was dropped) | {send, target ('hook' is the hook), where it is
--       (JSON), retries, how many more there are, facts (JSON, ...)}; a resend gets the same
-- Holds: what was marked is not sent by another. The leading scheduler sends, and who
--       leads not only while nobody does. What is for '*' goes to the deployment's targets,
--       or to nobody where there are none.
-- include clock hash alert delivery
local token, taken = ARGV[4], TAKEN .. ARGV[4]
local to = redis.call('GET', taken)
if not to then
  local holder = redis.call('GET', ALERTER)
  if holder and holder ~= ARGV[1] and ARGV[2] == '' then return { 'held' } end
  redis.call('SET', ALERTER, ARGV[1], 'PX', ARGV[3])

  local all = redis.pcall('LRANGE', FACTS .. '*', 0, -1)
  local more = redis.pcall('HGET', ALERT .. '*', 'more')
  if all.err or type(more) == 'table' then
    all, more = {}, nil
    redis.call('DEL', FACTS .. '*', ALERT .. '*')
  end
  if #all > 0 or more then
    redis.call('DEL', FACTS .. '*', ALERT .. '*')
    local targets = {}
    if ARGV[6] ~= '' then
      local chat = cjson.decode(ARGV[6])
      targets[#targets + 1] = { chat_of(chat.channel, chat.chatId, chat.threadId), ARGV[6] }
    end
    if ARGV[7] ~= '' then targets[#targets + 1] = { 'hook', '{}' } end
    for _, t in ipairs(targets) do
      for _, fact in ipairs(all) do post(t[1], t[2], fact) end
      if more and #all > 0 then redis.call('HINCRBY', ALERT .. t[1], 'more', more) end
    end
  end
  to = redis.call('ZRANGEBYSCORE', ALERTS, '-inf', int(now), 'LIMIT', 0, 1)[1]
end
if not to then return { 'idle' } end

local function take_from()
  local a = hash(ALERT .. to)
  if a.token and a.token ~= token then
    end_facts(to, a, DELIVERY_UNKNOWN, 'the sender stopped in the middle of a send; the message may have arrived', '')
    return { 'lost', to, tonumber(a.n) or 0 }
  end
  local last, more = (a.token and tonumber(a.n) or ALERTS_WAIT) - 1, tonumber(a.token and a.told or a.more) or 0
  local facts = last >= 0 and redis.call('LRANGE', FACTS .. to, 0, last) or {}
  if not a.token then
    if #facts == 0 and more <= 0 then
      redis.call('ZREM', ALERTS, to)
      return { 'idle' }
    end
    redis.call('HSET', ALERT .. to, 'token', token, 'n', #facts, 'told', more)
    redis.call('PEXPIRE', ALERT .. to, ALERT_KEPT)
    redis.call('ZADD', ALERTS, int(now + ARGV[5]), to)
    redis.call('SET', taken, to, 'PX', ARGV[5])
  end
  return { 'send', to, a.target or '', tonumber(a.retries) or 0, more, facts }
end

local whole, answer = pcall(take_from)
if whole then return answer end
redis.call('DEL', ALERT .. to, FACTS .. to)
redis.call('ZREM', ALERTS, to)
return { 'damaged', to }
