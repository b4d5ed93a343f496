-- discard: removes dead letters for good.
--
-- KEYS[1] dead   ARGV ids of the letters
-- Reply, for each: 1 if it was removed, 0 if there is no such letter (somebody was faster).

local removed = {}
for i, id in ipairs(ARGV) do
  removed[i] = redis.call('XDEL', KEYS[1], id)
end
return removed
