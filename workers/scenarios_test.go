package workers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/archive"
	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/payments/simulator"
	"holdfast/streams"
	"holdfast/streams/inspect"
	"holdfast/workers"
)

const (
	purchase = domain.RequestPurchase
	hold     = domain.RequestHold
	pay      = domain.RequestPay
	cancel   = domain.RequestCancel
	exchange = domain.RequestChange
)

// scenarios are each row of the table of an order's life, and whatever else a
// worker does. Holds are long, except where they are to expire, so that no fault
// may change how anything ends.
var scenarios = []scenario{
	{
		name: "confirmed",
		play: func(r *scene) {
			r.append(request(purchase, "a", "amy", 2), request(purchase, "b", "bob", 3))
		},
		ends: []end{confirmed("e/a", "amy", 2), confirmed("e/b", "bob", 3)},
	},
	{
		name:   "paused",
		events: map[string]int64{"e": 100, "f": 100},
		play: func(r *scene) { // before the first worker starts
			r.pause("e")
			r.append(
				request(purchase, "a", "amy", 1), request(hold, "b", "bob", 2), request(cancel, "c", "", 0),
				change(request(purchase, "g", "gus", 1), func(q *domain.Request) { q.EventID = "f" }),
				request(pay, "b", "", 0), change(request(purchase, "d", "dan", 1), func(q *domain.Request) { q.PaymentToken = simulator.DeclineTokenPrefix }),
			)
			r.untilState("f/g", domain.OrderConfirmed)
			r.until("requests are parked", func() bool { return r.parked("e") == 5 })
			r.resume("e")
			r.untilState("e/a", domain.OrderConfirmed)
			r.append(request(purchase, "z", "zoe", 1))
		},
		tidy: func(r *scene) bool { return r.parked("e") == 0 },
		ends: []end{
			confirmed("e/a", "amy", 1), confirmed("e/b", "bob", 2), cancelled("e/c", "", 0, domain.PaymentStatusVoided), confirmed("f/g", "gus", 1), confirmed("e/z", "zoe", 1),
			{ref: "e/d", customer: "dan", quantity: 1, state: domain.OrderDeclined, payment: domain.PaymentStatusDeclined},
		},
	},
	{
		name:   "rejected",
		events: map[string]int64{"e": 4},
		play: func(r *scene) {
			r.listTerms("strict", domain.Terms{MaxPerOrder: 2})
			r.listTerms("later", domain.Terms{OnSaleMillis: time.Now().Add(24 * time.Hour).UnixMilli()})
			r.append(
				request(hold, "first", "amy", 2),
				request(purchase, "busy", "amy", 1),
				request(purchase, "many", "bob", 3),
				change(request(purchase, "nowhere", "cid", 1), func(q *domain.Request) { q.EventID = "unheard" }),
				change(request(purchase, "vip", "dan", 1), func(q *domain.Request) { q.Section = "vip" }),
				change(request(purchase, "dear", "eve", 1), func(q *domain.Request) { q.UnitPrice = new(int64) }),
				change(request(purchase, "group", "flo", 3), func(q *domain.Request) { q.EventID = "strict" }),
				change(request(purchase, "early", "gus", 1), func(q *domain.Request) { q.EventID = "later" }),
				request(purchase, "none", "hal", 0),
			)
			r.add("v", "1", "type", "dance", "event_id", "e", "order_id", "what")
		},
		ends: []end{
			{ref: "e/first", customer: "amy", quantity: 2, state: domain.OrderHeld},
			rejected("e/busy", domain.ReasonInProgress), rejected("e/many", domain.ReasonSoldOut),
			rejected("unheard/nowhere", domain.ReasonUnknownEvent), rejected("e/vip", domain.ReasonUnknownSection),
			rejected("e/dear", domain.ReasonPriceChanged), rejected("strict/group", domain.ReasonOverLimit),
			rejected("later/early", domain.ReasonNotOnSale), rejected("e/none", domain.ReasonInvalid),
		},
		dead: []string{"type"},
	},
	{
		name:   "several items",
		vip:    true,
		events: map[string]int64{"e": 4},
		play: func(r *scene) {
			r.append(
				items(request(purchase, "both", "amy", 0), 2, 1),
				brief(items(request(hold, "slow", "bob", 0), 1, 3)),
				items(request(purchase, "none", "cid", 0), 1, 1), // there is no vip left
				items(request(purchase, "poor", "dan", 0), 1, 1),
			)
			r.untilState("e/none", domain.OrderRejected)
			r.untilState("e/slow", domain.OrderExpired)
			r.append(
				items(request(purchase, "then", "eve", 0), 1, 2),
				change(items(request(purchase, "poorer", "flo", 0), 1, 1), func(q *domain.Request) { q.PaymentToken = simulator.DeclineTokenPrefix }),
			)
			r.untilState("e/both", domain.OrderConfirmed)
			r.untilPayment("e/both", domain.PaymentStatusCaptured)
			r.append(request(cancel, "both", "", 0))
		},
		ends: []end{
			{ref: "e/both", customer: "amy", quantity: 3, vip: 1, state: domain.OrderCancelled, reason: domain.ReasonRequested, payment: domain.PaymentStatusRefunded, reversed: true},
			{ref: "e/slow", customer: "bob", quantity: 4, vip: 3, state: domain.OrderExpired, payment: domain.PaymentStatusVoided},
			rejected("e/none", domain.ReasonSoldOut), rejected("e/poor", domain.ReasonSoldOut),
			{ref: "e/then", customer: "eve", quantity: 3, vip: 2, state: domain.OrderConfirmed, payment: domain.PaymentStatusCaptured},
			{ref: "e/poorer", customer: "flo", quantity: 2, vip: 1, state: domain.OrderDeclined, payment: domain.PaymentStatusDeclined},
		},
	},
	{
		name:  "reduced and changed",
		vip:   true,
		limit: 5,
		wrap:  lossy,
		play: func(r *scene) {
			r.append(items(request(purchase, "a", "amy", 0), 3, 1), request(hold, "b", "bob", 2), request(purchase, "c", "cid", 2), request(purchase, "d", "dan", 2))
			for order, state := range map[string]domain.OrderState{"a": domain.OrderConfirmed, "b": domain.OrderHeld, "c": domain.OrderConfirmed, "d": domain.OrderConfirmed} {
				r.untilState("e/"+order, state)
			}
			r.append(altered(cancel, "a", 1, 1, 0), altered(exchange, "b", 1, 1, 1), altered(exchange, "c", 1, 2, 4), altered(cancel, "d", 1, 1, 0), altered(cancel, "a", 1, 1, 0))
			for _, order := range []string{"a", "b", "c", "d"} {
				r.untilChange("e/"+order, 1)
			}
			r.untilPayment("e/d", domain.PaymentStatusCaptured)
			r.append(altered(exchange, "a", 2, 0, 2), altered(cancel, "b", 2, 1, 0), altered(cancel, "c", 1, 1, 0), altered(cancel, "c", 3, 1, 0), request(cancel, "d", "", 0))
			r.untilChange("e/a", 2)
			r.untilChange("e/b", 2)
			r.append(altered(exchange, "a", 2, 0, 2), altered(cancel, "a", 1, 1, 0), request(pay, "b", "", 0))
			r.until("as much was given back as must be", func() bool { return r.payment("a").Refunded == 2000 })
		},
		ends: []end{
			{ref: "e/a", customer: "amy", quantity: 2, vip: 2, state: domain.OrderConfirmed, payment: domain.PaymentStatusCaptured, refunded: 2000},
			{ref: "e/b", customer: "bob", quantity: 1, vip: 1, state: domain.OrderConfirmed, payment: domain.PaymentStatusCaptured},
			confirmed("e/c", "cid", 2),
			reversed(cancelled("e/d", "dan", 1, domain.PaymentStatusRefunded)),
		},
		dead: []string{"change_pending: change 3", "conflict: change 1"},
	},
	{
		name: "kept and given back",
		wrap: lossy,
		play: func(r *scene) {
			r.sell("a", "b", "c", "d")
			r.append(keeping(request(cancel, "a", "", 0)), refund("b", 1, 1500), keeping(altered(cancel, "c", 1, 1, 0)), keeping(request(cancel, "d", "", 0)))
			r.untilState("e/a", domain.OrderCancelled)
			r.untilState("e/d", domain.OrderCancelled)
			r.untilChange("e/b", 1)
			r.untilChange("e/c", 1)
			r.untilPayment("e/d", domain.PaymentStatusCaptured) // or there would be nothing to give back
			r.append(refund("a", 1, 500), refund("b", 1, 1500), refund("b", 2, 1501), request(cancel, "c", "", 0), refund("d", 1, 3000), request(cancel, "a", "", 0))
			r.untilChange("e/a", 1)
			r.untilChange("e/b", 2) // which is too much
			r.untilChange("e/d", 1)
			r.append(refund("a", 1, 500), refund("b", 2, 1500))
			r.until("as much was given back as must be", func() bool {
				return r.payment("a").Refunded == 500 && r.payment("b").Refunded == 1500 && r.payment("c").Refunded == 2000
			})
		},
		ends: []end{
			{ref: "e/a", customer: "cust-a", quantity: 3, state: domain.OrderCancelled, reason: domain.ReasonRequested, payment: domain.PaymentStatusCaptured, refunded: 500, reversed: true},
			{ref: "e/b", customer: "cust-b", quantity: 3, state: domain.OrderConfirmed, payment: domain.PaymentStatusCaptured, refunded: 1500},
			{ref: "e/c", customer: "cust-c", quantity: 2, state: domain.OrderCancelled, reason: domain.ReasonRequested, payment: domain.PaymentStatusCaptured, refunded: 2000, reversed: true},
			{ref: "e/d", customer: "cust-d", quantity: 3, state: domain.OrderCancelled, reason: domain.ReasonRequested, payment: domain.PaymentStatusRefunded, reversed: true},
		},
		dead: []string{"conflict: change 2"},
	},
	{
		// What is granted, or kept, before anybody has captured: once it is, the rest is given back.
		name: "refunds before capture",
		wrap: capturesWhenReleased,
		play: func(r *scene) {
			r.sell("a", "b", "c", "d")
			r.append(refund("a", 1, 1500), keeping(request(cancel, "b", "", 0)), keeping(request(cancel, "c", "", 0)), refund("d", 1, 1000))
			r.untilState("e/b", domain.OrderCancelled)
			r.untilState("e/c", domain.OrderCancelled)
			r.untilChange("e/a", 1)
			r.untilChange("e/d", 1)
			r.append(refund("b", 1, 500), refund("c", 1, 3000), request(cancel, "d", "", 0), refund("b", 1, 500))
			r.untilChange("e/b", 1)
			r.untilPayment("e/c", domain.PaymentStatusVoided)
			r.untilPayment("e/d", domain.PaymentStatusVoided)
			r.release()
			r.until("as much was given back as must be", func() bool { return r.payment("a").Refunded == 1500 && r.payment("b").Refunded == 500 })
		},
		ends: []end{
			{ref: "e/a", customer: "cust-a", quantity: 3, state: domain.OrderConfirmed, payment: domain.PaymentStatusCaptured, refunded: 1500},
			{ref: "e/b", customer: "cust-b", quantity: 3, state: domain.OrderCancelled, reason: domain.ReasonRequested, payment: domain.PaymentStatusCaptured, refunded: 500, reversed: true},
			reversed(cancelled("e/c", "cust-c", 3, domain.PaymentStatusVoided)),
			reversed(cancelled("e/d", "cust-d", 3, domain.PaymentStatusVoided)),
		},
	},
	{
		// What a customer's bank does moves no place: a person cancels, and what is given back then depends on who has the money.
		name: "disputed",
		play: func(r *scene) {
			orders := []string{"a", "b", "c", "d", "f"}
			r.sell(orders...)
			for _, order := range orders {
				r.untilPayment("e/"+order, domain.PaymentStatusCaptured)
			}
			for _, order := range orders {
				r.dispute(order, domain.DisputeOpen, 3000)
			}
			r.hear("a", "b", "c")
			for _, order := range []string{"a", "b", "c"} {
				r.untilDispute(order, domain.DisputeOpen)
			}
			// Of d and f nobody has heard: that their refunds are refused tells it.
			r.append(request(cancel, "a", "", 0), request(cancel, "b", "", 0), request(cancel, "d", "", 0), refund("f", 1, 1000))
			r.untilDispute("d", domain.DisputeOpen)
			r.untilDispute("f", domain.DisputeOpen)
			r.dispute("a", domain.DisputeWon, 3000)
			r.dispute("b", domain.DisputeLost, 3000)
			r.dispute("c", domain.DisputeLost, 3000)
			r.dispute("d", domain.DisputeLost, 3000)
			r.dispute("f", domain.DisputeInquiry, 3000)
			r.hear("a", "b", "c", "f")
			r.untilDispute("a", domain.DisputeWon)
			r.untilDispute("b", domain.DisputeLost)
			r.untilDispute("c", domain.DisputeLost)
			r.dispute("c", domain.DisputeWon, 3000) // after all
			r.hear("c", "d")
			r.untilDispute("c", domain.DisputeWon)
			r.untilPayment("e/a", domain.PaymentStatusRefunded)
			r.until("what may be was given back", func() bool { return r.payment("f").Refunded == 1000 })
			r.untilDispute("d", domain.DisputeLost)
		},
		ends: []end{
			reversed(cancelled("e/a", "cust-a", 3, domain.PaymentStatusRefunded)),
			reversed(cancelled("e/b", "cust-b", 3, domain.PaymentStatusCaptured)),
			confirmed("e/c", "cust-c", 3),
			reversed(cancelled("e/d", "cust-d", 3, domain.PaymentStatusCaptured)),
			{ref: "e/f", customer: "cust-f", quantity: 3, state: domain.OrderConfirmed, payment: domain.PaymentStatusCaptured, refunded: 1000},
		},
	},
	{
		// Whoever captures it has read it as it was before.
		name: "reduced before capture",
		wrap: capturesWhenReleased,
		play: func(r *scene) {
			r.append(request(purchase, "a", "amy", 3))
			r.untilState("e/a", domain.OrderConfirmed)
			r.append(altered(cancel, "a", 1, 1, 0))
			r.untilChange("e/a", 1)
			r.append(altered(exchange, "a", 2, 200, 0)) // which is too much, and is settled as well
			r.untilChange("e/a", 2)
			r.release()
			r.until("as much was given back as must be", func() bool { return r.payment("a").Refunded == 1000 })
		},
		ends: []end{{ref: "e/a", customer: "amy", quantity: 2, state: domain.OrderConfirmed, payment: domain.PaymentStatusCaptured, refunded: 1000}},
	},
	{
		name:  "limit per customer",
		limit: 3,
		play: func(r *scene) {
			r.append(brief(request(hold, "slow", "amy", 3)), change(request(purchase, "poor", "bob", 3), func(q *domain.Request) { q.PaymentToken = simulator.DeclineTokenPrefix }))
			r.untilState("e/slow", domain.OrderExpired)
			r.untilState("e/poor", domain.OrderDeclined)
			r.append(request(purchase, "first", "amy", 2), request(purchase, "all", "bob", 3)) // they have none any more
			r.untilState("e/first", domain.OrderConfirmed)
			r.untilState("e/all", domain.OrderConfirmed)
			r.append(request(purchase, "over", "amy", 2))
			r.untilState("e/over", domain.OrderRejected)
			r.append(request(purchase, "just", "amy", 1))
			r.untilPayment("e/all", domain.PaymentStatusCaptured)
			r.append(request(cancel, "all", "", 0))
			r.untilState("e/all", domain.OrderCancelled)
			r.append(request(purchase, "again", "bob", 3))
		},
		ends: []end{
			{ref: "e/slow", customer: "amy", quantity: 3, state: domain.OrderExpired, payment: domain.PaymentStatusVoided},
			{ref: "e/poor", customer: "bob", quantity: 3, state: domain.OrderDeclined, payment: domain.PaymentStatusDeclined},
			confirmed("e/first", "amy", 2), rejected("e/over", domain.ReasonOverCustomer), confirmed("e/just", "amy", 1),
			{ref: "e/all", customer: "bob", quantity: 3, state: domain.OrderCancelled, reason: domain.ReasonRequested, payment: domain.PaymentStatusRefunded, reversed: true},
			confirmed("e/again", "bob", 3),
		},
	},
	{
		name: "too late",
		cfg:  func(cfg *workers.Config) { cfg.ValidTime = time.Millisecond },
		play: func(r *scene) {
			r.append(
				request(purchase, "late", "amy", 2),
				change(request(hold, "held", "bob", 3), func(q *domain.Request) { q.ValidSeconds = 3600 }),
				request(pay, "held", "", 0),
			)
			published := r.now()
			r.eventually("it is too late", func() bool { return r.now() > published+2 }) // no worker runs yet
		},
		ends: []end{
			rejected("e/late", domain.ReasonTooLate),
			{ref: "e/held", customer: "bob", quantity: 3, state: domain.OrderHeld},
		},
		dead: []string{"too_late"},
	},
	{
		name:   "declined",
		events: map[string]int64{"e": 2},
		play: func(r *scene) {
			r.append(change(request(purchase, "poor", "amy", 2), func(q *domain.Request) { q.PaymentToken = simulator.DeclineTokenPrefix }))
			r.untilState("e/poor", domain.OrderDeclined)
			r.append(request(purchase, "rich", "amy", 2)) // tickets and slot are free again
		},
		ends: []end{
			{ref: "e/poor", customer: "amy", quantity: 2, state: domain.OrderDeclined, payment: domain.PaymentStatusDeclined},
			confirmed("e/rich", "amy", 2),
		},
	},
	{
		name:   "expired",
		events: map[string]int64{"e": 2},
		play: func(r *scene) {
			r.append(brief(request(hold, "slow", "amy", 2)))
			r.untilState("e/slow", domain.OrderExpired)
			r.append(request(purchase, "quick", "amy", 2), request(pay, "slow", "", 0)) // a pay that comes too late
		},
		ends: []end{
			{ref: "e/slow", customer: "amy", quantity: 2, state: domain.OrderExpired, payment: domain.PaymentStatusVoided},
			confirmed("e/quick", "amy", 2),
		},
	},
	{
		name:   "cancelled while held",
		events: map[string]int64{"e": 2},
		play: func(r *scene) {
			r.append(request(hold, "a", "amy", 2))
			r.untilState("e/a", domain.OrderHeld)
			r.append(request(cancel, "a", "", 0))
			r.untilState("e/a", domain.OrderCancelled)
			r.append(request(hold, "b", "amy", 2))
		},
		ends: []end{
			cancelled("e/a", "amy", 2, domain.PaymentStatusVoided),
			{ref: "e/b", customer: "amy", quantity: 2, state: domain.OrderHeld},
		},
	},
	{
		name: "approved after expiry",
		wrap: approvesLate,
		play: func(r *scene) {
			r.append(brief(request(purchase, "a", "amy", 2)))
			r.untilState("e/a", domain.OrderExpired)
			r.release()
		},
		ends: []end{{ref: "e/a", customer: "amy", quantity: 2, state: domain.OrderExpired, payment: domain.PaymentStatusVoided}},
	},
	{
		name: "approved after cancel",
		wrap: approvesLate,
		play: func(r *scene) {
			r.append(request(purchase, "a", "amy", 2))
			r.untilPayment("e/a", domain.PaymentStatusAuthorized) // and nobody has been told
			r.append(request(cancel, "a", "", 0))
			r.untilState("e/a", domain.OrderCancelled)
			r.release()
		},
		ends: []end{cancelled("e/a", "amy", 2, domain.PaymentStatusVoided)},
	},
	{
		// Nobody ends holds but whoever brings the gateway's answer.
		name: "approved after a deadline that nobody saw",
		cfg: func(cfg *workers.Config) {
			cfg.Roles = []workers.Role{workers.RolePurchase, workers.RolePosting, workers.RoleSettlement}
		},
		wrap: approvesLate,
		play: func(r *scene) {
			r.append(brief(request(purchase, "a", "amy", 2)))
			r.until("its payment authorized, or too late for that", func() bool {
				return r.payment("a").Status == domain.PaymentStatusAuthorized || r.orderOf("e/a").State == domain.OrderExpired
			})
			deadline := r.orderOf("e/a").DeadlineMillis
			r.until("the deadline is over", func() bool { return r.now() > deadline })
			r.release()
		},
		ends: []end{{ref: "e/a", customer: "amy", quantity: 2, state: domain.OrderExpired, payment: domain.PaymentStatusVoided}},
	},
	{
		name: "the customer's bank asks",
		wrap: lossy,
		play: func(r *scene) {
			r.append(change(request(purchase, "does", "amy", 2), asks), change(request(purchase, "fails", "bob", 1), asks),
				change(brief(request(purchase, "forgets", "cid", 3)), asks), change(request(purchase, "off", "dan", 1), asks))
			for _, order := range []string{"does", "fails", "off"} {
				r.untilAsked("e/" + order)
			}
			r.until("nothing in hand", func() bool { return r.backlog() == 0 })
			r.finish("does", 1, true)
			r.finish("fails", 1, false)
			r.append(update("does", 1), update("does", 1), update("does", 2), update("off", 1), request(cancel, "off", "", 0)) // and nobody says anything of fails
		},
		ends: []end{
			confirmed("e/does", "amy", 2),
			{ref: "e/fails", customer: "bob", quantity: 1, state: domain.OrderDeclined, payment: domain.PaymentStatusDeclined},
			{ref: "e/forgets", customer: "cid", quantity: 3, state: domain.OrderExpired, payment: domain.PaymentStatusVoided},
			cancelled("e/off", "dan", 1, domain.PaymentStatusVoided),
		},
	},
	{
		name: "the customer's bank asks twice",
		play: func(r *scene) {
			r.append(request(hold, "a", "amy", 2), change(request(pay, "a", "", 0), asks))
			r.untilAsked("e/a")
			r.append(attempt("a", 2)) // too early
			r.until("set aside", func() bool { return len(r.deadReasons()) == 1 })
			r.finish("a", 1, false)
			r.append(update("a", 1))
			r.untilDeclined("e/a", 1)
			r.append(change(attempt("a", 2), asks))
			r.untilAsked("e/a")
			r.append(update("a", 1), request(pay, "a", "", 0)) // of the attempt that is over
			r.finish("a", 2, true)
			r.append(update("a", 2))
		},
		ends: []end{{
			ref: "e/a", customer: "amy", quantity: 2, state: domain.OrderConfirmed, payment: domain.PaymentStatusDeclined,
			later: []domain.PaymentStatus{domain.PaymentStatusCaptured},
		}},
		dead: []string{"attempt_pending"},
	},
	{
		name: "gateway loses calls and replies",
		wrap: lossy,
		play: func(r *scene) {
			r.append(
				request(purchase, "a", "amy", 2),
				change(request(purchase, "poor", "bob", 1), func(q *domain.Request) { q.PaymentToken = simulator.DeclineTokenPrefix }),
				request(hold, "given-up", "cid", 4), request(cancel, "given-up", "", 0),
			)
		},
		ends: []end{
			confirmed("e/a", "amy", 2),
			{ref: "e/poor", customer: "bob", quantity: 1, state: domain.OrderDeclined, payment: domain.PaymentStatusDeclined},
			cancelled("e/given-up", "cid", 4, domain.PaymentStatusVoided),
		},
	},
	{
		name: "gateway does not answer before the deadline",
		wrap: silent,
		play: func(r *scene) {
			r.append(brief(request(purchase, "a", "amy", 2)))
			r.untilState("e/a", domain.OrderExpired)
			r.release()
		},
		ends: []end{{ref: "e/a", customer: "amy", quantity: 2, state: domain.OrderExpired, payment: domain.PaymentStatusVoided}},
	},
	{
		name: "approved after it lapsed",
		late: time.Hour,
		wrap: silent,
		play: func(r *scene) {
			r.append(brief(request(purchase, "a", "amy", 2)), brief(request(hold, "b", "bob", 3)), brief(request(hold, "c", "cid", 1)))
			for _, order := range []string{"e/b", "e/c"} {
				r.until(order+" is held, or was", func() bool { return r.orderOf(order).State != domain.OrderNone })
			}
			r.append(request(pay, "b", "", 0))
			for _, order := range []string{"e/a", "e/b", "e/c"} {
				r.untilState(order, domain.OrderLapsed)
			}
			r.append(request(pay, "c", "", 0), altered(cancel, "a", 1, 1, 0))
			r.untilChange("e/a", 1) // which is refused
			r.release()
		},
		ends: []end{confirmed("e/a", "amy", 2), confirmed("e/b", "bob", 3), confirmed("e/c", "cid", 1)},
	},
	{
		name:   "approved after its places are gone",
		late:   time.Hour,
		events: map[string]int64{"e": 4},
		wrap:   silent,
		play: func(r *scene) {
			r.append(brief(request(purchase, "a", "amy", 2)), brief(request(purchase, "b", "bob", 1)), brief(request(hold, "f", "flo", 1)))
			for _, order := range []string{"e/a", "e/b", "e/f"} {
				r.untilState(order, domain.OrderLapsed)
			}
			r.append(request(cancel, "f", "", 0), request(hold, "c", "cid", 2), request(hold, "d", "bob", 1))
			r.untilState("e/c", domain.OrderHeld)
			r.untilState("e/d", domain.OrderHeld)
			r.release()
		},
		ends: []end{
			{ref: "e/a", customer: "amy", quantity: 2, state: domain.OrderExpired, reason: domain.ReasonSoldOut, payment: domain.PaymentStatusVoided},
			{ref: "e/b", customer: "bob", quantity: 1, state: domain.OrderExpired, reason: domain.ReasonInProgress, payment: domain.PaymentStatusVoided},
			{ref: "e/c", customer: "cid", quantity: 2, state: domain.OrderHeld},
			{ref: "e/d", customer: "bob", quantity: 1, state: domain.OrderHeld},
			cancelled("e/f", "flo", 1, domain.PaymentStatusVoided),
		},
	},
	{
		name: "the bank's answer after it lapsed",
		late: time.Hour,
		wrap: lossy,
		play: func(r *scene) {
			orders := []string{"does", "fails", "again", "off"}
			r.append(brief(change(request(purchase, "does", "amy", 2), asks)), brief(change(request(purchase, "fails", "bob", 1), asks)),
				brief(request(hold, "again", "cid", 3)), change(request(pay, "again", "", 0), asks), brief(change(request(purchase, "off", "dan", 1), asks)))
			for _, order := range orders {
				r.untilState("e/"+order, domain.OrderLapsed)
				r.untilAsked("e/" + order)
			}
			r.finish("does", 1, true)
			r.finish("fails", 1, false)
			r.finish("again", 1, false)
			r.append(update("does", 1), update("does", 1), update("again", 1), request(cancel, "off", "", 0)) // and nobody says anything of fails
			r.untilDeclined("e/again", 1)
			r.append(attempt("again", 2), update("again", 1), attempt("again", 2))
		},
		ends: []end{
			confirmed("e/does", "amy", 2),
			{ref: "e/fails", customer: "bob", quantity: 1, state: domain.OrderDeclined, payment: domain.PaymentStatusDeclined},
			{
				ref: "e/again", customer: "cid", quantity: 3, state: domain.OrderConfirmed, payment: domain.PaymentStatusDeclined,
				later: []domain.PaymentStatus{domain.PaymentStatusCaptured},
			},
			cancelled("e/off", "dan", 1, domain.PaymentStatusVoided),
		},
	},
	{
		name:  "seats of what lapsed",
		late:  time.Hour,
		vip:   true,
		seats: "A:1-6",
		limit: 4,
		wrap: func(r *scene) domain.PaymentGateway {
			return middleman{next: r.world.gateway, do: func(_ context.Context, call string, name domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
				p, err := do()
				if (call == "authorize" || call == "lookup") && name.OrderID != "y" && !r.isReleased() {
					return domain.Payment{}, errLost
				}
				return p, err
			}}
		},
		play: func(r *scene) {
			r.append(brief(named(request(purchase, "a", "amy", 0), "A-1", "A-2")), brief(named(request(purchase, "b", "bob", 0), "A-3", "A-4")),
				brief(named(request(purchase, "c", "cid", 0), "A-5", "A-6")))
			for _, order := range []string{"a", "b", "c"} {
				r.untilState("e/"+order, domain.OrderLapsed)
			}
			r.append(named(request(hold, "x", "eve", 0), "A-3"), request(purchase, "y", "cid", 4)) // as many as one may have
			r.untilState("e/x", domain.OrderHeld)
			r.untilState("e/y", domain.OrderConfirmed)
			r.release()
			r.untilState("e/a", domain.OrderConfirmed)
			r.untilState("e/b", domain.OrderExpired)
			r.append(named(request(hold, "z", "zoe", 0), "A-4"))
		},
		tidy: func(r *scene) bool { return r.seatsOf("e") == "++--.." },
		ends: []end{
			{ref: "e/a", customer: "amy", quantity: 2, vip: 2, state: domain.OrderConfirmed, payment: domain.PaymentStatusCaptured},
			{ref: "e/b", customer: "bob", quantity: 2, vip: 2, state: domain.OrderExpired, reason: domain.ReasonSeatTaken, payment: domain.PaymentStatusVoided},
			{ref: "e/c", customer: "cid", quantity: 2, vip: 2, state: domain.OrderExpired, reason: domain.ReasonOverCustomer, payment: domain.PaymentStatusVoided},
			{ref: "e/x", customer: "eve", quantity: 1, vip: 1, state: domain.OrderHeld},
			confirmed("e/y", "cid", 4),
			{ref: "e/z", customer: "zoe", quantity: 1, vip: 1, state: domain.OrderHeld},
		},
	},
	{
		// Exchanged for the best there are: of a held order, of a confirmed one, for as many as before and for fewer; and for what is not there.
		name:  "exchanged for the best seats",
		vip:   true,
		seats: "A:1-8,B:1-2",
		play: func(r *scene) {
			r.append(named(request(hold, "a", "amy", 0), "A-1", "A-2"), named(request(purchase, "b", "bob", 0), "A-5", "A-6"), named(request(purchase, "c", "cid", 0), "B-1", "B-2"))
			r.untilState("e/a", domain.OrderHeld)
			r.untilState("e/b", domain.OrderConfirmed)
			r.untilState("e/c", domain.OrderConfirmed)
			r.append(altered(exchange, "a", 1, 0, 4)) // with those that it has
			r.untilChange("e/a", 1)
			r.append(altered(exchange, "b", 1, 0, 3)) // which costs more
			r.untilChange("e/b", 1)
			r.append(altered(exchange, "c", 1, 0, 2)) // which it has
			r.untilChange("e/c", 1)
			r.append(altered(exchange, "b", 2, 0, 1), request(pay, "a", "", 0))
			r.untilChange("e/b", 2)
		},
		tidy: func(r *scene) bool { return r.seatsOf("e") == "+++++.../++" },
		ends: []end{
			{ref: "e/a", customer: "amy", quantity: 4, vip: 4, state: domain.OrderConfirmed, payment: domain.PaymentStatusCaptured},
			{ref: "e/b", customer: "bob", quantity: 1, vip: 1, state: domain.OrderConfirmed, payment: domain.PaymentStatusCaptured, refunded: 1000},
			{ref: "e/c", customer: "cid", quantity: 2, vip: 2, state: domain.OrderConfirmed, payment: domain.PaymentStatusCaptured},
		},
	},
	{
		// What an organiser does with an event of which orders have lapsed: closes it, cancels it, does not wait for others any more.
		name:   "lapsed, and its event changes",
		late:   time.Hour,
		events: map[string]int64{"e": 10, "f": 10, "g": 10},
		wrap:   silent,
		play: func(r *scene) {
			of := func(event string, q domain.Request) domain.Request {
				q.EventID = event
				return brief(q)
			}
			r.append(of("e", request(purchase, "a", "amy", 2)), of("f", request(purchase, "b", "bob", 1)), of("g", request(purchase, "c", "cid", 3)))
			for _, ref := range []string{"e/a", "f/b", "g/c"} {
				r.untilState(ref, domain.OrderLapsed)
			}
			r.command("e closed", func(events *streams.Events) error {
				_, err := events.Close(r.ctx, "e", domain.Cause{By: "ann"})
				return err
			})
			r.command("f cancelled", func(events *streams.Events) error {
				_, err := events.Cancel(r.ctx, "f", domain.Cause{Reason: "fire", By: "ann"}, nil)
				return err
			})
			r.command("g does not wait any more", func(events *streams.Events) error {
				_, err := events.Adjust(r.ctx, "g", func(t domain.Terms) (domain.Terms, error) {
					t.LateApprovalMillis = 0
					return t, nil
				})
				return err
			})
			r.append(of("g", request(purchase, "d", "dan", 1)))
			r.untilState("g/d", domain.OrderExpired)
			r.release()
		},
		ends: []end{
			{ref: "e/a", customer: "amy", quantity: 2, state: domain.OrderExpired, reason: domain.ReasonNotOnSale, payment: domain.PaymentStatusVoided},
			withEvent("f/b", "bob", 1, domain.PaymentStatusVoided), confirmed("g/c", "cid", 3),
			{ref: "g/d", customer: "dan", quantity: 1, state: domain.OrderExpired, payment: domain.PaymentStatusVoided},
		},
	},
	{
		name: "approved after it lapsed, then given back",
		late: time.Hour,
		wrap: silent,
		play: func(r *scene) {
			orders := []string{"a", "b", "c", "d"}
			for _, order := range orders {
				r.append(brief(request(purchase, order, "cust-"+order, 3)))
			}
			for _, order := range orders {
				r.untilState("e/"+order, domain.OrderLapsed)
			}
			r.append(refund("a", 1, 1000)) // of what is not paid: refused
			r.untilChange("e/a", 1)
			r.release()
			for _, order := range orders {
				r.untilPayment("e/"+order, domain.PaymentStatusCaptured)
			}
			r.append(refund("a", 2, 1000), altered(cancel, "b", 1, 1, 0), request(cancel, "c", "", 0), keeping(request(cancel, "d", "", 0)))
			r.untilChange("e/a", 2)
			r.untilChange("e/b", 1)
			r.untilState("e/d", domain.OrderCancelled)
			r.append(refund("d", 1, 500), refund("a", 2, 1000))
			r.until("as much was given back as must be", func() bool {
				return r.payment("a").Refunded == 1000 && r.payment("b").Refunded == 1000 && r.payment("d").Refunded == 500
			})
		},
		ends: []end{
			{ref: "e/a", customer: "cust-a", quantity: 3, state: domain.OrderConfirmed, payment: domain.PaymentStatusCaptured, refunded: 1000},
			{ref: "e/b", customer: "cust-b", quantity: 2, state: domain.OrderConfirmed, payment: domain.PaymentStatusCaptured, refunded: 1000},
			reversed(cancelled("e/c", "cust-c", 3, domain.PaymentStatusRefunded)),
			{ref: "e/d", customer: "cust-d", quantity: 3, state: domain.OrderCancelled, reason: domain.ReasonRequested, payment: domain.PaymentStatusCaptured, refunded: 500, reversed: true},
		},
	},
	{
		// A worker dies before it asks, and nobody takes over until the hold is over.
		name: "lapsed before the gateway heard of it",
		cfg: func(cfg *workers.Config) {
			cfg.Roles = []workers.Role{workers.RolePurchase, workers.RolePosting, workers.RoleSettlement} // or maintenance may be the first to see the deadline
		},
		late: time.Hour,
		play: func(r *scene) {
			r.append(brief(request(purchase, "a", "amy", 2)), brief(request(hold, "b", "bob", 3)), request(pay, "b", "", 0))
			queue, err := r.store.Queue(0, domain.GroupWorkers, ghost)
			if err != nil {
				r.t.Fatalf("working as a ghost: %v", err)
			}
			entries, err := queue.Read(r.ctx, 3, time.Second)
			if err == nil {
				_, _, err = r.store.Ledger().Hold(r.ctx, 0, r.incoming(entries))
			}
			if err != nil || len(entries) != 3 {
				r.t.Fatalf("the ghost was given %d entries, %v", len(entries), err)
			}
			deadline := r.orderOf("e/b").DeadlineMillis
			r.eventually("the deadline is over", func() bool { return r.now() > deadline })
		},
		ends: []end{confirmed("e/a", "amy", 2), confirmed("e/b", "bob", 3)},
	},
	{
		name: "lapsed for good",
		late: time.Second,
		wrap: silent,
		play: func(r *scene) {
			r.append(brief(request(purchase, "a", "amy", 2)))
			r.untilState("e/a", domain.OrderExpired)
			r.release()
		},
		ends: []end{{ref: "e/a", customer: "amy", quantity: 2, state: domain.OrderExpired, payment: domain.PaymentStatusVoided}},
	},
	{
		name: "cancelled after capture",
		wrap: lossy,
		play: func(r *scene) {
			r.append(request(purchase, "a", "amy", 2), request(purchase, "b", "bob", 1))
			r.untilPayment("e/a", domain.PaymentStatusCaptured)
			r.append(request(cancel, "a", "", 0))
		},
		ends: []end{reversed(cancelled("e/a", "amy", 2, domain.PaymentStatusRefunded)), confirmed("e/b", "bob", 1)},
	},
	{
		name: "cancelled before capture",
		wrap: capturesWhenReleased,
		play: func(r *scene) {
			r.append(request(purchase, "a", "amy", 2))
			r.untilState("e/a", domain.OrderConfirmed)
			r.append(request(cancel, "a", "", 0))
			r.untilPayment("e/a", domain.PaymentStatusVoided)
			r.release()
		},
		ends: []end{reversed(cancelled("e/a", "amy", 2, domain.PaymentStatusVoided))},
	},
	{
		name:    "capture refused",
		gateway: simulator.Options{CaptureRefusalRate: 1},
		play:    func(r *scene) { r.append(request(purchase, "a", "amy", 2)) },
		ends: []end{{
			ref: "e/a", customer: "amy", quantity: 2, state: domain.OrderCancelled, reason: domain.ReasonCaptureFailed,
			payment: domain.PaymentStatusVoided, reversed: true,
		}},
	},
	{
		name: "what was to be kept cannot be captured",
		wrap: func(r *scene) domain.PaymentGateway {
			return middleman{next: r.world.gateway, do: func(ctx context.Context, call string, _ domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
				switch {
				case call != "capture":
					return do()
				case r.waitReleased(ctx):
					return domain.Payment{}, domain.ErrRefused
				}
				return domain.Payment{}, errLost
			}}
		},
		play: func(r *scene) {
			r.append(request(purchase, "a", "amy", 2))
			r.untilState("e/a", domain.OrderConfirmed)
			r.append(keeping(request(cancel, "a", "", 0)))
			r.untilState("e/a", domain.OrderCancelled)
			r.release()
			r.until("nothing is kept", func() bool { return r.orderOf("e/a").Reason == domain.ReasonCaptureFailed })
		},
		ends: []end{{
			ref: "e/a", customer: "amy", quantity: 2, state: domain.OrderCancelled, reason: domain.ReasonCaptureFailed,
			payment: domain.PaymentStatusVoided, reversed: true,
		}},
	},
	{
		name: "cancelled before it is seen",
		play: func(r *scene) {
			r.append(request(cancel, "a", "", 0), request(cancel, "b", "", 0))
			r.untilState("e/a", domain.OrderCancelled)
			r.untilState("e/b", domain.OrderCancelled)
			r.append(request(purchase, "a", "amy", 2), request(hold, "b", "bob", 2), request(pay, "b", "", 0))
		},
		ends: []end{cancelled("e/a", "", 0, domain.PaymentStatusVoided), cancelled("e/b", "", 0, domain.PaymentStatusVoided)},
	},
	{
		name: "held, then paid",
		play: func(r *scene) {
			r.append(request(hold, "a", "amy", 2))
			r.untilState("e/a", domain.OrderHeld)
			r.append(request(pay, "a", "", 0), request(pay, "a", "", 0))
		},
		ends: []end{confirmed("e/a", "amy", 2)},
	},
	{
		name: "declined, and paid by the next attempt",
		wrap: lossy,
		play: func(r *scene) {
			poor := func(q *domain.Request) { q.PaymentToken = simulator.DeclineTokenPrefix }
			r.append(request(hold, "a", "amy", 2), request(hold, "b", "bob", 1), change(request(pay, "a", "", 0), poor), change(request(pay, "b", "", 0), poor))
			r.untilDeclined("e/a", 1)
			r.untilDeclined("e/b", 1)
			r.append(change(attempt("a", 2), poor))
			r.untilDeclined("e/a", 2)
			r.append(request(pay, "a", "", 0), attempt("a", 3), attempt("a", 3), attempt("a", 2), attempt("b", 2)) // old ones come again
		},
		ends: []end{
			{
				ref: "e/a", customer: "amy", quantity: 2, state: domain.OrderConfirmed, payment: domain.PaymentStatusDeclined,
				later: []domain.PaymentStatus{domain.PaymentStatusDeclined, domain.PaymentStatusCaptured},
			},
			{
				ref: "e/b", customer: "bob", quantity: 1, state: domain.OrderConfirmed, payment: domain.PaymentStatusDeclined,
				later: []domain.PaymentStatus{domain.PaymentStatusCaptured},
			},
		},
	},
	{
		// What is voided behind the last attempt is what Redis could have lost.
		name: "declined, and then over",
		play: func(r *scene) {
			poor := func(q *domain.Request) { q.PaymentToken = simulator.DeclineTokenPrefix }
			r.append(limited(request(hold, "slow", "amy", 2)), request(hold, "off", "bob", 1),
				change(request(pay, "slow", "", 0), poor), change(request(pay, "off", "", 0), poor))
			r.untilDeclined("e/off", 1)
			r.append(request(cancel, "off", "", 0))
			r.untilState("e/slow", domain.OrderExpired)
			r.untilState("e/off", domain.OrderCancelled)
			r.append(attempt("slow", 2), attempt("off", 2))
		},
		ends: []end{
			{ref: "e/slow", customer: "amy", quantity: 2, state: domain.OrderExpired, payment: domain.PaymentStatusDeclined, later: []domain.PaymentStatus{domain.PaymentStatusVoided}},
			{
				ref: "e/off", customer: "bob", quantity: 1, state: domain.OrderCancelled, reason: domain.ReasonRequested, payment: domain.PaymentStatusDeclined,
				later: []domain.PaymentStatus{domain.PaymentStatusVoided},
			},
		},
	},
	{
		name: "cancelled after the second attempt was captured",
		play: func(r *scene) {
			r.append(request(hold, "a", "amy", 2), change(request(pay, "a", "", 0), func(q *domain.Request) { q.PaymentToken = simulator.DeclineTokenPrefix }))
			r.untilDeclined("e/a", 1)
			r.append(attempt("a", 2))
			r.untilPayment("e/a", domain.PaymentStatusCaptured)
			r.append(request(cancel, "a", "", 0))
		},
		ends: []end{{
			ref: "e/a", customer: "amy", quantity: 2, state: domain.OrderCancelled, reason: domain.ReasonRequested, reversed: true,
			payment: domain.PaymentStatusDeclined, later: []domain.PaymentStatus{domain.PaymentStatusRefunded},
		}},
	},
	{
		// The second attempt comes while the first is open, and is set aside; the order is cancelled with the second one in flight.
		name: "attempts out of turn",
		wrap: func(r *scene) domain.PaymentGateway {
			return middleman{next: r.world.gateway, do: func(ctx context.Context, call string, name domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
				p, err := do()
				if call == "authorize" && name.OrderID == "a" && !r.waitReleased(ctx) {
					return domain.Payment{}, errLost
				}
				return p, err
			}}
		},
		play: func(r *scene) {
			r.append(request(hold, "a", "amy", 2), request(pay, "a", "", 0))
			r.until("being paid", func() bool { return r.orderOf("e/a").Attempt == 1 })
			r.append(attempt("a", 2), change(request(pay, "a", "", 0), func(q *domain.Request) { q.ValidSeconds = 7 }))
			r.until("both set aside", func() bool { return len(r.deadReasons()) == 2 })
			r.append(request(cancel, "a", "", 0))
			r.untilState("e/a", domain.OrderCancelled)
			r.release()
		},
		ends: []end{cancelled("e/a", "amy", 2, domain.PaymentStatusVoided)},
		dead: []string{"attempt_pending", "conflict"},
	},
	{
		name: "paid before it is held",
		play: func(r *scene) {
			r.append(request(pay, "a", "", 0))
			r.until("the pay in hand", func() bool { return r.worker != nil && r.worker.Stats().InFlight.Load() > 0 })
			r.append(request(hold, "a", "amy", 2))
		},
		ends: []end{confirmed("e/a", "amy", 2)},
	},
	{
		name: "paid and never held",
		cfg:  func(cfg *workers.Config) { cfg.PayWait = 200 * time.Millisecond },
		play: func(r *scene) { r.append(request(pay, "a", "", 0), request(purchase, "b", "bob", 1)) },
		ends: []end{confirmed("e/b", "bob", 1)},
		dead: []string{"unknown_order"},
	},
	{
		name:   "batch",
		events: map[string]int64{"e": 100, "f": 50},
		play: func(r *scene) {
			var all []domain.Request
			for i := range 6 {
				a := request(purchase, fmt.Sprintf("a%d", i), fmt.Sprintf("amy%d", i), int64(1+i))
				b := change(a, func(q *domain.Request) { q.EventID = "f" }) // the same order_id is another order there
				all = append(all, a, b, a)
			}
			all = append(all,
				request(hold, "paid", "bob", 2), request(pay, "paid", "", 0),
				request(hold, "given-up", "cid", 3), request(cancel, "given-up", "", 0),
				change(request(purchase, "poor", "dan", 4), func(q *domain.Request) { q.PaymentToken = simulator.DeclineTokenPrefix }),
				request(purchase, "a0", "thief", 7),                                                 // conflict
				change(request(hold, "a1", "amy1", 2), func(q *domain.Request) { q.EventID = "f" }), // conflict
				change(request(purchase, "too-many", "eve", 51), func(q *domain.Request) { q.EventID = "f" }),
			)
			r.append(all...)
		},
		ends: func() (ends []end) {
			for i := range int64(6) {
				customer := fmt.Sprintf("amy%d", i)
				ends = append(ends, confirmed(fmt.Sprintf("e/a%d", i), customer, 1+i), confirmed(fmt.Sprintf("f/a%d", i), customer, 1+i))
			}
			return append(ends,
				confirmed("e/paid", "bob", 2), cancelled("e/given-up", "cid", 3, domain.PaymentStatusVoided),
				end{ref: "e/poor", customer: "dan", quantity: 4, state: domain.OrderDeclined, payment: domain.PaymentStatusDeclined},
				rejected("f/too-many", domain.ReasonSoldOut),
			)
		}(),
		dead: []string{"conflict", "conflict"},
	},
	{
		// A worker that died left entries pending in every group, at every stage.
		name: "reclaim",
		play: func(r *scene) {
			r.diesAsGhost(true)
			r.append(request(purchase, "new", "eve", 1))
		},
		tidy: onlyLiving,
		ends: diedAsGhost,
	},
	{
		// The same, but the worker that comes has the name of the one that died.
		name: "own list",
		cfg:  func(cfg *workers.Config) { cfg.Name = ghost },
		play: func(r *scene) {
			r.diesAsGhost(false)
			r.append(request(purchase, "new", "eve", 1))
		},
		ends: diedAsGhost,
	},
	{
		name: "drain",
		wrap: func(r *scene) domain.PaymentGateway {
			return middleman{next: r.world.gateway, do: func(ctx context.Context, _ string, _ domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
				if !r.waitReleased(ctx) {
					return domain.Payment{}, errLost
				}
				return do()
			}}
		},
		play: func(r *scene) {
			r.append(request(purchase, "a", "amy", 1), request(purchase, "b", "bob", 2), request(pay, "c", "", 0), request(hold, "d", "dan", 4))
			r.until("three in hand, and one held", func() bool {
				return r.worker != nil && r.worker.Stats().InFlight.Load() == 3 && r.orderOf("e/d").State == domain.OrderHeld
			})
			r.stop()
			r.append(request(hold, "c", "cid", 3))
			r.release()
		},
		tidy: onlyLiving,
		ends: []end{
			confirmed("e/a", "amy", 1), confirmed("e/b", "bob", 2), confirmed("e/c", "cid", 3),
			{ref: "e/d", customer: "dan", quantity: 4, state: domain.OrderHeld},
		},
	},
	{
		name:   "posting",
		events: map[string]int64{"e": 100, "f": 100},
		play: func(r *scene) {
			var all, undo []domain.Request
			for i := range 4 {
				a := request(purchase, fmt.Sprintf("a%d", i), fmt.Sprintf("amy%d", i), int64(1+i))
				all = append(all, a, change(a, func(q *domain.Request) { q.EventID = "f" }))
				undo = append(undo, request(cancel, a.OrderID, "", 0))
			}
			r.append(all...)
			for i := range 4 {
				r.untilPayment(fmt.Sprintf("e/a%d", i), domain.PaymentStatusCaptured)
			}
			r.append(undo[:2]...)
			r.untilPayment("e/a1", domain.PaymentStatusRefunded)
			r.append(undo[2:3]...)
		},
		ends: func() (ends []end) {
			for i := range int64(4) {
				customer, id := fmt.Sprintf("amy%d", i), fmt.Sprintf("a%d", i)
				ends = append(ends, confirmed("f/"+id, customer, 1+i))
				if i < 3 {
					ends = append(ends, reversed(cancelled("e/"+id, customer, 1+i, domain.PaymentStatusRefunded)))
				} else {
					ends = append(ends, confirmed("e/"+id, customer, 1+i))
				}
			}
			return ends
		}(),
	},
	{
		name: "settlement",
		wrap: lossy,
		play: func(r *scene) {
			r.append(
				request(purchase, "kept", "amy", 1), request(purchase, "undone", "bob", 2),
				brief(request(hold, "expired", "cid", 3)), request(hold, "given-up", "dan", 4),
			)
			r.untilPayment("e/undone", domain.PaymentStatusCaptured)
			r.untilState("e/given-up", domain.OrderHeld)
			r.append(request(cancel, "undone", "", 0), request(cancel, "given-up", "", 0))
		},
		ends: []end{
			confirmed("e/kept", "amy", 1), reversed(cancelled("e/undone", "bob", 2, domain.PaymentStatusRefunded)),
			{ref: "e/expired", customer: "cid", quantity: 3, state: domain.OrderExpired, payment: domain.PaymentStatusVoided},
			cancelled("e/given-up", "dan", 4, domain.PaymentStatusVoided),
		},
	},
	{
		// Others have payments of the same events and orders, whatever became of them there.
		name: "other namespaces at the gateway",
		play: func(r *scene) {
			r.neighbour("", "other")
			r.append(
				request(purchase, "a", "amy", 2), request(purchase, "b", "bob", 1),
				change(request(purchase, "c", "cid", 3), func(q *domain.Request) { q.PaymentToken = simulator.DeclineTokenPrefix }),
				request(purchase, "d", "dan", 4),
			)
			r.untilPayment("e/b", domain.PaymentStatusCaptured)
			r.append(request(cancel, "b", "", 0))
		},
		ends: []end{
			confirmed("e/a", "amy", 2), reversed(cancelled("e/b", "bob", 1, domain.PaymentStatusRefunded)),
			{ref: "e/c", customer: "cid", quantity: 3, state: domain.OrderDeclined, payment: domain.PaymentStatusDeclined},
			confirmed("e/d", "dan", 4),
		},
	},
	{
		// One order after the other: what becomes of the first may not free the slot of the second.
		name:   "two in turn",
		events: map[string]int64{"e": 4},
		play: func(r *scene) {
			r.append(request(purchase, "a", "amy", 2))
			r.untilState("e/a", domain.OrderConfirmed)
			r.append(request(hold, "b", "amy", 2))
			r.untilState("e/b", domain.OrderHeld)
			r.append(request(cancel, "a", "", 0))
			r.untilState("e/a", domain.OrderCancelled)
			r.append(request(purchase, "c", "amy", 1))
			r.untilState("e/c", domain.OrderRejected)
			r.append(request(pay, "b", "", 0))
			r.untilPayment("e/a", domain.PaymentStatusRefunded)
		},
		wrap: capturesBeforeVoids,
		ends: []end{
			reversed(cancelled("e/a", "amy", 2, domain.PaymentStatusRefunded)),
			confirmed("e/b", "amy", 2), rejected("e/c", domain.ReasonInProgress),
		},
	},
	{
		// Whoever cancels the event may die at every step as well, and does it again.
		name:   "event cancelled",
		events: map[string]int64{"e": 100, "f": 10},
		wrap: func(r *scene) domain.PaymentGateway {
			return middleman{next: r.world.gateway, do: func(_ context.Context, call string, name domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
				payment, err := do()
				if (call == "authorize" || call == "lookup") && name.OrderID == "paying" && err == nil {
					<-r.released
				}
				return payment, err
			}}
		},
		play: func(r *scene) {
			r.append(
				request(purchase, "sold", "amy", 2), request(hold, "held", "bob", 3), request(purchase, "paying", "cid", 4),
				change(request(purchase, "other", "amy", 1), func(q *domain.Request) { q.EventID = "f" }),
			)
			r.untilPayment("e/sold", domain.PaymentStatusCaptured)
			r.untilPayment("f/other", domain.PaymentStatusCaptured)
			r.untilPayment("e/paying", domain.PaymentStatusAuthorized) // and nobody has been told
			r.untilState("e/held", domain.OrderHeld)
			r.command("e cancelled", func(events *streams.Events) error {
				_, err := events.Cancel(r.ctx, "e", domain.Cause{Reason: "fire", By: "ann"}, nil)
				return err
			})
			r.append(request(purchase, "late", "dan", 1), request(pay, "held", "", 0))
			r.untilState("e/late", domain.OrderRejected)
			r.release()
		},
		ends: []end{
			reversed(withEvent("e/sold", "amy", 2, domain.PaymentStatusRefunded)),
			withEvent("e/held", "bob", 3, domain.PaymentStatusVoided),
			withEvent("e/paying", "cid", 4, domain.PaymentStatusVoided),
			rejected("e/late", domain.ReasonNotOnSale), confirmed("f/other", "amy", 1),
		},
	},
	{
		name: "event closed and reopened",
		play: func(r *scene) {
			r.append(request(hold, "held", "amy", 2))
			r.untilState("e/held", domain.OrderHeld)
			r.command("e closed", func(events *streams.Events) error {
				_, err := events.Close(r.ctx, "e", domain.Cause{By: "ann"})
				return err
			})
			r.append(request(purchase, "closed", "bob", 1), request(pay, "held", "", 0))
			r.untilState("e/closed", domain.OrderRejected)
			r.command("e reopened", func(events *streams.Events) error {
				_, err := events.Reopen(r.ctx, "e", domain.Cause{By: "ann"})
				return err
			})
			r.append(request(purchase, "open", "bob", 1))
		},
		ends: []end{confirmed("e/held", "amy", 2), rejected("e/closed", domain.ReasonNotOnSale), confirmed("e/open", "bob", 1)},
	},
	{
		name: "groups destroyed",
		play: func(r *scene) {
			r.append(request(purchase, "a", "amy", 1))
			r.untilPayment("e/a", domain.PaymentStatusCaptured)
			groups := r.groups()
			r.destroy(groups, request(purchase, "b", "bob", 2))
			r.untilState("e/b", domain.OrderConfirmed)
			r.destroy(groups, request(cancel, "b", "", 0), request(hold, "c", "cid", 3))
		},
		wrap: capturesBeforeVoids,
		ends: []end{
			confirmed("e/a", "amy", 1), reversed(cancelled("e/b", "bob", 2, domain.PaymentStatusRefunded)),
			{ref: "e/c", customer: "cid", quantity: 3, state: domain.OrderHeld},
		},
	},
	{
		// A payment takes longer than the time after which entries are reclaimed. The
		// worker is alive, so nobody takes them, unless it dies or a sign of life is lost.
		name: "payments that take long",
		cfg:  func(cfg *workers.Config) { cfg.ReclaimAfter = 2 * time.Second }, // no load keeps a living worker quiet for so long
		wrap: func(r *scene) domain.PaymentGateway {
			return middleman{next: r.world.gateway, do: func(ctx context.Context, call string, _ domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
				if call == "authorize" && !r.waitReleased(ctx) {
					return domain.Payment{}, errLost
				}
				return do()
			}}
		},
		play: func(r *scene) {
			r.append(request(purchase, "a", "amy", 1), request(purchase, "b", "bob", 2))
			r.until("both held", func() bool {
				return r.orderOf("e/a").State == domain.OrderHeld && r.orderOf("e/b").State == domain.OrderHeld
			})
			r.another()
			since := r.now()
			r.until("it has taken long", func() bool { return r.now() > since+3000 })
			for _, e := range r.pendingEntries() {
				if e.Deliveries > 1 && len(r.injector.faults) == 0 {
					r.t.Errorf("entry %s of a living worker was delivered %d times", e.ID, e.Deliveries)
				}
			}
			r.release()
		},
		ends: []end{confirmed("e/a", "amy", 1), confirmed("e/b", "bob", 2)},
	},
	{
		name: "trimming",
		play: func(r *scene) {
			for i := range 3 {
				id := fmt.Sprintf("a%d", i)
				r.append(request(purchase, id, id, 1), request(purchase, id, id, 1))
				r.untilState("e/"+id, domain.OrderConfirmed)
			}
		},
		tidy: func(r *scene) bool {
			n, err := r.rdb().XLen(r.ctx, r.requests()).Result()
			if err != nil {
				r.t.Fatalf("counting requests: %v", err)
			}
			return n == 0
		},
		ends: []end{confirmed("e/a0", "a0", 1), confirmed("e/a1", "a1", 1), confirmed("e/a2", "a2", 1)},
	},

	{
		// The log is trimmed behind the archive, and the sale goes on: what is asked for about orders whose facts are gone is done, or was done.
		name:    "archived and trimmed",
		archive: true,
		play: func(r *scene) {
			r.sell("a", "b")
			r.untilPayment("e/a", domain.PaymentStatusCaptured)
			r.untilPayment("e/b", domain.PaymentStatusCaptured)
			r.trimmed()
			r.append(request(cancel, "a", "", 0), request(purchase, "b", "cust-b", 3), request(purchase, "c", "cid", 1))
			r.untilPayment("e/a", domain.PaymentStatusRefunded)
			r.untilState("e/c", domain.OrderConfirmed)
			r.untilPayment("e/c", domain.PaymentStatusCaptured)
			r.trimmed()
			r.append(request(purchase, "a", "cust-a", 3), request(cancel, "a", "", 0), request(purchase, "d", "dan", 1))
		},
		ends: []end{
			reversed(cancelled("e/a", "cust-a", 3, domain.PaymentStatusRefunded)), confirmed("e/b", "cust-b", 3), confirmed("e/c", "cid", 1), confirmed("e/d", "dan", 1),
		},
	},
	{
		// An event that is over leaves Redis, and what is asked of it afterwards changes nothing.
		name:    "event over",
		archive: true,
		cfg:     func(cfg *workers.Config) { cfg.KeepEvent = time.Millisecond },
		play: func(r *scene) {
			r.listTerms("over", domain.Terms{})
			r.append(
				over(request(purchase, "sold", "amy", 2)), over(request(purchase, "back", "bob", 3)), over(brief(request(hold, "slow", "cid", 1))),
				over(change(request(purchase, "poor", "dan", 1), func(q *domain.Request) { q.PaymentToken = simulator.DeclineTokenPrefix })),
			)
			r.untilPayment("over/sold", domain.PaymentStatusCaptured)
			r.untilPayment("over/back", domain.PaymentStatusCaptured)
			r.append(over(request(cancel, "back", "", 0)))
			r.untilPayment("over/back", domain.PaymentStatusRefunded)
			r.untilState("over/slow", domain.OrderExpired)
			r.untilState("over/poor", domain.OrderDeclined)
			r.closeOver()
			r.append(over(request(purchase, "sold", "amy", 2)), over(request(purchase, "late", "eve", 1)), over(request(cancel, "sold", "", 0)), request(purchase, "other", "amy", 1))
			r.untilState("e/other", domain.OrderConfirmed)
		},
		ends: []end{
			forgotten(confirmed("over/sold", "amy", 2)), forgotten(reversed(cancelled("over/back", "bob", 3, domain.PaymentStatusRefunded))),
			forgotten(end{ref: "over/slow", customer: "cid", quantity: 1, payment: domain.PaymentStatusVoided}),
			forgotten(end{ref: "over/poor", customer: "dan", quantity: 1, payment: domain.PaymentStatusDeclined}),
			forgotten(end{ref: "over/late", customer: "eve"}), confirmed("e/other", "amy", 1),
		},
	},
	{
		// An event that was forgotten is recalled by a person, one order is given some money back, late, and it is forgotten again.
		name:    "event recalled",
		archive: true,
		cfg:     func(cfg *workers.Config) { cfg.KeepEvent = time.Millisecond },
		play: func(r *scene) {
			r.listWith("over", domain.Terms{MaxPerCustomer: 5, Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: 60_000}}})
			r.append(over(request(purchase, "sold", "amy", 2)), over(request(purchase, "back", "bob", 3)))
			r.untilPayment("over/sold", domain.PaymentStatusCaptured)
			r.untilPayment("over/back", domain.PaymentStatusCaptured)
			r.append(over(request(cancel, "back", "", 0)))
			r.untilPayment("over/back", domain.PaymentStatusRefunded)
			r.closeOver()
			forgets := r.scenario.cfg
			r.scenario.cfg = nil // the next worker leaves it where it is
			r.bury()
			r.person("it is recalled", func(store *streams.Store, archived *archive.Reader) error {
				_, err := store.Events().Recall(r.ctx, archived, "over", nil)
				return err
			})
			r.append(over(refund("sold", 1, 500)), over(refund("sold", 1, 500)), over(request(purchase, "sold", "amy", 2)))
			r.untilRefunded("over/sold", 500)
			r.scenario.cfg = forgets
			r.bury()
			r.until("it is forgotten again", func() bool { return r.isForgotten("over") })
			r.append(over(request(cancel, "sold", "", 0)), request(purchase, "other", "amy", 1))
			r.untilState("e/other", domain.OrderConfirmed)
		},
		ends: []end{
			forgotten(end{ref: "over/sold", customer: "amy", quantity: 2, state: domain.OrderConfirmed, payment: domain.PaymentStatusCaptured, refunded: 500}),
			forgotten(reversed(cancelled("over/back", "bob", 3, domain.PaymentStatusRefunded))), confirmed("e/other", "amy", 1),
		},
	},
	{
		// A failover loses what is archived, under a worker that goes on. A person has it come back: what was bought and paid for, what was held, and a cancel. What is published
		// again meanwhile is one order.
		name:    "lost in a failover",
		archive: true,
		play: func(r *scene) {
			r.sell("kept", "back")
			r.untilPayment("e/kept", domain.PaymentStatusCaptured)
			r.untilPayment("e/back", domain.PaymentStatusCaptured)
			r.until("all is archived", func() bool { return r.isArchived() && r.backlog() == 0 })
			older := r.copied()
			r.append(request(purchase, "lost", "amy", 3), request(hold, "held", "bob", 2), request(cancel, "back", "", 0), request(purchase, "again", "cid", 1))
			r.untilState("e/held", domain.OrderHeld)
			r.untilPayment("e/lost", domain.PaymentStatusCaptured)
			r.untilPayment("e/again", domain.PaymentStatusCaptured)
			r.untilPayment("e/back", domain.PaymentStatusRefunded)
			r.until("all is archived", r.isArchived)
			r.lose(older)
			r.append(request(purchase, "again", "cid", 1), request(purchase, "other", "eve", 1))
			r.untilState("e/other", domain.OrderConfirmed)
			r.person("what was lost comes back", func(store *streams.Store, archived *archive.Reader) error {
				return archived.Lost(r.ctx, store.Ledger(), 0, archive.LostOptions{}, func(lost archive.Lost) error {
					for _, o := range lost.Orders {
						c := domain.Restore{Lost: o.Facts, Common: lost.Common, Listed: lost.Listed(o.Ref.EventID)}
						if _, err := store.Missing(r.ctx, lost.Now, o.Ref, c, true); err != nil {
							return err
						}
					}
					return nil
				})
			})
			r.append(request(pay, "held", "", 0))
		},
		ends: []end{
			confirmed("e/kept", "cust-kept", 3), reversed(cancelled("e/back", "cust-back", 3, domain.PaymentStatusRefunded)), confirmed("e/lost", "amy", 3),
			confirmed("e/held", "bob", 2), confirmed("e/again", "cid", 1), confirmed("e/other", "eve", 1),
		},
	},
	{
		// What costs nothing is confirmed without a payment and without a token; the rest is as ever.
		name:   "free orders",
		events: map[string]int64{"e": 100, "f": 50},
		free:   "f",
		play: func(r *scene) {
			free := func(q domain.Request) domain.Request {
				q.EventID, q.PaymentToken = "f", ""
				return q
			}
			tokenless := func(q domain.Request) domain.Request {
				q.PaymentToken = ""
				return q
			}
			r.append(
				free(request(purchase, "a", "amy", 1)), free(request(hold, "b", "bob", 2)), free(request(pay, "b", "", 0)), free(request(purchase, "c", "cid", 3)),
				brief(free(request(hold, "d", "dan", 4))), free(request(hold, "g", "gus", 5)),
				tokenless(request(purchase, "x", "amy", 1)), request(hold, "y", "bob", 1), tokenless(request(pay, "y", "", 0)), request(purchase, "z", "cid", 1),
			)
			r.untilState("f/c", domain.OrderConfirmed)
			r.untilState("f/g", domain.OrderHeld)
			r.append(free(request(cancel, "c", "", 0)), free(request(cancel, "g", "", 0)))
			r.untilState("f/c", domain.OrderCancelled)
			r.append(free(request(purchase, "c", "cid", 3)))
		},
		ends: []end{
			{ref: "f/a", customer: "amy", quantity: 1, state: domain.OrderConfirmed},
			{ref: "f/b", customer: "bob", quantity: 2, state: domain.OrderConfirmed},
			reversed(cancelled("f/c", "cid", 3, "")),
			{ref: "f/d", customer: "dan", quantity: 4, state: domain.OrderExpired},
			cancelled("f/g", "gus", 5, ""),
			rejected("e/x", domain.ReasonInvalid),
			{ref: "e/y", customer: "bob", quantity: 1, state: domain.OrderHeld},
			confirmed("e/z", "cid", 1),
		},
		dead: []string{"payment_token: missing"},
	},
	{
		// Half of the amount and another currency are voided; another customer's is left alone.
		name: "payments that do not match",
		wrap: func(r *scene) domain.PaymentGateway { return mistaken{r.world.gateway} },
		play: func(r *scene) {
			r.append(request(purchase, "half", "amy", 2), request(purchase, "yen", "bob", 1), limited(request(hold, "zoe", "cid", 3)))
			r.untilState("e/zoe", domain.OrderHeld)
			r.append(request(pay, "zoe", "", 0))
		},
		ends: []end{
			mismatched("e/half", "amy", 2, domain.PaymentStatusVoided), mismatched("e/yen", "bob", 1, domain.PaymentStatusVoided),
			leftAlone("e/zoe", "cid", 3, domain.PaymentStatusAuthorized),
		},
		dead:  []string{"payment_mismatch: customer_id zoe instead of cid; the payment is authorized, and was left alone"},
		named: []string{"e/zoe"},
	},
	{
		// The names of the payments are used already. What matches is the order's own, of before a
		// loss; what does not is nobody's to touch, and what is voided or refunded is no money.
		name: "payments under names that were used before",
		play: func(r *scene) {
			r.charged("e/lost", "amy", 2000, domain.PaymentStatusCaptured)
			r.charged("e/dear", "bob", 5000, domain.PaymentStatusCaptured)
			r.charged("e/cid", "zoe", 3000, domain.PaymentStatusAuthorized)
			r.charged("e/old", "zoe", 1000, domain.PaymentStatusRefunded)
			r.append(request(purchase, "lost", "amy", 2), limited(request(purchase, "dear", "bob", 1)), limited(request(purchase, "cid", "cid", 3)), request(purchase, "old", "dan", 1))
		},
		ends: []end{
			confirmed("e/lost", "amy", 2), leftAlone("e/dear", "bob", 1, domain.PaymentStatusCaptured),
			leftAlone("e/cid", "cid", 3, domain.PaymentStatusAuthorized), mismatched("e/old", "dan", 1, domain.PaymentStatusRefunded),
		},
		dead: []string{
			"payment_mismatch: amount 5000 instead of 1000; the payment is captured, and was left alone",
			"payment_mismatch: customer_id zoe instead of cid; the payment is authorized, and was left alone",
		},
		named: []string{"e/dear", "e/cid"},
	},
	{
		// Each entry has several facts, for posting and for settlement. One of them is refused, one only a person can settle.
		name:   "entries of several facts",
		events: map[string]int64{"e": 100, "f": 50},
		wrap: func(r *scene) domain.PaymentGateway {
			return middleman{next: lossy(r), do: func(_ context.Context, call string, name domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
				switch {
				case call == "capture" && name.OrderID == "refused":
					return domain.Payment{}, domain.ErrRefused
				case call == "capture" && name.OrderID == "odd":
					return domain.Payment{}, fmt.Errorf("capture %s: the gateway answered 400: %w", name.OrderRef, domain.ErrUnacceptable)
				}
				return do()
			}}
		},
		play: func(r *scene) {
			kept := request(purchase, "kept", "amy", 1)
			r.together(
				kept, change(kept, func(q *domain.Request) { q.EventID = "f" }), request(purchase, "undone-0", "bob", 2), request(purchase, "undone-1", "cid", 3),
				request(purchase, "refused", "dan", 4), request(purchase, "odd", "eve", 5),
			)
			r.together(brief(request(hold, "slow-0", "flo", 6)), brief(request(hold, "slow-1", "gus", 7)))
			undone := []string{"undone-0", "undone-1"}
			var cancels []domain.Cancellation
			for _, id := range undone {
				r.untilPayment("e/"+id, domain.PaymentStatusCaptured)
				cancels = append(cancels, domain.Cancellation{Ref: domain.OrderRef{EventID: "e", OrderID: id}})
			}
			if err := r.store.Ledger().Cancel(r.ctx, 0, cancels); err != nil {
				r.t.Fatalf("cancelling: %v", err)
			}
			r.sharesEntry(cancels[0].Ref, cancels[1].Ref)
		},
		ends: []end{
			confirmed("e/kept", "amy", 1), confirmed("f/kept", "amy", 1),
			reversed(cancelled("e/undone-0", "bob", 2, domain.PaymentStatusRefunded)), reversed(cancelled("e/undone-1", "cid", 3, domain.PaymentStatusRefunded)),
			{ref: "e/refused", customer: "dan", quantity: 4, state: domain.OrderCancelled, reason: domain.ReasonCaptureFailed, payment: domain.PaymentStatusVoided, reversed: true},
			{ref: "e/odd", customer: "eve", quantity: 5, state: domain.OrderConfirmed, payment: domain.PaymentStatusAuthorized},
			{ref: "e/slow-0", customer: "flo", quantity: 6, state: domain.OrderExpired, payment: domain.PaymentStatusVoided},
			{ref: "e/slow-1", customer: "gus", quantity: 7, state: domain.OrderExpired, payment: domain.PaymentStatusVoided},
		},
		dead:  []string{"capture e/odd: the gateway answered 400"},
		named: []string{"e/odd"},
	},
	{
		// Of each entry one order's money does not move for a while: it leaves the entry, which is acknowledged.
		name: "money that waits",
		wrap: func(r *scene) domain.PaymentGateway {
			return middleman{next: r.world.gateway, do: func(_ context.Context, call string, name domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
				if (call == "capture" || call == "void") && strings.HasPrefix(name.OrderID, "late") && !r.isReleased() {
					return domain.Payment{}, errLost
				}
				return do()
			}}
		},
		play: func(r *scene) {
			r.together(request(purchase, "a", "amy", 1), request(purchase, "late-capture", "bob", 2), request(purchase, "c", "cid", 3))
			r.append(request(hold, "late-void", "dan", 4))
			r.untilState("e/late-void", domain.OrderHeld)
			r.append(request(cancel, "late-void", "", 0))
			r.until("two owed, and nothing else left", func() bool { return r.settlement().Owed == 2 && r.backlog() == 2 })
			r.release()
		},
		ends: []end{
			confirmed("e/a", "amy", 1), confirmed("e/late-capture", "bob", 2), confirmed("e/c", "cid", 3),
			cancelled("e/late-void", "dan", 4, domain.PaymentStatusVoided),
		},
	},
	{
		name: "cancelled while its capture is owed",
		wrap: func(r *scene) domain.PaymentGateway { return newCapturesThenCancels(r.world) },
		play: func(r *scene) {
			r.append(request(purchase, "o", "amy", 2))
			gateway, _ := r.gateway.(*capturesThenCancels)
			gateway.play(r.until, func() domain.OrderState { return r.orderOf("e/o").State }, func() { r.append(request(cancel, "o", "", 0)) }, r.owedFact)
		},
		ends: []end{reversed(cancelled("e/o", "amy", 2, domain.PaymentStatusRefunded))},
	},
	{
		// Orders end, and their payments are not theirs to void or refund.
		name: "ended, and the payment is another's",
		play: func(r *scene) {
			r.charged("e/slow", "zoe", 2000, domain.PaymentStatusAuthorized)
			r.charged("e/given-up", "bob", 7000, domain.PaymentStatusCaptured)
			r.append(brief(request(hold, "slow", "amy", 2)), request(hold, "given-up", "bob", 1))
			r.untilState("e/given-up", domain.OrderHeld)
			r.append(request(cancel, "given-up", "", 0))
		},
		ends: []end{
			{ref: "e/slow", customer: "amy", quantity: 2, state: domain.OrderExpired, payment: domain.PaymentStatusAuthorized},
			cancelled("e/given-up", "bob", 1, domain.PaymentStatusCaptured),
		},
		dead: []string{
			"order e/slow is expired, but its payment is authorized at the gateway, customer_id zoe instead of amy",
			"order e/given-up is cancelled, but its payment is captured at the gateway, amount 7000 instead of 1000",
		},
		named: []string{"e/slow", "e/given-up"},
	},
	{
		// The gateway moves other amounts than it authorized, or says so.
		name: "other amounts captured and refunded",
		wrap: func(r *scene) domain.PaymentGateway {
			return middleman{next: r.world.gateway, do: func(_ context.Context, call string, name domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
				p, err := do()
				if name.OrderID == "a" && call == "capture" || name.OrderID == "b" && p.Status == domain.PaymentStatusRefunded {
					p.Amount /= 2
				}
				return p, err
			}}
		},
		play: func(r *scene) {
			r.append(request(purchase, "a", "amy", 2), request(purchase, "b", "bob", 1))
			r.untilPayment("e/b", domain.PaymentStatusCaptured)
			r.append(request(cancel, "b", "", 0))
		},
		ends: []end{confirmed("e/a", "amy", 2), reversed(cancelled("e/b", "bob", 1, domain.PaymentStatusRefunded))},
		dead: []string{"payment_mismatch: captured, amount 1000 instead of 2000", "payment_mismatch: refunded, amount 500 instead of 1000"},
	},
	{
		// Calls that the gateway will never take (400): each is set aside, and nothing waits for it.
		name: "calls refused for good",
		wrap: func(r *scene) domain.PaymentGateway {
			refused := map[string]string{"a": "authorize", "b": "capture", "c": "refund", "d": "void"}
			return middleman{next: r.world.gateway, do: func(_ context.Context, call string, name domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
				if refused[name.OrderID] == call {
					return domain.Payment{}, fmt.Errorf("%s %s: the gateway answered 400: %w", call, name.OrderRef, domain.ErrUnacceptable)
				}
				return do()
			}}
		},
		play: func(r *scene) {
			r.append(request(purchase, "a", "amy", 1), request(purchase, "b", "bob", 2), request(purchase, "c", "cid", 3), request(hold, "d", "dan", 4), request(purchase, "e", "eve", 5))
			r.untilPayment("e/c", domain.PaymentStatusCaptured)
			r.untilState("e/d", domain.OrderHeld)
			r.append(request(cancel, "c", "", 0), request(cancel, "d", "", 0))
		},
		ends: []end{
			{ref: "e/a", customer: "amy", quantity: 1, state: domain.OrderHeld}, // until its deadline
			{ref: "e/b", customer: "bob", quantity: 2, state: domain.OrderConfirmed, payment: domain.PaymentStatusAuthorized},
			reversed(cancelled("e/c", "cid", 3, domain.PaymentStatusCaptured)),
			cancelled("e/d", "dan", 4, ""), confirmed("e/e", "eve", 5),
		},
		dead:  []string{"authorize e/a: the gateway answered 400", "capture e/b: the gateway answered 400", "refund e/c: the gateway answered 400", "void e/d: the gateway answered 400"},
		named: []string{"e/b", "e/c"},
	},
	{
		// The key is not valid until somebody changes it: nothing is set aside, and all goes on.
		name: "gateway misconfigured, then mended",
		cfg:  func(cfg *workers.Config) { cfg.MaxDeliveries = 5 }, // none is used up by waiting
		wrap: func(r *scene) domain.PaymentGateway {
			return middleman{next: r.world.gateway, do: func(_ context.Context, call string, name domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
				if !r.isReleased() {
					return domain.Payment{}, fmt.Errorf("%s %s: the gateway answered 401: %w", call, name, domain.ErrMisconfigured)
				}
				return do()
			}}
		},
		play: func(r *scene) {
			r.append(request(purchase, "a", "amy", 1), request(purchase, "b", "bob", 2), request(hold, "c", "cid", 3))
			r.untilState("e/c", domain.OrderHeld)
			r.append(request(cancel, "c", "", 0))
			r.until("it is reported", func() bool { return r.reports(domain.CodeGatewayMisconfigured) })
			r.release()
		},
		tidy: func(r *scene) bool { return !r.reports(domain.CodeGatewayMisconfigured) },
		ends: []end{confirmed("e/a", "amy", 1), confirmed("e/b", "bob", 2), cancelled("e/c", "cid", 3, domain.PaymentStatusVoided)},
	},
	{
		name:    "gateway that limits its rate",
		gateway: simulator.Options{RateLimit: 8},
		play: func(r *scene) {
			for i := range 6 {
				id := fmt.Sprintf("a%d", i)
				r.append(request(purchase, id, id, 1))
			}
			r.untilState("e/a0", domain.OrderConfirmed)
			r.append(request(cancel, "a0", "", 0))
		},
		wrap: capturesBeforeVoids,
		ends: func() (ends []end) {
			ends = append(ends, reversed(cancelled("e/a0", "a0", 1, domain.PaymentStatusRefunded)))
			for i := 1; i < 6; i++ {
				id := fmt.Sprintf("a%d", i)
				ends = append(ends, confirmed("e/"+id, id, 1))
			}
			return ends
		}(),
	},
}

