-- cancel: gives a batch of orders up: unseen, held or confirmed. Other states stay.
--
-- KEYS, ARGV: see lib/orders.lua; KEYS[1] is the stream that the entries are in. Each item adds:
--   reason (requested, or capture_failed, which only undoes a confirmed order)
-- Verdicts: done (acknowledged)
-- On a crash: all or nothing. Repeating it changes nothing more. Works when memory is full,
-- unless every order in it is unseen.

read_orders(4)
for i = 1, N do
  local was = state[number[i]]
  if was == 'h' or was == 'c' then
    want_terms(number[i])
  end
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

local at = FIRST_ITEM
for i = 1, N do
  local o = number[i]
  local was = state[o]
  local only_confirmed = ARGV[at + 4] == 'capture_failed'
  if was == 'c' then
    reason[o] = ARGV[at + 4]
    move(o, 1, 0, -1)
    -- Not among the holds any more; taking it out again is a first write that a full memory does not refuse.
    ended_holds[#ended_holds + 1] = member(o)
    change(o, 'x', 'cancelled', '|' .. reason[o] .. '|confirmed|' .. sale[o] .. '|' .. confirmed_at[o], confirmed_before_record)
  elseif was == 'h' and not only_confirmed then
    reason[o] = ARGV[at + 4]
    end_hold(o, 1, 0)
    change(o, 'x', 'cancelled', '|' .. reason[o] .. '|held|' .. sale[o] .. '|0', held_before_record)
  elseif was == '' and not only_confirmed then
    reason[o] = ARGV[at + 4]
    change(o, 'x', 'cancelled', '|' .. reason[o] .. '|none', unseen_record)
  end
  settle(i, DONE)
  at = at + 4
end
commit()
return reply()
