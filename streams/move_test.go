package streams

import (
	"bufio"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"holdfast/domain"
	"holdfast/streams/inspect"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// moving is a movement of orders as they are taken to be, towards what a command asks of each.
func (f *fixture) moving(command domain.Command, now int64, orders map[string]domain.Order) (*movement, []int) {
	m := newMovement(f.Keys.Requests(0), domain.GroupWorkers, len(orders))
	m.now = now
	var all []int
	for i, order := range slices.Sorted(maps.Keys(orders)) {
		m.add("", ref("e1", order), orders[order])
		all = append(all, i)
	}
	m.replies = make([]domain.Reply, len(all))
	m.decide = func(i int, o domain.Order, now int64) (*domain.Fact, domain.Verdict) {
		return domain.Decide(domain.View{Order: o}, m.refs[i], now, command)
	}
	return m, all
}

// rename adjusts an event.
func (f *fixture) rename(event string) {
	f.Helper()
	changed, err := f.events.Adjust(f.Ctx, event, func(t domain.Terms) (domain.Terms, error) { t.Name += "!"; return t, nil })
	if !changed || err != nil {
		f.Fatalf("adjusting %s: %v, %v", event, changed, err)
	}
}

// TestMoveStale: if one order is not as it was read, or the time is not right, nothing of the batch is changed; what
// the order is, and what time it is, is known then, and the next try decides by that.
func TestMoveStale(t *testing.T) {
	// A version is a whole id: neither the beginning of one nor another of the same millisecond.
	other := func(version func(millis, seq string) string) func(domain.Order) domain.Order {
		return func(o domain.Order) domain.Order {
			millis, seq, _ := strings.Cut(o.Version, "-")
			o.Version = version(millis, seq)
			return o
		}
	}
	approved := domain.Resolve{Attempt: 1, Outcome: domain.PaymentApproved}
	for name, test := range map[string]struct {
		hold  int64 // milliseconds
		read  func(domain.Order) domain.Order
		now   int64
		asks  domain.Command
		state domain.OrderState // in the end
	}{
		"same millisecond, an entry later": {holdMillis, other(func(ms, seq string) string { return ms + "-" + seq + "1" }), 0, approved, domain.OrderConfirmed},
		"same millisecond, cut short":      {holdMillis, other(func(ms, _ string) string { return ms + "-" }), 0, approved, domain.OrderConfirmed},
		"a millisecond before":             {holdMillis, other(func(ms, seq string) string { return strconv.FormatInt(layout.AsInt(ms)-1, 10) + "-" + seq }), 0, approved, domain.OrderConfirmed},
		"without a sequence number":        {holdMillis, other(func(ms, _ string) string { return ms }), 0, approved, domain.OrderConfirmed},
		"never seen, and there":            {holdMillis, func(domain.Order) domain.Order { return domain.Order{} }, 0, domain.Cancel{Reason: domain.ReasonRequested}, domain.OrderCancelled},
		"at its deadline":                  {0, func(o domain.Order) domain.Order { return o }, 0, approved, domain.OrderExpired},
		"before its deadline":              {holdMillis, func(o domain.Order) domain.Order { return o }, math.MaxInt64, domain.Expire{}, domain.OrderHeld},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.list("e1", terms(10))
			f.held("e1", "a", "amy", 1, holdMillis)
			f.held("e1", "o", "fred", 2, test.hold)
			f.held("e1", "z", "zoe", 1, holdMillis)
			orders := map[string]domain.Order{"a": f.order("e1", "a"), "o": test.read(f.order("e1", "o")), "z": f.order("e1", "z")}
			if test.state == domain.OrderHeld { // the others would not be due either
				orders = map[string]domain.Order{"o": orders["o"]}
			}
			m, all := f.moving(test.asks, test.now, orders)
			before, earliest := f.Dump(), f.Now()
			if _, done, err := f.ledger.moveOnce(f.Ctx, 0, m, all); done || err != nil {
				t.Fatalf("done %t, %v, want it to be stale", done, err)
			}
			f.WantSame(before)
			if m.now < earliest || m.now > f.Now() {
				t.Errorf("it says it is %d, it was %d before", m.now, earliest)
			}
			for i, r := range m.refs {
				if is := f.order(r.EventID, r.OrderID); *m.order(i) != is {
					t.Errorf("%s is taken to be %+v, is %+v", r, *m.order(i), is)
				}
			}
			if _, done, err := f.ledger.moveOnce(f.Ctx, 0, m, all); !done || err != nil {
				t.Errorf("decided again: done %t, %v", done, err)
			}
			if o := f.order("e1", "o"); o.State != test.state {
				t.Errorf("it is %s, want %s", o.State, test.state)
			}
			f.wantLogFolds()
		})
	}
}

