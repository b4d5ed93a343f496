-- adjust_event: gives an event new terms. Sections are resized or added, none is removed.
--
-- KEYS[1] event   KEYS[2] log
-- ARGV[1] event_id   ARGV[2] the version that the caller has read   ARGV[3] the new terms as JSON
-- ARGV[4] name   ARGV[5] max_per_order   ARGV[6] on_sale   ARGV[7] off_sale
-- ARGV[8] number of sections, then for each: name, price, capacity. All sections are given.
-- Reply: 'ok'; 'stale' if the event has another version (read it again); or, if a capacity is
-- below what is held and sold now: the section's name, held, sold. Nothing changes then.

if redis.call('HGET', KEYS[1], 'version') ~= ARGV[2] then
  return { 'stale' }
end
redis.call('XLEN', KEYS[2])
local fields = { 'name', ARGV[4], 'max_per_order', ARGV[5], 'on_sale', ARGV[6], 'off_sale', ARGV[7],
  'version', string.format('%.0f', tonumber(ARGV[2]) + 1) }
local names = {}
for i = 1, tonumber(ARGV[8]) do
  local at = 8 + (i - 1) * 3
  local name, capacity = ARGV[at + 1], tonumber(ARGV[at + 3])
  local now = redis.call('HMGET', KEYS[1], 'held:' .. name, 'sold:' .. name)
  local held, sold = tonumber(now[1] or '0'), tonumber(now[2] or '0')
  if capacity < held + sold then
    return { 'below', name, string.format('%.0f', held), string.format('%.0f', sold) }
  end
  names[i] = name
  for _, value in ipairs({ 'price:' .. name, ARGV[at + 2], 'capacity:' .. name, ARGV[at + 3],
    'available:' .. name, string.format('%.0f', capacity - held - sold),
    'held:' .. name, string.format('%.0f', held), 'sold:' .. name, string.format('%.0f', sold) }) do
    fields[#fields + 1] = value
  end
end
fields[#fields + 1] = 'sections'
fields[#fields + 1] = table.concat(names, ',')
redis.call('XADD', KEYS[2], '*', 'adjusted', ARGV[1] .. '|' .. ARGV[3])
redis.call('HSET', KEYS[1], unpack(fields))
return { 'ok' }
