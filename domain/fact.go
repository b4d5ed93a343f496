package domain

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
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

// The fields of a log entry: type, then event and terms (JSON) of a fact about an
// event, or order and data of one about an order. data holds values between bars:
//
//	held       kind|fingerprint|customer_id|section|quantity|unit_price|currency|deadline
//	rejected   kind|fingerprint|customer_id|section|quantity|reason|detail
//	confirmed  customer_id|section|quantity|unit_price|currency|authorization_id
//	cancelled  reason|was, and unless was is none: |customer_id|section|quantity|unit_price|currency|confirmed_at
//	declined, expired: nothing
//
// Times are milliseconds, prices minor units. No value contains a bar, but
// perhaps the detail, which comes last.

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
	var order, data, terms string
	for i := 0; i+1 < len(fields); i += 2 {
		value := fields[i+1]
		switch fields[i] {
		case "type":
			f.Type = FactType(value)
		case "order":
			order = value
		case "data":
			data = value
		case "event":
			f.EventID = value
		case "terms":
			terms = value
		}
	}
	switch f.Type {
	case FactListed, FactAdjusted, FactClosed:
		return f, f.parseTerms(terms)
	case FactHeld, FactRejected, FactConfirmed, FactDeclined, FactExpired, FactCancelled:
		ref, ok := ParseOrderRef(order)
		if !ok {
			return f, errors.New("order: want event_id/order_id")
		}
		f.EventID, f.OrderID = ref.EventID, ref.OrderID
		return f, f.parseData(data)
	}
	return f, errors.New("type: no such fact")
}

func (f *Fact) parseTerms(terms string) error {
	if !ValidID(f.EventID) {
		return errors.New("event: missing or no id")
	}
	if f.Type == FactClosed {
		return nil
	}
	f.Terms = new(Terms)
	if err := json.Unmarshal([]byte(terms), f.Terms); err != nil {
		return errors.New("terms: cannot be read")
	}
	return nil
}

func (f *Fact) parseData(data string) error {
	v := values{rest: data, more: data != ""}
	switch f.Type {
	case FactHeld:
		f.Kind, f.Fingerprint, f.CustomerID = RequestType(v.next()), v.next(), v.next()
		f.Section, f.Quantity, f.UnitPrice, f.Currency = v.next(), v.count(), v.count(), v.next()
		f.DeadlineMillis = v.count()
	case FactRejected:
		f.Kind, f.Fingerprint, f.CustomerID = RequestType(v.next()), v.next(), v.next()
		f.Section, f.Quantity, f.Reason = v.next(), v.count(), v.next()
		f.Detail = v.remainder()
	case FactConfirmed:
		f.parseSale(&v)
		f.AuthorizationID = v.next()
	case FactCancelled:
		f.Reason = v.next()
		was, ok := ParseOrderState(v.next())
		if !ok {
			return errors.New("data: was: no such state")
		}
		if f.Was = was; was != OrderNone {
			f.parseSale(&v)
			f.ConfirmedAt = v.count()
		}
	case FactDeclined, FactExpired, FactListed, FactAdjusted, FactClosed:
	}
	if v.bad || v.more {
		return fmt.Errorf("data of %s: cannot be read", f.Type)
	}
	return nil
}

func (f *Fact) parseSale(v *values) {
	f.CustomerID, f.Section, f.Quantity, f.UnitPrice, f.Currency = v.next(), v.next(), v.count(), v.count(), v.next()
}

// values takes a list between bars apart.
type values struct {
	rest string
	more bool
	bad  bool // asked for more than there was, or for a number that is none
}

func (v *values) next() string {
	if !v.more {
		v.bad = true
		return ""
	}
	var value string
	value, v.rest, v.more = strings.Cut(v.rest, "|")
	return value
}

func (v *values) remainder() string {
	if !v.more {
		v.bad = true
	}
	rest := v.rest
	v.rest, v.more = "", false
	return rest
}

func (v *values) count() int64 {
	n, err := strconv.ParseInt(v.next(), 10, 64)
	if err != nil || n < 0 {
		v.bad = true
	}
	return n
}