// TestMoveOfWhatIsGone: an order that was read and is not there any more is stale, too.
func TestMoveOfWhatIsGone(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.held("e1", "o", "fred", 2, holdMillis)
	m, all := f.moving(domain.Cancel{Reason: domain.ReasonRequested}, 0, map[string]domain.Order{"o": f.order("e1", "o")})
	f.Do("HDEL", f.Keys.Orders(0, f.Keys.SharedHash("e1")), "e1/o")
	before := f.Dump()
	if _, done, err := f.ledger.moveOnce(f.Ctx, 0, m, all); done || err != nil || *m.order(0) != (domain.Order{}) {
		t.Errorf("done %t, %v, taken to be %+v", done, err, *m.order(0))
	}
	f.WantSame(before)
}

// TestMoveTerms: what depends on an event's terms is not done if they have changed, or if it is gone.
func TestMoveTerms(t *testing.T) {
	for name, change := range map[string]func(f *fixture){
		"changed": func(f *fixture) { f.reprice("e1", 5, 10) },
		"gone":    func(f *fixture) { f.Do("HDEL", f.Keys.Events(0), "e1") },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.list("e1", domain.Terms{Name: "E", Currency: "EUR", Sections: []domain.SectionTerms{{Name: "general", Price: 1, Capacity: 10}}})
			f.held("e1", "o", "fred", 2, holdMillis)
			m, all := f.moving(domain.Cancel{Reason: domain.ReasonRequested}, 0, map[string]domain.Order{"o": f.order("e1", "o")})
			m.terms = map[string]int64{"e1": 1}
			change(f)
			before := f.Dump()
			if _, done, err := f.ledger.moveOnce(f.Ctx, 0, m, all); done || err != nil {
				t.Errorf("done %t, %v", done, err)
			}
			f.WantSame(before)
			if name == "gone" {
				return
			}
			m.terms = map[string]int64{"e1": 2}
			if _, done, err := f.ledger.moveOnce(f.Ctx, 0, m, all); !done || err != nil {
				t.Errorf("with the terms of now: done %t, %v", done, err)
			}
			f.wantLogFolds()
		})
	}
}

// TestMoveBelowZero: counts that would fall below zero stop it, as poison, before anything is written.
func TestMoveBelowZero(t *testing.T) {
	for name, test := range map[string]struct{ field, value, order string }{
		"held, to confirm":      {"e1/general", "1000|10|9|1|0", "held"},
		"held, to cancel":       {"e1/general", "1000|10|8|1|1", "held"},
		"sold, to cancel":       {"e1/general", "1000|10|9|1|0", "confirmed"},
		"orders, to cancel":     {"e1#sales", "0|2|2000", "confirmed"},
		"tickets, to cancel":    {"e1#sales", "1|1|2000", "confirmed"},
		"revenue, to cancel":    {"e1#sales", "1|2|1999", "confirmed"},
		"the section is gone":   {"e1/general", "", "held"},
		"the section is none":   {"e1/general", "1000|10|9|1", "held"},
		"the section is absent": {"e1/general", "absent", "confirmed"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.list("e1", terms(10))
			f.held("e1", "held", "mary", 2, holdMillis)
			f.confirmed("e1", "confirmed", "fred", 2)
			was := f.order("e1", "held")
			if f.Do("HSET", f.Keys.Events(0), test.field, test.value); test.value == "absent" {
				f.Do("HDEL", f.Keys.Events(0), test.field)
			}
			before := f.Dump()
			if strings.HasSuffix(name, "to confirm") {
				_, _, err := f.ledger.Resolve(f.Ctx, 0, []domain.Resolution{{Attempt: 1, Ref: ref("e1", "held"), Order: was, Outcome: domain.PaymentApproved}})
				f.WantClass(err, domain.ClassPoison)
			} else {
				f.WantClass(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "unseen")}, {Ref: ref("e1", test.order)}}), domain.ClassPoison)
			}
			f.WantSame(before)
		})
	}
}

