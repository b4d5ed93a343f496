-- keep_alive: marks entries as being worked on, and their consumer as alive.
--
-- KEYS[1] stream   KEYS[2] consumers (zset: group/consumer by the time until which it counts as alive)
-- ARGV[1] group   ARGV[2] consumer   ARGV[3] alive for how many milliseconds   then ids
-- Only entries that still are this consumer's are claimed (JUSTID: no delivery is counted), so a
-- worker that was frozen does not take back what others have taken over meanwhile.
-- Reply: the ids that are not this consumer's any more.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
redis.call('ZCARD', KEYS[2])
local kept, lost = {}, {}
if #ARGV > 3 then
  local own = own_entries(KEYS[1], ARGV[1], ARGV[2])
  for i = 4, #ARGV do
    local list = own[ARGV[i]] and kept or lost
    list[#list + 1] = ARGV[i]
  end
  claim(KEYS[1], ARGV[1], ARGV[2], kept, 'JUSTID')
end
-- A write that a full memory does not refuse, and that changes nothing: after it none is refused.
redis.call('ZREM', KEYS[2], '')
redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[3])), ARGV[1] .. '/' .. ARGV[2])
return lost
