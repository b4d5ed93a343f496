package streams

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

func TestHoldPurchase(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	a := f.arrive(purchase("e1", "o1", "fred", 3, "hold_seconds", "30"))[0]
	before := f.Now()
	replies, now := f.holdBatch(a)
	if now < before || now > f.Now() {
		t.Errorf("it says it is %d, it was %d before", now, before)
	}
	fact, _ := f.lastFact()
	want := domain.Order{
		State: domain.OrderHeld, RequestType: domain.RequestPurchase, Fingerprint: a.Request.Fingerprint, CustomerID: "fred", Items: "general:3:1000", Currency: "EUR", DeadlineMillis: now + holdMillis, HeldAtMillis: now, Version: fact.ID, Attempt: 1,
	}
	if replies[0] != (domain.Reply{Verdict: domain.VerdictAuthorize, Order: want}) {
		t.Errorf("got %+v, want authorize, %+v", replies[0], want)
	}
	if fact.AtMillis != now {
		t.Errorf("the fact is of %d, it says it is %d", fact.AtMillis, now)
	}
	f.wantFact("held", "e1/o1", fmt.Sprintf("p|%s|fred|general:3:1000|EUR|%d", a.Request.Fingerprint, holdMillis))
	for key, content := range f.Dump() {
		if key != f.Keys.Requests(0) && strings.Contains(content, "tok") {
			t.Errorf("the payment token is in %s", key)
		}
	}
	wantRecord := fmt.Sprintf("%s|h2|p|%s|fred|general:3:1000|EUR|%d|||||||", fact.ID, a.Request.Fingerprint, holdMillis)
	if got := f.record("e1", "o1"); got != wantRecord {
		t.Errorf("record %s, want %s", got, wantRecord)
	}
	if got := f.section("e1", "general"); got != [3]int64{7, 3, 0} {
		t.Errorf("available, held, sold: %v", got)
	}
	if got := f.section("e1", "vip"); got != [3]int64{4, 0, 0} {
		t.Errorf("of the other section, available, held, sold: %v", got)
	}
	if slots := f.slots("e1"); fmt.Sprint(slots) != "map[fred:o1]" {
		t.Errorf("in progress: %v", slots)
	}
	if got := fmt.Sprint(f.Do("ZRANGE", f.Keys.Holds(0), 0, -1, "WITHSCORES")); got != fmt.Sprintf("[e1/o1 %d]", now+holdMillis) {
		t.Errorf("holds: %s", got)
	}
	f.WantPending(domain.GroupWorkers, a.EntryID) // authorize: it is acknowledged with its outcome
}

// TestHoldKeepsTraces: of a batch some orders keep whose trace they are of, in record and fact; the others are what they ever were.
func TestHoldKeepsTraces(t *testing.T) {
	const of = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
	f := newFixture(t)
	f.list("e1", terms(3))
	batch := f.arrive(purchase("e1", "o1", "fred", 1), purchase("e1", "o2", "mary", 1), purchase("e1", "o3", "bob", 5), purchase("e1", "o4", "ann", 9))
	batch[1].Trace, batch[2].Trace = of, of
	replies, _ := f.holdBatch(batch...)
	fingerprint := func(i int) string { return batch[i].Request.Fingerprint }
	for i, want := range []string{
		fmt.Sprintf("h2|p|%s|fred|general:1:1000|EUR|%d|||||||", fingerprint(0), holdMillis),
		fmt.Sprintf("h2|p|%s|mary|general:1:1000|EUR|%d||||||t%s|", fingerprint(1), holdMillis, of),
		fmt.Sprintf("r2|p|%s|bob|general:5:0|||||||sold_out|t%s|", fingerprint(2), of),
		fmt.Sprintf("r2|p|%s|ann|general:9:0|||||||sold_out||", fingerprint(3)),
	} {
		id := fmt.Sprintf("o%d", i+1)
		if record := f.record("e1", id); record != replies[i].Order.Version+"|"+want {
			t.Errorf("%s is %s, want %s", id, record, want)
		}
		if o := f.order("e1", id); o != replies[i].Order {
			t.Errorf("%s is stored as %+v, and told as %+v", id, o, replies[i].Order)
		}
	}
	f.resolve(domain.Resolution{EntryID: batch[1].EntryID, Ref: batch[1].Request.Ref(), Order: replies[1].Order, Attempt: 1, Outcome: domain.PaymentApproved, AuthorizationID: "auth_1"})
	f.wantFact("confirmed", "e1/o2", "mary|general:1:1000|EUR|auth_1||"+of)
	if o := f.order("e1", "o2"); o.State != domain.OrderConfirmed || o.Trace != of {
		t.Errorf("confirmed: %+v", o)
	}
	f.wantLogFolds()
}

func TestHoldHoldIsDoneAtOnce(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	a := f.arrive(hold("e1", "o1", "fred", 3))[0]
	replies, _ := f.holdBatch(a)
	if replies[0].Verdict != domain.VerdictDone || replies[0].Order.State != domain.OrderHeld || replies[0].Order.RequestType != domain.RequestHold {
		t.Errorf("got %+v", replies[0])
	}
	f.WantPending(domain.GroupWorkers)
}

