-- dead_letter: sets entries aside, whole, with the reason, and acknowledges them.
--
-- KEYS[1] the stream they are in   KEYS[2] dead
-- ARGV[1] group   ARGV[2] name of the stream (requests, log)   then for each entry: id, reason
-- An entry that is not pending any more was settled by somebody else and is left alone.
-- The entry's fields are kept as netstrings (length ':' bytes ','), name and value in turn, in
-- one value, so that no field name, no byte and no number of fields can get in the way.
-- Reply: how many were set aside. On a crash: all or nothing. Works when memory is full.

local clock = redis.call('TIME')
local now = string.format('%.0f', tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000))
redis.call('XLEN', KEYS[2])
local letters, ids, seen = {}, {}, {}
for i = 3, #ARGV, 2 do
  local id = ARGV[i]
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)
  if #pending > 0 and not seen[id] then
    seen[id] = true
    local found = redis.call('XRANGE', KEYS[1], id, id)
    local netstrings = {}
    if found[1] then
      for j, value in ipairs(found[1][2]) do
        netstrings[j] = #value .. ':' .. value .. ','
      end
    end
    ids[#ids + 1] = id
    letters[#letters + 1] = { 'stream', ARGV[2], 'group', ARGV[1], 'entry_id', id, 'reason', ARGV[i + 1],
      'deliveries', string.format('%.0f', pending[1][4]), 'at', now, 'fields', table.concat(netstrings) }
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