// TestMoveAgain: a call whose reply was lost, sent once more just as it was, changes nothing and is stale.
func TestMoveAgain(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	other, hook := f.another(t)
	var last []any
	hook.do = func(script string, args []string) {
		if script == "move" {
			last = nil
			for _, arg := range args {
				last = append(last, arg)
			}
		}
	}
	a := f.held("e1", "o1", "fred", 1, holdMillis)
	for name, do := range map[string]func(){
		"confirm": func() { other.resolve(approve(a.EntryID, "e1", "o1")) },
		"cancel":  func() { other.cancel("e1", "o1"); other.cancel("e1", "unseen") },
	} {
		do()
		before := f.Dump()
		reply := f.Do(last...).([]any)
		if len(reply) != 4 || reply[1] != "stale" || layout.AsInt(reply[2]) != 1 {
			t.Errorf("%s again: %v", name, reply)
		}
		f.WantSame(before)
	}
	f.wantLogFolds()
}

// TestClockGoesBack: Redis's clock went back (the newest log entry is of a time to come). What is done then is of that
// time: ids and times of facts never go back, and deadlines are judged by it, not by what the clock says.
func TestClockGoesBack(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	approved := f.held("e1", "approved", "fred", 1, holdMillis)
	f.held("e1", "unknown", "mary", 1, holdMillis)
	f.confirmed("e1", "confirmed", "zoe", 1)
	ahead := f.Now() + holdMillis + 1000
	f.Do("HSET", f.Keys.Events(0), layout.ClockField, ahead)

	replies, now := f.resolve(approve(approved.EntryID, "e1", "approved"))
	if replies[0].Verdict != domain.VerdictVoid || replies[0].Order.State != domain.OrderExpired || replies[0].Order.ResolvedAtMillis != ahead || now != ahead {
		t.Errorf("approved past the deadline: %+v at %d, want it expired at %d", replies[0], now, ahead)
	}
	if n, _, err := f.ledger.Expire(f.Ctx, 0, 10); n != 1 || err != nil || f.order("e1", "unknown").State != domain.OrderExpired {
		t.Errorf("%d expired, %v, want the one that is due at that time", n, err)
	}
	f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "confirmed")}, {Ref: ref("e1", "unseen")}}))
	late := f.arrive(purchase("e1", "late", "amy", 1))[0]
	late.ValidMillis = 10 * holdMillis
	if replies, now = f.holdBatch(late); replies[0].Order.Reason != "" || now != ahead {
		t.Errorf("held: %+v at %d", replies[0], now)
	}
	late = f.arrive(purchase("e1", "later", "bob", 1))[0]
	late.ValidMillis = 500 // by the clock it just arrived
	if replies, _ = f.holdBatch(late); replies[0].Order.Reason != domain.ReasonTooLate {
		t.Errorf("too late: %+v", replies[0])
	}
	if o := f.order("e1", "late"); o.HeldAtMillis != ahead || o.DeadlineMillis != ahead+holdMillis {
		t.Errorf("held until %d, since %d, want since %d", o.DeadlineMillis, o.HeldAtMillis, ahead)
	}
	// Not only what a script writes: what is told about an order that stays as it is, is by that time, too.
	paying := f.arrive(request("pay", "e1", "late"))[0]
	paying.ValidMillis = 500
	if replies, now = f.holdBatch(paying); replies[0].Verdict != domain.VerdictTooLate || now != ahead {
		t.Errorf("a pay that waited too long: %+v at %d, want %d", replies[0], now, ahead)
	}
	silent := domain.Resolution{Attempt: 1, Ref: ref("e1", "late"), Order: f.order("e1", "late"), Outcome: domain.PaymentUnknown}
	if replies, now = f.resolve(silent); replies[0].Verdict != domain.VerdictWait || now != ahead {
		t.Errorf("no answer yet: %+v at %d, want %d", replies[0], now, ahead)
	}
	f.list("e2", terms(10))
	f.rename("e2")
	f.close("e2")
	facts, _ := f.facts()
	last := domain.Fact{}
	for i, fact := range facts {
		if newest := layout.ParseLogID(fact.ID); newest != layout.ParseLogID(last.ID) && !newest.After(layout.ParseLogID(last.ID)) {
			t.Errorf("%s comes behind %s", fact.Name(), last.Name())
		}
		if i > 5 && fact.AtMillis != ahead {
			t.Errorf("%s is of %d, want %d", fact.Type, fact.AtMillis, ahead)
		}
		last = fact
	}
	f.wantLogFolds()
}

