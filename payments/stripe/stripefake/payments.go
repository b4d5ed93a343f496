package stripefake

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"holdfast/domain"
)

// The states of an intent.
const (
	needsMethod  = "requires_payment_method"
	needsAction  = "requires_action"
	needsCapture = "requires_capture"
	succeeded    = "succeeded"
	canceled     = "canceled"
)

// leasts are some of the amounts below which Stripe takes none.
var leasts = map[string]int64{"usd": 50, "eur": 50, "gbp": 30, "jpy": 50, "huf": 17500}

func (s *Stripe) create(form url.Values) (any, *problem) {
	switch {
	case form.Get("capture_method") != "manual":
		return nil, invalid("", "capture_method", "this fake knows manual alone")
	case form.Get("confirm") == "true":
		return nil, invalid("", "confirm", "this fake confirms on its own")
	}
	i := &intent{id: "pi_" + random(), status: needsMethod, metadata: map[string]string{}, created: s.now()}
	i.secret = i.id + "_secret_" + random()
	if p := i.set(form); p != nil {
		return nil, p
	}
	s.intents, s.byID[i.id] = append(s.intents, i), i
	return s.show(i, form), nil
}

func (s *Stripe) update(i *intent, form url.Values) *problem {
	if i.status != needsMethod {
		return s.unexpected(i)
	}
	if p := i.set(form); p != nil {
		return p
	}
	i.declinedAs = "" // it is cleared by any update
	return nil
}

// set takes over what it is about.
func (i *intent) set(form url.Values) *problem {
	amount, err := strconv.ParseInt(form.Get("amount"), 10, 64)
	currency := form.Get("currency")
	switch {
	case err != nil || amount < 1:
		return invalid("parameter_invalid_integer", "amount", "This value must be greater than or equal to 1.")
	case amount > 99_999_999:
		return invalid("amount_too_large", "amount", "Amount must be no more than 999,999.99")
	case len(currency) != 3 || currency != strings.ToLower(currency):
		return invalid("", "currency", "Invalid currency: "+currency)
	case amount < leasts[currency]:
		return invalid("amount_too_small", "amount", "Amount is below the minimum")
	case slices.Contains([]string{"bhd", "jod", "kwd", "omr", "tnd"}, currency) && amount%10 != 0,
		slices.Contains([]string{"isk", "ugx"}, currency) && amount%100 != 0:
		return invalid("", "amount", "Invalid amount for the currency")
	}
	for name, values := range form {
		if rest, ok := strings.CutPrefix(name, "metadata["); ok {
			if len(values[0]) > 500 {
				return invalid("", name, "Metadata values can have up to 500 characters")
			}
			i.metadata[strings.TrimSuffix(rest, "]")] = values[0]
		}
	}
	i.amount, i.currency = amount, currency
	return nil
}

func (s *Stripe) unexpected(i *intent) *problem {
	p := invalid("payment_intent_unexpected_state", "", "This PaymentIntent has a status of "+i.status)
	p.intent, p.unstored = i, false
	return p
}

func (s *Stripe) confirm(i *intent, form url.Values) *problem {
	token := cmp.Or(form.Get("payment_method"), form.Get("confirmation_token"))
	switch {
	case i.status != needsMethod:
		return s.unexpected(i)
	case token == "":
		p := s.unexpected(i)
		p.unstored = true
		return p
	case strings.Contains(token, "missing"):
		return invalid("resource_missing", "payment_method", fmt.Sprintf("No such PaymentMethod: '%s'", token))
	}
	i.method = "pm_" + random()
	switch {
	case strings.Contains(token, "decline"):
		i.decline("generic_decline")
		return &problem{status: http.StatusPaymentRequired, kind: "card_error", code: "card_declined", decline: "generic_decline", message: "Your card was declined.", intent: i}
	case strings.Contains(token, "authenticationRequired"):
		i.status, i.declinedAs = needsAction, ""
	default:
		s.authorize(i)
	}
	return nil
}

func (s *Stripe) authorize(i *intent) {
	i.status, i.declinedAs, i.charge, i.chargeFailed = needsCapture, "", "ch_"+random(), false
	i.authorized, i.wasAuthorized = s.now(), i.amount
	i.authorizations++
}

func (i *intent) decline(code string) {
	i.status, i.declinedAs, i.charge, i.chargeFailed = needsMethod, code, "ch_"+random(), true
	i.method = "" // Stripe takes it off again
}

