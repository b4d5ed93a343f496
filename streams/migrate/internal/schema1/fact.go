package schema1

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"holdfast/domain"
)

// A log entry holds one fact or several: each field is one, its name the type, its
// value what it is about and what it says, between bars:
//
//	listed, adjusted   event_id|terms as JSON
//	closed             event_id, and perhaps |cause as JSON
//	held               event_id/order_id|type|fingerprint|customer_id|section|quantity|unit_price|currency|deadline
//	rejected           event_id/order_id|type|fingerprint|customer_id|section|quantity|reason|detail
//	confirmed          event_id/order_id|customer_id|section|quantity|unit_price|currency|authorization_id
//	cancelled          event_id/order_id|reason|was, and unless was is none: |customer_id|section|quantity|unit_price|currency|confirmed_at
//	declined, expired  event_id/order_id
//
// Two facts are written in the words of others, so that programs that do not know them pass over them: reopened is
// an adjusted whose JSON says so, event_cancelled a closed whose JSON does.
//
// Times are milliseconds, prices minor units. No value contains a bar, but for
// JSON and perhaps the detail, which come last. Only the facts of one call of hold
// (held, rejected) share an entry.
//
// One that was declined for a reason is two fields: behind declined follows rejected, of
// the same order, which says why. Readers that do not know this pass over both.

// ParseFacts reads a log entry's flat field-value list. An error is of ClassPoison:
// the log was written by something else, or damaged. Lines are counted as the facts stand in the entry.
func ParseFacts(id string, fields []string) ([]domain.Fact, error) {
	if len(fields) == 0 {
		return nil, domain.WithClass(domain.ClassPoison, fmt.Errorf("log entry %s: has no fields", id))
	}
	facts := make([]domain.Fact, 0, len(fields)/2)
	at := domain.EntryMillis(id)
	for i := 0; i+1 < len(fields); i += 2 {
		f := domain.Fact{ID: id, AtMillis: at, Type: domain.FactType(fields[i])}
		if err := parse(&f, fields[i+1]); err != nil {
			return nil, domain.WithClass(domain.ClassPoison, fmt.Errorf("log entry %s: %w", id, err))
		}
		if last := len(facts) - 1; last >= 0 && saysWhy(facts[last], f) {
			facts[last].Reason, facts[last].Detail = f.Reason, f.Detail
			continue
		}
		facts = append(facts, f)
	}
	return facts, nil
}

// saysWhy reports whether f is not a fact of its own but the reason of the one before it.
func saysWhy(before, f domain.Fact) bool {
	return before.Type == domain.FactDeclined && before.Reason == "" && f.Type == domain.FactRejected && f.Reason != "" && before.Ref() == f.Ref()
}

func parse(f *domain.Fact, value string) error {
	subject, data, hasData := strings.Cut(value, "|")
	switch f.Type {
	case domain.FactCreated, domain.FactAdjusted, domain.FactClosed:
		f.EventID = subject
		return parseEventFact(f, data, hasData)
	case domain.FactHeld, domain.FactRejected, domain.FactConfirmed, domain.FactDeclined, domain.FactExpired, domain.FactCancelled:
		ref, ok := domain.ParseOrderRef(subject)
		if !ok {
			return fmt.Errorf("%s: want event_id/order_id", f.Type)
		}
		f.EventID, f.OrderID = ref.EventID, ref.OrderID
		return parseData(f, values{rest: data, more: hasData})
	case domain.FactReopened, domain.FactEventCancelled, domain.FactEventForgotten, domain.FactEventRecalled, domain.FactPaying, domain.FactPaymentDeclined, domain.FactActionRequired, domain.FactExtended, domain.FactLapsed, domain.FactReduced, domain.FactChanged, domain.FactChangeRefused, domain.FactRefundGranted, domain.FactPaymentDisputed, domain.FactRestored, domain.FactForgotten, domain.FactOrderRecalled: // not by these names
	}
	return errors.New("no such fact")
}

// termsJSON is what a fact says of terms.
type termsJSON struct {
	Name          string `json:"name"`
	Currency      string `json:"currency"`
	MaxPerOrder   int64  `json:"max_per_order"`
	OnSaleMillis  int64  `json:"on_sale"`
	OffSaleMillis int64  `json:"off_sale"`
	Sections      []struct {
		Name     string `json:"section"`
		Price    int64  `json:"price"`
		Capacity int64  `json:"capacity"`
	} `json:"sections"`
	Reopened bool `json:"reopened"`
	causeJSON
}

