-- change_event: closes, cancels or reopens an event, as was decided, if its terms are still as they were read.
--
-- KEYS[1] events   KEYS[2] log
-- ARGV[1] event_id   ARGV[2] the version that its terms must have   ARGV[3] fact   ARGV[4] what it says
-- ARGV[5] the new terms   ARGV[6] what people read of it
-- Reply: 1 done, 0 the event has another version: read it again.
-- On a crash: all or nothing. Works when memory is full.

local is = redis.call('HMGET', KEYS[1], ARGV[1], '#now')
if string.match(is[1] or '', '^%d+') ~= ARGV[2] then
  return 0
end
redis.call('XLEN', KEYS[2])
local now = time_of(is[2])
redis.call('HDEL', KEYS[1], '') -- a write that is never refused, of a field that is never there: after it none is
append(KEYS[2], int(now), ARGV[3], { ARGV[4] }, function() end)
redis.call('HSET', KEYS[1], '#now', int(now), ARGV[1], ARGV[5], ARGV[1] .. '#about', ARGV[6])
return 1