// neighbour makes payments of other namespaces: one that is declined, one that is captured,
// one that is authorized, and one that is voided.
func (r *scene) neighbour(namespaces ...string) {
	r.t.Helper()
	gateway := r.world.gateway
	for _, namespace := range namespaces {
		for order, then := range map[string]func(context.Context, domain.Attempt) (domain.Payment, error){
			"a": gateway.Lookup, "b": gateway.Capture, "c": gateway.Lookup, "d": gateway.Void,
		} {
			attempt := domain.Attempt{
				Name:   domain.PaymentName{Namespace: namespace, OrderRef: domain.OrderRef{EventID: "e", OrderID: order}},
				Amount: 500, Currency: "JPY", CustomerID: "neighbour",
			}
			token := domain.Secret("tok_neighbour")
			if order == "a" {
				token = simulator.DeclineTokenPrefix
			}
			_, err := gateway.Authorize(r.ctx, domain.PaymentRequest{Attempt: attempt, Token: token})
			if err == nil {
				_, err = then(r.ctx, attempt)
			}
			if err != nil {
				r.t.Fatalf("paying in another namespace: %v", err)
			}
		}
	}
	_, r.neighbours = r.books()
}

// forgotten is an order whose event is.
func forgotten(e end) end {
	e.forgotten = true
	return e
}

