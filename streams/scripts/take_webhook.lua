-- take_webhook: makes a sender the only one of an endpoint in this partition for a while, and gives it messages that are due: of each order the
-- oldest. If nothing is heard of one, it is due again after a while.
--
-- KEYS[1] webhook_marks   KEYS[2] webhook_due   KEYS[3] webhook_queue
-- ARGV[1] id of the endpoint   ARGV[2] the sender   ARGV[3] for how long it is the only one (milliseconds; 0: no longer)   ARGV[4] at most how many
-- messages   ARGV[5] for how long they are in hand (milliseconds)
-- Reply: 0 if somebody else sends; else 1, how many messages wait, in how many milliseconds the next order is due (-1: there is none), and for
-- each message event_id/order_id, how often and since when it is tried ('attempts|millis', in which this try counts), its line.
-- What is damaged is removed, and does not wait any more.
-- On a crash: all or nothing; lost in the reply, they are due again after a while. Works when memory is full.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local function int(n)
  return string.format('%.0f', n)
end

local lease = ARGV[1] .. '#lease'
local is = redis.call('HMGET', KEYS[1], lease, ARGV[1] .. '#waiting')
local till, who = string.match(is[1] or '', '^(%d+)|(.*)$')
if till and tonumber(till) > now and who ~= ARGV[2] then
  return { 0 }
end
redis.call('HLEN', KEYS[3])
local most = tonumber(ARGV[4])
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', int(now), 'LIMIT', 0, most + 1)
local later = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. int(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
local next_one = later and tonumber(later) - now or -1
if #due > most then
  due[#due], next_one = nil, 0
elseif #due > 0 and next_one < 0 then
  next_one = tonumber(ARGV[5])
end
local found = {}
for i, order in ipairs(due) do
  found[i] = redis.call('HGET', KEYS[3], order) or ''
end
-- A write that a full memory does not refuse, and that changes nothing: after it none is refused.
redis.call('ZREM', KEYS[2], '')
redis.call('HSET', KEYS[1], lease, int(now + tonumber(ARGV[3])) .. '|' .. ARGV[2])
local reply, damaged, lost = { 1, tonumber(is[2] or '0'), next_one }, {}, 0
for i, order in ipairs(due) do
  local attempts, first, lines = string.match(found[i], '^(%d+)|(%d+)\n(.+)$')
  if attempts then
    if first == '0' then
      first = int(now)
    end
    local header = int(tonumber(attempts) + 1) .. '|' .. first
    redis.call('HSET', KEYS[3], order, header .. '\n' .. lines)
    redis.call('ZADD', KEYS[2], int(now + tonumber(ARGV[5])), order)
    reply[#reply + 1] = order
    reply[#reply + 1] = header
    reply[#reply + 1] = string.match(lines, '^[^\n]+')
  else
    damaged[#damaged + 1] = order -- nobody can tell what it was for
    lost = lost + select(2, string.gsub(found[i], '\n', '')) -- a line each
  end
end
if #damaged > 0 then
  redis.call('ZREM', KEYS[2], unpack(damaged))
  redis.call('HDEL', KEYS[3], unpack(damaged))
  reply[2] = math.max(reply[2] - lost, 0)
  redis.call('HSET', KEYS[1], ARGV[1] .. '#waiting', int(reply[2]))
end
return reply
