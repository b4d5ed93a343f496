-- own: lists what is pending for a consumer, in order. It only looks: no delivery is counted, and no
-- entry seems less idle for it. XREADGROUP with an id would do both, each time a reply gets lost.
--
-- KEYS[1] stream   ARGV[1] group   ARGV[2] consumer   ARGV[3] after this id   ARGV[4] at most how many
-- Reply: {id, fields} for each, fields false if the payload is gone.

local entries = {}
for i, pending in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '(' .. ARGV[3], '+', ARGV[4], ARGV[2])) do
  local found = redis.call('XRANGE', KEYS[1], pending[1], pending[1])
  entries[i] = { pending[1], found[1] and found[1][2] or false }
end
return entries