func change(q domain.Request, how func(q *domain.Request)) domain.Request {
	how(&q)
	return q
}

// items makes a request one for places of both sections.
func items(q domain.Request, general, vip int64) domain.Request {
	q.Items = []domain.RequestItem{{Section: "vip", Quantity: vip}, {Section: "general", Quantity: general}}
	return q
}

// named makes a request one for seats of vip.
func named(q domain.Request, seats ...string) domain.Request {
	q.Section, q.Quantity, q.Seats = "vip", 0, seats
	return q
}

// seatsOf is what each seat of the section vip of an event is.
func (r *scene) seatsOf(event string) string {
	r.t.Helper()
	e, err := r.store.Events().Get(r.ctx, event)
	if err != nil {
		r.t.Fatalf("reading %s: %v", event, err)
	}
	vip, _ := e.Section("vip")
	return vip.Places
}

// altered is a partial cancel, or a change, of order e/order.
func altered(kind domain.RequestType, order string, number, general, vip int64) domain.Request {
	q := items(domain.Request{Type: kind, EventID: "e", OrderID: order, Change: number}, general, vip)
	q.Items = slices.DeleteFunc(q.Items, func(item domain.RequestItem) bool { return item.Quantity == 0 })
	return q
}

// keeping is a cancel after which the organiser has the money.
func keeping(q domain.Request) domain.Request {
	q.NoRefund = true
	return q
}

