-- Who changed what, and how much of that is kept of whom.
-- include clock hash

-- share_of returns whose share of the audit a note counts against. A token's covers what
-- its holder does, in a run or not, and what the product does to the jobs made with it: so
-- nobody pushes out the notes of another by making jobs that end by themselves. What
-- concerns everything is kept with what the administrator did.
local function share_of(actor, target)
  local token = string.match(actor, '^token:(%w+)') or string.match(actor, '^run:%S+ token:(%w+)')
  if actor == PRODUCT and target ~= '*' then
    token = redis.call('HGET', JOB .. target, 'maker')
    if not token then return PRODUCT end
  end
  if token then return 'token:' .. token end
  return string.sub(actor, 1, 4) == 'run:' and 'run' or 'api'
end

-- drop_note takes the oldest note of a share out of the audit.
local function drop_note(share)
  local note = redis.call('LPOP', AUDIT_OF .. share)
  if note then redis.call('XDEL', AUDIT, note) end
  if share == 'api' then return end
  redis.call('ZINCRBY', AUDITORS, -1, '*')
  if tonumber(redis.call('ZINCRBY', AUDITORS, -1, share)) <= 0 then redis.call('ZREM', AUDITORS, share) end
end

-- bound_share counts a note against a share. Where that is full its own oldest note goes;
-- where all shares but the administrator's are full together, the oldest of the largest.
local function bound_share(share, note)
  local has = redis.call('RPUSH', AUDIT_OF .. share, note)
  if share == 'api' then
    if has > AUDITED then drop_note(share) end
    return
  end
  redis.call('ZADD', AUDITORS, has, share)
  local all = tonumber(redis.call('ZINCRBY', AUDITORS, 1, '*'))
  if has > (string.sub(share, 1, 6) == 'token:' and AUDIT_SHARE or AUDIT_SHARED) then
    drop_note(share)
  elseif all > AUDITED then
    local largest = redis.call('ZREVRANGE', AUDITORS, 0, 1)
    drop_note(largest[1] == '*' and largest[2] or largest[1])
  end
end

-- audit notes a change in the step that makes it, so that no change is without its
-- note. before and after are what of the target changed (JSON, '' for nothing). A stream
-- or a share that is damaged keeps nobody from changing things, or from stopping them. A
-- job is noted before it is dropped: whose share it is, its record says.
local function audit(actor, action, target, before, after)
  local note = redis.pcall('XADD', AUDIT, 'MAXLEN', '~', AUDIT_MOST, '*', 'at', int(now), 'actor', actor, 'action', action,
    'target', target, 'before', before, 'after', after)
  if type(note) == 'string' then pcall(function() bound_share(share_of(actor, target), note) end) end
  return note
end

-- audit_first notes a change before anything of it is written: where Redis takes no note,
-- being full or denying it, the script ends here and has changed nothing.
local function audit_first(...)
  local note = audit(...)
  if type(note) == 'string' or string.find(note.err, 'WRONGTYPE', 1, true) or string.find(note.err, 'The stream', 1, true) then return end
  redis.call('XADD', AUDIT, '*', 'at', int(now)) -- again, for its error
end
