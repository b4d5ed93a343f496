-- close_event: ends an event's sale for good. Orders that are held can still be paid.
--
-- KEYS[1] event   KEYS[2] log   ARGV[1] event_id
-- Reply: 1 closed, 0 it was closed already, -1 there is no such event.

local now = redis.call('HMGET', KEYS[1], 'closed', 'version')
if not now[2] then
  return -1
end
if now[1] == '1' then
  return 0
end
redis.call('XADD', KEYS[2], '*', 'closed', ARGV[1])
redis.call('HSET', KEYS[1], 'closed', '1', 'version', string.format('%.0f', tonumber(now[2]) + 1))
return 1
