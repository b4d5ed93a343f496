-- change_webhook: adds, changes or removes an endpoint, or its secrets, if what is stored is what was read.
--
-- KEYS[1] webhooks, or webhook_secrets
-- ARGV[1] id   ARGV[2] what must be stored, '' for nothing   ARGV[3] what is to be, '' for nothing
-- Reply: 1 if it was so. On a crash: all or nothing. Works when memory is full.

if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then
  return 0
end
redis.call('HDEL', KEYS[1], '') -- a write that is never refused, of a field that is never there: after it none is
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return 1
