package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
)

// Revenue past 2^53, of an event whose price and capacity changed, is exact to the last unit, and an
// integer in JSON. No sum of doubles is that figure.
func TestRevenuePast2To53(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.worker()
	h.ok("events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=1@90071992547409.91")
	for i, section := range []string{"", "general=2@45035996273704.95", "general=3@30023997515803.29"} {
		if section != "" {
			h.ok("events", "adjust", "e1", "--section", section)
		}
		expect(t, h.one("publish", "--event", "e1", "--customer", "c"+count(int64(i)), "--wait"), object{"state": "confirmed"})
	}
	h.drained()
	var sales struct {
		Revenue json.Number `json:"revenue"`
	}
	if err := json.Unmarshal([]byte(h.ok("sales", "e1", "-o", "json")), &sales); err != nil || sales.Revenue != "16513198633691815" {
		t.Errorf("revenue %s, %v", sales.Revenue, err)
	}
	table(t, h.ok("sales"), "EVENT_ID NAME ORDERS TICKETS_SOLD REVENUE AVAILABLE HELD", "e1 E 3 3 165131986336918.15 EUR 0 0")
	expect(t, h.one("audit"), object{"ok": true})
}

// An event in a currency that none can be created in (any more) goes on: it is shown, changed, sold,
// posted and audited as before.
func TestEventOfAWithdrawnCurrency(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("init")
	store := h.store()
	terms := domain.Terms{Name: "E", Currency: "BGN", Sections: []domain.SectionTerms{{Name: "general", Price: 1050, Capacity: 5}}}
	listed, err := json.Marshal(terms)
	if err != nil {
		t.Fatal(err)
	}
	// As create_event would write it if any three letters did.
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	partition := "holdfast:{" + count(int64(store.Partition("e1"))) + "}:2:"
	entry, err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: partition + "log", Values: []string{"listed", "e1|" + string(listed)}}).Result()
	if err != nil {
		t.Fatal(err)
	}
	at, _, _ := strings.Cut(entry, "-")
	err = rdb.HSet(t.Context(), partition+"events", "#now", at, "e1", "1|o|BGN|0|0|0|0", "e1#sales", "0|0|0", "e1/general", "1050|5|5|0|0",
		"e1#about", fmt.Sprintf(`{"name":"E","sections":["general"],"fingerprint":%q}`, terms.Fingerprint())).Err()
	if err != nil {
		t.Fatal(err)
	}
	gateway := h.gateway()
	h.worker("--gateway", gateway)
	h.fails(exitUsage, []string{`currency "BGN": none that ISO 4217 lists`}, "events", "create", "e2", "--name", "E", "--currency", "BGN", "--section", "general=1@1")

	table(t, h.ok("events", "show", "e1"), "event_id e1", "general 10.50 BGN 5 5 0 0 0")
	expect(t, h.one("publish", "--event", "e1", "--customer", "amy", "--order", "o1", "--token", "t", "--wait"), object{"state": "confirmed", "amount": 1050, "currency": "BGN"})
	expect(t, h.one("events", "adjust", "e1", "--section", "general=6@11"), object{"changed": true})
	expect(t, h.one("publish", "--event", "e1", "--customer", "jim", "--quantity", "2", "--token", "t", "--wait"), object{"state": "confirmed", "amount": 2200})
	h.drained()
	table(t, h.ok("sales"), "EVENT_ID NAME ORDERS TICKETS_SOLD REVENUE AVAILABLE HELD", "e1 E 2 3 32.50 BGN 3 0")
	expect(t, h.one("audit", "--gateway", gateway), object{"ok": true})
}

// gateway starts one, and returns its URL.
func (h *holdfast) gateway() string {
	h.t.Helper()
	r := h.background(nil, "gateway", "--listen", "127.0.0.1:0", "-o", "json")
	eventually(h.t, "the gateway listens", func() bool { return strings.HasSuffix(r.stdout.String(), "\n") })
	url, _ := decodeLines(h.t, r.stdout.String())[0]["url"].(string)
	return url
}
