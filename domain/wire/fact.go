package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"holdfast/domain"
)

// A log entry is one field: its name is a fact type, its value a line for each fact, at most MaxFacts.
// A line is what the fact is about and what it says, between bars:
//
//	listed, adjusted, reopened   event_id|terms as JSON, with the cause if there is one
//	closed, event_cancelled      event_id|cause as JSON
//	event_forgotten              event_id
//	event_recalled               event_id|the event as it was, as JSON
//	order_recalled               event_id/order_id|the order as it was, as JSON
//	held                         event_id/order_id|type|fingerprint|customer_id|items|currency|hold_millis, and if an access code opened its places: |hash of that; then, if it keeps a trace: |the trace (behind an empty hash if there is none)
//	rejected                     event_id/order_id|type|fingerprint|customer_id|items|reason, and if it keeps a trace: ~ and that|detail
//	paying                       event_id/order_id|attempt|fingerprint of the pay
//	payment_declined             event_id/order_id|attempt
//	extended                     event_id/order_id|deadline
//	action_required              event_id/order_id|attempt|authorization_id
//	confirmed                    event_id/order_id|customer_id|items|currency|authorization_id, and unless it was the first: |attempt; then, if the order keeps a trace: |the trace (behind an empty attempt if it was the first)
//	reduced                      event_id/order_id|change|fingerprint|version|was|customer_id|items given back|currency, and the cause as cancelled
//	changed                      event_id/order_id|change|fingerprint|version|was|customer_id|items given|currency|items taken, and the cause as cancelled
//	change_refused               event_id/order_id|change|fingerprint|version|reason|detail
//	refund_granted               event_id/order_id|change|fingerprint|version|customer_id|items|currency|minor units, and the cause as cancelled
//	payment_disputed             event_id/order_id|version|inquiry, open, won or lost|minor units|until when it is to be answered; 0: not at all, or any more
//	restored                     event_id/order_id|version|was|state|items given|items taken|what else the order is, as JSON
//	cancelled                    event_id/order_id|reason|was, and unless was is none: |customer_id|items|currency|confirmed_at; then, if the request said why or who, or that the money is kept: |cause as JSON, with no_refund
//	declined                     event_id/order_id, and if it was not the gateway that declined: |reason|detail
//	expired                      event_id/order_id, and if its places were gone when its payment was approved late: |reason|detail
//	lapsed                       event_id/order_id|for how long its payment may still be approved
//	forgotten                    event_id/order_id|id of the log entry that rejected it
//
// A type is p (purchase) or h (hold); items is section:quantity:unit_price, several with commas between them; times are milliseconds, prices
// minor units. When a fact happened is the time part of the entry's id. No value has a line break, and none
// has a bar but JSON and details, which come last. Confirmed and cancelled say what their readers need to post and
// to settle without a look at the order.

// MaxFacts is how many facts stand in one entry at most: entries are acknowledged as a whole.
const MaxFacts = 64

// ParseFacts reads a log entry. It is an error of ClassPoison for one that cannot be read.
func ParseFacts(id string, fields []string) ([]domain.Fact, error) {
	facts, err := parseFacts(id, fields)
	if err != nil {
		return nil, domain.WithClass(domain.ClassPoison, fmt.Errorf("log entry %s: %w", id, err))
	}
	return facts, nil
}

func parseFacts(id string, fields []string) ([]domain.Fact, error) {
	if len(fields) != 2 {
		return nil, fmt.Errorf("has %d fields, want one", len(fields)/2)
	}
	at, name, rest := domain.EntryMillis(id), domain.FactType(fields[0]), fields[1]
	lines := strings.Count(rest, "\n") + 1
	if lines > MaxFacts {
		return nil, fmt.Errorf("has %d lines, want at most %d", lines, MaxFacts)
	}
	facts := make([]domain.Fact, 0, lines)
	for more := true; more; {
		var line string
		line, rest, more = strings.Cut(rest, "\n")
		facts = append(facts, domain.Fact{ID: id, Line: len(facts) + 1, AtMillis: at, Type: name})
		if err := parse(&facts[len(facts)-1], line); err != nil {
			return nil, err
		}
	}
	return facts, nil
}

