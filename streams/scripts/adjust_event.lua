-- adjust_event: gives an event new terms. Sections are resized or added, none is removed; seats are moved from one allocation to another,
-- blocked or not any more.
--
-- KEYS[1] events   KEYS[2] log   KEYS[3] places
-- ARGV[1] event_id   ARGV[2] the branch that the partition must have   ARGV[3] the version that its terms must have
-- ARGV[4] what the fact says   ARGV[5] the new terms   ARGV[6] what people read of it
-- ARGV[7] S, ARGV[8] M, how many follow of
--   sections: all of them: field, price, capacity; counted, or seated; how many places more are available, beside what
--             the capacity of a counted one says; what stands behind its numbers; of a new one with seats its places, else ''
--   moves:    field of a section, what seats are, what they are then (a character each), they as 17-19.25
-- and then the access codes, all of them: field, and what it begins with: allocation, state, uses
-- Reply: 'ok'; 'stale' if partition or event have another branch or version (read it again); 'below' if a capacity is
-- below what is held and sold now: the section's field, held, sold; 'taken' if a seat that is moved is not what it was: the
-- section's field, its place. Nothing changes then.
-- On a crash: all or nothing. A full memory refuses it.

local S, M = tonumber(ARGV[7]), tonumber(ARGV[8])
local WIDTH = 7
local MOVES = 9 + WIDTH * S
local CODES = MOVES + 4 * M
local fields = { '#now', ARGV[1], '#branch' }
for i = 9, MOVES - 1, WIDTH do
  fields[#fields + 1] = ARGV[i]
end
for i = CODES, #ARGV, 2 do
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
local seats, moved = M > 0 and use_seats(), {} -- by field, and the fields in their order
for i = MOVES, CODES - 1, 4 do
  local field = ARGV[i]
  if not moved[field] then
    moved[#moved + 1], moved[field] = field, seats.open(redis.call('HGET', KEYS[3], field) or '')
  end
  local wrong = seats.change(moved[field], seats.list_of(ARGV[i + 3]), ARGV[i + 1], ARGV[i + 2])
  if wrong then
    return { 'taken', field, int(wrong) }
  end
end
for _, field in ipairs(moved) do
  local n = #places
  places[n + 1], places[n + 2] = field, seats.places_of(moved[field])
end
for i = 9, MOVES - 1, WIDTH do
  local value = values[4 + (i - 9) / WIDTH]
  local free, held, sold = string.match(value or '0|0|0|0|0', '^%d+|%d+|(%d+)|(%d+)|(%d+)')
  held, sold = tonumber(held), tonumber(sold)
  local left = tonumber(free) + tonumber(ARGV[i + 4])
  if ARGV[i + 3] == 'counted' then
    left = tonumber(ARGV[i + 2]) - held - sold + tonumber(ARGV[i + 4])
  end
  if left < 0 then
    return { 'below', ARGV[i], int(held), int(sold) }
  end
  if not value and ARGV[i + 6] ~= '' then
    local n = #places
    places[n + 1], places[n + 2] = ARGV[i], ARGV[i + 6]
  end
  local n = #changes
  changes[n + 1], changes[n + 2] = ARGV[i], ARGV[i + 1] .. '|' .. ARGV[i + 2] .. '|' .. int(left) .. '|' .. int(held) .. '|' .. int(sold) .. ARGV[i + 5]
end
for i = CODES, #ARGV, 2 do
  local value, n = values[4 + S + (i - CODES) / 2], #changes
  changes[n + 1], changes[n + 2] = ARGV[i], ARGV[i + 1] .. '|' .. string.match(value or '0', '%d+$')
end
append(KEYS[2], int(now), 'adjusted', { ARGV[4] }, function() end)
redis.call('HSET', KEYS[1], unpack(changes))
if #places > 0 then
  redis.call('HSET', KEYS[3], unpack(places))
end
return { 'ok' }
