package producer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/domain"
	"holdfast/producer"
)

func TestOutcomeAlreadyThere(t *testing.T) {
	for _, state := range domain.OrderStates {
		if !state.Terminal() {
			continue
		}
		t.Run(state.String(), func(t *testing.T) {
			inBubble(t, never, func(b *bench) {
				o := ref("p0", "o")
				b.outcomes.set(o, orderIn(state, "fred"))
				b.wait(b.Context(), b.producer.Wait, o).got(orderIn(state, "fred"))
				b.readsOf(o, 1)
				if _, ever := b.outcomes.watched(); ever != 0 {
					b.Errorf("%d subscriptions for an outcome that was there", ever)
				}
				b.elapsed(0)
			})
		})
	}
}

// What each wait returns on, whether it finds it or is told of it.
func TestPredicates(t *testing.T) {
	type method struct {
		name string
		call func(p *producer.Producer) waitFunc
		ends map[domain.OrderState]bool
	}
	methods := []method{
		{"Wait", func(p *producer.Producer) waitFunc { return p.Wait }, map[domain.OrderState]bool{
			domain.OrderConfirmed: true, domain.OrderDeclined: true, domain.OrderExpired: true,
			domain.OrderCancelled: true, domain.OrderRejected: true,
		}},
		{"WaitHeld", func(p *producer.Producer) waitFunc { return p.WaitHeld }, map[domain.OrderState]bool{
			domain.OrderHeld: true, domain.OrderLapsed: true, domain.OrderConfirmed: true, domain.OrderDeclined: true, domain.OrderExpired: true,
			domain.OrderCancelled: true, domain.OrderRejected: true,
		}},
		{"WaitCancelled", func(p *producer.Producer) waitFunc { return p.WaitCancelled }, map[domain.OrderState]bool{
			domain.OrderDeclined: true, domain.OrderExpired: true, domain.OrderCancelled: true, domain.OrderRejected: true,
		}},
	}
	for _, m := range methods {
		for _, state := range domain.OrderStates {
			order := orderIn(state, "fred")
			check := func(w *wait) {
				if m.ends[state] {
					w.got(order)
					return
				}
				w.waiting()
				w.b.outcomes.change(w.ref, orderIn(domain.OrderCancelled, "amy"))
				w.got(orderIn(domain.OrderCancelled, "amy"))
			}
			t.Run(m.name+" finds "+state.String(), func(t *testing.T) {
				inBubble(t, never, func(b *bench) {
					b.outcomes.set(ref("p0", "o"), order)
					check(b.wait(b.Context(), m.call(b.producer), ref("p0", "o")))
				})
			})
			t.Run(m.name+" is told of "+state.String(), func(t *testing.T) {
				inBubble(t, never, func(b *bench) {
					w := b.wait(b.Context(), m.call(b.producer), ref("p0", "o"))
					w.waiting()
					b.outcomes.change(w.ref, order)
					check(w)
				})
			})
		}
	}
}

func TestNoticeWakesTheRightWait(t *testing.T) {
	inBubble(t, never, func(b *bench) {
		o1, o2, namesake, elsewhere := ref("p0-a", "o1"), ref("p0-a", "o2"), ref("p0-b", "o1"), ref("p1", "o1")
		w1 := b.wait(b.Context(), b.producer.Wait, o1)
		w1.waiting()
		b.readsOf(o1, 2) // before anybody listened, and after
		others := []*wait{
			b.wait(b.Context(), b.producer.Wait, o2),
			b.wait(b.Context(), b.producer.Wait, namesake),
			b.wait(b.Context(), b.producer.Wait, elsewhere),
		}
		synctest.Wait()
		if now, ever := b.outcomes.watched(); now != 2 || ever != 2 {
			t.Errorf("%d subscriptions, %d ever; want one for each of 2 partitions", now, ever)
		}
		b.outcomes.change(o1, orderIn(domain.OrderConfirmed, "fred"))
		w1.got(orderIn(domain.OrderConfirmed, "fred"))
		b.readsOf(o1, 3)
		for i, w := range others {
			w.waiting()
			b.readsOf(w.ref, []int{1, 1, 2}[i]) // a notice about another order is no reason to look
		}
		for i, w := range others {
			order := orderIn(domain.OrderDeclined, fmt.Sprintf("c%d", i))
			b.outcomes.change(w.ref, order)
			w.got(order)
			b.readsOf(w.ref, []int{2, 2, 3}[i])
		}
		// Nobody waits any more, so nobody looks; the subscription stays for those who come.
		b.outcomes.change(o1, orderIn(domain.OrderCancelled, "fred"))
		synctest.Wait()
		b.readsOf(o1, 3)
		w1 = b.wait(b.Context(), b.producer.Wait, ref("p0-a", "o3"))
		w1.waiting()
		b.outcomes.change(w1.ref, orderIn(domain.OrderExpired, "fred"))
		w1.got(orderIn(domain.OrderExpired, "fred"))
		if now, ever := b.outcomes.watched(); now != 2 || ever != 2 {
			t.Errorf("%d subscriptions, %d ever; want the same 2 as before", now, ever)
		}
		b.elapsed(0)
	})
}

