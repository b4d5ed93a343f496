-- own: lists what is pending for a consumer, in order.
--
-- KEYS[1] stream   ARGV[1] group   ARGV[2] consumer   ARGV[3] from this id   ARGV[4] at most how many
-- ARGV[5] '1' if a process takes over what an earlier one of its name left: that counts as a delivery of
-- each, because the earlier one may have died of it. '0' only looks: no delivery is counted, and no entry
-- seems less idle for it. XREADGROUP with an id would do both, each time a reply gets lost.
-- Reply: {id, fields, deliveries} for each, fields false if the payload is gone.

local entries, taken = {}, {}
for i, pending in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], '+', ARGV[4], ARGV[2])) do
  local id, deliveries = pending[1], pending[4]
  local found = redis.call('XRANGE', KEYS[1], id, id)
  if ARGV[5] == '1' and found[1] then -- XCLAIM would drop one whose payload is gone, and nobody would hear of it
    taken[#taken + 1] = id
    deliveries = deliveries + 1
  end
  entries[i] = { id, found[1] and found[1][2] or false, deliveries }
end
if #taken > 0 then
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(taken))
end
return entries
