package layout

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"holdfast/domain"
	"holdfast/domain/wire"
)

// An order's record is a string: its version, a bar, and what OrderTail makes: values between bars.
//
//	version      id of the log entry that last changed the order
//	state        h c d e x r l, and the layout of what follows: 2
//	type         p (purchase) or h (hold), empty if a cancel came first
//	fingerprint, customer_id
//	items        section:quantity:unit_price, several with commas between them; empty if nothing was asked for
//	currency, hold_millis
//	held_at      milliseconds; empty if it never was, and while it is: the version's time
//	confirmed_at likewise
//	resolved_at  empty: the version's time
//	authorization_id, reason
//	further      what only few orders have, with semicolons between
//	             the latest attempt to pay: a, its number, o (open), d (declined) or w (waits for what its customer does), a colon, the
//	             fingerprint of the pay. Nothing for none, and for a purchase that is its own first one, which is open
//	             the latest partial cancel or change: c, its number, @ and when it was decided, unless that is the version's time, a
//	             colon, its fingerprint, and, if it was refused, :reason:detail
//	             k, hash of the access code that it uses while it is held or confirmed
//	             r, by how much it costs less than was paid for it, in minor units
//	             l, for how many milliseconds after its deadline an order that lapsed could still be paid for
//	             d, i (inquiry), o (open), w (won) or l (lost), and how much of its payment is disputed, in minor units; @ and when that
//	             became known, unless that is the version's time; and, if it is to be answered, a colon, until when: milliseconds
//	             m, how much more than its places cost the organiser keeps of that, in minor units; below zero: less
//	             t, whose trace the request that opened it is of: the trace's id, -, the id of the span that published it
//	detail       for people; the only value that may contain bars
//
// Only hold.lua writes records otherwise: those of held and rejected orders. The version comes first
// and is written by the script that adds the entry; so do the times that are its own.

const (
	layoutOfOrder = '2'
	recordValues  = 15
)

// stateLetters are those of the states, in their order; the first has no record.
const stateLetters = "-hcdexrl"

// DecodeOrder reads a record; "" is an order never heard of.
func DecodeOrder(record string) (domain.Order, error) {
	if record == "" {
		return domain.Order{}, nil
	}
	var v [recordValues]string
	rest := record
	for i := range recordValues - 1 {
		bar := strings.IndexByte(rest, '|')
		if bar < 0 {
			return domain.Order{}, damaged("order record", record)
		}
		v[i], rest = rest[:bar], rest[bar+1:]
	}
	v[recordValues-1] = rest
	at := domain.EntryMillis(v[0])
	if at == 0 || len(v[1]) != 2 || v[1][1] != layoutOfOrder {
		return domain.Order{}, damaged("order record", record)
	}
	state := domain.OrderState(max(strings.IndexByte(stateLetters, v[1][0]), 0))
	requestType, known := wire.RequestTypeOf(v[2])
	if state == domain.OrderNone || !known {
		return domain.Order{}, damaged("order record", record)
	}
	n := numbers{}
	o := domain.Order{
		State: state, Version: v[0], RequestType: requestType, Fingerprint: v[3], CustomerID: v[4], Currency: v[6],
		HeldAtMillis: n.optional(v[8]), ConfirmedAtMillis: n.optional(v[9]), ResolvedAtMillis: n.optional(v[10]),
		AuthorizationID: v[11], Reason: v[12], Detail: v[14],
	}
	if requestType != "" {
		var ok bool
		if o.Items, ok = domain.ParseItems(v[5]); !ok || o.Items == "" && state != domain.OrderRejected {
			return domain.Order{}, damaged("order record", record)
		}
	}
	switch {
	case state == domain.OrderHeld && o.HeldAtMillis == 0:
		o.HeldAtMillis = at
	case state == domain.OrderConfirmed && o.ConfirmedAtMillis == 0:
		o.ConfirmedAtMillis = at
	}
	if state.Terminal() && o.ResolvedAtMillis == 0 {
		o.ResolvedAtMillis = at
	}
	if !decodeFurther(&o, v[13], at) {
		return domain.Order{}, damaged("order record", record)
	}
	holdMillis := n.optional(v[7])
	if o.HeldAtMillis > 0 {
		o.DeadlineMillis = o.HeldAtMillis + holdMillis
	}
	unheld := o.HeldAtMillis == 0 && holdMillis > 0
	unasked := requestType == "" && v[3]+v[4]+v[5] != ""
	if unheld || unasked || o.DeadlineMillis < o.HeldAtMillis {
		return domain.Order{}, damaged("order record", record)
	}
	if n.err != nil {
		return domain.Order{}, damaged("order record", record)
	}
	return o, nil
}