// TestHoldRefusals: each reason, with the fact, the record and the acknowledgement.
func TestHoldRefusals(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10, func(t *domain.Terms) { t.MaxPerOrder = 4 }))
	f.list("sold", terms(1))
	f.list("later", terms(10, func(t *domain.Terms) { t.OnSaleMillis = f.Now() + 3_600_000 }))
	f.list("over", terms(10, func(t *domain.Terms) { t.OffSaleMillis = 1_000 }))
	f.list("closed", terms(10))
	f.close("closed")
	f.list("few", terms(10, func(t *domain.Terms) { t.MaxPerCustomer = 1 }))
	f.held("e1", "o0", "mary", 1, holdMillis)
	pendingBefore := f.Pending(domain.GroupWorkers)
	before, events, refused := f.Dump(), f.eventFields(), make(map[string]int64)
	for i, test := range []struct {
		reason, detail string
		fields         []string
		change         func(*domain.Incoming)
	}{
		{"invalid", "quantity: missing", []string{"v", "1", "type", "hold", "event_id", "e1", "order_id", "", "customer_id", "fred"}, nil},
		{"invalid", "customer_id: missing", []string{"v", "1", "type", "hold", "event_id", "e1", "order_id", "", "quantity", "2"}, nil},
		{"invalid", "section: want 1 to 128 characters of A-Z a-z 0-9 . _ @ + -", purchase("e1", "", "fred", 1, "section", "a|b"), nil},
		{"invalid", "payment_token: missing", []string{"v", "1", "type", "purchase", "event_id", "e1", "order_id", "", "customer_id", "fred", "quantity", "1"}, nil},
		{"invalid", "payment_token: missing", []string{"v", "1", "type", "purchase", "event_id", "e2", "order_id", "", "customer_id", "fred", "quantity", "1"}, nil},
		{"too_late", "", purchase("e1", "", "fred", 1), func(a *domain.Incoming) { a.ValidMillis = -1 }},
		{"unknown_event", "", purchase("e2", "", "fred", 1), nil},
		{"unknown_section", "", purchase("e1", "", "fred", 1, "section", "balcony"), nil},
		{"not_on_sale", "", purchase("later", "", "fred", 1), nil},
		{"not_on_sale", "", purchase("over", "", "fred", 1), nil},
		{"not_on_sale", "", purchase("closed", "", "fred", 1), nil},
		{"price_changed", "", purchase("e1", "", "fred", 1, "unit_price", "999"), nil},
		{"over_limit", "", purchase("e1", "", "fred", 5), nil},
		{"below_minimum", "", purchase("e1", "", "fred", 2), func(a *domain.Incoming) { a.Minimums = &domain.Minimums{"EUR": 2001, "JPY": 1} }},
		{"in_progress", "", purchase("e1", "", "mary", 1), nil},
		{"over_customer_limit", "", purchase("few", "", "fred", 2), nil},
		{"sold_out", "", purchase("sold", "", "fred", 2), nil},
		{"sold_out", "", purchase("sold", "", "fred", 3), nil},
	} {
		order := "r" + strconv.Itoa(i)
		test.fields = slices.Clone(test.fields)
		test.fields[7] = order
		a := f.arrive(test.fields)[0]
		if test.change != nil {
			test.change(&a)
		}
		replies, _ := f.holdBatch(a)
		fact, _ := f.lastFact()
		want := domain.Order{
			State: domain.OrderRejected, RequestType: a.Request.Type, Fingerprint: a.Request.Fingerprint, CustomerID: a.Request.CustomerID,
			Items: domain.ItemsOf(domain.Item{Section: a.Request.Section, Quantity: a.Request.Quantity}), ResolvedAtMillis: fact.AtMillis, Reason: test.reason, Detail: test.detail,
			Version: fact.ID,
		}
		if replies[0] != (domain.Reply{Verdict: domain.VerdictDone, Order: want}) {
			t.Errorf("%s: got %+v\nwant done, %+v", test.reason, replies[0], want)
		}
		opening := fmt.Sprintf("%s|%s|%s|%s:%d:0", a.Request.Type[:1], a.Request.Fingerprint, a.Request.CustomerID, a.Request.Section, a.Request.Quantity)
		f.wantFact("rejected", a.Request.EventID+"/"+order, opening+"|"+test.reason+"|"+test.detail)
		if got, want := f.record(a.Request.EventID, order), fact.ID+"|r2|"+opening+"|||||||"+test.reason+"||"+test.detail; got != want {
			t.Errorf("%s: record %s, want %s", test.reason, got, want)
		}
		if _, known := events[layout.SectionField(a.Request.EventID, a.Request.Section)]; known && test.reason != domain.ReasonInvalid {
			field := layout.RefusedField(domain.RefusedDemand{EventID: a.Request.EventID, Section: a.Request.Section, Reason: test.reason})
			refused[field] += a.Request.Quantity
			events[field] = strconv.FormatInt(refused[field], 10)
		}
	}
	f.WantPending(domain.GroupWorkers, pendingBefore...) // all acknowledged
	f.WantSame(before, f.Keys.Log(0), f.Keys.Requests(0), f.Keys.OrdersPrefix(0), f.Keys.Events(0), f.Keys.Unknown(0))
	events[layout.EarlyField("e2")] = "2" // whoever lists it finds them there
	f.wantSameEvents(events)
	f.wantLogFolds()
}