func TestConnectedMakesEveryWaitLook(t *testing.T) {
	inBubble(t, never, func(b *bench) {
		var waits []*wait
		for _, o := range []domain.OrderRef{ref("p0-a", "o1"), ref("p0-a", "o2"), ref("p0-b", "o1"), ref("p0-b", "open"), ref("p1", "o1")} {
			waits = append(waits, b.wait(b.Context(), b.producer.Wait, o))
		}
		for _, w := range waits {
			w.waiting()
			if w.ref.OrderID != "open" {
				b.outcomes.set(w.ref, orderIn(domain.OrderConfirmed, w.ref.EventID))
			}
		}
		open, elsewhere := b.outcomes.readsOf(waits[3].ref), b.outcomes.readsOf(waits[4].ref)
		b.outcomes.sink(0).Connected()
		for _, w := range waits[:3] {
			w.got(orderIn(domain.OrderConfirmed, w.ref.EventID))
		}
		waits[3].waiting() // it looked, and there was nothing
		b.readsOf(waits[3].ref, open+1)
		waits[4].waiting() // another partition's connection is no news
		b.readsOf(waits[4].ref, elsewhere)

		b.outcomes.set(waits[3].ref, orderIn(domain.OrderDeclined, "amy"))
		b.outcomes.sink(0).Connected()
		waits[3].got(orderIn(domain.OrderDeclined, "amy"))
		b.outcomes.sink(1).Connected()
		waits[4].got(orderIn(domain.OrderConfirmed, "p1"))
		b.elapsed(0)
	})
}

// The order changes, and nobody ever tells of it.
func TestLostNotice(t *testing.T) {
	const defaultRecheck = 2 * time.Second
	for _, test := range []struct{ option, every time.Duration }{
		{0, defaultRecheck}, {-1, defaultRecheck}, {100 * time.Millisecond, 100 * time.Millisecond},
	} {
		t.Run(test.option.String(), func(t *testing.T) {
			inBubble(t, test.option, func(b *bench) {
				o := ref("p0", "o")
				w := b.wait(b.Context(), b.producer.Wait, o)
				w.waiting()
				time.AfterFunc(test.every*5/2, func() { b.outcomes.set(o, orderIn(domain.OrderConfirmed, "fred")) })
				w.ends()
				w.got(orderIn(domain.OrderConfirmed, "fred"))
				b.elapsed(3 * test.every)
				b.readsOf(o, 5) // two to begin with, and three rechecks
			})
		})
	}
}

func TestManyWaitsForOneOrder(t *testing.T) {
	inBubble(t, never, func(b *bench) {
		o := ref("p0", "o")
		impatient, giveUp := context.WithCancel(b.Context())
		defer giveUp()
		var waits, leaving []*wait
		for i := range 50 {
			if i%5 == 0 {
				leaving = append(leaving, b.wait(impatient, b.producer.Wait, o))
			}
			waits = append(waits, b.wait(b.Context(), b.producer.Wait, o))
		}
		held := b.wait(b.Context(), b.producer.WaitHeld, o)
		held.waiting()
		b.outcomes.change(o, orderIn(domain.OrderHeld, "fred"))
		held.got(orderIn(domain.OrderHeld, "fred"))
		giveUp()
		for _, w := range leaving {
			w.unknown(context.Canceled)
		}
		for _, w := range waits {
			w.waiting()
		}
		cancelled := b.wait(b.Context(), b.producer.WaitCancelled, o)
		cancelled.waiting()
		b.outcomes.change(o, orderIn(domain.OrderConfirmed, "fred"))
		for _, w := range waits {
			w.got(orderIn(domain.OrderConfirmed, "fred"))
		}
		cancelled.waiting()
		b.outcomes.change(o, orderIn(domain.OrderCancelled, "fred"))
		cancelled.got(orderIn(domain.OrderCancelled, "fred"))
		if _, ever := b.outcomes.watched(); ever != 1 {
			b.Errorf("%d subscriptions for one order", ever)
		}
		b.elapsed(0)
	})
}

