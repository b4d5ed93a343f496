-- redrive: gives a dead letter back to its group, and removes the letter, with its note.
--
-- KEYS[1] the stream it came from   KEYS[2] dead   KEYS[3] set_aside
-- ARGV[1] id of the letter   ARGV[2] group   ARGV[3] id of the entry   then, for a request, its fields
-- With fields, a new entry is added: the old one may have been trimmed. Without, the entry is
-- still there (the log is never trimmed) and becomes pending again, free to be reclaimed at once.
-- Reply: the id of the entry; '' if there is no such letter (somebody was faster); nil if the
-- entry to be claimed is gone (the letter stays).
-- On a crash: all or nothing. Works when memory is full: it moves, and adds nothing.

local found = redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1])
if #found == 0 then
  return ''
end
redis.call('XLEN', KEYS[1])
local id = ARGV[3]
if #ARGV > 3 then
  forget(KEYS[3], found[1])
  id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 4))
else
  local claimed = redis.call('XCLAIM', KEYS[1], ARGV[2], 'redrive', 0, id, 'IDLE', 86400000, 'FORCE', 'JUSTID')
  if #claimed == 0 then
    return false
  end
end
redis.call('XDEL', KEYS[2], ARGV[1])
return id
