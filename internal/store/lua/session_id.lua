-- session_id tells what the conversation of a session key is called at an ai-server, and
-- enters that there.
-- ARGV: key, other ('' none) and id: the ai-server has the conversation of the key other under
--       that id; then of each id that it may have, the best first: the id, how many folds it
--       has, the folds
-- Returns: {ok, id} | {taken} (each is another key's)
-- Holds: a fold belongs to the first key that asked for it, for as long as that key or
--       another one asks for it again within the life of a session.
-- include session
local key, other, found = ARGV[1], ARGV[2], ARGV[3]
local at = 4
while ARGV[at] do
  local id, n = ARGV[at], tonumber(ARGV[at + 1])
  local folds = { unpack(ARGV, at + 2, at + 1 + n) }
  if other ~= '' and id == found then
    for _, fold in ipairs(folds) do redis.call('SET', SESSION_ID .. fold, other, 'PX', SESSION_TTL) end
  end
  if own_id(key, folds) then return { 'ok', id } end
  at = at + 2 + n
end
return { 'taken' }
