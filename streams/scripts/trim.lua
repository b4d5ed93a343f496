-- trim: drops the entries of a stream that every group is done with, and notes how fast it fills and empties.
--
-- KEYS[1] stream   KEYS[2] pace
-- ARGV[1] the group that empties it
-- Keeps everything from the smallest of: a group's oldest pending entry, or, if it has none, the
-- entry after the last one it was given. A stream without groups is left alone.
-- pace is a list of samples, the oldest first, half a second apart at least (see layout.Sample): id of the newest entry,
-- entries ever added, milliseconds, entries that the group was given ('-' if Redis does not know), and by how many
-- entries a place between it and the sample before may be off, as far as is known from samples that were dropped; '-' if
-- there was none of shortly before. There is no list while the stream is empty.
-- Reply: how many entries were dropped, how many are left.

local MOST, THIN, RECENT = 800, 40, 60 -- samples; how many are dropped when there are more; the newest, which are not
local APART, HOLE, OLD = 500, 3000, 60000 -- milliseconds

local function parse(id)
  local millis, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(millis), tonumber(seq)
end

local function int(n)
  return string.format('%.0f', n)
end

-- fields(reply): what XINFO says, by name.
local function fields(reply)
  local info = {}
  for i = 1, #reply, 2 do
    info[reply[i]] = reply[i + 1]
  end
  return info
end

-- read(text): a sample.
local function read(text)
  local rest, off = string.match(text, '^(.*) (%S+)$')
  local id, added, at = string.match(rest, '^(%S+) (%d+) (%d+) ')
  return { rest = rest, id = id, millis = tonumber(string.match(id, '^%d+')), added = tonumber(added), at = tonumber(at), off = tonumber(off) }
end

-- told(a, b, millis): how many entries are taken to have been added by then, if nothing is known between two samples: none while the
-- first one says that nothing came, then one after the other.
local function told(a, b, millis)
  local from = math.max(a.millis, a.at - 1)
  if millis <= from or b.millis <= from then
    return a.added
  end
  return a.added + (b.added - a.added) * math.min((millis - from) / (b.millis - from), 1)
end

-- thin(delivered, now): drops samples of before the entry that was given last, and of the others those without which
-- places are told nearly as well.
local function thin(delivered, now)
  local list = {}
  for i, text in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
    list[i] = read(text)
  end
  local first = 1
  while first < #list - RECENT and list[first + 1].millis < delivered and list[first].at < now - OLD do
    first = first + 1
  end
  local cost, off, order = {}, {}, {}
  for i = first + 1, #list - RECENT do
    local a, s, b = list[i - 1], list[i], list[i + 1]
    if s.off and b.off then
      -- It tells of its newest entry, and that none came after that until it was made.
      off[i] = math.max(math.abs(s.added - told(a, b, s.millis)), math.abs(s.added - told(a, b, s.at - 1)), s.off, b.off)
      cost[i] = off[i] + (b.added - a.added) / 100
      order[#order + 1] = i
    end
  end
  table.sort(order, function(i, j) return cost[i] < cost[j] or cost[i] == cost[j] and i < j end)
  local gone, left = {}, THIN - first + 1
  for _, i in ipairs(order) do
    if left > 0 and not gone[i - 1] and not gone[i + 1] then
      gone[i], left = true, left - 1
      list[i + 1].off = off[i]
    end
  end
  for i = #list - RECENT, first, -1 do -- where that is not enough: never more than there may be
    if left > 0 and not gone[i] then
      gone[i], left = true, left - 1
      list[i + 1].off = nil
    end
  end
  local kept = {}
  for i = first, #list do
    if not gone[i] then
      kept[#kept + 1] = list[i].rest .. ' ' .. (list[i].off and int(math.ceil(list[i].off)) or '-')
    end
  end
  redis.call('RPUSH', KEYS[2], unpack(kept))
  redis.call('LTRIM', KEYS[2], -#kept, -1)
end

-- note(delivered, given): adds a sample.
local function note(delivered, given)
  local info, clock = fields(redis.call('XINFO', 'STREAM', KEYS[1])), redis.call('TIME')
  local id, added, now = info['last-generated-id'], info['entries-added'], tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
  local last, off, anew = redis.call('LINDEX', KEYS[2], -1), '-', false
  if last then
    last = read(last)
    local millis, seq = parse(id)
    local last_millis, last_seq = parse(last.id)
    if added < last.added or now < last.at or millis < last_millis or millis == last_millis and seq < last_seq then
      anew = true -- those are of other data, or of another clock
    elseif now - last.at < APART then
      return
    elseif now - last.at <= HOLE then
      off = '0'
    end
  end
  local many = redis.call('RPUSH', KEYS[2], id .. ' ' .. int(added) .. ' ' .. int(now) .. ' ' .. (given and int(given) or '-') .. ' ' .. off)
  if anew then
    redis.call('LTRIM', KEYS[2], -1, -1)
  elseif many > MOST then
    thin(delivered, now)
  end
end

local min_millis, min_seq, delivered, given
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local info = fields(group)
    local millis, seq = parse(info['last-delivered-id'])
    if info['name'] == ARGV[1] then
      delivered, given = millis, info['entries-read']
    end
    seq = seq + 1
    local pending = redis.call('XPENDING', KEYS[1], info['name'])
    if pending[1] > 0 then
      millis, seq = parse(pending[2])
    end
    if not min_millis or millis < min_millis or (millis == min_millis and seq < min_seq) then
      min_millis, min_seq = millis, seq
    end
  end
end
redis.call('LLEN', KEYS[2])
local dropped = min_millis and redis.call('XTRIM', KEYS[1], 'MINID', '=', int(min_millis) .. '-' .. int(min_seq)) or 0
local left = redis.call('XLEN', KEYS[1])
if left == 0 then
  redis.call('DEL', KEYS[2])
elseif delivered then
  note(delivered, given)
end
return { dropped, left }
