-- write: some commands on keys of one partition, all of them or none, if the partition still is this run's.
--
-- KEYS[1] the fence: what says whose the partition is   then the keys that the commands are about
-- ARGV[1] what must stand there   then for each command: how many words its name has (1 or 2), how many arguments
-- follow, the words, the number of its key, the arguments
-- Reply: 1, or 0 if another run has taken the partition over; nothing changed then.
-- On a crash: all or nothing.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
local at = 2
while at <= #ARGV do
  local words, count = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local first = at + 3 + words
  local key = KEYS[tonumber(ARGV[first - 1])]
  if words == 1 then
    redis.call(ARGV[at + 2], key, unpack(ARGV, first, first + count - 1))
  else
    redis.call(ARGV[at + 2], ARGV[at + 3], key, unpack(ARGV, first, first + count - 1))
  end
  at = first + count
end
return 1
