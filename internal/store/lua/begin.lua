-- begin gives a run's next attempt to the caller.
-- ARGV: run, token, worker
-- Returns: {ok, now, epoch, attempt, retries, trigger, slot, session, job} | {gone} | {newer} | {done} | {busy} |
--       {parked} | {early, delay} | {ended}
-- Holds: one attempt at a time; a lease is dead only if two looks said so. An agent holds
--       no more places than its share, and a run that waits for its session holds none.
-- include hash run
return begin_run(ARGV[1], hash(RUN .. ARGV[1]), ARGV[2], ARGV[3])
