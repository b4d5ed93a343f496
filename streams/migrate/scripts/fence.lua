-- fence: keeps workers of schema 1 away from a partition: those that run, and those that are frozen and wake one day.
-- Every script of theirs asks for the log, or the dead letters, or the list of consumers before it writes anything:
-- that is an error from now on. What was there is moved, and stays as it is.
--
-- KEYS[1] log   KEYS[2] dead   KEYS[3] consumers   KEYS[4] where the log goes   KEYS[5] where the dead letters go
-- ARGV[1] id of the log's last entry ever, as the caller knows it ('' if there is no log)
-- ARGV[2] what stands in place of the others, and, with the number of a run behind it, in place of the log   ARGV[3] number of
-- this run: only the one whose number stands there goes on (see package bulk)
-- Reply: 'fenced', also if it was before; 'changed': the log goes on to another entry; or 'taken': a run of a higher
-- number has the partition. Nothing changed then.
-- On a crash: all or nothing. Repeating it changes nothing more.

local function kind(key)
  return redis.call('TYPE', key)['ok']
end

local function last_of(key)
  if kind(key) ~= 'stream' then
    return ''
  end
  local info = redis.call('XINFO', 'STREAM', key)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      return info[i + 1]
    end
  end
end

local fenced = kind(KEYS[1]) == 'string'
if fenced and tonumber(string.match(redis.call('GET', KEYS[1]), '%d+$')) > tonumber(ARGV[3]) then
  return 'taken'
end
if last_of(fenced and KEYS[4] or KEYS[1]) ~= ARGV[1] then
  return 'changed'
end
if not fenced then
  if kind(KEYS[1]) == 'stream' then
    redis.call('RENAME', KEYS[1], KEYS[4])
  end
  if kind(KEYS[2]) == 'stream' then
    redis.call('RENAME', KEYS[2], KEYS[5])
  end
  redis.call('SET', KEYS[2], ARGV[2])
  redis.call('SET', KEYS[3], ARGV[2])
end
redis.call('SET', KEYS[1], ARGV[2] .. '; run ' .. ARGV[3])
return 'fenced'
