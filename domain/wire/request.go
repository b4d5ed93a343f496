package wire

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"holdfast/domain"
	"holdfast/domain/seats"
)

// The values of field v that this version understands. A request of version 2 may have items and seats, be another attempt to pay, give
// back some of an order, change it, or give money back, or none.
const (
	RequestVersion      = "1"
	RequestVersionItems = "2"
)

// Limits of a request's fields.
const (
	MaxTokenLength  = 4096
	MaxItemsLength  = 64 << 10 // bytes of JSON
	MaxHoldSeconds  = 24 * 60 * 60
	MaxValidSeconds = 30 * 24 * 60 * 60
)

// MostFields is how many fields a request has at most.
const MostFields = int(fieldCount)

// FieldPaymentToken is for those who must redact it, the others for those who read requests as JSON.
const (
	FieldPaymentToken = "payment_token"
	FieldAccessCode   = "access_code" // must be redacted, too
	FieldAllocation   = "allocation"
	FieldItems        = "items"
	FieldSeats        = "seats"
	FieldAdjacent     = "adjacent"
	FieldRefund       = "refund"
)

// field is a field of a request.
type field int

// The fields, in the order in which Fields writes them.
const (
	fieldVersion field = iota
	fieldType
	fieldOrderID
	fieldCustomerID
	fieldEventID
	fieldSection
	fieldQuantity
	fieldSeats
	fieldAdjacent
	fieldAllocation
	fieldItems
	fieldAccessCode
	fieldToken
	fieldUnitPrice
	fieldHoldSeconds
	fieldValidSeconds
	fieldAttempt
	fieldChange
	fieldAmount
	fieldRefund
	fieldTraceparent
	fieldReason
	fieldBy
	fieldCount

	noField field = -1
)

var fieldNames = [fieldCount]string{
	fieldVersion: "v", fieldType: "type", fieldOrderID: "order_id", fieldCustomerID: "customer_id", fieldEventID: "event_id",
	fieldSection: "section", fieldQuantity: "quantity", fieldSeats: FieldSeats, fieldAdjacent: FieldAdjacent, fieldAllocation: FieldAllocation, fieldItems: FieldItems, fieldAccessCode: FieldAccessCode, fieldToken: FieldPaymentToken, fieldUnitPrice: "unit_price",
	fieldHoldSeconds: "hold_seconds", fieldValidSeconds: "valid_seconds", fieldAttempt: "attempt", fieldChange: "change", fieldAmount: "amount", fieldRefund: FieldRefund, fieldTraceparent: "traceparent",
	fieldReason: "reason", fieldBy: "by",
}

var fieldsByName = func() map[string]field {
	m := make(map[string]field, fieldCount)
	for f, name := range fieldNames {
		m[name] = field(f)
	}
	return m
}()

func (f field) String() string { return fieldNames[f] }

// identifies reports whether a field says what the request is about.
func (f field) identifies() bool {
	return f == fieldVersion || f == fieldType || f == fieldEventID || f == fieldOrderID
}

// NeedsVersion2 reports whether version 1 of requests does not know a field of that name.
func NeedsVersion2(name string) bool {
	f, known := fieldsByName[name]
	return known && slices.Contains(newInVersion2[:], f)
}

// newInVersion2 are the fields that version 1 does not know.
var newInVersion2 = [...]field{fieldItems, fieldSeats, fieldAdjacent, fieldAllocation, fieldAccessCode, fieldAttempt, fieldChange, fieldAmount, fieldRefund}

// fingerprinted are the fields that change the meaning of a purchase or a hold of one item.
var fingerprinted = [...]field{
	fieldType, fieldCustomerID, fieldSection, fieldQuantity, fieldUnitPrice, fieldHoldSeconds, fieldValidSeconds,
}

// Fields is a request as the flat field-value list of a stream entry.
func Fields(r domain.Request) []string {
	as := rawOf(&r)
	list := make([]string, 0, 2*fieldCount)
	for f, name := range fieldNames {
		if as.given[f] {
			list = append(list, name, as.value[f])
		}
	}
	return list
}

