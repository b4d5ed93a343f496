-- move: makes changes of orders that were decided already, if every order is still as it was read and
-- every time is right; if not, it changes nothing and says which.
--
-- KEYS, ARGV: see lib/orders.lua; behind the hashes stand awaited and, if seats are moved, places. ARGV goes on with
--   V, S, C, U, G, N: how many follow of; Q, how many values seats are said with; A: how many orders begin or cease to await
--             what their customers do; and K: how many access codes are given back
--   events:   event_id, the version that its terms must have; '' for one that must not be there: an order of it is
--             changed all the same; * for one that may be so or so, but not be forgotten
--   sections: event_id/name, places to add to available (fewer, if an exchange takes some), to held, to sold
--   sales:    event_id, orders, tickets and revenue (minor units) to add
--   customers: number of the hash in which their places are counted, event_id/customer_id, places to take away (below zero, if an
--             exchange adds some), and how many they may have then; 0 for any number
--   seats:    event_id/section, what they must be, what they are then (a character each; the same, if they must only be so), how many
--             lists; they, as 17-19.25
--   codes:    event_id!hash, by how many orders fewer it is used; below zero: more
--   groups:   fact ('' for none: the orders must only be as they were read); 'from' or 'before' if the time must be
--             so, by the orders' limits, or 'anew': before, and their customers must have no order in progress, or 'hold': the same, and then
--             the order is that, and held until its limit; + if the orders begin to be awaited, - if they cease to be; number of the hash of the orders; how many they are
--   orders:   event_id/order_id, version ('' for one never heard of), limit (milliseconds), event_id/customer_id of a
--             hold that ends, or begins ('' for none; # if the order only is not among the holds any more), what the fact says behind the order, what the record says behind its version
--   and the ids of the entries to acknowledge
-- The orders stand group by group, and groups of one fact together; each order is another one.
-- Reply: now (milliseconds), then the id of each entry that was added, as lib/log.lua shares lines out.
--   Or now, 'stale', then for each order that is not as expected: its position, its record ('' if there is none).
--   Or now, 'over', event_id, by which log entry: the event was forgotten. Nothing changed.
--   Or now, 'branch': the partition has another branch; or now, 'terms': an event has other terms; or now, 'taken': places
--   that an order takes are not free, or would be too many, or its customer has another one in progress. Nothing changed.
-- An error, and nothing changed, if places or totals would fall below zero, or revenue past 2^63-1, or if a seat is not
-- what it must be.
-- On a crash: all or nothing. Repeating it changes nothing more. Works when memory is full.

local FIRST_ASKED = 1000 -- after how many milliseconds the gateway is asked what the customer did

local V, S, C, U, G, N = tonumber(ARGV[FIRST]), tonumber(ARGV[FIRST + 1]), tonumber(ARGV[FIRST + 2]), tonumber(ARGV[FIRST + 3]), tonumber(ARGV[FIRST + 4]), tonumber(ARGV[FIRST + 5])
local A, K = tonumber(ARGV[FIRST + 7]), tonumber(ARGV[FIRST + 8])
local EVENTS = FIRST + 9
local SECTIONS = EVENTS + 2 * V
local SALES = SECTIONS + 4 * S
local CUSTOMERS = SALES + 4 * C
local SEATS = CUSTOMERS + 4 * U
local CODES = SEATS + tonumber(ARGV[FIRST + 6])
local GROUPS = CODES + 2 * K
local HEADS = 5
local ORDERS = GROUPS + HEADS * G
local WIDTH = 6
local ACKS = ORDERS + WIDTH * N

local hashes, members, bounds, others = {}, {}, {}, {}
local at, i = ORDERS, 0
for g = 1, G do
  local head = GROUPS + HEADS * (g - 1)
  local bound, hash = ARGV[head + 1], tonumber(ARGV[head + 3])
  others[hash] = other_of(hash)
  for _ = 1, tonumber(ARGV[head + 4]) do
    i = i + 1
    hashes[i], members[i], bounds[i] = hash, ARGV[at], bound
    at = at + WIDTH
  end
end
local records = read_orders(hashes, members, others)
redis.call('XLEN', KEYS[2])
if A > 0 then
  redis.call('ZCARD', KEYS[6 + B])
end

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
for k = 1, K do
  fields[1 + V + S + C + k] = ARGV[CODES + 2 * (k - 1)]
end
fields[#fields + 1] = '#branch'
local values = redis.call('HMGET', KEYS[4], unpack(fields))
local now = time_of(values[1])
local stamp = int(now)
if (values[#fields] or '') ~= BRANCH then
  return { stamp, 'branch' }
end

for v = 1, V do
  local version, wanted = values[1 + v] and match(values[1 + v], '^%d+') or '', ARGV[EVENTS + 2 * v - 1]
  local over = (wanted == '*' or wanted == '') and match(values[1 + v] or '', '^%d+|f|(.*)')
  if over then
    return { stamp, 'over', fields[1 + v], over }
  end
  if wanted ~= '*' and version ~= wanted then
    return { stamp, 'terms' }
  end
end

local stale = { stamp, 'stale' }
at = ORDERS
for n = 1, N do
  local version, record, bound = ARGV[at + 1], records[n] or '', bounds[n]
  local is = version == '' and record == '' or version ~= '' and string.find(record, version .. '|', 1, true) == 1
  if not is or bound == 'from' and now < tonumber(ARGV[at + 2]) or (bound == 'before' or bound == 'anew' or bound == 'hold') and now >= tonumber(ARGV[at + 2]) then
    local last = #stale
    stale[last + 1], stale[last + 2] = n, record
  end
  at = at + WIDTH
end
if #stale > 2 then
  return stale
end

at = ORDERS
for n = 1, N do
  if (bounds[n] == 'anew' or bounds[n] == 'hold') and redis.call('HGET', KEYS[5], ARGV[at + 3]) then
    return { stamp, 'taken' }
  end
  at = at + WIDTH
end

local changes = { '#now', stamp }
local early = {} -- by event that is not there: how many orders there are of it
for v = 1, V do
  if ARGV[EVENTS + 2 * v - 1] == '' then
    early[fields[1 + v]] = tonumber(redis.call('HGET', KEYS[4], fields[1 + v] .. '#early') or '0')
  end
end
for s = 1, S do
  local value, by = values[1 + V + s], SECTIONS + 4 * (s - 1)
  local price, capacity, available, held, sold, tail = match(value or '', SECTION)
  if not sold then
    error('section ' .. ARGV[by] .. ' is gone or damaged: ' .. (value or ''))
  end
  available, held, sold = tonumber(available) + tonumber(ARGV[by + 1]), tonumber(held) + tonumber(ARGV[by + 2]), tonumber(sold) + tonumber(ARGV[by + 3])
  if available < 0 and tonumber(ARGV[by + 1]) < 0 then
    return { stamp, 'taken' }
  end
  if available < 0 or held < 0 or sold < 0 then
    error('inventory of ' .. ARGV[by] .. ' would fall below zero')
  end
  local n = #changes
  changes[n + 1], changes[n + 2] = ARGV[by], section_value(price, capacity, int(available), int(held), int(sold), tail)
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
for k = 1, K do
  local value, by = values[1 + V + S + C + k], CODES + 2 * (k - 1)
  local allocation, state, uses, used = match(value or '', CODE)
  used = used and tonumber(used) - tonumber(ARGV[by + 1])
  if not used or used < 0 then
    error('access code ' .. ARGV[by] .. ' is gone or damaged, or would be used by fewer than no orders: ' .. (value or ''))
  end
  if tonumber(ARGV[by + 1]) < 0 and tonumber(uses) > 0 and used > tonumber(uses) then
    return { stamp, 'taken' }
  end
  local n = #changes
  changes[n + 1], changes[n + 2] = ARGV[by], allocation .. '|' .. state .. '|' .. uses .. '|' .. int(used)
end

-- By the number of their hash: customers who have places left, with how many, and those who have none.
local kept, gone = {}, {}
for u = 1, U do
  local by = CUSTOMERS + 4 * (u - 1)
  local hash, customer = tonumber(ARGV[by]), ARGV[by + 1]
  local left = tonumber(redis.call('HGET', KEYS[5 + hash], customer) or '0') - tonumber(ARGV[by + 2])
  local most = tonumber(ARGV[by + 3])
  if tonumber(ARGV[by + 2]) < 0 and most > 0 and left > most then
    return { stamp, 'taken' }
  end
  if left < 0 then
    error('places of ' .. customer .. ' would fall below zero')
  end
  local lists = left > 0 and kept or gone
  local list = lists[hash] or {}
  list[#list + 1], lists[hash] = customer, list
  if left > 0 then
    list[#list + 1] = int(left)
  end
end

local function is_free(mark)
  return match(mark, '^[.a-z]$')
end

-- Sections of which seats are moved, by field; and what their places are then: fields and values.
local seated, changed_places = {}, {}
if SEATS < CODES then
  local seats, names = use_seats(), {}
  at = SEATS
  while at < CODES do
    local field = ARGV[at]
    if not seated[field] then
      names[#names + 1], seated[field] = field, true
    end
    at = at + 4 + tonumber(ARGV[at + 3])
  end
  local found = redis.call('HMGET', KEYS[7 + B], unpack(names))
  for n = 1, #names do
    if not found[n] then
      error('the places of section ' .. names[n] .. ' are gone')
    end
    seated[names[n]] = seats.open(found[n])
  end
  at = SEATS
  while at < CODES do
    local field, from, to, last = ARGV[at], ARGV[at + 1], ARGV[at + 2], at + 3 + tonumber(ARGV[at + 3])
    for n = at + 4, last do
      local wrong = seats.change(seated[field], seats.list_of(ARGV[n]), from, to)
      if wrong and (is_free(from) or from == to) then
        return { stamp, 'taken' }
      end
      if wrong then
        error('the seat at place ' .. wrong .. ' of section ' .. field .. ' is not ' .. from)
      end
    end
    at = last + 1
  end
  for n = 1, #names do
    changed_places[2 * n - 1], changed_places[2 * n] = names[n], seats.places_of(seated[names[n]])
  end
end

-- The first write is one that a full memory does not refuse, and that changes nothing; after it none is refused. What is taken out of a key is taken
-- out last: one that is emptied is gone, and while its slot moves to another node nothing can be put into it there.
redis.call('HDEL', KEYS[5], '')
local held, progress, answered, notices, written, ids = {}, {}, {}, {}, {}, { stamp }
local g, done = 1, 0
while g <= G and ARGV[GROUPS + HEADS * (g - 1)] ~= '' do
  local fact, lines = ARGV[GROUPS + HEADS * (g - 1)], {}
  repeat
    local head, first = GROUPS + HEADS * (g - 1), done + #lines + 1
    for n = 1, tonumber(ARGV[head + 4]) do
      local at = ORDERS + WIDTH * (done + #lines)
      lines[#lines + 1] = ARGV[at] .. ARGV[at + 4]
    end
    if ARGV[head + 2] == '+' then
      for n = first, done + #lines do
        redis.call('ZADD', KEYS[6 + B], int(now + FIRST_ASKED), members[n])
      end
    elseif ARGV[head + 2] == '-' then
      for n = first, done + #lines do
        answered[#answered + 1] = members[n]
      end
    end
    g = g + 1
  until g > G or ARGV[GROUPS + HEADS * (g - 1)] ~= fact
  if fact == 'lapsed' then -- and is among the holds until its payment cannot be approved any more
    for n = done + 1, done + #lines do
      local at = ORDERS + WIDTH * (n - 1)
      redis.call('ZADD', KEYS[3], int(tonumber(ARGV[at + 2]) + tonumber(match(ARGV[at + 4], '%d+'))), members[n])
      held[n] = true
    end
  elseif fact == 'restored' then
    for n = done + 1, done + #lines do
      local at = ORDERS + WIDTH * (n - 1)
      if bounds[n] == 'hold' then
        redis.call('ZADD', KEYS[3], ARGV[at + 2], members[n])
        redis.call('HSET', KEYS[5], ARGV[at + 3], match(members[n], '/(.*)$'))
        progress[ARGV[at + 3]] = true
      end
    end
  elseif fact == 'extended' then
    for n = done + 1, done + #lines do
      redis.call('ZADD', KEYS[3], string.sub(ARGV[ORDERS + WIDTH * (n - 1) + 4], 2), members[n])
    end
  end
  append(KEYS[2], stamp, fact, lines, function(id, first, last)
    ids[#ids + 1] = id
    local head = id .. '|'
    for n = done + first, done + last do
      notices[n], written[n] = members[n], head .. ARGV[ORDERS + WIDTH * (n - 1) + 5]
      local event = next(early) and match(members[n], '^[^/]+')
      if event and early[event] then
        early[event] = early[event] + 1
      end
    end
  end)
  done = done + #lines
end
if #ids > 1 then
  write_orders(hashes, members, written)
  for event, count in pairs(early) do
    local n = #changes
    changes[n + 1], changes[n + 2] = event .. '#early', int(count)
  end
  redis.call('HSET', KEYS[4], unpack(changes))
  if #changed_places > 0 then
    redis.call('HSET', KEYS[7 + B], unpack(changed_places))
  end
  for hash, list in pairs(kept) do
    redis.call('HSET', KEYS[5 + hash], unpack(list))
  end
  for hash, list in pairs(gone) do
    redis.call('HDEL', KEYS[5 + hash], unpack(list))
  end
end
local ended, freed = {}, {}
at = ORDERS
for n = 1, N do
  if ARGV[at + 3] ~= '' and bounds[n] ~= 'hold' then
    ended[#ended + 1] = not held[n] and members[n] or nil
    freed[#freed + 1] = bounds[n] ~= 'anew' and not progress[ARGV[at + 3]] and ARGV[at + 3] or nil
  end
  at = at + WIDTH
end
if #freed > 0 then
  redis.call('HDEL', KEYS[5], unpack(freed))
end
if #ended > 0 then
  redis.call('ZREM', KEYS[3], unpack(ended))
end
if #answered > 0 then
  redis.call('ZREM', KEYS[6 + B], unpack(answered))
end
if ACKS <= #ARGV then
  redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, ACKS))
end
notify(notices)
return ids
