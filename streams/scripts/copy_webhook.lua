-- copy_webhook: puts messages into an endpoint's queue, and moves the mark up to which the log was copied for it behind them, if
-- the mark and the branch are still as they were read.
--
-- KEYS[1] events   KEYS[2] webhook_marks   KEYS[3] webhook_due   KEYS[4] webhook_queue
-- ARGV[1] the branch that the partition must have   ARGV[2] id of the endpoint   ARGV[3] field of the mark   ARGV[4] the mark that must be stored, ''
-- for none   ARGV[5] the new one, '' for none   ARGV[6] since when facts are missing that it was not sent, '' if none are
-- then for each message: event_id/order_id, its line
-- A message that waits already is not put in once more.
-- Reply: 1 if it was so; 0 if the branch or the mark is another one. On a crash: all or nothing. Refused when memory is full.

if (redis.call('HGET', KEYS[1], '#branch') or '') ~= ARGV[1] or (redis.call('HGET', KEYS[2], ARGV[3]) or '') ~= ARGV[4] then
  return 0
end
local clock = redis.call('TIME')
local now = string.format('%.0f', tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000))
redis.call('ZCARD', KEYS[3])
local queues, fresh, added = {}, {}, 0
for i = 7, #ARGV, 2 do
  local order, line = ARGV[i], ARGV[i + 1]
  local queue = queues[order] or redis.call('HGET', KEYS[4], order)
  if not queue then
    queue, fresh[order] = '0|0', true
  end
  if not string.find(queue .. '\n', '\n' .. line .. '\n', 1, true) then
    queue, added = queue .. '\n' .. line, added + 1
  end
  queues[order] = queue
end
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[2], ARGV[3], ARGV[5])
end
if ARGV[6] ~= '' then
  redis.call('HSETNX', KEYS[2], ARGV[2] .. '#lost', ARGV[6])
end
for order, queue in pairs(queues) do
  redis.call('HSET', KEYS[4], order, queue)
  if fresh[order] then
    redis.call('ZADD', KEYS[3], now, order)
  end
end
if added > 0 then
  redis.call('HINCRBY', KEYS[2], ARGV[2] .. '#waiting', added)
end
if ARGV[5] == '' then
  redis.call('HDEL', KEYS[2], ARGV[3])
end
return 1
