package streams

import (
	"fmt"
	"slices"
	"testing"

	"holdfast/domain"
	"holdfast/streams/inspect"
)

// back is a partial cancel, to a change, as they stand in the stream.
func back(order string, number int, items string) []string {
	return changing("cancel", order, number, items)
}

func to(order string, number int, items string) []string {
	return changing("change", order, number, items)
}

func changing(kind, order string, number int, items string) []string {
	return []string{"v", "2", "type", kind, "event_id", "e1", "order_id", order, "change", fmt.Sprint(number), "items", items}
}

// alter brings requests, and returns what became of the last one: its verdict, and why it was refused.
func (f *fixture) alter(requests ...[]string) string {
	f.Helper()
	batch := f.arrive(requests...)
	replies, _ := f.holdBatch(batch...)
	last := replies[len(replies)-1]
	said := last.Verdict.String()
	if r := &batch[len(batch)-1].Request; r.Changes() && last.Order.Change == r.Change && last.Order.ChangeRefusal != "" {
		said += " " + last.Order.ChangeRefusal
		if last.Order.ChangeDetail != "" {
			said += " " + last.Order.ChangeDetail
		}
	}
	if order := f.order(batch[len(batch)-1].Request.EventID, batch[len(batch)-1].Request.OrderID); order != last.Order {
		f.Errorf("told of\n%+v\nstored is\n%+v", last.Order, order)
	}
	return said
}

// heldOf makes a held order of an event by a hold, of whatever items.
func (f *fixture) heldOf(order, customer, items string) {
	f.Helper()
	fields := []string{"v", "2", "type", "hold", "event_id", "e1", "order_id", order, "customer_id", customer, "items", items}
	if f.alter(fields); f.order("e1", order).State != domain.OrderHeld {
		f.Fatalf("%s is %+v", order, f.order("e1", order))
	}
}

// confirmedOf makes a confirmed one.
func (f *fixture) confirmedOf(order, customer, items string) {
	f.Helper()
	f.alter([]string{"v", "2", "type", "purchase", "event_id", "e1", "order_id", order, "customer_id", customer, "items", items, "payment_token", "tok"})
	f.resolveAs(order, domain.PaymentApproved)
	if o := f.order("e1", order); o.State != domain.OrderConfirmed {
		f.Fatalf("confirming %s: %+v", order, o)
	}
}

// resolveAs brings an answer about an order's first attempt.
func (f *fixture) resolveAs(order string, outcome domain.PaymentOutcome) {
	f.Helper()
	f.resolve(domain.Resolution{Ref: ref("e1", order), Attempt: 1, Outcome: outcome, AuthorizationID: "auth_" + order})
}

func (f *fixture) wantOrder(order string, items domain.Items, owed int64) {
	f.Helper()
	if o := f.order("e1", order); o.Items != items || o.RefundTotal() != owed {
		f.Errorf("%s has %s, and %d is owed; want %s, %d", order, o.Items, o.RefundTotal(), items, owed)
	}
}

func (f *fixture) wantAlter(want string, requests ...[]string) {
	f.Helper()
	if got := f.alter(requests...); got != want {
		f.Errorf("%v: %s, want %s", requests[len(requests)-1], got, want)
	}
}

