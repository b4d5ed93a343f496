package domain

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// FactType names what happened. The log is a list of facts, in order.
type FactType string

// The facts about events, then those about orders.
const (
	FactListed   FactType = "listed"
	FactAdjusted FactType = "adjusted"
	FactClosed   FactType = "closed"

	FactHeld      FactType = "held"
	FactRejected  FactType = "rejected"
	FactConfirmed FactType = "confirmed"
	FactDeclined  FactType = "declined"
	FactExpired   FactType = "expired"
	FactCancelled FactType = "cancelled"
)

// Fact is one entry of the log. Which fields are set depends on the type.
type Fact struct {
	ID       string // of the log entry; assigned when it is appended
	AtMillis int64  // when it was appended: the time part of ID
	Type     FactType
	EventID  string
	OrderID  string // facts about orders

	// held and rejected say what was asked for; confirmed and cancelled repeat what
	// their readers need to post or reverse it without a look at the order.
	Kind            RequestType // held, rejected
	Fingerprint     string      // held, rejected
	CustomerID      string      // held, rejected, confirmed, cancelled
	Section         string      // likewise
	Quantity        int64       // likewise
	UnitPrice       int64       // held, confirmed, cancelled
	Currency        string      // likewise
	DeadlineMillis  int64       // held
	AuthorizationID string      // confirmed
	Reason          string      // rejected, cancelled
	Detail          string      // rejected as invalid
	Was             OrderState  // cancelled: none, held or confirmed
	ConfirmedAt     int64       // cancelled, if it was confirmed: milliseconds

	Terms *Terms // listed, adjusted
}

// Ref names the order a fact is about.
func (f Fact) Ref() OrderRef { return OrderRef{EventID: f.EventID, OrderID: f.OrderID} }

// Amount is what the order costs, in minor units.
func (f Fact) Amount() int64 { return f.Quantity * f.UnitPrice }

// ParseFact reads a log entry's flat field-value list. An error is of ClassPoison:
// the log was written by something else, or damaged.
func ParseFact(id string, fields []string) (Fact, error) {
	f, err := parseFact(id, fields)
	if err != nil {
		return f, WithClass(ClassPoison, fmt.Errorf("log entry %s: %w", id, err))
	}
	return f, nil
}

func parseFact(id string, fields []string) (Fact, error) {
	f := Fact{ID: id, AtMillis: EntryMillis(id)}
	var bad error
	count := func(name, value string) int64 {
		if value == "" {
			return 0
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 {
			bad = fmt.Errorf("%s: not a count", name)
		}
		return n
	}
	for i := 0; i+1 < len(fields); i += 2 {
		value := fields[i+1]
		switch fields[i] {
		case "type":
			f.Type = FactType(value)
		case "event_id":
			f.EventID = value
		case "order_id":
			f.OrderID = value
		case "kind":
			f.Kind = RequestType(value)
		case "fingerprint":
			f.Fingerprint = value
		case "customer_id":
			f.CustomerID = value
		case "section":
			f.Section = value
		case "quantity":
			f.Quantity = count(fields[i], value)
		case "unit_price":
			f.UnitPrice = count(fields[i], value)
		case "currency":
			f.Currency = value
		case "deadline":
			f.DeadlineMillis = count(fields[i], value)
		case "authorization_id":
			f.AuthorizationID = value
		case "reason":
			f.Reason = value
		case "detail":
			f.Detail = value
		case "confirmed_at":
			f.ConfirmedAt = count(fields[i], value)
		case "was":
			was, ok := ParseOrderState(value)
			if !ok {
				return f, fmt.Errorf("%s: cannot be read", fields[i])
			}
			f.Was = was
		case "terms":
			f.Terms = new(Terms)
			if err := json.Unmarshal([]byte(value), f.Terms); err != nil {
				return f, fmt.Errorf("%s: cannot be read", fields[i])
			}
		}
	}
	if bad != nil {
		return f, bad
	}
	switch f.Type {
	case FactListed, FactAdjusted, FactClosed:
		if f.EventID != "" {
			return f, nil
		}
	case FactHeld, FactRejected, FactConfirmed, FactDeclined, FactExpired, FactCancelled:
		if f.EventID != "" && f.OrderID != "" {
			return f, nil
		}
	}
	return f, errors.New("no such fact, or not about anything")
}
