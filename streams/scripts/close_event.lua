-- close_event: ends an event's sale; or cancels the event, which ends its sale and lets its orders be cancelled.
--
-- KEYS[1] event   KEYS[2] log
-- ARGV[1] '1' to cancel, else '0'   ARGV[2] type of the fact   ARGV[3] what it says
-- ARGV[4] reason   ARGV[5] by whom: for people; either may be empty
-- Reply: 1 done, 0 it was so already, -1 there is no such event.
-- On a crash: all or nothing. Works when memory is full.

local now = redis.call('HMGET', KEYS[1], 'closed', 'cancelled', 'version')
if not now[3] then
  return -1
end
if ARGV[1] == '1' and now[2] == '1' or ARGV[1] == '0' and now[1] == '1' then
  return 0
end
redis.call('XLEN', KEYS[2])
-- A write that a full memory does not refuse, and that changes nothing: after it none is refused.
redis.call('HDEL', KEYS[1], '')
redis.call('XADD', KEYS[2], '*', ARGV[2], ARGV[3])
redis.call('HSET', KEYS[1], 'closed', '1', 'cancelled', ARGV[1], 'closed_reason', ARGV[4], 'closed_by', ARGV[5],
  'version', string.format('%.0f', tonumber(now[3]) + 1))
return 1
