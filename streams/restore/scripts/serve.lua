-- serve: gives a partition that is written its log and its events, in one step.
--
-- KEYS[1] what says whose the partition is   KEYS[2] log   KEYS[3] events   KEYS[4] requests   KEYS[5] what the log is called
-- while it is written   KEYS[6] the events likewise
-- ARGV[1] name of this run   ARGV[2] what stands there once it is whole   ARGV[3] the group that reads requests
-- Reply: 'whole', also if it was before; 'taken', if it is another run's; or 'there': somebody has made a log, events or requests since.
-- Nothing changed then.
-- On a crash: all or nothing. Repeating it changes nothing more.

local is = redis.call('GET', KEYS[1])
if is == ARGV[2] then
  return 'whole'
end
if is ~= ARGV[1] then
  return 'taken'
end
if redis.call('EXISTS', KEYS[2], KEYS[3], KEYS[4]) > 0 then
  return 'there'
end
redis.call('XGROUP', 'CREATE', KEYS[4], ARGV[3], '0', 'MKSTREAM')
redis.call('RENAME', KEYS[5], KEYS[2])
redis.call('RENAME', KEYS[6], KEYS[3])
redis.call('SET', KEYS[1], ARGV[2])
return 'whole'
