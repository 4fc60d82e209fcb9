-- run_now writes a manual run. It ignores enabled, overlap and maxRuns and never
-- moves the cursor; it obeys the order of its session, and the pause of everything.
-- Given: job, run (an id made by the caller: a resend finds it), most unfinished runs of a job,
--       actor, key and print of the request ('' none; see recall), token of the caller, its
--       agent and its session (see owned)
-- Returns: {ok, job} | {same, run, job} (the request made that run before) | {spent, run} (and
--       the job is gone) | {other} (the key was another request's) | {gone} | {newer} | {paused} | {many} |
--       {quota} (the token has had its runs of the day)
-- include clock hash audit once slots quota run
local given = named()
local job, id, once, print = given.job, given.run, given.key, given.print
local j = hash(JOB .. job)
if not owned(j, given.agent, given.session) then j = {} end -- as if it were not there, also by a key that is used
local first = recall(once)
if first then
  if first.print ~= print then return { 'other' } end
  if j.uid ~= first.uid then return { 'spent', first.id } end
  return { 'same', first.id, redis.call('HGETALL', JOB .. job) }
end
if not j.uid then return { 'gone' } end
if newer(j) then return { 'newer' } end
if redis.call('EXISTS', RUN .. id) == 0 then
  if paused() then return { 'paused' } end
  if keyed('SCARD', ACTIVE .. job .. ':' .. j.uid) >= tonumber(given.most) then return { 'many' } end
  if not runs_left(given.token) then return { 'quota' } end
  audit_first(given.actor, 'run', job, '', cjson.encode({ runId = id }))
  spend_run(given.token)
  enter(id, job, j, TRIGGER_MANUAL, '0', now + LEASE, 'state', STATE_WAITING, 'notBefore', int(now), 'attempt', '0', 'epoch', '0')
  remember(once, print, id, j.uid)
end
return { 'ok', redis.call('HGETALL', JOB .. job) }
