-- init: makes a namespace, once.
--
-- KEYS[1] meta
-- ARGV[1] partitions   ARGV[2] schema   ARGV[3] epoch (a name for this data set)
-- then, for each further field that is to be stored: name, value
-- Reply: 1, or 0 if there is a namespace already, which stays as it is.

if redis.call('HEXISTS', KEYS[1], 'partitions') == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'partitions', ARGV[1], 'schema', ARGV[2], 'epoch', ARGV[3], unpack(ARGV, 4))
return 1
