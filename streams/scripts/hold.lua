-- hold: takes in a batch of purchases and holds, each of another order. It decides what depends on the
-- order in which they stand: what is left, and who has an order in progress.
--
-- KEYS, ARGV: see lib/orders.lua; KEYS[1] is the requests stream, and behind the hashes stand unknown and, if there is a
-- seated section, places. ARGV goes on with
--   E, S, T, C, N, L, K, X: how many follow of
--   events:   event_id, how many hashes of orders of its own the caller took it to have, and behind it a bar if
--             a customer's places are counted, and ! if no seat may be left alone
--   sections: number of its event, name, the tag of its layout ('' if it is not seated, or if nothing is known of it). Of places of
--             an allocation the name is that of the section, which stands before it, ~ and the allocation's, and instead of a tag
--             stands the section's number
--   terms:    purchase, hold or tokenless (a purchase without a payment token); hold_millis; valid_millis; until when all
--             requests of these terms are valid (milliseconds); the smallest amounts, such as EUR=50,JPY=50 ('' if there
--             are none)
--   classes:  number of the hash of the orders, of the terms, how many items; then for each item, in the order of their
--             names: number of its section, quantity, unit_price (-1 if any will do), which places it wants. All sections are
--             of one event. Places are '' for any, which are side by side in a seated section; ~ if they need not be; # if the
--             request names them; or ?A-99 if the section has no such seats
--   customers: N of them, if places are counted of any event, else none: of each request the number of the hash in which
--             its customer's places are counted, 0 if they are not
--   requests: entry_id, event_id/order_id, number of its class, event_id/customer_id, opening (as it stands in
--             records and facts, up to the items)
--   named:    N of them, if any request names places, else none: which they are, and the names of those places and, if none
--             may be left alone, of those beside them: 17-19.25|16=A-16,17=A-17; with ; between those of several items
--   codes:    K, which is N if any request brings an access code, else none: of each request the hashes of its code, with a comma behind
--             each
--   traces:   X, which is N if any order is to keep whose trace it is of, else none: of each request what it keeps, '' for nothing
-- Reply, a line each: now (milliseconds); for each section price|currency, as it is for who holds of it now; for each request:
--   '=' and the record of its order, if that was there before; nothing changed of it then, and the request is not
--   acknowledged; the order's version, if it is held now, of seats version||items, and where it uses an access code
--   version||items|hash; version|reason|detail, if it is rejected. A request that was rejected is acknowledged, and so is a hold.
--   '!', if its event was forgotten, and there is no such order: it is acknowledged, and nothing is recorded of it.
--   Or 'branch': the partition has another branch; or 'learn', and an event_id a line: of these events the hashes of orders, the limits, or the
--   layouts are not what the caller takes them to be. Nothing changed.
-- On a crash: all or nothing. Repeating it changes nothing more. A full memory refuses it, whole.
-- The order of the checks is domain.refusal's.

local E, S, T, C, N = tonumber(ARGV[FIRST]), tonumber(ARGV[FIRST + 1]), tonumber(ARGV[FIRST + 2]), tonumber(ARGV[FIRST + 3]), tonumber(ARGV[FIRST + 4])
local L, K, X = tonumber(ARGV[FIRST + 5]), tonumber(ARGV[FIRST + 6]), tonumber(ARGV[FIRST + 7])
local EVENTS = FIRST + 8
local SECTIONS = EVENTS + 2 * E
local TERMS = SECTIONS + 3 * S
local CLASSES = TERMS + 5 * T
local WIDTH = 5
local MOST_SEATS = 100 -- of an item

local fields = { '#now' }
for e = 1, E do
  fields[1 + e] = ARGV[EVENTS + 2 * (e - 1)]
end
for s = 1, S do
  fields[1 + E + s] = fields[1 + tonumber(ARGV[SECTIONS + 3 * (s - 1)])] .. '/' .. ARGV[SECTIONS + 3 * s - 2]
end
local early_of = {} -- by event that has hashes of its own: where it says whether there are orders in the shared one
for e = 1, E do
  if match(ARGV[EVENTS + 2 * e - 1], '^%d+') ~= '0' then
    early_of[e] = #fields + 1
    fields[early_of[e]] = fields[1 + e] .. '#early'
  end
