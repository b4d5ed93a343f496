-- invoice: writes one line of a customer's invoices where the plain command does not do: where a full memory
-- refuses it, or there is a line already.
--
-- KEYS[1] invoices of the customer
-- ARGV[1] event_id/order_id   ARGV[2] the line as JSON
-- ARGV[3] '1' of a confirmation: only if there is none of the same confirmation yet; '0' in any case
-- An order is confirmed once. A line with another time of that is of a past that Redis lost (a failover, an older
-- copy), and gives way whatever it says. One with the same time stays: it may be cancelled since.
-- Reply: 1 if it was written, 0 if not. Repeating it changes nothing.

local function confirmed_at(line)
  return string.match(line, '"confirmed_at":(%d+)')
end

if ARGV[3] == '1' then
  local there = redis.call('HGET', KEYS[1], ARGV[1])
  if there and confirmed_at(there) == confirmed_at(ARGV[2]) then
    return 0
  end
end
redis.call('HDEL', KEYS[1], '') -- a write that is never refused, of a field that is never there: after it none is
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