func parse(f *domain.Fact, line string) error {
	subject, data, hasData := strings.Cut(line, "|")
	switch f.Type {
	case domain.FactCreated, domain.FactAdjusted, domain.FactClosed, domain.FactReopened, domain.FactEventCancelled, domain.FactEventForgotten, domain.FactEventRecalled:
		if f.EventID = subject; !domain.ValidID(subject) {
			return fmt.Errorf("%s: want event_id", f.Type)
		}
		return parseEventFact(f, data)
	case domain.FactHeld, domain.FactRejected, domain.FactConfirmed, domain.FactDeclined, domain.FactExpired, domain.FactLapsed, domain.FactCancelled, domain.FactPaying, domain.FactPaymentDeclined, domain.FactActionRequired, domain.FactExtended, domain.FactReduced, domain.FactChanged, domain.FactChangeRefused, domain.FactRefundGranted, domain.FactPaymentDisputed, domain.FactRestored, domain.FactForgotten, domain.FactOrderRecalled:
		ref, ok := domain.ParseOrderRef(subject)
		if !ok {
			return fmt.Errorf("%s: want event_id/order_id", f.Type)
		}
		f.EventID, f.OrderID = ref.EventID, ref.OrderID
		return parseData(f, values{rest: data, more: hasData})
	}
	return errors.New("no such fact")
}

// termsJSON is what facts about events say: terms if it has some, and a cause if there is one.
type termsJSON struct {
	*domain.Terms
	domain.Cause
}

func parseEventFact(f *domain.Fact, data string) error {
	switch f.Type {
	case domain.FactCreated, domain.FactAdjusted, domain.FactReopened:
		said := termsJSON{Terms: new(domain.Terms)}
		if err := json.Unmarshal([]byte(data), &said); err != nil {
			return fmt.Errorf("%s: terms cannot be read", f.Type)
		}
		f.Terms, f.Cause = said.Terms, said.Cause
	case domain.FactEventRecalled:
		return parseRecalledEvent(f, data)
	case domain.FactEventForgotten:
		if data != "" {
			return fmt.Errorf("%s: cannot be read", f.Type)
		}
	case domain.FactClosed, domain.FactEventCancelled:
		if err := json.Unmarshal([]byte(data), &f.Cause); err != nil {
			return fmt.Errorf("%s: cause cannot be read", f.Type)
		}
	case domain.FactHeld, domain.FactRejected, domain.FactConfirmed, domain.FactDeclined, domain.FactExpired, domain.FactLapsed, domain.FactCancelled, domain.FactPaying, domain.FactPaymentDeclined, domain.FactActionRequired, domain.FactExtended, domain.FactReduced, domain.FactChanged, domain.FactChangeRefused, domain.FactRefundGranted, domain.FactPaymentDisputed, domain.FactRestored, domain.FactForgotten, domain.FactOrderRecalled:
	}
	return nil
}

func parseData(f *domain.Fact, v values) error {
	switch f.Type {
	case domain.FactHeld:
		f.RequestType, f.Fingerprint, f.CustomerID = v.requestType(), v.next(), v.next()
		v.items(f)
		f.Currency = v.next()
		f.DeadlineMillis = f.AtMillis + v.count()
		if v.more {
			f.Code = v.next()
			v.bad = v.bad || !domain.ValidCodeHash(f.Code) && (f.Code != "" || !v.more)
		}
		v.trace(f)
		v.bad = v.bad || f.DeadlineMillis < f.AtMillis
	case domain.FactRejected:
		f.RequestType, f.Fingerprint, f.CustomerID = v.requestType(), v.next(), v.next()
		v.items(f)
		f.Reason = v.next()
		if reason, trace, traced := strings.Cut(f.Reason, "~"); traced {
			f.Reason, f.Trace = reason, domain.Trace(trace)
			v.bad = v.bad || !domain.ValidTrace(trace)
		}
		f.Detail = v.remainder()
	case domain.FactConfirmed:
		v.sale(f)
		f.AuthorizationID = v.next()
		if v.more {
			attempt := v.next()
			n, ok := ParseAttempt(attempt)
			f.Attempt = n
			v.bad = v.bad || !ok && (attempt != "" || !v.more) || n == 1
		}
		v.trace(f)
	case domain.FactPaying:
		f.Attempt, f.Fingerprint = v.attempt(), v.next()
	case domain.FactPaymentDeclined:
		f.Attempt = v.attempt()
	case domain.FactExtended:
		f.DeadlineMillis = v.count()
	case domain.FactActionRequired:
		f.Attempt, f.AuthorizationID = v.attempt(), v.next()
	case domain.FactDeclined, domain.FactExpired:
		if v.more {
			f.Reason, f.Detail = v.next(), v.remainder()
			v.bad = v.bad || f.Reason == ""
		}
	case domain.FactCancelled:
		f.Reason = v.next()
		was, ok := domain.ParseOrderState(v.next())
		if !ok {
			return fmt.Errorf("%s: was: no such state", f.Type)
		}
		if f.Was = was; was != domain.OrderNone {
			v.sale(f)
			f.ConfirmedAtMillis = v.count()
		}
		v.cause(f)
	case domain.FactReduced, domain.FactChanged:
		v.alteration(f)
		was, ok := domain.ParseOrderState(v.next())
		v.sale(f)
		if f.Was = was; f.Type == domain.FactChanged {
			taken, readable := domain.ParseItems(v.next())
			f.Taken, ok = taken, ok && readable
		}
		v.bad = v.bad || !ok
		v.cause(f)
	case domain.FactRefundGranted:
		v.alteration(f)
		v.sale(f)
		f.Refund = v.count()
		v.cause(f)
	case domain.FactPaymentDisputed:
		f.Version = v.next()
		f.Dispute = domain.Dispute{State: domain.DisputeState(v.next()), Amount: v.count(), DueMillis: v.count()}
		v.bad = v.bad || !f.Dispute.Valid(f.Dispute.Amount)
	case domain.FactChangeRefused:
		v.alteration(f)
		f.Reason, f.Detail = v.next(), v.remainder()
	case domain.FactOrderRecalled:
		parseRecalledOrder(f, &v)
	case domain.FactRestored:
		v.restored(f)
	case domain.FactForgotten:
		f.Version = v.next()
		v.bad = v.bad || domain.EntryMillis(f.Version) == 0
	case domain.FactLapsed:
		f.LateMillis = v.count()
		v.bad = v.bad || f.LateMillis == 0
	case domain.FactCreated, domain.FactAdjusted, domain.FactClosed, domain.FactReopened, domain.FactEventCancelled, domain.FactEventForgotten, domain.FactEventRecalled:
	}
	if v.bad || v.more {
		return fmt.Errorf("%s: cannot be read", f.Type)
	}
	return nil
}

