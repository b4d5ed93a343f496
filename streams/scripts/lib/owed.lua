-- Shared by the scripts that set an order aside whose money cannot be settled.

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