// AppendFields adds the same to the arguments of a command. Values are pointers into r, which may not change until the
// command was sent: a copy in an interface would be an allocation each.
func AppendFields(args []any, r *domain.Request) []any {
	for f, value := range given(r) {
		if value != nil {
			args = append(args, fieldArgs[f], value)
		}
	}
	return args
}

// fieldArgs are the fieldNames, once for all commands.
var fieldArgs = func() (args [fieldCount]any) {
	for f, name := range fieldNames {
		args[f] = name
	}
	return args
}()

// given is what a request says: a string, or a pointer to where it is in r; nil for what it leaves out.
func given(r *domain.Request) (v [fieldCount]any) {
	text := func(f field, s *string) {
		if *s != "" {
			v[f] = s
		}
	}
	count := func(f field, n *int64) {
		if *n != 0 {
			v[f] = n
		}
	}
	v[fieldVersion] = RequestVersion
	if len(r.Items) > 0 {
		v[fieldVersion], v[fieldItems] = RequestVersionItems, encodeItems(r.Items)
	}
	if len(r.Seats) > 0 {
		v[fieldVersion], v[fieldSeats] = RequestVersionItems, strings.Join(r.Seats, ",")
	}
	if r.Apart {
		v[fieldVersion], v[fieldAdjacent] = RequestVersionItems, "false"
	}
	text(fieldType, (*string)(&r.Type))
	text(fieldOrderID, &r.OrderID)
	text(fieldCustomerID, &r.CustomerID)
	text(fieldEventID, &r.EventID)
	text(fieldSection, &r.Section)
	count(fieldQuantity, &r.Quantity)
	text(fieldToken, (*string)(&r.PaymentToken))
	text(fieldAllocation, &r.Allocation)
	text(fieldAccessCode, (*string)(&r.AccessCode))
	if r.UnitPrice != nil {
		v[fieldUnitPrice] = r.UnitPrice // also 0
	}
	count(fieldHoldSeconds, &r.HoldSeconds)
	count(fieldValidSeconds, &r.ValidSeconds)
	count(fieldAttempt, &r.Attempt)
	count(fieldChange, &r.Change)
	count(fieldAmount, &r.Amount)
	if r.NoRefund {
		v[fieldRefund] = "false"
	}
	if r.Attempt != 0 || r.Allocation != "" || r.AccessCode != "" || r.Change != 0 || r.Amount != 0 || r.NoRefund || r.Type.NeedsVersion2() {
		v[fieldVersion] = RequestVersionItems
	}
	if validTraceparent(r.Traceparent) { // else nobody would read it, and it may be long
		text(fieldTraceparent, &r.Traceparent)
	}
	text(fieldReason, &r.Cause.Reason)
	text(fieldBy, &r.Cause.By)
	return v
}

// raw is the known fields as they came.
type raw struct {
	value    [fieldCount]string
	given    [fieldCount]bool
	named    []string // seats of the short form
	apart    bool
	badItems error // what is wrong with its items, or with the seats of the short form
}

// rawOf is a request as its entry will have it.
func rawOf(r *domain.Request) (as raw) {
	for f, value := range given(r) {
		switch v := value.(type) {
		case string:
			as.value[f], as.given[f] = v, true
		case *string:
			as.value[f], as.given[f] = *v, true
		case *int64:
			as.value[f], as.given[f] = strconv.FormatInt(*v, 10), true
		}
	}
	return as
}

