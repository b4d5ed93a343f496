package layout_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
)

// The times of these orders' entries.
const (
	heldAt      = 1700000000000
	confirmedAt = heldAt + 1
	cancelledAt = heldAt + 5
)

func TestDecodeOrder(t *testing.T) {
	held := domain.Order{
		State: domain.OrderHeld, Version: "1700000000000-7", RequestType: domain.RequestPurchase, Fingerprint: "0123456789abcdef", CustomerID: "fred", Items: "general:2:9007199254740991", Currency: "EUR", DeadlineMillis: heldAt + 60_000, HeldAtMillis: heldAt, Attempt: 1,
	}
	byHold := func(at string, attempt int, state domain.PayState) domain.Order {
		o := held
		o.Version, o.RequestType, o.Attempt, o.PayState, o.PayFingerprint = at, domain.RequestHold, attempt, state, "fp"
		if attempt == 0 {
			o.PayFingerprint = ""
		}
		return o
	}
	with := func(o domain.Order, change func(*domain.Order)) domain.Order {
		change(&o)
		return o
	}
	const opening = "p|0123456789abcdef|fred|general:2:9007199254740991|EUR|60000|"
	confirmed := with(held, func(o *domain.Order) {
		o.State, o.Version, o.ConfirmedAtMillis, o.ResolvedAtMillis, o.AuthorizationID = domain.OrderConfirmed, "1700000000001-0", confirmedAt, confirmedAt, "auth_1"
	})
	for record, want := range map[string]domain.Order{
		"": {},
		"1700000000000-7|h2|" + opening + "||||||":                    held,
		"1700000000001-0|c2|" + opening + "1700000000000|||auth_1|||": confirmed,
		"1700000000005-18446744073709551615|x2|" + opening + "1700000000000|1700000000001||auth_1|requested||": with(confirmed, func(o *domain.Order) {
			o.State, o.Version, o.ResolvedAtMillis, o.Reason = domain.OrderCancelled, "1700000000005-18446744073709551615", cancelledAt, "requested"
		}),
		"1700000000005-0|x2|" + opening + "1700000000000||||requested||": with(held, func(o *domain.Order) {
			o.State, o.Version, o.ResolvedAtMillis, o.Reason = domain.OrderCancelled, "1700000000005-0", cancelledAt, "requested"
		}),
		"1700000000005-0|e2|" + opening + "1700000000000||||||": with(held, func(o *domain.Order) {
			o.State, o.Version, o.ResolvedAtMillis = domain.OrderExpired, "1700000000005-0", cancelledAt
		}),
		"1700000000005-1|d2|" + opening + "1700000000000||||payment_mismatch||a|b": with(held, func(o *domain.Order) {
			o.State, o.Version, o.ResolvedAtMillis, o.Reason, o.Detail = domain.OrderDeclined, "1700000000005-1", cancelledAt, "payment_mismatch", "a|b"
		}),
		"1700000000000-7|h2|h" + opening[1:] + "||||||":                    byHold("1700000000000-7", 0, domain.PayOpen),
		"1700000000009-0|h2|h" + opening[1:] + "1700000000000|||||a1o:fp|": byHold("1700000000009-0", 1, domain.PayOpen),
		"1700000000009-0|h2|h" + opening[1:] + "1700000000000|||||a9d:fp|": byHold("1700000000009-0", 9, domain.PayDeclined),
		"1700000000001-0|c2|h" + opening[1:] + "1700000000000|||auth_1||a2o:fp|": with(confirmed, func(o *domain.Order) {
			o.RequestType, o.Attempt, o.PayFingerprint = domain.RequestHold, 2, "fp"
		}),
		"1700000000000-7|h2|" + opening + "|||||t0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331|": with(held, func(o *domain.Order) { o.Trace = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331" }),
		"1700000000005-0|c2|" + opening + "1700000000000|1700000000001|1700000000001|auth_1||c2@1700000000003:3.fp;r900;t0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331|": with(confirmed, func(o *domain.Order) {
			o.Version, o.Change, o.ChangedAtMillis, o.ChangeFingerprint, o.Reduced = "1700000000005-0", 2, 1700000000003, "3.fp", 900
			o.Trace = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
		}),
		"1700000000009-0|h2|" + opening + "1700000000000|||pi_1||a1w:|": with(held, func(o *domain.Order) {
			o.Version, o.PayState, o.AuthorizationID = "1700000000009-0", domain.PayActionRequired, "pi_1"
		}),
		"8-0|r2|h|fp||:2:0|||||||invalid||section: missing": {
			State: domain.OrderRejected, Version: "8-0", RequestType: domain.RequestHold, Fingerprint: "fp", Items: ":2:0", ResolvedAtMillis: 8, Reason: "invalid", Detail: "section: missing",
		},
		"8-0|r2|h|fp|amy|stalls:2:0|||||||sold_out|t0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331|a|b": {
			State: domain.OrderRejected, Version: "8-0", RequestType: domain.RequestHold, Fingerprint: "fp", CustomerID: "amy", Items: "stalls:2:0", ResolvedAtMillis: 8, Reason: "sold_out", Detail: "a|b",
			Trace: "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
		},
		"8-0|r2|h|2.fp|amy|balcony:2:0,stalls:1:0|||||||sold_out||stalls": {
			State: domain.OrderRejected, Version: "8-0", RequestType: domain.RequestHold, Fingerprint: "2.fp", CustomerID: "amy", Items: "balcony:2:0,stalls:1:0", ResolvedAtMillis: 8, Reason: "sold_out", Detail: "stalls",
		},
		"1700000000005-0|c2|" + opening + "1700000000000|1700000000001|1700000000001|auth_1||c2@1700000000003:3.fp;r900|": with(confirmed, func(o *domain.Order) {
			o.Version, o.Change, o.ChangedAtMillis, o.ChangeFingerprint, o.Reduced = "1700000000005-0", 2, 1700000000003, "3.fp", 900
		}),
		"1700000000005-0|h2|" + opening + "1700000000000|||||c1:3.fp:seat_taken:stalls: A-1,A-2|": with(held, func(o *domain.Order) {
			o.Version, o.Change, o.ChangedAtMillis, o.ChangeFingerprint, o.ChangeRefusal, o.ChangeDetail = "1700000000005-0", 1, cancelledAt, "3.fp", "seat_taken", "stalls: A-1,A-2"
		}),
		"1700000000005-0|c2|" + opening + "1700000000000|1700000000001|1700000000001|auth_1||do2500:1700000900000|": with(confirmed, func(o *domain.Order) {
			o.Version, o.DisputedAtMillis, o.Dispute = "1700000000005-0", cancelledAt, domain.Dispute{State: domain.DisputeOpen, Amount: 2500, DueMillis: 1700000900000}
		}),
		"1700000000005-0|c2|" + opening + "1700000000000|1700000000001|1700000000001|auth_1||dl1@1700000000003|": with(confirmed, func(o *domain.Order) {
			o.Version, o.DisputedAtMillis, o.Dispute = "1700000000005-0", 1700000000003, domain.Dispute{State: domain.DisputeLost, Amount: 1}
		}),
		"7-0|x2|||||||||||requested||": {State: domain.OrderCancelled, Version: "7-0", ResolvedAtMillis: 7, Reason: "requested"},
		"8-0|r2|h|fp|||||||||invalid||customer_id: missing|x": {
			State: domain.OrderRejected, Version: "8-0", RequestType: domain.RequestHold, Fingerprint: "fp", ResolvedAtMillis: 8, Reason: "invalid", Detail: "customer_id: missing|x",
		},
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
	const good = "1700000000005-0|x2|p|fp|fred|general:2:1000|EUR|60000|1700000000000|1700000000001|1700000000005|auth_1|requested||"
	if _, err := layout.DecodeOrder(good); err != nil {
		t.Fatal(err)
	}
	records := []string{
		"h", "|", strings.Repeat("|", 14), strings.TrimSuffix(good, "|"), strings.ReplaceAll(good, "|", ","), strings.Repeat("x", 5000), "{}", "null",
		"h|purchase|fp|fred|general|2|1000|EUR|5|1|0|0|||", // of another schema
	}
	values := strings.Split(good, "|")
	replace := func(i int, bad ...string) {
		for _, b := range bad {
			v := slices.Clone(values)
			v[i] = b
			records = append(records, strings.Join(v, "|"))
		}
	}
	replace(0, "", "x", "0-0", "-1-0", "x-1", " 1-0", "9223372036854775808-0")
	replace(1, "", "x", "2", "x1", "x3", "X2", "z2", "-2", "xx2", "x22", "\x002", "\xff2")
	replace(2, "", "P", "pay", "purchase", "c") // nothing was asked for, and yet something was
	replace(5, "", "general", "general:2", "general::1000", "general:2:", "general:two:1000", "general:-1:1000", "general:1.5:1000", "general:2:1e+15", "general:2:1000:1", "general:2:9223372036854775808")
	for _, i := range []int{7, 8, 9, 10} {
		replace(i, "x", "-1", "1.5", "1e+15", " 1", "1\x00", "9223372036854775808", "nan", "inf")
	}
	replace(13, "t", "t0af7", "t0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "t0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331", "t0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331;t0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", "x", ";", "c", "c1", "c1:", "c:fp", "c-1:fp", "c1:fp:", "c1:fp:reason", "c1:fp;", "c1:fp;c2:fp", "c1:fp;r", "c1:fp;r-1", "c1:fp;r1:2", "c1:fp;r1;r2", "c1:fp;r9223372036854775807", "c1@:fp", "c1@x:fp", "c1@-1:fp", "r5", "a1o:fp;a1o:fp", "c1:fp;", ";c1:fp")
	replace(7, "9223372036854775807")                                                                         // its deadline is past the end of time
	replace(8, "")                                                                                            // a hold of so many milliseconds, from nowhen
	replace(13, "x", "a", "a1", "a0o:fp", "a10o:fp", "a1x:fp", "A1o:fp", "b1o:fp", "1o:fp", " a1o:fp", ":fp") // no attempt
	records = append(records, "8-0|r2|h|fp||:2:0|||||||invalid|a1o:fp|")                                      // of what was never held
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
	for _, record := range []string{
		"", "1700000000000-7|h2|p|fp|fred|general:2:1000|EUR|60000|||||||", "1-0|c2|h|fp|fred|vip:1:0|JPY|0|1|||auth_1|||",
		"5-0|x2|p|fp|fred|general:2:1000|EUR|4|1|2||auth_1|requested||", "7-0|x2|||||||||||requested||", "8-0|r2|h|fp||:0:0|||||||invalid||a|b",
		"5-0|h2|h|fp|fred|general:2:1000|EUR|4|1|||||a1o:fp|", "5-0|e2|h|fp|fred|general:2:1000|EUR|4|1|||||a9d:|", "5-0|h2|p|fp|fred|general:2:1000|EUR|4|1|||||a1o:|",
		"5-0|e2|p|fp|fred|general:+2:-0|EUR|4|1||||||", "1|h2|p|||a:0:0|||||||||", "||||||||||||||",
	} {
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

// TestOrdersComeBack: whatever happens to an order, the record that is made of what domain makes of it says
// just that, once it is behind the id of the entry that it happened in.
func TestOrdersComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := func(label string) string { return rapid.StringMatching(`[A-Za-z0-9._@+-]{1,12}`).Draw(t, label) }
		said := rapid.StringMatching(`[ -~é]{0,20}`) // for people: bars, too
		at := rapid.Int64Range(1, 1<<50).Draw(t, "at")
		entry := func() string { return fmt.Sprintf("%d-%d", at, rapid.Uint64Range(0, 100).Draw(t, "seq")) }
		fact := func(f domain.Fact) domain.Fact {
			f.ID, f.AtMillis, f.EventID, f.OrderID = entry(), at, "e1", "o1"
			return f
		}
		sale := func(o domain.Order, f domain.Fact) domain.Fact {
			f.CustomerID, f.Items, f.Currency, f.ConfirmedAtMillis = o.CustomerID, o.Items, o.Currency, o.ConfirmedAtMillis
			return fact(f)
		}
		// items of the same sections and quantities; a price is at most what that makes countable
		sections, quantity := rapid.SliceOfNDistinct(rapid.StringMatching(`[A-Za-z0-9._@+-]{1,12}`), 1, domain.MaxItems, rapid.ID).Draw(t, "sections"), rapid.Int64Range(0, domain.MaxQuantity).Draw(t, "quantity")
		slices.Sort(sections)
		items := func(price int64) domain.Items {
			var list []domain.Item
			for _, section := range sections {
				list = append(list, domain.Item{Section: section, Quantity: quantity, UnitPrice: price})
			}
			return domain.ItemsOf(list...)
		}
		opens := domain.Fact{
			RequestType: rapid.SampledFrom([]domain.RequestType{domain.RequestPurchase, domain.RequestHold}).Draw(t, "type"),
			Fingerprint: id("fingerprint"), CustomerID: id("customer"), Items: items(0),
		}
		// happens is an order that a fact was true of, as it is and as it is stored.
		happens := func(o domain.Order, f domain.Fact) domain.Order {
			next, _, err := o.After(f)
			if err != nil {
				t.Fatal(err)
			}
			// The record is made before the fact has an id and a time.
			unborn := f
			unborn.ID, unborn.AtMillis = "", 0
			before, _, err := o.After(unborn)
			if err != nil {
				t.Fatal(err)
			}
			record := f.ID + "|" + layout.OrderTail(before)
			if f.Type == domain.FactHeld {
				record = streamstest.EncodeOrder(next) // the only one that a script puts together
			}
			if got, err := layout.DecodeOrder(record); err != nil || got != next {
				t.Fatalf("%s:\nstored as %q\nread as %+v, %v\nwant    %+v", f.Type, record, got, err, next)
			}
			if again := streamstest.EncodeOrder(next); again != record {
				t.Fatalf("%s: stored as %q, written anew %q", f.Type, record, again)
			}
			return next
		}
		var o domain.Order
		switch rapid.SampledFrom([]domain.FactType{domain.FactHeld, domain.FactRejected, domain.FactCancelled}).Draw(t, "first") {
		case domain.FactRejected:
			f := opens
			f.Type, f.Reason, f.Detail = domain.FactRejected, id("reason"), said.Draw(t, "detail")
			happens(o, fact(f))
			return
		case domain.FactCancelled:
			happens(o, fact(domain.Fact{Type: domain.FactCancelled, Reason: id("reason"), Was: domain.OrderNone}))
			return
		}
		f := opens
		f.Type, f.Items, f.Currency = domain.FactHeld, items(rapid.Int64Range(0, math.MaxInt64/domain.MaxQuantity/domain.MaxItems).Draw(t, "price")), "EUR"
		f.DeadlineMillis = at + rapid.Int64Range(1, 1<<40).Draw(t, "hold")
		o = happens(o, fact(f))
		at += rapid.Int64Range(0, 1<<40).Draw(t, "later")
		if o.RequestType == domain.RequestHold {
			for n := range rapid.IntRange(0, domain.MaxAttempts).Draw(t, "attempts") {
				if n > 0 {
					o = happens(o, fact(domain.Fact{Type: domain.FactPaymentDeclined, Attempt: n}))
				}
				o = happens(o, fact(domain.Fact{Type: domain.FactPaying, Attempt: n + 1, Fingerprint: id("pay")}))
			}
		}
		if o.Attempt > 0 && rapid.Bool().Draw(t, "action required") {
			o = happens(o, fact(domain.Fact{Type: domain.FactActionRequired, Attempt: o.Attempt, AuthorizationID: id("action")}))
		}
		if rapid.Bool().Draw(t, "extended") {
			at++ // a hold is as long as it was made at first
			o = happens(o, fact(domain.Fact{Type: domain.FactExtended, DeadlineMillis: o.DeadlineMillis + rapid.Int64Range(1, 1<<40).Draw(t, "by")}))
		}
		switch rapid.SampledFrom([]domain.FactType{domain.FactConfirmed, domain.FactDeclined, domain.FactExpired, domain.FactCancelled}).Draw(t, "then") {
		case domain.FactDeclined:
			f := domain.Fact{Type: domain.FactDeclined}
			if o.RequestType == domain.RequestHold && o.Attempt > 0 || rapid.Bool().Draw(t, "mismatched") {
				f.Reason, f.Detail = domain.ReasonPaymentMismatch, said.Draw(t, "detail")
			}
			happens(o, fact(f))
			return
		case domain.FactExpired:
			happens(o, fact(domain.Fact{Type: domain.FactExpired}))
			return
		case domain.FactConfirmed:
			o = happens(o, sale(o, domain.Fact{Type: domain.FactConfirmed, AuthorizationID: id("authorization"), Attempt: o.Attempt}))
		}
		at += rapid.Int64Range(0, 1<<40).Draw(t, "later still")
		happens(o, sale(o, domain.Fact{Type: domain.FactCancelled, Reason: id("reason"), Was: o.State}))
	})
}