// refund is one of an amount of order e/order.
func refund(order string, number, amount int64) domain.Request {
	return domain.Request{Type: domain.RequestRefund, EventID: "e", OrderID: order, Change: number, Amount: amount}
}

// untilChange waits until a partial cancel or a change of an order is decided.
func (r *scene) untilChange(ref string, number int64) {
	r.t.Helper()
	r.until(fmt.Sprintf("change %d of %s", number, ref), func() bool { return r.orderOf(ref).Change >= number })
}

// brief is a request whose hold will soon be over.
func brief(q domain.Request) domain.Request {
	q.HoldSeconds = 1
	return q
}

// limited is a request whose hold lasts longer than any recovery, and shorter than a run.
func limited(q domain.Request) domain.Request {
	q.HoldSeconds = 10
	return q
}

// listTerms lists an event of which nothing will be sold.
func (r *scene) listTerms(event string, t domain.Terms) {
	r.t.Helper()
	t.Name, t.Currency, t.Sections = event, "EUR", []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: 10}}
	if _, err := r.store.Events().Create(r.ctx, event, t); err != nil {
		r.t.Fatalf("listing %s: %v", event, err)
	}
}

// charged is what somebody else did at the gateway under an order's name.
func (r *scene) charged(ref, customer string, amount int64, status domain.PaymentStatus) {
	r.t.Helper()
	parsed, _ := domain.ParseOrderRef(ref)
	attempt := domain.Attempt{
		Name: domain.PaymentName{Namespace: r.store.PaymentNamespace(), OrderRef: parsed}, Amount: amount, Currency: "EUR", CustomerID: customer,
	}
	p, err := r.world.gateway.Authorize(r.ctx, domain.PaymentRequest{Attempt: attempt, Token: "tok"})
	if err == nil && status != domain.PaymentStatusAuthorized {
		p, err = r.world.gateway.Capture(r.ctx, attempt)
	}
	if err == nil && status == domain.PaymentStatusRefunded {
		p, err = r.world.gateway.Refund(r.ctx, attempt, amount)
	}
	if err != nil || p.Status != status {
		r.t.Fatalf("charging %s: %+v, %v", ref, p, err)
	}
}

