-- Who is told of trouble, and the outbox that it waits in.
-- include clock hash

-- target_of is where a job sends its messages, nil for nowhere.
local function target_of(j)
  if not j.channel then return nil end
  local group = nil
  if j.isGroup then group = j.isGroup == 'true' end
  return cjson.encode({ channel = j.channel, chatId = j.chatId, peerId = j.peerId, threadId = j.threadId, isGroup = group })
end

-- chat_of names the chat of a target in the outbox of alerts.
local function chat_of(channel, chat, thread) return cjson.encode({ channel, chat or '', thread or '' }) end

-- hearer is who is told of a job: a chat, by its name in the outbox, and the target; or
-- '*', whoever the deployment tells; or nil, nobody.
local function hearer(j)
  if j.alertChannel == ALERT_NONE then return nil end
  if j.alertChannel then
    return chat_of(j.alertChannel, j.alertChatId, j.alertThreadId),
      cjson.encode({ channel = j.alertChannel, chatId = j.alertChatId, threadId = j.alertThreadId })
  end
  local target = target_of(j)
  if j.deliver == DELIVER_NEVER or not target then return '*' end
  return chat_of(j.channel, j.chatId, j.threadId), target
end

-- alert_again is how long a job is silent after it has told of something.
local function alert_again(j) return (tonumber(j.alertCooldown) or ALERT_AGAIN / 1000) * 1000 end

local function add_fact(to, target, fact)
  local key, facts = ALERT .. to, FACTS .. to
  if to ~= '*' then
    local free = tonumber(redis.call('HGET', key, 'free') or '0')
    redis.call('ZADD', ALERTS, 'NX', int(math.max(now + ALERT_GATHER, free)), to)
    redis.call('HSET', key, 'target', target)
    redis.call('PEXPIRE', key, ALERT_KEPT)
  end
  if redis.call('LLEN', facts) >= ALERTS_WAIT then
    redis.call('HINCRBY', key, 'more', 1)
    redis.call('PEXPIRE', key, ALERT_KEPT)
    return false
  end
  redis.call('RPUSH', facts, type(fact) == 'table' and cjson.encode(fact) or fact)
  redis.call('PEXPIRE', facts, ALERT_KEPT)
  return true
end

-- post adds a fact (a table, or JSON) to what waits for a target, and reports whether it
-- did: what is too much is counted, and an outbox that is damaged keeps nothing from
-- ending. What goes to '*' has no time of its own, because take_alert moves it on to the
-- deployment's targets.
local function post(to, target, fact)
  local whole, added = pcall(add_fact, to, target, fact)
  return whole and added
end
