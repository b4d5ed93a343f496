-- post: adds a batch of confirmed orders to the sales and totals of their events, each once,
-- and acknowledges the facts.
--
-- KEYS, ARGV, reply: see lib/sales.lua. An order that has been cancelled since is not added:
-- its reversal may have come before. Repeating it changes nothing.

local records = redis.call('MGET', unpack(KEYS, 3 + E, 2 + E + N))
return change_sales(function(i, posted)
  return not posted and records[i] and string.sub(records[i], 1, 1) == 'c'
end, 1, 'SADD')
