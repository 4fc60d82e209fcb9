-- release_emitter gives the emitter's lease up if the caller holds it.
-- ARGV: holder
-- Returns: 1 released, 0 not held
if redis.call('GET', EMITTER) == ARGV[1] then return redis.call('DEL', EMITTER) end
return 0
