package producer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/streams/inspect"
	"holdfast/workers"
)

// A truth is something that a producer must not get wrong on a real Redis. It returns what
// was wrong. Bugs are planted in a producer, by a wrap, to see that this is noticed: see planted_test.go.
type truth struct {
	name string
	of   func(w *world, wrap wrap) error
}

// wrap is put between a producer and Redis.
type wrap func(w *world, o domain.Outcomes) domain.Outcomes

func asItIs(_ *world, o domain.Outcomes) domain.Outcomes { return o }

var truths = []truth{
	{"two databases", twoDatabases},
	{"other data", otherData},
	{"another body", anotherBody},
}

func TestTruths(t *testing.T) {
	t.Parallel()
	for _, truth := range truths {
		t.Run(truth.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			w.list("e", 10)
			if err := truth.of(w, asItIs); err != nil {
				t.Error(err)
			}
		})
	}
}

// in is the world as seen from another database of the same Redis, with the same event on sale.
func (w *world) in(database int) *world {
	w.Helper()
	gateway, err := simulator.New(simulator.Options{})
	if err != nil {
		w.Fatalf("making a gateway: %v", err)
	}
	other := *w
	other.gateway = gateway
	other.url = strings.TrimSuffix(w.server.URL(), "/0") + fmt.Sprintf("/%d", database)
	store, err := streams.Open(w.ctx, other.url, streams.Options{Create: true, Partitions: 1})
	if err != nil {
		w.Fatalf("opening database %d: %v", database, err)
	}
	w.Cleanup(func() { _ = store.Close() })
	other.store = store
	other.list("e", 10)
	return &other
}

// wrapped is a producer that only learns by notices.
func (w *world) wrapped(wrap wrap) *producer.Producer {
	w.Helper()
	store, err := streams.Open(w.ctx, w.url, streams.Options{})
	if err != nil {
		w.Fatalf("opening the checkout's store: %v", err)
	}
	p := producer.New(store.Checkout(), wrap(w, store.Checkout()), producer.Options{RecheckEvery: never})
	w.Cleanup(func() {
		p.Close()
		_ = store.Close()
	})
	return p
}

// twoDatabases: pub/sub knows no databases, so the checkouts of two environments on one
// Redis, with the same namespace and the same ids, could hear each other's workers.
func twoDatabases(w *world, wrap wrap) error {
	there := w.in(1)
	p := there.wrapped(wrap)
	declined := purchase("o")
	declined.PaymentToken = simulator.DeclineTokenPrefix
	receipt := there.published(p, declined)
	result := there.await(p, receipt)
	w.listening()

	w.work() // here, and not there
	here := w.wrapped(asItIs)
	mine := w.published(here, purchase("o"))
	if outcome, err := here.WaitFor(w.ctx, mine); err != nil || outcome.Order.State != domain.OrderConfirmed {
		return fmt.Errorf("here: %+v, %w", outcome, err)
	}
	there.work()
	return there.isTold(result, domain.OrderDeclined)
}

// isTold waits for the end of a wait, which must be with the order as it is stored.
func (w *world) isTold(result <-chan waitResult, state domain.OrderState) error {
	limit := time.NewTimer(patience / 3)
	defer limit.Stop()
	select {
	case r := <-result:
		if r.err != nil {
			return r.err
		}
		if stored := w.order(r.outcome.EventID, r.outcome.OrderID); stored.State != state || r.outcome.Order != stored {
			return fmt.Errorf("told %+v; stored is %+v", r.outcome.Order, stored)
		}
		return nil
	case <-limit.C:
		return errors.New("it was never told")
	}
}

// otherData: Redis loses everything while somebody waits, and the namespace is made again.
// What is told then must be heard.
func otherData(w *world, wrap wrap) error {
	p := w.wrapped(wrap)
	receipt := w.published(p, purchase("o"))
	lost := w.await(p, receipt)
	w.listening()
	w.server.Flush()
	if err := w.store.Ledger().Accept(w.ctx, "w1"); err != nil {
		return err
	}
	w.list("e", 10)
	w.work()
	// Whoever waits has the checkout publish again, which another one does here.
	w.published(w.checkout(nil, producer.Options{}), purchase("o"))
	for _, result := range []<-chan waitResult{lost, w.await(p, w.published(p, purchaseOf("n", "amy")))} {
		if err := w.isTold(result, domain.OrderConfirmed); err != nil {
			return err
		}
	}
	return nil
}

