package layout

import (
	"strings"
	"testing"

	"holdfast/domain"
)

// TestKeyNames is the table "Data in Redis" of the design: other programs rely on these names.
func TestKeyNames(t *testing.T) {
	k := NewKeys("holdfast", 4)
	o := domain.OrderRef{EventID: "evt_5", OrderID: "ord-77"}
	for got, want := range map[string]string{
		MetaKey("holdfast"):    "holdfast:meta",
		k.Requests(3):          "holdfast:{3}:requests",
		k.Log(3):               "holdfast:{3}:log",
		k.Event(3, "evt_5"):    "holdfast:{3}:event:evt_5",
		k.Order(3, o):          "holdfast:{3}:order:evt_5/ord-77",
		k.Holds(3):             "holdfast:{3}:holds",
		k.InProgress(3, "evt"): "holdfast:{3}:in_progress:evt",
		k.Sales(3, "evt_5"):    "holdfast:{3}:sales:evt_5",
		k.SalesSummary(3):      "holdfast:{3}:sales_summary",
		k.Invoices("cust@ex"):  "holdfast:invoices:{cust@ex}",
		k.Dead(3):              "holdfast:{3}:dead",
		k.Troubles():           "holdfast:troubles",

		// Not in the design; ours alone, and in the partition's slot all the same.
		k.Consumers(3):     "holdfast:{3}:consumers",
		k.Delivered(3):     "holdfast:{3}:delivered",
		k.Probe(3):         "holdfast:{3}:probe",
		k.Replaced():       "holdfast:replaced",
		k.Troubles():       "holdfast:troubles",
		k.Turn(3, "trim"):  "holdfast:{3}:turn:trim",
		k.Outcomes(3, "E"): "holdfast:{3}:outcomes:E",
		k.SetAside(3):      "holdfast:{3}:set_aside",
		k.Requests(0):      "holdfast:{0}:requests",

		NewKeys("x", 1).Log(0): "x:{0}:log",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestKeysShareASlot: what one script touches has one hash tag, whatever the ids.
func TestKeysShareASlot(t *testing.T) {
	k := NewKeys("holdfast", 12)
	o := domain.OrderRef{EventID: "AZaz09._@+-", OrderID: "-+@_.9"}
	for _, key := range []string{
		k.Requests(11), k.Log(11), k.Dead(11), k.Holds(11), k.SalesSummary(11), k.Consumers(11), k.Delivered(11), k.Probe(11), k.Turn(11, "reclaim:workers"),
		k.Event(11, o.EventID), k.InProgress(11, o.EventID), k.Sales(11, o.EventID), k.Order(11, o),
		k.SetAside(11), k.Outcomes(11, "E"),
	} {
		if tag := hashTag(key); tag != "11" {
			t.Errorf("%s hashes by %q, want 11", key, tag)
		}
	}
	if tag := hashTag(k.Invoices("fred")); tag != "fred" {
		t.Errorf("invoices hash by %q, want the customer", tag)
	}
}

// hashTag is what Redis Cluster hashes of a key: from its first { to the next }.
func hashTag(key string) string {
	_, rest, found := strings.Cut(key, "{")
	tag, _, closed := strings.Cut(rest, "}")
	if !found || !closed || tag == "" {
		return key
	}
	return tag
}

func TestCustomerOf(t *testing.T) {
	k := NewKeys("holdfast", 1)
	for _, customer := range []string{"fred", "a", "AZaz09._@+-"} {
		if got, ok := k.CustomerOf(k.Invoices(customer)); !ok || got != customer {
			t.Errorf("got %q, %t, want %q", got, ok, customer)
		}
	}
	for _, key := range []string{"", "holdfast:meta", "holdfast:{0}:log", "holdfast2:invoices:{fred}"} {
		if got, ok := k.CustomerOf(key); ok || got != "" {
			t.Errorf("%q: got %q, %t", key, got, ok)
		}
	}
}

func TestStreamOf(t *testing.T) {
	k := NewKeys("holdfast", 2)
	for group, want := range map[domain.Group][2]string{
		domain.GroupWorkers:    {"holdfast:{1}:requests", "requests"},
		domain.GroupPosting:    {"holdfast:{1}:log", "log"},
		domain.GroupSettlement: {"holdfast:{1}:log", "log"},
	} {
		if key, name := k.StreamOf(1, group); key != want[0] || name != want[1] {
			t.Errorf("%s reads %s, %s, want %v", group, key, name, want)
		}
	}
}

func TestPartitionOf(t *testing.T) {
	// CRC-16/XMODEM, also known as ZMODEM: the check value, and that of Redis Cluster's specification.
	for s, want := range map[string]uint16{"123456789": 0x31C3, "": 0, "\x00": 0, "A": 0x58E5, "foo": 0xAF96} {
		if got := crc16(s); got != want {
			t.Errorf("crc16(%q) is %#04x, want %#04x", s, got, want)
		}
	}
	for _, test := range []struct {
		event      string
		partitions int
		want       int
	}{{"123456789", 4, 3}, {"123456789", 1, 0}, {"123456789", 1024, 0x1C3}, {"foo", 4, 2}, {"foo", 10, 44950 % 10}} {
		if got := PartitionOf(test.event, test.partitions); got != test.want {
			t.Errorf("%q of %d partitions: got %d, want %d", test.event, test.partitions, got, test.want)
		}
	}
	// All of them are used.
	used := make(map[int]int)
	for _, a := range "abcdefghijklmnopqrstuvwxyz" {
		for _, b := range "0123456789" {
			used[PartitionOf("event-"+string(a)+string(b), 4)]++
		}
	}
	for p := range 4 {
		if used[p] < 40 {
			t.Errorf("partition %d has %d of 260 events", p, used[p])
		}
	}
}
