package domain

import (
	"fmt"
	"strconv"
	"strings"
)

// Mismatch is how a payment differs from what its order asks for.
type Mismatch struct {
	Detail  string // for people; empty if it does not differ
	Foreign bool   // it is another customer's
}

// Any reports whether the payment differs at all.
func (m Mismatch) Any() bool { return m.Detail != "" }

// MatchPayment is the one rule by which a gateway's answer is believed: what it says of a
// payment must be what the order asks for. What the gateway does not tell is not compared,
// but for the amount where there is or was money; nor is what is not known of the order (one
// that was never held has no amount and no currency).
func MatchPayment(o Order, p Payment) Mismatch {
	var m Mismatch
	var differences []string
	differ := func(what, got, want string) {
		differences = append(differences, fmt.Sprintf("%s %s instead of %s", what, got, want))
	}
	if o.Currency != "" { // fixed by the hold, as the amount is
		money := p.Status == PaymentStatusAuthorized || p.Status == PaymentStatusCaptured || p.Status == PaymentStatusRefunded
		told := p.Amount != AmountNotTold && (money || p.Amount != 0) // where there never was any, 0 says nothing
		switch {
		case told && p.Amount != o.PaidAmount():
			differ("amount", strconv.FormatInt(p.Amount, 10), strconv.FormatInt(o.PaidAmount(), 10))
		case !told && money:
			differ("amount", "not told", strconv.FormatInt(o.PaidAmount(), 10))
		}
	}
	for _, c := range []struct {
		what, got, want string
		whose           bool
	}{
		{"currency", p.Currency, o.Currency, false},
		{"customer_id", p.CustomerID, o.CustomerID, true},
		{"fingerprint", p.Fingerprint, o.Fingerprint, false},
	} {
		if c.got == "" || c.want == "" || c.got == c.want {
			continue
		}
		differ(c.what, presentable(c.got), c.want)
		m.Foreign = m.Foreign || c.whose
	}
	m.Detail = strings.Join(differences, ", ")
	return m
}

// presentable is a value from outside as it may be kept and printed.
func presentable(value string) string {
	if !ValidID(value) {
		return "(no valid id)"
	}
	return value
}