// payLetters are those of the states of an attempt to pay, in their order.
const payLetters = "odw"

// decodeFurther reads what only few orders have, of a record that was written at that time. It reports false if that is damaged.
func decodeFurther(o *domain.Order, further string, at int64) bool {
	if o.RequestType == domain.RequestPurchase && o.HeldAtMillis > 0 {
		o.Attempt = 1
	}
	letters := "" // so far
	for part, more := "", further != ""; more; {
		part, further, more = strings.Cut(further, ";")
		if part == "" || o.HeldAtMillis == 0 && part[0] != 't' || strings.Contains(letters, part[:1]) {
			return false
		}
		letters += part[:1]
		ok := false
		switch part[0] {
		case 'a':
			ok = decodeAttempt(o, part[1:])
		case 'c':
			ok = decodeChange(o, part[1:], at)
		case 'k':
			o.Code = part[1:]
			ok = domain.ValidCodeHash(o.Code)
		case 'r':
			ok = decodeReduced(o, part[1:])
		case 'l':
			n := numbers{}
			o.LateMillis = n.parse(part[1:])
			ok = n.err == nil && o.LateMillis > 0
		case 'd':
			ok = decodeDispute(o, part[1:], at)
		case 'm':
			kept, err := strconv.ParseInt(part[1:], 10, 64)
			o.Kept, ok = kept, err == nil && kept != 0 && o.ConfirmedAtMillis > 0
		case 't':
			o.Trace = domain.Trace(part[1:])
			ok = domain.ValidTrace(part[1:])
		}
		if !ok {
			return false
		}
	}
	if o.State == domain.OrderLapsed && o.LateMillis == 0 {
		return false
	}
	if o.Reduced != 0 && (o.Change == 0 || o.ConfirmedAtMillis == 0 || o.Reduced > math.MaxInt64-o.Amount()) {
		return false
	}
	if o.Dispute != (domain.Dispute{}) && (o.ConfirmedAtMillis == 0 || !o.Dispute.Valid(o.PaidAmount())) {
		return false
	}
	return o.Kept == 0 || o.Kept >= -o.PaidAmount() && o.RefundTotal() >= 0 && o.RefundTotal() <= o.PaidAmount()
}

// decodeAttempt reads the latest attempt to pay.
func decodeAttempt(o *domain.Order, said string) bool {
	about, fingerprint, _ := strings.Cut(said, ":")
	if len(about) != 2 {
		return false
	}
	attempt, ok := wire.ParseAttempt(about[:1])
	state := strings.IndexByte(payLetters, about[1])
	o.Attempt, o.PayState, o.PayFingerprint = attempt, domain.PayState(max(state, 0)), fingerprint
	return ok && state >= 0
}

// decodeChange reads the latest partial cancel or change.
func decodeChange(o *domain.Order, said string, at int64) bool {
	v := strings.SplitN(said, ":", 4) // number, fingerprint, and if it was refused, why
	number, millis, earlier := strings.Cut(v[0], "@")
	n := numbers{}
	o.Change, o.ChangedAtMillis = n.parse(number), at
	if earlier {
		o.ChangedAtMillis = n.parse(millis)
	}
	if len(v) == 4 {
		o.ChangeRefusal, o.ChangeDetail = v[2], v[3]
	}
	if len(v) > 1 {
		o.ChangeFingerprint = v[1]
	}
	return n.err == nil && o.Change > 0 && o.ChangedAtMillis > 0 && o.ChangeFingerprint != "" && len(v) != 3 && (len(v) == 2) == (o.ChangeRefusal == "")
}

// disputeLetters are those of domain.DisputeStates, in their order.
const disputeLetters = "iowl"

// decodeDispute reads what is disputed of an order's payment.
func decodeDispute(o *domain.Order, said string, at int64) bool {
	amount, due, answered := strings.Cut(said, ":")
	amount, millis, earlier := strings.Cut(amount, "@")
	if amount == "" {
		return false
	}
	n, state := numbers{}, strings.IndexByte(disputeLetters, amount[0])
	if state < 0 {
		return false
	}
	o.Dispute = domain.Dispute{State: domain.DisputeStates[state], Amount: n.parse(amount[1:])}
	if o.DisputedAtMillis = at; earlier {
		o.DisputedAtMillis = n.parse(millis)
	}
	if answered {
		o.Dispute.DueMillis = n.parse(due)
	}
	return n.err == nil && answered == (o.Dispute.DueMillis > 0) && o.DisputedAtMillis > 0
}

// decodeReduced reads by how much an order costs less than was paid.
func decodeReduced(o *domain.Order, said string) bool {
	n := numbers{}
	o.Reduced = n.parse(said)
	return n.err == nil && o.Reduced > 0
}

