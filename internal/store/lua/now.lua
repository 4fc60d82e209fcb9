-- now is the clock of the shard that decides: in a cluster every node has one.
-- Answer: {seconds, microseconds}
return clock
