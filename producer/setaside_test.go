package producer_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/domain"
	"holdfast/producer"
)

// A notice comes from outside: what it names is looked at, and what it says of it would be worth nothing.
func TestNoticeOnlyWakesALook(t *testing.T) {
	inBubble(t, never, func(b *bench) {
		o := ref("p0", "o")
		w := b.wait(b.Context(), b.producer.Wait, o)
		w.waiting()
		for n := range 3 {
			b.outcomes.tell(ref("p0", "unheard-of"), o)
			w.waiting() // nothing has changed
			b.readsOf(o, 3+n)
		}
		b.readsOf(ref("p0", "unheard-of"), 0)
		b.outcomes.set(o, orderIn(domain.OrderHeld, "fred"))
		b.outcomes.tell(o)
		w.waiting()
		b.outcomes.change(o, orderIn(domain.OrderConfirmed, "fred"))
		w.got(orderIn(domain.OrderConfirmed, "fred"))
		b.elapsed(0)
	})
}

// However many wait, and whatever wakes them, a look is one round trip for many.
func TestLooksAreShared(t *testing.T) {
	const waiters, most = 1200, 500
	inBubble(t, time.Minute, func(b *bench) {
		var waits []*wait
		var refs []domain.OrderRef
		for i := range waiters {
			refs = append(refs, ref("p0", fmt.Sprintf("o%d", i)))
			waits = append(waits, b.wait(b.Context(), b.producer.Wait, refs[i]))
		}
		synctest.Wait()
		looks := func(what string, wake func()) {
			t.Helper()
			before := len(b.outcomes.looked(0))
			wake()
			synctest.Wait()
			looks, orders := b.outcomes.looked(before), 0
			for _, n := range looks {
				orders += n
				if n > most {
					t.Errorf("%s: a look at %d orders, want %d at most", what, n, most)
				}
			}
			if len(looks) != 3 || orders != waiters {
				t.Errorf("%s: %d looks at %d orders, want 3 at %d", what, len(looks), orders, waiters)
			}
		}
		looks("a notice", func() { b.outcomes.tell(refs...) })
		looks("a notice that repeats itself", func() { b.outcomes.tell(append(refs, refs...)...) })
		looks("a connection", func() { b.outcomes.sink(0).Connected() })
		looks("a recheck", func() { time.Sleep(time.Minute) })
		for i, r := range refs {
			b.outcomes.set(r, orderIn(domain.OrderConfirmed, fmt.Sprintf("c%d", i)))
		}
		looks("the end", func() { b.outcomes.tell(refs...) })
		for i, w := range waits {
			w.got(orderIn(domain.OrderConfirmed, fmt.Sprintf("c%d", i)))
		}
		b.outcomes.tell(refs...)
		b.elapsed(time.Minute)
	})
}

// What a look finds that began before the call may be older than what the caller knows already.
func TestAnswersAreNotOlderThanTheCall(t *testing.T) {
	inBubble(t, never, func(b *bench) {
		o := ref("p0", "o")
		first := b.wait(b.Context(), b.producer.Wait, o)
		first.waiting()
		reading, read := make(chan struct{}), make(chan struct{})
		b.outcomes.afterRead = func(n int, _ domain.OrderRef) {
			if n == 3 {
				close(reading)
				<-read
			}
		}
		b.outcomes.change(o, orderIn(domain.OrderConfirmed, "fred"))
		<-reading
		b.outcomes.set(o, orderIn(domain.OrderCancelled, "fred"))
		second := b.wait(b.Context(), b.producer.Wait, o)
		second.waiting()
		close(read)
		first.got(orderIn(domain.OrderConfirmed, "fred"))
		second.got(orderIn(domain.OrderCancelled, "fred"))
		b.elapsed(0)
	})
}

func letter(n int, of domain.RequestType) domain.SetAside {
	return domain.SetAside{DeadID: fmt.Sprintf("0:%d-0", 100+n), EntryID: fmt.Sprintf("%d-0", n), Type: of, Reason: fmt.Sprintf("because of %d", n)}
}

func receiptOf(n int, of domain.RequestType) producer.Receipt {
	r := producer.Receipt{EventID: "p0", OrderID: "o", EntryID: fmt.Sprintf("%d-0", n), Type: of}
	if of.Opens() {
		r.Fingerprint = "mine"
	}
	return r
}