func TestHoldRepeated(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	batch := f.arrive(
		purchase("e1", "o1", "fred", 2), hold("e1", "o2", "mary", 2), purchase("e9", "o3", "fred", 2),
		request("pay", "e1", "o2"), request("pay", "e1", "o4"),
	)
	f.holdBatch(batch...)
	first, _ := f.holdBatch(batch...) // the hold is told now that it is being paid for
	before := f.Dump()
	second, _ := f.holdBatch(batch...)
	if !slices.Equal(first, second) {
		t.Errorf("first  %+v\nsecond %+v", first, second)
	}
	f.WantSame(before)
	for i, want := range []domain.Verdict{domain.VerdictAuthorize, domain.VerdictDone, domain.VerdictDone, domain.VerdictAuthorize, domain.VerdictWait} {
		if second[i].Verdict != want {
			t.Errorf("item %d: %s, want %s", i, second[i].Verdict, want)
		}
	}
	f.WantPending(domain.GroupWorkers, batch[0].EntryID, batch[3].EntryID, batch[4].EntryID)
}

// TestHoldOneOrderTwiceInABatch: the second finds what the first one did.
func TestHoldOneOrderTwiceInABatch(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	batch := f.arrive(
		purchase("e1", "o1", "fred", 2), purchase("e1", "o1", "fred", 2), purchase("e1", "o1", "fred", 3), // a retry, and another body
		hold("e1", "o2", "mary", 1), request("pay", "e1", "o2"), request("pay", "e1", "o2"),
		purchase("e1", "o3", "mary", 1), // mary's second order
		request("pay", "e1", "o4"), hold("e1", "o4", "jane", 1),
		purchase("e9", "o5", "fred", 1), purchase("e9", "o5", "fred", 1), purchase("e9", "o5", "fred", 2),
	)
	replies, _ := f.holdBatch(batch...)
	for i, want := range []string{
		"authorize held", "authorize held", "conflict held", "done held", "authorize held", "authorize held", "done rejected",
		"authorize held", "done held", "done rejected", "done rejected", "conflict rejected",
	} {
		if got := replies[i].Verdict.String() + " " + replies[i].Order.State.String(); got != want {
			t.Errorf("item %d: %s, want %s", i, got, want)
		}
	}
	if replies[6].Order.Reason != domain.ReasonInProgress {
		t.Errorf("mary's second order: %s", replies[6].Order.Reason)
	}
	if got := f.section("e1", "general"); got != [3]int64{6, 4, 0} {
		t.Errorf("available, held, sold: %v", got)
	}
	var kinds []string
	facts, _ := f.facts()
	for _, fact := range facts {
		kinds = append(kinds, string(fact.Type)+" "+fact.OrderID)
	}
	if want := []string{"listed ", "held o1", "held o2", "held o4", "rejected o3", "rejected o5", "paying o2", "paying o4"}; !slices.Equal(kinds, want) {
		t.Errorf("facts %v, want %v", kinds, want)
	}
	f.WantPending(domain.GroupWorkers, batch[0].EntryID, batch[1].EntryID, batch[2].EntryID, batch[4].EntryID, batch[5].EntryID, batch[7].EntryID, batch[11].EntryID)
}

// TestHoldSeveralEvents: slots, limits and units of one event have nothing to do with another's.
func TestHoldSeveralEvents(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(3))
	f.list("e2", terms(1, func(t *domain.Terms) { t.Currency, t.Sections[0].Price, t.MaxPerOrder = "JPY", 7, 1 }))
	replies, _ := f.holdBatch(f.arrive(
		purchase("e1", "o1", "fred", 2), purchase("e2", "o1", "fred", 1), purchase("e3", "o1", "fred", 1),
		purchase("e2", "o2", "mary", 1), purchase("e1", "o2", "mary", 2, "section", "vip"), purchase("e2", "o3", "jane", 2), purchase("e1", "o3", "jane", 2),
	)...)
	for i, want := range []string{"held 1000 EUR", "held 7 JPY", "rejected unknown_event", "rejected sold_out", "held 5000 EUR", "rejected over_limit", "rejected sold_out"} {
		o := replies[i].Order
		got := o.State.String() + " " + o.Reason
		if o.State == domain.OrderHeld {
			got = fmt.Sprintf("held %d %s", o.Items.UnitPrice(), o.Currency)
		}
		if got != want {
			t.Errorf("item %d: %s, want %s", i, got, want)
		}
	}
	if e1, vip, e2 := f.section("e1", "general"), f.section("e1", "vip"), f.section("e2", "general"); e1 != [3]int64{1, 2, 0} || vip != [3]int64{2, 2, 0} || e2 != [3]int64{0, 1, 0} {
		t.Errorf("available, held, sold: %v, %v, %v", e1, vip, e2)
	}
}

