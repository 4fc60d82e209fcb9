-- What a request with an idempotency key did.
-- include hash

-- recall returns what a request with that key ('' for none) did when it came first: the
-- id and the uid of what it made, and the print of what it asked for.
local function recall(key)
  if key == '' then return nil end
  local first = hash(ONCE .. key)
  return first.print and first
end

-- remember notes what a request did, in the step that does it: a retry finds either both
-- or nothing.
local function remember(key, print, id, uid)
  if key == '' then return end
  redis.call('HSET', ONCE .. key, 'print', print, 'id', id, 'uid', uid)
  redis.call('PEXPIRE', ONCE .. key, REMEMBERED)
end
