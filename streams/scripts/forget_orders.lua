-- forget_orders: drops orders of an event that was forgotten, or how many places its customers had; and then notes that there are none any more.
--
-- KEYS[1] events   KEYS[2] forgetting   KEYS[3] the hash that they are in (events, if nothing is dropped)
-- ARGV[1] the branch that the partition must have   ARGV[2] event_id   ARGV[3] what must be noted of it in forgetting
-- ARGV[4] 1 if that goes: there are none any more   ARGV[5…] fields of the hash
-- Reply: how many were dropped; -1 if the branch is another one, or the event is not forgotten, or if that is not noted any more. Nothing changes then.
-- On a crash: all or nothing. Repeating it changes nothing more. Works when memory is full.

local is = redis.call('HMGET', KEYS[1], '#branch', ARGV[2])
if (is[1] or '') ~= ARGV[1] or not string.match(is[2] or '', '^%d+|f|') or redis.call('HGET', KEYS[2], ARGV[2]) ~= ARGV[3] then
  return -1
end
local dropped = #ARGV > 4 and redis.call('HDEL', KEYS[3], unpack(ARGV, 5)) or 0
if ARGV[4] == '1' then
  redis.call('HDEL', KEYS[2], ARGV[2])
end
return dropped
