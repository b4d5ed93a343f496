package streams

import (
	"context"
	"slices"
	"testing"

	"holdfast/domain"
	"holdfast/streams/inspect"
)

// buying makes an order of a purchase, which is held for so long.
func (f *fixture) buying(order, customer, items string, forMillis int64) {
	f.Helper()
	in := f.arrive([]string{"v", "2", "type", "purchase", "event_id", "e1", "order_id", order, "customer_id", customer, "items", items, "payment_token", "tok"})[0]
	in.HoldMillis = forMillis
	f.holdBatch(in)
}

// lapse makes an order of a purchase that has lapsed.
func (f *fixture) lapse(order, customer, items string) {
	f.Helper()
	f.buying(order, customer, items, 1)
	f.WaitUntil(f.order("e1", order).DeadlineMillis)
	expired, lapsed, err := f.ledger.Expire(f.Ctx, 0, 10)
	f.Must(err)
	if o := f.order("e1", order); expired != 0 || lapsed != 1 || o.State != domain.OrderLapsed || o.LateMillis != 60_000 {
		f.Fatalf("%d expired, %d lapsed: %+v", expired, lapsed, o)
	}
}

// approve brings an approval of an order as it is, and returns what became of it.
func (f *fixture) approve(order string) (is domain.Order, verdict domain.Verdict) {
	f.Helper()
	replies, _ := f.resolve(domain.Resolution{Ref: ref("e1", order), Order: f.order("e1", order), Attempt: 1, Outcome: domain.PaymentApproved, AuthorizationID: "auth_" + order})
	if is = f.order("e1", order); is != replies[0].Order {
		f.Errorf("told of\n%+v\nstored is\n%+v", replies[0].Order, is)
	}
	return is, replies[0].Verdict
}

// dueAt is when an order's time is over, and when it is asked about next; 0: never.
func (f *fixture) dueAt(order string) (due, asked int64) {
	return int64(f.Client.ZScore(f.Ctx, f.Keys.Holds(0), "e1/"+order).Val()), int64(f.Client.ZScore(f.Ctx, f.Keys.Awaited(0), "e1/"+order).Val())
}

// inProgress is the order in progress of a customer.
func (f *fixture) inProgress(customer string) string {
	return f.Client.HGet(f.Ctx, f.Keys.InProgress(0), "e1/"+customer).Val()
}

func lateHall(t *domain.Terms) { t.LateApprovalMillis = 60_000 }

const lateItems = `[{"section":"general","quantity":2},{"section":"stalls","seats":["A-1","A-2"]}]`

// TestLateApproval: an order that lapsed gives its places back, is asked about, and gets them again when its payment is approved.
func TestLateApproval(t *testing.T) {
	f := newFixture(t)
	f.list("e1", hall(lateHall, func(t *domain.Terms) { t.MaxPerCustomer = 8 }))
	f.lapse("o1", "fred", lateItems)
	if general, stalls := f.section("e1", "general"), f.places("e1", "stalls"); general != [3]int64{10, 0, 0} || stalls != ".... ../......" || f.placesOf("e1/fred") != "" {
		t.Errorf("%v, %s, fred has %q", general, stalls, f.placesOf("e1/fred"))
	}
	o := f.order("e1", "o1")
	f.wantFact("lapsed", "e1/o1", "60000")
	if due, asked := f.dueAt("o1"); due != o.DeadlineMillis+60_000 || asked != domain.EntryMillis(o.Version)+1000 {
		t.Errorf("due %d, asked about at %d: %+v", due, asked, o)
	}
	if wait, any, err := f.ledger.UntilDue(f.Ctx, 0); err != nil || !any || wait.Milliseconds() > 60_000 {
		t.Errorf("due in %s, %t, %v", wait, any, err)
	}
	// In the meantime somebody has other places, and the customer changes nothing.
	f.heldOf("o2", "mary", `[{"section":"general","quantity":8}]`)
	f.wantAlter("done lapsed", back("o1", 1, `[{"section":"general","quantity":1}]`))
	if is, verdict := f.approve("o1"); is.State != domain.OrderConfirmed || verdict != domain.VerdictDone || is.ConfirmedAtMillis < o.DeadlineMillis || is.Items != o.Items {
		t.Errorf("%s: %+v", verdict, is)
	}
	if general, stalls := f.section("e1", "general"), f.places("e1", "stalls"); general != [3]int64{0, 8, 2} || stalls != "++.. ../......" || f.placesOf("e1/fred") != "4" {
		t.Errorf("%v, %s, fred has %q", general, stalls, f.placesOf("e1/fred"))
	}
	f.wantSales("e1", inspect.Totals{Orders: 1, TicketsSold: 4, Revenue: 11_000})
	if due, asked := f.dueAt("o1"); due != 0 || asked != 0 {
		t.Errorf("still due %d, asked about at %d", due, asked)
	}
	f.wantLogFolds()
}

