-- Shared by the scripts that keep what is owed.

-- owed_letter(group, order, note, at): the dead letter about an order, as XADD takes it. order is event_id/order_id,
-- note is what stands beside it in owed_notes: attempts|delay|fact|reason. The letter's fields name the order, as
-- netstrings (length ':' bytes ',').
local function owed_letter(group, order, note, at)
  local attempts, fact, reason = string.match(note, '^(%d+)|%d*|([^|]*)|(.*)$')
  local event_id, order_id = string.match(order, '^([^/]*)/(.*)$')
  local fields = {}
  for i, value in ipairs({ 'event_id', event_id, 'order_id', order_id }) do
    fields[i] = #value .. ':' .. value .. ','
  end
  return { 'stream', 'owed', 'group', group, 'entry_id', fact, 'reason', reason, 'deliveries', attempts, 'at', at, 'fields', table.concat(fields) }
end

-- newer(note, other): whether a note is of a newer fact than another one. One that is damaged is not.
local function newer(note, other)
  local pattern = '^%d+|%d*|(%d+)%-(%d+)|'
  local millis, sequence = string.match(note, pattern)
  local than_millis, than_sequence = string.match(other, pattern)
  if not millis or not than_millis then
    return false
  end
  if millis ~= than_millis then
    return tonumber(millis) > tonumber(than_millis)
  end
  return tonumber(sequence) > tonumber(than_sequence)
end
