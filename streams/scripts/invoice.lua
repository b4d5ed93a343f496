-- invoice: puts an order on its customer's invoices where a full memory refuses the plain command.
--
-- KEYS[1] invoices of the customer   ARGV[1] event_id/order_id   ARGV[2] what it is to say: nothing, as long as its order does;
-- what is said there already stays
-- Reply: 1. Repeating it changes nothing.

redis.call('HDEL', KEYS[1], '') -- a write that is never refused, of a field that is never there: after it none is
if ARGV[2] == '' then
  redis.call('HSETNX', KEYS[1], ARGV[1], '')
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return 1
