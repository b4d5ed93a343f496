-- finish: the migration's last step: the namespace is of the new schema, and its old keys may go.
--
-- KEYS[1] meta
-- ARGV[1] the schema between   ARGV[2] the new schema   ARGV[3] number of this run   ARGV[4] the schema before
-- Reply: 1, or 0 if another run has taken over; nothing changed then.
-- On a crash: all or nothing. Repeating it changes nothing more.

local is = redis.call('HMGET', KEYS[1], 'schema', 'migration')
if is[2] ~= ARGV[3] or is[1] ~= ARGV[1] and is[1] ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'schema', ARGV[2], 'migrated_from', ARGV[4])
return 1
