package domain

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// RequestType is what a checkout asks for.
type RequestType string

// The four requests. A purchase holds and pays in one; hold, pay and cancel are its parts.
const (
	RequestPurchase RequestType = "purchase"
	RequestHold     RequestType = "hold"
	RequestPay      RequestType = "pay"
	RequestCancel   RequestType = "cancel"
)

// RequestVersion is the value of field v that this version understands.
const RequestVersion = "1"

// Limits of a request's fields.
const (
	MaxTokenLength  = 4096
	MaxHoldSeconds  = 24 * 60 * 60
	MaxValidSeconds = 30 * 24 * 60 * 60
)

// Secret is a string that prints as [redacted], so that no log line, trace or
// JSON document gets it by accident. string(s) is the value.
type Secret string

const redacted = "[redacted]"

// String, Format and MarshalText never show the value.
func (s Secret) String() string { return redacted }

// Format is what every verb of package fmt prints.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText is what encoders write.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Request is one entry of the requests stream.
type Request struct {
	Type         RequestType
	EventID      string
	OrderID      string
	CustomerID   string
	Section      string // DefaultSection if empty
	Quantity     int64
	PaymentToken Secret
	UnitPrice    *int64 // minor units; nil: whatever the price is
	HoldSeconds  int64  // 0: the worker's default
	ValidSeconds int64  // 0: the worker's default
	Traceparent  string // W3C trace context; passed over if malformed

	// Fingerprint identifies the body, so that a retry is told from another request
	// under the same order_id. The payment token is no part of it: it may not be
	// kept in any form, and a checkout that retries often has a fresh one.
	// Set by ParseRequest.
	Fingerprint string
}

// Ref names the order the request is about.
func (r Request) Ref() OrderRef { return OrderRef{EventID: r.EventID, OrderID: r.OrderID} }

// Opens reports whether the request can create an order, rather than refer to one.
func (t RequestType) Opens() bool { return t == RequestPurchase || t == RequestHold }

// Pays reports whether handling the request leads to the payment gateway.
func (t RequestType) Pays() bool { return t == RequestPurchase || t == RequestPay }

// Field names of the wire contract.
const (
	fieldVersion      = "v"
	fieldType         = "type"
	fieldOrderID      = "order_id"
	fieldCustomerID   = "customer_id"
	fieldEventID      = "event_id"
	fieldSection      = "section"
	fieldQuantity     = "quantity"
	FieldPaymentToken = "payment_token" // exported for those who must redact it
	fieldUnitPrice    = "unit_price"
	fieldHoldSeconds  = "hold_seconds"
	fieldValidSeconds = "valid_seconds"
	fieldTraceparent  = "traceparent"
)

// Fields is the request as the flat field-value list of a stream entry.
func (r Request) Fields() []string {
	f := make([]string, 0, 24)
	add := func(name, value string) {
		if value != "" {
			f = append(f, name, value)
		}
	}
	addInt := func(name string, value int64) {
		if value != 0 {
			f = append(f, name, strconv.FormatInt(value, 10))
		}
	}
	add(fieldVersion, RequestVersion)
	add(fieldType, string(r.Type))
	add(fieldOrderID, r.OrderID)
	add(fieldCustomerID, r.CustomerID)
	add(fieldEventID, r.EventID)
	add(fieldSection, r.Section)
	addInt(fieldQuantity, r.Quantity)
	add(FieldPaymentToken, string(r.PaymentToken))
	if r.UnitPrice != nil {
		f = append(f, fieldUnitPrice, strconv.FormatInt(*r.UnitPrice, 10))
	}
	addInt(fieldHoldSeconds, r.HoldSeconds)
	addInt(fieldValidSeconds, r.ValidSeconds)
	add(fieldTraceparent, r.Traceparent)
	return f
}

// rawRequest is the fields as they came.
type rawRequest struct {
	version, typ, orderID, customerID, eventID, section, quantity,
	token, unitPrice, holdSeconds, validSeconds, traceparent string
	seen [len(knownFields)]bool
}

var knownFields = [...]string{
	fieldVersion, fieldType, fieldOrderID, fieldCustomerID, fieldEventID, fieldSection, fieldQuantity,
	FieldPaymentToken, fieldUnitPrice, fieldHoldSeconds, fieldValidSeconds, fieldTraceparent,
}

func (r *rawRequest) field(name string) (value *string, index int) {
	switch name {
	case fieldVersion:
		return &r.version, 0
	case fieldType:
		return &r.typ, 1
	case fieldOrderID:
		return &r.orderID, 2
	case fieldCustomerID:
		return &r.customerID, 3
	case fieldEventID:
		return &r.eventID, 4
	case fieldSection:
		return &r.section, 5
	case fieldQuantity:
		return &r.quantity, 6
	case FieldPaymentToken:
		return &r.token, 7
	case fieldUnitPrice:
		return &r.unitPrice, 8
	case fieldHoldSeconds:
		return &r.holdSeconds, 9
	case fieldValidSeconds:
		return &r.validSeconds, 10
	case fieldTraceparent:
		return &r.traceparent, 11
	}
	return nil, -1
}

