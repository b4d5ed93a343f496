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

// A log entry holds one fact or several: each field is one, its name the type, its
// value what it is about and what it says, between bars:
//
//	listed, adjusted   event_id|terms as JSON
//	closed             event_id
//	held               event_id/order_id|kind|fingerprint|customer_id|section|quantity|unit_price|currency|deadline
//	rejected           event_id/order_id|kind|fingerprint|customer_id|section|quantity|reason|detail
//	confirmed          event_id/order_id|customer_id|section|quantity|unit_price|currency|authorization_id
//	cancelled          event_id/order_id|reason|was, and unless was is none: |customer_id|section|quantity|unit_price|currency|confirmed_at
//	declined, expired  event_id/order_id
//
// Times are milliseconds, prices minor units. No value contains a bar, but for
// terms and perhaps the detail, which come last. Only the facts of one admission
// (held, rejected) share an entry.

// ParseFacts reads a log entry's flat field-value list. An error is of ClassPoison:
// the log was written by something else, or damaged.
func ParseFacts(id string, fields []string) ([]Fact, error) {
	if len(fields) == 0 {
		return nil, WithClass(ClassPoison, fmt.Errorf("log entry %s: has no fields", id))
	}
	facts := make([]Fact, 0, len(fields)/2)
	at := EntryMillis(id)
	for i := 0; i+1 < len(fields); i += 2 {
		f := Fact{ID: id, AtMillis: at, Type: FactType(fields[i])}
		if err := f.parse(fields[i+1]); err != nil {
			return nil, WithClass(ClassPoison, fmt.Errorf("log entry %s: %w", id, err))
		}
		facts = append(facts, f)
	}
	return facts, nil
}

func (f *Fact) parse(value string) error {
	subject, data, hasData := strings.Cut(value, "|")
	switch f.Type {
	case FactListed, FactAdjusted, FactClosed:
		f.EventID = subject
		return f.parseTerms(data)
	case FactHeld, FactRejected, FactConfirmed, FactDeclined, FactExpired, FactCancelled:
		ref, ok := ParseOrderRef(subject)
		if !ok {
			return fmt.Errorf("%s: want event_id/order_id", f.Type)
		}
		f.EventID, f.OrderID = ref.EventID, ref.OrderID
		return f.parseData(values{rest: data, more: hasData})
	}
	return errors.New("no such fact")
}

func (f *Fact) parseTerms(terms string) error {
	if !ValidID(f.EventID) {
		return fmt.Errorf("%s: want event_id", f.Type)
	}
	if f.Type == FactClosed {
		return nil
	}
	f.Terms = new(Terms)
	if err := json.Unmarshal([]byte(terms), f.Terms); err != nil {
		return fmt.Errorf("%s: terms cannot be read", f.Type)
	}
	return nil
}

func (f *Fact) parseData(v values) error {
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
			return fmt.Errorf("%s: was: no such state", f.Type)
		}
		if f.Was = was; was != OrderNone {
			f.parseSale(&v)
			f.ConfirmedAt = v.count()
		}
	case FactDeclined, FactExpired, FactListed, FactAdjusted, FactClosed:
	}
	if v.bad || v.more {
		return fmt.Errorf("%s: cannot be read", f.Type)
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
