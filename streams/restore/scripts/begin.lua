-- begin: takes a namespace that is not there, or that an earlier run has left, for this run of a restore.
--
-- KEYS[1] meta
-- ARGV[1] the schema while it is restored   ARGV[2] name of this run   ARGV[3] what is restored   ARGV[4] partitions
-- Reply: 'taken'; 'other' and what an earlier run restores, if some of it is in service already; or
-- 'there', if there is a namespace. Nothing changed then.
-- On a crash: all or nothing. Repeating it changes nothing more.

local is = redis.call('HMGET', KEYS[1], 'partitions', 'schema', 'restoring', 'serving')
if is[1] and is[2] ~= ARGV[1] then
  return { 'there' }
end
if is[4] and is[3] ~= ARGV[3] then
  return { 'other', is[3] }
end
redis.call('HSET', KEYS[1], 'partitions', ARGV[4], 'schema', ARGV[1], 'run', ARGV[2], 'restoring', ARGV[3])
return { 'taken' }
