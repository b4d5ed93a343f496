-- discard: removes dead letters for good, with their notes.
--
-- KEYS[1] dead   KEYS[2] set_aside   KEYS[3] handled
-- ARGV[1] what was done with them: discarded, or rerouted, if they were published elsewhere before   ARGV[2] reason   ARGV[3] by: who has it done, and
-- why, as JSON strings: noted in the same step   ARGV[4…] of each letter its id, and what it was published as, '' if it was not
-- Reply, for each: 1 if it was removed, 0 if there is no such letter (somebody was faster).
-- On a crash: all or nothing. Works when memory is full.

local clock = redis.call('TIME')
local now = string.format('%.0f', tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000))

redis.call('LLEN', KEYS[3])
local removed, done = {}, {}
for i = 4, #ARGV, 2 do
  local found = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  if found then
    local letter = {}
    for j = 1, #found[2], 2 do
      letter[found[2][j]] = found[2][j + 1]
    end
    done[#done + 1] = { id = ARGV[i], order = order_of(letter), entry_id = ARGV[i + 1] }
    forget(KEYS[2], found)
  end
  removed[#removed + 1] = found and redis.call('XDEL', KEYS[1], ARGV[i]) or 0
end
note_handled(KEYS[3], now, ARGV[1], ARGV[2], ARGV[3], done)
return removed
