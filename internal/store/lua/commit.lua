-- commit ends a run with its reply: session, outcome and outbox in one step.
-- ARGV: run, epoch, token, reply, message of the task, message of the reply (JSON),
--       delivery (pending|suppressed|not_requested), target (JSON, when pending)
-- Answer: {ok, kicks} | {fenced}
-- Holds: a committed reply is committed once; a resend gets the same answer.
local id, epoch, token = ARGV[1], ARGV[2], ARGV[3]
local key = run_key(id)
local r = hash(key)
if r.state == 'done' and r.commit == token then return { 'ok', {} } end
if r.state ~= 'running' or r.epoch ~= epoch then return { 'fenced' } end

local session = session_key(r.session)
if r.isolated then redis.call('DEL', session) end -- it holds the last run only
local length = redis.call('RPUSH', session, ARGV[5], ARGV[6])
if length > SESSION_MESSAGES then redis.call('LTRIM', session, -SESSION_MESSAGES, -1) end
redis.call('ZADD', SESSIONS, int(now), r.session)
if stretch(session, SESSION_TTL, length == 2) then
  redis.call('ZREMRANGEBYSCORE', SESSIONS, '-inf', int(now - SESSION_TTL))
end

if ARGV[7] == 'pending' then
  -- seldom
  new_delivery(id, ARGV[8])
end
local attempt, ended = unpack(booked(r, 'succeeded', '', ''))
end_run(id, r, 'succeeded', '', '', { attempt, ended, 'reply', ARGV[4], 'commit', token, 'delivery', ARGV[7] })
return { 'ok', kicks }
