-- recall_event: an event that was forgotten is there again, as it was: all its orders are (recall_orders).
--
-- KEYS[1] log   KEYS[2] events   KEYS[3] places   KEYS[4] forgetting
-- ARGV[1] the branch that the partition must have   ARGV[2] event_id   ARGV[3] what its terms must be: that it is forgotten, since when
-- ARGV[4] what must be noted in forgetting, if anything is: that its orders come   ARGV[5] what the fact says
-- ARGV[6] F, how many fields of the event follow: name, value; then those of places likewise
-- Reply: the id of the entry that says so; 'stale' if branch or terms are others; 'going' if its orders are still being forgotten. Nothing changes then.
-- On a crash: all or nothing. A full memory refuses it.

local KEYS, ARGV = KEYS, ARGV
local is = redis.call('HMGET', KEYS[2], ARGV[2], '#now', '#branch')
if (is[3] or '') ~= ARGV[1] or is[1] ~= ARGV[3] then
  return 'stale'
end
local noted = redis.call('HGET', KEYS[4], ARGV[2])
if noted and noted ~= ARGV[4] then
  return 'going'
end
redis.call('XLEN', KEYS[1])
redis.call('HLEN', KEYS[3])
local now = int(time_of(is[2]))

local id
append(KEYS[1], now, 'event_recalled', { ARGV[5] }, function(entry) id = entry end)
local last = 6 + 2 * tonumber(ARGV[6])
for first = 7, last, 1000 do
  redis.call('HSET', KEYS[2], unpack(ARGV, first, math.min(first + 999, last)))
end
for first = last + 1, #ARGV, 1000 do
  redis.call('HSET', KEYS[3], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
redis.call('HSET', KEYS[2], '#now', now)
redis.call('HDEL', KEYS[4], ARGV[2])
return id