// reports tells whether the worker says that it has such a trouble.
func (r *scene) reports(code domain.Code) bool {
	r.t.Helper()
	if r.worker == nil {
		return false
	}
	troubles, err := inspect.New(r.store).Troubles(r.ctx, r.now())
	if err != nil {
		r.t.Fatalf("reading troubles: %v", err)
	}
	return slices.ContainsFunc(troubles, func(t inspect.Trouble) bool { return t.Worker == r.worker.Name() && t.Code == code })
}

// add puts an entry among the requests that no publisher of ours would.
func (r *scene) add(fields ...string) {
	r.t.Helper()
	if err := r.rdb().XAdd(r.ctx, &redis.XAddArgs{Stream: r.requests(), Values: fields}).Err(); err != nil {
		r.t.Fatalf("adding an entry: %v", err)
	}
}

// pendingEntries are those of all groups.
func (r *scene) pendingEntries() (entries []inspect.PendingEntry) {
	r.t.Helper()
	all, err := inspect.New(r.store).Pending(r.ctx, 100)
	if err != nil {
		r.t.Fatalf("inspecting: %v", err)
	}
	for _, g := range all {
		entries = append(entries, g.Entries...)
	}
	return entries
}

// now is Redis's time in milliseconds.
func (r *scene) now() int64 {
	r.t.Helper()
	now, err := r.store.Now(r.ctx)
	if err != nil {
		r.t.Fatalf("asking for the time: %v", err)
	}
	return now.UnixMilli()
}