// appendFurther is what decodeFurther reads.
func appendFurther(b []byte, o *domain.Order) []byte {
	from := len(b)
	begin := func(letter byte) {
		if len(b) > from {
			b = append(b, ';')
		}
		b = append(b, letter)
	}
	if o.Attempt > 0 && (o.RequestType != domain.RequestPurchase || o.PayState != domain.PayOpen) {
		begin('a')
		b = append(b, '0'+byte(o.Attempt), payLetters[o.PayState], ':')
		b = append(b, o.PayFingerprint...)
	}
	if o.Change > 0 {
		begin('c')
		if b = strconv.AppendInt(b, o.Change, 10); o.ChangedAtMillis > 0 {
			b = strconv.AppendInt(append(b, '@'), o.ChangedAtMillis, 10)
		}
		b = append(append(b, ':'), o.ChangeFingerprint...)
		if o.ChangeRefusal != "" {
			b = append(append(append(append(b, ':'), o.ChangeRefusal...), ':'), o.ChangeDetail...)
		}
	}
	if o.Code != "" {
		begin('k')
		b = append(b, o.Code...)
	}
	if o.Reduced > 0 {
		begin('r')
		b = strconv.AppendInt(b, o.Reduced, 10)
	}
	if o.LateMillis > 0 {
		begin('l')
		b = strconv.AppendInt(b, o.LateMillis, 10)
	}
	if d := o.Dispute; d != (domain.Dispute{}) {
		begin('d')
		b = strconv.AppendInt(append(b, disputeLetters[slices.Index(domain.DisputeStates, d.State)]), d.Amount, 10)
		if o.DisputedAtMillis > 0 {
			b = strconv.AppendInt(append(b, '@'), o.DisputedAtMillis, 10)
		}
		if d.DueMillis > 0 {
			b = strconv.AppendInt(append(b, ':'), d.DueMillis, 10)
		}
	}
	if o.Kept != 0 {
		begin('m')
		b = strconv.AppendInt(b, o.Kept, 10)
	}
	if o.Trace != "" {
		begin('t')
		b = append(b, o.Trace...)
	}
	return b
}

// EncodeOrder is the record of an order that nothing changes now, as scripts have written it: times that are the version's are left out.
func EncodeOrder(o domain.Order) string {
	at := domain.EntryMillis(o.Version)
	if o.ResolvedAtMillis == at {
		o.ResolvedAtMillis = 0
	}
	if o.State == domain.OrderConfirmed && o.ConfirmedAtMillis == at {
		o.ConfirmedAtMillis = 0
	}
	if o.ChangedAtMillis == at {
		o.ChangedAtMillis = 0
	}
	if o.DisputedAtMillis == at {
		o.DisputedAtMillis = 0
	}
	asHeld := o.State == domain.OrderHeld && o.HeldAtMillis == at && o.Change == 0 && (o.Attempt == 0 || o.RequestType == domain.RequestPurchase && o.PayState == domain.PayOpen)
	if !asHeld {
		return o.Version + "|" + OrderTail(o)
	}
	values := strings.Split(OrderTail(o), "|")
	values[7] = "" // held_at
	return o.Version + "|" + strings.Join(values, "|")
}

// OrderTail is the record of an order behind its version, for an order that is changed now: the times of the
// change itself (0 in o) are the version's.
func OrderTail(o domain.Order) string { return string(AppendOrderTail(make([]byte, 0, 160), &o)) }

// AppendOrderTail is OrderTail without a string of its own.
func AppendOrderTail(b []byte, o *domain.Order) []byte {
	b = append(b, stateLetters[o.State], layoutOfOrder, '|')
	add := func(value string) { b = append(append(b, value...), '|') }
	number := func(n int64) {
		if n != 0 {
			b = strconv.AppendInt(b, n, 10)
		}
		b = append(b, '|')
	}
	if o.RequestType == "" {
		b = append(b, "|||"...) // a cancel came first
		number(0)
	} else {
		b = wire.AppendOpening(b, o.RequestType, o.Fingerprint, o.CustomerID)
		add(string(o.Items))
	}
	add(o.Currency)
	if o.HeldAtMillis != 0 {
		b = strconv.AppendInt(b, o.DeadlineMillis-o.HeldAtMillis, 10) // also 0, as hold.lua writes it
	}
	b = append(b, '|')
	number(o.HeldAtMillis)
	number(o.ConfirmedAtMillis)
	number(o.ResolvedAtMillis)
	add(o.AuthorizationID)
	add(o.Reason)
	b = append(appendFurther(b, o), '|')
	return append(b, o.Detail...)
}
