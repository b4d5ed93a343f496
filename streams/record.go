package streams

import (
	"fmt"
	"strconv"
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

// decodeOrder reads a record; "" is an order never heard of.
func decodeOrder(record string) (domain.Order, error) {
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

// numbers parses several and remembers whether one would not.
type numbers struct{ err error }

func (n *numbers) parse(s string) int64 {
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || v < 0 {
		n.err = fmt.Errorf("not a count: %q", s)
	}
	return v
}

func damaged(what, value string) error {
	const most = 200
	if len(value) > most {
		value = value[:most] + "…"
	}
	return domain.WithClass(domain.ClassPoison, fmt.Errorf("%s is damaged: %q", what, value))
}

// decodeEvent reads an event hash; no fields is an event that is not listed.
func decodeEvent(h map[string]string) (domain.Event, error) {
	if len(h) == 0 {
		return domain.Event{}, nil
	}
	n := numbers{}
	e := domain.Event{
		Name: h["name"], Currency: h["currency"], MaxPerOrder: n.parse(h["max_per_order"]),
		OnSaleMillis: n.parse(h["on_sale"]), OffSaleMillis: n.parse(h["off_sale"]),
		Closed: h["closed"] == "1", Fingerprint: h["fingerprint"], Version: n.parse(h["version"]),
	}
	for _, name := range strings.Split(h["sections"], ",") {
		e.Sections = append(e.Sections, domain.Section{
			Name: name, Price: n.parse(h["price:"+name]), Capacity: n.parse(h["capacity:"+name]),
			Available: n.parse(h["available:"+name]), Held: n.parse(h["held:"+name]), Sold: n.parse(h["sold:"+name]),
		})
	}
	if n.err != nil || !e.Exists() {
		return e, domain.WithClass(domain.ClassPoison, fmt.Errorf("event hash is damaged: %v", h))
	}
	return e, nil
}
