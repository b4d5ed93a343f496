-- due: which holds have passed their deadline, by Redis's clock.
--
-- KEYS[1] holds   ARGV[1] at most how many
-- Reply: now (milliseconds), then event_id/order_id of each, the longest overdue first. Changes nothing.

local clock = redis.call('TIME')
local now = string.format('%.0f', tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000))
return { now, unpack(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) }