// TestHoldManyItems takes more than one call of the script.
func TestHoldManyItems(t *testing.T) {
	const items, capacity = 2*access.MaxBatch + 203, 1000
	f := newFixture(t)
	f.list("e1", terms(capacity))
	f.list("e2", terms(capacity))
	requests := make([][]string, items)
	for i := range requests {
		n := strconv.Itoa(i)
		requests[i] = purchase("e1", "o"+n, "c"+n, 1)
		if i%10 == 0 {
			requests[i] = purchase("e2", "o"+n, "c"+n, 1)
		}
	}
	batch := f.arrive(requests...)
	replies, _ := f.holdBatch(batch...)
	if len(replies) != items {
		t.Fatalf("%d replies to %d items", len(replies), items)
	}
	left := map[string]int{"e1": capacity, "e2": capacity}
	for i, r := range replies {
		event := batch[i].Request.EventID
		want := domain.OrderRejected
		if left[event] > 0 {
			want = domain.OrderHeld
			left[event]--
		}
		if r.Order.State != want || r.Order.CustomerID != "c"+strconv.Itoa(i) {
			t.Fatalf("item %d: %+v, want %s", i, r.Order, want)
		}
	}
	if got := f.section("e1", "general"); got != [3]int64{0, capacity, 0} {
		t.Errorf("available, held, sold: %v", got)
	}
	if held := f.Do("ZCARD", f.Keys.Holds(0)); held != int64(capacity+items/10+1) {
		t.Errorf("%v holds", held)
	}
	// All of them out of 500 different events, which is as many keys as a call can have.
	for i := range requests[:access.MaxBatch] {
		requests[i] = purchase("x"+strconv.Itoa(i), "o", "fred", 1, "section", "s"+strconv.Itoa(i))
	}
	replies, _ = f.holdBatch(f.arrive(requests[:access.MaxBatch]...)...)
	for i, r := range replies {
		if r.Order.Reason != domain.ReasonUnknownEvent || r.Order.Items.Sections() != "s"+strconv.Itoa(i) {
			t.Fatalf("item %d: %+v", i, r.Order)
		}
	}
}

// TestHoldBigNumbers: what Lua would print with an exponent is printed in full.
func TestHoldBigNumbers(t *testing.T) {
	const price, capacity = 90_071_992, 100_000_000 // 9,007,199,200,000,000: just within 2^53
	f := newFixture(t)
	f.list("e1", domain.Terms{Name: "E", Currency: "EUR", Sections: []domain.SectionTerms{{Name: "general", Price: price, Capacity: capacity}}})
	f.list("e2", domain.Terms{Name: "E", Currency: "EUR", Sections: []domain.SectionTerms{{Name: "general", Price: domain.MaxAmount, Capacity: 1}}})
	batch := f.arrive(purchase("e1", "o1", "fred", 999_999), purchase("e2", "o1", "fred", 1, "unit_price", "9007199254740991"))
	const longest = 9_000_000_000_000_001 // a deadline of 16 digits, still below 2^53 with the time of day
	batch[0].HoldMillis, batch[1].HoldMillis = longest, longest+1
	replies, now := f.holdBatch(batch...)
	for i, order := range []domain.Order{replies[0].Order, replies[1].Order} {
		if deadline := now + longest + int64(i); order.DeadlineMillis != deadline {
			t.Errorf("deadline %d, want %d", order.DeadlineMillis, deadline)
		}
	}
	if price := replies[1].Order.Items.UnitPrice(); price != domain.MaxAmount {
		t.Errorf("price %d", price)
	}
	holds := fmt.Sprint(f.Do("ZRANGE", f.Keys.Holds(0), 0, -1, "WITHSCORES"))
	if want := fmt.Sprintf("[e1/o1 %d e2/o1 %d]", now+longest, now+longest+1); holds != want {
		t.Errorf("holds %s, want %s", holds, want)
	}
	if got := f.section("e1", "general"); got != [3]int64{99_000_001, 999_999, 0} {
		t.Errorf("available, held, sold: %v", got)
	}
	if facts, _ := f.facts(); facts[2].DeadlineMillis != now+longest || facts[3].Items.UnitPrice() != domain.MaxAmount {
		t.Errorf("facts in the log: %+v", facts[2:4])
	}
	// The largest quantity there is, again and again, until nothing is left.
	for i := range 100 {
		n := strconv.Itoa(i)
		f.holdBatch(f.arrive(hold("e1", "big"+n, "c"+n, domain.MaxQuantity))...)
	}
	if got := f.section("e1", "general"); got != [3]int64{1, 99_999_999, 0} {
		// 99 of them and o1's fit: 99,000,000 + 999,999.
		t.Errorf("available, held, sold: %v", got)
	}
}

