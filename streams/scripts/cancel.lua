-- cancel: gives a batch of orders up: unseen, held or confirmed. Other states stay.
--
-- KEYS, ARGV: see lib/orders.lua; KEYS[1] is the stream that the entries are in. Each item adds:
--   reason (requested; capture_failed, which only undoes a confirmed order; event_cancelled, which only
--   undoes a held or a confirmed one, and only while the event is cancelled)
-- Verdicts: done (acknowledged)
-- On a crash: all or nothing. Repeating it changes nothing more. Works when memory is full,
-- unless every order in it is unseen.

read_orders(4)
local at = FIRST_ITEM
for i = 1, N do
  local o = number[i]
  if state[o] == 'h' or state[o] == 'c' then
    want_terms(o)
    local event = event_of[o]
    if ARGV[at + 4] == 'event_cancelled' and event.cancelled == nil then
      event.cancelled = redis.call('HGET', event.key, 'cancelled') == '1'
    end
  end
  at = at + 4
end
read_events()

local function unseen_record(o, time)
  return 'x|||||0|0||0|0|0|' .. time .. '||' .. reason[o] .. '|'
end

local function held_before_record(o, time)
  return 'x' .. terms[o] .. '|0|' .. time .. '||' .. reason[o] .. '|'
end

local function confirmed_before_record(o, time)
  return 'x' .. terms[o] .. '|' .. confirmed_at[o] .. '|' .. time .. '|' .. authorization[o] .. '|' .. reason[o] .. '|'
end

at = FIRST_ITEM
for i = 1, N do
  local o, why = number[i], ARGV[at + 4]
  local was = state[o]
  if why == 'capture_failed' and was ~= 'c' or why == 'event_cancelled' and (was == '' or not event_of[o].cancelled) then
    was = nil -- it stays
  end
  if was == 'c' then
    reason[o] = why
    move(o, 1, 0, -1)
    -- Not among the holds any more; taking it out again is a first write that a full memory does not refuse.
    ended_holds[#ended_holds + 1] = member(o)
    change(o, 'x', 'cancelled', '|' .. reason[o] .. '|confirmed|' .. sale[o] .. '|' .. confirmed_at[o], confirmed_before_record)
  elseif was == 'h' then
    reason[o] = why
    end_hold(o, 1, 0)
    change(o, 'x', 'cancelled', '|' .. reason[o] .. '|held|' .. sale[o] .. '|0', held_before_record)
  elseif was == '' then
    reason[o] = why
    change(o, 'x', 'cancelled', '|' .. reason[o] .. '|none', unseen_record)
  end
  settle(i, DONE)
  at = at + 4
end
commit()
return reply()