end
fields[#fields + 1] = '#branch'
local values = redis.call('HMGET', KEYS[4], unpack(fields))
if (values[#fields] or '') ~= BRANCH then
  return 'branch'
end
local now = time_of(values[1])
local stamp = int(now)

local OVER = { currency = '' } -- the event of those that were forgotten: nothing is known of them
local events, learn = {}, { 'learn' }
for e = 1, E do
  local value = values[1 + e]
  if value and match(value, '^%d+|f|') then
    events[e] = OVER
  elseif value then
    local state, currency, most, limit, strict, on_sale, off_sale, hashes = match(value, '^%d+|(%a)|(%u+)|(%d+):?(%d*)(!?)~?%d*|(%d+)|(%d+)|(%d+)$')
    if not hashes then
      error('event ' .. fields[1 + e] .. ' is damaged: ' .. value)
    end
    if hashes .. (limit ~= '' and '|' or '') .. strict ~= ARGV[EVENTS + 2 * e - 1] then
      learn[#learn + 1] = fields[1 + e]
    end
    on_sale, off_sale = tonumber(on_sale), tonumber(off_sale)
    events[e] = { currency = currency, most = tonumber(most), limit = tonumber(limit), early = early_of[e] and values[early_of[e]], strict = strict == '!',
      open = state == 'o', from = on_sale, till = off_sale,
      on_sale = state == 'o' and now >= on_sale and (off_sale == 0 or now < off_sale) }
  elseif ARGV[EVENTS + 2 * e - 1] ~= '0' then
    learn[#learn + 1] = fields[1 + e]
  end
end

-- on_sale(event, tail): whether places of an allocation are on sale; 0 is the event's time.
local function on_sale(event, tail)
  local from, till = match(tail, '~(%d+)~(%d+)$')
  from, till = from == '0' and event.from or tonumber(from), till == '0' and event.till or tonumber(till)
  return event.open and now >= from and (till == 0 or now < till)
end

local reply = { stamp }
local sections, seated = {}, {}
for s = 1, S do
  local at = SECTIONS + 3 * (s - 1)
  local value, event = values[1 + E + s], events[tonumber(ARGV[at])]
  -- All of its fields, so that it is made in the right size.
  local section = { event = event, name = ARGV[at + 1], field = fields[1 + E + s], id = fields[1 + tonumber(ARGV[at])], mark = '.', of = nil, allocation = nil,
    price = nil, capacity = nil, available = nil, held = nil, sold = nil, tail = nil, terms = nil, on_sale = false, changed = false }
  local parted = string.find(section.name, '~', 1, true)
  if parted then
    section.of, section.allocation = sections[tonumber(ARGV[at + 2])], string.sub(section.name, parted + 1)
  end
  if value and event then
    local available, held
    local tail, tag
    section.price, section.capacity, available, held, section.sold, tail = match(value, SECTION)
    if not section.price then
      error('section ' .. section.field .. ' is damaged: ' .. value)
    end
    tag = tail == '' and tail or match(tail, '^!?%d*|?(%w*)')
    section.tail, section.on_sale = tail, event.on_sale
    if parted then
      section.on_sale = on_sale(event, tail)
      if tag ~= '' then
        section.mark = tag
      end
    elseif tag ~= '' then
      seated[#seated + 1] = section
    end
    section.available, section.held = tonumber(available), tonumber(held)
    section.terms = section.price .. '|' .. event.currency
    if not parted and tag ~= ARGV[at + 2] then
      learn[#learn + 1] = section.id
    end
  end
  sections[s], reply[1 + s] = section, section.terms or ''
end
if #learn > 1 then
  return table.concat(learn, '\n')
end

local seats
if #seated > 0 then
  seats = use_seats()
  local names = {}
  for n = 1, #seated do
    names[n] = seated[n].field
  end
  local found = redis.call('HMGET', KEYS[7 + B], unpack(names))
  for n = 1, #seated do
    if not found[n] then
      error('the places of section ' .. names[n] .. ' are gone')
    end
    seated[n].seats = seats.open(found[n])
  end
  for s = 1, S do
    if sections[s].of and sections[s].price then
      sections[s].seats = sections[s].of.seats
    end
  end
end

local terms = {}
for t = 1, T do
  local at = TERMS + 5 * (t - 1)
  terms[t] = { holds = ARGV[at] == 'hold', tokenless = ARGV[at] == 'tokenless', hold_millis = ARGV[at + 1],
    valid_millis = tonumber(ARGV[at + 2]), valid = now <= tonumber(ARGV[at + 3]), deadline = int(now + tonumber(ARGV[at + 1])),
    minimums = ARGV[at + 4] ~= '' and ARGV[at + 4] }
end

-- blame(class, item, names): what is said of an item that cannot be had, with the names of its seats that are to blame: its section only
-- if there are others.
local function blame(class, item, names)
  if not class.next then
    return names
  end
  return names == '' and item.section.name or item.section.name .. ': ' .. names
end

-- refused(class, event): why no order of a class can be held, whatever comes before it, and what that is
-- about; nil if it can.
local function refused(class, event)
  if not event then
    return 'unknown_event', ''
  end
  local item = class
  repeat
    if not item.section.price then
      return item.section.of and item.section.of.price and 'unknown_allocation' or 'unknown_section', blame(class, item, '')
    end
    item = item.next
  until not item
  if class.wants then
    item = class
    repeat
      local unknown = match(item.want, '^%?(.*)')
      if unknown then
        return 'unknown_seat', blame(class, item, unknown)
      end
      item = item.next
    until not item
  end
  item = class
  repeat
    if not item.section.on_sale then
      return 'not_on_sale', ''
    end
    item = item.next
  until not item
  item = class
  repeat
    if item.unit_price ~= '-1' and item.unit_price ~= item.section.price then
      return 'price_changed', blame(class, item, '')
    end
    item = item.next
  until not item
  if class.seated then
    item = class
    repeat
      if item.section.seats and item.quantity > MOST_SEATS then
        return 'over_limit', 'want at most ' .. MOST_SEATS .. ' seats of a section'
      end
      item = item.next
    until not item
  end
  if event.most > 0 and class.places > event.most then
    return 'over_limit', ''
  end
  local least = class.terms.minimums and match(class.terms.minimums, event.currency .. '=(%d+)')
  if least and class.amount > 0 and class.amount < tonumber(least) then
    return 'below_minimum', ''
  end
end

-- Of requests, by number as it stands in ARGV. A class is its first item, too: each has the next one.
local classes, others = {}, {}
local at = CLASSES
for c = 1, C do
  -- All of its fields, so that it is made in the right size.
  local class = { hash = tonumber(ARGV[at]), terms = terms[tonumber(ARGV[at + 1])], places = 0, amount = 0, section = false, quantity = 0, unit_price = false,
    next = nil, says = false, asked = false, tokenless = false, why = nil, which = nil, want = '', wants = false, seated = false, opens = false }
  local item, known, left = class, true, tonumber(ARGV[at + 2])
  at = at + 3
  while true do
    local section, quantity, want = sections[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 3]
    item.section, item.quantity, item.unit_price, item.want = section, tonumber(quantity), ARGV[at + 2], want
    class.places, class.amount = class.places + item.quantity, class.amount + item.quantity * (section.price or 0)
    known = known and section.price
    local says = section.name .. ':' .. quantity .. ':' .. (section.price or '')
    item.says = says
    if item ~= class then
      class.several = (class.several or class.says) .. ',' .. says
    end
    class.wants, class.seated = class.wants or want ~= '', class.seated or section.seats
    if section.allocation then
      class.opens = (not class.opens or class.opens == section.allocation) and section.allocation or '' -- a code opens one
    end
    at, left = at + 4, left - 1
    if left == 0 then
      break
    end
    item.next = {}
    item = item.next
  end
  local event = class.section.event
  class.tokenless = class.terms.tokenless and not (known and class.amount == 0)
  class.why, class.which = refused(class, event)
  if event then
    class.tail = '|' .. event.currency .. '|' .. class.terms.hold_millis
    if event.early then
      others[class.hash] = other_of(class.hash)
    end
  end
  classes[tostring(c)] = class
end
local CUSTOMERS = at
local REQUESTS = CUSTOMERS + L
local NAMED = REQUESTS + WIDTH * N
local TRACES = #ARGV - X -- before the first of them
local CODES = TRACES - K -- likewise
at = REQUESTS

local hashes, members, class_of = {}, {}, {}
for i = 1, N do
  local class = classes[ARGV[at + 2]]
  members[i], hashes[i], class_of[i] = ARGV[at + 1], class.hash, class
  at = at + WIDTH
end
local records = read_orders(hashes, members, others)

-- Whose customer has an order in progress: that is asked of new orders only.
local in_progress, customers = {}, {}
at = REQUESTS
for i = 1, N do
  if not records[i] then
    customers[#customers + 1] = ARGV[at + 3]
  end
  at = at + WIDTH
end
if #customers > 0 then
  local orders = redis.call('HMGET', KEYS[5], unpack(customers))
  for n = 1, #customers do
    in_progress[customers[n]] = orders[n]
  end
end

-- How many places a customer has, by event_id/customer_id; and those that change, by the number of their hash.
local places, changed_places = {}, {}
if L > 0 then
  local wanted = {}
  for i = 1, N do
    local hash = tonumber(ARGV[CUSTOMERS + i - 1])
    if hash > 0 and not records[i] then
      wanted[hash] = wanted[hash] or {}
      table.insert(wanted[hash], ARGV[REQUESTS + WIDTH * (i - 1) + 3])
    end
  end
  for hash, fields in pairs(wanted) do
    local found = redis.call('HMGET', KEYS[5 + hash], unpack(fields))
    for n = 1, #fields do
      places[fields[n]] = tonumber(found[n] or '0')
    end
  end
end

-- Access codes, by the field that they have.
local codes = {}
if K > 0 then
  local wanted = {}
  for i = 1, N do
    if not records[i] then
      for hash in string.gmatch(ARGV[CODES + i], '[^,]+') do
        wanted[#wanted + 1] = class_of[i].section.id .. '!' .. hash
      end
    end
  end
  if #wanted > 0 then
    local found = redis.call('HMGET', KEYS[4], unpack(wanted))
    for n = 1, #wanted do
      if found[n] then
        local allocation, state, uses, used = match(found[n], CODE)
        if not used then
          error('access code ' .. wanted[n] .. ' is damaged: ' .. found[n])
        end
        codes[wanted[n]] = { allocation = allocation, open = state == 'o', head = allocation .. '|' .. state .. '|' .. uses .. '|', uses = tonumber(uses),
          used = tonumber(used) }
      end
    end
  end
end

-- opened_by(i, class): the hash of the code of a request that opens what its class takes of an allocation now; nil if none does.
local function opened_by(i, class)
  if K > 0 then
    for hash in string.gmatch(ARGV[CODES + i], '[^,]+') do
      local code = codes[class.section.id .. '!' .. hash]
      if code and code.open and code.allocation == class.opens and (code.uses == 0 or code.used < code.uses) then
        return hash
      end
    end
  end
end

-- asked_of(class): the items of a class, without prices.
local function asked_of(class)
  if not class.asked then
    local asked, item = {}, class
    repeat
      asked[#asked + 1] = item.section.name .. ':' .. int(item.quantity) .. ':0'
      item = item.next
    until not item
    class.asked = table.concat(asked, ',')
  end
  return class.asked
end

-- choose(item, wanted): takes the seats of an item of a seated section; wanted are those that it names, if it names any. Returns nothing; or why it
-- does not get any, and the names of those that are to blame.
local function choose(item, wanted)
  local section = item.section
  if not wanted then
    local reason
    if item.quantity <= section.available then -- else nobody need look
      item.list, reason = seats.take_best(section.seats, section.mark, item.quantity, item.want ~= '~', '-')
      if item.list then
        item.got = seats.text_of(item.list)
        return nil
      end
    end
    return reason or 'sold_out', ''
  end
  item.got = string.sub(wanted, 1, string.find(wanted, '|', 1, true) - 1)
  item.list = seats.list_of(item.got)
  local reason, because = seats.take_named(section.seats, item.list, section.mark, section.event.strict, '-')
  if not reason then
    return nil
  end
  local blamed, names = {}, ',' .. string.sub(wanted, #item.got + 2)
  for k = 1, #because, 2 do
    for place = because[k], because[k + 1] do
      blamed[#blamed + 1] = match(names, ',' .. place .. '=([^,]*)') or place
    end
  end
  return reason, table.concat(blamed, ',')
end

-- choose_all(class, wanted): takes what a class is for, of which some is seats, and where it is named, wanted; or takes nothing, and returns why, and
-- what is to blame.
local function choose_all(class, wanted)
  local item, why, names = class, nil, nil
  local next_of = class.next and wanted and string.gmatch(wanted, '[^;]+') or function() return wanted end
  repeat
    if item.section.seats then
      why, names = choose(item, item.want == '#' and next_of())
    elseif item.section.available < item.quantity then
      why, names = 'sold_out', ''
    end
    if why then
      local before = class
      while before ~= item do
        if before.section.seats then
          seats.change(before.section.seats, before.list, '-', before.section.mark)
        end
        before = before.next
      end
      return why, blame(class, item, names)
    end
    item = item.next
  until not item
end

-- says_of(class): the items of an order that was just given its seats.
local function says_of(class)
  if not class.seated then
    return class.several or class.says
  elseif not class.next then
    return class.says .. (class.section.allocation and ':' .. class.section.mark or ':') .. class.got
  end
  local says, item = {}, class
  repeat
    says[#says + 1] = item.section.seats and item.says .. (item.section.allocation and ':' .. item.section.mark or ':') .. item.got or item.says
    item = item.next
  until not item
  return table.concat(says, ',')
end

-- refusal(i, class, customer): why a new order cannot be held, and what exactly is wrong; nil if it can: then it has its seats.
local function refusal(i, class, customer)
  local terms = class.terms
  if class.tokenless then
    return 'invalid', 'payment_token: missing'
  elseif not terms.valid and now > tonumber(match(ARGV[REQUESTS + WIDTH * (i - 1)], '^%d+')) + terms.valid_millis then
    return 'too_late', ''
  elseif class.why then
    return class.why, class.which
  elseif class.opens and not opened_by(i, class) then
    return 'code_refused', ''
  elseif in_progress[customer] then
    return 'in_progress', ''
  end
  local limit = class.section.event.limit
  if limit and places[customer] + class.places > limit then
    return 'over_customer_limit', ''
  end
  if class.seated then
    return choose_all(class, ARGV[NAMED + i - 1])
  end
  local item = class
  repeat
    if item.quantity > item.section.available then
      return 'sold_out', blame(class, item, '')
    end
    item = item.next
  until not item
  return nil
end

local acks, notices, early = {}, {}, {}
local held, held_lines, rejected, rejected_lines = {}, {}, {}, {} -- positions of requests, and facts
local said, whys, got = {}, {}, {} -- of a new order: what its fact says, and its record behind the state; why it is rejected; its items, if some are seats
local further = {} -- of a held order, what its record says of an access code that it uses, and of whose trace it is
local nonsense = {} -- of an order that is rejected as unknown_event: for how long its request is valid
local new_holds, taken = {}, {}
local used_codes = {} -- fields of access codes that are used by more orders
local refusals = {} -- by reason, by class: how many requests
at = REQUESTS
for i = 1, N do
  local entry, member, class, customer = ARGV[at], members[i], class_of[i], ARGV[at + 3]
  if records[i] then
    reply[1 + S + i] = '=' .. records[i]
  elseif class.section.event == OVER then
    reply[1 + S + i] = '!'
    acks[#acks + 1] = entry
    notices[#notices + 1] = member
  else
    local why, detail = refusal(i, class, customer)
    if why then
      local n, asked = #rejected + 1, ARGV[at + 4] .. asked_of(class)
      whys[i] = '|' .. why .. '|' .. detail
      local trace = X > 0 and ARGV[TRACES + i] or ''
      if trace == '' then
        rejected[n], rejected_lines[n] = i, member .. '|' .. asked .. whys[i]
        said[i] = asked .. '|||||||' .. why .. '||' .. detail
      else
        rejected[n], rejected_lines[n] = i, member .. '|' .. asked .. '|' .. why .. '~' .. trace .. '|' .. detail
        said[i] = asked .. '|||||||' .. why .. '|t' .. trace .. '|' .. detail
      end
      acks[#acks + 1] = entry
      notices[#notices + 1] = member
      if class.section.event and why ~= 'invalid' then
        local by = refusals[why] or {}
        by[class], refusals[why] = (by[class] or 0) + 1, by
      elseif not class.section.event then
        early[class.section.id] = (early[class.section.id] or 0) + 1
      end
      if why == 'unknown_event' then
        nonsense[i] = class.terms.valid_millis
      end
    else
      local n, items, item = #held + 1, says_of(class), class
      local says = ARGV[at + 4] .. items .. class.tail
      held[n], held_lines[n], said[i] = i, member .. '|' .. says, says
      if class.seated then
        got[i] = '||' .. items
      end
      if class.opens then
        local hash = opened_by(i, class)
        local field = class.section.id .. '!' .. hash
        codes[field].used, used_codes[field] = codes[field].used + 1, true
        held_lines[n], further[i], got[i] = held_lines[n] .. '|' .. hash, 'k' .. hash, '||' .. items .. '|' .. hash
      end
      if X > 0 and ARGV[TRACES + i] ~= '' then
        local trace = ARGV[TRACES + i]
        held_lines[n] = held_lines[n] .. (further[i] and '|' or '||') .. trace
        further[i] = (further[i] and further[i] .. ';t' or 't') .. trace
      end
      repeat
        local section = item.section
        if section.of then
          section.of.taken = true -- seats of it, perhaps
        end
        section.available, section.held, section.changed = section.available - item.quantity, section.held + item.quantity, true
        item = item.next
      until not item
      in_progress[customer] = true
      if class.section.event.limit then
        places[customer] = places[customer] + class.places
        local hash = tonumber(ARGV[CUSTOMERS + i - 1])
        local list = changed_places[hash] or {}
        list[#list + 1], list[#list + 2], changed_places[hash] = customer, int(places[customer]), list
      end
      n = 2 * n
      taken[n - 1], taken[n] = customer, string.sub(member, #class.section.id + 2)
      new_holds[n - 1], new_holds[n] = class.terms.deadline, member
      if class.terms.holds then
        acks[#acks + 1] = entry
        notices[#notices + 1] = member
      end
    end
  end
  at = at + WIDTH
end
if #held + #rejected == 0 then
  if #acks > 0 then
    redis.call('XACK', KEYS[1], ARGV[1], unpack(acks))
    notify(notices)
  end
  return table.concat(reply, '\n')
end

local changes = { '#now', stamp }
if next(early) then
  redis.call('ZCARD', KEYS[6 + B])
  for event, count in pairs(early) do
    local n, field = #changes, event .. '#early'
    changes[n + 1], changes[n + 2] = field, int(tonumber(redis.call('HGET', KEYS[4], field) or '0') + count)
  end
end
-- Places that were asked for in vain, by the field that they are counted in.
local refused_places, refused_fields = {}, {}
for why, by in pairs(refusals) do
  for class, count in pairs(by) do
    local item = class
    repeat
      if item.section.price then
        local field = item.section.field .. '#' .. why
        if not refused_places[field] then
          refused_places[field], refused_fields[#refused_fields + 1] = 0, field
        end
        refused_places[field] = refused_places[field] + count * item.quantity
      end
      item = item.next
    until not item
  end
end
local refused_before = #refused_fields > 0 and redis.call('HMGET', KEYS[4], unpack(refused_fields)) or {}

local written = {}
append(KEYS[2], stamp, 'held', held_lines, function(id, first, last)
  local head = id .. '|h2|'
  for n = first, last do
    local i = held[n]
    written[i], reply[1 + S + i] = head .. said[i] .. (further[i] and '||||||' .. further[i] .. '|' or '|||||||'), id .. (got[i] or '')
  end
end)
append(KEYS[2], stamp, 'rejected', rejected_lines, function(id, first, last)
  local head, unknown, valid = id .. '|r2|', { id }, 0
  for n = first, last do
    local i = rejected[n]
    written[i], reply[1 + S + i] = head .. said[i], id .. whys[i]
    if nonsense[i] then
      unknown[#unknown + 1], valid = members[i], math.max(valid, nonsense[i])
    end
  end
  if #unknown > 1 then
    redis.call('ZADD', KEYS[6 + B], int(now + valid), table.concat(unknown, ' '))
  end
end)
write_orders(hashes, members, written)
for _, section in pairs(sections) do
  if section.changed then
    local n = #changes
    changes[n + 1], changes[n + 2] = section.field, section_value(section.price, section.capacity, int(section.available), int(section.held), section.sold, section.tail)
  end
end
local taken_places = {}
for n = 1, #seated do
  local section = seated[n]
  if section.changed or section.taken then
    local last = #taken_places
    taken_places[last + 1], taken_places[last + 2] = section.field, seats.places_of(section.seats)
  end
end
for field in pairs(used_codes) do
  local n = #changes
  changes[n + 1], changes[n + 2] = field, codes[field].head .. int(codes[field].used)
end
for n = 1, #refused_fields do
  local last, field = #changes, refused_fields[n]
  changes[last + 1], changes[last + 2] = field, int(refused_places[field] + tonumber(refused_before[n] or '0'))
end
redis.call('HSET', KEYS[4], unpack(changes))
if #taken_places > 0 then
  redis.call('HSET', KEYS[7 + B], unpack(taken_places))
end
for hash, list in pairs(changed_places) do
  redis.call('HSET', KEYS[5 + hash], unpack(list))
end
if #held > 0 then
  redis.call('HSET', KEYS[5], unpack(taken))
  redis.call('ZADD', KEYS[3], unpack(new_holds))
end
if #acks > 0 then
  redis.call('XACK', KEYS[1], ARGV[1], unpack(acks))
end
notify(notices)
return table.concat(reply, '\n')
