-- leave: removes a consumer from its group, if nothing is pending for it.
-- XGROUP DELCONSUMER would drop what is pending for good, hence the check in the same step.
--
-- KEYS[1] stream   KEYS[2] consumers   ARGV[1] group   ARGV[2] consumer
-- ARGV[3] '1' if the consumer itself asks, '0' if another does: then only one that is not alive
-- Reply: 1 removed, 0 not. One that asks itself does not count as alive any more in either case: with
-- something pending (handed back, and not reclaimed yet) it stays known as one that was alive until
-- now, so that it is forgotten as soon as others have taken that.

local name = ARGV[1] .. '/' .. ARGV[2]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
redis.call('ZCARD', KEYS[2]) -- a wrong type shows before anything has changed
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then
  if ARGV[3] == '1' then
    -- A write that a full memory does not refuse, and that changes nothing: after it none is refused.
    redis.call('ZREM', KEYS[2], '')
    redis.call('ZADD', KEYS[2], string.format('%.0f', now), name)
  end
  return 0
end
if ARGV[3] ~= '1' then
  local alive_until = redis.call('ZSCORE', KEYS[2], name)
  if alive_until and tonumber(alive_until) > now then
    return 0
  end
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZREM', KEYS[2], name)
return 1
