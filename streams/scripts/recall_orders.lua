-- recall_orders: brings back orders of an event that was forgotten, as they were, or how many places its customers had. The event itself is there again
-- when all of them are (recall_event); until then nothing changes any of them.
--
-- KEYS[1] log   KEYS[2] events   KEYS[3] forgetting   KEYS[4] the hash that they are in   KEYS[5] the one that the event shares with others: a restore, which cannot
-- know how many the event has for its own, has put there what was back already. From there it comes here, and no fact says so; the same as KEYS[4] where that is all one
-- ARGV[1] the branch that the partition must have   ARGV[2] event_id   ARGV[3] what its terms must be: that it is forgotten, since when
-- ARGV[4] what is noted in forgetting: where its orders are, and that they come   then for each: the field, its value, and what the fact says of it, '' for none
-- Reply: how many were not there yet; 'stale' if branch or terms are others; 'going' if its orders are still being forgotten; 'differs', and the field, if there is
-- another value. Nothing changes then.
-- On a crash: all or nothing. Repeating it changes nothing more. A full memory refuses it.

local KEYS, ARGV = KEYS, ARGV
local is = redis.call('HMGET', KEYS[2], ARGV[2], '#now', '#branch')
if (is[3] or '') ~= ARGV[1] or is[1] ~= ARGV[3] then
  return { 'stale' }
end
local noted = redis.call('HGET', KEYS[3], ARGV[2])
if noted and noted ~= ARGV[4] then
  return { 'going' }
end
local fields = {}
for at = 5, #ARGV, 3 do
  fields[#fields + 1] = ARGV[at]
end
local found = redis.call('HMGET', KEYS[4], unpack(fields))
local restored = KEYS[5] ~= KEYS[4] and redis.call('HMGET', KEYS[5], unpack(fields)) or {}
local values, lines, moved = {}, {}, {}
for n, value in ipairs(found) do
  local at = 2 + 3 * n
  if (value or restored[n] or ARGV[at + 1]) ~= ARGV[at + 1] then
    return { 'differs', fields[n] }
  end
  if not value then
    values[#values + 1], values[#values + 2] = fields[n], ARGV[at + 1]
    if restored[n] then
      moved[#moved + 1] = fields[n]
    elseif ARGV[at + 2] ~= '' then
      lines[#lines + 1] = ARGV[at + 2]
    end
  end
end
if #values == 0 then
  return { 0 }
end
redis.call('XLEN', KEYS[1])
local now = int(time_of(is[2]))

-- The first write is one that a full memory refuses, where anything is added to the log; the places of customers come behind their orders.
append(KEYS[1], now, 'order_recalled', lines, function() end)
redis.call('HSET', KEYS[4], unpack(values))
if #moved > 0 then
  redis.call('HDEL', KEYS[5], unpack(moved))
end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[4])
if #lines > 0 then
  redis.call('HSET', KEYS[2], '#now', now)
end
return { #values / 2 - #moved }
