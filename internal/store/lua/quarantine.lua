-- quarantine registers what cannot be read, and that it still cannot.
-- ARGV: entry, reason, entry, reason, ...
-- Returns: the entries that were not registered before
-- Holds: a full register takes no more, and forgets nothing.
-- include clock
local entered = {}
for i = 1, #ARGV, 2 do
  local entry, reason = ARGV[i], string.sub(ARGV[i + 1], 1, 500)
  local old = redis.call('HGET', QUARANTINE, entry)
  if old or redis.call('HLEN', QUARANTINE) < QUARANTINED then
    local readable, before = pcall(cjson.decode, old or '')
    local since = readable and type(before) == 'table' and before.since or now
    redis.call('HSET', QUARANTINE, entry, cjson.encode({ since = since, last = now, reason = reason }))
  end
  if not old and redis.call('HEXISTS', QUARANTINE, entry) == 1 then entered[#entered + 1] = entry end
end
return entered
