-- create_event: lists an event, once.
--
-- KEYS[1] events   KEYS[2] log
-- ARGV[1] event_id   ARGV[2] what the fact says   then, for each field of the event: name, value
-- Reply: 1 listed, 0 there is an event of that name, -1 there is no log, so no namespace (nothing changes then).
-- On a crash: all or nothing. A full memory refuses it.

local is = redis.call('HMGET', KEYS[1], ARGV[1], '#now')
if is[1] then
  return 0
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  return -1
end
redis.call('XLEN', KEYS[2])
local now = time_of(is[2])
append(KEYS[2], int(now), 'listed', { ARGV[2] }, function() end)
redis.call('HSET', KEYS[1], '#now', int(now), unpack(ARGV, 3))
return 1
