-- adjust_event: gives an event new terms. Sections are resized or added, none is removed.
--
-- KEYS[1] events   KEYS[2] log
-- ARGV[1] event_id   ARGV[2] the branch that the partition must have   ARGV[3] the version that its terms must have
-- ARGV[4] what the fact says   ARGV[5] the new terms   ARGV[6] what people read of it
-- then, for each section, all of them: its field, price, capacity
-- Reply: 'ok'; 'stale' if partition or event have another branch or version (read it again); or, if a capacity is
-- below what is held and sold now: the section's field, held, sold. Nothing changes then.
-- On a crash: all or nothing. A full memory refuses it.

local fields = { '#now', ARGV[1], '#branch' }
for i = 7, #ARGV, 3 do
  fields[#fields + 1] = ARGV[i]
end
local values = redis.call('HMGET', KEYS[1], unpack(fields))
if (values[3] or '') ~= ARGV[2] or string.match(values[2] or '', '^%d+') ~= ARGV[3] then
  return { 'stale' }
end
redis.call('XLEN', KEYS[2])
local now = time_of(values[1])
local changes = { '#now', int(now), ARGV[1], ARGV[5], ARGV[1] .. '#about', ARGV[6] }
for i = 7, #ARGV, 3 do
  local held, sold = string.match(values[4 + (i - 7) / 3] or '0|0|0|0|0', '^%d+|%d+|%d+|(%d+)|(%d+)$')
  held, sold = tonumber(held), tonumber(sold)
  local left = tonumber(ARGV[i + 2]) - held - sold
  if left < 0 then
    return { 'below', ARGV[i], int(held), int(sold) }
  end
  local n = #changes
  changes[n + 1], changes[n + 2] = ARGV[i], ARGV[i + 1] .. '|' .. ARGV[i + 2] .. '|' .. int(left) .. '|' .. int(held) .. '|' .. int(sold)
end
append(KEYS[2], int(now), 'adjusted', { ARGV[4] }, function() end)
redis.call('HSET', KEYS[1], unpack(changes))
return { 'ok' }