// anotherBody: whoever used an order_id that is taken is not told what became of the other's request.
func anotherBody(w *world, wrap wrap) error {
	w.work()
	p := w.wrapped(wrap)
	if outcome, err := p.WaitFor(w.ctx, w.published(p, purchase("o"))); err != nil || outcome.Order.State != domain.OrderConfirmed {
		return fmt.Errorf("the first: %+v, %w", outcome, err)
	}
	before := w.order("e", "o")
	second := purchase("o")
	second.Quantity = 5
	for range 2 { // before and after a worker has seen it
		receipt, err := p.Publish(w.ctx, second)
		if err != nil {
			return err
		}
		if outcome, err := p.WaitFor(w.ctx, receipt); !errors.Is(err, domain.ErrConflict) || outcome.Order != (domain.Order{}) {
			return fmt.Errorf("another body: %+v, %w", outcome, err)
		}
		w.drained()
	}
	if after := w.order("e", "o"); after != before {
		return fmt.Errorf("the order became %+v, it was %+v", after, before)
	}
	return nil
}

// A request that is set aside is told to whoever waits for it, at once, and until it is
// redriven or discarded. What becomes of the order then is told like anything else.
func TestSetAsideOnRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.list("e", 10)
	p := w.checkout(nil, producer.Options{RecheckEvery: never})
	pay := domain.Request{Type: domain.RequestPay, EventID: "e", OrderID: "o", PaymentToken: token}
	first := w.published(p, pay)
	byReceipt, byOrder := w.await(p, first), w.wait(p, "e", "o")
	w.workWith(workers.Config{PayWait: 100 * time.Millisecond})
	told := func(result <-chan waitResult, entryID string) *producer.SetAsideError {
		t.Helper()
		r := <-result
		var setAside *producer.SetAsideError
		if !errors.As(r.err, &setAside) || !errors.Is(r.err, domain.ErrSetAside) || setAside.EntryID != entryID ||
			!strings.HasPrefix(setAside.Reason, "unknown_order: ") || r.outcome.Order != (domain.Order{}) {
			t.Fatalf("%+v, %v; want entry %s set aside", r.outcome, r.err, entryID)
		}
		letter, err := inspect.New(w.store).DeadLetter(w.ctx, setAside.DeadID)
		if err != nil || letter.EntryID != entryID || letter.Reason != setAside.Reason {
			t.Errorf("letter %+v, %v; told %+v", letter, err, setAside)
		}
		return setAside
	}
	told(byReceipt, first.EntryID)
	letter := told(byOrder, first.EntryID)
	told(w.await(p, first), first.EntryID) // whoever asks later is told as well

	// The hold comes after all. Its pay is set aside still, and says so to nobody but its own publisher.
	hold := domain.Request{Type: domain.RequestHold, EventID: "e", OrderID: "o", CustomerID: "fred", Quantity: 2}
	if outcome, err := p.WaitFor(w.ctx, w.published(p, hold)); err != nil || outcome.Order.State != domain.OrderHeld {
		t.Fatalf("the hold: %+v, %v", outcome, err)
	}
	told(w.await(p, first), first.EntryID)
	result := w.wait(p, "e", "o")
	if err := inspect.New(w.store).Redrive(w.ctx, letter.DeadID)[0].Err; err != nil {
		t.Fatal(err)
	}
	w.confirmed(result, "o")
	w.confirmed(w.await(p, first), "o")

	// Discarded, it is as if it had never been.
	second := w.published(p, domain.Request{Type: domain.RequestPay, EventID: "e", OrderID: "p", PaymentToken: token})
	letter = told(w.await(p, second), second.EntryID)
	if err := inspect.New(w.store).Discard(w.ctx, letter.DeadID)[0].Err; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := p.WaitFor(ctx, second); !errors.Is(err, domain.ErrUnknownOutcome) {
		t.Errorf("after it was discarded: %v", err)
	}
	w.audited(1)
}