// TestPartialCancel: some places come back, once for each number, and inventory, sales and what is owed go with them.
func TestPartialCancel(t *testing.T) {
	f := newFixture(t)
	f.list("e1", hall(func(t *domain.Terms) { t.MaxPerCustomer = 9 }))
	f.confirmedOf("o1", "fred", `[{"section":"general","quantity":3},{"section":"stalls","seats":["A-1","A-2"]}]`)
	one := back("o1", 1, `[{"section":"general","quantity":1},{"section":"stalls","seats":["A-2"]}]`)
	before := f.order("e1", "o1").Version
	f.wantAlter("done", one)
	f.wantFact("reduced", "e1/o1", "1|"+f.order("e1", "o1").ChangeFingerprint+"|"+before+"|confirmed|fred|general:1:1000,stalls:1:4500:2|EUR")
	after := func() {
		t.Helper()
		f.wantOrder("o1", "general:2:1000,stalls:1:4500:1", 5500)
		f.wantSales("e1", inspect.Totals{Orders: 1, TicketsSold: 3, Revenue: 6500})
		if general, stalls := f.section("e1", "general"), f.places("e1", "stalls"); general != [3]int64{8, 0, 2} || stalls != "+... ../......" {
			t.Errorf("%v, %s", general, stalls)
		}
		if places := f.placesOf("e1/fred"); places != "3" {
			t.Errorf("fred has %s places", places)
		}
	}
	after()
	facts, _ := f.facts()
	f.wantAlter("done", one)
	f.wantAlter("conflict", back("o1", 1, `[{"section":"general","quantity":1}]`))
	f.wantAlter("conflict", to("o1", 1, `[{"section":"general","quantity":1}]`))
	f.wantAlter("change_pending", back("o1", 3, `[{"section":"general","quantity":1}]`))
	if now, _ := f.facts(); len(now) != len(facts) {
		t.Errorf("facts: %v", now[len(facts):])
	}
	after()

	f.wantAlter("done not_in_order stalls: A-2", back("o1", 2, `[{"section":"general","quantity":1},{"section":"stalls","seats":["A-2"]}]`))
	after()
	f.wantAlter("done not_in_order stalls: A-2", back("o1", 2, `[{"section":"general","quantity":1},{"section":"stalls","seats":["A-2"]}]`))
	// Several numbers at once, and again.
	f.wantAlter("done", back("o1", 3, `[{"section":"general","quantity":1}]`), back("o1", 3, `[{"section":"general","quantity":1}]`), back("o1", 4, `[{"section":"stalls","seats":["A-1"]}]`), back("o1", 3, `[{"section":"general","quantity":1}]`))
	f.wantOrder("o1", "general:1:1000", 11000)
	// What is left is everything.
	f.wantAlter("done", back("o1", 5, `[{"section":"general","quantity":1}]`))
	f.wantFact("cancelled", "e1/o1", fmt.Sprintf("requested|confirmed|fred|general:1:1000|EUR|%d", f.order("e1", "o1").ConfirmedAtMillis))
	f.wantOrder("o1", "general:1:1000", 12000)
	f.wantSales("e1", inspect.Totals{})
	f.wantAlter("done", back("o1", 5, `[{"section":"general","quantity":1}]`))
	facts, err := f.inspector.History(f.Ctx, ref("e1", "o1"), f.order("e1", "o1"))
	f.Must(err)
	var history []domain.FactType
	for _, fact := range facts {
		history = append(history, fact.Type)
	}
	if want := []domain.FactType{"held", "confirmed", "reduced", "change_refused", "reduced", "reduced", "cancelled"}; !slices.Equal(history, want) {
		t.Errorf("history: %v, want %v", history, want)
	}
	if f.placesOf("e1/fred") != "" || f.places("e1", "stalls") != ".... ../......" {
		t.Errorf("fred has %s places, stalls are %s", f.placesOf("e1/fred"), f.places("e1", "stalls"))
	}
	f.wantLogFolds()
}

// placesOf is how many a customer has, as it is stored.
func (f *fixture) placesOf(customer string) string {
	f.Helper()
	for _, key := range f.Do("KEYS", f.Keys.CustomersPrefix(0)+"*").([]any) {
		if n, _ := f.Do("HGET", key, customer).(string); n != "" {
			return n
		}
	}
	return ""
}

