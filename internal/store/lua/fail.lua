-- fail ends an attempt that did not succeed: the run waits for a retry, or ends.
-- Given: run, epoch, result, cause, message, retry (never|counted|free), delay, outcome if it ends,
--       permanent ('1' if the same would fail again)
-- Returns, also to a resend: {retry, kicks} | {ended, kicks} | {fenced}
-- Holds: a retry never comes after the next slot; an ambiguous attempt follows the
--       job's onAmbiguous; a run between attempts holds neither its session nor a place.
-- include clock hash session run
local given = named()
local id = given.run
local key = RUN .. id
local r = hash(key)
if r.failedEpoch == given.epoch then return { r.state == STATE_DONE and 'ended' or 'retry', {} } end
if r.state ~= STATE_RUNNING or r.epoch ~= given.epoch then return { 'fenced' } end
local result, retry, at = given.result, given.retry, now + tonumber(given.delay)
local j = hash(JOB .. r.job)
r.permanent = given.permanent == '1'
if j.uid ~= r.uid then j = {} end

local fields = booked(r, result, given.cause, given.message)
fields[#fields + 1] = 'failedEpoch'
fields[#fields + 1] = r.epoch
if result == RESULT_AMBIGUOUS and j.onAmbiguous == ON_AMBIGUOUS_FAIL then retry = RETRY_NEVER end
if retry == RETRY_NEVER or not j.uid or not may_retry(r, j, at, retry == RETRY_FREE) then
  end_run(id, r, given.outcome, '', given.message, fields)
  return { 'ended', kicks }
end
if retry == RETRY_COUNTED then
  fields[#fields + 1] = 'retries'
  fields[#fields + 1] = int(tonumber(r.retries) + 1)
end
write(key, fields)
leave(r.session, id, r.state)
leave_place(r.agent or DEFAULT_AGENT, id, r.state)
make_waiting(id, at)
return { 'retry', kicks }
