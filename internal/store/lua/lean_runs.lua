-- lean_runs reads runs as lists show them: of a long reply its head alone, so that a list
-- costs what it shows.
-- ARGV: run, ...
-- Returns: for each {field, value, ...}; empty where no record of a run is
-- include history
local function lean(key)
  local names, wanted = redis.call('HKEYS', key), {}
  local long = redis.call('HSTRLEN', key, 'reply') > REPLY_HEAD
  for _, name in ipairs(names) do
    if not (long and name == 'reply') then wanted[#wanted + 1] = name end
  end
  if #wanted == 0 then return {} end
  local values, found, head = redis.call('HMGET', key, unpack(wanted)), {}, false
  for i, name in ipairs(wanted) do
    if name == 'head' then
      head = values[i]
    else
      found[#found + 1] = name
      found[#found + 1] = values[i]
    end
  end
  if long then
    found[#found + 1] = 'reply'
    found[#found + 1] = head or head_of(redis.call('HGET', key, 'reply')) -- of a release that kept none
  end
  return found
end

local out = {}
for i, id in ipairs(ARGV) do
  local ok, found = pcall(lean, RUN .. id)
  out[i] = ok and found or {}
end
return out
