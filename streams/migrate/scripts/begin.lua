-- begin: takes a namespace out of service, and gives this run of the migration a number: of several the one with the highest
-- number goes on.
--
-- KEYS[1] meta
-- ARGV[1] the schema before   ARGV[2] the schema between
-- Reply: the number, from 1; or 0 if it has another schema by now; nothing changed then.
-- On a crash: all or nothing. Repeating it gives another number.

local schema = redis.call('HGET', KEYS[1], 'schema')
if schema ~= ARGV[1] and schema ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'schema', ARGV[2])
return redis.call('HINCRBY', KEYS[1], 'migration', 1)
