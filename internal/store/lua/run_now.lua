-- run_now writes a manual run. It ignores enabled, overlap and maxRuns and never
-- moves the cursor; it obeys the order of its session, and the pause of everything.
-- ARGV: job, run id (made by the caller: a resend finds it), most unfinished runs of a job
-- Answer: {ok, job} | {gone} | {newer} | {paused} | {many}
local job, id = ARGV[1], ARGV[2]
local j = hash(job_key(job))
if not j.uid then return { 'gone' } end
if newer(j) then return { 'newer' } end
if redis.call('EXISTS', run_key(id)) == 0 then
  if paused() then return { 'paused' } end
  if redis.call('SCARD', active_key(job, j.uid)) >= tonumber(ARGV[3]) then return { 'many' } end
  new_run(id, job, j, 'manual', 0)
end
return { 'ok', redis.call('HGETALL', job_key(job)) }
