-- begin_branch: begins a branch of a partition, if the one that the caller takes it to have is still its.
--
-- KEYS[1] events   KEYS[2] log
-- ARGV[1] the branch that it must have, '' for none   ARGV[2] the new one   ARGV[3] the branch that the caller has worked
-- on, '' for none   ARGV[4] the newest log entry that the caller has seen there and that is here, '' if it is not known
-- ARGV[5] who   ARGV[6] how many branches are listed
-- Reply: the branch that it has now: the new one; or another that somebody else began, and nothing changed.
-- On a crash: all or nothing. Repeating it changes nothing more. Works when memory is full.

local is = redis.call('HMGET', KEYS[1], '#branch', '#branches', '#now')
local branch = is[1] or ''
if branch ~= ARGV[1] then
  return branch
end
local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local line = { ARGV[2], branch, ARGV[3], ARGV[4], newest and newest[1] or '', int(time_of(is[3])), ARGV[5] }
local lines = { table.concat(line, '|') }
for before in string.gmatch(is[2] or '', '[^\n]+') do
  if #lines < tonumber(ARGV[6]) then
    lines[#lines + 1] = before
  end
end
redis.call('HDEL', KEYS[1], '') -- a write that is never refused, of a field that is never there: after it none is
redis.call('HSET', KEYS[1], '#branch', ARGV[2], '#branches', table.concat(lines, '\n'))
return ARGV[2]
