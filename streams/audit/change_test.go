package audit_test

import (
	"context"
	"slices"
	"testing"

	"holdfast/domain"
	"holdfast/producer"
	"holdfast/streams/audit"
	"holdfast/streams/redistest"
)

// TestAuditOfRefunds: of an order that was cancelled and keeps its money all of that is there, but for what an organiser has given back since.
func TestAuditOfRefunds(t *testing.T) {
	server := redistest.Start(t)
	store, gateway := sold(t, server)
	ctx, cancel := context.WithTimeout(context.Background(), auditPatience)
	defer cancel()
	p := producer.New(store.Checkout(), store.Checkout(), producer.Options{})
	defer p.Close()
	stop := work(t, store, gateway)
	for _, r := range []domain.Request{
		{Type: domain.RequestCancel, EventID: "e", OrderID: "o1", NoRefund: true},
		{Type: domain.RequestRefund, EventID: "e", OrderID: "o1", Change: 1, Amount: 300},
	} {
		receipt, err := p.Publish(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		if outcome, err := p.WaitFor(ctx, receipt); err != nil || outcome.Refused != "" || outcome.Order.State != domain.OrderCancelled || outcome.Order.RefundTotal() != r.Amount {
			t.Fatalf("%+v, %v", outcome, err)
		}
	}
	drained(ctx, t, store)
	stop()
	good := gateway.Books()
	at := slices.IndexFunc(good, func(l domain.BooksLine) bool { return l.OrderID == "o1" })
	for name, c := range map[string]struct {
		change func(*domain.BooksLine)
		right  bool
	}{
		"as it is":              {func(*domain.BooksLine) {}, true},
		"given back too much":   {func(l *domain.BooksLine) { l.Refunded = 301 }, false},
		"given back too little": {func(l *domain.BooksLine) { l.Refunded = 299 }, false},
		"given back all of it":  {func(l *domain.BooksLine) { l.Refunded, l.Status = l.Captured, domain.PaymentStatusRefunded }, false},
		"never captured":        {func(l *domain.BooksLine) { l.Captured, l.Refunded, l.Status = 0, 0, domain.PaymentStatusAuthorized }, false},
		"voided":                {func(l *domain.BooksLine) { l.Captured, l.Refunded, l.Status = 0, 0, domain.PaymentStatusVoided }, false},
	} {
		books := slices.Clone(good)
		c.change(&books[at])
		report, err := audit.Run(ctx, store, audit.Options{Gateway: func(context.Context) ([]domain.BooksLine, error) { return books, nil }})
		if err != nil {
			t.Fatal(err)
		}
		if report.OK != c.right || !c.right && (len(report.Violations) != 1 || report.Violations[0].Invariant != "I4") {
			t.Errorf("%s: %+v", name, report.Violations)
		}
	}
}

// TestAuditOfPartialCancels: of an order that gave some of its places back, just as much money was given back, once it is settled.
func TestAuditOfPartialCancels(t *testing.T) {
	server := redistest.Start(t)
	store, gateway := sold(t, server)
	ctx, cancel := context.WithTimeout(context.Background(), auditPatience)
	defer cancel()
	p := producer.New(store.Checkout(), store.Checkout(), producer.Options{})
	defer p.Close()
	stop := work(t, store, gateway)
	receipt, err := p.Publish(ctx, domain.Request{Type: domain.RequestCancel, EventID: "e", OrderID: "o1", Change: 1, Items: []domain.RequestItem{{Section: "general", Quantity: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	if outcome, err := p.WaitFor(ctx, receipt); err != nil || outcome.Refused != "" || outcome.Order.RefundTotal() != 1000 {
		t.Fatalf("%+v, %v", outcome, err)
	}
	drained(ctx, t, store)
	stop()
	good := gateway.Books()
	at := slices.IndexFunc(good, func(l domain.BooksLine) bool { return l.OrderID == "o1" })
	for name, c := range map[string]struct {
		change func(*domain.BooksLine)
		right  bool
	}{
		"as it is":             {func(*domain.BooksLine) {}, true},
		"given back too much":  {func(l *domain.BooksLine) { l.Refunded = 1001 }, false},
		"given back all of it": {func(l *domain.BooksLine) { l.Refunded, l.Status = 2000, domain.PaymentStatusRefunded }, false},
		"given back nothing":   {func(l *domain.BooksLine) { l.Refunded = 0 }, false},
		"captured what is left": {func(l *domain.BooksLine) {
			l.Captured, l.Refunded = 1000, 0
		}, false},
	} {
		books := slices.Clone(good)
		c.change(&books[at])
		report, err := audit.Run(ctx, store, audit.Options{Gateway: func(context.Context) ([]domain.BooksLine, error) { return books, nil }})
		if err != nil {
			t.Fatal(err)
		}
		if report.OK != c.right || !c.right && (len(report.Violations) != 1 || report.Violations[0].Invariant != "I4") {
			t.Errorf("%s: %+v", name, report.Violations)
		}
	}
}
