package audit_test

import (
	"context"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/audit"
	"holdfast/streams/internal/layout"
	"holdfast/streams/redistest"
)

// TestPlacesOfCustomers: of an event with a limit per customer, what is counted is what the orders add up to, where it belongs, also
// where the customers are in several hashes; and so is what was refused.
func TestPlacesOfCustomers(t *testing.T) {
	server := redistest.Start(t)
	ctx := context.Background()
	store := opened(t, server)
	keys, rdb := layout.NewKeys("holdfast", 1), server.Client()
	terms := domain.Terms{Name: "E", Currency: "EUR", MaxPerCustomer: 2, Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: 1_000_000}}}
	if _, err := store.Events().Create(ctx, "e", terms); err != nil {
		t.Fatal(err)
	}
	var batch []domain.Incoming
	for _, who := range []string{"fred", "mary", "jane"} {
		in := incoming(t, store, "e")
		in.Request.OrderID, in.Request.CustomerID, in.Request.Quantity = "of-"+who, who, int64(len(batch)+1) // jane wants 3
		batch = append(batch, in)
	}
	if _, _, err := store.Ledger().Hold(ctx, 0, batch); err != nil {
		t.Fatal(err)
	}
	hashOf := func(who string) string {
		return keys.Customers(0, keys.HashOfCustomer("e", who, layout.OrderHashes(terms)))
	}
	refused := layout.RefusedField(domain.RefusedDemand{EventID: "e", Section: "general", Reason: "over_customer_limit"})
	for _, damage := range []struct{ what, key, field, value, invariant, says string }{
		{"nothing", "", "", "", "", ""},
		{"a count is lost", hashOf("mary"), "e/mary", "", "I2", `are "", their orders add up to "2"`},
		{"a count is too low", hashOf("mary"), "e/mary", "1", "I2", `are "1", their orders add up to "2"`},
		{"a customer without orders", hashOf("jane"), "e/jane", "3", "I2", `are "3", their orders add up to ""`},
		{"a count is elsewhere", keys.Customers(0, keys.SharedHash("e")), "e/mary", "2", "I7", "and one in"},
		{"refused demand is lost", keys.Events(0), refused, "", "I7", `add up to "3"`},
		{"refused demand is too high", keys.Events(0), refused, "4", "I7", `are "4"`},
	} {
		was := ""
		if damage.key != "" {
			was = rdb.HGet(ctx, damage.key, damage.field).Val()
			set(ctx, t, rdb, damage.key, damage.field, damage.value)
		}
		report, err := audit.Run(ctx, store, audit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		found := damage.what == "nothing" && report.OK
		for _, v := range report.Violations {
			found = found || v.Invariant == damage.invariant && strings.Contains(v.Detail, damage.says)
		}
		if !found {
			t.Errorf("%s: %+v", damage.what, report.Violations)
		}
		if damage.key != "" {
			set(ctx, t, rdb, damage.key, damage.field, was)
		}
	}
}

// set writes a field of a hash; an empty value removes it.
func set(ctx context.Context, t *testing.T, rdb redis.UniversalClient, key, field, value string) {
	t.Helper()
	err := rdb.HDel(ctx, key, field).Err()
	if err == nil && value != "" {
		err = rdb.HSet(ctx, key, field, value).Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}
