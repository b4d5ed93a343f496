-- newest: where the log ends, and whether it still has an entry that was in it.
--
-- KEYS[1] log   ARGV[1] id of an entry that was there; '' to ask about none
-- Reply: id of the newest entry ('' if there is none), 1 if the other is there, else 0. Changes nothing.

local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local there = ARGV[1] == '' or #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) > 0
return { newest[1] and newest[1][1] or '', there and 1 or 0 }