// TestTwoAtOnce: whatever two do with one order that both have read, the second to write finds what the first has
// done, and decides by that: the order has one end.
func TestTwoAtOnce(t *testing.T) {
	type party struct {
		name string
		do   func(f *fixture, o domain.Order) error
	}
	resolve := func(outcome domain.PaymentOutcome) func(f *fixture, o domain.Order) error {
		return func(f *fixture, o domain.Order) error {
			_, _, err := f.ledger.Resolve(f.Ctx, 0, []domain.Resolution{{Attempt: 1, Ref: ref("e1", "o"), Order: o, Outcome: outcome}})
			return err
		}
	}
	parties := []party{
		{"approve", resolve(domain.PaymentApproved)},
		{"decline", resolve(domain.PaymentDeclined)},
		{"cancel", func(f *fixture, _ domain.Order) error {
			return f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "o")}})
		}},
		{"expire", func(f *fixture, o domain.Order) error {
			expire := func(domain.Event) domain.Command { return domain.Expire{} }
			return f.ledger.changeOrders(f.Ctx, 0, []domain.OrderRef{ref("e1", "o")}, o.DeadlineMillis, nil, expire, func(domain.OrderRef, domain.Order) {})
		}},
		{"cancel the event", func(f *fixture, _ domain.Order) error { return f.cancelEvent("e1") }},
	}
	ends := map[string]string{ // of the first; the second may only cancel what is confirmed
		"approve": "confirmed", "decline": "declined", "cancel": "cancelled", "expire": "expired", "cancel the event": "cancelled",
	}
	for _, first := range parties {
		for _, second := range parties {
			for _, millis := range []int64{0, holdMillis} {
				if millis > 0 && (first.name == "expire" || second.name == "expire") || millis == 0 && (first.name == "approve" || second.name == "approve") {
					continue
				}
				t.Run(first.name+" before "+second.name, func(t *testing.T) {
					f := newFixture(t)
					f.list("e1", terms(10))
					f.held("e1", "o", "fred", 2, millis)
					f.held("e1", "beside", "mary", 1, holdMillis)
					o := f.order("e1", "o")
					slow, hook := f.another(t)
					hook.once("move", func() { f.Must(first.do(f, o)) })
					f.Must(second.do(slow, o))
					var happened []string
					facts, _ := f.facts()
					for _, fact := range facts {
						if fact.OrderID == "o" && fact.Type != domain.FactHeld {
							happened = append(happened, string(fact.Type))
						}
					}
					want := []string{ends[first.name]}
					if first.name == "approve" && strings.HasPrefix(second.name, "cancel") {
						want = append(want, "cancelled")
					}
					if !slices.Equal(happened, want) {
						t.Errorf("it was %v, want %v", happened, want)
					}
					f.wantLogFolds()
				})
			}
		}
	}
}

