-- Shared by the scripts that set entries aside.

-- new_letter(stream, group, name, id, reason, at): the dead letter of an entry, as XADD takes it,
-- and the entry's fields; nil if the entry is not pending any more: somebody else has settled it.
-- The entry's fields are kept as netstrings (length ':' bytes ','), name and value in turn, in
-- one value, so that no field name, no byte and no number of fields can get in the way.
local function new_letter(stream, group, name, id, reason, at)
  local pending = redis.call('XPENDING', stream, group, id, id, 1)
  if #pending == 0 then
    return nil
  end
  local found = redis.call('XRANGE', stream, id, id)
  local fields = found[1] and found[1][2] or {}
  local netstrings = {}
  for j, value in ipairs(fields) do
    netstrings[j] = #value .. ':' .. value .. ','
  end
  return { 'stream', name, 'group', group, 'entry_id', id, 'reason', reason,
    'deliveries', string.format('%.0f', pending[1][4]), 'at', at, 'fields', table.concat(netstrings) }, fields
end