// TestRefunds: what an organiser keeps, and gives back beside, is in the record, once for each number.
func TestRefunds(t *testing.T) {
	f := newFixture(t)
	f.list("e1", hall())
	refund := func(order string, number int, more ...string) []string {
		return append([]string{"v", "2", "type", "refund", "event_id", "e1", "order_id", order, "change", fmt.Sprint(number), "by", "ann"}, more...)
	}
	keep := func(order string) {
		t.Helper()
		f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", order), NoRefund: true, Cause: domain.Cause{Reason: "no show", By: "ann"}}}))
	}
	f.confirmedOf("o1", "fred", `[{"section":"general","quantity":3},{"section":"stalls","seats":["A-1","A-2"]}]`) // 12000
	one := refund("o1", 1, "items", `[{"section":"stalls","seats":["A-2"]}]`)
	before := f.order("e1", "o1").Version
	f.wantAlter("done", one)
	f.wantFact("refund_granted", "e1/o1", "1|"+f.order("e1", "o1").ChangeFingerprint+"|"+before+`|fred|stalls:1:4500:2|EUR|4500|{"by":"ann"}`)
	f.wantAlter("done", one)
	f.wantAlter("conflict", refund("o1", 1, "amount", "4500"))
	f.wantAlter("done more_than_paid 7501 of 7500", refund("o1", 2, "amount", "7501"))
	f.wantOrder("o1", "general:3:1000,stalls:2:4500:1-2", 4500)
	f.wantSales("e1", inspect.Totals{Orders: 1, TicketsSold: 5, Revenue: 12000}) // what its places cost
	before = f.order("e1", "o1").Version
	f.wantAlter("done", append(back("o1", 3, `[{"section":"general","quantity":1}]`), "refund", "false", "reason", "too late"))
	f.wantFact("reduced", "e1/o1", "3|"+f.order("e1", "o1").ChangeFingerprint+"|"+before+`|confirmed|fred|general:1:1000|EUR|{"reason":"too late","no_refund":true}`)
	f.wantOrder("o1", "general:2:1000,stalls:2:4500:1-2", 4500)
	f.wantAlter("done", back("o1", 4, `[{"section":"general","quantity":1}]`))
	f.wantOrder("o1", "general:1:1000,stalls:2:4500:1-2", 5500)
	keep("o1")
	confirmedAt := f.order("e1", "o1").ConfirmedAtMillis
	f.wantFact("cancelled", "e1/o1", fmt.Sprintf(`requested|confirmed|fred|general:1:1000,stalls:2:4500:1-2|EUR|%d|{"reason":"no show","by":"ann","no_refund":true}`, confirmedAt))
	f.wantOrder("o1", "general:1:1000,stalls:2:4500:1-2", 5500)
	f.wantSales("e1", inspect.Totals{})
	if got := f.places("e1", "stalls"); got != ".... ../......" {
		t.Errorf("stalls: %s", got)
	}
	f.cancel("e1", "o1") // is cancelled already, and its money stays
	f.wantOrder("o1", "general:1:1000,stalls:2:4500:1-2", 5500)
	f.wantAlter("done", refund("o1", 5, "amount", "6500"))
	f.wantOrder("o1", "general:1:1000,stalls:2:4500:1-2", 12000)
	f.wantAlter("done more_than_paid 1 of 0", refund("o1", 6, "amount", "1"))

	// What was to be kept cannot be captured: then nothing is.
	f.confirmedOf("o2", "mary", `[{"section":"general","quantity":2}]`)
	keep("o2")
	f.wantOrder("o2", "general:2:1000", 0)
	failed := []domain.Cancellation{{Ref: ref("e1", "o2"), Version: f.order("e1", "o2").Version}}
	f.Must(f.ledger.CaptureFailed(f.Ctx, 0, failed))
	f.wantOrder("o2", "general:2:1000", 2000)
	if o := f.order("e1", "o2"); o.Reason != domain.ReasonCaptureFailed || f.section("e1", "general") != [3]int64{10, 0, 0} {
		t.Errorf("%+v, %v", o, f.section("e1", "general"))
	}
	facts, _ := f.facts()
	f.Must(f.ledger.CaptureFailed(f.Ctx, 0, failed))
	if now, _ := f.facts(); len(now) != len(facts) {
		t.Errorf("facts: %v", now[len(facts):])
	}
	f.heldOf("o3", "jane", `[{"section":"general","quantity":1}]`)
	f.wantAlter("done not_paid", refund("o3", 1, "amount", "1"))
	f.wantLogFolds()
}

