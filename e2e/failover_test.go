package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/archive"
	"holdfast/domain"
	"holdfast/payments/remote"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/streams/redistest"

	"holdfast/e2e/program"
	"holdfast/e2e/torture"
)

// Redis Cluster and Sentinel: slots that move lose nothing; a failover may lose what
// was acknowledged last. What it loses is measured, the audit names what does not
// fit together any more, and publishing everything again, under the same ids, repairs it.

// seller is a checkout that publishes every request until it has a receipt for it.
type seller struct {
	name     string
	producer *producer.Producer
	stop     context.CancelFunc
	ended    chan struct{}

	mu        sync.Mutex
	published []publication // in order
}

type publication struct {
	request domain.Request
	receipt producer.Receipt
}

const (
	sellerEvents = 8
	sellerEvery  = 50 * time.Millisecond
	perSale      = 5
	cancelAfter  = 60 // orders
	// replicasTimeout is plenty where there is a replica, and soon over where there is none.
	replicasTimeout = 200 * time.Millisecond
)

// sellers makes the events, and starts a seller that does not wait for replicas, one
// that waits for one of them, and so on up to most.
func (s *system) sellers(most int) []*seller {
	s.t.Helper()
	var all []*seller
	for replicas := range most + 1 {
		name := fmt.Sprintf("wait-%d", replicas)
		for e := range sellerEvents {
			s.event(fmt.Sprintf("%s-%d", name, e), name, 1_000_000, "12.50")
		}
		p := producer.New(s.store().Checkout(), s.store().Checkout(), producer.Options{Replicas: replicas, ReplicasTimeout: replicasTimeout})
		ctx, cancel := context.WithCancel(context.Background())
		c := &seller{name: name, producer: p, stop: cancel, ended: make(chan struct{})}
		s.t.Cleanup(func() {
			cancel()
			<-c.ended
			p.Close()
		})
		go c.sell(ctx)
		all = append(all, c)
	}
	return all
}

// request is the nth of a seller: some are declined, some cancelled a while later.
func (c *seller) request(n int) domain.Request {
	if n%20 == 19 && n > cancelAfter {
		r := c.request(n - cancelAfter - 1)
		return domain.Request{Type: domain.RequestCancel, EventID: r.EventID, OrderID: r.OrderID}
	}
	r := domain.Request{
		Type: domain.RequestPurchase, EventID: fmt.Sprintf("%s-%d", c.name, n%sellerEvents), OrderID: fmt.Sprintf("%s-order-%d", c.name, n),
		CustomerID: fmt.Sprintf("%s-customer-%d", c.name, n), Quantity: int64(1 + n%3), PaymentToken: "tok_1",
	}
	if n%10 == 3 {
		r.PaymentToken = "decline-this-card"
	}
	return r
}

func (c *seller) sell(ctx context.Context) {
	defer close(c.ended)
	tick := time.NewTicker(sellerEvery)
	defer tick.Stop()
	var unpublished []domain.Request
	for number, tries := 0, 0; tries < lastTries*4; {
		<-tick.C
		if ctx.Err() != nil {
			if len(unpublished) == 0 {
				return
			}
			tries++
		}
		for ctx.Err() == nil && len(unpublished) < perSale {
			unpublished = append(unpublished, c.request(number))
			number++
		}
		unpublished = c.publish(unpublished)
	}
}

// publish returns what was not published.
func (c *seller) publish(requests []domain.Request) (again []domain.Request) {
	bounded, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	results := c.producer.PublishBatch(bounded, requests)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, r := range results {
		if r.Err != nil {
			again = append(again, requests[i])
			continue
		}
		c.published = append(c.published, publication{requests[i], r.Receipt})
	}
	return again
}

func (c *seller) receipts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.published)
}

// sold waits until so many receipts more were given by each.
func sold(t testing.TB, sellers []*seller, n int) {
	t.Helper()
	for _, c := range sellers {
		want := c.receipts() + n
		eventually(t, time.Minute, "requests are published", func() error {
			if got := c.receipts(); got < want {
				return fmt.Errorf("%s: %d receipts, want %d", c.name, got, want)
			}
			return nil
		})
	}
}

// ended stops the sellers and returns all that there is a receipt for.
func ended(t testing.TB, sellers []*seller) (all []publication) {
	t.Helper()
	for _, c := range sellers {
		c.stop()
	}
	for _, c := range sellers {
		<-c.ended
		all = append(all, c.published...)
	}
	return all
}

