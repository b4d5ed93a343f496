-- unpark: puts parked requests of an event back in line, in their order: the first ones of those that are left.
--
-- KEYS[1] requests   KEYS[2] the event's parked requests, as park.lua has them   KEYS[3] parked   ARGV[1] event_id   ARGV[2] how many at most
-- Each is a new entry, with a field parked_from: the id of the one that it came in first.
-- What cannot be read of them is removed: nobody can tell whose it was.
-- Reply: how many were put back, how many are left, and of each that could not be read when it was published (milliseconds); -1, and nothing changed,
-- if there is no stream of requests.
-- On a crash: all or nothing. If a write fails half way, no request is lost: they are removed after their entries are there. A full memory refuses it,
-- whole.

local found = redis.call('ZRANGE', KEYS[2], 0, tonumber(ARGV[2]) - 1)
local left = redis.call('ZCARD', KEYS[2]) - #found
redis.call('HLEN', KEYS[3])
if redis.call('EXISTS', KEYS[1]) == 0 then
  return { -1, 0 }
end
-- All are read before the first is put back: what stops the script half way has them come twice.
local entries, damaged = {}, {}
for _, member in ipairs(found) do
  local values, at, first = {}, 21, nil
  local parked_before, readable = false, true
  while readable and at <= #member do
    local _, colon, length = string.find(member, '^(%d+):', at)
    local behind = colon and colon + tonumber(length) + 1
    if not behind or string.sub(member, behind, behind) ~= ',' then
      readable = false
    else
      local value = string.sub(member, colon + 1, behind - 1)
      at = behind + 1
      if first then
        values[#values + 1] = value
        parked_before = parked_before or #values % 2 == 1 and value == 'parked_from'
      else
        first = value
      end
    end
  end
  if readable and #values > 0 and #values % 2 == 0 then
    if not parked_before then
      values[#values + 1] = 'parked_from'
      values[#values + 1] = first
    end
    entries[#entries + 1] = values
  else
    damaged[#damaged + 1] = redis.call('ZSCORE', KEYS[2], member)
  end
end
for _, values in ipairs(entries) do
  redis.call('XADD', KEYS[1], '*', unpack(values))
end
if #found > 0 then
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, #found - 1)
end
if left > 0 then
  redis.call('HSET', KEYS[3], ARGV[1], left)
else
  redis.call('HDEL', KEYS[3], ARGV[1])
end
return { #entries, left, unpack(damaged) }
