-- discard: removes dead letters for good, with their notes.
--
-- KEYS[1] dead   KEYS[2] set_aside   ARGV ids of the letters
-- Reply, for each: 1 if it was removed, 0 if there is no such letter (somebody was faster).
-- On a crash: all or nothing. Works when memory is full.

local removed = {}
for i, id in ipairs(ARGV) do
  local found = redis.call('XRANGE', KEYS[1], id, id)[1]
  if found then
    forget(KEYS[2], found)
  end
  removed[i] = found and redis.call('XDEL', KEYS[1], id) or 0
end
return removed
