-- Shared by the scripts that write and remove dead letters. Beside an order stands a line for each
-- of its requests that is a dead letter, the oldest first: dead_id entry_id type reason. If there
-- are too many, the oldest are displaced, and a first line says how many of them are still letters:
-- displaced n.

-- notes_of(key, order): the lines of its letters, and how many letters have none any more.
local function notes_of(key, order)
  local lines, displaced = {}, 0
  for line in string.gmatch(redis.call('HGET', key, order) or '', '[^\n]+') do
    local n = string.match(line, '^displaced (%d+)$')
    if n then
      displaced = tonumber(n)
    else
      lines[#lines + 1] = line
    end
  end
  return lines, displaced
end

-- write_notes(key, order, lines, displaced): begins with a write that a full memory does not
-- refuse, and that changes nothing, whatever there is to write: after the first write of a script none is refused.
local function write_notes(key, order, lines, displaced)
  redis.call('HDEL', key, '')
  if displaced > 0 then
    lines = { string.format('displaced %.0f', displaced), unpack(lines) }
  end
  if #lines > 0 then
    redis.call('HSET', key, order, table.concat(lines, '\n'))
  else
    redis.call('HDEL', key, order)
  end
end

-- forget(key, letter): takes the note of a letter away from its order. letter is the letter's
-- entry as XRANGE gives it. Works when memory is full, see write_notes.
local function forget(key, letter)
  local order = ''
  for i = 1, #letter[2], 2 do
    if letter[2][i] == 'order' then
      order = letter[2][i + 1]
    end
  end
  local lines, displaced = notes_of(key, order)
  local left = {}
  for _, line in ipairs(lines) do
    if string.match(line, '^%d+:(%S+)') ~= letter[1] then
      left[#left + 1] = line
    end
  end
  if #left == #lines and displaced > 0 then
    displaced = displaced - 1
  end
  write_notes(key, order, left, displaced)
end