// waitReleased waits until the scenario lets the gateway go on, and reports false if ctx ended first.
func (r *scene) waitReleased(ctx context.Context) bool {
	select {
	case <-r.released:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *scene) isReleased() bool {
	select {
	case <-r.released:
		return true
	default:
		return false
	}
}

// approvesLate is a gateway whose approvals take effect at once, but are told only
// when the scenario says so, whether or not anybody is still waiting; also to whoever asks because the first answer was lost.
func approvesLate(r *scene) domain.PaymentGateway {
	return middleman{next: r.world.gateway, do: func(_ context.Context, call string, _ domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
		payment, err := do()
		if (call == "authorize" || call == "lookup") && err == nil {
			<-r.released
		}
		return payment, err
	}}
}

// capturesWhenReleased is a gateway that captures nothing until the scenario says so.
func capturesWhenReleased(r *scene) domain.PaymentGateway {
	return middleman{next: r.world.gateway, do: func(ctx context.Context, call string, _ domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
		if call == "capture" && !r.waitReleased(ctx) {
			return domain.Payment{}, errLost
		}
		return do()
	}}
}

// silent is a gateway that does what it is asked and tells nobody how a payment ended, until the scenario says so.
func silent(r *scene) domain.PaymentGateway {
	return middleman{next: r.world.gateway, do: func(_ context.Context, call string, _ domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
		p, err := do()
		if (call == "authorize" || call == "lookup") && !r.isReleased() {
			return domain.Payment{}, errLost
		}
		return p, err
	}}
}

// lossy is a gateway that answers each call the third time only: the first was made,
// but the reply is lost; the second does not arrive.
func lossy(r *scene) domain.PaymentGateway {
	var mu sync.Mutex
	calls := make(map[string]int)
	return middleman{next: r.world.gateway, do: func(_ context.Context, call string, name domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
		mu.Lock()
		calls[call+" "+name.String()]++
		n := calls[call+" "+name.String()]
		mu.Unlock()
		if n == 2 {
			return domain.Payment{}, errLost
		}
		payment, err := do()
		if n == 1 {
			return domain.Payment{}, errLost
		}
		return payment, err
	}}
}

// mistaken is a gateway that authorizes something else than it was asked for.
type mistaken struct{ domain.PaymentGateway }

func (m mistaken) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	switch r.Name.OrderID {
	case "half":
		r.Amount /= 2
	case "yen":
		r.Currency = "JPY"
	case "zoe":
		r.CustomerID = "zoe"
	}
	return m.PaymentGateway.Authorize(ctx, r)
}