// watcher follows the logs and remembers each fact that it saw.
type watcher struct {
	store *streams.Store
	stop  context.CancelFunc
	ended chan struct{}
	seen  map[string]bool // partition:id
}

func (s *system) watch() *watcher {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{store: s.store(), stop: cancel, ended: make(chan struct{}), seen: make(map[string]bool)}
	s.t.Cleanup(func() {
		cancel()
		<-w.ended
	})
	go func() {
		defer close(w.ended)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		after := slices.Repeat([]string{"0-0"}, w.store.Partitions())
		for ctx.Err() == nil {
			<-tick.C
			for p := range after {
				// While a master is away, it is read again.
				after[p], _ = w.store.ReadLog(ctx, p, after[p], "+", func(f domain.Fact) error {
					w.seen[fmt.Sprintf("%d:%s", p, f.ID)] = true
					return nil
				})
			}
		}
	}()
	return w
}

// lost is how many log entries were there once and are not in the log any more.
func (w *watcher) lost(s *system) int {
	s.t.Helper()
	w.stop()
	<-w.ended
	left := maps.Clone(w.seen)
	for p := range w.store.Partitions() {
		s.factsOf(p, func(f domain.Fact) { delete(left, fmt.Sprintf("%d:%s", p, f.ID)) })
	}
	return len(left)
}