func TestContextEndsWhileWaiting(t *testing.T) {
	inBubble(t, time.Minute, func(b *bench) {
		o := ref("p0", "o")
		over, end := context.WithCancel(b.Context())
		end()
		b.wait(over, b.producer.Wait, o).unknown(context.Canceled)

		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		short, cancelShort := context.WithTimeout(b.Context(), 90*time.Second)
		defer cancelShort()
		patient := b.wait(b.Context(), b.producer.Wait, o)
		w, late := b.wait(ctx, b.producer.Wait, o), b.wait(short, b.producer.Wait, o)
		w.waiting()
		cancel()
		w.unknown(context.Canceled)
		if !strings.Contains(w.err.Error(), o.String()) {
			b.Errorf("the error %q does not name the order", w.err)
		}
		late.waiting()
		late.ends()
		late.unknown(context.DeadlineExceeded)
		b.elapsed(90 * time.Second)

		// One can wait again, and others never stopped.
		again := b.wait(b.Context(), b.producer.Wait, o)
		again.waiting()
		patient.waiting()
		b.outcomes.change(o, orderIn(domain.OrderConfirmed, "fred"))
		again.got(orderIn(domain.OrderConfirmed, "fred"))
		patient.got(orderIn(domain.OrderConfirmed, "fred"))
	})
}

// unheard is a store that never heard of any order.
type unheard struct{}

func (unheard) Partition(string) int { return 0 }

func (unheard) Look(_ context.Context, refs []domain.OrderRef) []domain.Looked {
	return make([]domain.Looked, len(refs))
}

func (unheard) InLine(context.Context, int, string) (domain.InLine, error) {
	return domain.InLine{State: domain.LineWaiting}, nil
}

func (unheard) SeatNames(context.Context, string, domain.Items) (map[string][]string, error) {
	return nil, domain.ErrNotFound
}

func (unheard) Watch(ctx context.Context, _ int, _ domain.OutcomeSink) error {
	<-ctx.Done()
	return ctx.Err()
}

