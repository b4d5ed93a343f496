-- forget: makes orders unknown again that were rejected because there was no such event, if they are still as they were then.
--
-- KEYS[1] log   KEYS[2] events   KEYS[3] unknown   then the hashes that events share
-- ARGV[1] the branch that the partition must have   ARGV[2] M, how many members of unknown follow that are dealt with; they;
--   then for each order of theirs: event_id/order_id, its version, number (from 1) of its hash, event_id
-- Reply: how many orders were forgotten. One that has another version is passed over. -1: the partition has another branch.
-- On a crash: all or nothing. Repeating it changes nothing more. Works when memory is full.

local KEYS, ARGV = KEYS, ARGV
local M = tonumber(ARGV[2])
local WIDTH = 4

local is = redis.call('HMGET', KEYS[2], '#now', '#branch')
if (is[2] or '') ~= ARGV[1] then
  return -1
end
local gone, lines, left = {}, {}, {} -- by hash: names of orders; facts; by event: how many orders there are from before it
redis.call('XLEN', KEYS[1])
redis.call('ZCARD', KEYS[3])
for at = M + 3, #ARGV, WIDTH do
  local name, version, hash, event = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local record = redis.call('HGET', KEYS[3 + tonumber(hash)], name)
  local is_now = record and string.find(record, version .. '|', 1, true) == 1
  -- Of an event that was listed since, and forgotten, orders go with that.
  if is_now and not string.match(redis.call('HGET', KEYS[2], event) or '', '^%d+|f|') then
    gone[hash] = gone[hash] or {}
    table.insert(gone[hash], name)
    lines[#lines + 1] = name .. '|' .. version
    left[event] = (left[event] or tonumber(redis.call('HGET', KEYS[2], event .. '#early') or '0')) - 1
  end
end
local now = int(time_of(is[1]))

-- The first write is one that a full memory does not refuse; after it none is.
redis.call('ZREM', KEYS[3], unpack(ARGV, 3, M + 2))
if #lines == 0 then
  return 0
end
for hash, names in pairs(gone) do
  redis.call('HDEL', KEYS[3 + tonumber(hash)], unpack(names))
end
append(KEYS[1], now, 'forgotten', lines, function() end)
redis.call('HSET', KEYS[2], '#now', now)
for event, count in pairs(left) do
  if count > 0 then
    redis.call('HSET', KEYS[2], event .. '#early', int(count))
  else
    redis.call('HDEL', KEYS[2], event .. '#early')
  end
end
return #lines