// TestMoveInAStorm: while others change all orders of a batch again and again, it falls apart into halves, and ends:
// with what it can do, or with an error that names an order. An order that is not touched does not wait for those that are.
func TestMoveInAStorm(t *testing.T) {
	const items = 8
	for name, test := range map[string]struct {
		touched func(i, call int) bool
		most    int // calls
		done    []int
		failing string
	}{
		"no storm":             {func(int, int) bool { return false }, 1, []int{0, 1, 2, 3, 4, 5, 6, 7}, ""},
		"one gust":             {func(_, call int) bool { return call == 0 }, 2, []int{0, 1, 2, 3, 4, 5, 6, 7}, ""},
		"some gusts":           {func(_, call int) bool { return call < 5 }, 20, []int{0, 1, 2, 3, 4, 5, 6, 7}, ""},
		"for ever":             {func(int, int) bool { return true }, 6 + mostMoves, nil, "e1/o0"},
		"one of them for ever": {func(i, _ int) bool { return i == 5 }, 2 + 1 + 2 + 1 + mostMoves + 2, []int{0, 1, 2, 3, 4}, "e1/o5"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.list("e1", terms(items))
			var batch []domain.Cancellation
			for i := range items {
				f.held("e1", fmt.Sprintf("o%d", i), fmt.Sprintf("c%d", i), 1, holdMillis)
				batch = append(batch, domain.Cancellation{Ref: ref("e1", fmt.Sprintf("o%d", i))})
			}
			other, hook := f.another(t)
			calls := 0
			var sizes []int
			hook.do = func(script string, args []string) {
				if script != "move" {
					return
				}
				orders := 0
				for i := range items {
					name := fmt.Sprintf("e1/o%d", i)
					if !slices.Contains(args, name) {
						continue
					}
					orders++
					if test.touched(i, calls) { // it is written anew, and says the same
						_, rest, _ := strings.Cut(f.record("e1", name[3:]), "|")
						f.setRecord("e1", name[3:], fmt.Sprintf("%d-%d|%s", f.Now(), 1000+calls, rest)) // another version, also within the millisecond in which it was held
					}
				}
				calls++
				sizes = append(sizes, orders)
			}
			err := other.ledger.Cancel(f.Ctx, 0, batch)
			if (err != nil) != (test.failing != "") || err != nil && (domain.ClassOf(err) != domain.ClassRetry || domain.CodeOf(err) != domain.CodeConflict || !strings.Contains(err.Error(), test.failing+":")) {
				t.Errorf("%v, want one about %q", err, test.failing)
			}
			for i := range items {
				if cancelled := f.order("e1", fmt.Sprintf("o%d", i)).State == domain.OrderCancelled; cancelled != slices.Contains(test.done, i) {
					t.Errorf("o%d is cancelled: %t", i, cancelled)
				}
			}
			if calls > test.most {
				t.Errorf("it took %d calls of %v orders, want at most %d", calls, sizes, test.most)
			}
			if got := f.section("e1", "general"); got != [3]int64{int64(len(test.done)), int64(items - len(test.done)), 0} {
				t.Errorf("available, held, sold: %v", got)
			}
		})
	}
}

// membersOf are the orders of a call of hold.lua or move.lua: those of its arguments that name one of these.
func membersOf(args []string, refs map[string]bool) (members []string) {
	for _, arg := range args {
		if refs[arg] {
			members = append(members, arg)
		}
	}
	return members
}

