-- invoice: writes one line of a customer's invoices where a full memory refuses the plain command.
--
-- KEYS[1] invoices of the customer
-- ARGV[1] event_id/order_id   ARGV[2] the line as JSON   ARGV[3] '1' only if there is none yet, '0' in any case
-- Reply: 1 if it was written new, 0 if there was one. Repeating it changes nothing.

redis.call('HDEL', KEYS[1], '') -- a write that is never refused, of a field that is never there: after it none is
return redis.call(ARGV[3] == '1' and 'HSETNX' or 'HSET', KEYS[1], ARGV[1], ARGV[2])
