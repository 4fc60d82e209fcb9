-- delete_job removes a job. Its history stays for the retention; unfinished runs
-- are cancelled here if that is asked for, else when they come to begin, and running
-- ones finish.
-- ARGV: id, uid, seen nextSlot ('' none), first, last, count of its due slots (count 0:
--       none), the slot after them ('' none), seen revision, cancel runs ('1', ''), actor,
--       what it was (JSON, see audit), token
-- Answer, also to a resend: {ok, how many runs were cancelled, how many turns that leaves
--       behind (see cancel_run)} | {gone} | {newer} | {changed}
-- Holds: a due slot that a delete passes over gets its record here.
local id = ARGV[1]
local j = hash(job_key(id))
local mine = once_key(ARGV[12])
if j.uid ~= ARGV[2] then
  local did = redis.call('GET', mine)
  if not did then return { 'gone' } end
  return { 'ok', string.match(did, '%d+'), string.match(did, '%d+$') }
end
if newer(j) then return { 'newer' } end
if (j.nextSlot or '') ~= ARGV[3] or int(tonumber(j.rev or '') or 0) ~= ARGV[8] then return { 'changed' } end
if ARGV[7] ~= '' and tonumber(ARGV[7]) <= now then return { 'changed' } end
local runs = ARGV[9] == '1' and active_runs(id, j.uid) or {}
drop_job(id)
forget_end(id)
if tonumber(ARGV[6]) > 0 then
  record_slots(id, j, 'skipped', 'deleted', ARGV[4], ARGV[5], ARGV[6])
end
local cancelled, turns = 0, 0
for _, run in ipairs(runs) do
  pcall(function() -- one that cannot be read keeps no other from being cancelled
    local r = hash(run_key(run.id))
    if r.state == 'done' or newer(r) then return end
    turns = turns + cancel_run(run.id, r, 'deleted')
    cancelled = cancelled + 1
  end)
end
audit(ARGV[10], 'delete', id, ARGV[11], cancelled > 0 and cjson.encode({ cancelledRuns = cancelled }) or '')
redis.call('SET', mine, cancelled .. ' ' .. turns, 'PX', 60000) -- no resend comes later
return { 'ok', cancelled, turns }
