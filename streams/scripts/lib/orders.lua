-- Shared by the scripts that change orders: hold, resolve, expire, cancel.
-- They differ in what they decide; reading and writing is the same for all.
--
-- KEYS[1] stream whose entries are acknowledged   KEYS[2] log   KEYS[3] holds
-- then, for each event, two:  event hash, in_progress hash
-- then, for each item, one:   order record; and what the operation adds
-- ARGV[1] group   ARGV[2] channel for outcomes   ARGV[3] E, number of events   ARGV[4] N, number of items
-- ARGV[5] '1' to send notices of outcomes even if nobody is seen to listen (in a cluster, listeners
-- may be at another node). A notice names orders, and nothing else: whoever hears it looks.
-- then E event ids, then for each item: entry_id ('' if there is none to acknowledge),
-- event index (1..E), order_id, and what the operation adds.
-- All keys are of one partition. N <= 500, so that no argument list comes near Lua's stack.
--
-- Reply: now (milliseconds), then for each item: verdict, order record ('' if there is none).
--
-- Everything is read and decided before the first write, and every key that is
-- written has been read (so that a wrong type shows before anything has changed).
--
-- What a script costs is its redis.calls and the strings and tables it makes:
-- hence a record is taken apart only as far as needed and put together from its
-- parts, and a fact goes from local variables straight into XADD.

local DONE, AUTHORIZE, VOID, WAIT, CONFLICT, TOO_LATE, SET_ASIDE = 0, 1, 2, 3, 4, 5, 6
local KEYS, ARGV = KEYS, ARGV -- locals are reached without a look-up
local match, format = string.match, string.format

-- TIME advances within a script, so it is read once.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- Lua prints large numbers with 14 digits unless told otherwise.
local function int(n)
  return format('%.0f', n)
end

local E, N = tonumber(ARGV[3]), tonumber(ARGV[4])
local LOG = KEYS[2]
local FIRST_ORDER = 3 + 2 * E
local FIRST_ITEM = 5 + E

-- An order record is 15 values between bars: state, kind, fingerprint, customer, section,
-- quantity, unit_price, currency, deadline, held_at, confirmed_at, resolved_at,
-- authorization, reason, detail. No value contains a bar, but perhaps the last, which is for people.
-- The patterns take it apart by state. Captures: terms, which never change once an order is
-- held (from the bar before the kind to held_at); among them sale, what a reader of the log needs to
-- post or reverse it (customer to currency); of that customer, section, quantity.
--
-- A fact is one field of a log entry: its name is the type, its value the order (event_id/order_id)
-- and values between bars, as wire.ParseFacts reads them.
local HELD = '^h(|[^|]*|[^|]*|(([^|]+)|([^|]+)|(%d+)|%d+|%u+)|(%d+)|%d+)|0|0|||$'
local CONFIRMED = '^c(|[^|]*|[^|]*|(([^|]+)|([^|]+)|(%d+)|%d+|%u+)|%d+|%d+)|(%d+)|%d+|([^|]*)||$'

local events = {}

-- Orders are numbered by the first item that names them, and kept as columns: a
-- table for each would cost more than all the rest that is done with it.
local number = {} -- of an item's order
local state, record, event_of, order_id = {}, {}, {}, {}
local terms, sale, customer, section, quantity, deadline = {}, {}, {}, {}, {}, {}
local confirmed_at, authorization, reason, name = {}, {}, {}, {}
local entries, verdicts = {}, {} -- by item

local function damaged(o)
  error('order record is damaged: ' .. KEYS[FIRST_ORDER + o] .. ' ' .. record[o])
end

-- read_orders(width): one MGET. width is how many values an item has in ARGV.
local function read_orders(width)
  for e = 1, E do
    events[e] = { id = ARGV[5 + e], key = KEYS[2 + 2 * e], in_progress_key = KEYS[3 + 2 * e],
      sections = {}, names = {}, in_progress = {}, customers = {}, taken = {}, freed = {} }
  end
  local by_key = {}
  local records = redis.call('MGET', unpack(KEYS, FIRST_ORDER + 1, FIRST_ORDER + N))
  local at = FIRST_ITEM
  for i = 1, N do
    local key = KEYS[FIRST_ORDER + i]
    local first = by_key[key]
    if not first then
      first = i
      by_key[key] = i
      record[i] = records[i] or ''
      state[i] = string.sub(record[i], 1, 1)
      if record[i] ~= '' and not string.find('hcdexr', state[i], 1, true) then
        damaged(i)
      end
      order_id[i] = ARGV[at + 3]
      event_of[i] = events[tonumber(ARGV[at + 2])]
    end
    number[i] = first
    entries[i] = ARGV[at + 1]
    at = at + width
  end
