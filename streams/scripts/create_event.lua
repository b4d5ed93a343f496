-- create_event: lists an event, once.
--
-- KEYS[1] event   KEYS[2] log   KEYS[3] sales_summary   KEYS[4] in_progress
-- ARGV[1] event_id   ARGV[2] fingerprint of the terms   ARGV[3] the terms as JSON
-- ARGV[4] name   ARGV[5] currency   ARGV[6] max_per_order   ARGV[7] on_sale   ARGV[8] off_sale
-- ARGV[9] number of sections, then for each: name, price, capacity
-- Reply: 1 listed, 0 there is an event of that name, -1 there is no log, so no namespace (nothing changes then).

if redis.call('HEXISTS', KEYS[1], 'version') == 1 then
  return 0
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  return -1
end
redis.call('XLEN', KEYS[2])
redis.call('HLEN', KEYS[3])
redis.call('HLEN', KEYS[4])
local fields = { 'name', ARGV[4], 'currency', ARGV[5], 'max_per_order', ARGV[6], 'on_sale', ARGV[7],
  'off_sale', ARGV[8], 'closed', '0', 'fingerprint', ARGV[2], 'version', '1' }
local names = {}
for i = 1, tonumber(ARGV[9]) do
  local at = 9 + (i - 1) * 3
  local name = ARGV[at + 1]
  names[i] = name
  for _, value in ipairs({ 'price:' .. name, ARGV[at + 2], 'capacity:' .. name, ARGV[at + 3],
    'available:' .. name, ARGV[at + 3], 'held:' .. name, '0', 'sold:' .. name, '0' }) do
    fields[#fields + 1] = value
  end
end
fields[#fields + 1] = 'sections'
fields[#fields + 1] = table.concat(names, ',')
redis.call('XADD', KEYS[2], '*', 'listed', ARGV[1] .. '|' .. ARGV[3])
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('HSETNX', KEYS[3], ARGV[1], '0,0,0')
-- Redis keeps a hash of up to 512 short values as a list and searches it from its start for each
-- field: with hundreds of customers in progress that cost more than the rest of a sale. One value
-- of more than 64 bytes makes it a hash table for good. No customer is called '#'.
redis.call('HSET', KEYS[4], '#', 'customer_id -> order_id of the order in progress; this long line keeps the hash a table')
return 1