// TestHoldForFree: what costs nothing is held without a token, and confirmed without an authorization.
func TestHoldForFree(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10, func(t *domain.Terms) { t.Sections[0].Price = 0 }))
	a := f.arrive([]string{"v", "1", "type", "purchase", "event_id", "e1", "order_id", "o1", "customer_id", "fred", "quantity", "2"})[0]
	replies, _ := f.holdBatch(a)
	if replies[0].Verdict != domain.VerdictAuthorize || !replies[0].Order.Free() {
		t.Fatalf("held: %s, %+v", replies[0].Verdict, replies[0].Order)
	}
	replies, _ = f.resolve(domain.Resolution{Attempt: 1, EntryID: a.EntryID, Ref: ref("e1", "o1"), Order: replies[0].Order, Outcome: domain.PaymentApproved})
	if o := replies[0].Order; o.State != domain.OrderConfirmed || !o.Free() {
		t.Errorf("confirmed: %+v", o)
	}
	f.wantFact("confirmed", "e1/o1", "fred|general:2:0|EUR|")
	f.cancel("e1", "o1")
	if o := f.order("e1", "o1"); o.State != domain.OrderCancelled || !o.Free() {
		t.Errorf("cancelled: %+v", o)
	}
	f.wantLogFolds()
}

func TestHoldTimesAreRedis(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	a := f.arrive(purchase("e1", "o1", "fred", 1))[0]
	a.ValidMillis = 0
	f.WaitUntil(domain.EntryMillis(a.EntryID) + 1) // by now it has waited longer than that
	if replies, _ := f.holdBatch(a); replies[0].Order.Reason != domain.ReasonTooLate {
		t.Errorf("waited in line: %+v", replies[0].Order)
	}

	// A hold request's hold, and a pay that waited: too late while it is alive, nothing to decide later.
	h := f.arrive(hold("e1", "o2", "mary", 1))[0]
	h.HoldMillis = 50
	replies, _ := f.holdBatch(h)
	p := f.arrive(request("pay", "e1", "o2"))[0]
	p.ValidMillis = -1
	late, now := f.holdBatch(p)
	want := domain.VerdictTooLate
	if now >= replies[0].Order.DeadlineMillis {
		want = domain.VerdictDone
	}
	if late[0].Verdict != want {
		t.Errorf("a late pay: %s, want %s", late[0].Verdict, want)
	}
	f.WaitUntil(replies[0].Order.DeadlineMillis)
	if want == domain.VerdictDone {
		return // so slow is this machine
	}
	if late, _ = f.holdBatch(p); late[0].Verdict != domain.VerdictDone || late[0].Order.State != domain.OrderExpired {
		t.Errorf("a late pay of a hold past its deadline: %s, the order is %s", late[0].Verdict, late[0].Order.State)
	}
	f.WantPending(domain.GroupWorkers)
}

// TestHoldNotices: who waits for an outcome is told of what is decided, and not of a purchase that is merely held.
func TestHoldNotices(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	sub := f.Client.Subscribe(f.Ctx, f.store.outcomes(0))
	defer func() { f.Must(sub.Close()) }()
	if _, err := sub.Receive(f.Ctx); err != nil {
		t.Fatal(err)
	}
	receive := func(want ...string) {
		t.Helper()
		m, err := sub.ReceiveMessage(f.Ctx)
		f.Must(err)
		if got := strings.Split(m.Payload, "\n"); !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	f.holdBatch(f.arrive(purchase("e1", "o1", "fred", 1), hold("e1", "o2", "mary", 1), purchase("e9", "o3", "fred", 1))...)
	receive("e1/o2", "e9/o3")
	f.holdBatch(f.arrive(purchase("e1", "o4", "jane", 1))...) // says nothing
	f.resolve(domain.Resolution{Attempt: 1, Ref: ref("e1", "o1"), Outcome: domain.PaymentApproved, AuthorizationID: "a"}, domain.Resolution{Attempt: 1, Ref: ref("e1", "o4"), Outcome: domain.PaymentDeclined})
	receive("e1/o1", "e1/o4")
	f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "o1")}, {Ref: ref("e1", "o5")}, {Ref: ref("e1", "o4")}}))
	receive("e1/o1", "e1/o5")
	f.held("e1", "o6", "fred", 1, 0)
	if n, _, err := f.ledger.Expire(f.Ctx, 0, 10); err != nil || n != 1 {
		t.Fatalf("%d expired, %v", n, err)
	}
	receive("e1/o6")
	// What is set aside is told, too: of a request that names an order.
	entries := []string{f.Publish(purchase("e1", "o7", "fred", 0)), f.Publish([]string{"v", "3"}), f.Publish(request("pay", "e1", "o8"))}
	f.Deliver(domain.GroupWorkers, "w1")
	var dead []domain.DeadEntry
	for _, id := range entries {
		dead = append(dead, domain.DeadEntry{ID: id, Reason: "r"})
	}
	q := f.queue(domain.GroupWorkers, "w1")
	f.Must(q.DeadLetter(f.Ctx, dead[:2]))
	receive("e1/o7")
	f.Must(q.DeadLetter(f.Ctx, dead[1:]))
	receive("e1/o8")
}

