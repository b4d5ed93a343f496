-- forget_event: says of an event that is over that it is forgotten: from then on nothing of it is there but that, and its orders, until those are forgotten
-- (forget_orders), which nothing changes any more.
--
-- KEYS[1] log   KEYS[2] events   KEYS[3] places   KEYS[4] forgetting   KEYS[5] turned_away
-- ARGV[1] the branch that the partition must have   ARGV[2] event_id   ARGV[3] the version that its terms must have
-- ARGV[4] id of the newest log entry that was looked at for what it says of the event
-- ARGV[5] what is to be noted in forgetting: where its orders are   ARGV[6] F, how many fields of events follow that go beside the terms; they; then
--   P, how many of places; they; and those of turned_away
-- Reply: the id of the entry that says so; 'stale' if branch or version are others, or it is not closed; 'behind' if more than
-- MOST entries came behind the one that was looked at, or one of them is about the event, or if that one is not there: look again. Nothing changes then.
-- On a crash: all or nothing. Works when memory is full.

local MOST = 64

local KEYS, ARGV = KEYS, ARGV
local event = ARGV[2]
local is = redis.call('HMGET', KEYS[2], event, '#now', '#branch')
local version, state = string.match(is[1] or '', '^(%d+)|(%a)|')
if (is[3] or '') ~= ARGV[1] or version ~= ARGV[3] or state ~= 'c' and state ~= 'x' then
  return 'stale'
end
local since = redis.call('XRANGE', KEYS[1], ARGV[4], '+', 'COUNT', MOST + 2)
if #since == 0 or #since == MOST + 2 or since[1][1] ~= ARGV[4] then
  return 'behind'
end
for n = 2, #since do
  local lines = '\n' .. since[n][2][2]
  if string.find(lines, '\n' .. event .. '/', 1, true) or string.find(lines, '\n' .. event .. '|', 1, true) or string.find(lines .. '\n', '\n' .. event .. '\n', 1, true) then
    return 'behind'
  end
end
redis.call('HLEN', KEYS[3])
redis.call('HLEN', KEYS[4])
redis.call('HLEN', KEYS[5])
local now = int(time_of(is[2]))

-- The first write is one that a full memory does not refuse; after it none is.
local at = 6
for _, key in ipairs({ KEYS[2], KEYS[3] }) do
  local last = at + tonumber(ARGV[at])
  for first = at + 1, last, 1000 do
    redis.call('HDEL', key, unpack(ARGV, first, math.min(first + 999, last)))
  end
  at = last + 1
end
for first = at, #ARGV, 1000 do
  redis.call('HDEL', KEYS[5], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
local id
append(KEYS[1], now, 'event_forgotten', { event }, function(entry) id = entry end)
redis.call('HSET', KEYS[2], '#now', now, event, int(tonumber(ARGV[3]) + 1) .. '|f|' .. id)
redis.call('HSET', KEYS[4], event, ARGV[5])
return id
