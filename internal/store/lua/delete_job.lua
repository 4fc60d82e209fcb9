-- delete_job removes a job. Its history stays for the retention; unfinished runs
-- are cancelled here if that is asked for, else when they come to begin, and running
-- ones finish.
-- ARGV: id, uid ('' of a record without one, which is damaged), seen nextSlot as it stands
--       there ('' none), first, last, count of its due slots (count 0:
--       none), the slot after them ('' none), seen revision as it stands there, cancel runs ('1', ''), actor,
--       what it was (JSON, see audit), token
-- Returns, also to a resend: {ok, how many runs were cancelled, how many turns that leaves
--       behind (see cancel_run)} | {gone} | {newer} | {changed}
-- Holds: a due slot that a delete passes over gets its record here. A record that cannot be
--       read can be deleted too; its runs end when they come to begin.
-- include clock hash audit history slots run
local id = ARGV[1]
local j = pick(JOB .. id, { 'v', 'uid', 'rev', 'name', 'nextSlot', 'range', 'agentId', 'session' })
local mine = ONCE .. ARGV[12]
if (j.uid or '') ~= ARGV[2] or redis.call('EXISTS', JOB .. id) == 0 then
  local did = redis.call('GET', mine)
  if not did then return { 'gone' } end
  return { 'ok', string.match(did, '%d+'), string.match(did, '%d+$') }
end
if newer(j) then return { 'newer' } end
if (j.nextSlot or '') ~= ARGV[3] or (j.rev or '') ~= ARGV[8] then return { 'changed' } end
if ARGV[7] ~= '' and tonumber(ARGV[7]) <= now then return { 'changed' } end

-- What is to be cancelled; one that cannot be read keeps no other from it.
local runs = {}
for _, run in ipairs(ARGV[9] == '1' and active_runs(id, ARGV[2]) or {}) do
  local r = pick(RUN .. run.id, { 'v', 'job', 'uid', 'attempt' })
  if r.job and r.uid and tonumber(r.attempt) and not newer(r) then runs[#runs + 1] = run.id end
end
audit_first(ARGV[10], 'delete', id, ARGV[11], #runs > 0 and cjson.encode({ cancelledRuns = #runs }) or '')
drop_job(id)
forget_end(id)
if tonumber(ARGV[6]) > 0 then
  pcall(record_slots, id, j, OUTCOME_SKIPPED, REASON_DELETED, ARGV[4], ARGV[5], ARGV[6]) -- a damaged history keeps no job
end
local cancelled, turns = 0, 0
for _, run in ipairs(runs) do
  pcall(function()
    turns = turns + cancel_run(run, hash(RUN .. run), REASON_DELETED)
    cancelled = cancelled + 1
  end)
end
redis.call('SET', mine, cancelled .. ' ' .. turns, 'PX', 60000) -- no resend comes later
return { 'ok', cancelled, turns }