// TestLateApprovalAndOthers: others do something between the look at a lapsed order and the step; then it is decided anew.
func TestLateApprovalAndOthers(t *testing.T) {
	for _, test := range []struct {
		name   string
		meets  func(f *fixture)
		state  domain.OrderState
		reason string
	}{
		{"nothing", func(*fixture) {}, domain.OrderConfirmed, ""},
		{"another seat is taken", func(f *fixture) { f.heldOf("x", "eve", `[{"section":"stalls","seats":["A-3"]}]`) }, domain.OrderConfirmed, ""},
		{"a seat is taken", func(f *fixture) { f.heldOf("x", "eve", `[{"section":"stalls","seats":["A-2"]}]`) }, domain.OrderExpired, domain.ReasonSeatTaken},
		{"the last place is taken", func(f *fixture) { f.heldOf("x", "eve", `[{"section":"general","quantity":9}]`) }, domain.OrderExpired, domain.ReasonSoldOut},
		{"its customer has another order", func(f *fixture) { f.heldOf("x", "fred", `[{"section":"general","quantity":1}]`) }, domain.OrderExpired, domain.ReasonInProgress},
		{"its customer has bought others", func(f *fixture) { f.confirmedOf("x", "fred", `[{"section":"general","quantity":1}]`) }, domain.OrderExpired, domain.ReasonOverCustomer},
		{"its event is closed", func(f *fixture) {
			_, err := f.events.Close(f.Ctx, "e1", domain.Cause{})
			f.Must(err)
		}, domain.OrderExpired, domain.ReasonNotOnSale},
		{"it is cancelled", func(f *fixture) {
			f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "o1")}}))
		}, domain.OrderCancelled, domain.ReasonRequested},
		{"it is approved by another", func(f *fixture) { f.approve("o1") }, domain.OrderConfirmed, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.list("e1", hall(lateHall, func(t *domain.Terms) { t.MaxPerCustomer = 9 }, func(t *domain.Terms) {
				if test.reason == domain.ReasonOverCustomer {
					t.MaxPerCustomer = 4
				}
			}))
			f.lapse("o1", "fred", lateItems)
			other, hook := f.another(t)
			hook.once("move", func() { test.meets(f) })
			is, verdict := other.approve("o1")
			if is.State != test.state || is.Reason != test.reason || (verdict == domain.VerdictVoid) != (test.state != domain.OrderConfirmed) {
				t.Errorf("%s: %+v", verdict, is)
			}
			if slot := f.inProgress("fred"); (slot == "x") != (test.reason == domain.ReasonInProgress) {
				t.Errorf("fred has %q in progress", slot)
			}
			f.wantLogFolds()
		})
	}
}

// TestLateApprovalBehindOthers: in one call, what is asked for first frees what is wanted then, also if it is asked of an order of which something
// else was asked before that.
func TestLateApprovalBehindOthers(t *testing.T) {
	free := func(f *fixture, order string) []domain.Resolution {
		o := f.order("e1", order)
		return []domain.Resolution{
			{Ref: ref("e1", order), Order: o, Attempt: 1, Outcome: domain.PaymentActionRequired, AuthorizationID: "auth_" + order},
			{Ref: ref("e1", order), Order: o, Attempt: 1, Outcome: domain.PaymentDeclined},
		}
	}
	for name, test := range map[string]struct{ customer, items string }{
		"the order in progress": {"fred", `[{"section":"general","quantity":1}]`},
		"a seat":                {"eve", `[{"section":"stalls","seats":["A-2"]}]`},
		"the last place":        {"eve", `[{"section":"general","quantity":9}]`},
	} {
		t.Run("late approval, "+name, func(t *testing.T) {
			f := newFixture(t)
			f.list("e1", hall(lateHall))
			f.lapse("o1", "fred", lateItems)
			f.buying("x", test.customer, test.items, holdMillis)
			late := f.order("e1", "o1")
			f.buying("y", "ann", `[{"section":"stalls","seats":["A-3"]}]`, holdMillis)
			replies, _ := f.resolve(append(free(f, "x"),
				domain.Resolution{Ref: ref("e1", "o1"), Order: late, Attempt: 1, Outcome: domain.PaymentApproved, AuthorizationID: "auth_o1"},
				domain.Resolution{Ref: ref("e1", "y"), Order: f.order("e1", "y"), Attempt: 1, Outcome: domain.PaymentApproved, AuthorizationID: "auth_y"},
			)...)
			for i, want := range []domain.OrderState{domain.OrderHeld, domain.OrderDeclined, domain.OrderConfirmed, domain.OrderConfirmed} {
				if replies[i].Order.State != want {
					t.Errorf("%d is %s, want %s: %+v", i, replies[i].Order.State, want, replies[i].Order)
				}
			}
			f.wantLogFolds()
		})
	}
}

