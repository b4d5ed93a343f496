-- move: makes changes of orders that were decided already, if every order is still as it was read and
-- every time is right; if not, it changes nothing and says which.
--
-- KEYS, ARGV: see lib/orders.lua. ARGV goes on with
--   V, S, C, K, N: how many follow of
--   events:   event_id, the version that its terms must have ('' for one that must not be there)
--   sections: event_id/name, places to add to available, to held, to sold
--   sales:    event_id, orders, tickets and revenue (minor units) to add
--   kinds:    fact ('' for none: the order must only be as it was read), how many of the orders are of it, and
--             'from' or 'before' if the time must be so, by the orders' limits
--   orders:   number of the hash of its order, event_id/order_id, version ('' for one never heard of), entry_id
--             to acknowledge ('' for none), limit (milliseconds), event_id/customer_id of a hold that ends ('' for
--             none), what the fact says behind the order, what the record says behind its version
-- The orders stand kind by kind; each is another one.
-- Reply: now (milliseconds), then the id of each entry that was added, as lib/log.lua shares lines out.
--   Or now, 'stale', then for each order that is not as expected: its position, its record ('' if there is none).
--   Or now, 'terms': an event has other terms. Nothing changed.
-- An error, and nothing changed, if places or totals would fall below zero, or revenue past 2^63-1.
-- On a crash: all or nothing. Repeating it changes nothing more. Works when memory is full.

local V, S, C, K, N = tonumber(ARGV[FIRST]), tonumber(ARGV[FIRST + 1]), tonumber(ARGV[FIRST + 2]), tonumber(ARGV[FIRST + 3]), tonumber(ARGV[FIRST + 4])
local EVENTS = FIRST + 5
local SECTIONS = EVENTS + 2 * V
local SALES = SECTIONS + 4 * S
local KINDS = SALES + 4 * C
local ORDERS = KINDS + 3 * K
local WIDTH = 8

local hashes, members = {}, {}
local at = ORDERS
for i = 1, N do
  hashes[i], members[i] = ARGV[at], ARGV[at + 1]
  at = at + WIDTH
end
local records = read_orders(hashes, members)
redis.call('HLEN', KEYS[5])

local fields = { '#now' }
for v = 1, V do
  fields[1 + v] = ARGV[EVENTS + 2 * (v - 1)]
end
for s = 1, S do
  fields[1 + V + s] = ARGV[SECTIONS + 4 * (s - 1)]
end
for c = 1, C do
  fields[1 + V + S + c] = ARGV[SALES + 4 * (c - 1)] .. '#sales'
end
local values = redis.call('HMGET', KEYS[4], unpack(fields))
local now = time_of(values[1])

for v = 1, V do
  local version = values[1 + v] and match(values[1 + v], '^%d+') or ''
  if version ~= ARGV[EVENTS + 2 * v - 1] then
    return { int(now), 'terms' }
  end
end

local stale, i = { int(now), 'stale' }, 0
at = ORDERS
for k = 1, K do
  local bound = ARGV[KINDS + 3 * k - 1]
  for _ = 1, tonumber(ARGV[KINDS + 3 * k - 2]) do
    i = i + 1
    local version, record = ARGV[at + 2], records[i] or ''
    local is = version == '' and record == '' or version ~= '' and string.sub(record, 1, #version + 1) == version .. '|'
    if not is or bound == 'from' and now < tonumber(ARGV[at + 4]) or bound == 'before' and now >= tonumber(ARGV[at + 4]) then
      local n = #stale
      stale[n + 1], stale[n + 2] = i, record
    end
    at = at + WIDTH
  end
end
if #stale > 2 then
  return stale
end

local changes = { '#now', int(now) }
for s = 1, S do
  local value, by = values[1 + V + s], SECTIONS + 4 * (s - 1)
  local section, available, held, sold = {}, nil, nil, nil
  section.price, section.capacity, available, held, sold = match(value or '', SECTION)
  if not sold then
    error('section ' .. ARGV[by] .. ' is gone or damaged: ' .. (value or ''))
  end
  section.available, section.held, section.sold = tonumber(available) + tonumber(ARGV[by + 1]), tonumber(held) + tonumber(ARGV[by + 2]), tonumber(sold) + tonumber(ARGV[by + 3])
  if section.available < 0 or section.held < 0 or section.sold < 0 then
    error('inventory of ' .. ARGV[by] .. ' would fall below zero')
  end
  local n = #changes
  changes[n + 1], changes[n + 2] = ARGV[by], section_value(section)
end
for c = 1, C do
  local value, by = values[1 + V + S + c], SALES + 4 * (c - 1)
  local orders, tickets, revenue = match(value or '', '^(%d+)|(%d+)|(%d+)$')
  if not revenue then
    error('sales of ' .. ARGV[by] .. ' are gone or damaged: ' .. (value or ''))
  end
  orders, tickets = tonumber(orders) + tonumber(ARGV[by + 1]), tonumber(tickets) + tonumber(ARGV[by + 2])
  if orders < 0 or tickets < 0 then
    error('sales of ' .. ARGV[by] .. ' would fall below zero')
  end
  local n = #changes
  changes[n + 1], changes[n + 2] = fields[1 + V + S + c], int(orders) .. '|' .. int(tickets) .. '|' .. sum(revenue, ARGV[by + 3])
end

-- The first write is one that a full memory does not refuse; after it none is.
local ended, freed, acks, notices, written, ids = {}, { '' }, {}, {}, {}, { int(now) }
at = ORDERS
for n = 1, N do
  if ARGV[at + 5] ~= '' then
    ended[#ended + 1], freed[#freed + 1] = members[n], ARGV[at + 5]
  end
  if ARGV[at + 3] ~= '' then
    acks[#acks + 1] = ARGV[at + 3]
  end
  at = at + WIDTH
end
redis.call('HDEL', KEYS[5], unpack(freed))
if #ended > 0 then
  redis.call('ZREM', KEYS[3], unpack(ended))
end
i, at = 0, ORDERS
for k = 1, K do
  local fact, count, lines = ARGV[KINDS + 3 * (k - 1)], tonumber(ARGV[KINDS + 3 * k - 2]), {}
  if fact ~= '' then
    for n = 1, count do
      lines[n] = members[i + n] .. ARGV[at + 6 + WIDTH * (n - 1)]
      notices[#notices + 1] = members[i + n]
    end
    append(KEYS[2], now, fact, lines, function(id, first, last)
      ids[#ids + 1] = id
      for n = first, last do
        written[i + n] = id .. '|' .. ARGV[at + 7 + WIDTH * (n - 1)]
      end
    end)
  end
  i, at = i + count, at + WIDTH * count
end
if #ids > 1 then
  write_orders(hashes, members, written)
  redis.call('HSET', KEYS[4], unpack(changes))
end
if #acks > 0 then
  redis.call('XACK', KEYS[1], ARGV[1], unpack(acks))
end
notify(notices)
return ids
