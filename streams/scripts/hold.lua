-- hold: takes in a batch of purchases, holds and pays.
--
-- KEYS, ARGV: see lib/orders.lua; KEYS[1] is the requests stream. Each item adds:
--   type (purchase, hold, pay; tokenless: a purchase without a payment token), customer_id, section, quantity, unit_price ('' if any will do),
--   hold_millis, valid_until (milliseconds), opening (type|fingerprint|customer_id|section|quantity, as
--   it stands in records and facts), invalid (why it is; '' if it is well-formed)
-- Verdicts: done (acknowledged: held by a hold, rejected, or known already), authorize (the hold
--   stands: pay for it), void (ended before), wait (a pay before its hold), conflict (the
--   order_id has another body), too_late (a pay that waited too long)
-- On a crash: all or nothing. Repeating it with the same entries changes nothing more.

local TYPE, CUSTOMER, SECTION, QUANTITY, UNIT_PRICE, HOLD_MILLIS, VALID_UNTIL, OPENING, INVALID =
  4, 5, 6, 7, 8, 9, 10, 11, 12
local WIDTH = 12

read_orders(WIDTH)
local at = FIRST_ITEM
for i = 1, N do
  local o = number[i]
  if state[o] == '' and ARGV[at + TYPE] ~= 'pay' then
    want(event_of[o], ARGV[at + SECTION], ARGV[at + CUSTOMER])
  end
  at = at + WIDTH
end
read_events()

-- What hold knows of orders beyond what others do: where in ARGV the item stands that
-- opens it; or, if it was there before, these parts of its record.
local opened_at, fingerprint, held_at = {}, {}, {}

-- refusal: why a new order cannot be held, and what exactly is invalid; nil if it can. The
-- order of the checks is domain.refusal's.
local function refusal(at, event, units)
  if ARGV[at + INVALID] ~= '' then
    return 'invalid', ARGV[at + INVALID]
  elseif ARGV[at + TYPE] == 'tokenless' and not (units and units.price == '0') then
    return 'invalid', 'payment_token: missing'
  elseif now > tonumber(ARGV[at + VALID_UNTIL]) then
    return 'too_late'
  elseif not event.currency then
    return 'unknown_event'
  elseif not units then
    return 'unknown_section'
  elseif event.closed or now < event.on_sale or (event.off_sale ~= 0 and now >= event.off_sale) then
    return 'not_on_sale'
  elseif ARGV[at + UNIT_PRICE] ~= '' and ARGV[at + UNIT_PRICE] ~= units.price then
    return 'price_changed'
  elseif event.max_per_order > 0 and tonumber(ARGV[at + QUANTITY]) > event.max_per_order then
    return 'over_limit'
  elseif event.in_progress[ARGV[at + CUSTOMER]] then
    return 'in_progress'
  elseif tonumber(ARGV[at + QUANTITY]) > units.available then
    return 'sold_out'
  end
  return nil
end

local why, said = {}, {} -- of a rejected order: reason|detail; of a held one: all that its fact says

local function rejected_record(o, time)
  return 'r|' .. ARGV[opened_at[o] + OPENING] .. '|0||0|0|0|' .. time .. '||' .. why[o]
end

local function held_record(o, time)
  return 'h' .. said[o] .. '|' .. time .. '|0|0|||'
end

-- deadline_after: most holds of a batch last equally long.
local deadlines = {}
local function deadline_after(hold_millis)
  local d = deadlines[hold_millis]
  if not d then
    d = int(now + tonumber(hold_millis))
    deadlines[hold_millis] = d
  end
  return d
end

-- open: a purchase or a hold of an order that is not known yet.
local function open(o, at)
  local event = event_of[o]
  local units = event.sections[ARGV[at + SECTION]]
  opened_at[o] = at
  local refused, detail = refusal(at, event, units)
  if refused then
    why[o] = refused .. '|' .. (detail or '')
    change(o, 'r', 'rejected', '|' .. ARGV[at + OPENING] .. '|' .. why[o], rejected_record)
    return DONE
  end
  section[o], quantity[o] = ARGV[at + SECTION], ARGV[at + QUANTITY]
  deadline[o] = deadline_after(ARGV[at + HOLD_MILLIS])
  said[o] = '|' .. ARGV[at + OPENING] .. '|' .. units.price .. '|' .. event.currency .. '|' .. deadline[o]
  move(o, -1, 1, 0)
  local customer_id, n = ARGV[at + CUSTOMER], #event.taken
  event.in_progress[customer_id] = order_id[o]
  event.taken[n + 1], event.taken[n + 2] = customer_id, order_id[o]
  n = #new_holds
  new_holds[n + 1], new_holds[n + 2] = deadline[o], member(o)
  change(o, 'h', 'held', said[o], held_record)
  return ARGV[at + TYPE] == 'hold' and DONE or AUTHORIZE
end

local function fingerprint_of(opening)
  return match(opening, '^[^|]*|([^|]*)')
end

-- look: what hold must know of an order that was there before, or came earlier in this batch.
local function look(o)
  if opened_at[o] then
    fingerprint[o], held_at[o] = fingerprint_of(ARGV[opened_at[o] + OPENING]), '0'
  elseif not fingerprint[o] then
    fingerprint[o], deadline[o], held_at[o] =
      match(record[o], '^%a|[^|]*|([^|]*)|[^|]*|[^|]*|%d+|%d+|[^|]*|(%d+)|(%d+)|%d+|%d+|[^|]*|[^|]*|')
    if not fingerprint[o] then
      damaged(o)
    end
  end
end

at = FIRST_ITEM
for i = 1, N do
  local o, kind = number[i], ARGV[at + TYPE]
  local was, verdict = state[o], DONE
  if was == '' then
    verdict = kind == 'pay' and WAIT or open(o, at)
  else
    look(o)
    if kind == 'pay' and was == 'h' then
      verdict = AUTHORIZE
      if now < tonumber(deadline[o]) and now > tonumber(ARGV[at + VALID_UNTIL]) then
        verdict = TOO_LATE
      end
    elseif kind ~= 'pay' and fingerprint[o] ~= '' and fingerprint[o] ~= fingerprint_of(ARGV[at + OPENING]) then
      verdict = CONFLICT
    elseif kind ~= 'hold' and was == 'h' then
      verdict = AUTHORIZE
    elseif kind ~= 'hold' and (was == 'e' or was == 'x') and held_at[o] ~= '0' then
      verdict = VOID -- it may have got as far as the gateway
    end
  end
  settle(i, verdict)
  at = at + WIDTH
end
commit(true)
return reply()
