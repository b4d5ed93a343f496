package streamstest

import (
	"fmt"
	"strconv"
	"strings"

	"holdfast/domain"
)

// EncodeOrder writes a record as the scripts do.
func EncodeOrder(o domain.Order) string {
	if o.State == domain.OrderNone {
		return ""
	}
	letter := map[domain.OrderState]string{
		domain.OrderHeld: "h", domain.OrderConfirmed: "c", domain.OrderDeclined: "d",
		domain.OrderExpired: "e", domain.OrderCancelled: "x", domain.OrderRejected: "r",
	}[o.State]
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	return strings.Join([]string{
		letter, string(o.RequestType), o.Fingerprint, o.CustomerID, o.Section, n(o.Quantity), n(o.UnitPrice), o.Currency,
		n(o.DeadlineMillis), n(o.HeldAtMillis), n(o.ConfirmedAtMillis), n(o.ResolvedAtMillis), o.AuthorizationID, o.Reason, o.Detail,
	}, "|")
}

// Netstrings writes a list as dead_letter.lua does.
func Netstrings(list []string) string {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "%d:%s,", len(s), s)
	}
	return b.String()
}

// RedisError is an error as a server replies it.
type RedisError string

// Error is the text.
func (e RedisError) Error() string { return string(e) }

// RedisError marks it as such.
func (RedisError) RedisError() {}

// EncodeEvent is an event as its hash holds it.
func EncodeEvent(e domain.Event) map[string]string {
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	h := map[string]string{
		"name": e.Name, "currency": e.Currency, "max_per_order": n(e.MaxPerOrder), "on_sale": n(e.OnSaleMillis), "off_sale": n(e.OffSaleMillis),
		"closed": "0", "fingerprint": e.Fingerprint, "version": n(e.Version),
	}
	if e.Closed {
		h["closed"], h["cancelled"], h["closed_reason"], h["closed_by"] = "1", "0", e.Cause.Reason, e.Cause.By
	}
	if e.Cancelled {
		h["cancelled"] = "1"
	}
	for i, s := range e.Sections {
		if i > 0 {
			h["sections"] += ","
		}
		h["sections"] += s.Name
		h["price:"+s.Name], h["capacity:"+s.Name] = n(s.Price), n(s.Capacity)
		h["available:"+s.Name], h["held:"+s.Name], h["sold:"+s.Name] = n(s.Available), n(s.Held), n(s.Sold)
	}
	return h
}