// TestHoldRefusalsInOrder: of all that is wrong with a request at once, the same is said first, whatever else is
// wrong; the script and domain say the same.
func TestHoldRefusalsInOrder(t *testing.T) {
	reasons := []string{ // the first that is so
		domain.ReasonInvalid, domain.ReasonTooLate, domain.ReasonUnknownEvent, domain.ReasonUnknownSection, domain.ReasonNotOnSale,
		domain.ReasonPriceChanged, domain.ReasonOverLimit, domain.ReasonBelowMinimum, domain.ReasonInProgress, domain.ReasonSoldOut,
	}
	f := newFixture(t)
	f.list("e1", terms(5, func(t *domain.Terms) { t.MaxPerOrder = 6 }))
	f.list("off", terms(5, func(t *domain.Terms) { t.MaxPerOrder, t.OffSaleMillis = 6, 1 }))
	f.held("e1", "busy", "busy", 1, holdMillis)
	f.Do("HSET", f.Keys.InProgress(0), "off/busy", "o", "none/busy", "o") // as if each event had one
	const invalid, late, event, section, sale, price, limit, minimum, busy, sold = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
	small, large := domain.Minimums{"EUR": 1000}, domain.Minimums{"EUR": 7001}
	var requests [][]string
	var wrong [][]bool
	for bits := range 1 << len(reasons) {
		is := make([]bool, len(reasons))
		for i := range is {
			is[i] = bits&(1<<i) != 0
		}
		if is[limit] != is[sold] && is[limit] { // what is over the limit is more than there is
			continue
		}
		name, customer, quantity := "e1", "c"+strconv.Itoa(bits), 1
		switch {
		case is[event]:
			name = "none"
		case is[sale]:
			name = "off"
		}
		if is[busy] {
			customer = "busy"
		}
		switch {
		case is[limit]:
			quantity = 7
		case is[sold]:
			quantity = 6
		}
		fields := []string{"v", "1", "type", "purchase", "event_id", name, "order_id", "o" + strconv.Itoa(bits), "customer_id", customer, "quantity", strconv.Itoa(quantity)}
		if !is[invalid] {
			fields = append(fields, "payment_token", "tok")
		}
		if is[section] {
			fields = append(fields, "section", "balcony")
		}
		if is[price] {
			fields = append(fields, "unit_price", "999")
		}
		requests, wrong = append(requests, fields), append(wrong, is)
	}
	batch := f.arrive(requests...)
	for i := range batch {
		if wrong[i][late] {
			batch[i].ValidMillis = -1
		}
		if batch[i].Minimums = &small; wrong[i][minimum] {
			batch[i].Minimums = &large
		}
	}
	slices.Reverse(batch) // the one with which nothing is wrong is the last
	slices.Reverse(wrong)
	book := f.fold()
	replies, now := f.holdBatch(batch...)
	for i, r := range replies {
		in := batch[i]
		want := ""
		if first := slices.Index(wrong[i], true); first >= 0 {
			want = reasons[first]
		}
		if r.Order.Reason != want || (want == "") != (r.Order.State == domain.OrderHeld) {
			t.Errorf("%v: %s, %q, want %q", wrong[i], r.Order.State, r.Order.Reason, want)
		}
		view := book.View(in.Request.Ref(), in.Request.CustomerID)
		if wrong[i][busy] {
			view.InProgress = "o"
		}
		fact, _ := domain.Decide(view, in.Request.Ref(), now, in.Command())
		if fact.Reason != r.Order.Reason || fact.Detail != r.Order.Detail {
			t.Errorf("%v: %s, %q, domain says %s, %q", wrong[i], r.Order.Reason, r.Order.Detail, fact.Reason, fact.Detail)
		}
	}
}

// TestHoldTakesInOnlyWhatIsNew: the script neither changes nor acknowledges what it knows, in one batch with what is new.
func TestHoldTakesInOnlyWhatIsNew(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.confirmed("e1", "confirmed", "fred", 1)
	f.held("e1", "held", "mary", 1, holdMillis)
	f.holdBatch(f.arrive(purchase("e1", "rejected", "jane", 50))...)
	f.cancel("e1", "cancelled")
	known := []string{"confirmed", "held", "rejected", "cancelled"}
	records := make([]string, len(known))
	var requests [][]string
	for i, order := range known {
		records[i] = f.record("e1", order)
		requests = append(requests, hold("e1", order, "another", 2))
	}
	before := len(f.Pending(domain.GroupWorkers))
	batch := f.arrive(append(requests, hold("e1", "new", "amy", 1))...)
	facts, _ := f.facts()
	in := intake{ledger: f.ledger, batch: batch}
	c := in.call([]int{0, 1, 2, 3, 4})
	text, err := f.store.run(f.Ctx, scriptHold, c.keys, c.args...).Text()
	f.Must(err)
	reply := strings.Split(text, "\n")
	for i, order := range known {
		if got := reply[1+len(c.sections)+i]; got != "="+records[i] || f.record("e1", order) != records[i] {
			t.Errorf("%s: replied %s, is %s, was %s", order, got, f.record("e1", order), records[i])
		}
	}
	if o := f.order("e1", "new"); o.State != domain.OrderHeld || o.Version != reply[1+len(c.sections)+4] {
		t.Errorf("new: %+v, replied %v", o, reply[1+len(c.sections)+4])
	}
	if pending := f.Pending(domain.GroupWorkers); len(pending) != before+len(known) || slices.Contains(pending, batch[4].EntryID) {
		t.Errorf("pending %v, of %v", pending, batch)
	}
	if after, _ := f.facts(); len(after) != len(facts)+1 {
		t.Errorf("%d facts, were %d", len(after), len(facts))
	}
	// The same call again, whose reply was lost: nothing is new any more.
	all := f.Dump()
	text, err = f.store.run(f.Ctx, scriptHold, c.keys, c.args...).Text()
	f.Must(err)
	if got := strings.Split(text, "\n")[1+len(c.sections)+4]; got != "="+f.record("e1", "new") {
		t.Errorf("again: %v", got)
	}
	f.WantSame(all)
}