// A checkout runs for months: nothing may stay of a wait that is over.
func TestWaitsLeaveNothingBehind(t *testing.T) {
	p := producer.New(&requests{}, unheard{}, producer.Options{})
	defer p.Close()
	over, end := context.WithCancel(t.Context())
	end()
	const waits = 10_000
	name := strings.Repeat("o", domain.MaxIDLength-8)
	heap := func(from int) uint64 {
		for i := range waits {
			if _, err := p.Wait(over, "e", fmt.Sprintf("%s%d", name, from+i)); !errors.Is(err, domain.ErrUnknownOutcome) {
				t.Fatalf("waiting: %v", err)
			}
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap(0)
	if after := heap(waits); after > before+waits*domain.MaxIDLength {
		t.Errorf("the heap grew from %d to %d bytes with %d waits: more than their names", before, after, waits)
	}
}

func TestCloseDuringWaits(t *testing.T) {
	inBubble(t, time.Second, func(b *bench) {
		var waits []*wait
		for i := range 40 {
			method := []waitFunc{b.producer.Wait, b.producer.WaitHeld, b.producer.WaitCancelled}[i%3]
			waits = append(waits, b.wait(b.Context(), method, ref(fmt.Sprintf("p%d", i%4), fmt.Sprintf("o%d", i/8))))
		}
		waits[0].waiting()
		if now, _ := b.outcomes.watched(); now != 4 {
			t.Fatalf("%d subscriptions, want 4", now)
		}
		b.producer.Close()
		if now, _ := b.outcomes.watched(); now != 0 {
			t.Errorf("%d subscriptions after Close", now)
		}
		for _, w := range waits {
			w.unknown(nil)
			if errors.Is(w.err, context.Canceled) || errors.Is(w.err, context.DeadlineExceeded) {
				t.Errorf("%v: it was not the caller's context", w.err)
			}
		}
		// Whoever comes too late does not subscribe again.
		b.wait(b.Context(), b.producer.Wait, ref("p9", "o")).unknown(nil)
		b.wait(b.Context(), b.producer.Wait, ref("p0", "o")).unknown(nil)
		if now, ever := b.outcomes.watched(); now != 0 || ever != 4 {
			t.Errorf("%d subscriptions, %d ever; want none, and 4 before Close", now, ever)
		}
		b.producer.Close() // harmless
		b.elapsed(0)
	})
}

// Waits begin and the producer closes, in any order: each ends, and no subscription stays.
func TestCloseAgainstWaits(t *testing.T) {
	for range 200 {
		inBubble(t, never, func(b *bench) {
			var waits []*wait
			for i := range 8 {
				waits = append(waits, b.wait(b.Context(), b.producer.Wait, ref(fmt.Sprintf("p%d", i%3), "o")))
			}
			b.producer.Close()
			for _, w := range waits {
				w.unknown(nil)
			}
			if now, _ := b.outcomes.watched(); now != 0 {
				b.Errorf("%d subscriptions after Close", now)
			}
			b.elapsed(0)
		})
	}
}

func TestWaitForInvalidIDs(t *testing.T) {
	long := strings.Repeat("x", domain.MaxIDLength+1)
	for _, o := range []domain.OrderRef{
		{},
		ref("", "o"), ref("p0", ""), ref("p0/1", "o"), ref("p0", "o/1"), ref("p0", "o 1"), ref("p0\n", "o"), ref("p0", "ö"),
		ref(long, "o"), ref("p0", long),
	} {
		t.Run(fmt.Sprintf("%.20q", o), func(t *testing.T) {
			inBubble(t, never, func(b *bench) {
				for _, f := range []waitFunc{b.producer.Wait, b.producer.WaitHeld, b.producer.WaitCancelled} {
					ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
					_, err := f(ctx, o.EventID, o.OrderID)
					cancel()
					if err == nil || domain.ClassOf(err) != domain.ClassReject || errors.Is(err, domain.ErrUnknownOutcome) {
						t.Errorf("error %v of class %s, want reject, and the outcome known", err, domain.ClassOf(err))
					}
				}
				b.readsOf(o, 0)
				if _, ever := b.outcomes.watched(); ever != 0 {
					b.Errorf("%d subscriptions", ever)
				}
			})
		})
	}
}

// What may pass is looked past, until a look succeeds.
func TestReadErrorsThatPass(t *testing.T) {
	for _, passing := range []error{
		domain.WithClass(domain.ClassRetry, errors.New("connection refused")),
		fmt.Errorf("reading orders: %w", domain.WithClass(domain.ClassRetry, errors.New("LOADING"))),
		errors.New("an error that nobody classified"),
	} {
		t.Run(passing.Error(), func(t *testing.T) {
			inBubble(t, time.Second, func(b *bench) {
				o := ref("p0", "o")
				b.outcomes.set(o, orderIn(domain.OrderConfirmed, "fred"))
				b.outcomes.failing = func(n int, _ domain.OrderRef) error {
					if n <= 4 {
						return passing
					}
					return nil
				}
				w := b.wait(b.Context(), b.producer.Wait, o)
				w.ends()
				w.got(orderIn(domain.OrderConfirmed, "fred"))
				b.readsOf(o, 5)
				b.elapsed(3 * time.Second)
			})
			inBubble(t, never, func(b *bench) {
				o := ref("p0", "o")
				b.outcomes.failing = func(n int, _ domain.OrderRef) error {
					if n <= 4 {
						return passing
					}
					return nil
				}
				w := b.wait(b.Context(), b.producer.Wait, o)
				w.waiting()
				b.outcomes.sink(0).Connected()
				w.waiting()
				b.readsOf(o, 3)
				b.outcomes.change(o, orderIn(domain.OrderConfirmed, "fred"))
				w.waiting() // told, and yet it could not look
				b.outcomes.tell(o)
				w.got(orderIn(domain.OrderConfirmed, "fred"))
				b.elapsed(0)
			})
		})
	}
}

func TestReadErrorsThatStay(t *testing.T) {
	for _, class := range []domain.Class{domain.ClassPoison, domain.ClassFatal} {
		for _, from := range []int{1, 2, 4} {
			t.Run(fmt.Sprintf("%s from read %d", class, from), func(t *testing.T) {
				inBubble(t, time.Second, func(b *bench) {
					cause := errors.New("it is damaged")
					broken, fine := ref("p0", "broken"), ref("p0", "fine")
					b.outcomes.failing = func(n int, o domain.OrderRef) error {
						if o == broken && n >= from {
							return fmt.Errorf("reading orders: %w", domain.WithClass(class, cause))
						}
						return nil
					}
					w := b.wait(b.Context(), b.producer.Wait, broken)
					synctest.Wait()
					other := b.wait(b.Context(), b.producer.Wait, fine)
					w.ends()
					if !errors.Is(w.err, cause) || domain.ClassOf(w.err) != class || !strings.Contains(w.err.Error(), broken.String()) {
						b.Errorf("error %v of class %s, want the cause, class %s and the order", w.err, domain.ClassOf(w.err), class)
					}
					if w.outcome.Order != (domain.Order{}) {
						b.Errorf("an order with an error: %+v", w.outcome)
					}
					b.elapsed(time.Duration(max(0, from-2)) * time.Second)
					other.waiting()
					b.outcomes.change(fine, orderIn(domain.OrderConfirmed, "fred"))
					other.got(orderIn(domain.OrderConfirmed, "fred"))
				})
			})
		}
	}
}

// The order changes at the worst moment: after the wait has looked, before or
// while it makes sure that it will be told. Whoever misses it waits for ever.
func TestChangeBetweenLookAndJoin(t *testing.T) {
	o := ref("p0", "o")
	confirmed := orderIn(domain.OrderConfirmed, "fred")
	for _, test := range []struct {
		name    string
		prepare func(f *outcomes, change func())
	}{
		{"after the first look", func(f *outcomes, change func()) {
			f.afterRead = func(n int, r domain.OrderRef) {
				if r == o && n == 1 {
					change()
				}
			}
		}},
		{"before the join", func(f *outcomes, change func()) { f.inPartition = change }},
		{"when the subscription begins", func(f *outcomes, change func()) {
			f.inWatch = func(sink domain.OutcomeSink) {
				change()
				sink.Connected()
			}
		}},
		{"before the subscription is confirmed", func(f *outcomes, change func()) {
			f.inWatch = func(sink domain.OutcomeSink) {
				sink.Connected()
				change()
			}
		}},
		{"after the second look", func(f *outcomes, change func()) {
			f.inWatch = domain.OutcomeSink.Connected // as every subscription does that may have missed something
			f.afterRead = func(n int, r domain.OrderRef) {
				if r == o && n == 2 {
					change()
				}
			}
		}},
	} {
		for _, listening := range []bool{false, true} {
			if listening && (strings.Contains(test.name, "subscription") || strings.Contains(test.name, "second look")) {
				continue // it begins once; and who listens looks once
			}
			t.Run(fmt.Sprintf("%s, listening %t", test.name, listening), func(t *testing.T) {
				inBubble(t, never, func(b *bench) {
					if listening { // because of somebody else
						b.wait(b.Context(), b.producer.Wait, ref("p0", "other")).waiting()
					}
					var once sync.Once
					test.prepare(b.outcomes, func() {
						once.Do(func() {
							b.outcomes.change(o, confirmed)
						})
					})
					b.wait(b.Context(), b.producer.Wait, o).got(confirmed)
					b.elapsed(0)
				})
			})
		}
	}
}

// Several notices come while the wait is busy with a look. It must go on with the newest state of all.
func TestNoticesDuringALook(t *testing.T) {
	o := ref("p0", "o")
	held, confirmed, cancelled := orderIn(domain.OrderHeld, "fred"), orderIn(domain.OrderConfirmed, "fred"), orderIn(domain.OrderCancelled, "fred")
	for _, test := range []struct {
		name    string
		notices func(f *outcomes)
		reads   int
	}{
		{"one", func(f *outcomes) { f.change(o, cancelled) }, 2},
		{"two", func(f *outcomes) { f.change(o, confirmed); f.change(o, cancelled) }, 2},
		{"three", func(f *outcomes) { f.change(o, held); f.change(o, confirmed); f.change(o, cancelled) }, 2},
		{"one and a connection", func(f *outcomes) { f.tell(o); f.sink(0).Connected() }, 2},
		{"a connection and one", func(f *outcomes) { f.sink(0).Connected(); f.tell(o) }, 2},
		{"connections", func(f *outcomes) { f.sink(0).Connected(); f.sink(0).Connected(); f.sink(0).Connected() }, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, never, func(b *bench) {
				b.wait(b.Context(), b.producer.Wait, ref("p0", "other")).waiting() // so that somebody listens
				b.outcomes.set(o, held)
				looking, look := make(chan struct{}), make(chan struct{})
				b.outcomes.afterRead = func(n int, r domain.OrderRef) {
					if r == o && n == 1 {
						close(looking)
						<-look
					}
				}
				w := b.wait(b.Context(), b.producer.WaitCancelled, o)
				<-looking
				b.outcomes.set(o, cancelled)
				test.notices(b.outcomes)
				close(look)
				w.got(cancelled)
				b.readsOf(o, test.reads)
				b.elapsed(0)
			})
		})
	}
}

