-- dead_letter: sets entries aside, whole, with the reason, and acknowledges them.
--
-- KEYS[1] the stream they are in   KEYS[2] dead
-- ARGV[1] group   ARGV[2] name of the stream (requests, log)   then for each entry: id, reason
-- An entry that is not pending any more was settled by somebody else and is left alone.
-- Reply: how many were set aside. On a crash: all or nothing. Works when memory is full.

local clock = redis.call('TIME')
local now = string.format('%.0f', tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000))
redis.call('XLEN', KEYS[2])
local letters, ids, seen = {}, {}, {}
for i = 3, #ARGV, 2 do
  local id = ARGV[i]
  local letter = not seen[id] and new_letter(KEYS[1], ARGV[1], ARGV[2], id, ARGV[i + 1], now)
  if letter then
    seen[id] = true
    ids[#ids + 1] = id
    letters[#letters + 1] = letter
  end
end
-- A write that a full memory does not refuse, and that changes nothing: after
-- the first write of a script none is refused.
redis.call('XDEL', KEYS[2], '0-1')
for _, letter in ipairs(letters) do
  redis.call('XADD', KEYS[2], '*', unpack(letter))
end
if #ids > 0 then
  redis.call('XACK', KEYS[1], ARGV[1], unpack(ids))
end
return #ids
