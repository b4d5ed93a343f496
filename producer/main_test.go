package producer_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"holdfast/domain"
	"holdfast/producer"
)

func TestMain(m *testing.M) {
	// The tests on a real Redis mostly wait; -parallel says otherwise.
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// Two ways a publish fails: surely not in the stream, and who knows.
var (
	errRefused = domain.WithClass(domain.ClassRetry, errors.New("connection refused"))
	errLost    = domain.WithClass(domain.ClassRetry, fmt.Errorf("the reply got lost: %w", domain.ErrUnknownOutcome))
)

// requests is a stream that fails as a test says. The entry id of a request names it and the attempt.
type requests struct {
	// fail, if not nil, says what becomes of a request in the nth call, from 1; nil: published.
	fail func(call int, r domain.Request) error

	mu      sync.Mutex
	calls   [][]domain.Request
	confirm domain.Confirmation // of the last call
}

func (f *requests) Append(_ context.Context, batch []domain.Request, confirm domain.Confirmation) []domain.Appended {
	f.mu.Lock()
	f.calls, f.confirm = append(f.calls, slices.Clone(batch)), confirm
	call := len(f.calls)
	f.mu.Unlock()
	appended := make([]domain.Appended, len(batch))
	for i, r := range batch {
		if f.fail != nil {
			appended[i].Err = f.fail(call, r)
		}
		if appended[i].Err == nil {
			appended[i].EntryID, appended[i].Replicas = entryID(r.OrderID, call), confirm.Replicas
		}
	}
	return appended
}

func entryID(orderID string, call int) string { return fmt.Sprintf("%s in call %d", orderID, call) }

// sent is the order ids of each call.
func (f *requests) sent() (calls [][]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, call := range f.calls {
		var ids []string
		for _, r := range call {
			ids = append(ids, r.OrderID)
		}
		calls = append(calls, ids)
	}
	return calls
}

// outcomes is a store of orders that changes, tells and fails as a test says.
// An event called p7 or p7-… is in partition 7.
type outcomes struct {
	// Called without the lock, so that they may change and tell. n counts the looks at the order, from 1.
	failing     func(n int, ref domain.OrderRef) error // instead of reading
	afterRead   func(n int, ref domain.OrderRef)       // after the order has been read, before what was found is returned
	inPartition func()                                 // in Partition
	inWatch     func(sink domain.OutcomeSink)          // when a Watch begins
	inLine      func(partition int, entryID string) (domain.InLine, error)
	seatNames   func(eventID string, items domain.Items) (map[string][]string, error)

	mu      sync.Mutex
	orders  map[domain.OrderRef]domain.Standing
	reads   map[domain.OrderRef]int
	looks   []int                      // how many orders each was at
	sinks   map[int]domain.OutcomeSink // of the watches that are on
	watches int                        // ever begun
}

func newOutcomes() *outcomes {
	return &outcomes{
		orders: make(map[domain.OrderRef]domain.Standing),
		reads:  make(map[domain.OrderRef]int),
		sinks:  make(map[int]domain.OutcomeSink),
	}
}

func (f *outcomes) Partition(eventID string) (p int) {
	if f.inPartition != nil {
		f.inPartition()
	}
	return partitionOf(eventID)
}

func partitionOf(eventID string) (p int) {
	if n, err := fmt.Sscanf(eventID, "p%d", &p); n != 1 || err != nil {
		panic("want an event called p<partition>, not " + eventID)
	}
	return p
}

func (f *outcomes) Look(ctx context.Context, refs []domain.OrderRef) []domain.Looked {
	f.mu.Lock()
	f.looks = append(f.looks, len(refs))
	f.mu.Unlock()
	looked := make([]domain.Looked, len(refs))
	for i, ref := range refs {
		f.mu.Lock()
		f.reads[ref]++
		n := f.reads[ref]
		f.mu.Unlock()
		if looked[i].Err = ctx.Err(); looked[i].Err != nil {
			continue
		}
		if f.failing != nil {
			if looked[i].Err = f.failing(n, ref); looked[i].Err != nil {
				continue
			}
		}
		f.mu.Lock()
		looked[i].Standing = f.orders[ref]
		f.mu.Unlock()
		if f.afterRead != nil {
			f.afterRead(n, ref)
		}
	}
	return looked
}

func (f *outcomes) InLine(_ context.Context, partition int, entryID string) (domain.InLine, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inLine == nil {
		return domain.InLine{State: domain.LineLeft}, nil
	}
	return f.inLine(partition, entryID)
}

func (f *outcomes) SeatNames(_ context.Context, eventID string, items domain.Items) (map[string][]string, error) {
	return f.seatNames(eventID, items)
}

func (f *outcomes) Watch(ctx context.Context, partition int, sink domain.OutcomeSink) error {
	f.mu.Lock()
	_, twice := f.sinks[partition]
	f.sinks[partition] = sink
	f.watches++
	f.mu.Unlock()
	if twice {
		panic(fmt.Sprintf("partition %d is watched twice", partition))
	}
	if f.inWatch != nil {
		f.inWatch(sink)
	}
	<-ctx.Done()
	f.mu.Lock()
	delete(f.sinks, partition)
	f.mu.Unlock()
	return ctx.Err()
}

// set changes an order, and tells nobody.
func (f *outcomes) set(ref domain.OrderRef, o domain.Order) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders[ref] = domain.Standing{Order: o, SetAside: f.orders[ref].SetAside}
}

