package layout_test

import (
	"slices"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
)

func TestDecodeOrder(t *testing.T) {
	for record, want := range map[string]domain.Order{
		"": {},
		"h|purchase|0123456789abcdef|fred|general|2|1000|EUR|1700000060000|1700000000000|0|0|||": {
			State: domain.OrderHeld, RequestType: domain.RequestPurchase, Fingerprint: "0123456789abcdef", CustomerID: "fred", Section: "general",
			Quantity: 2, UnitPrice: 1000, Currency: "EUR", DeadlineMillis: 1700000060000, HeldAtMillis: 1700000000000,
		},
		"c|hold|fp|fred|vip|1|9007199254740991|JPY|5|1|3|3|auth_1||": {
			State: domain.OrderConfirmed, RequestType: domain.RequestHold, Fingerprint: "fp", CustomerID: "fred", Section: "vip", Quantity: 1,
			UnitPrice: 9007199254740991, Currency: "JPY", DeadlineMillis: 5, HeldAtMillis: 1, ConfirmedAtMillis: 3, ResolvedAtMillis: 3, AuthorizationID: "auth_1",
		},
		"d|hold|fp|fred|vip|1|2|EUR|5|1|0|3|||":                    {State: domain.OrderDeclined, RequestType: domain.RequestHold, Fingerprint: "fp", CustomerID: "fred", Section: "vip", Quantity: 1, UnitPrice: 2, Currency: "EUR", DeadlineMillis: 5, HeldAtMillis: 1, ResolvedAtMillis: 3},
		"e|hold|fp|fred|vip|1|2|EUR|5|1|0|6|||":                    {State: domain.OrderExpired, RequestType: domain.RequestHold, Fingerprint: "fp", CustomerID: "fred", Section: "vip", Quantity: 1, UnitPrice: 2, Currency: "EUR", DeadlineMillis: 5, HeldAtMillis: 1, ResolvedAtMillis: 6},
		"x|||||0|0||0|0|0|7||requested|":                           {State: domain.OrderCancelled, ResolvedAtMillis: 7, Reason: "requested"},
		"r|hold|fp|||0|0||0|0|0|8||invalid|customer_id: missing|x": {State: domain.OrderRejected, RequestType: domain.RequestHold, Fingerprint: "fp", ResolvedAtMillis: 8, Reason: "invalid", Detail: "customer_id: missing|x"},
	} {
		got, err := layout.DecodeOrder(record)
		if err != nil || got != want {
			t.Errorf("%q:\ngot  %+v, %v\nwant %+v", record, got, err, want)
		}
		if back := streamstest.EncodeOrder(want); back != record {
			t.Errorf("%q comes back as %q", record, back)
		}
	}
}

func TestDecodeOrderDamaged(t *testing.T) {
	const good = "h|purchase|fp|fred|general|2|1000|EUR|5|1|0|0|||"
	records := []string{
		"h", "|", strings.Repeat("|", 14), strings.TrimSuffix(good, "|"), good[1:], "H" + good[1:], "z" + good[1:], "hh" + good[1:], "\x00" + good[1:],
		"\xff" + good[1:], " " + good, strings.ReplaceAll(good, "|", ","), strings.Repeat("x", 5000), "{}", "null",
	}
	values := strings.Split(good, "|")
	for _, i := range []int{5, 6, 8, 9, 10, 11} {
		for _, bad := range []string{"", "x", "-1", "1.5", "1e+15", " 1", "1\x00", "9223372036854775808", "nan", "inf"} {
			damaged := slices.Clone(values)
			damaged[i] = bad
			records = append(records, strings.Join(damaged, "|"))
		}
	}
	for _, record := range records {
		o, err := layout.DecodeOrder(record)
		if err == nil || domain.ClassOf(err) != domain.ClassPoison || o != (domain.Order{}) {
			t.Errorf("%.100q: got %+v, %v, want poison", record, o, err)
			continue
		}
		if len(err.Error()) > 1000 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	}
}

func FuzzDecodeOrder(f *testing.F) {
	for _, record := range []string{"", "h|purchase|fp|fred|general|2|1000|EUR|5|1|0|0|||", "x|||||0|0||0|0|0|7||requested|", "r|||||+1|-0|||||||", "||||||||||||||"} {
		f.Add(record)
	}
	f.Fuzz(func(t *testing.T, record string) {
		o, err := layout.DecodeOrder(record)
		if err != nil {
			if domain.ClassOf(err) != domain.ClassPoison || o != (domain.Order{}) {
				t.Errorf("got %+v and class %s", o, domain.ClassOf(err))
			}
			return
		}
		if again, err := layout.DecodeOrder(streamstest.EncodeOrder(o)); err != nil || again != o {
			t.Errorf("%+v comes back as %+v, %v", o, again, err)
		}
	})
}