// Check says what ParseRequest would of a request's Fields: the fingerprint, and what is wrong.
func Check(r *domain.Request) (fingerprint string, err error) {
	as := rawOf(r)
	parsed, err := as.parse(noField)
	return parsed.Fingerprint, err
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
// Unknown fields are passed over, a field given twice is an error.
func ParseRequest(fields []string) (domain.Request, error) {
	if len(fields) == 0 {
		return domain.Request{}, domain.WithClass(domain.ClassPoison, errors.New("entry has no fields"))
	}
	var r raw
	twice := noField // of those given twice one, if any does one that identifies the request
	newTwice := noField
	for i := 0; i+1 < len(fields); i += 2 {
		f, known := fieldsByName[fields[i]]
		if !known {
			continue
		}
		switch {
		case !r.given[f]:
		case slices.Contains(newInVersion2[:], f):
			newTwice = f
		case !twice.identifies():
			twice = f
		}
		r.given[f], r.value[f] = true, fields[i+1]
	}
	if r.value[fieldVersion] == RequestVersion { // which passes over what it does not know
		for _, f := range newInVersion2 {
			r.given[f], r.value[f] = false, ""
		}
	} else if twice == noField {
		twice = newTwice
	}
	return r.parse(twice)
}

// parse is ParseRequest of fields of which one, or noField, is given twice.
func (r *raw) parse(twice field) (domain.Request, error) {
	req, err := r.identify()
	if err == nil && twice.identifies() {
		err = givenTwice(twice)
	}
	if err != nil {
		return domain.Request{}, domain.WithClass(domain.ClassPoison, err)
	}
	if twice != noField {
		err = givenTwice(twice)
	} else {
		err = r.complete(&req)
	}
	if err == nil {
		return req, nil
	}
	if req.Type.Opens() {
		return req, domain.WithClass(domain.ClassReject, err)
	}
	return domain.Request{}, domain.WithClass(domain.ClassPoison, err)
}

func givenTwice(f field) error { return fmt.Errorf("%s: given twice", f) }

// identify reads what must be right for the request to be about any order at all.
func (r *raw) identify() (domain.Request, error) {
	req := domain.Request{
		Type: domain.RequestType(r.value[fieldType]), EventID: r.value[fieldEventID], OrderID: r.value[fieldOrderID],
	}
	switch version := r.value[fieldVersion]; {
	case version == "":
		return req, errors.New("v: missing")
	case version != RequestVersion && version != RequestVersionItems:
		return req, errors.New("v: version not supported, want 1 or 2")
	case req.Type == "":
		return req, errors.New("type: missing")
	}
	switch req.Type {
	case domain.RequestPurchase, domain.RequestHold, domain.RequestPay, domain.RequestCancel:
	case domain.RequestChange, domain.RequestRefund, domain.RequestPaymentUpdate:
		if r.value[fieldVersion] == RequestVersion {
			return req, fmt.Errorf("type: %s needs v 2", req.Type)
		}
	default:
		return req, errors.New("type: want purchase, hold, pay, cancel, change, refund or payment_update")
	}
	for _, f := range [...]field{fieldEventID, fieldOrderID} {
		if err := r.checkID(f); err != nil {
			return req, err
		}
	}
	if req.Type.Opens() {
		if !r.given[fieldItems] {
			r.named, r.apart, r.badItems = r.seats()
			allocation := r.value[fieldAllocation]
			if allocation == seats.Public {
				allocation = ""
			}
			wanted := placesWanted(r.named, r.apart, allocation)
			if r.badItems != nil { // as it came
				wanted = placesWanted([]string{r.value[fieldSeats] + " " + r.value[fieldAdjacent]}, false, allocation)
			}
			req.Fingerprint = r.fingerprint(wanted)
			return req, nil
		}
		req.Items, r.badItems = r.items()
		req.Fingerprint = r.fingerprintOfItems(req.Items)
		if len(req.Items) == 1 { // the long form of what needs no items
			one := req.Items[0]
			req.Section, req.Allocation, req.Quantity, req.Seats, req.Apart, req.UnitPrice, req.Items = one.Section, one.Allocation, one.Quantity, one.Seats, one.Apart, one.UnitPrice, nil
			if len(one.Seats) > 0 {
				req.Quantity = 0 // the seats say it
			}
		}
	}
	return req, nil
}

// items reads the field of that name, without items if it is wrong.
func (r *raw) items() ([]domain.RequestItem, error) {
	for _, f := range [...]field{fieldSection, fieldQuantity, fieldSeats, fieldAdjacent, fieldAllocation, fieldUnitPrice} {
		if r.given[f] {
			return nil, notWith(fieldItems, f)
		}
	}
	return parseItems(r.value[fieldItems])
}

// seats reads which seats the short form wants; none, side by side, if it does not say, or is wrong.
func (r *raw) seats() (named []string, apart bool, err error) {
	if r.given[fieldSeats] {
		for _, f := range [...]field{fieldQuantity, fieldAdjacent} {
			if r.given[f] {
				return nil, false, notWith(fieldSeats, f)
			}
		}
		if len(r.value[fieldSeats]) > maxSeatsLength {
			return nil, false, fmt.Errorf("%s: longer than %d bytes", fieldSeats, maxSeatsLength)
		}
		if named, err = checkSeats(strings.Split(r.value[fieldSeats], ",")); err != nil {
			return nil, false, fmt.Errorf("%s: %w", fieldSeats, err)
		}
	}
	if value := r.value[fieldAdjacent]; r.given[fieldAdjacent] && value != "true" && value != "false" {
		return nil, false, fmt.Errorf("%s: want true or false", fieldAdjacent)
	}
	return named, r.value[fieldAdjacent] == "false", nil
}

func notWith(f, other field) error { return fmt.Errorf("%s: not with %s", f, other) }

// A fingerprint says by which rule it was made, so that a later rule does not take a retry for another body. What asks for
// nothing but a quantity of one section has the fingerprint that it had before there were others.
const (
	fingerprintItems = "2." // several items
	fingerprintSeats = "3." // also seats by name, or that need not be side by side
)

// fingerprintOfItems is that of a request with items: for one item, that of the short form. What is in items that cannot
// be read is taken as it came.
func (r *raw) fingerprintOfItems(items []domain.RequestItem) string {
	price := func(item domain.RequestItem) string {
		if item.UnitPrice == nil {
			return ""
		}
		return strconv.FormatInt(*item.UnitPrice, 10)
	}
	if len(items) == 1 {
		short := *r
		short.given[fieldSection], short.value[fieldSection] = true, items[0].Section
		short.value[fieldQuantity], short.value[fieldUnitPrice] = strconv.FormatInt(items[0].Quantity, 10), price(items[0])
		if len(items[0].Seats) > 0 {
			short.value[fieldQuantity] = ""
		}
		return short.fingerprint(placesWanted(items[0].Seats, items[0].Apart, items[0].Allocation))
	}
	rule := fingerprintItems
	if slices.ContainsFunc(items, func(item domain.RequestItem) bool {
		return placesWanted(item.Seats, item.Apart, item.Allocation) != ""
	}) {
		rule = fingerprintSeats
	}
	values := []string{r.value[fieldType], r.value[fieldCustomerID], r.value[fieldHoldSeconds], r.value[fieldValidSeconds]}
	for _, item := range items {
		values = append(values, item.Section, strconv.FormatInt(item.Quantity, 10), price(item))
		if rule == fingerprintSeats {
			values = append(values, placesWanted(item.Seats, item.Apart, item.Allocation))
		}
	}
	if len(items) == 0 {
		values = append(values, r.value[fieldItems], r.value[fieldSection], r.value[fieldQuantity], r.value[fieldUnitPrice])
	}
	return rule + domain.Fingerprint(values...)
}

// placesWanted is what a fingerprint says of places: nothing, if any will do that are for everybody and stand side by side. An allocation
// is what no name of a seat can be.
func placesWanted(named []string, apart bool, allocation string) string {
	said := strings.Join(named, ",")
	if apart {
		said = "apart"
	}
	if allocation != "" {
		said += " of " + allocation
	}
	return said
}

// fingerprint is that of the short form, with what it wants of seats.
func (r *raw) fingerprint(seats string) string {
	var values [len(fingerprinted) + 1]string
	for i, f := range fingerprinted {
		values[i] = r.value[f]
		if f == fieldSection && !r.given[f] {
			values[i] = domain.DefaultSection
		}
	}
	if seats == "" {
		return domain.Fingerprint(values[:len(fingerprinted)]...)
	}
	values[len(fingerprinted)] = seats
	return fingerprintSeats + domain.Fingerprint(values[:]...)
}

// complete reads the rest into req. What is read before an error stays, so that
// a rejected order shows as much as was right.
func (r *raw) complete(req *domain.Request) error {
	var errs [4]error
	if req.Type.Opens() {
		if errs[0] = r.checkID(fieldCustomerID); errs[0] == nil {
			req.CustomerID = r.value[fieldCustomerID]
		}
		if errs[1] = r.badItems; !r.given[fieldItems] {
			errs[1] = r.completeItem(req)
		}
		if errs[1] == nil {
			errs[1] = r.completeCode(req)
		}
		req.HoldSeconds, errs[2] = r.count(fieldHoldSeconds, 1, MaxHoldSeconds)
	}
	if req.Type == domain.RequestCancel && r.given[fieldRefund] {
		if value := r.value[fieldRefund]; value != "true" && value != "false" {
			return fmt.Errorf("%s: want true or false", fieldRefund)
		}
		req.NoRefund = r.value[fieldRefund] == "false"
	}
	if req.Type == domain.RequestChange || req.Type == domain.RequestRefund || req.Type == domain.RequestCancel && (r.given[fieldItems] || r.given[fieldChange]) {
		errs[0] = r.completeChange(req)
	}
	if req.Type == domain.RequestPay || req.Type == domain.RequestPaymentUpdate {
		if req.Attempt, errs[0] = r.count(fieldAttempt, 1, domain.MaxAttempts); errs[0] == nil && req.Type == domain.RequestPay {
			req.Fingerprint = domain.Fingerprint(r.value[fieldType], strconv.Itoa(req.AttemptNumber()), r.value[fieldValidSeconds])
		}
	}
	if (req.Type.Opens() || req.Type == domain.RequestPay || req.Type == domain.RequestChange) && errs[2] == nil {
		req.ValidSeconds, errs[2] = r.count(fieldValidSeconds, 1, MaxValidSeconds)
	}
	if req.Type == domain.RequestCancel || req.Type == domain.RequestRefund || req.Type == domain.RequestChange {
		cause := domain.Cause{Reason: r.value[fieldReason], By: r.value[fieldBy]}
		if errs[3] = cause.Validate(); errs[3] == nil {
			req.Cause = cause
		}
	}
	if req.Type.Pays() { // without a token it is not refused here: it may be for free
		if errs[3] = checkToken(r.value[fieldToken]); errs[3] == nil {
			req.PaymentToken = domain.Secret(r.value[fieldToken])
		}
	}
	if validTraceparent(r.value[fieldTraceparent]) {
		req.Traceparent = r.value[fieldTraceparent]
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// completeChange reads what a partial cancel, a change or a refund says. Of which order it is, and what of that, says nothing of its type.
func (r *raw) completeChange(req *domain.Request) (err error) {
	amount := req.Type == domain.RequestRefund && r.given[fieldAmount]
	switch {
	case !r.given[fieldChange]:
		return fmt.Errorf("%s: missing", fieldChange)
	case amount && r.given[fieldItems]:
		return notWith(fieldItems, fieldAmount)
	case !amount && !r.given[fieldItems] && req.Type == domain.RequestRefund:
		return fmt.Errorf("%s: missing, or %s", fieldAmount, fieldItems)
	case !amount && !r.given[fieldItems]:
		return fmt.Errorf("%s: missing", fieldItems)
	}
	if req.Change, err = r.count(fieldChange, 1, domain.MaxChange); err != nil {
		return err
	}
	if amount {
		req.Fingerprint = fingerprintSeats + domain.Fingerprint(r.value[fieldType], r.value[fieldChange], r.value[fieldAmount])
		req.Amount, err = r.count(fieldAmount, 1, domain.MaxAmount)
		return err
	}
	if req.Items, err = r.items(); err != nil {
		return err
	}
	values := []string{r.value[fieldType], r.value[fieldChange], r.value[fieldValidSeconds]}
	if req.NoRefund { // else the fingerprint is the one that it was before there was such a thing
		values = append(values, "no refund")
	}
	for i, item := range req.Items {
		price := ""
		switch {
		case item.Allocation != "":
			return fmt.Errorf("%s[%d]: allocation: not with type %s: it is the one of the order", fieldItems, i, req.Type)
		case item.Apart && req.Type != domain.RequestChange:
			return fmt.Errorf("%s[%d]: adjacent: not with type %s", fieldItems, i, req.Type)
		case item.UnitPrice != nil && req.Type != domain.RequestChange:
			return fmt.Errorf("%s[%d]: unit_price: not with type %s", fieldItems, i, req.Type)
		case item.UnitPrice != nil:
			price = strconv.FormatInt(*item.UnitPrice, 10)
		}
		values = append(values, item.Section, strconv.FormatInt(item.Quantity, 10), price, placesWanted(item.Seats, item.Apart, ""))
	}
	req.Fingerprint = fingerprintSeats + domain.Fingerprint(values...)
	return nil
}

// completeCode reads the access code. One that opens nothing is an error: whoever brings it wants something else than they ask for.
func (r *raw) completeCode(req *domain.Request) error {
	if !r.given[fieldAccessCode] {
		return nil
	}
	code := domain.Secret(r.value[fieldAccessCode])
	if err := domain.CheckAccessCode(code); err != nil {
		return err
	}
	for item := range req.Lines() {
		if _, allocation := domain.SplitPool(item.Section); allocation != seats.Public {
			req.AccessCode = code
			return nil
		}
	}
	return fmt.Errorf("%s: want the allocation that it opens", fieldAccessCode)
}

// allocationOf reads the name of one; it is empty for what is for everybody, however that is said.
func allocationOf(name string) (string, error) {
	if name == seats.Public {
		return "", nil
	}
	return name, domain.CheckID(FieldAllocation, name)
}

// completeItem reads the short form of one item.
func (r *raw) completeItem(req *domain.Request) error {
	errs := [...]error{nil, r.badItems, nil, nil}
	if r.given[fieldAllocation] {
		req.Allocation, errs[3] = allocationOf(r.value[fieldAllocation])
	}
	req.Seats, req.Apart = r.named, r.apart
	req.Section = domain.DefaultSection
	if r.given[fieldSection] {
		req.Section = r.value[fieldSection]
		if errs[0] = r.checkID(fieldSection); errs[0] != nil {
			req.Section = ""
		}
	}
	switch {
	case r.badItems != nil || len(req.Seats) > 0:
	case !r.given[fieldQuantity]:
		errs[1] = fmt.Errorf("%s: missing", fieldQuantity)
	default:
		req.Quantity, errs[1] = r.count(fieldQuantity, 1, domain.MaxQuantity)
	}
	if r.given[fieldUnitPrice] {
		var price int64
		if price, errs[2] = r.count(fieldUnitPrice, 0, domain.MaxAmount); errs[2] == nil {
			req.UnitPrice = &price
		}
	}
	return cmp.Or(errs[:]...)
}

func (r *raw) checkID(f field) error { return domain.CheckID(fieldNames[f], r.value[f]) }

func checkToken(token string) error {
	switch {
	case len(token) > MaxTokenLength:
		return fmt.Errorf("%s: longer than %d bytes", FieldPaymentToken, MaxTokenLength)
	case !utf8.ValidString(token) || strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%s: want printable UTF-8", FieldPaymentToken)
	}
	return nil
}

// count reads a whole number, 0 if it is not given, in its one canonical form: digits
// without a sign or leading zeros, so that equal bodies have equal fingerprints.
func (r *raw) count(f field, low, high int64) (int64, error) {
	if !r.given[f] {
		return 0, nil
	}
	value := r.value[f]
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < low || n > high || strconv.FormatInt(n, 10) != value {
		return 0, fmt.Errorf("%s: want a whole number from %d to %d", f, low, high)
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