// TestExchange: an order moves in one step, or not at all.
func TestExchange(t *testing.T) {
	f := newFixture(t)
	f.list("e1", hall(func(t *domain.Terms) {
		t.MaxPerCustomer, t.Sections[1].Price = 6, 1000
	}))
	f.confirmedOf("o1", "fred", `[{"section":"stalls","seats":["A-1","A-2"]},{"section":"general","quantity":1}]`)
	f.heldOf("o2", "mary", `[{"section":"stalls","seats":["A-4"]}]`)
	f.wantAlter("done seat_taken stalls: A-4", to("o1", 1, `[{"section":"stalls","seats":["A-3","A-4"]},{"section":"general","quantity":1}]`))
	f.wantOrder("o1", "general:1:1000,stalls:2:1000:1-2", 0)
	if got := f.places("e1", "stalls"); got != "++.- ../......" {
		t.Errorf("stalls: %s", got)
	}
	exchange := to("o1", 2, `[{"section":"stalls","seats":["A-2","A-3","B-1"]}]`)
	before := f.order("e1", "o1").Version
	f.wantAlter("done", exchange)
	f.wantFact("changed", "e1/o1", "2|"+f.order("e1", "o1").ChangeFingerprint+"|"+before+"|confirmed|fred|general:1:1000,stalls:1:1000:1|EUR|stalls:2:1000:3.9")
	after := func() {
		t.Helper()
		f.wantOrder("o1", "stalls:3:1000:2-3.9", 0)
		f.wantSales("e1", inspect.Totals{Orders: 1, TicketsSold: 3, Revenue: 3000})
		if general, stalls := f.section("e1", "general"), f.places("e1", "stalls"); general != [3]int64{10, 0, 0} || stalls != ".++- ../+....." {
			t.Errorf("%v, %s", general, stalls)
		}
	}
	after()
	f.wantAlter("done", exchange)
	after()
	f.wantAlter("done", to("o1", 3, `[{"section":"general","quantity":2}]`))
	f.wantOrder("o1", "general:2:1000", 1000)
	f.wantSales("e1", inspect.Totals{Orders: 1, TicketsSold: 2, Revenue: 2000})
	// A held one may grow, up to the limit of its customer, and is still held until then.
	deadline := f.order("e1", "o2").DeadlineMillis
	f.wantAlter("done", to("o2", 1, `[{"section":"general","quantity":6}]`))
	f.wantAlter("done over_customer_limit", to("o2", 2, `[{"section":"general","quantity":7}]`))
	if o := f.order("e1", "o2"); o.State != domain.OrderHeld || o.DeadlineMillis != deadline || f.placesOf("e1/mary") != "6" || f.section("e1", "general") != [3]int64{2, 6, 2} {
		t.Errorf("%+v, %s places, %v", o, f.placesOf("e1/mary"), f.section("e1", "general"))
	}
	f.heldOf("o3", "jane", `[{"section":"general","quantity":2}]`)
	f.wantAlter("done sold_out general", to("o3", 1, `[{"section":"general","quantity":3},{"section":"stalls","seats":["B-5"]}]`))
	// In one batch: what one has given, the next one can take.
	f.wantAlter("done", to("o2", 3, `[{"section":"general","quantity":5},{"section":"stalls","seats":["B-6"]}]`), to("o3", 2, `[{"section":"general","quantity":3}]`))
	f.wantLogFolds()
}

// TestExchangeAndOthers: others do something between the look at an event and the step; then it is decided anew.
func TestExchangeAndOthers(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*domain.Terms)
		meets  func(f *fixture)
		want   string
		items  domain.Items
		stalls string
	}{
		{"nothing", nil, func(*fixture) {}, "done", "general:1:1000,stalls:1:1000:3", "..+. ../......"},
		{"the seat is taken", nil, func(f *fixture) { f.heldOf("x", "eve", `[{"section":"stalls","seats":["A-3"]}]`) }, "done seat_taken stalls: A-3", "general:1:1000,stalls:1:1000:1", "+.-. ../......"},
		{"another seat is taken", nil, func(f *fixture) { f.heldOf("x", "eve", `[{"section":"stalls","seats":["A-4"]}]`) }, "done", "general:1:1000,stalls:1:1000:3", "..+- ../......"},
		{
			"another seat is taken, so that one is left alone",
			func(t *domain.Terms) { t.NoOrphans, t.Sections[1] = true, seatedSection("stalls", "A:1-6,B:1-6") },
			func(f *fixture) { f.heldOf("x", "eve", `[{"section":"stalls","seats":["A-5","A-6"]}]`) },
			"done would_leave_orphan stalls: A-4", "general:1:1000,stalls:1:1000:1", "+...--/......",
		},
		{"the order is cancelled", nil, func(f *fixture) {
			f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "o1")}}))
		}, "done", "general:1:1000,stalls:1:1000:1", ".... ../......"},
		{"it is done by another", nil, func(f *fixture) {
			f.wantAlter("done", to("o1", 1, `[{"section":"stalls","seats":["A-3"]},{"section":"general","quantity":1}]`))
		}, "done", "general:1:1000,stalls:1:1000:3", "..+. ../......"},
		{"another one has its number", nil, func(f *fixture) {
			f.wantAlter("done", back("o1", 1, `[{"section":"stalls","seats":["A-1"]}]`))
		}, "conflict", "general:1:1000", ".... ../......"},
		{"the event is cancelled", nil, func(f *fixture) {
			_, err := f.events.change(f.Ctx, "e1", func(e domain.Event) (*domain.Fact, error) {
				return domain.CancelEvent(e, "e1", domain.Cause{Reason: "fire", By: "ann"})
			})
			f.Must(err)
		}, "done event_cancelled", "general:1:1000,stalls:1:1000:1", "+... ../......"},
		{"the event has another name", nil, func(f *fixture) {
			_, err := f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) {
				t.Name = "Another Evening"
				return t, nil
			})
			f.Must(err)
		}, "done", "general:1:1000,stalls:1:1000:3", "..+. ../......"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.list("e1", hall(func(t *domain.Terms) {
				if test.change != nil {
					test.change(t)
				}
				t.Sections[1].Price = 1000
			}))
			f.confirmedOf("o1", "fred", `[{"section":"stalls","seats":["A-1"]},{"section":"general","quantity":1}]`)
			other, hook := f.another(t)
			hook.once("move", func() { test.meets(f) })
			other.wantAlter(test.want, to("o1", 1, `[{"section":"stalls","seats":["A-3"]},{"section":"general","quantity":1}]`))
			if o := f.order("e1", "o1"); o.Items != test.items || f.places("e1", "stalls") != test.stalls {
				t.Errorf("%s, %s, want %s, %s", o.Items, f.places("e1", "stalls"), test.items, test.stalls)
			}
			f.wantLogFolds()
		})
	}
}

