-- settle_owed: says what became of an order that take_owed gave out: its money has moved, it is to be tried again, or a
-- person must look. If its note is not any more what it was then, nothing changes: there is another fact
-- to be settled, or somebody else is at it.
--
-- KEYS[1] owed   KEYS[2] owed_notes   KEYS[3] dead
-- ARGV[1] group   ARGV[2] event_id/order_id   ARGV[3] its note as it was given out   ARGV[4] 'settled'; or 'dead'; or
-- in how many milliseconds it is due again   ARGV[5] unless it is settled, its new note
-- Reply: 1 if it was so. On a crash: all or nothing. Works when memory is full.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

redis.call('XLEN', KEYS[3])
if redis.call('HGET', KEYS[2], ARGV[2]) ~= ARGV[3] or not redis.call('ZSCORE', KEYS[1], ARGV[2]) then
  return 0
end
-- A write that a full memory does not refuse, and that changes nothing: after it none is refused.
redis.call('ZREM', KEYS[1], '')
if ARGV[4] == 'dead' then
  redis.call('XADD', KEYS[3], '*', unpack(owed_letter(ARGV[1], ARGV[2], ARGV[5], string.format('%.0f', now))))
elseif ARGV[4] ~= 'settled' then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[4])), ARGV[2])
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[5])
  return 1
end
redis.call('ZREM', KEYS[1], ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[2])
return 1
