package layout

import (
	"strings"

	"holdfast/domain"
)

// An order record is one string: 15 values between bars, written by
// scripts/lib/orders.lua. Compact, because there is one per order for ever.

var stateLetters = map[byte]domain.OrderState{
	'h': domain.OrderHeld, 'c': domain.OrderConfirmed, 'd': domain.OrderDeclined,
	'e': domain.OrderExpired, 'x': domain.OrderCancelled, 'r': domain.OrderRejected,
}

const recordValues = 15

// DecodeOrder reads a record; "" is an order never heard of.
func DecodeOrder(record string) (domain.Order, error) {
	if record == "" {
		return domain.Order{}, nil
	}
	var v [recordValues]string
	rest := record
	for i := range recordValues - 1 {
		bar := strings.IndexByte(rest, '|')
		if bar < 0 {
			return domain.Order{}, damaged("order record", record)
		}
		v[i], rest = rest[:bar], rest[bar+1:]
	}
	v[recordValues-1] = rest
	if len(v[0]) != 1 {
		return domain.Order{}, damaged("order record", record)
	}
	state, ok := stateLetters[v[0][0]]
	if !ok {
		return domain.Order{}, damaged("order record", record)
	}
	n := numbers{}
	o := domain.Order{
		State: state, RequestType: domain.RequestType(v[1]), Fingerprint: v[2], CustomerID: v[3], Section: v[4],
		Quantity: n.parse(v[5]), UnitPrice: n.parse(v[6]), Currency: v[7], DeadlineMillis: n.parse(v[8]),
		HeldAtMillis: n.parse(v[9]), ConfirmedAtMillis: n.parse(v[10]), ResolvedAtMillis: n.parse(v[11]),
		AuthorizationID: v[12], Reason: v[13], Detail: v[14],
	}
	if n.err != nil {
		return domain.Order{}, damaged("order record", record)
	}
	return o, nil
}
