-- send_begin notes that a part is about to be sent, and renews the lease. The last
-- act before the request is written.
-- ARGV: run, n, epoch, part, token, number of parts
-- Returns: {ok} | {sent} (an earlier attempt sent it) | {fenced} | {unknown} (an earlier
--       attempt began it and got no answer: the delivery is ended)
-- include clock hash delivery
local run, n, epoch, part = ARGV[1], ARGV[2], ARGV[3], 'p' .. ARGV[4]
local key = DELIVERY .. run .. ':' .. n
local d = redis.call('HMGET', key, 'state', 'epoch', part, 'seenEpoch', 'deadEpoch')
if d[1] ~= STATE_RUNNING or d[2] ~= epoch then return { 'fenced' } end
local begun = 'b:' .. epoch .. ':' .. ARGV[5]
if d[3] and string.sub(d[3], 1, 1) == 's' then return { 'sent' } end
if d[3] and d[3] ~= begun then
  end_delivery(run, n, DELIVERY_UNKNOWN, 'an earlier send got no answer; the message may have arrived')
  return { 'unknown' }
end
redis.call('HSET', key, part, begun, 'parts', ARGV[6], 'leaseUntil', int(now + LEASE))
if d[4] or d[5] then redis.call('HDEL', key, 'seenEpoch', 'seenAt', 'deadEpoch') end
redis.call('ZADD', WAKE, int(now + LEASE), 'd:' .. run .. ':' .. n)
return { 'ok' }
