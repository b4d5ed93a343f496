package layout

import (
	"strconv"
	"strings"
	"testing"

	"holdfast/domain"
)

// TestKeyNames is the table "Data in Redis" of the design: other programs rely on these names.
func TestKeyNames(t *testing.T) {
	k := NewKeys("holdfast", 4)
	for got, want := range map[string]string{
		MetaKey("holdfast"):   "holdfast:meta",
		k.Requests(3):         "holdfast:{3}:requests",
		k.Log(3):              "holdfast:{3}:2:log",
		k.Events(3):           "holdfast:{3}:2:events",
		k.Holds(3):            "holdfast:{3}:2:holds",
		k.InProgress(3):       "holdfast:{3}:2:in_progress",
		k.Invoices("cust@ex"): "holdfast:2:invoices:{cust@ex}",
		k.AnyInvoices():       "holdfast:2:invoices:{*",
		k.Dead(3):             "holdfast:{3}:2:dead",
		k.Troubles():          "holdfast:troubles",

		k.Orders(3, OrderHash{Index: 63}):                  "holdfast:{3}:2:orders:63",
		k.Orders(3, OrderHash{EventID: "evt_5", Index: 7}): "holdfast:{3}:2:orders:evt_5/7",
		k.OrdersPrefix(3):                                  "holdfast:{3}:2:orders:",

		// What is in the hash of events.
		ClockField:                       "#now",
		BranchField:                      "#branch",
		BranchesField:                    "#branches",
		TermsField("evt_5"):              "evt_5",
		AboutField("evt_5"):              "evt_5#about",
		SalesField("evt_5"):              "evt_5#sales",
		SectionField("evt_5", "general"): "evt_5/general",

		// Not in the design; ours alone, and in the partition's slot all the same.
		k.Consumers(3):     "holdfast:{3}:2:consumers",
		k.Delivered(3):     "holdfast:{3}:2:delivered",
		k.Probe(3):         "holdfast:{3}:2:probe",
		k.Replaced():       "holdfast:replaced",
		k.Turn(3, "trim"):  "holdfast:{3}:2:turn:trim",
		k.Outcomes(3, "E"): "holdfast:{3}:2:outcomes:E",
		k.SetAside(3):      "holdfast:{3}:2:set_aside",
		k.Unknown(3):       "holdfast:{3}:2:unknown",
		k.Awaited(3):       "holdfast:{3}:2:awaited",
		k.Pace(3):          "holdfast:{3}:2:pace",
		k.Owed(3):          "holdfast:{3}:2:owed",
		k.OwedNotes(3):     "holdfast:{3}:2:owed_notes",
		k.Requests(0):      "holdfast:{0}:requests",

		NewKeys("x", 1).Log(0): "x:{0}:2:log",
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
		k.Requests(11), k.Log(11), k.Dead(11), k.Holds(11), k.Events(11), k.InProgress(11), k.Consumers(11), k.Delivered(11), k.Probe(11), k.Turn(11, "reclaim:purchase"),
		k.Orders(11, k.HashOf(o, 0)), k.Orders(11, k.HashOf(o, 5)), k.Orders(11, k.SharedHash(o.EventID)),
		k.SetAside(11), k.Unknown(11), k.Pace(11), k.Owed(11), k.OwedNotes(11), k.Outcomes(11, "E"),
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
	for _, key := range []string{"", "holdfast:meta", "holdfast:{0}:2:log", "holdfast2:2:invoices:{fred}", "holdfast:invoices:{fred}"} {
		if got, ok := k.CustomerOf(key); ok || got != "" {
			t.Errorf("%q: got %q, %t", key, got, ok)
		}
	}
}

func TestStreamOf(t *testing.T) {
	k := NewKeys("holdfast", 2)
	for group, want := range map[domain.Group][2]string{
		domain.GroupWorkers:    {"holdfast:{1}:requests", "requests"},
		domain.GroupPosting:    {"holdfast:{1}:2:log", "log"},
		domain.GroupSettlement: {"holdfast:{1}:2:log", "log"},
	} {
		if key, name := k.StreamOf(1, group); key != want[0] || name != want[1] {
			t.Errorf("%s reads %s, %s, want %v", group, key, name, want)
		}
	}
}

func TestOrderHashes(t *testing.T) {
	for _, test := range []struct {
		capacities []int64
		want       int
	}{
		{[]int64{1}, 0},
		{[]int64{49_999}, 0},
		{[]int64{25_000, 24_999}, 0},
		{[]int64{50_000}, 1},
		{[]int64{25_000, 25_000}, 1},
		{[]int64{400_000}, 1},
		{[]int64{400_001}, 2},
		{[]int64{400_000, 400_000}, 2},
		{[]int64{25_200_000}, 63},
		{[]int64{25_200_001}, 64},
		{[]int64{25_600_001}, 64},
		{[]int64{1_000_000_000}, 64},
	} {
		var terms domain.Terms
		for _, n := range test.capacities {
			terms.Sections = append(terms.Sections, domain.SectionTerms{Capacity: n})
		}
		if got := OrderHashes(terms); got != test.want {
			t.Errorf("%v places: %d hashes, want %d", test.capacities, got, test.want)
		}
	}
}

// TestHashOf: orders are found again where older programs have put them, so these must never change.
func TestHashOf(t *testing.T) {
	// FNV-1a: its offset basis, and two of the published test vectors.
	for s, want := range map[string]uint32{"": 0x811c9dc5, "a": 0xe40c292c, "foobar": 0xbf9cf968} {
		if got := fnv1a(s); got != want {
			t.Errorf("fnv1a(%q) is %#08x, want %#08x", s, got, want)
		}
	}
	k, ref := NewKeys("ns", 1), domain.OrderRef{EventID: "foobar", OrderID: "a"}
	if got, want := k.HashOf(ref, 0), (OrderHash{Index: 0xbf9cf968 % 32}); got != want || k.SharedHash("foobar") != want {
		t.Errorf("got %+v, shared %+v, want %+v", got, k.SharedHash("foobar"), want)
	}
	if got, want := k.HashOf(ref, 7), (OrderHash{EventID: "foobar", Index: 0xe40c292c % 7}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for partitions, want := range map[int]int{1: 32, 2: 16, 3: 10, 4: 8, 8: 4, 64: 4} {
		if got := NewKeys("ns", partitions).SharedHash("foobar"); got != (OrderHash{Index: 0xbf9cf968 % want}) {
			t.Errorf("%d partitions: got %+v, want %d shared hashes", partitions, got, want)
		}
	}
	// All of them are used, and about alike: 32 shared ones, and up to 64 of an event's own.
	shared, own := make(map[OrderHash]int), make(map[OrderHash]int)
	for n := range 6400 {
		id := strconv.Itoa(n)
		shared[k.HashOf(domain.OrderRef{EventID: "event-" + id, OrderID: "o"}, 0)]++
		own[k.HashOf(domain.OrderRef{EventID: "e1", OrderID: "order-" + id}, 64)]++
	}
	for want, used := range map[int]map[OrderHash]int{32: shared, 64: own} {
		if len(used) != want {
			t.Errorf("%d of %d hashes are used", len(used), want)
		}
		for hash, n := range used {
			if fair := 6400 / want; n < fair/2 || n > 2*fair {
				t.Errorf("%+v has %d orders, about %d would be fair", hash, n, fair)
			}
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
	for partitions, want := range map[int]int{1: 32, 2: 16, 3: 10, 4: 8, 8: 4, 64: 4} {
		if got := NewKeys("ns", partitions).SharedHash("foobar"); got != (OrderHash{Index: 0xbf9cf968 % want}) {
			t.Errorf("%d partitions: got %+v, want %d shared hashes", partitions, got, want)
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
