-- Shared by the scripts that write and remove dead letters. Beside an order stands a line for each
-- of its requests that is a dead letter: dead_id entry_id type reason.

local function lines_of(key, order)
  local lines = {}
  for line in string.gmatch(redis.call('HGET', key, order) or '', '[^\n]+') do
    lines[#lines + 1] = line
  end
  return lines
end

-- forget(key, letter): takes the note of a letter away from its order. letter is the letter's
-- entry as XRANGE gives it. Begins with a write that a full memory does not refuse, whether
-- or not there is a note: after the first write of a script none is refused.
local function forget(key, letter)
  local order = ''
  for i = 1, #letter[2], 2 do
    if letter[2][i] == 'order' then
      order = letter[2][i + 1]
    end
  end
  local left = {}
  for _, line in ipairs(lines_of(key, order)) do
    if string.match(line, '^%d+:(%S+)') ~= letter[1] then
      left[#left + 1] = line
    end
  end
  redis.call('HDEL', key, order)
  if #left > 0 then
    redis.call('HSET', key, order, table.concat(left, '\n'))
  end
end
