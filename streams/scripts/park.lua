-- park: takes requests of an event that is paused out of the line, whole, and acknowledges them.
--
-- KEYS[1] requests   KEYS[2] the event's parked requests   KEYS[3] parked
-- ARGV[1] group   ARGV[2] event_id   ARGV[3] how many may be parked   then the ids of their entries
-- Parked requests stand in the order in which they were published first: scored by the milliseconds of that entry's id, members
-- that begin with its sequence in 20 digits; behind it netstrings (length ':' bytes ','): that id, and the fields. parked
-- tells how many there are of each event.
-- Reply: of the entries that are pending, those that cannot be parked: there is no room, the payload is gone, or it is one that
-- could not be published again. One that is not pending any more was settled by somebody else and is left alone.
-- On a crash: all or nothing. Repeating it changes nothing more. Works when memory is full.

local MOST_VALUES = 998 -- of an entry: Lua's stack bears no number of them, and two are added

local room = tonumber(ARGV[3]) - redis.call('ZCARD', KEYS[2])
redis.call('HLEN', KEYS[3])
local left, ids, parked = {}, {}, {}
for i = 4, #ARGV do
  local id = ARGV[i]
  if #redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1) > 0 then
    local found = redis.call('XRANGE', KEYS[1], id, id)[1]
    local fields = found and found[2] or {}
    if #fields == 0 or #fields > MOST_VALUES or #ids >= room then
      left[#left + 1] = id
    else
      local first = id
      for j = 1, #fields, 2 do
        if fields[j] == 'parked_from' and string.find(fields[j + 1], '^%d+%-%d+$') then
          first = fields[j + 1]
        end
      end
      local values = { #first .. ':' .. first .. ',' }
      for j, value in ipairs(fields) do
        values[1 + j] = #value .. ':' .. value .. ','
      end
      local millis, seq = string.match(first, '^(%d+)%-(%d+)$')
      ids[#ids + 1] = id
      parked[#parked + 1] = { millis, string.rep('0', 20 - #seq) .. seq .. table.concat(values) }
    end
  end
end
if #ids > 0 then
  redis.call('XACK', KEYS[1], ARGV[1], unpack(ids)) -- a write that a full memory does not refuse; after it none is
  for _, p in ipairs(parked) do
    redis.call('ZADD', KEYS[2], p[1], p[2])
  end
  redis.call('HSET', KEYS[3], ARGV[2], redis.call('ZCARD', KEYS[2]))
end
return left
