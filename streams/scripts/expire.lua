-- expire: ends the holds of a batch whose deadline has passed, by Redis's clock.
--
-- KEYS, ARGV: see lib/orders.lua; KEYS[1] is the log, nothing is acknowledged. Items add nothing.
-- Verdicts: done. The record in the reply tells whether the order expired.
-- On a crash: all or nothing. Works when memory is full.

read_orders(3)
for i = 1, N do
  if state[number[i]] == 'h' then
    want_terms(number[i])
  end
end
read_events()
for i = 1, N do
  local o = number[i]
  if state[o] ~= 'h' then
    -- A member whose order is not held: only damage can leave one. It must not be found for ever.
    ended_holds[#ended_holds + 1] = member(o)
  elseif now >= tonumber(deadline[o]) then
    expire(o)
  end
  settle(i, DONE)
end
commit()
return reply()
