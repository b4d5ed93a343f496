-- Shared by the scripts that write facts.

local MOST_FACTS = 64 -- of one entry

-- int(n): the digits of a whole number up to 2^53. Lua itself prints large ones with 14 digits only, and '%.0f' takes twice as long.
local function int(n)
  return string.format('%d', n)
end

-- time_of(newest): now, in milliseconds: the one by which a script decides, and stamps. It is never
-- before the newest log entry, whose time (ClockField) is given. TIME advances within a script, so call it once.
local function time_of(newest)
  local clock = redis.call('TIME')
  return math.max(tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000), tonumber(newest or '0'))
end

-- append(log, now, fact, lines, each): adds the facts of one type at a time (milliseconds, as it is written), and calls
-- each(id, first, last) for every entry with the lines that it got.
local function append(log, now, fact, lines, each)
  for first = 1, #lines, MOST_FACTS do
    local last = math.min(first + MOST_FACTS - 1, #lines)
    each(redis.call('XADD', log, now .. '-*', fact, table.concat(lines, '\n', first, last)), first, last)
  end
end
