-- trim: drops the entries of a stream that every group is done with.
--
-- KEYS[1] stream
-- Keeps everything from the smallest of: a group's oldest pending entry, or, if it has none, the
-- entry after the last one it was given. A stream without groups is left alone.
-- Reply: how many entries were dropped.

local function parse(id)
  local millis, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(millis), tonumber(seq)
end

if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
local min_millis, min_seq
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local info = {}
  for i = 1, #group, 2 do
    info[group[i]] = group[i + 1]
  end
  local millis, seq = parse(info['last-delivered-id'])
  seq = seq + 1
  local pending = redis.call('XPENDING', KEYS[1], info['name'])
  if pending[1] > 0 then
    millis, seq = parse(pending[2])
  end
  if not min_millis or millis < min_millis or (millis == min_millis and seq < min_seq) then
    min_millis, min_seq = millis, seq
  end
end
if not min_millis then
  return 0
end
return redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%.0f-%.0f', min_millis, min_seq))