// capturesBeforeVoids is a gateway that knows each order as captured before it is asked
// to void it, so that there is one way for it to end: refunded.
func capturesBeforeVoids(r *scene) domain.PaymentGateway {
	return middleman{next: r.world.gateway, do: func(_ context.Context, call string, name domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
		if call == "void" {
			_, _ = r.world.gateway.Capture(r.ctx, domain.Attempt{Name: name}) // refused when it is refunded already; with no worker's context, so that no fault happens to it
		}
		return do()
	}}
}

// groups are all there are, by their streams.
func (r *scene) groups() map[string][]string {
	r.t.Helper()
	groups := make(map[string][]string)
	streams := r.rdb().ScanType(r.ctx, 0, r.ns+":*", 1000, "stream").Iterator()
	for streams.Next(r.ctx) {
		infos, err := r.rdb().XInfoGroups(r.ctx, streams.Val()).Result()
		if err != nil {
			r.t.Fatalf("looking for groups: %v", err)
		}
		for _, info := range infos {
			groups[streams.Val()] = append(groups[streams.Val()], info.Name)
		}
	}
	if err := streams.Err(); err != nil || len(groups) != 2 {
		r.t.Fatalf("groups by stream: %v, %v", groups, err)
	}
	return groups
}

// destroy destroys groups, and publishes before anybody can make them again.
func (r *scene) destroy(groups map[string][]string, requests ...domain.Request) {
	r.t.Helper()
	_, err := r.rdb().TxPipelined(r.ctx, func(pipe redis.Pipeliner) error {
		for stream, names := range groups {
			for _, name := range names {
				pipe.XGroupDestroy(r.ctx, stream, name)
			}
		}
		for _, q := range requests {
			pipe.XAdd(r.ctx, &redis.XAddArgs{Stream: r.requests(), Values: wire.Fields(q)})
		}
		return nil
	})
	if err != nil {
		r.t.Fatalf("destroying groups: %v", err)
	}
}

