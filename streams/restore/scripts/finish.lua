-- finish: notes in the meta how far a restore is, if it is this run's.
--
-- KEYS[1] meta
-- ARGV[1] the schema while it is restored   ARGV[2] name of this run   then either nothing: from here on partitions are in service, so only the
-- same may be restored; or what the meta has when all are: the epoch, and fields and values
-- Reply: 1, also if it was so before; or 0 if another run has taken over, and nothing changed.
-- On a crash: all or nothing. Repeating it changes nothing more.

local is = redis.call('HMGET', KEYS[1], 'schema', 'run', 'epoch')
if is[3] and is[3] == ARGV[3] then
  return 1
end
if is[1] ~= ARGV[1] or is[2] ~= ARGV[2] then
  return 0
end
if #ARGV == 2 then
  redis.call('HSET', KEYS[1], 'serving', '1')
  return 1
end
redis.call('HSET', KEYS[1], 'epoch', unpack(ARGV, 3))
redis.call('HDEL', KEYS[1], 'run', 'restoring', 'serving')
return 1
