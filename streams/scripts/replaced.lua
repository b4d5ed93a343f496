-- replaced: keeps for people that the data is other data than before.
--
-- KEYS[1] replaced   ARGV[1] the worker that noticed   ARGV[2] what it noticed
-- The latest counts. Works when memory is full.

local clock = redis.call('TIME')
local now = string.format('%.0f', tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000))
redis.call('HDEL', KEYS[1], '') -- a write that is never refused, of a field that is never there: after it none is
redis.call('HSET', KEYS[1], 'at_ms', now, 'worker', ARGV[1], 'detail', ARGV[2])
return 1
