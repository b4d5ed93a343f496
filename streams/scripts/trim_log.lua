-- trim_log: drops the beginning of a partition's log, behind what is archived of its branch.
--
-- KEYS[1] events   KEYS[2] log   KEYS[3] archived
-- ARGV[1] the branch that the partition must have   ARGV[2] the entry before which all may go: it, and what comes behind it, stays
-- ARGV[3] how many entries may go at a time, more or less   ARGV[4…] the groups that must have acknowledged what goes
-- Reply: how many entries went; 0, too, if the branch is another one, or the mark of the archive is of another branch, or not as far, or
-- its entry is not in the log: then the log is not the one that was archived. What a group has pending, or was not given yet, stays,
-- whatever the caller has seen.
-- #trimmed in events is the oldest entry that is left, in the same step. Redis drops nodes of its stream as a whole, so a few more than there must
-- may stay.
-- On a crash: all or nothing. Repeating it does no harm. Works when memory is full.

local function parse(id)
  local millis, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(millis), tonumber(seq)
end

-- before(a, b): whether an id is older than another one.
local function before(a, b)
  local a_millis, a_seq = parse(a)
  local b_millis, b_seq = parse(b)
  return a_millis < b_millis or a_millis == b_millis and a_seq < b_seq
end

if (redis.call('HGET', KEYS[1], '#branch') or '') ~= ARGV[1] then
  return 0
end
local branch, position = string.match(redis.call('GET', KEYS[3]) or '', '^([^|]+)|([^|]+)|')
local upto = ARGV[2]
if branch ~= ARGV[1] or before(position, upto) or not redis.call('XRANGE', KEYS[2], position, position)[1] then
  return 0
end
local delivered = {}
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[2])) do
  local info = {}
  for i = 1, #group, 2 do
    info[group[i]] = group[i + 1]
  end
  delivered[info['name']] = info['last-delivered-id']
end
for i = 4, #ARGV do
  local last = delivered[ARGV[i]]
  if not last then
    return 0
  end
  if before(last, upto) then
    upto = last
  end
  local pending = redis.call('XPENDING', KEYS[2], ARGV[i])
  if pending[1] > 0 and before(pending[2], upto) then
    upto = pending[2]
  end
end
local gone = redis.call('XTRIM', KEYS[2], 'MINID', '~', upto, 'LIMIT', ARGV[3])
if gone > 0 then
  redis.call('HSET', KEYS[1], '#trimmed', redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1][1])
end
return gone