// setAside is all that is set aside of an order from now on; nobody is told.
func (f *outcomes) setAside(ref domain.OrderRef, list ...domain.SetAside) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders[ref] = domain.Standing{Order: f.orders[ref].Order, SetAside: list}
}

// tell is a notice to whoever watches the order's partition; one that nobody hears is lost.
func (f *outcomes) tell(refs ...domain.OrderRef) {
	if sink := f.sink(partitionOf(refs[0].EventID)); sink != nil {
		sink.Changed(refs)
	}
}

// change changes an order, and tells of it.
func (f *outcomes) change(ref domain.OrderRef, o domain.Order) {
	f.set(ref, o)
	f.tell(ref)
}

func (f *outcomes) sink(partition int) domain.OutcomeSink {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sinks[partition]
}

// looked is how many orders each look was at, the first looks left out.
func (f *outcomes) looked(after int) []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.looks[after:])
}

func (f *outcomes) readsOf(ref domain.OrderRef) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads[ref]
}

// watched is how many partitions are watched now, and how many watches there ever were.
func (f *outcomes) watched() (now, ever int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sinks), f.watches
}

// never is a recheck that no test of a notice may depend on: in a bubble of
// synctest the clock would jump there as soon as everybody sleeps.
const never = 1000 * time.Hour

// bench is a producer on fakes, in a bubble of synctest: its clock stands still
// while anybody does anything, and synctest.Wait returns when everybody waits.
type bench struct {
	*testing.T
	outcomes *outcomes
	producer *producer.Producer
	began    time.Time
}

// inBubble runs a test that waits for outcomes. All that it starts must have ended when it is closed.
func inBubble(t *testing.T, recheck time.Duration, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, outcomes: newOutcomes(), began: time.Now()}
		b.producer = producer.New(&requests{}, b.outcomes, producer.Options{RecheckEvery: recheck})
		defer b.producer.Close()
		test(b)
	})
}

// elapsed fails the test unless that much time has passed since it began.
func (b *bench) elapsed(want time.Duration) {
	b.Helper()
	if got := time.Since(b.began); got != want {
		b.Errorf("it took %s, want %s", got, want)
	}
}

func (b *bench) readsOf(ref domain.OrderRef, want int) {
	b.Helper()
	if got := b.outcomes.readsOf(ref); got != want {
		b.Errorf("%s was read %d times, want %d", ref, got, want)
	}
}

type waitFunc func(ctx context.Context, eventID, orderID string) (producer.Outcome, error)

// wait is a call that waits, on its way.
type wait struct {
	b     *bench
	ref   domain.OrderRef
	ended chan struct{}

	// Set when it has ended.
	outcome producer.Outcome
	err     error
}

func (b *bench) wait(ctx context.Context, f waitFunc, ref domain.OrderRef) *wait {
	w := &wait{b: b, ref: ref, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		w.outcome, w.err = f(ctx, ref.EventID, ref.OrderID)
	}()
	return w
}

// waitFor is wait by a receipt.
func (b *bench) waitFor(r producer.Receipt) *wait {
	return b.wait(b.Context(), func(ctx context.Context, _, _ string) (producer.Outcome, error) { return b.producer.WaitFor(ctx, r) },
		ref(r.EventID, r.OrderID))
}

