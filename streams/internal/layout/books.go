package layout

import (
	"math"
	"strconv"
	"strings"

	"holdfast/domain"
)

// Totals are the sales of one event: what is confirmed of it now.
type Totals struct {
	Orders      int64
	TicketsSold int64
	Revenue     int64 // minor units
}

// String is the value of a SalesField.
func (t Totals) String() string {
	return strconv.FormatInt(t.Orders, 10) + "|" + strconv.FormatInt(t.TicketsSold, 10) + "|" + strconv.FormatInt(t.Revenue, 10)
}

// DecodeTotals reads a SalesField.
func DecodeTotals(value string) (Totals, error) {
	n := numbers{}
	v := strings.Split(value, "|")
	if len(v) != 3 {
		return Totals{}, damaged("sales", value)
	}
	t := Totals{Orders: n.parse(v[0]), TicketsSold: n.parse(v[1]), Revenue: n.parse(v[2])}
	if n.err != nil {
		return Totals{}, damaged("sales", value)
	}
	return t, nil
}

// Add takes a confirmed order in. It reports false if revenue would go past 2^63-1.
func (t *Totals) Add(o domain.Order) bool {
	t.Orders++
	t.TicketsSold += o.Items.Quantity()
	amount := o.Amount()
	if amount > math.MaxInt64-t.Revenue {
		return false
	}
	t.Revenue += amount
	return true
}
