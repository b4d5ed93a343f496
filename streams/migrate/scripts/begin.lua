-- begin: takes a namespace out of service, for this run of the migration alone: of several the last one that began goes on.
--
-- KEYS[1] meta
-- ARGV[1] the schema before   ARGV[2] the schema between   ARGV[3] name of this run
-- Reply: 1, or 0 if it has another schema by now; nothing changed then.
-- On a crash: all or nothing. Repeating it changes nothing more.

local schema = redis.call('HGET', KEYS[1], 'schema')
if schema ~= ARGV[1] and schema ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'schema', ARGV[2], 'migration', ARGV[3])
return 1
