-- init: creates the namespace, once.
--
-- KEYS[1] meta   ARGV[1] partitions   ARGV[2] schema   ARGV[3] epoch (a name for this data set)
-- Reply: partitions, schema and epoch as they are stored, and 1 if this call stored them.

local known = redis.call('HMGET', KEYS[1], 'partitions', 'schema', 'epoch')
if known[1] then
  return { known[1], known[2], known[3], 0 }
end
redis.call('HSET', KEYS[1], 'partitions', ARGV[1], 'schema', ARGV[2], 'epoch', ARGV[3])
return { ARGV[1], ARGV[2], ARGV[3], 1 }
