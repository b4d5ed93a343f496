package paymentstest

import (
	"context"
	"errors"
	"slices"
	"strings"

	"holdfast/domain"
	"holdfast/payments"
)

// Token is the payment token of every Request. No error may quote it.
const Token = "tok_4242424242424242"

// Calls are all the calls of a gateway.
var Calls = []payments.Call{
	payments.CallAuthorize, payments.CallLookup, payments.CallCapture, payments.CallVoid, payments.CallRefund,
}

// Amount is that of every Request, in minor units.
const Amount = 2500

// Name is the payment of an order of the event that the tests sell.
func Name(order string) domain.PaymentName {
	return domain.PaymentName{Namespace: "season-1", OrderRef: domain.OrderRef{EventID: "concert", OrderID: order}}
}

// Attempt is what an order knows of the payment.
func Attempt(name domain.PaymentName) domain.Attempt {
	return domain.Attempt{Name: name, Amount: Amount, Currency: "EUR", CustomerID: "ann@example.org", Fingerprint: "b083c26c75bd146e"}
}

// Request asks for an authorization with a token that is approved.
func Request(name domain.PaymentName) domain.PaymentRequest {
	return domain.PaymentRequest{Attempt: Attempt(name), Token: Token}
}

// Invoke makes the call: an authorization with Request, a refund of all.
func Invoke(ctx context.Context, gw domain.PaymentGateway, c payments.Call, name domain.PaymentName) (domain.Payment, error) {
	switch c {
	case payments.CallAuthorize:
		return gw.Authorize(ctx, Request(name))
	case payments.CallLookup:
		return gw.Lookup(ctx, Attempt(name))
	case payments.CallCapture:
		return gw.Capture(ctx, Attempt(name))
	case payments.CallVoid:
		return gw.Void(ctx, Attempt(name))
	case payments.CallRefund:
		return gw.Refund(ctx, Attempt(name), Amount)
	}
	panic("no such call: " + c)
}

// Effects is how often an authorization, a capture, a void and a refund took effect.
type Effects [4]int

// EffectsOf is what a line of the books counts.
func EffectsOf(line domain.BooksLine) Effects {
	return Effects{line.Authorizations, line.Captures, line.Voids, line.Refunds}
}

// LineOf finds the payment's line.
func LineOf(lines []domain.BooksLine, name domain.PaymentName) (domain.BooksLine, bool) {
	i := slices.IndexFunc(lines, func(l domain.BooksLine) bool { return l.Name() == name })
	if i < 0 {
		return domain.BooksLine{}, false
	}
	return lines[i], true
}

// CheckTold holds what a payment tells of its request to what was asked for.
func CheckTold(t interface{ Errorf(string, ...any) }, p domain.Payment, r domain.PaymentRequest) {
	for _, told := range [][3]string{{"currency", p.Currency, r.Currency}, {"customer_id", p.CustomerID, r.CustomerID}, {"fingerprint", p.Fingerprint, r.Fingerprint}} {
		if told[1] != "" && told[1] != told[2] {
			t.Errorf("%s %q, it was asked for with %q", told[0], told[1], told[2])
		}
	}
}

// CheckError holds the error of a Request to what domain.PaymentGateway promises
// of errors. nil passes.
func CheckError(t interface{ Errorf(string, ...any) }, err error) {
	if err == nil {
		return
	}
	if strings.Contains(err.Error(), Token) {
		t.Errorf("the token is in the error %q", err)
	}
	kinds := 0
	for _, kind := range []error{domain.ErrNotFound, domain.ErrRefused, domain.ErrUnacceptable, domain.ErrMisconfigured, domain.ErrUnknownOutcome} {
		if errors.Is(err, kind) {
			kinds++
		}
	}
	if kinds != 1 {
		t.Errorf("error %q is of %d kinds, want 1", err, kinds)
	}
	want := domain.ClassRetry
	switch {
	case errors.Is(err, domain.ErrRefused):
		want = domain.ClassReject
	case errors.Is(err, domain.ErrUnacceptable):
		want = domain.ClassPoison
	}
	var later *domain.LaterError
	if errors.As(err, &later) && (!errors.Is(err, domain.ErrUnknownOutcome) || later.After < 0) {
		t.Errorf("later, but not unknown, or after %s: %q", later.After, err)
	}
	if got := domain.ClassOf(err); got != want {
		t.Errorf("error %q has class %v, want %v", err, got, want)
	}
}