// named is what the audit says, violations or not, by invariant.
func (s *system) named(gateway string) auditView {
	s.t.Helper()
	s.seenTo()
	r := s.run("", s.auditArgs(gateway)...)
	reports := decodeLines[auditView](s.t, r.stdout)
	if len(reports) != 1 || r.code != 0 == (len(reports[0].Violations) == 0) {
		s.t.Fatalf("audit: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	return reports[0]
}

// atMostOnce checks the gateway's books: whatever was lost, nothing was done twice.
func atMostOnce(t testing.TB, gateway string) {
	t.Helper()
	for ref, l := range ledger(t, gateway) {
		if l.Authorizations > 1 || l.Captures > 1 || l.Voids > 1 || l.Refunds > 1 || l.Captured > l.Authorized || l.Refunded > l.Captured {
			t.Errorf("%s: the gateway did something twice: %+v", ref, l)
		}
	}
}

// Slots move from master to master while workers and checkouts are at it: a
// partition with all that is in it, a customer's invoices, by turns. Nothing is lost.
func TestTortureClusterSlots(t *testing.T) {
	t.Parallel()
	moves := torture.Size(2, 20)
	tally := torture.Begin(t, 8, "slots of a Redis Cluster moved under load")
	rng := rand.New(rand.NewPCG(torture.Seed(t), 8))
	cluster := redistest.StartCluster(t, 3)
	s := &system{t: t, url: cluster.URL(), server: cluster.Any()}
	gateway := startGateway(t, "--latency", "20ms")
	sellers := s.sellers(1)
	pool := s.failoverWorkers(gateway)
	s.trimAll(tally)
	s.trimsSome()
	check := quietly(t, pool...)
	sold(t, sellers, 50)
	moved, keys := 0, 0
	for i := range moves {
		key := keyOf(rng.IntN(s.store().Partitions()), "log")
		if i%2 == 1 {
			c := sellers[rng.IntN(len(sellers))]
			key = "holdfast:2:invoices:{" + c.request(rng.IntN(c.receipts())).CustomerID + "}"
		}
		slot := cluster.Slot(key)
		targets := slices.DeleteFunc(cluster.Masters(), func(m *redistest.Server) bool { return m == cluster.MasterOf(slot) })
		n := cluster.MoveSlot(slot, targets[rng.IntN(len(targets))])
		if i%2 == 0 && n == 0 {
			t.Error("a partition was moved, and there was nothing in it")
		}
		moved, keys = moved+1, keys+n
		sold(t, sellers, 20)
	}
	all := ended(t, sellers)
	s.drained(time.Minute)
	s.trims()
	s.allArchived()
	check()
	for i, o := range s.ordersOf(all) {
		if !o.State.Terminal() {
			t.Errorf("%s has a receipt (%s) and is %s", all[i].request.Ref(), all[i].receipt.EntryID, o.State)
		}
	}
	atMostOnce(t, gateway)
	s.seenTo()
	s.audit(gateway)
	tally.Judged(0)
	program.StopAll(pool...)
	tally.Count("slots moved", moved)
	tally.Count("keys moved", keys)
	tally.Count("receipts", len(all))
	tally.Count("receipts lost", 0)
	if moved < moves {
		t.Errorf("%d slots moved, want %d", moved, moves)
	}
}

// failoverWorkers archive.
func (s *system) failoverWorkers(gateway string) (pool []*program.Process) {
	s.t.Helper()
	args := append(s.archived(), "--gateway", gateway, "--reclaim-after", "2s", "--wait-redis", "60s")
	for i := range 2 {
		pool = append(pool, s.worker(fmt.Sprintf("worker-%d", i), args...))
	}
	return pool
}

func (s *system) ordersOf(all []publication) []domain.Order {
	s.t.Helper()
	refs := make([]domain.OrderRef, len(all))
	for i, p := range all {
		refs[i] = p.request.Ref()
	}
	return s.orders(refs)
}

// Masters of a cluster are killed under load; their replicas take over. Every other
// time the replica has lagged behind. What belongs together (a partition and the
// invoices of its customers) is on several masters, of which one loses its last moments.
func TestTortureClusterMasters(t *testing.T) {
	t.Parallel()
	tally := torture.Begin(t, 8, "masters of a Redis Cluster killed under load")
	rng := rand.New(rand.NewPCG(torture.Seed(t), 88))
	cluster := redistest.StartCluster(t, 3)
	s := &system{t: t, url: cluster.URL(), server: cluster.Any()}
	f := &failovers{system: s, tally: tally, count: "masters killed", times: torture.Size(1, 10), replicas: 1, several: true}
	f.each = func(i int, sellers []*seller) {
		masters := cluster.Masters()
		slices.SortFunc(masters, func(a, b *redistest.Server) int { return a.Port() - b.Port() })
		victim := masters[rng.IntN(len(masters))]
		if i%2 == 0 {
			cluster.LeaveBehind(victim)
			sold(t, sellers, perSale)
		}
		cluster.KillMaster(victim)
		sold(t, sellers, 20)
		victim.Restart()
		cluster.Wait()
	}
	f.run()
}

// Sentinels fail over under load, because the master died, or because they were told
// to. Every other time when it dies, its replicas have lagged behind.
func TestTortureSentinel(t *testing.T) {
	t.Parallel()
	tally := torture.Begin(t, 8, "failovers of Sentinel under load")
	torture.Seed(t) // which is not needed: nothing is drawn
	sentinels := redistest.StartSentinels(t)
	s := &system{t: t, url: sentinels.URL()}
	f := &failovers{system: s, tally: tally, count: "failovers (Sentinel)", times: torture.Size(1, 10), replicas: 2}
	f.each = func(i int, sellers []*seller) {
		if i%2 == 1 {
			sentinels.Failover()
			sold(t, sellers, 20)
			sentinels.Wait()
			return
		}
		if i%4 == 0 {
			sentinels.LeaveBehind()
			sold(t, sellers, perSale)
		}
		sentinels.KillMaster()
		sold(t, sellers, 20)
		sentinels.Revive()
	}
	f.run()
}

// A master is cut off, and does not know: whoever still reaches it goes on selling there, and archiving to the same archive as those who are with the new master.
// Both write segments of one branch, until somebody finds one there that his log does not have. The archive tells the log of the master that goes on, whichever wrote first.
func TestTortureCutOffMaster(t *testing.T) {
	t.Parallel()
	tally := torture.Begin(t, 8, "a master that is cut off, and goes on selling and archiving")
	torture.Seed(t) // which is not needed: nothing is drawn
	sentinels := redistest.StartSentinels(t)
	s := &system{t: t, url: sentinels.URL()}
	gateway := startGateway(t, "--latency", "20ms")
	sellers := s.sellers(0)
	pool := s.failoverWorkers(gateway)
	s.trimAll(tally)
	s.trimsSome()
	beyond, times := 0, torture.Size(1, 5)
	for i := range times {
		sold(t, sellers, 50)
		old, url := sentinels.CutOff()
		there := &system{t: t, url: url}
		left := there.worker(fmt.Sprintf("left-%d", i), "--gateway", gateway, "--archive", s.archive, "--archive-every", "50ms", "--reclaim-after", "2s")
		var refs []domain.OrderRef
		var requests []domain.Request
		for n := range 40 {
			r := purchase(fmt.Sprintf("wait-0-%d", n%sellerEvents), fmt.Sprintf("left-%d-%d", i, n), 1)
			requests, refs = append(requests, r), append(refs, r.Ref())
		}
		publish(t, there.producer(), requests...)
		sold(t, sellers, 20) // at the new one, at the same time
		there.drained(3 * soon)
		there.allIn(domain.OrderConfirmed, refs)
		left.Kill()
		old.Kill()
		sentinels.Revive()
		beyond += len(refs)
		sold(t, sellers, 20)
	}
	all := ended(t, sellers)
	s.drained(2 * time.Minute)
	s.trims()
	s.allArchived()
	atMostOnce(t, gateway)
	report := s.named(gateway)
	for _, v := range report.Violations {
		if v.Invariant != "I4" && v.Invariant != "I5" {
			t.Errorf("%s %s: %s", v.Invariant, v.Subject, v.Detail)
		}
	}
	branches := list[archive.Branch](s, "archive", "ls", "--archive", s.archive)
	if most := s.store().Partitions() * times; len(branches) <= s.store().Partitions() {
		t.Errorf("there are %d branches in the archive, of %d at most: that was no test", len(branches), s.store().Partitions()+most)
	}
	s.ok("archive", "verify", "--archive", s.archive)
	s.resubmit(sellers[0].producer, all)
	for i, o := range s.ordersOf(all) {
		if !o.State.Terminal() {
			t.Errorf("%s was published twice and is %s", all[i].request.Ref(), o.State)
		}
	}
	program.StopAll(pool...)
	tally.Judged(0)
	tally.Count("masters cut off", times)
	tally.Count("orders sold there by then", beyond)
	tally.Count("receipts", len(all))
	tally.Count("branches", len(branches))
}

// failovers is a sale through several of them.
type failovers struct {
	*system
	tally    *torture.Tally
	count    string // what they are called in the table
	times    int
	replicas int  // of each master
	several  bool // masters, of which one fails over
	each     func(i int, sellers []*seller)
}

func (f *failovers) run() {
	t := f.t
	t.Helper()
	gateway := startGateway(t, "--latency", "20ms")
	sellers := f.sellers(f.replicas)
	pool := f.failoverWorkers(gateway)
	check := noisy(t, mostLines+linesPerFailover*f.times, pool...)
	log := f.watch()
	if !f.several { // or what is lost of the invoices could not be posted again
		f.trimAll(f.tally)
		f.trimsSome()
	}
	done := 0
	for i := range f.times {
		sold(t, sellers, 50)
		f.each(i, sellers)
		done++
	}
	sold(t, sellers, 50)
	all := ended(t, sellers)
	f.drained(2 * time.Minute)
	check()
	if f.trims != nil {
		f.trims()
	}
	f.allArchived()

	// What is left is right in itself; what is elsewhere may not fit to it.
	lost := f.unknown(all)
	f.measure(all, lost, log.lost(f.system))
	atMostOnce(t, gateway)
	report := f.named(gateway)
	f.judge(report, func(v violationView) bool {
		return v.Invariant == "I3" && f.several || v.Invariant == "I4" || v.Invariant == "I5"
	})
	f.tally.Count("named by the audit then", len(report.Violations))

	// Publishing again brings back what was lost, with the same payments.
	f.resubmit(sellers[0].producer, all)
	for i, o := range f.ordersOf(all) {
		if !o.State.Terminal() {
			t.Errorf("%s was published twice and is %s", all[i].request.Ref(), o.State)
		}
	}
	f.tally.Count("orders repaired by resubmission", len(lost))

	// A posting that is lost with its customer's invoices is made again from the log.
	f.repost()
	f.allArchived()
	atMostOnce(t, gateway)
	report = f.named(gateway)
	never := f.neverConfirmed(all)
	f.judge(report, func(v violationView) bool {
		// The order was confirmed and captured once, which was lost; before its purchase
		// came again, its cancel did. Nobody but a person can give the money back.
		return never[v.Subject] && v.Invariant == "I4" && strings.Contains(v.Detail, "was never confirmed, but its payment is captured")
	})
	f.tally.Count("left to a person", len(report.Violations))
	f.tally.Count(f.count, done)
	program.StopAll(pool...)
	if done < f.times {
		t.Errorf("%d %s, want %d", done, f.count, f.times)
	}
	if torture.Full() && len(lost) == 0 {
		t.Error("nothing was lost, although replicas had lagged behind: that was no test")
	}
}

// linesPerFailover is what a worker may say about each: that Redis does not work, and
// works again, that the data is other data, that it starts anew, whom it forgets, and
// a line for each order that is cancelled and was captured once, which is a dead letter.
const linesPerFailover = 50

// judge fails the test for every violation that is not expected.
func (f *failovers) judge(report auditView, expected func(violationView) bool) {
	f.t.Helper()
	unexpected := 0
	for _, v := range report.Violations {
		if !expected(v) {
			unexpected++
			f.t.Errorf("%s %s: %s", v.Invariant, v.Subject, v.Detail)
		}
	}
	f.tally.Judged(unexpected)
	f.t.Logf("the audit names %v", kinds(report))
}

// measure tells what was lost of what there is a receipt for, by what WAIT had said.
func (f *failovers) measure(all, lost []publication, facts int) {
	f.t.Helper()
	given, gone := make([]int, f.replicas+1), make([]int, f.replicas+1) // by how many replicas had confirmed them
	for _, p := range all {
		given[p.receipt.Replicas]++
	}
	lostConfirmed := 0
	for _, p := range lost {
		gone[p.receipt.Replicas]++
		if p.receipt.Replicas > 0 {
			lostConfirmed++
		}
	}
	f.tally.Count("receipts", len(all))
	f.tally.Count("receipts lost without WAIT", gone[0])
	f.tally.Count("receipts lost that WAIT had confirmed", lostConfirmed)
	f.tally.Count("of these by every replica", gone[f.replicas])
	f.tally.Count("facts lost", facts)
	for replicas, n := range given {
		f.t.Logf("%d receipts were confirmed by %d replicas, %d of them are lost", n, replicas, gone[replicas])
		if n == 0 {
			f.t.Errorf("no receipt was confirmed by %d replicas: that was no test", replicas)
		}
	}
	if gone[f.replicas] > 0 {
		f.t.Error("lost although every replica had it, and so the one that took over")
	}
}

// unknown are the orders with a receipt that Redis has never heard of.
func (f *failovers) unknown(all []publication) (lost []publication) {
	f.t.Helper()
	for i, o := range f.ordersOf(all) {
		if o.State == domain.OrderNone {
			lost = append(lost, all[i])
		}
	}
	return lost
}

// neverConfirmed are the names of those that ended otherwise.
func (f *failovers) neverConfirmed(all []publication) map[string]bool {
	f.t.Helper()
	never := make(map[string]bool)
	for i, o := range f.ordersOf(all) {
		if o.State.Terminal() && o.ConfirmedAtMillis == 0 {
			never[all[i].request.Ref().String()] = true
		}
	}
	return never
}

// kinds counts violations by invariant.
func kinds(report auditView) map[string]int {
	n := make(map[string]int)
	for _, v := range report.Violations {
		n[v.Invariant]++
	}
	return n
}

// resubmit publishes everything again, under the same ids: first what opens orders,
// then what cancels them.
func (s *system) resubmit(p *producer.Producer, all []publication) {
	s.t.Helper()
	for _, cancels := range []bool{false, true} {
		var again []domain.Request
		for _, one := range all {
			if (one.request.Type == domain.RequestCancel) == cancels {
				again = append(again, one.request)
			}
		}
		publish(s.t, p, again...)
		s.drained(2 * time.Minute)
	}
}

// repost lets posting take up the whole log again, as docs/operations.md says.
func (f *failovers) repost() {
	f.t.Helper()
	rdb, err := streams.Dial(f.url, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = rdb.Close() }()
	for p := range f.store().Partitions() {
		if err := rdb.Do(context.Background(), "XGROUP", "SETID", keyOf(p, "log"), string(domain.GroupPosting), "0").Err(); err != nil {
			f.t.Fatal(err)
		}
	}
	f.drained(2 * time.Minute)
}

// A failover lost an order whose payment was authorized, and its cancel comes before
// its purchase does again: the authorization is voided although nobody held anything.
func TestCancelOfAnOrderThatRedisLost(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.event("lost", "Lost", 10, "10.00")
	gateway := startGateway(t)
	s.worker("w1", "--gateway", gateway)
	client, err := remote.New(gateway, remote.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r := purchase("lost", "fred", 1)
	if _, err := client.Authorize(context.Background(), domain.PaymentRequest{Attempt: domain.Attempt{
		Name: domain.PaymentName{Namespace: s.store().PaymentNamespace(), OrderRef: r.Ref()}, Amount: 10_00, Currency: "EUR", CustomerID: r.CustomerID,
	}, Token: r.PaymentToken}); err != nil {
		t.Fatal(err)
	}
	p := s.producer()
	publish(t, p, domain.Request{Type: domain.RequestCancel, EventID: r.EventID, OrderID: r.OrderID})
	s.drained(soon)
	publish(t, p, r)
	s.drained(soon)
	s.allIn(domain.OrderCancelled, []domain.OrderRef{r.Ref()})
	if l := ledger(t, gateway)[r.Ref()]; l.Status != domain.PaymentStatusVoided {
		t.Errorf("its payment is %+v, want it voided", l)
	}
	s.audit(gateway)
}