func (s *Stripe) capture(i *intent, form url.Values) *problem {
	if i.status != needsCapture {
		return s.unexpected(i)
	}
	i.status, i.received = succeeded, i.amount
	if part := form.Get("amount_to_capture"); part != "" {
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil || n < 1 || n > i.amount {
			i.status, i.received = needsCapture, 0
			return invalid("amount_too_large", "amount_to_capture", "more than was authorized")
		}
		i.received = n
	}
	i.captures++
	return nil
}

func (s *Stripe) cancel(i *intent, form url.Values) *problem {
	reason := form.Get("cancellation_reason")
	switch {
	case i.status == succeeded || i.status == canceled:
		return s.unexpected(i)
	case reason != "" && !slices.Contains([]string{"duplicate", "fraudulent", "requested_by_customer", "abandoned"}, reason):
		return invalid("", "cancellation_reason", "no such reason")
	}
	s.end(i, reason)
	return nil
}

func (s *Stripe) end(i *intent, reason string) {
	if i.status == needsCapture {
		i.voids++
	}
	i.status, i.reason = canceled, reason
}

// age lets an authorization expire.
func (s *Stripe) age(i *intent) {
	if i.status == needsCapture && s.now().Sub(i.authorized) > authorizationLife {
		s.end(i, "automatic")
	}
}

func (s *Stripe) refund(form url.Values) (any, *problem) {
	i := s.byID[form.Get("payment_intent")]
	amount, err := strconv.ParseInt(form.Get("amount"), 10, 64)
	switch {
	case i == nil:
		p := invalid("resource_missing", "payment_intent", "No such payment_intent")
		p.status = http.StatusNotFound
		return nil, p
	case err != nil || amount < 1:
		return nil, invalid("parameter_invalid_integer", "amount", "This value must be greater than or equal to 1.")
	case i.status != succeeded:
		return nil, invalid("", "payment_intent", "This PaymentIntent does not have a successful charge to refund.")
	case i.disputeID != "" && (i.dispute.State == domain.DisputeOpen || i.dispute.State == domain.DisputeLost):
		return nil, invalid("charge_disputed", "", "The charge has been charged back.")
	case i.refunded == i.received:
		return nil, invalid("charge_already_refunded", "", "The charge has already been refunded.")
	case amount > i.received-i.refunded:
		return nil, invalid("", "amount", "Refund amount is greater than unrefunded amount on charge")
	}
	i.refunded += amount
	i.refunds++
	return map[string]any{
		"id": "re_" + random(), "object": "refund", "amount": amount, "currency": i.currency, "charge": i.charge, "payment_intent": i.id,
		"created": s.now().Unix(), "status": "succeeded", "metadata": map[string]string{},
	}, nil
}

func (s *Stripe) search(form url.Values) (any, *problem) {
	name, value, ok := strings.Cut(form.Get("query"), ":")
	name, isMetadata := strings.CutPrefix(name, "metadata['")
	if !ok || !isMetadata {
		return nil, invalid("", "query", "this fake searches one field of the metadata")
	}
	name, value = strings.TrimSuffix(name, "']"), strings.Trim(value, "'")
	found := []any{}
	for _, i := range s.intents {
		if s.age(i); strings.EqualFold(i.metadata[name], value) && s.now().Sub(i.created) >= s.options.SearchLag {
			found = append(found, s.show(i, form))
		}
	}
	return map[string]any{"object": "search_result", "data": found, "has_more": false, "next_page": nil, "url": "/v1/payment_intents/search"}, nil
}

// list has the newest first.
func (s *Stripe) list(form url.Values) (any, *problem) {
	limit, from, until := int64(10), int64(0), s.now().Unix()+1
	for name, at := range map[string]*int64{"limit": &limit, "created[gte]": &from, "created[lt]": &until} {
		if text := form.Get(name); text != "" {
			var err error
			if *at, err = strconv.ParseInt(text, 10, 64); err != nil {
				return nil, invalid("parameter_invalid_integer", name, "Invalid integer")
			}
		}
	}
	after, data, more := form.Get("starting_after"), []any{}, false
	passed := after == ""
	for _, i := range slices.Backward(s.intents) {
		s.age(i)
		in := i.created.Unix() >= from && i.created.Unix() < until
		switch {
		case !passed:
			passed = i.id == after
		case !in:
		case int64(len(data)) == limit:
			more = true
		default:
			data = append(data, s.show(i, form))
		}
	}
	return map[string]any{"object": "list", "data": data, "has_more": more, "url": "/v1/payment_intents"}, nil
}