// Who waits by a receipt is told when that very request was set aside, whatever the order
// is; another request's letter is no news. An outcome is told before anything else.
func TestSetAsideByReceipt(t *testing.T) {
	none := domain.Order{}
	held, confirmed := orderIn(domain.OrderHeld, "fred"), orderIn(domain.OrderConfirmed, "fred")
	for _, test := range []struct {
		receipt producer.Receipt
		order   domain.Order
		letters []domain.SetAside
		want    int // the letter; 0: it waits; -1: it has the order
	}{
		{receiptOf(1, domain.RequestPurchase), none, []domain.SetAside{letter(1, domain.RequestPurchase)}, 1},
		{receiptOf(1, domain.RequestPurchase), none, []domain.SetAside{letter(2, domain.RequestPurchase), letter(1, domain.RequestPurchase), letter(3, domain.RequestPurchase)}, 1},
		{receiptOf(1, domain.RequestPurchase), none, []domain.SetAside{letter(2, domain.RequestPurchase)}, 0},
		{receiptOf(1, domain.RequestPurchase), held, []domain.SetAside{letter(1, domain.RequestPurchase)}, 1},
		{receiptOf(1, domain.RequestPurchase), held, []domain.SetAside{letter(2, domain.RequestPay)}, 0},
		{receiptOf(1, domain.RequestPurchase), confirmed, []domain.SetAside{letter(1, domain.RequestPurchase)}, -1},
		{receiptOf(1, domain.RequestHold), none, []domain.SetAside{letter(1, domain.RequestHold)}, 1},
		{receiptOf(1, domain.RequestHold), held, []domain.SetAside{letter(1, domain.RequestHold)}, -1},
		{receiptOf(1, domain.RequestPay), none, []domain.SetAside{letter(1, domain.RequestPay)}, 1},
		{receiptOf(1, domain.RequestPay), held, []domain.SetAside{letter(1, domain.RequestPay)}, 1},
		{receiptOf(1, domain.RequestPay), held, []domain.SetAside{letter(2, domain.RequestPay)}, 0},
		{receiptOf(1, domain.RequestCancel), none, []domain.SetAside{letter(2, domain.RequestPurchase)}, 0},
		{receiptOf(1, domain.RequestCancel), confirmed, []domain.SetAside{letter(1, domain.RequestCancel)}, 1},
		{receiptOf(1, domain.RequestCancel), orderIn(domain.OrderDeclined, "fred"), []domain.SetAside{letter(1, domain.RequestCancel)}, -1},
	} {
		for _, told := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, %s, %v, told %t", test.receipt.Type, test.order.State, test.letters, told), func(t *testing.T) {
				inBubble(t, never, func(b *bench) {
					o := ref("p0", "o")
					var w *wait
					if told {
						if test.want >= 0 {
							b.outcomes.set(o, test.order)
						}
						w = b.waitFor(test.receipt)
						w.waiting()
					}
					b.outcomes.set(o, test.order)
					b.outcomes.setAside(o, test.letters...)
					if told {
						b.outcomes.tell(o)
					} else {
						w = b.waitFor(test.receipt)
					}
					switch test.want {
					case -1:
						w.got(test.order)
					case 0:
						w.waiting()
						b.outcomes.change(o, orderIn(domain.OrderCancelled, "fred")) // which ends every wait
						w.got(orderIn(domain.OrderCancelled, "fred"))
					default:
						w.setAside(letter(test.want, test.receipt.Type))
					}
					b.elapsed(0)
				})
			})
		}
	}
}

// Who only names an order, or does not know which entry is the request's, is told when nothing
// is stored of the order and a request like the one that is waited for is set aside.
func TestSetAsideByOrder(t *testing.T) {
	unknown := func(of domain.RequestType) producer.Receipt {
		r := receiptOf(0, of)
		r.EntryID = ""
		return r
	}
	types := []domain.RequestType{domain.RequestPurchase, domain.RequestHold, domain.RequestPay, domain.RequestCancel, ""}
	for name, test := range map[string]struct {
		wait  func(b *bench) *wait
		tells string // of which types, by their first letters; "-" for none of the four
	}{
		"Wait":          {func(b *bench) *wait { return b.wait(b.Context(), b.producer.Wait, ref("p0", "o")) }, "purchase hold pay -"},
		"WaitHeld":      {func(b *bench) *wait { return b.wait(b.Context(), b.producer.WaitHeld, ref("p0", "o")) }, "purchase hold"},
		"WaitCancelled": {func(b *bench) *wait { return b.wait(b.Context(), b.producer.WaitCancelled, ref("p0", "o")) }, "cancel"},
		"purchase":      {func(b *bench) *wait { return b.waitFor(unknown(domain.RequestPurchase)) }, "purchase"},
		"hold":          {func(b *bench) *wait { return b.waitFor(unknown(domain.RequestHold)) }, "hold"},
		"pay":           {func(b *bench) *wait { return b.waitFor(unknown(domain.RequestPay)) }, "pay"},
		"cancel":        {func(b *bench) *wait { return b.waitFor(unknown(domain.RequestCancel)) }, "cancel"},
	} {
		for n, kind := range types {
			t.Run(name+" of "+string(kind), func(t *testing.T) {
				inBubble(t, never, func(b *bench) {
					o := ref("p0", "o")
					w := test.wait(b)
					w.waiting()
					b.outcomes.setAside(o, letter(n, kind))
					b.outcomes.tell(o)
					label := string(kind)
					if label == "" {
						label = "-"
					}
					if strings.Contains(" "+test.tells+" ", " "+label+" ") {
						w.setAside(letter(n, kind))
						b.outcomes.setAside(o, letter(n, kind), letter(9, kind))
						test.wait(b).setAside(letter(9, kind)) // the newest, and at once
						b.outcomes.set(o, orderIn(domain.OrderHeld, "fred"))
						if name != "WaitHeld" && name != "hold" {
							w = test.wait(b)
							w.waiting() // the order goes on
							b.outcomes.change(o, orderIn(domain.OrderExpired, "fred"))
							w.got(orderIn(domain.OrderExpired, "fred"))
						}
						return
					}
					w.waiting()
					b.outcomes.change(o, orderIn(domain.OrderExpired, "fred"))
					w.got(orderIn(domain.OrderExpired, "fred"))
				})
			})
		}
	}
}

