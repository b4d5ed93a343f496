-- due: which orders of a list are due: of the holds, those whose deadline has passed.
--
-- KEYS[1] the list, by when they are   KEYS[2] events   ARGV[1] at most how many, 0 to ask for the time alone
-- Reply: now (milliseconds), then event_id/order_id of each, the longest overdue first. Changes nothing.

local now = int(time_of(redis.call('HGET', KEYS[2], '#now')))
return { now, unpack(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) }
