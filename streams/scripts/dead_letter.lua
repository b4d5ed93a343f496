-- dead_letter: sets entries aside, whole, with the reason, and acknowledges them. Beside the
-- order that a request names it leaves a note of it, for whoever waits.
--
-- KEYS[1] the stream they are in   KEYS[2] dead   KEYS[3] set_aside
-- ARGV[1] group   ARGV[2] name of the stream (requests, log)   ARGV[3] partition
-- ARGV[4] channel for outcomes   then for each entry: id, reason
-- An entry that is not pending any more was settled by somebody else and is left alone.
-- The letter's field order says beside which order its note stands; without one there is none.
-- An order has as many notes as are worth reading: the newest, which somebody may be waiting for,
-- displaces the oldest.
-- Reply: how many were set aside. On a crash: all or nothing. Works when memory is full.

local MOST_NOTES = 32 -- of an order
local MOST_REASON = 200 -- bytes of a reason that a note repeats

local clock = redis.call('TIME')
local now = string.format('%.0f', tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000))

local TYPES = { purchase = true, hold = true, pay = true, cancel = true, change = true, refund = true, payment_update = true }

local function valid_id(id)
  return id and #id <= 128 and string.find(id, '^[A-Za-z0-9._@+-]+$')
end

-- order_of(fields): the order that a request names, as event_id/order_id, and the request's
-- type ('-' if it is none); nil if it names none, or several.
local function order_of(fields)
  local said = {}
  for i = 1, #fields, 2 do
    local name = fields[i]
    if name == 'event_id' or name == 'order_id' then
      if said[name] then
        return nil
      end
      said[name] = fields[i + 1]
    elseif name == 'type' then
      said.type = said.type and '-' or fields[i + 1]
    end
  end
  if not (valid_id(said.event_id) and valid_id(said.order_id)) then
    return nil
  end
  return said.event_id .. '/' .. said.order_id, TYPES[said.type] and said.type or '-'
end

-- in_short(reason): on one line, and of a length that is bounded, with no letter cut in two.
local function in_short(reason)
  local text = string.gsub(reason, '%c', ' ')
  if #text > MOST_REASON then
    text = string.gsub(string.sub(text, 1, MOST_REASON), '[\194-\244]?[\128-\191]*$', '') .. '…'
  end
  return text
end

redis.call('XLEN', KEYS[2])
redis.call('HLEN', KEYS[3])
local letters, ids, seen = {}, {}, {}
local orders, types = {}, {} -- of the letters that get a note
local notes, displaced = {}, {} -- of an order: its lines, and how many letters have none any more
for i = 5, #ARGV, 2 do
  local id = ARGV[i]
  local letter, fields
  if not seen[id] then
    letter, fields = new_letter(KEYS[1], ARGV[1], ARGV[2], id, ARGV[i + 1], now)
  end
  if letter then
    seen[id] = true
    local n = #ids + 1
    ids[n], letters[n] = id, letter
    local order, kind
    if ARGV[2] == 'requests' then
      order, kind = order_of(fields)
    end
    if order then
      if not notes[order] then
        notes[order], displaced[order] = notes_of(KEYS[3], order)
      end
      orders[n], types[n] = order, kind
      letter[#letter + 1] = 'order'
      letter[#letter + 1] = order
    end
  end
end
-- A write that a full memory does not refuse, and that changes nothing: after
-- the first write of a script none is refused.
redis.call('XDEL', KEYS[2], '0-1')
for n, letter in ipairs(letters) do
  local letter_id = redis.call('XADD', KEYS[2], '*', unpack(letter))
  local order = orders[n]
  if order then
    local lines = notes[order]
    if #lines >= MOST_NOTES then
      table.remove(lines, 1)
      displaced[order] = displaced[order] + 1
    end
    lines[#lines + 1] = ARGV[3] .. ':' .. letter_id .. ' ' .. ids[n] .. ' ' .. types[n] .. ' ' .. in_short(letter[8])
  end
end
local named = {}
for order, lines in pairs(notes) do
  write_notes(KEYS[3], order, lines, displaced[order])
  named[#named + 1] = order
end
if #ids > 0 then
  redis.call('XACK', KEYS[1], ARGV[1], unpack(ids))
end
if #named > 0 then
  redis.pcall('PUBLISH', ARGV[4], table.concat(named, '\n'))
end
return #ids