func (t termsJSON) terms() *domain.Terms {
	out := &domain.Terms{Name: t.Name, Currency: t.Currency, MaxPerOrder: t.MaxPerOrder, OnSaleMillis: t.OnSaleMillis, OffSaleMillis: t.OffSaleMillis}
	for _, s := range t.Sections {
		out.Sections = append(out.Sections, domain.SectionTerms{Name: s.Name, Price: s.Price, Capacity: s.Capacity})
	}
	return out
}

type causeJSON struct {
	Reason string `json:"reason"`
	By     string `json:"by"`
}

func (c causeJSON) cause() domain.Cause { return domain.Cause{Reason: c.Reason, By: c.By} }

// closingJSON is what a fact says of the end of a sale.
type closingJSON struct {
	causeJSON
	Cancelled bool `json:"cancelled"`
}

func parseEventFact(f *domain.Fact, data string, hasData bool) error {
	if !domain.ValidID(f.EventID) {
		return fmt.Errorf("%s: want event_id", f.Type)
	}
	if f.Type == domain.FactClosed {
		if !hasData {
			return nil
		}
		var said closingJSON
		if err := json.Unmarshal([]byte(data), &said); err != nil {
			return fmt.Errorf("%s: cause cannot be read", f.Type)
		}
		if f.Cause = said.cause(); said.Cancelled {
			f.Type = domain.FactEventCancelled
		}
		return nil
	}
	var said termsJSON
	if err := json.Unmarshal([]byte(data), &said); err != nil {
		return fmt.Errorf("%s: terms cannot be read", f.Type)
	}
	f.Terms = said.terms()
	if f.Type == domain.FactAdjusted && said.Reopened {
		f.Type, f.Cause = domain.FactReopened, said.cause()
	}
	return nil
}

func parseData(f *domain.Fact, v values) error {
	switch f.Type {
	case domain.FactHeld:
		f.RequestType, f.Fingerprint, f.CustomerID = domain.RequestType(v.next()), v.next(), v.next()
		f.Items, f.Currency = v.item(true), v.next()
		f.DeadlineMillis = v.count()
	case domain.FactRejected:
		f.RequestType, f.Fingerprint, f.CustomerID = domain.RequestType(v.next()), v.next(), v.next()
		f.Items, f.Reason = v.item(false), v.next()
		f.Detail = v.remainder()
	case domain.FactConfirmed:
		parseSale(f, &v)
		f.AuthorizationID = v.next()
	case domain.FactCancelled:
		f.Reason = v.next()
		was, ok := domain.ParseOrderState(v.next())
		if !ok {
			return fmt.Errorf("%s: was: no such state", f.Type)
		}
		if f.Was = was; was != domain.OrderNone {
			parseSale(f, &v)
			f.ConfirmedAtMillis = v.count()
		}
	case domain.FactDeclined, domain.FactExpired,
		domain.FactCreated, domain.FactAdjusted, domain.FactClosed, domain.FactReopened, domain.FactEventCancelled, domain.FactEventForgotten, domain.FactEventRecalled, domain.FactPaying, domain.FactPaymentDeclined, domain.FactActionRequired, domain.FactExtended, domain.FactLapsed, domain.FactReduced, domain.FactChanged, domain.FactChangeRefused, domain.FactRefundGranted, domain.FactPaymentDisputed, domain.FactRestored, domain.FactForgotten, domain.FactOrderRecalled:
	}
	if v.bad || v.more {
		return fmt.Errorf("%s: cannot be read", f.Type)
	}
	return nil
}

func parseSale(f *domain.Fact, v *values) {
	f.CustomerID, f.Items, f.Currency = v.next(), v.item(true), v.next()
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

// item is section and quantity, and perhaps a price: an order had one.
func (v *values) item(priced bool) domain.Items {
	item := domain.Item{Section: v.next(), Quantity: v.count()}
	if priced {
		item.UnitPrice = v.count()
	}
	return domain.ItemsOf(item)
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
