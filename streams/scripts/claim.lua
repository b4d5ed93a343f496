-- claim: hands the entries of a consumer that is gone to the others: they look idle for a day, so that the next reclaim
-- takes them. Who asked for it, and why, is noted in the same step.
--
-- KEYS[1] stream   KEYS[2] consumers   KEYS[3] claims (list, the newest first)
-- ARGV[1] group   ARGV[2] consumer   ARGV[3] the id behind which to begin ('-' for the start)
-- ARGV[4] id of the claim, the same in all calls for one group that belong together   ARGV[5] reason   ARGV[6] by: JSON strings
-- At most PAGE entries at a time. Those that were handed back, or redriven, wait for the next reclaim already, and are left.
-- Reply: how many were handed over, how many are left alone, the last id that was looked at ('' at the end); or 'alive', and
-- nothing changed. On a crash: all or nothing. Repeating it changes nothing more. Works when memory is full.

local PAGE, DAY, MOST_CLAIMS = 1000, 86400000, 100

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local alive_until = redis.call('ZSCORE', KEYS[2], ARGV[1] .. '/' .. ARGV[2])
if alive_until and tonumber(alive_until) > now then
  return 'alive'
end
local newest = redis.call('LINDEX', KEYS[3], 0)
local page = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3] == '-' and '-' or '(' .. ARGV[3], '+', PAGE, ARGV[2])
local ids = {}
-- XCLAIM is a write that a full memory does not refuse; after it none is.
for _, entry in ipairs(page) do
  if entry[3] < DAY then
    ids[#ids + 1] = entry[1]
  end
end
if #ids > 0 then
  claim(KEYS[1], ARGV[1], ARGV[2], ids, 'IDLE', DAY, 'JUSTID')
  local begun = '{"claim":"' .. ARGV[4] .. '",'
  local before = 0
  if newest and string.sub(newest, 1, #begun) == begun then
    before = tonumber(string.match(newest, '"entries":(%d+)'))
  end
  local line = string.format('%s"at":%.0f,"group":"%s","consumer":"%s","entries":%.0f,"reason":%s,"by":%s}',
    begun, now, ARGV[1], ARGV[2], before + #ids, ARGV[5], ARGV[6])
  if before > 0 then
    redis.call('LSET', KEYS[3], 0, line)
  else
    redis.call('LPUSH', KEYS[3], line)
  end
  redis.call('LTRIM', KEYS[3], 0, MOST_CLAIMS - 1)
end
return { #ids, #page - #ids, #page == PAGE and page[#page][1] or '' }
