-- set_namespace: changes what a namespace may be told after it was made.
--
-- KEYS[1] meta   ARGV: for each field to change: name, value; '' takes it out
-- Reply: 1, or 0 if there is no such namespace: nothing is written then.

if redis.call('HEXISTS', KEYS[1], 'partitions') == 0 then
  return 0
end
for i = 1, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return 1
