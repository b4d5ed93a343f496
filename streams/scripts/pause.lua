-- pause: notes that workers take no more requests: none at all, or none of an event.
--
-- KEYS[1] pauses   ARGV[1] its field: everything, or event/<event_id>   ARGV[2] fields of a JSON object, without braces: the
-- event, who and why   ARGV[3] for how many milliseconds from now on no hold of it ends; 0: they end as ever
-- A value is {"at":…,"holds_until":…,…}. At most MOST last at a time.
-- Reply: whether it was not paused before, and the value: that of before, if it was, but for a later holds_until. Or 'many'.
-- On a crash: all or nothing. Works when memory is full.

local MOST = 100

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local holds_until = ARGV[3] == '0' and 0 or now + tonumber(ARGV[3])
local lasting = {} -- by field
local n = 0
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 6) ~= 'ended/' then
    lasting[field], n = true, n + 1
  end
end
local at, said = now, ARGV[2]
if lasting[ARGV[1]] then
  local before
  at, before, said = string.match(redis.call('HGET', KEYS[1], ARGV[1]), '^{"at":(%d+),"holds_until":(%d+),(.*)}$')
  at, holds_until = tonumber(at), math.max(tonumber(before), holds_until)
elseif n >= MOST then
  return 'many'
end
local value = string.format('{"at":%.0f,"holds_until":%.0f,%s}', at, holds_until, said)
redis.call('HDEL', KEYS[1], '') -- a write that is never refused, of a field that is never there: after it none is
redis.call('HSET', KEYS[1], ARGV[1], value)
return { lasting[ARGV[1]] and 0 or 1, value }
