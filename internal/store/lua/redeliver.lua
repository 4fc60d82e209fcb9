-- redeliver puts the reply of an ended run into the outbox once more, for where the job
-- sends its replies now, or where this one went if the job is gone.
-- Given: run, token, most deliveries of a run, actor, key and print of the request ('' none;
--       see recall), agent and session of the caller (see owned)
-- Returns: {ok, kicks} | {other} (the key was another request's) | {gone} | {newer} | {unfinished} (the run, or a delivery of it) |
--       {silent} (there is no reply) | {dropped} (only its beginning is kept) | {nowhere} (there is no target) | {many} |
--       {foreign} (the job is another agent's or session's by now, and so is its chat)
-- Holds: at most one unfinished delivery a run; a resend gets the same answer.
-- include hash audit once alert quota session delivery
local given = named()
local id = given.run
local key = RUN .. id
local r = hash(key)
if not r.state or not owned(r, given.agent, given.session) then return { 'gone' } end
local first = recall(given.key)
if first then return first.print == given.print and { 'ok', {} } or { 'other' } end
if newer(r) then return { 'newer' } end
if r.redelivery == given.token then return { 'ok', {} } end
if r.state ~= STATE_DONE then return { 'unfinished' } end
if not r.reply or r.empty then return { 'silent' } end -- it may have an alert: that is not sent again
if r.replyDropped then return { 'dropped' } end
local last = r.deliveries or '0'
local d = hash(DELIVERY .. id .. ':' .. last)
if d.state and d.state ~= STATE_DONE then return { 'unfinished' } end
if tonumber(last) >= tonumber(given.most) then return { 'many' } end

local target = d.target
local j = hash(JOB .. r.job)
if j.uid == r.uid and not newer(j) then
  if r.agent and r.agent ~= (j.agentId or DEFAULT_AGENT) or not owned(j, given.agent, given.session) then return { 'foreign' } end
  target = target_of(j) or target
end
if not target then return { 'nowhere' } end
audit_first(given.actor, 'redeliver', id, '', cjson.encode({ delivery = tonumber(last) + 1 }))
redis.call('HSET', key, 'redelivery', given.token)
redis.call('PEXPIRE', key, RETENTION)
new_delivery(id, target)
if j.uid then note_delivery(r.job, r.uid, id, DELIVERY_PENDING) end
remember(given.key, given.print, id, '')
return { 'ok', kicks }
