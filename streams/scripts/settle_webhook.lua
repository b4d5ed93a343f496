-- settle_webhook: says what became of a message that take_webhook gave out: it was taken, or is to be tried again. If the order's messages are
-- not any more as they were then, nothing changes: somebody else is at it.
--
-- KEYS[1] webhook_marks   KEYS[2] webhook_due   KEYS[3] webhook_queue   KEYS[4] webhook_tries
-- ARGV[1] id of the endpoint   ARGV[2] event_id/order_id   ARGV[3] how often and since when it is tried, as it was given out   ARGV[4] its line
-- ARGV[5] 'taken', or in how many milliseconds it is due again   ARGV[6] what is remembered of the try (JSON)   ARGV[7] how many tries are
-- ARGV[8] as what it counts: taken, failed, or '' for not at all
-- Reply: 1 if it was so. On a crash: all or nothing. Works when memory is full.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local waiting = redis.call('HGET', KEYS[3], ARGV[2])
local first = ARGV[3] .. '\n' .. ARGV[4]
if not waiting or string.sub(waiting .. '\n', 1, #first + 1) ~= first .. '\n' then
  return 0
end
redis.call('LLEN', KEYS[4])
redis.call('HGET', KEYS[1], ARGV[1])
-- A write that a full memory does not refuse, and that changes nothing: after it none is refused.
redis.call('ZREM', KEYS[2], '')
if ARGV[5] == 'taken' then
  local rest = string.sub(waiting, #first + 1)
  if rest == '' then
    redis.call('ZREM', KEYS[2], ARGV[2])
    redis.call('HDEL', KEYS[3], ARGV[2])
  else
    redis.call('HSET', KEYS[3], ARGV[2], '0|0' .. rest)
    redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[2])
  end
  redis.call('HINCRBY', KEYS[1], ARGV[1] .. '#waiting', -1)
else
  redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[5])), ARGV[2])
end
if ARGV[8] ~= '' then
  redis.call('HINCRBY', KEYS[1], ARGV[1] .. '#' .. ARGV[8], 1)
end
redis.call('LPUSH', KEYS[4], ARGV[6])
redis.call('LTRIM', KEYS[4], 0, tonumber(ARGV[7]) - 1)
return 1
