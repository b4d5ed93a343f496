-- Shared by post and reverse: the sales of a partition's events.
--
-- KEYS[1] log   KEYS[2] sales_summary   then, for each event, one: its sales set   then, for each item, one: order record
-- ARGV[1] group   ARGV[2] E, number of events   ARGV[3] N, number of items   then E event ids, then for
-- each event how many of the items are its own; the items come event by event.
-- Then N entry ids, N order ids, N quantities, N amounts (minor units).
-- Reply: how many items changed the sales.
-- On a crash: all or nothing. Works when memory is full.

local KEYS, ARGV = KEYS, ARGV
local E, N = tonumber(ARGV[2]), tonumber(ARGV[3])
local EVENTS, COUNTS = 3, 3 + E
local ENTRIES = 3 + 2 * E
local ORDERS = ENTRIES + N
local QUANTITIES, AMOUNTS = ORDERS + N, ORDERS + 2 * N

local function int(n)
  return string.format('%.0f', n)
end

-- change_sales(wanted, sign, command): wanted(i, posted) tells whether item i
-- changes the sales; sign is what happens to the totals.
local function change_sales(wanted, sign, command)
  redis.call('XLEN', KEYS[1])
  local totals = redis.call('HMGET', KEYS[2], unpack(ARGV, EVENTS + 1, EVENTS + E))
  local changes, new_totals, changed, first = {}, {}, 0, 1
  for e = 1, E do
    local last = first + tonumber(ARGV[COUNTS + e]) - 1
    local posted = redis.call('SMISMEMBER', KEYS[2 + e], unpack(ARGV, ORDERS + first, ORDERS + last))
    local orders, tickets, revenue = string.match(totals[e] or '0,0,0', '^(%d+),(%d+),(%d+)$')
    orders, tickets, revenue = tonumber(orders), tonumber(tickets), tonumber(revenue)
    local members, seen = {}, {}
    for i = first, last do
      local order_id = ARGV[ORDERS + i]
      if not seen[order_id] and wanted(i, posted[i - first + 1] == 1) then
        seen[order_id] = true
        members[#members + 1] = order_id
        orders = orders + sign
        tickets = tickets + sign * tonumber(ARGV[QUANTITIES + i])
        revenue = revenue + sign * tonumber(ARGV[AMOUNTS + i])
        changed = changed + 1
      end
    end
    if #members > 0 then
      changes[KEYS[2 + e]] = members
      new_totals[#new_totals + 1] = ARGV[EVENTS + e]
      new_totals[#new_totals + 1] = int(orders) .. ',' .. int(tickets) .. ',' .. int(revenue)
    end
    first = last + 1
  end
  -- A write that a full memory does not refuse, and that changes nothing: after
  -- the first write of a script none is refused.
  redis.call('HDEL', KEYS[2], '')
  for e = 1, E do
    local members = changes[KEYS[2 + e]]
    if members then
      redis.call(command, KEYS[2 + e], unpack(members))
    end
  end
  if #new_totals > 0 then
    redis.call('HSET', KEYS[2], unpack(new_totals))
  end
  redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, ENTRIES + 1, ENTRIES + N))
  return changed
end
