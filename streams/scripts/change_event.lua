-- change_event: closes, cancels or reopens an event, as was decided, if its terms are still as they were read.
--
-- KEYS[1] events   KEYS[2] log
-- ARGV[1] event_id   ARGV[2] the branch that the partition must have   ARGV[3] the version that its terms must have
-- ARGV[4] fact   ARGV[5] what it says   ARGV[6] the new terms   ARGV[7] what people read of it
-- Reply: 1 done, 0 partition or event have another branch or version: read it again.
-- On a crash: all or nothing. Works when memory is full.

local is = redis.call('HMGET', KEYS[1], ARGV[1], '#now', '#branch')
if (is[3] or '') ~= ARGV[2] or string.match(is[1] or '', '^%d+') ~= ARGV[3] then
  return 0
end
redis.call('XLEN', KEYS[2])
local now = time_of(is[2])
redis.call('HDEL', KEYS[1], '') -- a write that is never refused, of a field that is never there: after it none is
append(KEYS[2], int(now), ARGV[4], { ARGV[5] }, function() end)
redis.call('HSET', KEYS[1], '#now', int(now), ARGV[1], ARGV[6], ARGV[1] .. '#about', ARGV[7])
return 1
