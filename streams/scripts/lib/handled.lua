-- Shared by the scripts with which people have dead letters handled: who did what with which letter, and why, is noted in a list, the newest first.

local MOST_HANDLED = 1000 -- that a partition keeps

-- values_of takes netstrings (length ':' bytes ',') apart; nil if they are damaged.
local function values_of(netstrings)
  local values, at = {}, 1
  while at <= #netstrings do
    local _, colon, length = string.find(netstrings, '^(%d+):', at)
    local comma = colon and colon + tonumber(length) + 1
    if not comma or string.sub(netstrings, comma, comma) ~= ',' then
      return nil
    end
    values[#values + 1] = string.sub(netstrings, colon + 1, comma - 1)
    at = comma + 1
  end
  return values
end

-- order_of(letter): the order that a letter is about, as far as its values say, by name; '' if they do not.
local function order_of(letter)
  if letter.stream == 'owed' then
    local values = values_of(letter.fields or '') or {}
    return #values == 4 and values[2] .. '/' .. values[4] or ''
  end
  return letter.order or ''
end

-- note_handled(key, now, act, reason, by, letters): notes what was done with letters, each of them id, order and entry_id (what it came
-- back as, '' if it did not). reason and by are JSON strings. To be called after another write: this one a full memory would refuse.
local function note_handled(key, now, act, reason, by, letters)
  for _, letter in ipairs(letters) do
    redis.call('LPUSH', key, string.format('{"at":%s,"act":"%s","letter":"%s","order_id":%s,"entry_id":"%s","reason":%s,"by":%s}',
      now, act, letter.id, cjson.encode(letter.order), letter.entry_id, reason, by))
  end
  if #letters > 0 then
    redis.call('LTRIM', key, 0, MOST_HANDLED - 1)
  end
end
