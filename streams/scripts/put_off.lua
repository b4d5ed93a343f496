-- put_off: says when orders are due next that are on a list still.
--
-- KEYS[1] the list   ARGV: event_id/order_id and when (milliseconds), of each
-- Reply: how many are on it. On a crash: all or nothing. Works when memory is full.

-- A write that a full memory does not refuse, and that changes nothing: after it none is refused.
redis.call('ZREM', KEYS[1], '')
local on = 0
for i = 1, #ARGV, 2 do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], ARGV[i + 1], ARGV[i])
    on = on + 1
  end
end
return on
