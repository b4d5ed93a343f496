-- report: what troubles a worker has now, all of them.
--
-- KEYS[1] troubles   ARGV[1] worker   then for each trouble: what it is about, its code and its
-- text as JSON strings, how long it has lasted (milliseconds)
-- A field is worker/what, its value {"code":…,"text":…,"since_ms":…,"seen_ms":…}. What this worker said
-- before is forgotten, and so is what nobody has said again for an hour: its worker is gone.
-- Reply: how many there are of all workers. On a crash: all or nothing. Works when memory is full.

local FORGOTTEN_AFTER = 3600000

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local mine = ARGV[1] .. '/'
local all = redis.call('HGETALL', KEYS[1])
local gone, count = {}, 0
for i = 1, #all, 2 do
  local seen = tonumber(string.match(all[i + 1], '"seen_ms":(%d+)}$') or '0')
  if string.sub(all[i], 1, #mine) == mine or seen < now - FORGOTTEN_AFTER then
    gone[#gone + 1] = all[i]
  else
    count = count + 1
  end
end
redis.call('HDEL', KEYS[1], '') -- a write that is never refused, of a field that is never there: after it none is
local said = {}
for i = 2, #ARGV, 4 do
  said[mine .. ARGV[i]] = true
  redis.call('HSET', KEYS[1], mine .. ARGV[i], string.format('{"code":%s,"text":%s,"since_ms":%.0f,"seen_ms":%.0f}',
    ARGV[i + 1], ARGV[i + 2], now - tonumber(ARGV[i + 3]), now))
  count = count + 1
end
local ended = {}
for _, field in ipairs(gone) do
  if not said[field] then
    ended[#ended + 1] = field
  end
end
for first = 1, #ended, 1000 do
  redis.call('HDEL', KEYS[1], unpack(ended, first, math.min(first + 999, #ended)))
end
return count
