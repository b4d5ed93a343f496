-- hold: admits a batch of purchases, holds and pays.
--
-- KEYS, ARGV: see lib/orders.lua; KEYS[1] is the requests stream. Each item adds:
--   type (purchase, hold, pay), entry_millis, customer_id, section, quantity, unit_price ('' if any
--   will do), hold_millis, valid_millis, fingerprint, invalid (why it is; '' if it is well-formed)
-- Verdicts: done (acknowledged: held by a hold, rejected, or known already), authorize (the hold
--   stands: pay for it), void (ended before), wait (a pay before its hold), conflict (the
--   order_id has another body), too_late (a pay that waited too long)
-- On a crash: all or nothing. Repeating it with the same entries changes nothing more.

read_orders(13)
for i = 1, N do
  local item = items[i]
  if ARGV[item.at + 4] ~= 'pay' and item.order.state == '' then
    want(item.event, ARGV[item.at + 7], ARGV[item.at + 6])
  end
end
read_events()

-- refusal: why a new order cannot be held; nil if it can. The order of the
-- checks is domain.refusal's.
local function refusal(at, event, section, customer)
  if ARGV[at + 13] ~= '' then
    return 'invalid'
  elseif now - tonumber(ARGV[at + 5]) > tonumber(ARGV[at + 11]) then
    return 'too_late'
  elseif not event.currency then
    return 'unknown_event'
  elseif not section then
    return 'unknown_section'
  elseif event.closed or now < event.on_sale or (event.off_sale ~= 0 and now >= event.off_sale) then
    return 'not_on_sale'
  elseif ARGV[at + 9] ~= '' and ARGV[at + 9] ~= section.price then
    return 'price_changed'
  elseif event.max_per_order > 0 and tonumber(ARGV[at + 8]) > event.max_per_order then
    return 'over_limit'
  elseif event.slots[customer] then
    return 'in_progress'
  elseif tonumber(ARGV[at + 8]) > section.available then
    return 'sold_out'
  end
  return nil
end

local function admit(item)
  local at, order, event = item.at, item.order, item.event
  local section = event.sections[ARGV[at + 7]]
  order.kind = ARGV[at + 4]
  order.fingerprint = ARGV[at + 12]
  order.customer = ARGV[at + 6]
  order.section = ARGV[at + 7]
  order.quantity = ARGV[at + 8]
  local reason = refusal(at, event, section, order.customer)
  if reason then
    order.state = 'r'
    order.reason = reason
    order.detail = ARGV[at + 13]
    record_fact(order, 'resolved_at', 'type', 'rejected', 'event_id', event.id, 'order_id', order.order_id,
      'kind', order.kind, 'customer_id', order.customer, 'section', order.section, 'quantity', order.quantity,
      'fingerprint', order.fingerprint, 'reason', reason, 'detail', order.detail)
    return DONE
  end
  order.state = 'h'
  order.unit_price = section.price
  order.currency = event.currency
  order.deadline = int(now + tonumber(ARGV[at + 10]))
  move(order, -1, 1, 0)
  take_slot(order)
  new_holds[#new_holds + 1] = order.deadline
  new_holds[#new_holds + 1] = member(order)
  record_fact(order, 'held_at', 'type', 'held', 'event_id', event.id, 'order_id', order.order_id,
    'kind', order.kind, 'customer_id', order.customer, 'section', order.section, 'quantity', order.quantity,
    'unit_price', order.unit_price, 'currency', order.currency, 'deadline', order.deadline,
    'fingerprint', order.fingerprint)
  return order.kind == 'purchase' and AUTHORIZE or DONE
end

for i = 1, N do
  local item = items[i]
  local at, order = item.at, item.order
  local kind = ARGV[at + 4]
  local verdict = DONE
  if kind == 'pay' and order.state == '' then
    verdict = WAIT
  elseif kind == 'pay' and order.state == 'h' then
    verdict = AUTHORIZE
    if now < tonumber(order.deadline) and now - tonumber(ARGV[at + 5]) > tonumber(ARGV[at + 11]) then
      verdict = TOO_LATE
    end
  elseif kind ~= 'pay' and order.state == '' then
    verdict = admit(item)
  elseif kind ~= 'pay' and order.fingerprint ~= '' and order.fingerprint ~= ARGV[at + 12] then
    verdict = CONFLICT
  elseif kind ~= 'hold' and order.state == 'h' then
    verdict = AUTHORIZE
  elseif kind ~= 'hold' and (order.state == 'e' or order.state == 'x') and order.held_at ~= '0' then
    verdict = VOID -- it may have got as far as the gateway
  end
  settle(item, verdict)
end
commit()
return reply()
