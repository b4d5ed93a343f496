-- redrive: gives dead letters back to their groups, and removes each in the same step, with its note.
--
-- KEYS[1] requests   KEYS[2] log   KEYS[3] dead   KEYS[4] set_aside   KEYS[5] owed   KEYS[6] owed_notes   KEYS[7] handled
-- ARGV[1] reason   ARGV[2] by: who has it done, and why, as JSON strings: noted in the same step   ARGV[3…] ids of the letters
-- A request is added as a new entry: the old one may have been trimmed. The entry of a fact is still
-- there (the log is not trimmed behind the entry of a letter) and becomes pending again, free to be reclaimed at once. An order whose money
-- could not be settled is owed again, and due at once, as if it had never been tried; what is owed for a newer fact about it
-- keeps its note.
-- Reply, for each: the id of the entry; of what is owed that of the fact; '' if there is no such letter (somebody was faster); or, in
-- words, why it cannot be given back. Such a letter stays as it is.
-- On a crash: all or nothing. If a write fails half way, no letter is lost: each is removed after its
-- entry is there. Works when memory is full: it moves, and adds nothing.

local MOST_VALUES = 1000 -- of an entry: Lua's stack bears no number of them

-- read returns a letter's values by name, and what stands against redriving it; nil if there is none.
local function read(id)
  local found = redis.call('XRANGE', KEYS[3], id, id)[1]
  if not found then
    return nil
  end
  local letter = { entry = found }
  for i = 1, #found[2], 2 do
    letter[found[2][i]] = found[2][i + 1]
  end
  if letter.stream == 'log' then
    return letter, not (letter.group and letter.entry_id) and 'it is damaged' or nil
  end
  if letter.stream == 'owed' then
    letter.order = order_of(letter)
    return letter, not (letter.order ~= '' and string.match(letter.entry_id or '', '^%d+%-%d+$')) and 'it is damaged' or nil
  end
  letter.values = letter.stream == 'requests' and values_of(letter.fields or '')
  if not letter.values or #letter.values % 2 == 1 then
    return letter, 'it is damaged'
  elseif #letter.values == 0 then
    return letter, 'it has no fields'
  elseif #letter.values > MOST_VALUES then
    return letter, string.format('it has %d fields, more than can be published again', #letter.values / 2)
  end
  return letter
end

local clock = redis.call('TIME')
local now = string.format('%.0f', tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000))

redis.call('XLEN', KEYS[1])
redis.call('XLEN', KEYS[2])
redis.call('ZCARD', KEYS[5])
redis.call('HLEN', KEYS[6])
redis.call('LLEN', KEYS[7])
local ids = { unpack(ARGV, 3) }
local reply, letters, seen = {}, {}, {}
local notes = {} -- of orders that are owed
for i, id in ipairs(ids) do
  local letter, against
  if not seen[id] then
    seen[id] = true
    letter, against = read(id)
  end
  reply[i] = against or ''
  if letter and not against then
    letters[i] = letter
    if letter.order and not notes[letter.order] then
      notes[letter.order] = redis.call('ZSCORE', KEYS[5], letter.order) and redis.call('HGET', KEYS[6], letter.order) or ''
    end
  end
end
for i, id in ipairs(ids) do
  if letters[i] and letters[i].values then
    forget(KEYS[4], letters[i].entry)
    reply[i] = redis.call('XADD', KEYS[1], '*', unpack(letters[i].values))
    redis.call('XDEL', KEYS[3], id)
  end
end
for i, id in ipairs(ids) do
  local letter = letters[i]
  if letter and letter.stream == 'owed' then
    local note = '0|0|' .. letter.entry_id .. '|redriven'
    redis.call('ZREM', KEYS[5], '') -- a write that a full memory does not refuse, and that changes nothing: after it none is refused
    redis.call('ZADD', KEYS[5], now, letter.order)
    if not newer(notes[letter.order], note) then
      redis.call('HSET', KEYS[6], letter.order, note)
      notes[letter.order] = note
    end
    reply[i] = letter.entry_id
    redis.call('XDEL', KEYS[3], id)
  elseif letter and not letter.values then
    local claimed = redis.pcall('XCLAIM', KEYS[2], letter.group, 'redrive', 0, letter.entry_id, 'IDLE', 86400000, 'FORCE', 'JUSTID')
    if claimed.err then
      reply[i] = claimed.err
    elseif #claimed == 0 then
      reply[i] = 'entry ' .. letter.entry_id .. ' is not in the log any more'
    else
      reply[i] = claimed[1]
      redis.call('XDEL', KEYS[3], id)
    end
  end
end
local done = {}
for i, id in ipairs(ids) do
  if letters[i] and string.match(reply[i], '^%d+%-%d+$') then
    done[#done + 1] = { id = id, order = order_of(letters[i]), entry_id = reply[i] }
  end
end
note_handled(KEYS[7], now, 'redriven', ARGV[1], ARGV[2], done)
return reply
