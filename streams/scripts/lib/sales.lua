-- Shared by post and reverse: the sales of a partition's events.
--
-- KEYS[1] log   KEYS[2] sales_summary   then, for each event, one: its sales set   then, for each item, one: order record
-- ARGV[1] group   ARGV[2] E, number of events   ARGV[3] N, number of items   then E event ids, then for
-- each event how many of the items are its own; the items come event by event.
-- Then N entry ids, N order ids, N quantities, N amounts (minor units).
-- Reply: how many items changed the sales. An error, and nothing is changed, if the revenue of an
-- event would go below 0 or past 2^63-1.
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

-- Revenue may be more than 2^53, up to which doubles are exact. So it is counted in two parts,
-- of which the lower has LOW_DIGITS digits: what a batch adds to either is far from 2^53.
local LOW_DIGITS = 12
local LOW = 10 ^ LOW_DIGITS

local function parts(digits)
  return tonumber(string.sub(digits, 1, -LOW_DIGITS - 1)) or 0, tonumber(string.sub(digits, -LOW_DIGITS))
end

local function revenue_of(event, high, low)
  local rest = low % LOW -- also where low is below 0, from 0 to LOW - 1
  high = high + (low - rest) / LOW
  if high < 0 or high > 9223372 or high == 9223372 and rest > 36854775807 then
    error('revenue of ' .. event .. ' would go below 0 or past 9223372036854775807')
  end
  return high == 0 and int(rest) or string.format('%.0f%012.0f', high, rest)
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
    if not revenue then
      error('totals of ' .. ARGV[EVENTS + e] .. ' are damaged: ' .. totals[e])
    end
    orders, tickets = tonumber(orders), tonumber(tickets)
    local high, low = parts(revenue)
    local members, seen = {}, {}
    for i = first, last do
      local order_id = ARGV[ORDERS + i]
      if not seen[order_id] and wanted(i, posted[i - first + 1] == 1) then
        seen[order_id] = true
        members[#members + 1] = order_id
        orders = orders + sign
        tickets = tickets + sign * tonumber(ARGV[QUANTITIES + i])
        local more_high, more_low = parts(ARGV[AMOUNTS + i])
        high, low = high + sign * more_high, low + sign * more_low
        changed = changed + 1
      end
    end
    if #members > 0 then
      changes[KEYS[2 + e]] = members
      new_totals[#new_totals + 1] = ARGV[EVENTS + e]
      new_totals[#new_totals + 1] = int(orders) .. ',' .. int(tickets) .. ',' .. revenue_of(ARGV[EVENTS + e], high, low)
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
