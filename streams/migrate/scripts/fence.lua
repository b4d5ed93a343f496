-- fence: keeps workers of schema 1 away from a partition: those that run, and those that are frozen and wake one day.
-- Every script of theirs asks for the log, or the dead letters, or the list of consumers before it writes anything:
-- that is an error from now on. What was there is moved, and stays as it is.
--
-- KEYS[1] log   KEYS[2] dead   KEYS[3] consumers   KEYS[4] where the log goes   KEYS[5] where the dead letters go
-- ARGV[1] id of the log's last entry ever, as the caller knows it ('' if there is no log)
-- ARGV[2] what stands in place of the log: it names this run, and only that one goes on (see write.lua)
-- ARGV[3] what stands in place of the others
-- Reply: 'fenced', also if it was before; or 'changed': the log goes on to another entry. Nothing changed then.
-- On a crash: all or nothing. Repeating it changes nothing more.

local function kind(key)
  return redis.call('TYPE', key)['ok']
end

if kind(KEYS[1]) ~= 'string' then
  local last = ''
  if kind(KEYS[1]) == 'stream' then
    local info = redis.call('XINFO', 'STREAM', KEYS[1])
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then
        last = info[i + 1]
      end
    end
  end
  if last ~= ARGV[1] then
    return 'changed'
  end
  if last ~= '' then
    redis.call('RENAME', KEYS[1], KEYS[4])
  end
  if kind(KEYS[2]) == 'stream' then
    redis.call('RENAME', KEYS[2], KEYS[5])
  end
  redis.call('SET', KEYS[2], ARGV[3])
  redis.call('SET', KEYS[3], ARGV[3])
end
redis.call('SET', KEYS[1], ARGV[2])
return 'fenced'
