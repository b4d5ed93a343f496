-- owe: takes the orders of a log entry whose money has not moved out of it, onto the list of what is owed, or to the
-- dead letters, and acknowledges the entry.
--
-- KEYS[1] log   KEYS[2] owed   KEYS[3] owed_notes   KEYS[4] dead
-- ARGV[1] group   ARGV[2] id of the entry   then for each order: event_id/order_id, in how many milliseconds it is
-- due ('' for a dead letter), its note: attempts|delay|fact|reason
-- An entry that is not pending any more was dealt with by somebody else and is left alone. An order that is on the list for a
-- newer fact stays there as it is: whoever brings the older one may still be at work with what the order was then, and would
-- take the newer one off the list with it.
-- Reply: 1 if it was acknowledged. On a crash: all or nothing. Works when memory is full.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

redis.call('ZCARD', KEYS[2])
redis.call('HLEN', KEYS[3])
redis.call('XLEN', KEYS[4])
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) == 0 then
  return 0
end
local kept = {} -- orders that are on the list for a newer fact
for i = 3, #ARGV, 3 do
  if redis.call('ZSCORE', KEYS[2], ARGV[i]) then
    kept[ARGV[i]] = newer(redis.call('HGET', KEYS[3], ARGV[i]) or '', ARGV[i + 2])
  end
end
-- A write that a full memory does not refuse, and that changes nothing: after it none is refused.
redis.call('ZREM', KEYS[2], '')
for i = 3, #ARGV, 3 do
  local order, due, note = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if due == '' then
    redis.call('XADD', KEYS[4], '*', unpack(owed_letter(ARGV[1], order, note, string.format('%.0f', now))))
  elseif not kept[order] then
    redis.call('HSET', KEYS[3], order, note)
    redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(due)), order)
  end
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return 1
