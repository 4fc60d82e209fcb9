-- clock_step notes that the clock was set, or that it is right again.
-- ARGV: since when, by how much, until when it is not believed; by is 0 when it is right again
-- Returns: 1 noted, 0 known already
-- Holds: whatever was done by a wrong clock is looked for: all cursors are checked when it
--       counts as right.
-- include clock hash audit
local was = pick(CLOCK, { 'since', 'by', 'until' })
local gone = tonumber(ARGV[2]) == 0
local known = tonumber(was.by or '0') ~= 0
if gone then
  if not known then return 0 end
  redis.call('HSET', CLOCK, 'by', 0, 'until', int(now))
  audit(PRODUCT, 'clock-right', '*', cjson.encode({ by = tonumber(was.by) }), '')
  return 1
end
-- The others find out about the same one within seconds.
if known and math.abs(tonumber(was.since) - tonumber(ARGV[1])) < CLOCK_STEP
  and math.abs(tonumber(was.by) - tonumber(ARGV[2])) < CLOCK_STEP then return 0 end
redis.call('HSET', CLOCK, 'since', ARGV[1], 'by', ARGV[2], 'until', ARGV[3])
redis.call('HSET', CHECK, 'why', 'clock', 'since', ARGV[1], 'page', '0', 'checked', 0, 'moved', 0)
redis.call('HDEL', CHECK, 'ended')
audit(PRODUCT, 'clock-step', '*', '', cjson.encode({ since = tonumber(ARGV[1]), by = tonumber(ARGV[2]) }))
return 1