// show is an intent as Stripe tells it.
func (s *Stripe) show(i *intent, form url.Values) map[string]any {
	text := func(v string) any {
		if v == "" {
			return nil
		}
		return v
	}
	view := map[string]any{
		"id": i.id, "object": "payment_intent", "livemode": false, "created": i.created.Unix(), "status": i.status,
		"amount": i.amount, "amount_received": i.received, "amount_capturable": int64(0), "currency": i.currency,
		"capture_method": "manual", "confirmation_method": "automatic", "client_secret": i.secret, "metadata": i.metadata,
		"payment_method": text(i.method), "payment_method_types": []string{"card"}, "cancellation_reason": text(i.reason),
		"last_payment_error": nil, "next_action": nil, "latest_charge": text(i.charge), "automatic_payment_methods": map[string]any{"enabled": true, "allow_redirects": "never"},
	}
	switch i.status {
	case needsCapture:
		view["amount_capturable"] = i.amount
	case needsAction:
		view["next_action"] = map[string]any{"type": "use_stripe_sdk", "use_stripe_sdk": map[string]any{}}
	}
	if i.declinedAs != "" {
		view["last_payment_error"] = map[string]any{"type": "card_error", "code": "card_declined", "decline_code": i.declinedAs, "message": "Your card was declined."}
	}
	if i.charge != "" && expands(form) {
		view["latest_charge"] = i.showCharge()
	}
	return view
}

func expands(form url.Values) bool {
	for name, values := range form {
		if strings.HasPrefix(name, "expand[") && strings.HasSuffix(values[0], "latest_charge") {
			return true
		}
	}
	return false
}

// showCharge is its charge. An authorization that is given up is a refund of it, to Stripe.
func (i *intent) showCharge() map[string]any {
	status, refunded := "succeeded", i.refunded
	if i.chargeFailed {
		status = "failed"
	}
	if i.status == canceled && !i.chargeFailed {
		refunded = i.amount
	}
	return map[string]any{
		"id": i.charge, "object": "charge", "livemode": false, "created": i.created.Unix(), "status": status, "currency": i.currency,
		"amount": i.amount, "amount_captured": i.received, "amount_refunded": refunded, "captured": i.received > 0, "paid": !i.chargeFailed,
		"refunded": refunded > 0 && refunded == i.amount, "disputed": i.disputeID != "", "metadata": map[string]string{}, "payment_intent": i.id,
		"billing_details": map[string]any{"address": nil, "email": nil, "name": nil, "phone": nil, "tax_id": nil},
	}
}

// named is the intent of a payment that was confirmed or cancelled.
func (s *Stripe) named(name domain.PaymentName) *intent {
	for _, i := range s.intents {
		if i.metadata["holdfast_payment"] == name.String() && i.outcome() != "" {
			return i
		}
	}
	return nil
}

// outcome is what its status means; empty if nobody was asked to pay.
func (i *intent) outcome() domain.PaymentStatus {
	switch i.status {
	case needsAction:
		return domain.PaymentStatusActionRequired
	case needsCapture:
		return domain.PaymentStatusAuthorized
	case succeeded:
		if i.refunded == i.received {
			return domain.PaymentStatusRefunded
		}
		return domain.PaymentStatusCaptured
	case canceled:
		if i.declinedAs != "" {
			return domain.PaymentStatusDeclined
		}
		return domain.PaymentStatusVoided
	}
	if i.declinedAs != "" {
		return domain.PaymentStatusDeclined
	}
	return ""
}

// Finish is what a customer does at their bank. Errors: domain.ErrNotFound, domain.ErrRefused if there is nothing to do.
func (s *Stripe) Finish(name domain.PaymentName, authorized bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.named(name)
	switch {
	case i == nil:
		return domain.ErrNotFound
	case i.status == needsAction && authorized:
		s.authorize(i)
	case i.status == needsAction:
		i.decline("authentication_required")
	case authorized && i.outcome() == domain.PaymentStatusAuthorized, !authorized && i.outcome() == domain.PaymentStatusDeclined:
	default:
		return domain.ErrRefused
	}
	return nil
}