// manyPlaces are terms of an event whose orders are in several hashes of its own.
func manyPlaces(t *domain.Terms) { t.Sections[0].Capacity = 1_000_000 }

// TestOrdersOfABigEvent: they are in hashes of its own, several of them, from the hold to the end, and found by
// whoever never heard of the event before.
func TestOrdersOfABigEvent(t *testing.T) {
	const items = 200
	f := newFixture(t)
	f.list("big", terms(0, manyPlaces))
	f.list("small", terms(items))
	requests := make([][]string, items)
	for i := range requests {
		n := strconv.Itoa(i)
		requests[i] = purchase("big", "o"+n, "c"+n, 1)
		if i%4 == 0 {
			requests[i] = purchase("small", "o"+n, "c"+n, 1)
		}
	}
	batch := f.arrive(requests...)
	f.holdBatch(batch...)
	var resolutions []domain.Resolution
	other, _ := f.another(t)
	for i, in := range batch {
		r := domain.Resolution{Attempt: 1, EntryID: in.EntryID, Ref: in.Request.Ref(), Order: f.order(in.Request.EventID, in.Request.OrderID), Outcome: domain.PaymentApproved}
		if i%3 == 0 {
			r.Outcome = domain.PaymentDeclined
		}
		resolutions = append(resolutions, r)
	}
	if replies, _, err := other.ledger.Resolve(f.Ctx, 0, resolutions); err != nil || replies[1].Order.State != domain.OrderConfirmed {
		t.Fatalf("resolving as one that never heard of the events: %+v, %v", replies[1], err)
	}
	f.cancel("big", "o1")
	f.cancel("big", "unseen")
	f.WantPending(domain.GroupWorkers)
	f.wantLogFolds()
	keys, err := f.Client.Keys(f.Ctx, f.Keys.OrdersPrefix(0)+"big/*").Result()
	f.Must(err)
	if len(keys) < 2 {
		t.Errorf("its orders are in %v, want several hashes", keys)
	}
	var facts []domain.Fact
	for _, r := range resolutions {
		if o := other.order(r.Ref.EventID, r.Ref.OrderID); o.State == domain.OrderConfirmed {
			facts = append(facts, f.factOf(domain.FactConfirmed, r.Ref.EventID, r.Ref.OrderID))
		}
	}
	f.post(facts...)
	if got, err := f.events.Cancel(f.Ctx, "big", fire, nil); err != nil || got.Confirmed == 0 {
		t.Errorf("cancelled with their event: %+v, %v", got, err)
	}
	f.wantLogFolds()
}

// TestOrdersFromBeforeTheirEvent: whatever an order was before its event was listed, with hashes of its own or
// without, it is still known afterwards.
func TestOrdersFromBeforeTheirEvent(t *testing.T) {
	for name, change := range map[string]func(*domain.Terms){"few places": func(*domain.Terms) {}, "many places": manyPlaces} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			late, invalid := purchase("e1", "late", "fred", 1), purchase("e1", "invalid", "fred", 0)
			tokenless := []string{"v", "1", "type", "purchase", "event_id", "e1", "order_id", "tokenless", "customer_id", "fred", "quantity", "1"}
			requests := [][]string{purchase("e1", "unknown", "fred", 1), late, invalid, tokenless}
			for i, fields := range requests { // one by one: each by itself is enough
				f.Do("FLUSHALL")
				f.Must(f.ledger.Accept(f.Ctx, "w1"))
				in := f.arrive(fields)[0]
				if i == 1 {
					in.ValidMillis = -1
				}
				f.holdBatch(in)
				f.list("e1", terms(10, change))
				was := f.order("e1", in.Request.OrderID)
				if was.State != domain.OrderRejected {
					t.Fatalf("%s is %+v", in.Request.OrderID, was)
				}
				again := f.arrive(fields, hold("e1", in.Request.OrderID, "mary", 2))
				replies, _ := f.holdBatch(again...)
				if replies[0] != (domain.Reply{Verdict: domain.VerdictDone, Order: was}) || replies[1].Verdict != domain.VerdictConflict {
					t.Errorf("again: %+v, was %+v", replies, was)
				}
				f.cancel("e1", in.Request.OrderID)
				if is := f.order("e1", in.Request.OrderID); is != was {
					t.Errorf("it is %+v, was %+v", is, was)
				}
				f.wantLogFolds()
			}
			f.Do("FLUSHALL")
			f.Must(f.ledger.Accept(f.Ctx, "w1"))
			f.cancel("e1", "cancelled")
			f.list("e1", terms(10, change))
			if replies, _ := f.holdBatch(f.arrive(purchase("e1", "cancelled", "fred", 1))...); replies[0].Verdict != domain.VerdictDone || replies[0].Order.State != domain.OrderCancelled {
				t.Errorf("cancelled before: %+v", replies[0])
			}
			f.held("e1", "new", "fred", 1, holdMillis)
			f.wantLogFolds()
		})
	}
}

