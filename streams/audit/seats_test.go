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

// TestSeatsOfOrders: each seat is what the log says, is its order's, and is counted; what is wrong is said of the seat, by its name.
func TestSeatsOfOrders(t *testing.T) {
	server := redistest.Start(t)
	ctx := context.Background()
	store := opened(t, server)
	keys, rdb := layout.NewKeys("holdfast", 1), server.Client()
	terms := domain.Terms{Name: "E", Currency: "EUR", Sections: []domain.SectionTerms{
		{Name: "stalls", Price: 1000, Capacity: 6, Layout: "A:1-3/4,B:1.2!"}, {Name: "general", Price: 1000, Capacity: 9},
	}}
	if _, err := store.Events().Create(ctx, "e", terms); err != nil {
		t.Fatal(err)
	}
	var batch []domain.Incoming
	for who, named := range map[string][]string{"fred": {"A-2", "A-3"}, "mary": {"B-1"}} {
		in := incoming(t, store, "e")
		in.Request.OrderID, in.Request.CustomerID, in.Request.Section, in.Request.Seats = "of-"+who, who, "stalls", named
		in.Request.Quantity = int64(len(named))
		batch = append(batch, in)
	}
	if _, _, err := store.Ledger().Hold(ctx, 0, batch); err != nil {
		t.Fatal(err)
	}
	audited := func() []audit.Violation {
		t.Helper()
		report, err := audit.Run(ctx, store, audit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return report.Violations
	}
	if found := audited(); len(found) > 0 {
		t.Fatalf("%+v", found)
	}
	wants := func(what, invariant, subject, says string) {
		t.Helper()
		found := audited()
		for _, v := range found {
			if v.Invariant == invariant && v.Subject == subject && strings.Contains(v.Detail, says) {
				return
			}
		}
		t.Errorf("%s: %+v, want %s of %s: %s", what, found, invariant, subject, says)
	}
	const good = ".-- ./-!"
	for _, damage := range []struct{ what, field, value, invariant, subject, says string }{
		{"a seat is sold", "e/stalls", ".-+ ./-!", "I7", "e/stalls", "seat A-3 is stored as sold (+), the log says held (-)"},
		{"a seat is sold, and not counted", "e/stalls", ".-+ ./-!", "I1", "e", "2 seats are held, counted are 3"},
		{"a seat is free that is held", "e/stalls", ".-. ./-!", "I7", "e/stalls", "seat A-3 is stored as free (.), the log says held (-)"},
		{"a seat is not blocked any more", "e/stalls", ".-- ./-.", "I7", "e/stalls", "seat B-2 is stored as free (.), the log says blocked (!)"},
		{"an aisle moves", "e/stalls", ".- -./-!", "I1", "e", "place 3 is ' '"},
		{"a row is lost", "e/stalls", ".-- .", "I7", "e/stalls", "5 places, want 8"},
		{"all seats are lost", "e/stalls", "", "I7", "e", "places of section stalls is damaged"},
		{"seats of a counted section", "e/general", "...", "I7", "e/general", "no such section with seats"},
		{"seats of no section", "f/stalls", "...", "I7", "f/stalls", "no such section with seats"},
	} {
		set(ctx, t, rdb, keys.Places(0), damage.field, damage.value)
		wants(damage.what, damage.invariant, damage.subject, damage.says)
		set(ctx, t, rdb, keys.Places(0), damage.field, map[string]string{"e/stalls": good}[damage.field])
	}
	section := rdb.HGet(ctx, keys.Events(0), "e/stalls").Val()
	set(ctx, t, rdb, keys.Events(0), "e/stalls", section[:len(section)-1]+"0")
	wants("another layout", "I7", "e", "section stalls is damaged")
	set(ctx, t, rdb, keys.Events(0), "e/stalls", section)
	if found := audited(); len(found) > 0 {
		t.Fatalf("all is as it was: %+v", found)
	}
	// In the log a seat is held twice: of two orders that there are, one cannot have been.
	if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: keys.Log(0), Values: []string{"held", "e/of-jane|h|f|jane|stalls:2:1000:1-2|EUR|60000"}}).Err(); err != nil {
		t.Fatal(err)
	}
	wants("a seat is held twice", "I2", "e/of-jane", "place 2 is not as expected: '-', want '.' (of A-1,A-2)")
	if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: keys.Log(0), Values: []string{"held", "e/of-anne|h|f|anne|stalls:2:1000|EUR|60000"}}).Err(); err != nil {
		t.Fatal(err)
	}
	wants("seats that are not named", "I2", "e/of-anne", `places "" of a section with the layout`)
}