// TestExchangeForTheBestSeats: seats that are not named are the best ones when they are taken, for whoever takes what they were to be in between.
func TestExchangeForTheBestSeats(t *testing.T) {
	f := newFixture(t)
	f.list("e1", hall(func(t *domain.Terms) { t.Sections[1].Price = 1000 }))
	f.confirmedOf("o1", "fred", `[{"section":"general","quantity":3}]`)
	other, hook := f.another(t)
	hook.once("move", func() { f.heldOf("x", "eve", `[{"section":"stalls","seats":["A-2"]}]`) })
	other.wantAlter("done", to("o1", 1, `[{"section":"general","quantity":1},{"section":"stalls","quantity":2}]`))
	f.wantOrder("o1", "general:1:1000,stalls:2:1000:3-4", 0)
	f.cancel("e1", "x")
	f.wantAlter("done", to("o1", 2, `[{"section":"stalls","quantity":2},{"section":"general","quantity":1}]`)) // as it has, though there are better ones
	f.wantOrder("o1", "general:1:1000,stalls:2:1000:3-4", 0)
	f.heldOf("y", "bob", `[{"section":"stalls","seats":["A-2","B-3","B-5"]}]`)
	f.wantAlter("done no_adjacent_seats", to("o1", 3, `[{"section":"stalls","quantity":3}]`))
	f.wantAlter("done", to("o1", 4, `[{"section":"stalls","quantity":3,"adjacent":false}]`))
	f.wantOrder("o1", "stalls:3:1000:1.3-4", 0)
	if got := f.places("e1", "stalls"); got != "+-++ ../..-.-." {
		t.Errorf("stalls: %s", got)
	}
	f.cancel("e1", "y")
	f.wantAlter("done", to("o1", 5, `[{"section":"stalls","quantity":3}]`))
	f.wantOrder("o1", "stalls:3:1000:9-11", 0)
	f.wantLogFolds()
}

// TestExchangeOfTheLastPlaces: what others give back in the same batch, and take, is counted as it comes.
func TestExchangeOfTheLastPlaces(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(2, func(t *domain.Terms) {
		t.MaxPerCustomer, t.Sections[1].Price, t.Sections[1].Capacity = 3, 1000, 2
	}))
	f.confirmedOf("o1", "fred", `[{"section":"general","quantity":2}]`)
	f.confirmedOf("o2", "mary", `[{"section":"vip","quantity":2}]`)
	f.wantAlter("done sold_out", to("o1", 1, `[{"section":"vip","quantity":2}]`), to("o2", 1, `[{"section":"general","quantity":2}]`))
	f.wantOrder("o1", "general:2:1000", 0)
	f.wantOrder("o2", "vip:2:1000", 0)
	// One gives, and another takes: in whatever order that is decided, the log has them one after the other.
	f.alter(to("o1", 2, `[{"section":"vip","quantity":1},{"section":"general","quantity":1}]`), back("o2", 2, `[{"section":"vip","quantity":1}]`))
	f.wantLogFolds()
}

