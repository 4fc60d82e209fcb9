-- begin_delivery gives a delivery's next attempt to the caller.
-- ARGV: run, n, token, most retries
-- Returns: {ok, epoch, delivery, reply ('' with an alert)} | {gone} | {newer} | {done} | {busy} | {early, delay} | {ended}
-- Holds: the same lease rules as for runs; a part that a dead sender had begun and
--       not answered makes the delivery unknown: it may have arrived. A sender that
--       died before that counts as a retry, so that what kills senders ends too.
-- include clock hash delivery
local run, n, token = ARGV[1], ARGV[2], ARGV[3]
local key = DELIVERY .. run .. ':' .. n
local d = hash(key)
if not d.state then return { 'gone' } end
if newer(d) then return { 'newer' } end
if d.state == STATE_DONE then return { 'done' } end
if d.state == STATE_WAITING and tonumber(d.notBefore) > now then return { 'early', tonumber(d.notBefore) - now } end
local resent = d.state == STATE_RUNNING and d.token == token
local fields = {}
if d.state == STATE_RUNNING and not resent then
  if d.deadEpoch ~= d.epoch then return { 'busy' } end
  for field, value in pairs(d) do
    if string.match(field, '^p%d+$') and string.sub(value, 1, 1) == 'b' then
      end_delivery(run, n, DELIVERY_UNKNOWN, 'the sender stopped in the middle of a send; the message may have arrived')
      return { 'ended' }
    end
  end
  if tonumber(d.retries) >= tonumber(ARGV[4]) or now - tonumber(d.createdAt) > DELIVER_WITHIN then
    end_delivery(run, n, DELIVERY_FAILED, 'its senders stopped before they could send it')
    return { 'ended' }
  end
  fields.retries = tonumber(d.retries) + 1
end
if not resent then
  fields.state, fields.token, fields.leaseUntil = STATE_RUNNING, token, now + LEASE
  fields.epoch, fields.attempt = tonumber(d.epoch) + 1, tonumber(d.attempt) + 1
  redis.call('HSET', key, unpack(flat(fields)))
  erase(key, d, 'seenEpoch', 'seenAt', 'deadEpoch', 'notBefore')
  for _, name in ipairs({ 'seenEpoch', 'seenAt', 'deadEpoch', 'notBefore' }) do d[name] = nil end
  for name, value in pairs(fields) do d[name] = value end
  redis.call('ZADD', WAKE, int(now + LEASE), 'd:' .. run .. ':' .. n)
end
return { 'ok', int(d.epoch), flat(d), redis.call('HGET', RUN .. run, 'reply') or '' }