// TestEventListedMeanwhile: whoever looked for an event that was not there, and asks for a change of its orders, when it
// is there, finds them where they are.
func TestEventListedMeanwhile(t *testing.T) {
	for name, change := range map[string]func(*domain.Terms){"few places": func(*domain.Terms) {}, "many places": manyPlaces} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			other, hook := f.another(t)
			in := f.arrive(purchase("hold", "o1", "fred", 1))[0]
			hook.once("hold", func() { f.list("hold", terms(10, change)) })
			if replies, _ := other.holdBatch(in); replies[0].Order.State != domain.OrderHeld {
				t.Errorf("held: %+v", replies[0])
			}
			for _, event := range []string{"cancel", "refuse"} {
				hook.once("move", func() {
					f.list(event, terms(10, change))
					f.held(event, "o1", "fred", 1, holdMillis)
				})
				if event == "cancel" {
					other.cancel(event, "o1")
					if o := f.order(event, "o1"); o.State != domain.OrderCancelled || o.HeldAtMillis == 0 {
						t.Errorf("cancelled: %+v", o)
					}
					continue
				}
				bad := f.arrive(purchase(event, "o1", "fred", 0))[0]
				if replies, _ := other.holdBatch(bad); replies[0].Verdict != domain.VerdictConflict || replies[0].Order.State != domain.OrderHeld {
					t.Errorf("refused: %+v", replies[0])
				}
			}
			f.wantLogFolds()
		})
	}
}

// TestEventWithOtherHashes: an event of this name had other hashes in other data.
func TestEventWithOtherHashes(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(0, manyPlaces))
	f.held("e1", "o1", "fred", 1, holdMillis)
	meta := f.meta()
	f.Do("FLUSHALL")
	f.Must(f.Client.HSet(f.Ctx, "holdfast:meta", meta).Err())
	f.Must(f.store.ensureGroups(f.Ctx))
	f.Do("HSET", f.Keys.Events(0), layout.BranchField, f.store.history.branch(0)) // or it would say that first
	if replies, _ := f.holdBatch(f.arrive(purchase("e1", "o1", "fred", 1))...); replies[0].Order.Reason != domain.ReasonUnknownEvent {
		t.Errorf("it is gone: %+v", replies[0])
	}
	other, _ := f.another(t)
	other.list("e1", terms(10))
	f.held("e1", "o2", "fred", 1, holdMillis)
	f.wantLogFolds()
}

// TestFactsAreBundled: what one call does is a few entries, of at most 64 facts each, all of one time.
func TestFactsAreBundled(t *testing.T) {
	const items = 130
	f := newFixture(t)
	f.list("e1", terms(items))
	var requests [][]string
	for i := range items {
		requests = append(requests, hold("e1", "o"+strconv.Itoa(i), "c"+strconv.Itoa(i), 1))
	}
	entries := func() (lengths []int) {
		for _, e := range layout.DecodeEntries(f.Do("XRANGE", f.Keys.Log(0), "-", "+")) {
			facts := f.parse(e)
			lengths = append(lengths, len(facts))
			for i, fact := range facts {
				if o := f.order(fact.EventID, fact.OrderID); fact.OrderID != "" && fact.Type == domain.FactCancelled && (o.Version != e.ID || fact.Line != i+1) {
					t.Errorf("%s is about an order of version %s", fact.Name(), o.Version)
				}
			}
		}
		return lengths
	}
	f.holdBatch(f.arrive(requests...)...)
	if got := entries(); !slices.Equal(got, []int{1, 64, 64, 2}) {
		t.Errorf("entries of %v facts", got)
	}
	cancels := make([]domain.Cancellation, items)
	for i := range cancels {
		cancels[i].Ref = ref("e1", "o"+strconv.Itoa(i))
	}
	f.Must(f.ledger.Cancel(f.Ctx, 0, cancels))
	if got := entries(); !slices.Equal(got, []int{1, 64, 64, 2, 64, 64, 2}) {
		t.Errorf("entries of %v facts", got)
	}
	f.wantLogFolds()
}
