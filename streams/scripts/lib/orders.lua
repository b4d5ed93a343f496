-- Shared by the scripts that change orders: hold, resolve, expire, cancel.
-- They differ in what they decide; reading and writing is the same for all.
--
-- KEYS[1] stream whose entries are acknowledged   KEYS[2] log   KEYS[3] holds
-- then, for each event, two:  event hash, in_progress hash
-- then, for each item, one:   order record
-- ARGV[1] group   ARGV[2] channel for outcomes   ARGV[3] E, number of events   ARGV[4] N, number of items
-- then E event ids, then for each item: entry_id ('' if there is none to acknowledge),
-- event index (1..E), order_id, and what the operation adds.
-- All keys are of one partition. N <= 500, so that no argument list comes near Lua's stack.
--
-- Reply: now (milliseconds), then for each item: verdict, order record ('' if there is none).
--
-- Everything is read and decided before the first write, and every key that is
-- written has been read (so that a wrong type shows before anything has changed).

local DONE, AUTHORIZE, VOID, WAIT, CONFLICT, TOO_LATE = 0, 1, 2, 3, 4, 5

-- TIME advances within a script, so it is read once.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- Lua prints large numbers with 14 digits unless told otherwise.
local function int(n)
  return string.format('%.0f', n)
end

local E, N = tonumber(ARGV[3]), tonumber(ARGV[4])
local FIRST_ORDER = 3 + 2 * E
local FIRST_ITEM = 4 + E

-- An order record: 15 values between bars. No value can contain a bar, but the
-- last, which is for people.
local RECORD = '^(%a)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$'

local function decode(record)
  local o = { record = record }
  o.state, o.kind, o.fingerprint, o.customer, o.section, o.quantity, o.unit_price, o.currency,
    o.deadline, o.held_at, o.confirmed_at, o.resolved_at, o.authorization, o.reason, o.detail =
    string.match(record, RECORD)
  if not o.state then
    error('order record is damaged: ' .. record)
  end
  return o
end

local function encode(o)
  return table.concat({ o.state, o.kind, o.fingerprint, o.customer, o.section, o.quantity, o.unit_price, o.currency,
    o.deadline, o.held_at, o.confirmed_at, o.resolved_at, o.authorization, o.reason, o.detail }, '|')
end

-- A state that nobody stores: an order never heard of.
local function unknown_order()
  return { state = '', kind = '', fingerprint = '', customer = '', section = '', quantity = '0', unit_price = '0',
    currency = '', deadline = '0', held_at = '0', confirmed_at = '0', resolved_at = '0', authorization = '',
    reason = '', detail = '', record = '' }
end

local events, items = {}, {}

-- read_orders(width): one MGET. An order that stands in the batch twice is one table.
local function read_orders(width)
  for e = 1, E do
    events[e] = { id = ARGV[4 + e], key = KEYS[2 + 2 * e], slots_key = KEYS[3 + 2 * e],
      sections = {}, section_names = {}, slots = {}, customers = {} }
  end
  local by_key = {}
  local records = redis.call('MGET', unpack(KEYS, FIRST_ORDER + 1, FIRST_ORDER + N))
  for i = 1, N do
    local at = FIRST_ITEM + (i - 1) * width
    local key = KEYS[FIRST_ORDER + i]
    local order = by_key[key]
    if not order then
      order = records[i] and decode(records[i]) or unknown_order()
      order.key = key
      order.order_id = ARGV[at + 3]
      order.event = events[tonumber(ARGV[at + 2])]
      by_key[key] = order
    end
    items[i] = { entry = ARGV[at + 1], order = order, event = order.event, at = at }
  end
end