// Books are all payments of holdfast that were confirmed or cancelled, a line a name, sorted by name: if a name has several intents, that shows
// in its counts. Calls is left out.
func (s *Stripe) Books() []domain.BooksLine {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := map[domain.PaymentName]domain.BooksLine{}
	for _, i := range s.intents {
		name, err := domain.ParsePaymentName(i.metadata["holdfast_payment"])
		if s.age(i); err != nil || i.outcome() == "" {
			continue
		}
		l := domain.BooksLine{Namespace: name.Namespace, EventID: name.EventID, OrderID: name.OrderID, Attempt: name.Attempt, Status: i.outcome()}
		if i.charge != "" || i.method != "" { // somebody was asked to pay
			l.AuthorizationID, l.Currency = i.id, strings.ToUpper(i.currency)
			l.CustomerID, l.Fingerprint = i.metadata["holdfast_customer"], i.metadata["holdfast_fingerprint"]
		}
		l.Authorized, l.Captured, l.Refunded = i.wasAuthorized, i.received, i.refunded
		l.Disputed, l.Dispute = i.disputeID != "", i.dispute
		if i.voids > 0 {
			l.Voided = i.wasAuthorized
		}
		before := lines[name]
		l.Authorizations, l.Captures = before.Authorizations+i.authorizations, before.Captures+i.captures
		l.Voids, l.Refunds = before.Voids+i.voids, before.Refunds+i.refunds
		lines[name] = l
	}
	sorted := make([]domain.BooksLine, 0, len(lines))
	for _, l := range lines {
		sorted = append(sorted, l)
	}
	slices.SortFunc(sorted, func(a, b domain.BooksLine) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.EventID, b.EventID), strings.Compare(a.OrderID, b.OrderID), cmp.Compare(a.Attempt, b.Attempt))
	})
	return sorted
}

// Intents is how many intents have a payment's name.
func (s *Stripe) Intents(name domain.PaymentName) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.intents {
		if i.metadata["holdfast_payment"] == name.String() {
			n++
		}
	}
	return n
}

// Dispute is a customer's bank that asks for the money back, or decides. domain.ErrRefused: there is none.
func (s *Stripe) Dispute(name domain.PaymentName, d domain.Dispute) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.named(name)
	if i == nil || i.status != succeeded {
		return domain.ErrRefused
	}
	if i.dispute = d; i.disputeID == "" {
		i.disputeID = "dp_" + random()
	}
	return nil
}

// Intent is the id of a payment's intent; empty if there is none.
func (s *Stripe) Intent(name domain.PaymentName) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.named(name); i != nil {
		return i.id
	}
	return ""
}

// disputes are those of an intent.
func (s *Stripe) disputes(form url.Values) (any, *problem) {
	data := []any{}
	if i := s.byID[form.Get("payment_intent")]; i != nil && i.disputeID != "" {
		data = append(data, s.showDispute(i))
	}
	return map[string]any{"object": "list", "data": data, "has_more": false, "url": "/v1/disputes"}, nil
}

func (s *Stripe) showDispute(i *intent) map[string]any {
	d := i.dispute
	status := map[domain.DisputeState]string{
		domain.DisputeInquiry: "warning_under_review", domain.DisputeOpen: "under_review", domain.DisputeWon: "won", domain.DisputeLost: "lost",
	}[d.State]
	var due any
	if d.DueMillis > 0 {
		status, due = strings.Replace(status, "under_review", "needs_response", 1), d.DueMillis/1000
	}
	return map[string]any{
		"id": i.disputeID, "object": "dispute", "livemode": false, "created": s.now().Unix(), "amount": d.Amount, "currency": i.currency,
		"charge": i.charge, "payment_intent": i.id, "status": status, "reason": "fraudulent", "is_charge_refundable": d.State == domain.DisputeInquiry,
		"balance_transactions": []any{}, "enhanced_eligibility_types": []any{}, "metadata": map[string]string{},
		"evidence": map[string]any{"enhanced_evidence": map[string]any{}},
		"evidence_details": map[string]any{
			"due_by": due, "has_evidence": false, "past_due": false, "submission_count": 0, "enhanced_eligibility": map[string]any{},
		},
	}
}

// Spoil takes back what a refund has given back, as if it had failed later.
func (s *Stripe) Spoil(name domain.PaymentName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.named(name); i != nil {
		i.refunded = 0
	}
}

// Retry is what a customer's browser can do with the client secret of an intent that was declined: pay with another card.
func (s *Stripe) Retry(name domain.PaymentName) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.named(name)
	if i == nil || i.status != needsMethod {
		return false
	}
	i.method = "pm_" + random()
	s.authorize(i)
	return true
}