// A letter that was redriven or discarded is none any more.
func TestSetAsideNoMore(t *testing.T) {
	inBubble(t, never, func(b *bench) {
		o := ref("p0", "o")
		b.outcomes.setAside(o, letter(1, domain.RequestPurchase))
		b.waitFor(receiptOf(1, domain.RequestPurchase)).setAside(letter(1, domain.RequestPurchase))
		b.outcomes.setAside(o)
		w := b.waitFor(receiptOf(1, domain.RequestPurchase))
		w.waiting()
		b.outcomes.change(o, orderIn(domain.OrderConfirmed, "fred"))
		w.got(orderIn(domain.OrderConfirmed, "fred"))
	})
}

// An order of another body is nobody's answer but its own publisher's.
func TestConflictByReceipt(t *testing.T) {
	other := func(state domain.OrderState) domain.Order {
		o := orderIn(state, "fred")
		o.Fingerprint = "another's"
		return o
	}
	for _, state := range []domain.OrderState{domain.OrderHeld, domain.OrderConfirmed, domain.OrderRejected} {
		for _, kind := range []domain.RequestType{domain.RequestPurchase, domain.RequestHold} {
			for _, entry := range []string{"1-0", ""} {
				t.Run(fmt.Sprintf("%s %s %q", kind, state, entry), func(t *testing.T) {
					inBubble(t, never, func(b *bench) {
						r := receiptOf(1, kind)
						r.EntryID = entry
						w := b.waitFor(r)
						w.waiting()
						b.outcomes.setAside(ref("p0", "o"), letter(1, kind)) // as a worker does when it comes to it
						b.outcomes.change(ref("p0", "o"), other(state))
						w.refused(domain.ErrConflict, domain.CodeConflict)
						b.waitFor(r).refused(domain.ErrConflict, domain.CodeConflict)
					})
				})
			}
		}
	}
	// One that was opened by nobody has no body: a cancel that came first. Nor has a pay or a cancel one.
	inBubble(t, never, func(b *bench) {
		b.outcomes.set(ref("p0", "o"), orderIn(domain.OrderCancelled, ""))
		b.waitFor(receiptOf(1, domain.RequestPurchase)).got(orderIn(domain.OrderCancelled, ""))
		b.outcomes.set(ref("p0", "o"), other(domain.OrderConfirmed))
		b.waitFor(receiptOf(1, domain.RequestPay)).got(other(domain.OrderConfirmed))
		same := receiptOf(1, domain.RequestPurchase)
		same.Fingerprint = "another's"
		b.waitFor(same).got(other(domain.OrderConfirmed))
		// Who asks for the order gets it, whosever it is.
		b.wait(b.Context(), b.producer.Wait, ref("p0", "o")).got(other(domain.OrderConfirmed))
	})
}

// WaitFor waits as each type of request asks for.
func TestWaitForByType(t *testing.T) {
	methods := map[domain.RequestType]func(p *producer.Producer) waitFunc{
		domain.RequestPurchase: func(p *producer.Producer) waitFunc { return p.Wait },
		domain.RequestPay:      func(p *producer.Producer) waitFunc { return p.Wait },
		domain.RequestHold:     func(p *producer.Producer) waitFunc { return p.WaitHeld },
		domain.RequestCancel:   func(p *producer.Producer) waitFunc { return p.WaitCancelled },
	}
	for kind, method := range methods {
		for _, state := range domain.OrderStates {
			inBubble(t, never, func(b *bench) {
				b.outcomes.set(ref("p0", "o"), orderIn(state, "fred"))
				ctx, cancel := context.WithTimeout(b.Context(), time.Second)
				defer cancel()
				want, wantErr := method(b.producer)(ctx, "p0", "o")
				ctx, cancel = context.WithTimeout(b.Context(), time.Second)
				defer cancel()
				if got, err := b.producer.WaitFor(ctx, receiptOf(1, kind)); !reflect.DeepEqual(got, want) || (err == nil) != (wantErr == nil) {
					t.Errorf("%s, %s: %+v, %v; the wait for it gives %+v, %v", kind, state, got, err, want, wantErr)
				}
			})
		}
	}
	inBubble(t, never, func(b *bench) {
		for _, wrong := range []producer.Receipt{{EventID: "p0", OrderID: "o"}, {EventID: "p0", OrderID: "o", Type: "buy"}, {Type: domain.RequestPay, EventID: "p0"}} {
			if _, err := b.producer.WaitFor(b.Context(), wrong); domain.ClassOf(err) != domain.ClassReject {
				t.Errorf("%+v: %v, want it rejected", wrong, err)
			}
		}
	})
}
