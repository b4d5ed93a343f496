-- take_owed: gives out orders whose money is owed and due, for a while: if whoever took them says nothing more, they
-- are due again then. And it says that those in hand are still being worked on.
--
-- KEYS[1] owed   KEYS[2] owed_notes
-- ARGV[1] for how long (milliseconds)   ARGV[2] at most how many   then event_id/order_id of those in hand
-- Reply: for each order that is given out event_id/order_id and its note, in which it counts one attempt more.
-- On a crash: all or nothing; lost in the reply, they are due again in a while. Works when memory is full.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local until_then = string.format('%.0f', now + tonumber(ARGV[1]))

redis.call('HLEN', KEYS[2])
local keep = {}
for i = 3, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    keep[ARGV[i]] = true
  end
end
local given = {}
for _, order in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, tonumber(ARGV[2]) + #ARGV - 2)) do
  if not keep[order] and #given < 2 * tonumber(ARGV[2]) then
    -- Of one whose note is damaged the money is owed all the same.
    local attempts, delay, rest = string.match(redis.call('HGET', KEYS[2], order) or '', '^(%d+)|(%d+)(|[^|]*|.*)$')
    given[#given + 1] = order
    given[#given + 1] = string.format('%.0f|%.0f', tonumber(attempts or '0') + 1, tonumber(delay or '0')) .. (rest or '||')
  end
end
if #given == 0 and not next(keep) then
  return given
end
-- A write that a full memory does not refuse, and that changes nothing: after it none is refused.
redis.call('ZREM', KEYS[1], '')
for order in pairs(keep) do
  redis.call('ZADD', KEYS[1], until_then, order)
end
for i = 1, #given, 2 do
  redis.call('HSET', KEYS[2], given[i], given[i + 1])
  redis.call('ZADD', KEYS[1], until_then, given[i])
end
return given
