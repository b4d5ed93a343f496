-- discard: removes a dead letter for good, with its note.
--
-- KEYS[1] dead   KEYS[2] set_aside   ARGV[1] id of the letter
-- Reply: 1; 0 if there is no such letter (somebody was faster).
-- On a crash: all or nothing. Works when memory is full.

local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #found == 0 then
  return 0
end
forget(KEYS[2], found[1])
return redis.call('XDEL', KEYS[1], ARGV[1])