end

-- want(event, section, customer): what read_events shall read.
local function want(event, section_name, customer_id)
  if event.sections[section_name] == nil then
    event.sections[section_name] = false
    event.names[#event.names + 1] = section_name
  end
  if event.in_progress[customer_id] == nil then
    event.in_progress[customer_id] = false
    event.customers[#event.customers + 1] = customer_id
  end
end

-- want_terms(o): takes the record of a held order apart, or of a confirmed one.
local function want_terms(o)
  if terms[o] then
    return
  end
  if state[o] == 'h' then
    terms[o], sale[o], customer[o], section[o], quantity[o], deadline[o] = match(record[o], HELD)
  else
    terms[o], sale[o], customer[o], section[o], quantity[o], confirmed_at[o], authorization[o] =
      match(record[o], CONFIRMED)
  end
  if not terms[o] then
    damaged(o)
  end
  want(event_of[o], section[o], customer[o])
end

-- read_events(): for each event that is wanted, one HMGET for its terms and
-- sections and one for its customers in progress.
local function read_events()
  redis.call('ZCARD', KEYS[3])
  redis.call('XLEN', KEYS[1])
  redis.call('XLEN', LOG)
  for e = 1, E do
    local event = events[e]
    if #event.names > 0 then
      local fields = { 'currency', 'max_per_order', 'on_sale', 'off_sale', 'closed' }
      for _, section_name in ipairs(event.names) do
        local n = #fields
        fields[n + 1], fields[n + 2] = 'price:' .. section_name, 'available:' .. section_name
        fields[n + 3], fields[n + 4] = 'held:' .. section_name, 'sold:' .. section_name
      end
      local values = redis.call('HMGET', event.key, unpack(fields))
      event.currency = values[1]
      event.max_per_order = tonumber(values[2] or '0')
      event.on_sale = tonumber(values[3] or '0')
      event.off_sale = tonumber(values[4] or '0')
      event.closed = values[5] == '1'
      for i, section_name in ipairs(event.names) do
        local price = values[2 + 4 * i]
        if price then
          event.sections[section_name] = { price = price, available = tonumber(values[3 + 4 * i]),
            held = tonumber(values[4 + 4 * i]), sold = tonumber(values[5 + 4 * i]), changed = false }
        end
      end
      local orders = redis.call('HMGET', event.in_progress_key, unpack(event.customers))
      for i, customer_id in ipairs(event.customers) do
        event.in_progress[customer_id] = orders[i]
      end
    end
  end
end

-- What is to be written. A script changes an order at most once.
local changed, makers = {}, {}  -- orders, and what makes each one's record, given the time of its fact
local facts = {}                -- type, value, type, value …: one for each changed order
local whys = {}                 -- by changed order: a second field of its entry, which says why
local ended_holds = {}          -- members to take out of the holds
local new_holds = {}            -- deadline, member, deadline, member …
local acks = {}

-- move(o, …): units of the order's section, from where they were.
local function move(o, available, held, sold)
  local units = event_of[o].sections[section[o]]
  if not units then
    error('section ' .. section[o] .. ' of ' .. event_of[o].id .. ' is gone')
  end
  local n = tonumber(quantity[o])
  units.available = units.available + available * n
  units.held = units.held + held * n
  units.sold = units.sold + sold * n
  if units.available < 0 or units.held < 0 or units.sold < 0 then
    error('inventory of ' .. event_of[o].id .. ' ' .. section[o] .. ' would fall below zero')
  end
  units.changed = true
end

-- member(o): event_id/order_id.
local function member(o)
  local m = name[o]
  if not m then
    m = event_of[o].id .. '/' .. order_id[o]
    name[o] = m
  end
  return m
end

-- change(o, …): the order moves to a new state. values is what the fact says besides the order's name.
local function change(o, new_state, fact, values, maker)
  state[o] = new_state
  local n = #changed + 1
  changed[n], makers[n] = o, maker
  facts[2 * n - 1], facts[2 * n] = fact, member(o) .. values
end

-- end_hold(o, …): the hold goes, its units go where they belong, and the
-- customer may order again, if it is this order that was in progress.
local function end_hold(o, available, sold)
  local event = event_of[o]
  move(o, available, -1, sold)
  if event.in_progress[customer[o]] == order_id[o] then
    event.in_progress[customer[o]] = false
    event.freed[#event.freed + 1] = customer[o]
  end
  ended_holds[#ended_holds + 1] = member(o)
end

local function expired_record(o, time)
  return 'e' .. terms[o] .. '|0|' .. time .. '|||'
end

local function expire(o)
  end_hold(o, 1, 0)
  change(o, 'e', 'expired', '', expired_record)
end

-- append(i): the fact of a change, as an entry of the log.
local function append(i)
  if whys[i] then
    return redis.call('XADD', LOG, '*', facts[2 * i - 1], facts[2 * i], 'rejected', whys[i])
  end
  return redis.call('XADD', LOG, '*', facts[2 * i - 1], facts[2 * i])
end

-- commit(): all the writes. The first one decides what an out-of-memory Redis
-- does: a script that ends holds starts with ZREM, which is never refused, and
-- after it nothing is; one that only makes holds starts with XADD and is refused
-- whole. XACK comes last but for the notice, whose failure must not matter.
--
-- in_one_entry: all facts go into one log entry. For facts that the readers of the log only pass
-- over: an entry is acknowledged as a whole, and costs as much to deliver as one fact.
local function commit(in_one_entry)
  if #ended_holds > 0 then
    redis.call('ZREM', KEYS[3], unpack(ended_holds))
  end
  local records, notices, id = {}, {}, nil
  -- Who listens, to the channel or to a pattern, is asked once a batch, so that nothing is put
  -- together for nobody. If the answer is an error, somebody may.
  local listened = ARGV[5] == '1'
  if not listened then
    local audience = redis.pcall('PUBSUB', 'NUMSUB', ARGV[2])
    listened = audience.err or audience[2] > 0
  end
  if not listened then
    local patterns = redis.pcall('PUBSUB', 'NUMPAT')
    listened = type(patterns) == 'table' or patterns > 0
  end
  if in_one_entry and #changed > 0 then
    id = redis.call('XADD', LOG, '*', unpack(facts))
  end
  for i = 1, #changed do
    local o = changed[i]
    local written = makers[i](o, match(id or append(i), '^%d+'))
    record[o] = written
    records[2 * i - 1] = KEYS[FIRST_ORDER + o]
    records[2 * i] = written
    if listened and verdicts[o] ~= AUTHORIZE then
      notices[#notices + 1] = member(o)
    end
  end
  if #records > 0 then
    redis.call('MSET', unpack(records))
  end
  for e = 1, E do
    local event = events[e]
    local fields = {}
    for _, section_name in ipairs(event.names) do
      local units = event.sections[section_name]
      if units and units.changed then
        local n = #fields
        fields[n + 1], fields[n + 2] = 'available:' .. section_name, int(units.available)
        fields[n + 3], fields[n + 4] = 'held:' .. section_name, int(units.held)
        fields[n + 5], fields[n + 6] = 'sold:' .. section_name, int(units.sold)
      end
    end
    if #fields > 0 then
      redis.call('HSET', event.key, unpack(fields))
    end
    if #event.freed > 0 then
      redis.call('HDEL', event.in_progress_key, unpack(event.freed))
    end
    if #event.taken > 0 then
      redis.call('HSET', event.in_progress_key, unpack(event.taken))
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

-- settle(i, verdict): what becomes of item i's entry.
local function settle(i, verdict)
  verdicts[i] = verdict
  if (verdict == DONE or verdict == SET_ASIDE) and entries[i] ~= '' then
    acks[#acks + 1] = entries[i]
  end
end

local function reply()
  local out = { int(now) }
  for i = 1, N do
    out[2 * i] = verdicts[i]
    out[2 * i + 1] = record[number[i]]
  end
  return out
end
