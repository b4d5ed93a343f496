-- resume: ends a pause, and keeps for a while that it was, and who ended it and why.
--
-- KEYS[1] pauses   ARGV[1] its field, as in pause.lua   ARGV[2] fields of a JSON object, without braces: who ends it and why
-- Of those that were ended, the newest KEPT stay, as ended/<when>/<field>.
-- Reply: the value, with "ended" in it; '' if nothing is paused by that name.
-- On a crash: all or nothing. A repeat finds it ended. Works when memory is full.

local KEPT = 100

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then
  return ''
end
local ended = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 6) == 'ended/' then
    ended[#ended + 1] = field -- times have equally many digits, until the year 2286
  end
end
table.sort(ended)
value = string.format('%s,"ended":%.0f,%s}', string.sub(value, 1, -2), now, ARGV[2])
redis.call('HDEL', KEYS[1], '') -- a write that is never refused, of a field that is never there: after it none is
redis.call('HSET', KEYS[1], string.format('ended/%.0f/%s', now, ARGV[1]), value)
redis.call('HDEL', KEYS[1], ARGV[1])
for n = 1, #ended - KEPT + 1 do
  redis.call('HDEL', KEYS[1], ended[n])
end
return value
