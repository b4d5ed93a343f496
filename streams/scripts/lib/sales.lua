-- Shared by post and reverse: the sales of a partition's events.
--
-- KEYS[1] log   KEYS[2] sales_summary   then, for each event, one: its sales set   then, for each item, one: order record
-- ARGV[1] group   ARGV[2] E, number of events   ARGV[3] N, number of items   then E event ids
-- then, for each item: entry_id, event index (1..E), order_id, quantity, amount (minor units)
-- Reply: how many items changed the sales.
-- On a crash: all or nothing. Works when memory is full.

local E, N = tonumber(ARGV[2]), tonumber(ARGV[3])

local function int(n)
  return string.format('%.0f', n)
end

local sales = {}   -- per event: the set's key, totals, and what is to be added or taken out
local entries = {} -- to acknowledge

local function read_sales()
  redis.call('XLEN', KEYS[1])
  local totals = redis.call('HMGET', KEYS[2], unpack(ARGV, 4, 3 + E))
  for e = 1, E do
    local orders, tickets, revenue = string.match(totals[e] or '0,0,0', '^(%d+),(%d+),(%d+)$')
    sales[e] = { key = KEYS[2 + e], event_id = ARGV[3 + e], posted = {}, asked = {}, changes = {},
      orders = tonumber(orders), tickets = tonumber(tickets), revenue = tonumber(revenue) }
  end
  for i = 1, N do
    local at = 3 + E + (i - 1) * 5
    local event = sales[tonumber(ARGV[at + 2])]
    event.asked[#event.asked + 1] = ARGV[at + 3]
  end
  for e = 1, E do
    local event = sales[e]
    local found = redis.call('SMISMEMBER', event.key, unpack(event.asked))
    for i, order_id in ipairs(event.asked) do
      event.posted[order_id] = found[i] == 1
    end
  end
end

-- change_sales(wanted, sign, command): wanted(i, posted) tells whether item i
-- changes the sales; sign is what happens to the totals.
local function change_sales(wanted, sign, command)
  local changed = 0
  for i = 1, N do
    local at = 3 + E + (i - 1) * 5
    local event, order_id = sales[tonumber(ARGV[at + 2])], ARGV[at + 3]
    entries[i] = ARGV[at + 1]
    if wanted(i, event.posted[order_id]) then
      event.posted[order_id] = sign > 0
      event.changes[#event.changes + 1] = order_id
      event.orders = event.orders + sign
      event.tickets = event.tickets + sign * tonumber(ARGV[at + 4])
      event.revenue = event.revenue + sign * tonumber(ARGV[at + 5])
      changed = changed + 1
    end
  end
  -- A write that a full memory does not refuse, and that changes nothing: after
  -- the first write of a script none is refused.
  redis.call('HDEL', KEYS[2], '')
  local totals = {}
  for e = 1, E do
    local event = sales[e]
    if #event.changes > 0 then
      redis.call(command, event.key, unpack(event.changes))
      totals[#totals + 1] = event.event_id
      totals[#totals + 1] = int(event.orders) .. ',' .. int(event.tickets) .. ',' .. int(event.revenue)
    end
  end
  if #totals > 0 then
    redis.call('HSET', KEYS[2], unpack(totals))
  end
  redis.call('XACK', KEYS[1], ARGV[1], unpack(entries))
  return changed
end
