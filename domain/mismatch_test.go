package domain

import (
	"strings"
	"testing"
)

func TestMatchPayment(t *testing.T) {
	order := heldOrder(RequestPurchase, aliveUntil) // fred's, 1800 EUR
	ours := Payment{AuthorizationID: "auth_1", Status: PaymentStatusAuthorized, Amount: 1800, Currency: "EUR", CustomerID: "fred", Fingerprint: "same"}
	bare := Payment{Status: PaymentStatusCaptured, Amount: 1800}
	change := func(p Payment, how func(*Payment)) Payment {
		how(&p)
		return p
	}
	for _, test := range []struct {
		name    string
		order   Order
		payment Payment
		want    Mismatch
	}{
		{"everything told, and right", order, ours, Mismatch{}},
		{"only the amount told", order, bare, Mismatch{}},
		{"half the amount", order, change(ours, func(p *Payment) { p.Amount = 900 }), Mismatch{Detail: "amount 900 instead of 1800"}},
		{"more than the amount", order, change(bare, func(p *Payment) { p.Amount = 1801 }), Mismatch{Detail: "amount 1801 instead of 1800"}},
		{"nothing", order, change(bare, func(p *Payment) { p.Amount = 0 }), Mismatch{Detail: "amount 0 instead of 1800"}},
		{"no amount", order, change(bare, func(p *Payment) { p.Amount = AmountNotTold }), Mismatch{Detail: "amount not told instead of 1800"}},
		{"another currency", order, change(ours, func(p *Payment) { p.Currency = "JPY" }), Mismatch{Detail: "currency JPY instead of EUR"}},
		{"another customer", order, change(ours, func(p *Payment) { p.CustomerID = "mallory" }), Mismatch{Detail: "customer_id mallory instead of fred", Foreign: true}},
		{"another request", order, change(ours, func(p *Payment) { p.Fingerprint = "other" }), Mismatch{Detail: "fingerprint other instead of same"}},
		{
			"nothing of it is right", order,
			Payment{Status: PaymentStatusRefunded, Amount: 1, Currency: "USD", CustomerID: "amy", Fingerprint: "x"},
			Mismatch{Detail: "amount 1 instead of 1800, currency USD instead of EUR, customer_id amy instead of fred, fingerprint x instead of same", Foreign: true},
		},
		{
			"what would not fit into a record", order, change(ours, func(p *Payment) { p.CustomerID = "a|b\n" }),
			Mismatch{Detail: "customer_id (no valid id) instead of fred", Foreign: true},
		},

		// Where there never was money, an amount says little.
		{"voided before it came", order, Payment{Status: PaymentStatusVoided, Amount: AmountNotTold}, Mismatch{}},
		{"voided before it came, as 0", order, Payment{Status: PaymentStatusVoided}, Mismatch{}},
		{"declined", order, Payment{Status: PaymentStatusDeclined, Amount: AmountNotTold}, Mismatch{}},
		{"voided after half the amount", order, Payment{Status: PaymentStatusVoided, Amount: 900}, Mismatch{Detail: "amount 900 instead of 1800"}},
		{"refunded, without an amount", order, Payment{Status: PaymentStatusRefunded, Amount: AmountNotTold}, Mismatch{Detail: "amount not told instead of 1800"}},

		{"the customer has something to do", order, change(ours, func(p *Payment) { p.Status = PaymentStatusActionRequired }), Mismatch{}},
		{"somebody else has", order, Payment{Status: PaymentStatusActionRequired, Amount: 1800, CustomerID: "amy"}, Mismatch{Detail: "customer_id amy instead of fred", Foreign: true}},

		// What is not known of the order is not compared.
		{"cancelled before it was seen", cancelledUnseen(), ours, Mismatch{}},
		{"rejected: the customer is known, the price is not", rejectedOrder(), change(ours, func(p *Payment) { p.CustomerID = "amy" }), Mismatch{Detail: "customer_id amy instead of fred", Foreign: true}},
		{"a free one", Order{Items: "general:2:0", Currency: "EUR", HeldAtMillis: 1}, Payment{Status: PaymentStatusAuthorized}, Mismatch{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := MatchPayment(test.order, test.payment)
			if got != test.want || got.Any() != (test.want.Detail != "") {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if strings.ContainsAny(got.Detail, "|\r\n") {
				t.Errorf("%q does not fit into a record", got.Detail)
			}
		})
	}
}
