-- Hashes, texts and numbers; records of a newer release, and keys of another type.
-- include clock

local function int(x) return string.format('%d', x) end

-- named returns the arguments of a script that is given each with its name before it.
local function named()
  local given = {}
  for i = 1, #ARGV, 2 do given[ARGV[i]] = ARGV[i + 1] end
  return given
end

-- hash returns a hash, and the list that it was read as: what returns one just as it
-- was need not make that again.
local function hash(key)
  local list, h = redis.call('HGETALL', key), {}
  for i = 1, #list, 2 do h[list[i]] = list[i + 1] end
  return h, list
end

-- flat lists fields as Redis does: name, value, name, value.
local function flat(fields)
  local list = {}
  for name, value in pairs(fields) do
    list[#list + 1] = name
    list[#list + 1] = type(value) == 'number' and int(value) or value
  end
  return list
end

-- write sets fields of a hash, listed as Redis does, if there are any to set.
local function write(key, list)
  if #list > 0 then redis.call('HSET', key, unpack(list)) end
end

-- erase deletes fields of a hash that was read as h, if it has any of them.
local function erase(key, h, ...)
  local there = nil
  for _, name in ipairs({ ... }) do
    if h[name] then
      there = there or {}
      there[#there + 1] = name
    end
  end
  if there then redis.call('HDEL', key, unpack(there)) end
end

-- stretch gives a key its full time to live once more, and returns whether it did. One
-- that has nearly all of it is left alone: to look is cheaper than to write, here and
-- for the disk. new: it has none yet.
local function stretch(key, ttl, new)
  local left = new and 0 or redis.call('PTTL', key)
  if left > 0.99 * ttl and left <= ttl then return false end
  redis.call('PEXPIRE', key, ttl)
  return true
end

-- pick reads some fields of a hash.
local function pick(key, names)
  local values, h = redis.pcall('HMGET', key, unpack(names)), {}
  for i, name in ipairs(names) do h[name] = values[i] or nil end -- nothing, if it is no hash
  return h
end

-- clip cuts a text to so many bytes, between two characters.
local function clip(text, most)
  if #text <= most then return text end
  return (string.gsub(string.sub(text, 1, most - 3), '[\192-\255][\128-\191]*$', '')) .. '...'
end

-- newer reports whether a record is of a newer release; a version that is no number, as Go
-- reads them, is damage.
local function newer(h) return (tonumber(h.v or '0') or 0) > VERSION and not string.find(h.v, '%D') end

-- put_aside moves away what is of another type than its key is for, since nothing that uses
-- the key could go on: it stays readable for the retention, and the operator is told. What
-- the records of unfinished runs say of it is put back: who holds a session, and which runs
-- a job has.
local function put_aside(key)
  local name = string.sub(key, #P + 1)
  local kind, aside = redis.call('TYPE', key), DAMAGED .. name
  redis.call('RENAME', key, aside)
  redis.call('PEXPIRE', aside, RETENTION)
  local session, runs_of = string.match(name, '^lock:(.*)$'), string.match(name, '^active:(.*)$')
  for _, member in ipairs((session or runs_of) and redis.call('SMEMBERS', OPEN) or {}) do
    local run = string.match(member, '^r:(.*)$')
    local r = run and pick(RUN .. run, { 'state', 'session', 'job', 'uid' }) or {}
    if runs_of and r.job and r.uid and r.job .. ':' .. r.uid == runs_of then redis.call('SADD', key, run) end
    if session and r.state == STATE_RUNNING and r.session == session then redis.call('SET', key, run) end
  end
  redis.pcall('HINCRBY', REPAIRS, 'key_damaged', 1)
  local full = redis.pcall('HLEN', QUARANTINE)
  if type(full) == 'number' and full < QUARANTINED then
    redis.call('HSET', QUARANTINE, 'key:' .. name, cjson.encode({ since = now, last = now,
      reason = 'it was a ' .. (kind.ok or kind) .. ', and is kept as damaged:' .. name .. '; what needs it goes on without' }))
  end
end

-- keyed calls a command on a key; what there is of another type it puts aside, and calls
-- the command again.
local function keyed(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  if string.find(answer.err, 'WRONGTYPE', 1, true) then put_aside(key) end
  return redis.call(command, key, ...)
end
