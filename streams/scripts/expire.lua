-- expire: ends the holds of a batch whose deadline has passed, by Redis's clock.
--
-- KEYS, ARGV: see lib/orders.lua; KEYS[1] is the log, nothing is acknowledged. Items add nothing.
-- Verdicts: done. The record in the reply tells whether the order expired.
-- On a crash: all or nothing. Works when memory is full.

read_orders(3)
for i = 1, N do
  local order = items[i].order
  if order.state == 'h' then
    want(order.event, order.section, order.customer)
  end
end
read_events()
for i = 1, N do
  local item = items[i]
  local order = item.order
  if order.state == 'h' and now >= tonumber(order.deadline) then
    expire(order)
  elseif order.state ~= 'h' then
    -- A member whose order is not held any more: only damage can leave one. It must not be found for ever.
    ended_holds[#ended_holds + 1] = member(order)
  end
  settle(item, DONE)
end
commit()
return reply()
