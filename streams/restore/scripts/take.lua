-- take: takes a partition for this run of a restore.
--
-- KEYS[1] what says whose the partition is   KEYS[2] log   KEYS[3] events   KEYS[4] requests
-- ARGV[1] name of this run   ARGV[2] what stands there once it is whole
-- Reply: 'taken'; 'whole', if an earlier run has written it; or 'there': it has a log, events or requests that no restore has
-- written. Nothing changed then.
-- On a crash: all or nothing. Repeating it changes nothing more.

if redis.call('GET', KEYS[1]) == ARGV[2] then
  return 'whole'
end
if redis.call('EXISTS', KEYS[2], KEYS[3], KEYS[4]) > 0 then
  return 'there'
end
redis.call('SET', KEYS[1], ARGV[1])
return 'taken'