// ParseRequest reads an entry's flat field-value list. It never fails halfway:
//
//   - no error: the request is well-formed.
//   - ClassReject: it is a purchase or a hold, and says whose (type, event_id,
//     order_id and Fingerprint are set), but something else is wrong: reject the
//     order as invalid with the error as detail.
//   - ClassPoison: it cannot be told what it is about, or it refers to an order in
//     a way that cannot be understood: dead-letter it with the error as reason.
//
// No error repeats a value, which may be secret or unprintable. Unknown fields
// are passed over, a field given twice is an error.
func ParseRequest(fields []string) (Request, error) {
	if len(fields) == 0 {
		return Request{}, WithClass(ClassPoison, errors.New("entry has no fields"))
	}
	var raw rawRequest
	var duplicate string
	for i := 0; i+1 < len(fields); i += 2 {
		value, index := raw.field(fields[i])
		if value == nil {
			continue
		}
		if raw.seen[index] && !identifies(duplicate) {
			duplicate = fields[i]
		}
		raw.seen[index] = true
		*value = fields[i+1]
	}
	req, err := raw.identify()
	if err == nil && identifies(duplicate) {
		err = fmt.Errorf("%s: given twice", duplicate)
	}
	if err != nil {
		return Request{}, WithClass(ClassPoison, err)
	}
	if duplicate != "" {
		err = fmt.Errorf("%s: given twice", duplicate)
	} else {
		err = raw.complete(&req)
	}
	if err == nil {
		return req, nil
	}
	if req.Type.Opens() {
		return req, WithClass(ClassReject, err)
	}
	return Request{}, WithClass(ClassPoison, err)
}

// identifies reports whether a field says what the request is about.
func identifies(field string) bool {
	return field == fieldVersion || field == fieldType || field == fieldEventID || field == fieldOrderID
}

// identify reads what must be right for the request to be about any order at all.
func (r *rawRequest) identify() (Request, error) {
	req := Request{Type: RequestType(r.typ), EventID: r.eventID, OrderID: r.orderID}
	switch {
	case r.version == "":
		return req, errors.New("v: missing")
	case r.version != RequestVersion:
		return req, errors.New("v: version not supported, want 1")
	case r.typ == "":
		return req, errors.New("type: missing")
	}
	switch req.Type {
	case RequestPurchase, RequestHold, RequestPay, RequestCancel:
	default:
		return req, errors.New("type: want purchase, hold, pay or cancel")
	}
	if err := checkID(fieldEventID, r.eventID); err != nil {
		return req, err
	}
	if err := checkID(fieldOrderID, r.orderID); err != nil {
		return req, err
	}
	if req.Type.Opens() {
		section := r.section
		if !r.seen[5] {
			section = DefaultSection
		}
		var f fingerprint
		for _, s := range [...]string{r.typ, r.customerID, section, r.quantity, r.unitPrice, r.holdSeconds, r.validSeconds} {
			f.add(s)
		}
		req.Fingerprint = f.String()
	}
	return req, nil
}

// complete reads the rest into req. What is read before an error stays, so that
// a rejected order shows as much as was right.
func (r *rawRequest) complete(req *Request) error {
	var errs [6]error
	if req.Type.Opens() {
		if errs[0] = checkID(fieldCustomerID, r.customerID); errs[0] == nil {
			req.CustomerID = r.customerID
		}
		req.Section = DefaultSection
		if r.seen[5] {
			req.Section = r.section
			if errs[1] = checkID(fieldSection, r.section); errs[1] != nil {
				req.Section = ""
			}
		}
		req.Quantity, errs[2] = parseCount(fieldQuantity, r.quantity, r.seen[6], true, 1, MaxQuantity)
		if r.seen[8] {
			var price int64
			if price, errs[3] = parseCount(fieldUnitPrice, r.unitPrice, true, true, 0, MaxAmount); errs[3] == nil {
				req.UnitPrice = &price
			}
		}
		req.HoldSeconds, errs[4] = parseCount(fieldHoldSeconds, r.holdSeconds, r.seen[9], false, 1, MaxHoldSeconds)
	}
	if req.Type != RequestCancel && errs[4] == nil {
		req.ValidSeconds, errs[4] = parseCount(fieldValidSeconds, r.validSeconds, r.seen[10], false, 1, MaxValidSeconds)
	}
	if req.Type.Pays() {
		if errs[5] = checkToken(r.token); errs[5] == nil {
			req.PaymentToken = Secret(r.token)
		}
	}
	if validTraceparent(r.traceparent) {
		req.Traceparent = r.traceparent
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkID(field, value string) error {
	switch {
	case value == "":
		return fmt.Errorf("%s: missing", field)
	case !ValidID(value):
		return fmt.Errorf("%s: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", field, MaxIDLength)
	}
	return nil
}

func checkToken(token string) error {
	switch {
	case token == "":
		return fmt.Errorf("%s: missing", FieldPaymentToken)
	case len(token) > MaxTokenLength:
		return fmt.Errorf("%s: longer than %d bytes", FieldPaymentToken, MaxTokenLength)
	case !utf8.ValidString(token) || strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%s: want printable UTF-8", FieldPaymentToken)
	}
	return nil
}

// parseCount reads a whole number in its one canonical form: digits without a
// sign or leading zeros, so that equal bodies have equal fingerprints.
func parseCount(field, value string, present, required bool, low, high int64) (int64, error) {
	if !present {
		if required {
			return 0, fmt.Errorf("%s: missing", field)
		}
		return 0, nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < low || n > high || !isDigits(value) || value[0] == '0' && len(value) > 1 {
		return 0, fmt.Errorf("%s: want a whole number from %d to %d", field, low, high)
	}
	return n, nil
}

// validTraceparent checks the form of W3C trace context version 00.
func validTraceparent(s string) bool {
	if len(s) != 55 || s[:3] != "00-" || s[35] != '-' || s[52] != '-' {
		return false
	}
	for i := 3; i < len(s); i++ {
		if i == 35 || i == 52 {
			continue
		}
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