// Many waits begin, end, give up and are told at once, while the connection
// comes and goes. Each gets its order's outcome from a notice or from a look that a
// notice caused: the clock of the bubble shows that none had to wait for a recheck.
func TestWaitsFromManyGoroutines(t *testing.T) {
	const partitions, orders, waiters = 3, 120, 4
	for round := range 5 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			random := rand.New(rand.NewPCG(uint64(round), 1))
			inBubble(t, never, func(b *bench) {
				b.outcomes.inWatch = func(sink domain.OutcomeSink) { sink.Connected() }
				outcomeOf := func(i int) domain.Order {
					states := []domain.OrderState{
						domain.OrderConfirmed, domain.OrderDeclined, domain.OrderExpired, domain.OrderCancelled, domain.OrderRejected,
					}
					return orderIn(states[i%len(states)], fmt.Sprintf("c%d", i))
				}
				refOf := func(i int) domain.OrderRef { return ref(fmt.Sprintf("p%d", i%partitions), fmt.Sprintf("o%d", i)) }
				impatient, giveUp := context.WithCancel(b.Context())
				defer giveUp()
				var waits, leaving []*wait
				var changes sync.WaitGroup
				for i := range orders {
					o, outcome := refOf(i), outcomeOf(i)
					change := func(told bool) {
						b.outcomes.change(o, orderIn(domain.OrderHeld, outcome.CustomerID))
						b.outcomes.set(o, outcome)
						if told {
							b.outcomes.tell(o)
						}
					}
					told, first := random.IntN(4) > 0, random.IntN(2) == 0
					if first {
						changes.Go(func() { change(told) })
					}
					for range waiters {
						waits = append(waits, b.wait(b.Context(), b.producer.Wait, o))
					}
					leaving = append(leaving, b.wait(impatient, b.producer.Wait, o))
					if !first {
						changes.Go(func() { change(told) })
					}
					if i == orders/2 {
						changes.Go(giveUp)
					}
				}
				changes.Wait()
				synctest.Wait()
				for p := range partitions { // what was not told is made up for now
					b.outcomes.sink(p).Connected()
				}
				for i, w := range waits {
					w.got(outcomeOf(i / waiters))
				}
				for i, w := range leaving {
					w.ends()
					if w.err == nil && w.outcome.Order != outcomeOf(i) || w.err != nil && !errors.Is(w.err, domain.ErrUnknownOutcome) {
						t.Errorf("%s, given up: %+v, %v", w.ref, w.outcome, w.err)
					}
				}
				if now, ever := b.outcomes.watched(); now != partitions || ever != partitions {
					t.Errorf("%d subscriptions, %d ever; want %d", now, ever, partitions)
				}
				b.elapsed(0)
			})
		})
	}
}

