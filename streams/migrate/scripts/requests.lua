-- requests: lets the new group of a partition's requests begin exactly where the old one is, and ends that.
--
-- KEYS[1] what stands in place of the old log   KEYS[2] requests   KEYS[3] old delivered   KEYS[4] new delivered
-- ARGV[1] what must stand there   ARGV[2] old group   ARGV[3] new group   ARGV[4] consumer that gets what is pending
-- ARGV[5] for how long that shall seem to be idle (milliseconds): it is reclaimed at once
-- Delivery counts stay. An entry whose payload is gone cannot become pending anew: nobody could serve it either.
-- Reply: how many were lost; or {} if another run has taken the partition over; nothing changed then.
-- On a crash: all or nothing. Repeating it changes nothing more: there is no old group then.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {}
end

local PAGE = 1000 -- Lua's stack does not bear any number of ids

local old
if redis.call('EXISTS', KEYS[2]) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[2])) do
    local info = {}
    for i = 1, #group, 2 do
      info[group[i]] = group[i + 1]
    end
    if info['name'] == ARGV[2] then
      old = info
    end
  end
end
if not old then
  return { 0 }
end
if old['entries-read'] then
  redis.call('XGROUP', 'CREATE', KEYS[2], ARGV[3], old['last-delivered-id'], 'ENTRIESREAD', old['entries-read'])
else
  redis.call('XGROUP', 'CREATE', KEYS[2], ARGV[3], old['last-delivered-id'])
end
local lost, from = 0, '-'
repeat
  local page = redis.call('XPENDING', KEYS[2], ARGV[2], from, '+', PAGE)
  local by_count = {}
  for _, entry in ipairs(page) do
    local ids = by_count[entry[4]] or {}
    by_count[entry[4]] = ids
    ids[#ids + 1] = entry[1]
    from = '(' .. entry[1]
  end
  for count, ids in pairs(by_count) do
    local n = #ids
    for _, option in ipairs({ 'IDLE', ARGV[5], 'RETRYCOUNT', string.format('%.0f', count), 'FORCE', 'JUSTID' }) do
      ids[#ids + 1] = option
    end
    lost = lost + n - #redis.call('XCLAIM', KEYS[2], ARGV[3], ARGV[4], 0, unpack(ids))
  end
until #page < PAGE
redis.call('XGROUP', 'DESTROY', KEYS[2], ARGV[2])
local notes = redis.call('HGET', KEYS[3], ARGV[2])
if notes then
  redis.call('HSET', KEYS[4], ARGV[3], notes)
end
return { lost }
