-- reverse: takes a batch of cancelled orders out of the sales and totals of their events, if
-- they are there, and acknowledges the facts.
--
-- KEYS, ARGV, reply: see lib/sales.lua. Repeating it changes nothing.

return change_sales(function(_, posted)
  return posted
end, -1, 'SREM')
