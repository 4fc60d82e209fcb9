-- send_end notes what became of a part, and what follows.
-- ARGV: run, n, epoch, part, what (sent|delivered|retry|failed|unknown),
--       message id (sent, delivered), message, delay, retry (counted|free), most retries
--   sent: this part is confirmed, more follow. delivered: it was the last one.
--   retry: the part surely did not arrive; failed: nor will it.
-- Returns, also to a resend: {ok} | {retry} | {ended} | {fenced}
-- Holds: retries that count are bounded by number, all of them by age.
-- include clock hash delivery
local run, n, epoch, part = ARGV[1], ARGV[2], ARGV[3], 'p' .. ARGV[4]
local what, message = ARGV[5], ARGV[7]
local key = DELIVERY .. run .. ':' .. n
local d = redis.call('HMGET', key, 'state', 'epoch', 'retries', 'createdAt', 'endedEpoch', part)
if d[5] == epoch then return { d[1] == STATE_DONE and 'ended' or 'retry' } end
if d[1] ~= STATE_RUNNING or d[2] ~= epoch then return { 'fenced' } end

if what == SEND_SENT or what == SEND_DELIVERED then
  redis.call('HSET', key, part, 's:' .. ARGV[6])
  if what == SEND_SENT then return { 'ok' } end
end
redis.call('HSET', key, 'endedEpoch', epoch)
if what == SEND_DELIVERED then
  redis.call('HDEL', key, 'error')
  end_delivery(run, n, DELIVERY_DELIVERED, '')
  return { 'ended' }
end
if what == SEND_UNKNOWN then
  end_delivery(run, n, DELIVERY_UNKNOWN, message)
  return { 'ended' }
end
-- What another epoch began stays begun: a failover can have lost its answer, and the
-- next attempt must find that it may have arrived.
if d[6] and string.find(d[6], 'b:' .. epoch .. ':', 1, true) == 1 then redis.call('HDEL', key, part) end
local late = now - tonumber(d[4]) > DELIVER_WITHIN
if what == SEND_FAILED or late or (ARGV[9] == RETRY_COUNTED and tonumber(d[3]) >= tonumber(ARGV[10])) then
  end_delivery(run, n, DELIVERY_FAILED, message)
  return { 'ended' }
end
if ARGV[9] == RETRY_COUNTED then redis.call('HINCRBY', key, 'retries', 1) end
local at = int(now + tonumber(ARGV[8]))
redis.call('HSET', key, 'state', STATE_WAITING, 'notBefore', at, 'error', message)
redis.call('HINCRBY', key, 'n', 1)
redis.call('ZADD', WAKE, at, 'd:' .. run .. ':' .. n)
return { 'retry' }