// ends lets the bubble's clock go on until the wait has ended, at most for an hour.
func (w *wait) ends() {
	w.b.Helper()
	hour := time.NewTimer(time.Hour)
	defer hour.Stop()
	select {
	case <-w.ended:
	case <-hour.C:
		w.b.Fatalf("waiting for %s goes on after an hour", w.ref)
	}
}

// waiting fails the test unless the wait goes on although all is quiet.
func (w *wait) waiting() {
	w.b.Helper()
	synctest.Wait()
	select {
	case <-w.ended:
		w.b.Fatalf("waiting for %s ended: %+v, %v", w.ref, w.outcome, w.err)
	default:
	}
}

// got fails the test unless the wait has ended, now, with the order.
func (w *wait) got(want domain.Order) {
	w.b.Helper()
	synctest.Wait()
	select {
	case <-w.ended:
		if w.err != nil || !reflect.DeepEqual(w.outcome, producer.Outcome{EventID: w.ref.EventID, OrderID: w.ref.OrderID, Order: want}) {
			w.b.Errorf("waiting for %s: %+v, %v; want %+v", w.ref, w.outcome, w.err, want)
		}
	default:
		w.b.Fatalf("waiting for %s goes on, want %s", w.ref, want.State)
	}
}

// unknown fails the test unless the wait has ended, now, without knowing the outcome, and because of that.
func (w *wait) unknown(cause error) {
	w.b.Helper()
	synctest.Wait()
	select {
	case <-w.ended:
	default:
		w.b.Fatalf("waiting for %s goes on", w.ref)
	}
	if !errors.Is(w.err, domain.ErrUnknownOutcome) || cause != nil && !errors.Is(w.err, cause) {
		w.b.Errorf("waiting for %s: error %v, want an unknown outcome because of: %v", w.ref, w.err, cause)
	}
	if !reflect.DeepEqual(w.outcome, producer.Outcome{EventID: w.ref.EventID, OrderID: w.ref.OrderID}) {
		w.b.Errorf("waiting for %s: %+v, want the names and no order", w.ref, w.outcome)
	}
}

// refused fails the test unless the wait has ended, now, with an error of ClassReject that says what it is.
func (w *wait) refused(what error, code domain.Code) {
	w.b.Helper()
	synctest.Wait()
	select {
	case <-w.ended:
	default:
		w.b.Fatalf("waiting for %s goes on, want: %v", w.ref, what)
	}
	if !errors.Is(w.err, what) || domain.ClassOf(w.err) != domain.ClassReject || domain.CodeOf(w.err) != code || errors.Is(w.err, domain.ErrUnknownOutcome) {
		w.b.Errorf("waiting for %s: error %v of class %s, code %s; want: %v, rejected, %s", w.ref, w.err, domain.ClassOf(w.err), domain.CodeOf(w.err), what, code)
	}
	if !reflect.DeepEqual(w.outcome, producer.Outcome{EventID: w.ref.EventID, OrderID: w.ref.OrderID}) {
		w.b.Errorf("waiting for %s: %+v, want the names and no order", w.ref, w.outcome)
	}
}

// setAside is refused because the request of that dead letter was set aside.
func (w *wait) setAside(s domain.SetAside) {
	w.b.Helper()
	w.refused(domain.ErrSetAside, domain.CodeSetAside)
	want := producer.SetAsideError{EventID: w.ref.EventID, OrderID: w.ref.OrderID, EntryID: s.EntryID, DeadID: s.DeadID, Reason: s.Reason}
	var got *producer.SetAsideError
	if !errors.As(w.err, &got) || *got != want {
		w.b.Errorf("waiting for %s: %+v, want %+v", w.ref, got, want)
		return
	}
	for _, text := range []string{w.ref.String(), s.EntryID, s.DeadID, s.Reason} {
		if !strings.Contains(w.err.Error(), text) {
			w.b.Errorf("the error %q does not say %q", w.err, text)
		}
	}
}

func ref(eventID, orderID string) domain.OrderRef {
	return domain.OrderRef{EventID: eventID, OrderID: orderID}
}

// orderIn is an order in a state, told from others by its customer.
func orderIn(state domain.OrderState, customer string) domain.Order {
	return domain.Order{State: state, CustomerID: customer, Items: "general:2:1000", Currency: "EUR"}
}
