package bench

import (
	"context"
	"fmt"
	"testing"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/redistest"
)

func BenchmarkAdmit(b *testing.B) {
	server := redistest.Start(b)
	rdb := server.Client()
	ctx := context.Background()
	store, _ := streams.Open(ctx, server.URL(), streams.Options{})
	store.ListEvent(ctx, "event-0", domain.Terms{Name: "Event", Currency: "EUR", Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: 10_000_000}}})
	p := store.Partition("event-0")
	n := 0
	for _, size := range []int{128, 500} {
		best := 1e9
		for range 8 {
			c0 := cpu(ctx, b, rdb)
			total := 0
			for total < 10000 {
				batch := make([]domain.Admission, size)
				res := make([]domain.Resolution, size)
				for i := range batch {
					n++
					req := domain.Request{Type: domain.RequestPurchase, EventID: "event-0", OrderID: fmt.Sprintf("01a20547-90cf-7542-8a50-1914134%d", n), CustomerID: fmt.Sprint("customer-", n), Section: "general", Quantity: 2, Fingerprint: "a41b0bad855f892f"}
					batch[i] = domain.Admission{EntryID: fmt.Sprintf("9999999999999-%d", n), Request: req, HoldMillis: 100000, ValidMillis: 10000000}
					res[i] = domain.Resolution{EntryID: batch[i].EntryID, Ref: req.Ref(), Outcome: domain.PaymentApproved, AuthorizationID: "auth_abcdef"}
				}
				if _, _, err := store.Admit(ctx, p, batch); err != nil {
					b.Fatal(err)
				}
				if _, _, err := store.Resolve(ctx, p, res); err != nil {
					b.Fatal(err)
				}
				total += size
			}
			best = min(best, (cpu(ctx, b, rdb)-c0)*1e6/float64(total))
		}
		fmt.Printf("size %d: best %.1fµs\n", size, best)
	}
}