// TestExchangeUpToTheLimit: the customer gets more places elsewhere between the look and the step.
func TestExchangeUpToTheLimit(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10, func(t *domain.Terms) { t.MaxPerCustomer = 3 }))
	f.confirmedOf("o1", "jane", `[{"section":"general","quantity":1}]`)
	f.heldOf("o2", "jane", `[{"section":"general","quantity":1}]`)
	other, hook := f.another(t)
	hook.once("move", func() {
		f.alter([]string{"v", "1", "type", "pay", "event_id", "e1", "order_id", "o2", "payment_token", "tok"})
		f.resolveAs("o2", domain.PaymentApproved)
		f.heldOf("o3", "jane", `[{"section":"general","quantity":1}]`)
	})
	other.wantAlter("done costs_more", to("o2", 1, `[{"section":"general","quantity":2}]`))
	hook.once("move", func() {
		f.cancel("e1", "o3")
		f.heldOf("o4", "jane", `[{"section":"general","quantity":1}]`)
	})
	other.wantAlter("done", to("o3", 1, `[{"section":"general","quantity":2}]`))
	if o := f.order("e1", "o3"); o.State != domain.OrderCancelled {
		t.Errorf("%+v", o)
	}
	hook.once("move", func() {
		f.alter(back("o1", 1, `[{"section":"general","quantity":1}]`)) // all of it
	})
	other.wantAlter("done over_customer_limit", to("o4", 1, `[{"section":"general","quantity":2}]`))
	other.wantAlter("done", to("o4", 2, `[{"section":"general","quantity":2}]`))
	if places := f.placesOf("e1/jane"); places != "3" {
		t.Errorf("jane has %s places", places)
	}
	f.wantLogFolds()
}

// TestExchangeUpToTheLimitAtOnce: two orders of a customer grow at once, of which one costs nothing.
func TestExchangeUpToTheLimitAtOnce(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10, func(t *domain.Terms) { t.MaxPerCustomer, t.Sections[1].Price = 3, 0 }))
	f.confirmedOf("o1", "jane", `[{"section":"vip","quantity":1}]`)
	f.heldOf("o2", "jane", `[{"section":"general","quantity":1}]`)
	other, hook := f.another(t)
	hook.once("move", func() { f.wantAlter("done", to("o1", 1, `[{"section":"vip","quantity":2}]`)) })
	other.wantAlter("done over_customer_limit", to("o2", 1, `[{"section":"general","quantity":2}]`))
	if places := f.placesOf("e1/jane"); places != "3" {
		t.Errorf("jane has %s places", places)
	}
	f.wantLogFolds()
}

// TestChangeOfOrdersAsTheyAre: what is being paid, is over, or is not there yet.
func TestChangeOfOrdersAsTheyAre(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(20))
	one := `[{"section":"general","quantity":1}]`
	f.wantAlter("wait", back("o0", 1, one))
	f.held("e1", "o1", "fred", 2, holdMillis)
	f.wantAlter("done payment_pending", back("o1", 1, one))
	f.wantAlter("done payment_pending", to("o1", 2, one))
	// Its payment is for what it was.
	f.resolveAs("o1", domain.PaymentApproved)
	if o := f.order("e1", "o1"); o.State != domain.OrderConfirmed || o.PaidAmount() != 2000 || o.Change != 2 {
		t.Errorf("%+v", o)
	}
	f.wantAlter("done", back("o1", 3, one))
	f.wantOrder("o1", "general:1:1000", 1000)

	f.heldOf("o3", "jane", `[{"section":"general","quantity":3}]`)
	f.wantAlter("done", back("o3", 1, one))
	f.alter([]string{"v", "1", "type", "pay", "event_id", "e1", "order_id", "o3", "payment_token", "tok"})
	f.wantAlter("done payment_pending", to("o3", 2, one))
	f.resolveAs("o3", domain.PaymentDeclined)
	f.wantAlter("done", to("o3", 3, one))
	if o := f.order("e1", "o3"); o.State != domain.OrderHeld || o.PaidAmount() != 1000 || o.Attempt != 1 || o.PayState != domain.PayDeclined {
		t.Errorf("%+v", o)
	}

	short := f.arrive(hold("e1", "o2", "mary", 2))[0]
	short.HoldMillis = 1
	f.holdBatch(short)
	f.WaitUntil(f.order("e1", "o2").DeadlineMillis)
	f.wantAlter("done", back("o2", 1, one))
	if o := f.order("e1", "o2"); o.State != domain.OrderExpired || o.Change != 0 {
		t.Errorf("%+v", o)
	}
	late := f.arrive(to("o1", 4, one))[0]
	late.ValidMillis = -1
	replies, _ := f.holdBatch(late)
	if o := replies[0].Order; o.ChangeRefusal != domain.ReasonTooLate {
		t.Errorf("%+v", o)
	}
	f.wantLogFolds()
}