-- want(event, section, customer): what read_events shall read.
local function want(event, section, customer)
  if not event.sections[section] then
    event.sections[section] = true
    event.section_names[#event.section_names + 1] = section
  end
  if not event.slots[customer] then
    event.slots[customer] = true
    event.customers[#event.customers + 1] = customer
  end
end

-- read_events(): for each event that is wanted, one HMGET for its terms and
-- sections and one for its customers' slots.
local function read_events()
  redis.call('ZCARD', KEYS[3])
  redis.call('XLEN', KEYS[1])
  redis.call('XLEN', KEYS[2])
  for e = 1, E do
    local event = events[e]
    if #event.section_names > 0 then
      local fields = { 'currency', 'max_per_order', 'on_sale', 'off_sale', 'closed' }
      for _, name in ipairs(event.section_names) do
        fields[#fields + 1] = 'price:' .. name
        fields[#fields + 1] = 'available:' .. name
        fields[#fields + 1] = 'held:' .. name
        fields[#fields + 1] = 'sold:' .. name
      end
      local values = redis.call('HMGET', event.key, unpack(fields))
      event.currency = values[1]
      event.max_per_order = tonumber(values[2] or '0')
      event.on_sale = tonumber(values[3] or '0')
      event.off_sale = tonumber(values[4] or '0')
      event.closed = values[5] == '1'
      for i, name in ipairs(event.section_names) do
        local price = values[2 + 4 * i]
        event.sections[name] = price and { price = price, available = tonumber(values[3 + 4 * i]),
          held = tonumber(values[4 + 4 * i]), sold = tonumber(values[5 + 4 * i]) } or false
      end
      local slots = redis.call('HMGET', event.slots_key, unpack(event.customers))
      for i, customer in ipairs(event.customers) do
        event.slots[customer] = slots[i]
      end
    end
  end
end

local changed = {}     -- orders, each as often as a fact changes it
local ended_holds = {} -- members to take out of the holds
local new_holds = {}   -- deadline, member, deadline, member ...
local acks = {}

-- record_fact(order, ...): the fields of a fact that moves an order to its new
-- state. order.stamp names the time that the fact sets.
local function record_fact(order, stamp, ...)
  changed[#changed + 1] = { order = order, stamp = stamp, fact = { ... } }
end

-- move(order, ...): units of the order's section, from where they were.
local function move(order, available, held, sold)
  local section = order.event.sections[order.section]
  local quantity = tonumber(order.quantity)
  section.available = section.available + available * quantity
  section.held = section.held + held * quantity
  section.sold = section.sold + sold * quantity
  if section.available < 0 or section.held < 0 or section.sold < 0 then
    error('inventory of ' .. order.event.id .. ' ' .. order.section .. ' would fall below zero')
  end
  section.changed = true
end

-- free_slot(order): only if it still names this order.
local function free_slot(order)
  local event = order.event
  if event.slots[order.customer] == order.order_id then
    event.slots[order.customer] = false
    event.slot_changes = event.slot_changes or {}
    event.slot_changes[order.customer] = true
  end
end

local function take_slot(order)
  local event = order.event
  event.slots[order.customer] = order.order_id
  event.slot_changes = event.slot_changes or {}
  event.slot_changes[order.customer] = true
end

local function member(order)
  return order.event.id .. '/' .. order.order_id
end

local function expire(order)
  order.state = 'e'
  move(order, 1, -1, 0)
  free_slot(order)
  ended_holds[#ended_holds + 1] = member(order)
  record_fact(order, 'resolved_at', 'type', 'expired', 'event_id', order.event.id, 'order_id', order.order_id)
end

-- commit(): all the writes. The first one decides what an out-of-memory Redis
-- does: a script that ends holds starts with ZREM, which is never refused, and
-- after it nothing is; one that only makes holds starts with XADD and is refused
-- whole. XACK comes last but for the notice, whose failure must not matter.
local function commit()
  if #ended_holds > 0 then
    redis.call('ZREM', KEYS[3], unpack(ended_holds))
  end
  local records, notices = {}, {}
  for _, change in ipairs(changed) do
    local order = change.order
    local id = redis.call('XADD', KEYS[2], '*', unpack(change.fact))
    order[change.stamp] = string.match(id, '^%d+')
    if change.stamp == 'confirmed_at' then
      order.resolved_at = order.confirmed_at
    end
  end
  for _, change in ipairs(changed) do
    local order = change.order
    order.record = encode(order)
    records[#records + 1] = order.key
    records[#records + 1] = order.record
    if order.state ~= 'h' or order.kind == 'hold' then
      notices[#notices + 1] = member(order) .. ' ' .. order.record
    end
  end
  if #records > 0 then
    redis.call('MSET', unpack(records))
  end
  for e = 1, E do
    local event = events[e]
    local fields = {}
    for _, name in ipairs(event.section_names) do
      local section = event.sections[name]
      if section and section.changed then
        local n = #fields
        fields[n + 1], fields[n + 2] = 'available:' .. name, int(section.available)
        fields[n + 3], fields[n + 4] = 'held:' .. name, int(section.held)
        fields[n + 5], fields[n + 6] = 'sold:' .. name, int(section.sold)
      end
    end
    if #fields > 0 then
      redis.call('HSET', event.key, unpack(fields))
    end
    if event.slot_changes then
      local taken, freed = {}, {}
      for _, customer in ipairs(event.customers) do
        if event.slot_changes[customer] then
          local order_id = event.slots[customer]
          if order_id then
            taken[#taken + 1] = customer
            taken[#taken + 1] = order_id
          else
            freed[#freed + 1] = customer
          end
        end
      end
      if #freed > 0 then
        redis.call('HDEL', event.slots_key, unpack(freed))
      end
      if #taken > 0 then
        redis.call('HSET', event.slots_key, unpack(taken))
      end
    end
  end
  if #new_holds > 0 then
    redis.call('ZADD', KEYS[3], unpack(new_holds))
  end
  if #acks > 0 then
    redis.call('XACK', KEYS[1], ARGV[1], unpack(acks))
  end
  if #notices > 0 then
    redis.pcall('PUBLISH', ARGV[2], table.concat(notices, '\n'))
  end
end

-- settle(item, verdict): what becomes of the item's entry.
local function settle(item, verdict)
  item.verdict = verdict
  if verdict == DONE and item.entry ~= '' then
    acks[#acks + 1] = item.entry
  end
end

local function reply()
  local out = { int(now) }
  for i = 1, N do
    out[2 * i] = items[i].verdict
    out[2 * i + 1] = items[i].order.record
  end
  return out
end