// While no notices come, a wait looks four times a second, or as often as it would anyhow.
func TestLooksMoreOftenWithoutNotices(t *testing.T) {
	for _, test := range []struct{ recheck, deaf time.Duration }{
		{0, 250 * time.Millisecond}, // the default
		{time.Minute, 250 * time.Millisecond},
		{100 * time.Millisecond, 100 * time.Millisecond},
	} {
		t.Run(fmt.Sprint(test.recheck), func(t *testing.T) {
			inBubble(t, test.recheck, func(b *bench) {
				b.outcomes.inWatch = domain.OutcomeSink.Disconnected
				o := ref("p0", "o")
				w := b.wait(b.Context(), b.producer.Wait, o)
				w.waiting()
				b.outcomes.set(o, orderIn(domain.OrderConfirmed, "fred"))
				w.ends()
				w.got(orderIn(domain.OrderConfirmed, "fred"))
				b.elapsed(test.deaf)
			})
		})
	}
	inBubble(t, 3*time.Second, func(b *bench) {
		o := ref("p0", "o")
		w := b.wait(b.Context(), b.producer.Wait, o)
		w.waiting()
		b.outcomes.sink(0).Disconnected() // makes it look as well: something may be missed from now on
		w.waiting()
		b.readsOf(o, 3)
		b.outcomes.sink(0).Connected()
		w.waiting()
		b.readsOf(o, 4)
		b.outcomes.set(o, orderIn(domain.OrderConfirmed, "fred"))
		w.ends()
		w.got(orderIn(domain.OrderConfirmed, "fred"))
		b.elapsed(3 * time.Second)
	})
}
