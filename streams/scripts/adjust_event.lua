-- adjust_event: gives an event new terms. Sections are resized or added, none is removed.
--
-- KEYS[1] events   KEYS[2] log   KEYS[3] places
-- ARGV[1] event_id   ARGV[2] the branch that the partition must have   ARGV[3] the version that its terms must have
-- ARGV[4] what the fact says   ARGV[5] the new terms   ARGV[6] what people read of it
-- then, for each section, all of them: its field, price, capacity; and of a seated one its tag ('' for a counted one), and, where it
-- is new, how many of its seats are free, and its places ('' for one that is there: its seats stay as they are)
-- Reply: 'ok'; 'stale' if partition or event have another branch or version (read it again); or, if a capacity is
-- below what is held and sold now: the section's field, held, sold. Nothing changes then.
-- On a crash: all or nothing. A full memory refuses it.

local fields = { '#now', ARGV[1], '#branch' }
local WIDTH = 6
for i = 7, #ARGV, WIDTH do
  fields[#fields + 1] = ARGV[i]
end
local values = redis.call('HMGET', KEYS[1], unpack(fields))
if (values[3] or '') ~= ARGV[2] or string.match(values[2] or '', '^%d+') ~= ARGV[3] then
  return { 'stale' }
end
redis.call('XLEN', KEYS[2])
redis.call('HLEN', KEYS[3])
local now = time_of(values[1])
local changes, places = { '#now', int(now), ARGV[1], ARGV[5], ARGV[1] .. '#about', ARGV[6] }, {}
for i = 7, #ARGV, WIDTH do
  local value, tag = values[4 + (i - 7) / WIDTH], ARGV[i + 3]
  local free, held, sold = string.match(value or '0|0|0|0|0', '^%d+|%d+|(%d+)|(%d+)|(%d+)')
  held, sold = tonumber(held), tonumber(sold)
  local left = tonumber(ARGV[i + 2]) - held - sold
  if left < 0 then
    return { 'below', ARGV[i], int(held), int(sold) }
  end
  if tag ~= '' then
    left = tonumber(value and free or ARGV[i + 4])
    tag = '|' .. tag
    if not value then
      local n = #places
      places[n + 1], places[n + 2] = ARGV[i], ARGV[i + 5]
    end
  end
  local n = #changes
  changes[n + 1], changes[n + 2] = ARGV[i], ARGV[i + 1] .. '|' .. ARGV[i + 2] .. '|' .. int(left) .. '|' .. int(held) .. '|' .. int(sold) .. tag
end
append(KEYS[2], int(now), 'adjusted', { ARGV[4] }, function() end)
redis.call('HSET', KEYS[1], unpack(changes))
if #places > 0 then
  redis.call('HSET', KEYS[3], unpack(places))
end
return { 'ok' }
