-- sign_in: says that a worker is there, and what it does; or that it is gone.
--
-- KEYS[1] workers   ARGV[1] worker   ARGV[2] what it says of itself: fields of a JSON object, without braces; '' if it is gone
-- ARGV[3] for how long it has been there, in milliseconds   ARGV[4] '1' to forget those that have said nothing for an hour
-- A value is {…,"since":…,"seen":…}, milliseconds. Reply: OK.
-- On a crash: all or nothing. Works when memory is full.

local FORGOTTEN_AFTER = 3600000

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local gone = {}
if ARGV[2] == '' then
  gone[1] = ARGV[1]
end
if ARGV[4] == '1' then
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    if all[i] ~= ARGV[1] and tonumber(string.match(all[i + 1], '"seen":(%d+)}$') or '0') < now - FORGOTTEN_AFTER then
      gone[#gone + 1] = all[i]
    end
  end
end
if ARGV[2] ~= '' then
  local value = string.format('{%s,"since":%.0f,"seen":%.0f}', ARGV[2], now - tonumber(ARGV[3]), now)
  local said = redis.pcall('HSET', KEYS[1], ARGV[1], value)
  if type(said) == 'table' and said['err'] then
    -- A write that a full memory does not refuse, and that changes nothing: after it none is refused.
    redis.call('HDEL', KEYS[1], '')
    redis.call('HSET', KEYS[1], ARGV[1], value)
  end
end
for first = 1, #gone, 1000 do
  redis.call('HDEL', KEYS[1], unpack(gone, first, math.min(first + 999, #gone)))
end
return redis.status_reply('OK')
