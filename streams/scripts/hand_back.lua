-- hand_back: makes a consumer's entries look idle for a day, so that the next reclaim takes them.
--
-- KEYS[1] stream   ARGV[1] group   ARGV[2] consumer   then ids
-- Entries that are not this consumer's any more are left alone. Reply: how many were handed back.

local own = own_entries(KEYS[1], ARGV[1], ARGV[2])
local ids = {}
for i = 3, #ARGV do
  if own[ARGV[i]] then
    ids[#ids + 1] = ARGV[i]
  end
end
claim(KEYS[1], ARGV[1], ARGV[2], ids, 'IDLE', 86400000, 'JUSTID')
return #ids
