-- resolve: brings a batch of the gateway's answers. The commit point of a purchase: before
-- it the tickets are only held, after it they are sold (or free again) and the entry is gone.
--
-- KEYS, ARGV: see lib/orders.lua; KEYS[1] is the requests stream. Each item adds:
--   outcome (approved, declined, unknown), authorization_id ('' unless approved)
-- Verdicts: done (acknowledged), void (the order ended without this payment: void it, then
--   acknowledge), wait (unknown, and the hold is still alive)
-- On a crash: all or nothing. Repeating it changes nothing more. Works when memory is full.

read_orders(5)
for i = 1, N do
  if state[number[i]] == 'h' then
    want_terms(number[i])
  end
end
read_events()

local function confirmed_record(o, time)
  return 'c' .. terms[o] .. '|' .. time .. '|' .. time .. '|' .. authorization[o] .. '||'
end

local function declined_record(o, time)
  return 'd' .. terms[o] .. '|0|' .. time .. '|||'
end

local at = FIRST_ITEM
for i = 1, N do
  local o, outcome = number[i], ARGV[at + 4]
  local was, verdict = state[o], DONE
  if was == 'h' then
    if outcome == 'declined' then
      end_hold(o, 1, 0)
      change(o, 'd', 'declined', '', declined_record)
    elseif now >= tonumber(deadline[o]) then
      expire(o)
      verdict = VOID
    elseif outcome == 'approved' then
      authorization[o] = ARGV[at + 5]
      end_hold(o, 0, 1)
      change(o, 'c', 'confirmed', '|' .. sale[o] .. '|' .. authorization[o], confirmed_record)
    else
      verdict = WAIT
    end
  elseif was == 'e' or was == 'x' then
    verdict = outcome == 'declined' and DONE or VOID
  elseif was == '' then
    verdict = outcome == 'declined' and DONE or VOID
  elseif was ~= 'c' and outcome == 'approved' then
    verdict = VOID
  end
  settle(i, verdict)
  at = at + 5
end
commit()
return reply()
