-- create_event: lists an event, once.
--
-- KEYS[1] events   KEYS[2] log   KEYS[3] places
-- ARGV[1] event_id   ARGV[2] the branch that the partition must have   ARGV[3] what the fact says
-- ARGV[4] F, how many fields of the event follow: name, value; then those of places likewise
-- Reply: 'listed'; 'there' if there is an event of that name; 'branch' if the partition has another branch (read it
-- again); 'no log' if there is none, so no namespace. Nothing changes then.
-- On a crash: all or nothing. A full memory refuses it.

local is = redis.call('HMGET', KEYS[1], ARGV[1], '#now', '#branch')
if (is[3] or '') ~= ARGV[2] then
  return 'branch'
end
if is[1] then
  return 'there'
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  return 'no log'
end
redis.call('XLEN', KEYS[2])
redis.call('HLEN', KEYS[3])
local now = time_of(is[2])
append(KEYS[2], int(now), 'listed', { ARGV[3] }, function() end)
local last = 4 + 2 * tonumber(ARGV[4])
redis.call('HSET', KEYS[1], '#now', int(now), unpack(ARGV, 5, last))
if last < #ARGV then
  redis.call('HSET', KEYS[3], unpack(ARGV, last + 1))
end
return 'listed'
