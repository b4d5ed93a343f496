-- due: which holds have passed their deadline, by Redis's clock.
--
-- KEYS[1] holds   ARGV[1] at most how many
-- Reply: event_id/order_id, the longest overdue first. Changes nothing.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[1])
