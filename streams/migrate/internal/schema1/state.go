package schema1

import (
	"fmt"
	"strconv"
	"strings"

	"holdfast/domain"
)

// DecodeEvent reads an event hash; no fields is an event that is not listed.
func DecodeEvent(h map[string]string) (domain.Event, error) {
	if len(h) == 0 {
		return domain.Event{}, nil
	}
	n := numbers{}
	e := domain.Event{
		Name: h["name"], Currency: h["currency"], MaxPerOrder: n.parse(h["max_per_order"]),
		OnSaleMillis: n.parse(h["on_sale"]), OffSaleMillis: n.parse(h["off_sale"]),
		Closed: h["closed"] == "1", Cancelled: h["cancelled"] == "1", Cause: domain.Cause{Reason: h["closed_reason"], By: h["closed_by"]},
		Fingerprint: h["fingerprint"], Version: n.parse(h["version"]),
	}
	for _, name := range strings.Split(h["sections"], ",") {
		e.Sections = append(e.Sections, domain.Section{
			Name: name, Price: n.parse(h["price:"+name]), Capacity: n.parse(h["capacity:"+name]),
			Available: n.parse(h["available:"+name]), Held: n.parse(h["held:"+name]), Sold: n.parse(h["sold:"+name]),
		})
	}
	if n.err != nil || !e.Exists() {
		return e, damaged("event hash", fmt.Sprint(h))
	}
	return e, nil
}

var stateLetters = map[string]domain.OrderState{
	"h": domain.OrderHeld, "c": domain.OrderConfirmed, "d": domain.OrderDeclined,
	"e": domain.OrderExpired, "x": domain.OrderCancelled, "r": domain.OrderRejected,
}

// DecodeOrder reads a record: a string of 15 values between bars, of which the last may have bars.
// "" is an order never heard of. It has no version.
func DecodeOrder(record string) (domain.Order, error) {
	if record == "" {
		return domain.Order{}, nil
	}
	const values = 15
	v := strings.SplitN(record, "|", values)
	if len(v) != values {
		return domain.Order{}, damaged("order record", record)
	}
	state, known := stateLetters[v[0]]
	n := numbers{}
	o := domain.Order{
		State: state, RequestType: domain.RequestType(v[1]), Fingerprint: v[2], CustomerID: v[3], Currency: v[7], DeadlineMillis: n.parse(v[8]),
		HeldAtMillis: n.parse(v[9]), ConfirmedAtMillis: n.parse(v[10]), ResolvedAtMillis: n.parse(v[11]),
		AuthorizationID: v[12], Reason: v[13], Detail: v[14],
	}
	if item := (domain.Item{Section: v[4], Quantity: n.parse(v[5]), UnitPrice: n.parse(v[6])}); o.RequestType != "" {
		o.Items = domain.ItemsOf(item)
	}
	if o.RequestType == domain.RequestPurchase && o.HeldAtMillis > 0 {
		o.Attempt = 1 // it is its own first attempt to pay
	}
	if !known || n.err != nil {
		return domain.Order{}, damaged("order record", record)
	}
	return o, nil
}

// Totals are the sales of one event, as far as they were posted.
type Totals struct {
	Orders      int64
	TicketsSold int64
	Revenue     int64 // minor units
}

// DecodeTotals reads a value of the sales summary.
func DecodeTotals(value string) (Totals, error) {
	n := numbers{}
	v := strings.Split(value, ",")
	if len(v) != 3 {
		return Totals{}, damaged("sales", value)
	}
	t := Totals{Orders: n.parse(v[0]), TicketsSold: n.parse(v[1]), Revenue: n.parse(v[2])}
	if n.err != nil {
		return Totals{}, damaged("sales", value)
	}
	return t, nil
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
	return domain.WithClass(domain.ClassPoison, fmt.Errorf("%s is damaged: %.200q", what, value))
}
