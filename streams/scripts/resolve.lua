-- resolve: brings a batch of the gateway's answers. The commit point of a purchase: before
-- it the tickets are only held, after it they are sold (or free again) and the entry is gone.
--
-- KEYS, ARGV: see lib/orders.lua; KEYS[1] is the requests stream. Each item adds:
--   outcome (approved, declined, unknown), authorization_id ('' unless approved)
-- Verdicts: done (acknowledged), void (the order ended without this payment: void it, then
--   acknowledge), wait (unknown, and the hold is still alive)
-- On a crash: all or nothing. Repeating it changes nothing more. Works when memory is full.

read_orders(5)
for i = 1, N do
  local order = items[i].order
  if order.state == 'h' then
    want(order.event, order.section, order.customer)
  end
end
read_events()

local function confirm(order, authorization)
  order.state = 'c'
  order.authorization = authorization
  move(order, 0, -1, 1)
  free_slot(order)
  ended_holds[#ended_holds + 1] = member(order)
  record_fact(order, 'confirmed_at', 'type', 'confirmed', 'event_id', order.event.id, 'order_id', order.order_id,
    'customer_id', order.customer, 'section', order.section, 'quantity', order.quantity,
    'unit_price', order.unit_price, 'currency', order.currency, 'authorization_id', authorization)
end

local function decline(order)
  order.state = 'd'
  move(order, 1, -1, 0)
  free_slot(order)
  ended_holds[#ended_holds + 1] = member(order)
  record_fact(order, 'resolved_at', 'type', 'declined', 'event_id', order.event.id, 'order_id', order.order_id)
end

for i = 1, N do
  local item = items[i]
  local order, outcome = item.order, ARGV[item.at + 4]
  local verdict = DONE
  if order.state == 'h' then
    if outcome == 'declined' then
      decline(order)
    elseif now >= tonumber(order.deadline) then
      expire(order)
      verdict = VOID
    elseif outcome == 'approved' then
      confirm(order, ARGV[item.at + 5])
    else
      verdict = WAIT
    end
  elseif order.state == 'e' or order.state == 'x' then
    verdict = outcome == 'declined' and DONE or VOID
  elseif order.state ~= 'c' and outcome == 'approved' then
    verdict = VOID
  end
  settle(item, verdict)
end
commit()
return reply()
