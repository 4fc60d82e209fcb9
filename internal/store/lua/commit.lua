-- commit ends a run with its reply: session, outcome and outbox in one step.
-- ARGV: run, epoch, token, reply, message of the task, message of the reply (JSON; '' of an
--       empty one), delivery (pending|suppressed|not_requested), target (JSON, when pending)
-- Returns: {ok, kicks} | {fenced}
-- Holds: a committed reply is committed once; a resend gets the same answer.
-- include clock hash history session delivery run
local id, epoch, token = ARGV[1], ARGV[2], ARGV[3]
local key = RUN .. id
local r = hash(key)
if r.state == STATE_DONE and r.commit == token then return { 'ok', {} } end
if r.state ~= STATE_RUNNING or r.epoch ~= epoch then return { 'fenced' } end

local session = SESSION .. r.session
if r.isolated then redis.call('DEL', session) end -- it holds the last run only
local said = { ARGV[5] }
local empty = ARGV[6] == ''
if not empty then said[2] = ARGV[6] end -- models refuse a transcript with an empty message in it
local length = keyed('RPUSH', session, unpack(said))
if length > SESSION_MESSAGES then redis.call('LTRIM', session, -SESSION_MESSAGES, -1) end
if #ARGV[5] + #ARGV[6] > SESSION_BYTES / SESSION_MESSAGES then
  if bound_session(session, #said) then note_cut(r.job) end
end
redis.call('ZADD', SESSIONS, int(now), r.session)
if stretch(session, SESSION_TTL, length == #said) then
  redis.call('ZREMRANGEBYSCORE', SESSIONS, '-inf', int(now - SESSION_TTL))
end

if ARGV[7] == DELIVERY_PENDING then
  new_delivery(id, ARGV[8])
end
r.delivery = ARGV[7]
local attempt, end_of_it = unpack(booked(r, RESULT_SUCCEEDED, '', ''))
local fields = { attempt, end_of_it, 'reply', ARGV[4], 'commit', token, 'delivery', ARGV[7] }
if empty then
  fields[#fields + 1] = 'empty'
  fields[#fields + 1] = '1'
end
if #ARGV[4] > REPLY_HEAD then
  fields[#fields + 1] = 'head'
  fields[#fields + 1] = head_of(ARGV[4])
  drop_replies(r.job, id, #ARGV[4])
end
end_run(id, r, OUTCOME_SUCCEEDED, '', '', fields)
return { 'ok', kicks }