// TestEachOrderOnceACall: whatever is in a batch, and whoever changes orders meanwhile, no call of a script has one
// order twice, none has too many, and the entries about one order take effect in their order.
func TestEachOrderOnceACall(t *testing.T) {
	f := newFixture(t)
	other, hook := f.another(t)
	events := 0
	rapid.Check(t, func(rt *rapid.T) {
		events++
		event := "e" + strconv.Itoa(events)
		f.list(event, terms(1000))
		refs := make(map[string]bool)
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,3}`), 1, 6, rapid.ID).Draw(rt, "orders")
		for _, order := range names {
			refs[event+"/"+order] = true
		}
		storms := rapid.IntRange(0, 3).Draw(rt, "storms")
		hook.do = func(script string, args []string) {
			if script != "hold" && script != "move" {
				return
			}
			members := membersOf(args, refs)
			if len(members) == 0 {
				rt.Fatalf("%s is called with none of the orders: %q", script, args)
			}
			seen := slices.Clone(members)
			slices.Sort(seen)
			if len(slices.Compact(seen)) != len(members) || len(members) > access.MaxBatch {
				rt.Errorf("%s is called with %v", script, members)
			}
			if storms--; script == "move" && storms >= 0 {
				f.cancel(event, members[0][len(event)+1:])
			}
		}
		defer func() { hook.do = nil }()
		for range rapid.IntRange(1, 4).Draw(rt, "batches") {
			picked := rapid.SliceOfN(rapid.SampledFrom(names), 1, 12).Draw(rt, "picked")
			switch rapid.SampledFrom([]string{"hold", "resolve", "cancel"}).Draw(rt, "what") {
			case "hold":
				var requests [][]string
				for i, order := range picked {
					kind := rapid.SampledFrom([]string{"purchase", "hold", "pay", "other"}).Draw(rt, "kind")
					switch kind {
					case "pay":
						requests = append(requests, request("pay", event, order))
					case "other":
						requests = append(requests, purchase(event, order, "other"+strconv.Itoa(i), 2))
					default:
						requests = append(requests, request(kind, event, order, "customer_id", "customer-of-"+order, "quantity", "1")) // a name that no order has: a call names customers as well
					}
				}
				batch := f.arrive(requests...)
				replies, _, err := other.ledger.Hold(f.Ctx, 0, batch)
				if err != nil {
					rt.Fatal(err)
				}
				opened := make(map[string]string) // by order: the fingerprint of the first request that opens it
				for i, r := range replies {
					order := batch[i].Request.OrderID
					if r.Order.Fingerprint != "" && opened[order] != "" && r.Order.Fingerprint != opened[order] {
						rt.Errorf("%s was opened by another request", order)
					}
					if r.Order.Fingerprint != "" {
						opened[order] = r.Order.Fingerprint
					}
				}
			case "resolve":
				var batch []domain.Resolution
				for _, order := range picked {
					outcome := domain.PaymentOutcome(rapid.IntRange(0, 3).Draw(rt, "outcome"))
					batch = append(batch, domain.Resolution{Attempt: 1, Ref: ref(event, order), Order: f.order(event, order), Outcome: outcome, AuthorizationID: "a"})
				}
				if _, _, err := other.ledger.Resolve(f.Ctx, 0, batch); err != nil {
					rt.Fatal(err)
				}
			case "cancel":
				var batch []domain.Cancellation
				for _, order := range picked {
					batch = append(batch, domain.Cancellation{Ref: ref(event, order)})
				}
				if err := other.ledger.Cancel(f.Ctx, 0, batch); err != nil {
					rt.Fatal(err)
				}
			}
		}
	})
	f.wantLogFolds()
}

// TestWhatOnlyTheScriptTakesIn: an order that was there a moment ago, and is lost since, is not taken for one of an event
// that nobody knows: nothing is decided about its request but that it is to come again.
func TestWhatOnlyTheScriptTakesIn(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	batch := f.arrive(purchase("e1", "o1", "fred", 1))
	before := f.Dump()
	replies := make([]domain.Reply, 1)
	if _, err := f.ledger.decide(f.Ctx, 0, batch, []int{0}, replies); err != nil || replies[0].Verdict != domain.VerdictWait {
		t.Errorf("%+v, %v, want it to wait", replies[0], err)
	}
	f.WantSame(before)
	if replies, _ = f.holdBatch(batch...); replies[0].Verdict != domain.VerdictAuthorize {
		t.Errorf("when it comes again: %+v", replies[0])
	}
}

// TestRoundTrips: what a batch of one customer's requests takes is bounded, however many there are.
func TestRoundTrips(t *testing.T) {
	const items = 120
	f := newFixture(t)
	f.list("e1", terms(items))
	other, hook := f.another(t)
	calls := 0
	hook.do = func(string, []string) { calls++ }
	want := func(what string, most int) {
		t.Helper()
		if calls > most {
			t.Errorf("%s took %d calls, want at most %d", what, calls, most)
		}
		calls = 0
	}
	var requests [][]string
	for i := range items {
		requests = append(requests, purchase("e1", "o"+strconv.Itoa(i), "fred", 1))
	}
	other.holdBatch(f.arrive(requests...)...)
	want("his orders, of which one is held", 1)
	other.holdBatch(f.arrive(requests...)...)
	want("all of them again", 2)
	var cancels []domain.Cancellation
	for _, in := range f.arrive(slices.Repeat([][]string{request("cancel", "e1", "o0")}, items)...) {
		cancels = append(cancels, domain.Cancellation{EntryID: in.EntryID, Ref: ref("e1", "o0")})
	}
	f.Must(other.ledger.Cancel(f.Ctx, 0, cancels))
	want("a cancel again and again", 2)
	copies := f.arrive(slices.Repeat([][]string{request("hold", "e1", "again", "customer_id", "amy")}, items)...)
	other.holdBatch(copies...)
	want("a hold again and again", 2)
	if pending := f.Pending(domain.GroupWorkers); len(pending) != 2 { // the purchase that is to be paid, and its copy
		t.Errorf("%d entries are left", len(pending))
	}
}

// TestScriptsReadThenWrite: a script writes nothing before it has read all that it decides by. What takes work in begins
// with a write that a full memory refuses, what finishes it with one that is not refused; entries are acknowledged last.
func TestScriptsReadThenWrite(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	watched := func(do func()) (commands []string) {
		t.Helper()
		conn, err := net.Dial("tcp", f.store.endpoint.url.Host)
		f.Must(err)
		defer func() { _ = conn.Close() }()
		lines := bufio.NewScanner(conn)
		_, err = conn.Write([]byte("MONITOR\r\n"))
		f.Must(err)
		if !lines.Scan() || lines.Text() != "+OK" {
			t.Fatalf("monitoring: %q", lines.Text())
		}
		do()
		f.Do("ECHO", "enough")
		for lines.Scan() && !strings.Contains(lines.Text(), `"ECHO"`) && !strings.Contains(lines.Text(), `"echo"`) {
			if _, command, is := strings.Cut(lines.Text(), " lua] \""); is {
				command, _, _ = strings.Cut(command, "\"")
				commands = append(commands, strings.ToUpper(command))
			}
		}
		return commands
	}
	writes := []string{"XADD", "HSET", "HDEL", "ZADD", "ZREM", "XACK"}
	a := f.arrive(purchase("e1", "o1", "fred", 1), hold("e1", "o2", "mary", 1), purchase("e1", "o3", "mary", 1))
	var order domain.Order
	for _, test := range []struct {
		name  string
		first string // write
		last  string
		do    func()
	}{
		{"hold", "XADD", "XACK", func() { f.holdBatch(a...) }},
		{"confirm", "HDEL", "XACK", func() {
			f.resolve(domain.Resolution{Attempt: 1, EntryID: a[0].EntryID, Ref: ref("e1", "o1"), Order: order, Outcome: domain.PaymentApproved})
		}},
		{"cancel", "HDEL", "XACK", func() {
			id := f.arrive(request("cancel", "e1", "o2"))[0].EntryID
			f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{EntryID: id, Ref: ref("e1", "o2")}, {Ref: ref("e1", "unseen")}}))
		}},
		{"list", "XADD", "HSET", func() { f.list("e2", terms(1)) }},
		{"adjust", "XADD", "HSET", func() { f.rename("e2") }},
		{"close", "HDEL", "HSET", func() { f.close("e2") }},
		{"owe", "ZREM", "XACK", func() {
			f.Deliver(domain.GroupSettlement, "w1")
			f.owe("confirmed", "e1", "o1", false)
		}},
		{"take what is owed", "ZREM", "ZADD", func() { f.takeOwed(1) }},
		{"settle what is owed", "ZREM", "HDEL", func() {
			f.Must(f.ledger.OwedSettled(f.Ctx, 0, domain.Owed{Ref: ref("e1", "o1"), FactID: f.factOf("confirmed", "e1", "o1").ID, Attempts: 2, Reason: "busy"}))
		}},
	} {
		order = f.order("e1", "o1")
		commands := watched(test.do)
		first := slices.IndexFunc(commands, func(c string) bool { return slices.Contains(writes, c) })
		if first < 0 {
			t.Errorf("%s: %v", test.name, commands)
			continue
		}
		for _, c := range commands[first:] {
			if !slices.Contains(writes, c) && c != "PUBSUB" && c != "PUBLISH" {
				t.Errorf("%s reads behind its first write: %v", test.name, commands)
			}
		}
		written := slices.DeleteFunc(slices.Clone(commands[first:]), func(c string) bool { return !slices.Contains(writes, c) })
		if written[0] != test.first || written[len(written)-1] != test.last || slices.Contains(written[:len(written)-1], "XACK") {
			t.Errorf("%s writes %v, want %s first and %s last", test.name, written, test.first, test.last)
		}
	}
	f.wantSales("e1", inspect.Totals{Orders: 1, TicketsSold: 1, Revenue: 1000})
}
