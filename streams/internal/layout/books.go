package layout

import (
	"encoding/json"
	"errors"
	"strconv"

	"holdfast/domain"
)

// Statuses of an invoice line.
const (
	InvoiceConfirmed = "confirmed"
	InvoiceCancelled = "cancelled"
)

// Totals are the sales of one event.
type Totals struct {
	Orders      int64
	TicketsSold int64
	Revenue     int64 // minor units
}

// DecodeTotals reads a value of the sales summary.
func DecodeTotals(raw string) (Totals, error) {
	var t Totals
	var n [3]int64
	rest := raw
	for i := range n {
		var digits string
		digits, rest = cutComma(rest)
		v, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return t, damaged("sales", raw)
		}
		n[i] = v
	}
	if rest != "" {
		return t, damaged("sales", raw)
	}
	return Totals{Orders: n[0], TicketsSold: n[1], Revenue: n[2]}, nil
}

func cutComma(s string) (before, after string) {
	for i := range len(s) {
		if s[i] == ',' {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// InvoiceLine is one order on a customer's invoices.
type InvoiceLine struct {
	OrderID           string `json:"order_id"`
	EventID           string `json:"event_id"`
	Section           string `json:"section"`
	Quantity          int64  `json:"quantity"`
	Amount            int64  `json:"amount"` // minor units
	Currency          string `json:"currency"`
	ConfirmedAtMillis int64  `json:"confirmed_at"` // milliseconds
	Status            string `json:"status"`       // confirmed or cancelled
}

// DecodeInvoiceLine reads a field of a customer's invoices, which names the order, and its value.
func DecodeInvoiceLine(field, value string) (InvoiceLine, error) {
	var line InvoiceLine
	ref, ok := domain.ParseOrderRef(field)
	if !ok {
		return line, damaged("invoice line", field)
	}
	if err := json.Unmarshal([]byte(value), &line); err != nil {
		return line, errors.Join(damaged("invoice line "+field, value), err)
	}
	line.EventID, line.OrderID = ref.EventID, ref.OrderID
	return line, nil
}

// EncodeInvoiceLine is the JSON of a line. All values are of plain characters, so
// nothing needs escaping.
func EncodeInvoiceLine(f domain.Fact, confirmedAt int64, status string) string {
	b := make([]byte, 0, 160)
	b = append(b, `{"section":"`...)
	b = append(b, f.Section...)
	b = append(b, `","quantity":`...)
	b = strconv.AppendInt(b, f.Quantity, 10)
	b = append(b, `,"amount":`...)
	b = strconv.AppendInt(b, f.Amount(), 10)
	b = append(b, `,"currency":"`...)
	b = append(b, f.Currency...)
	b = append(b, `","confirmed_at":`...)
	b = strconv.AppendInt(b, confirmedAt, 10)
	b = append(b, `,"status":"`...)
	b = append(b, status...)
	b = append(b, `"}`...)
	return string(b)
}