// TestLateApprovalBeforeOthers: in one call, what is freed only then is not there yet, however far behind it is.
func TestLateApprovalBeforeOthers(t *testing.T) {
	f := newFixture(t)
	f.list("e1", hall(lateHall))
	f.lapse("o1", "fred", lateItems)
	of := func(order string, outcome domain.PaymentOutcome) domain.Resolution {
		return domain.Resolution{Ref: ref("e1", order), Order: f.order("e1", order), Attempt: 1, Outcome: outcome, AuthorizationID: "auth_" + order}
	}
	f.buying("x", "ann", `[{"section":"stalls","seats":["A-3"]}]`, holdMillis)
	f.buying("y", "eve", `[{"section":"stalls","seats":["A-2"]}]`, holdMillis)
	batch := []domain.Resolution{of("x", domain.PaymentActionRequired), of("x", domain.PaymentDeclined)}
	for _, order := range []string{"a", "b", "c", "d"} {
		f.buying(order, order, `[{"section":"general","quantity":1}]`, holdMillis)
		batch = append(batch, of(order, domain.PaymentApproved))
	}
	batch = slices.Insert(batch, 3, of("o1", domain.PaymentApproved)) // in the first half, behind x
	replies, _ := f.resolve(append(batch, of("y", domain.PaymentDeclined))...)
	if o := replies[3].Order; o.State != domain.OrderExpired || o.Reason != domain.ReasonSeatTaken {
		t.Errorf("%+v", o)
	}
	if o := replies[7].Order; o.State != domain.OrderDeclined {
		t.Errorf("%+v", o)
	}
	f.wantLogFolds()
}

// TestLapsedOrdersEnd: what is not approved in time, or is declined, is over, and leaves the other order of its customer in progress.
func TestLapsedOrdersEnd(t *testing.T) {
	f := newFixture(t)
	f.list("e1", hall(lateHall))
	for i, end := range []func(order string){
		func(order string) { f.resolveAs(order, domain.PaymentDeclined) },
		func(order string) { f.cancel("e1", order) },
		func(order string) {
			_, err := f.events.Cancel(context.Background(), "e1", domain.Cause{Reason: "fire", By: "ann"}, nil)
			f.Must(err)
		},
	} {
		order := string(rune('a' + i))
		f.lapse(order, "fred", `[{"section":"general","quantity":1}]`)
		f.heldOf("held-"+order, "fred", `[{"section":"general","quantity":1}]`)
		end(order)
		if due, asked := f.dueAt(order); !f.order("e1", order).State.Terminal() || due != 0 || asked != 0 {
			t.Errorf("due %d, asked about at %d: %+v", due, asked, f.order("e1", order))
		}
		if i < 2 {
			if slot := f.inProgress("fred"); slot != "held-"+order {
				t.Errorf("fred has %q in progress", slot)
			}
			f.cancel("e1", "held-"+order)
		}
	}
	f.wantLogFolds()
}

// TestLateIsOver: what is not approved in time is expired, once its event's time for that is over; at once, if it has none.
func TestLateIsOver(t *testing.T) {
	for _, late := range []int64{0, 5} {
		f := newFixture(t)
		f.list("e1", hall(func(t *domain.Terms) { t.LateApprovalMillis = late }))
		in := f.arrive([]string{"v", "2", "type", "purchase", "event_id", "e1", "order_id", "o1", "customer_id", "fred", "items", lateItems, "payment_token", "tok"})[0]
		in.HoldMillis = 1
		f.holdBatch(in)
		deadline := f.order("e1", "o1").DeadlineMillis
		f.WaitUntil(deadline)
		expired, lapsed, err := f.ledger.Expire(f.Ctx, 0, 10)
		f.Must(err)
		if late > 0 {
			if expired != 0 || lapsed != 1 {
				t.Errorf("for %d ms: %d expired, %d lapsed", late, expired, lapsed)
			}
			f.WaitUntil(deadline + late)
			expired, lapsed, err = f.ledger.Expire(f.Ctx, 0, 10)
			f.Must(err)
		}
		if due, asked := f.dueAt("o1"); expired != 1 || lapsed != 0 || due != 0 || asked != 0 {
			t.Errorf("for %d ms: %d expired, %d lapsed; due %d, asked about at %d: %+v", late, expired, lapsed, due, asked, f.order("e1", "o1"))
		}
		if is, verdict := f.approve("o1"); is.State != domain.OrderExpired || is.Reason != "" || verdict != domain.VerdictVoid {
			t.Errorf("for %d ms: %s: %+v", late, verdict, is)
		}
		if general, stalls := f.section("e1", "general"), f.places("e1", "stalls"); general != [3]int64{10, 0, 0} || stalls != ".... ../......" {
			t.Errorf("for %d ms: %v, %s", late, general, stalls)
		}
		f.wantLogFolds()
	}
}
