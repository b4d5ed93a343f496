-- reopen_event: lets the sale of a closed event go on, on the terms that it has.
--
-- KEYS[1] event   KEYS[2] log
-- ARGV[1] the version that the caller has read   ARGV[2] type of the fact   ARGV[3] what it says: it has the terms of that version
-- Reply: 1 done, 0 the event has another version: read it again.
-- On a crash: all or nothing.

if redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] then
  return 0
end
redis.call('XADD', KEYS[2], '*', ARGV[2], ARGV[3])
redis.call('HSET', KEYS[1], 'closed', '0', 'version', string.format('%.0f', tonumber(ARGV[1]) + 1))
redis.call('HDEL', KEYS[1], 'cancelled', 'closed_reason', 'closed_by')
return 1