// The letters of request types, as records and facts have them.
const (
	letterPurchase = "p"
	letterHold     = "h"
)

// RequestTypeOf is the type of a letter; none, if there is no letter.
func RequestTypeOf(letter string) (t domain.RequestType, known bool) {
	switch letter {
	case letterPurchase:
		return domain.RequestPurchase, true
	case letterHold:
		return domain.RequestHold, true
	}
	return "", letter == ""
}

// values are those of a line that are not read yet.
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

func (v *values) requestType() domain.RequestType {
	t, known := RequestTypeOf(v.next())
	v.bad = v.bad || !known || t == ""
	return t
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

func (v *values) attempt() int {
	value := v.next()
	n, ok := ParseAttempt(value)
	v.bad = v.bad || !ok
	return n
}

// trace is whose trace an order keeps, if there is anything left that says so.
func (v *values) trace(f *domain.Fact) {
	if v.more {
		f.Trace = domain.Trace(v.next())
		v.bad = v.bad || !domain.ValidTrace(string(f.Trace))
	}
}

// ParseAttempt reads the number of an attempt to pay: 1 to domain.MaxAttempts.
func ParseAttempt(value string) (n int, ok bool) {
	if len(value) != 1 || value[0] < '1' || value[0] > '0'+domain.MaxAttempts {
		return 0, false
	}
	return int(value[0] - '0'), true
}

func (v *values) items(f *domain.Fact) {
	items, ok := domain.ParseItems(v.next())
	f.Items, v.bad = items, v.bad || !ok
}

// alteration is which one of its order a partial cancel or a change is, and what it found.
func (v *values) alteration(f *domain.Fact) {
	f.Change, f.Fingerprint, f.Version = v.count(), v.next(), v.next()
}

// causeJSON is what a fact about an order says at its end, if the request said it.
type causeJSON struct {
	domain.Cause
	NoRefund bool `json:"no_refund,omitempty"`
}

func (v *values) cause(f *domain.Fact) {
	if !v.more {
		return
	}
	var is causeJSON
	said := v.remainder()
	err := json.Unmarshal([]byte(said), &is)
	f.Cause, f.NoRefund = is.Cause, is.NoRefund
	v.bad = v.bad || err != nil || is == (causeJSON{}) || encode(is) != said
}

// restored is what an order is again. It is read only if it would be written so.
func (v *values) restored(f *domain.Fact) {
	f.Version = v.next()
	was, wasOne := domain.ParseOrderState(v.next())
	state, isOne := domain.ParseOrderState(v.next())
	v.items(f)
	taken, readable := domain.ParseItems(v.next())
	said := v.remainder()
	var is orderJSON
	err := json.Unmarshal([]byte(said), &is)
	o, ok := is.order()
	v.bad = v.bad || !wasOne || !isOne || !readable || err != nil || !ok || is.State != "" || is.Early || o.Version != "" || encode(is) != said
	o.State = state
	f.Was, f.Taken, f.CustomerID, f.Currency, f.Restored = was, taken, o.CustomerID, o.Currency, &o
}

// sale is what a reader of the log needs to post an order, and to settle it.
func (v *values) sale(f *domain.Fact) {
	f.CustomerID = v.next()
	v.items(f)
	f.Currency = v.next()
}

// FactLine is the line of a fact, as ParseFacts reads it. What a fact says that is only known
// once it is in the log (its time) is no part of it.
func FactLine(f domain.Fact) string {
	b := append(make([]byte, 0, 160), f.EventID...)
	if f.OrderID != "" {
		b = append(append(b, '/'), f.OrderID...)
	}
	return string(AppendFactData(b, &f))
}

// AppendFactData is a fact's line behind what it is about.
func AppendFactData(b []byte, f *domain.Fact) []byte {
	add := func(value string) { b = append(append(b, '|'), value...) }
	number := func(n int64) { b = strconv.AppendInt(append(b, '|'), n, 10) }
	sale := func() {
		add(f.CustomerID)
		add(string(f.Items))
		add(f.Currency)
	}
	trace := func() {
		if f.Trace != "" {
			add(string(f.Trace))
		}
	}
	cause := func() {
		if is := (causeJSON{f.Cause, f.NoRefund}); is != (causeJSON{}) {
			add(encode(is))
		}
	}
	switch f.Type {
	case domain.FactCreated, domain.FactAdjusted, domain.FactReopened:
		add(encode(termsJSON{Terms: f.Terms, Cause: f.Cause}))
	case domain.FactClosed, domain.FactEventCancelled:
		add(encode(f.Cause))
	case domain.FactHeld:
		b = AppendOpening(append(b, '|'), f.RequestType, f.Fingerprint, f.CustomerID)
		b = append(b, f.Items...)
		add(f.Currency)
		if number(f.DeadlineMillis - f.AtMillis); f.Code != "" || f.Trace != "" {
			add(f.Code)
		}
		trace()
	case domain.FactRejected:
		b = AppendOpening(append(b, '|'), f.RequestType, f.Fingerprint, f.CustomerID)
		b = append(b, f.Items...)
		if add(f.Reason); f.Trace != "" {
			b = append(append(b, '~'), f.Trace...)
		}
		add(f.Detail)
	case domain.FactConfirmed:
		sale()
		add(f.AuthorizationID)
		switch {
		case f.Attempt > 1:
			number(int64(f.Attempt))
		case f.Trace != "":
			add("")
		}
		trace()
	case domain.FactPaying:
		number(int64(f.Attempt))
		add(f.Fingerprint)
	case domain.FactPaymentDeclined:
		number(int64(f.Attempt))
	case domain.FactExtended:
		number(f.DeadlineMillis)
	case domain.FactActionRequired:
		number(int64(f.Attempt))
		add(f.AuthorizationID)
	case domain.FactLapsed:
		number(f.LateMillis)
	case domain.FactDeclined, domain.FactExpired:
		if f.Reason != "" {
			add(f.Reason)
			add(f.Detail)
		}
	case domain.FactCancelled:
		add(f.Reason)
		add(f.Was.String())
		if f.Was != domain.OrderNone {
			sale()
			number(f.ConfirmedAtMillis)
		}
		cause()
	case domain.FactReduced, domain.FactChanged:
		number(f.Change)
		add(f.Fingerprint)
		add(f.Version)
		add(f.Was.String())
		if sale(); f.Type == domain.FactChanged {
			add(string(f.Taken))
		}
		cause()
	case domain.FactRefundGranted:
		number(f.Change)
		add(f.Fingerprint)
		add(f.Version)
		sale()
		number(f.Refund)
		cause()
	case domain.FactPaymentDisputed:
		add(f.Version)
		add(string(f.Dispute.State))
		number(f.Dispute.Amount)
		number(f.Dispute.DueMillis)
	case domain.FactChangeRefused:
		number(f.Change)
		add(f.Fingerprint)
		add(f.Version)
		add(f.Reason)
		add(f.Detail)
	case domain.FactRestored:
		add(f.Version)
		add(f.Was.String())
		add(f.Restored.State.String())
		add(string(f.Items))
		add(string(f.Taken))
		add(encode(saidOrder(*f.Restored)))
	case domain.FactForgotten:
		add(f.Version)
	case domain.FactEventRecalled:
		add(recalledEvent(f))
	case domain.FactOrderRecalled:
		add(recalledOrder(f))
	case domain.FactEventForgotten:
	}
	return b
}

// AppendOpening is how records and facts of an order begin, up to its items.
func AppendOpening(b []byte, t domain.RequestType, fingerprint, customerID string) []byte {
	switch t {
	case domain.RequestPurchase:
		b = append(b, letterPurchase...)
	case domain.RequestHold:
		b = append(b, letterHold...)
	case domain.RequestPay, domain.RequestCancel, domain.RequestPaymentUpdate, domain.RequestChange, domain.RequestRefund: // open no order
	}
	b = append(append(b, '|'), fingerprint...)
	b = append(append(b, '|'), customerID...)
	return append(b, '|')
}

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, integers and booleans only
	}
	return string(text)
}
