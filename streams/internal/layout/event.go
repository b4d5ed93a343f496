package layout

import (
	"fmt"
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
		return e, domain.WithClass(domain.ClassPoison, fmt.Errorf("event hash is damaged: %v", h))
	}
	return e, nil
}
