-- keep_alive: marks entries as being worked on, and their consumer as alive.
--
-- KEYS[1] stream   KEYS[2] consumers (zset: group/consumer by the time until which it counts as alive)
-- KEYS[3] delivered (hash: group -> notes, see note)
-- ARGV[1] group   ARGV[2] consumer   ARGV[3] alive for how many milliseconds   then ids
-- Only entries that still are this consumer's are claimed (JUSTID: no delivery is counted), so a
-- worker that was frozen does not take back what others have taken over meanwhile.
-- Reply: the ids that are not this consumer's any more.

local NOTE_EVERY, MOST_NOTES = 5000, 64 -- milliseconds; together more than five minutes
local DAY = 86400000 -- so long an entry seems to be idle that was handed back or redriven

-- before: whether an entry came before another one.
local function before(a, b)
  local a_millis, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_millis, b_seq = string.match(b, '^(%d+)-(%d+)$')
  if a_millis ~= b_millis then
    return tonumber(a_millis) < tonumber(b_millis)
  end
  return tonumber(a_seq) < tonumber(b_seq)
end

-- note: keeps by when entries had been given to workers, up to which id, for whoever asks since when
-- the oldest is in hand: that and no more can be told from it. Redis tells for how long an entry is idle
-- only, and keeping it alive ends that. Entries are given out in the order of their ids, so a time and
-- an id say it of all before. A value is 'milliseconds id milliseconds id ...', the oldest first,
-- without what is about entries that nobody has in hand any more.
local function note(at, id)
  local oldest = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1)[1]
  if not oldest then
    return -- to claim an entry whose payload is gone drops it
  end
  local notes, last_at, last_id = {}, 0, '0-0'
  for noted_at, noted_id in string.gmatch(redis.call('HGET', KEYS[3], ARGV[1]) or '', '(%d+) (%d+%-%d+)') do
    last_at, last_id = tonumber(noted_at), noted_id
    if not before(noted_id, oldest[1]) then
      notes[#notes + 1] = noted_at .. ' ' .. noted_id
    end
  end
  if at < last_at + NOTE_EVERY or not before(last_id, id) then
    return
  end
  if #notes >= MOST_NOTES then
    table.remove(notes, 2) -- the first is that of the oldest entry; the latest are those of the others
  end
  notes[#notes + 1] = string.format('%.0f ', at) .. id
  redis.call('HSET', KEYS[3], ARGV[1], table.concat(notes, ' '))
end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local kept, lost, newest, idle = {}, {}, nil, nil
if #ARGV > 3 then
  redis.call('ZCARD', KEYS[2])
  redis.call('HLEN', KEYS[3])
  local own = own_entries(KEYS[1], ARGV[1], ARGV[2])
  for i = 4, #ARGV do
    local id = ARGV[i]
    local list = own[id] and kept or lost
    list[#list + 1] = id
    if own[id] and (not newest or before(newest, id)) then
      newest, idle = id, own[id]
    end
  end
  claim(KEYS[1], ARGV[1], ARGV[2], kept, 'JUSTID')
end
local until_then, who = string.format('%.0f', now + tonumber(ARGV[3])), ARGV[1] .. '/' .. ARGV[2]
local said = redis.pcall('ZADD', KEYS[2], until_then, who)
if type(said) == 'table' and said['err'] then
  -- A write that a full memory does not refuse, and that changes nothing: after it none is refused.
  redis.call('ZREM', KEYS[2], '')
  redis.call('ZADD', KEYS[2], until_then, who)
end
if newest then
  local at = idle < DAY and now - idle or now
  -- Time went on between TIME and XPENDING: it was not given out before it was there.
  note(math.max(at, tonumber(string.match(newest, '^%d+'))), newest)
end
return lost
