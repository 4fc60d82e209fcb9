-- What time it is. TIME of Redis is the only clock. Each caller says, as the last of its
-- ARGV, what the time should be there ('' if it does not know); where that is far off, the
-- clock was set, and until that has proved right a script goes by what its caller says.

local clock = redis.call('TIME')
local measured = clock[1] * 1000000 + clock[2]
local expected = tonumber(table.remove(ARGV) or '')
local stepped = expected ~= nil and math.abs(measured / 1000 - expected) > CLOCK_STEP
local micros = stepped and expected * 1000 or measured
local now = math.floor(micros / 1000)
