-- resolve: brings a batch of the gateway's answers. The commit point of a purchase: before
-- it the tickets are only held, after it they are sold (or free again) and the entry is gone.
--
-- KEYS, ARGV: see lib/orders.lua; KEYS[1] is the requests stream, the last key is dead. Each item adds:
--   outcome (approved, declined, unknown, mismatched, left_alone), and what is to be kept of it:
--   the authorization_id if approved; if mismatched or left alone, how it differs
-- Verdicts: done (acknowledged), void (the order ended without this payment: void it, then
--   acknowledge), wait (unknown, and the hold is still alive), set_aside (acknowledged, and made a
--   dead letter in the same step: the payment was left alone, and a person must look)
-- On a crash: all or nothing. Repeating it changes nothing more. Works when memory is full.

local DEAD = KEYS[#KEYS]

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

local function mismatched_record(o, time)
  return 'd' .. terms[o] .. '|0|' .. time .. '||' .. reason[o]
end

-- decline_mismatched(o, detail): for a payment that is not the order's. The fact says what was asked for, and why not.
local function decline_mismatched(o, detail)
  reason[o] = 'payment_mismatch|' .. detail
  end_hold(o, 1, 0)
  change(o, 'd', 'declined', '', mismatched_record)
  whys[#changed] = member(o) .. '|' .. match(terms[o], '^|([^|]*|[^|]*|[^|]*|[^|]*|%d+)|') .. '|' .. reason[o]
end

local letters, set_aside = {}, {}
local function letter_for(i, detail)
  if entries[i] == '' or set_aside[entries[i]] then
    return
  end
  set_aside[entries[i]] = true
  redis.call('XLEN', DEAD)
  letters[#letters + 1] = new_letter(KEYS[1], ARGV[1], 'requests', entries[i], 'payment_mismatch: ' .. detail, int(now))
end

local at = FIRST_ITEM
for i = 1, N do
  local o, outcome, kept = number[i], ARGV[at + 4], ARGV[at + 5]
  local was, verdict = state[o], DONE
  local mismatched = outcome == 'mismatched' or outcome == 'left_alone'
  if mismatched then
    if was == 'h' then
      decline_mismatched(o, kept)
    end
    if outcome == 'left_alone' then
      verdict = SET_ASIDE
      letter_for(i, kept)
    end
  elseif was == 'h' then
    if outcome == 'declined' then
      end_hold(o, 1, 0)
      change(o, 'd', 'declined', '', declined_record)
    elseif now >= tonumber(deadline[o]) then
      expire(o)
      verdict = VOID
    elseif outcome == 'approved' then
      authorization[o] = kept
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
for _, letter in ipairs(letters) do
  redis.call('XADD', DEAD, '*', unpack(letter))
end
return reply()