// asks has the customer's bank ask something of them.
func asks(q *domain.Request) { q.PaymentToken = simulator.ActionTokenPrefix }

// update says that there may be news of an attempt to pay for an order of e.
func update(order string, n int64) domain.Request {
	return domain.Request{Type: domain.RequestPaymentUpdate, EventID: "e", OrderID: order, Attempt: n}
}

// attempt is a later attempt to pay for an order of e.
func attempt(order string, n int64) domain.Request {
	return change(request(pay, order, "", 0), func(q *domain.Request) { q.Attempt = n })
}

const ghost = "ghost"

// diedAsGhost is how it ends after diesAsGhost and one more purchase.
var diedAsGhost = []end{
	confirmed("e/confirmed", "amy", 1), confirmed("e/authorized", "bob", 2), confirmed("e/held", "cid", 3), confirmed("e/read", "dan", 4),
	cancelled("e/given-up", "", 0, domain.PaymentStatusVoided), confirmed("e/new", "eve", 1),
}

// incoming is how a worker takes requests in.
func (w *world) incoming(entries []domain.Entry) (incoming []domain.Incoming) {
	w.t.Helper()
	for _, e := range entries {
		q, err := wire.ParseRequest(e.Fields)
		if err != nil {
			w.t.Fatalf("reading request %s: %v", e.ID, err)
		}
		in := domain.Incoming{EntryID: e.ID, Request: q, HoldMillis: 600_000, ValidMillis: 600_000}
		if q.HoldSeconds > 0 {
			in.HoldMillis = q.HoldSeconds * 1000
		}
		incoming = append(incoming, in)
	}
	return incoming
}

// authorized is the gateway's answer for an order that is held.
func (w *world) authorized(in domain.Incoming, o domain.Order) domain.Resolution {
	w.t.Helper()
	ref := in.Request.Ref()
	paid, err := w.gateway.Authorize(w.ctx, domain.PaymentRequest{Attempt: domain.Attempt{
		Name: domain.PaymentName{Namespace: w.store.PaymentNamespace(), OrderRef: ref}, Amount: o.Amount(), Currency: o.Currency, CustomerID: o.CustomerID,
		Fingerprint: o.Fingerprint,
	}, Token: in.Request.PaymentToken})
	if err != nil {
		w.t.Fatalf("authorizing %s: %v", ref, err)
	}
	return domain.Resolution{EntryID: in.EntryID, Ref: ref, Order: o, Attempt: in.Request.AttemptNumber(), Outcome: domain.PaymentApproved, AuthorizationID: paid.AuthorizationID}
}

// together publishes requests, and does what a worker does: it holds them in one step, and confirms those that
// pay in another, so that their facts share an entry.
func (w *world) together(asked ...domain.Request) {
	w.t.Helper()
	w.publish(asked...)
	queue, err := w.store.Queue(0, domain.GroupWorkers, ghost)
	if err != nil {
		w.t.Fatal(err)
	}
	entries, err := queue.Read(w.ctx, len(asked), 0)
	if err != nil || len(entries) != len(asked) {
		w.t.Fatalf("the ghost was given %d entries of %d, %v", len(entries), len(asked), err)
	}
	incoming := w.incoming(entries)
	replies, _, err := w.store.Ledger().Hold(w.ctx, 0, incoming)
	if err != nil {
		w.t.Fatalf("holding: %v", err)
	}
	var resolutions []domain.Resolution
	refs := make([]domain.OrderRef, len(incoming))
	for i, in := range incoming {
		refs[i] = in.Request.Ref()
		if replies[i].Verdict == domain.VerdictAuthorize {
			resolutions = append(resolutions, w.authorized(in, replies[i].Order))
		}
	}
	if _, _, err := w.store.Ledger().Resolve(w.ctx, 0, resolutions); err != nil {
		w.t.Fatalf("confirming: %v", err)
	}
	w.sharesEntry(refs...)
}

// sharesEntry checks that the last facts of orders stand in one entry of the log.
func (w *world) sharesEntry(refs ...domain.OrderRef) {
	w.t.Helper()
	orders, err := w.store.Checkout().Orders(w.ctx, refs)
	if err != nil {
		w.t.Fatalf("reading orders: %v", err)
	}
	for i, o := range orders {
		if o.Version != orders[0].Version {
			w.t.Fatalf("%s was changed by entry %s, %s by %s", refs[0], orders[0].Version, refs[i], o.Version)
		}
	}
}

// diesAsGhost does what a worker of that name would, as far as it gets: one order is
// confirmed, and the fact is given to posting and settlement; one is authorized;
// one is held; one is only read, and so is a cancel. wasAlive says whether it ever said that it was there.
func (r *scene) diesAsGhost(wasAlive bool) {
	r.t.Helper()
	must := func(err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatalf("working as a ghost: %v", err)
		}
	}
	queue := func(group domain.Group) domain.Queue {
		q, err := r.store.Queue(0, group, ghost)
		must(err)
		if wasAlive {
			_, err = q.KeepAlive(r.ctx, nil, time.Millisecond)
			must(err)
		}
		return q
	}
	asked := []domain.Request{
		request(purchase, "confirmed", "amy", 1), request(purchase, "authorized", "bob", 2), request(purchase, "held", "cid", 3),
		request(purchase, "read", "dan", 4), request(cancel, "given-up", "", 0),
	}
	r.append(asked...)
	entries, err := queue(domain.GroupWorkers).Read(r.ctx, 10, time.Second)
	must(err)
	if len(entries) != len(asked) {
		r.t.Fatalf("the ghost was given %d entries of %d", len(entries), len(asked))
	}
	incoming := r.incoming(entries[:3])
	held, _, err := r.store.Ledger().Hold(r.ctx, 0, incoming)
	must(err)
	var resolutions []domain.Resolution
	for i, a := range incoming[:2] {
		resolutions = append(resolutions, r.authorized(a, held[i].Order))
	}
	_, _, err = r.store.Ledger().Resolve(r.ctx, 0, resolutions[:1])
	must(err)
	for _, group := range []domain.Group{domain.GroupPosting, domain.GroupSettlement} {
		entries, err := queue(group).Read(r.ctx, 10, time.Second)
		must(err)
		if len(entries) == 0 {
			must(errors.New("no fact for " + string(group)))
		}
	}
}

// onlyLiving reports whether nobody is in the groups but who says that it is there.
func onlyLiving(r *scene) bool {
	r.t.Helper()
	all, err := inspect.New(r.store).Pending(r.ctx, 0)
	if err != nil {
		r.t.Fatalf("inspecting: %v", err)
	}
	for _, g := range all {
		if slices.ContainsFunc(g.Consumers, func(c inspect.ConsumerStatus) bool { return !c.Alive }) {
			return false
		}
	}
	return true
}
