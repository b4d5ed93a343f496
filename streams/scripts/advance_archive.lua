-- advance_archive: moves the mark up to which a partition's log is archived, if nothing has changed under whoever wrote the segment.
--
-- KEYS[1] events   KEYS[2] log   KEYS[3] archived
-- ARGV[1] the branch that the partition must have   ARGV[2] the mark that must be stored, '' for none   ARGV[3] the new one
-- ARGV[4] id of the log entry with which the segment ends   ARGV[5…] its fields and values, as the segment has them
-- Reply: 1 if it was moved; 0 if the branch or the mark is another one, or the log has not just this entry.
-- On a crash: all or nothing. Repeating it changes nothing. Works when memory is full.

if (redis.call('HGET', KEYS[1], '#branch') or '') ~= ARGV[1] or (redis.call('GET', KEYS[3]) or '') ~= ARGV[2] then
  return 0
end
-- What was read at a master that was cut off need not be in the log here: then nothing behind it may be passed over as archived.
local found = redis.call('XRANGE', KEYS[2], ARGV[4], ARGV[4])[1]
if not found or #found[2] ~= #ARGV - 4 then
  return 0
end
for i, value in ipairs(found[2]) do
  if value ~= ARGV[i + 4] then
    return 0
  end
end
redis.call('HDEL', KEYS[1], '') -- a write that is never refused, of a field that is never there: after it none is
redis.call('SET', KEYS[3], ARGV[3])
return 1
