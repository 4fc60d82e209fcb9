-- relist enters a job in the lists where its record says that it belongs, and says in the
-- record what it does not: an older release keeps neither.
-- ARGV: job
-- Holds: what a script of this release enters is what this would.
-- include clock hash slots session delivery
local id = ARGV[1]
local j = hash(JOB .. id)
if not j.uid or newer(j) then return 0 end
retire(id)
if fails(j) then redis.call('ZADD', FAILING, 'NX', j.disabledAt or j.lastRunAt or int(now), id) end
-- The newest run that has a reply: the last one, if that has, else the one that is known.
local run = j.lastReplyId
if j.lastRunId and state_of(j.lastRunId) and redis.call('HEXISTS', RUN .. j.lastRunId, 'reply') == 1 then run = j.lastRunId end
if run then
  local r = pick(RUN .. run, { 'uid', 'delivery' })
  if r.uid == j.uid and r.delivery and (run ~= j.lastReplyId or r.delivery ~= j.lastDelivery) then
    redis.call('HSET', JOB .. id, 'lastReplyId', run)
    note_delivery(id, j.uid, run, r.delivery)
  end
end
return 1
