-- cancel: gives a batch of orders up: unseen, held or confirmed. Other states stay.
--
-- KEYS, ARGV: see lib/orders.lua; KEYS[1] is the stream that the entries are in. Each item adds:
--   reason (requested, or capture_failed, which only undoes a confirmed order)
-- Verdicts: done (acknowledged)
-- On a crash: all or nothing. Repeating it changes nothing more. Works when memory is full,
-- unless every order in it is unseen.

read_orders(4)
for i = 1, N do
  local order = items[i].order
  if order.state == 'h' or order.state == 'c' then
    want(order.event, order.section, order.customer)
  end
end
read_events()

local function cancel(order, reason)
  local was = 'none'
  if order.state == 'h' then
    was = 'held'
    move(order, 1, -1, 0)
    free_slot(order)
    ended_holds[#ended_holds + 1] = member(order)
  elseif order.state == 'c' then
    was = 'confirmed'
    move(order, 1, 0, -1)
    -- Not in the holds any more; taking it out again is a first write that a full memory does not refuse.
    ended_holds[#ended_holds + 1] = member(order)
  end
  order.state = 'x'
  order.reason = reason
  if was == 'none' then
    record_fact(order, 'resolved_at', 'type', 'cancelled', 'event_id', order.event.id, 'order_id', order.order_id,
      'reason', reason, 'was', was)
  else
    record_fact(order, 'resolved_at', 'type', 'cancelled', 'event_id', order.event.id, 'order_id', order.order_id,
      'reason', reason, 'was', was, 'customer_id', order.customer, 'section', order.section,
      'quantity', order.quantity, 'unit_price', order.unit_price, 'currency', order.currency,
      'confirmed_at', order.confirmed_at)
  end
end

for i = 1, N do
  local item = items[i]
  local order, reason = item.order, ARGV[item.at + 4]
  if order.state == 'c' or (reason ~= 'capture_failed' and (order.state == '' or order.state == 'h')) then
    cancel(order, reason)
  end
  settle(item, DONE)
end
commit()
return reply()
