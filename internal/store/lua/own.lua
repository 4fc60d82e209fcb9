-- own goes over one page of a list and brings the lists of owners in step with it: it enters
-- what a release without them, or damage, has left out. Of owned itself it drops what belongs
-- elsewhere, and the lists of runs it keeps within their cap.
-- ARGV: list (owned|jobs|ended|runs), cursor ('0' begins), size of a page
-- Returns: cursor ('0': this was the last page)
-- Holds: what a script of this release enters is what this would.
-- include clock hash history
local list, cursor, size = ARGV[1], ARGV[2], ARGV[3]
local check, touched = {}, {}

function check.owned(member)
  local id = string.match(member, ' ' .. string.rep('%d', 16) .. ' (.+)$')
  for _, entry in ipairs(id and entries_of(id) or {}) do
    if entry == member then return end
  end
  redis.call('ZREM', OWNED, member)
end

function check.jobs(id) own(id) end
function check.ended(id) own(id) end

function check.runs(id, score)
  local r = pick(RUN .. id, { 'agent', 'home' })
  if not r.agent then return end -- of before there were tokens
  own_run(id, r.agent, r.home or '', score)
  touched[OWN_RUNS .. r.agent], touched[OWN_RUNS .. r.agent .. ' ' .. (r.home or '')] = true, true
end

-- bound keeps a list of runs within its cap and the retention.
local function bound(key)
  redis.call('ZREMRANGEBYRANK', key, 0, -RUNS_KEPT - 1)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. int(micros - RETENTION * 1000))
  redis.call('PEXPIRE', key, RETENTION)
end

-- Nothing but these lists is made of it, so that of another type it can go.
if redis.call('TYPE', OWNED).ok ~= 'zset' then redis.call('DEL', OWNED) end
local page = redis.call('ZSCAN', P .. list, cursor, 'COUNT', size)
for i = 1, #page[2], 2 do pcall(check[list], page[2][i], page[2][i + 1]) end
for key in pairs(touched) do pcall(bound, key) end
return page[1]
