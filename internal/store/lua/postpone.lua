-- postpone looks at a job's due entry again later: one that cannot be settled now must
-- not stand in the way of the others. It leaves the job alone.
-- ARGV: job
-- Answer: how many entries were moved
return redis.call('ZADD', DUE, 'XX', 'CH', int(now + RECHECK), ARGV[1])
