package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/e2e/program"
	"holdfast/e2e/torture"
	"holdfast/producer"
	"holdfast/streams/audit"
)

// replacedLine is what a worker says, once each time, when Redis holds other data than before.
const replacedLine = `"the data in Redis is not what it was: going on`

// trial is a sale on a Redis that gets into a state that nobody wants.
type trial struct {
	*system
	gateway string
	pool    []*program.Process
	sale    *stubborn
	tally   *torture.Tally
	quiet   func() // checks that the workers logged little, and live
}

const trialEvents = 6

// newTrial has the log archived, and trimmed all the time.
func newTrial(t *testing.T, what string, redisArgs ...string) *trial {
	t.Helper()
	tr := openTrial(t, what, append(redisArgs, "--stream-node-max-entries", "4")...) // Redis trims whole nodes
	tr.begin(tr.archived()...)
	tr.trimAll(tr.tally)
	tr.trimsSome()
	return tr
}

// newTrialWithoutArchive is newTrial where that changes what must come of it.
func newTrialWithoutArchive(t *testing.T, what string) *trial {
	t.Helper()
	tr := openTrial(t, what)
	tr.begin()
	return tr
}

func openTrial(t *testing.T, what string, redisArgs ...string) *trial {
	t.Helper()
	tr := &trial{system: newSystem(t, redisArgs...), gateway: startGateway(t, "--latency", "40ms"), tally: torture.Begin(t, 7, what)}
	tr.purchases("trial", trialEvents, 20_000) // makes the events
	return tr
}

func (tr *trial) begin(args ...string) {
	t := tr.t
	t.Helper()
	args = append(args, "--gateway", tr.gateway, "--reclaim-after", "1s")
	for i := range 3 {
		tr.pool = append(tr.pool, tr.worker(fmt.Sprintf("worker-%d", i), args...))
	}
	tr.quiet = quietly(t, tr.pool...)
	tr.sale = tr.sell(ticketFor("trial", trialEvents))
	tr.sale.soldSoon(t, 50)
}

// end stops the sale, and checks that every order with a receipt is confirmed, paid once and right.
func (tr *trial) end() {
	tr.t.Helper()
	refs := tr.sale.all()
	tr.drained(soon * 3)
	tr.trims()
	tr.allArchived()
	tr.allIn(domain.OrderConfirmed, refs)
	paidOnce(tr.t, tr.gateway, refs)
	tr.audit(tr.gateway)
	tr.tally.Judged(0)
	tr.tally.Count("orders", len(refs))
	tr.quiet()
	program.StopAll(tr.pool...)
}

func (tr *trial) do(rdb *redis.Client, args ...any) {
	tr.t.Helper()
	if err := rdb.Do(context.Background(), args...).Err(); err != nil {
		tr.t.Fatalf("%v: %v", args, err)
	}
}

// violations runs an audit that may find something.
func (s *system) violations(gateway string) (found []audit.Violation) {
	s.t.Helper()
	s.seenTo()
	r := s.run("", s.auditArgs(gateway)...)
	var report audit.Report
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		s.t.Fatalf("audit: exit %d, %v\n%s%s", r.code, err, r.stdout, r.stderr)
	}
	if report.OK != (len(report.Violations) == 0) || report.OK != (r.code == 0) {
		s.t.Errorf("audit: exit %d, ok %t, %d violations", r.code, report.OK, len(report.Violations))
	}
	return report.Violations
}

// strays are the payments that nobody's order stands for: money is reserved or
// taken, and the order is lost, or was refused since.
func (s *system) strays(gateway string) map[string]bool {
	s.t.Helper()
	var refs []domain.OrderRef
	lines := ledger(s.t, gateway)
	for ref := range lines {
		refs = append(refs, ref)
	}
	strays := make(map[string]bool)
	for i, o := range s.orders(refs) {
		status := lines[refs[i]].Status
		if (status == domain.PaymentStatusAuthorized || status == domain.PaymentStatusCaptured) && o.State != domain.OrderConfirmed {
			strays[refs[i].String()] = true
		}
	}
	return strays
}

// named checks that the audit names exactly these payments, and nothing else but what else allows.
func (tr *trial) named(strays map[string]bool, allowed func(audit.Violation) bool) {
	tr.t.Helper()
	seen := make(map[string]bool)
	for _, v := range tr.violations(tr.gateway) {
		switch {
		case strays[v.Subject] && (v.Invariant == "I4" || v.Invariant == "I5"):
			seen[v.Subject] = true
		case !allowed(v):
			tr.t.Errorf("audit: %s %s: %s", v.Invariant, v.Subject, v.Detail)
		}
	}
	if len(seen) != len(strays) {
		tr.t.Errorf("the audit names %d of %d payments that no order stands for", len(seen), len(strays))
	}
	tr.tally.Judged(0)
	tr.tally.Count("stray payments, all named", len(strays))
}

func nothing(audit.Violation) bool { return false }

// Whatever Redis refuses, loses or forgets for a while, the workers go on afterwards
// by themselves, say little about it, and every invariant holds.
func TestTortureRedisStates(t *testing.T) {
	t.Parallel()
	rounds := torture.Size(1, 5)

	t.Run("scripts forgotten", func(t *testing.T) {
		t.Parallel()
		tr := newTrial(t, "SCRIPT FLUSH under load")
		for range 10 * rounds {
			tr.do(tr.client(), "SCRIPT", "FLUSH")
			tr.sale.soldSoon(t, 20)
			tr.tally.Count("flushes", 1)
		}
		tr.end()
	})

	t.Run("groups destroyed", func(t *testing.T) {
		t.Parallel()
		tr := newTrial(t, "consumer groups destroyed under load")
		rdb := tr.client()
		for range rounds {
			for p := range tr.store().Partitions() {
				for _, group := range []domain.Group{domain.GroupWorkers, domain.GroupPosting, domain.GroupSettlement} {
					tr.do(rdb, "XGROUP", "DESTROY", streamOf(p, group), string(group))
					tr.sale.soldSoon(t, 5)
					tr.tally.Count("groups destroyed", 1)
				}
			}
		}
		tr.end()
	})

	t.Run("requests deleted", func(t *testing.T) {
		t.Parallel()
		tr := newTrial(t, "request streams deleted under load")
		rdb := tr.client()
		for range rounds {
			for p := range tr.store().Partitions() {
				tr.do(rdb, "DEL", requestsKey(p))
				tr.sale.soldSoon(t, 5)
				tr.tally.Count("streams deleted", 1)
			}
		}
		refs := tr.sale.all()
		tr.workedOff()
		// Requests that were in line are gone: that is what deleting them means. Publishing again repairs it.
		tr.resubmit(refs)
		tr.end()
	})

	t.Run("memory full", func(t *testing.T) {
		t.Parallel()
		testMemoryFull(t, rounds)
	})

	t.Run("too few replicas", func(t *testing.T) {
		t.Parallel()
		tr := newTrial(t, "writes refused (NOREPLICAS) under load")
		rdb := tr.client()
		for range rounds {
			tr.do(rdb, "CONFIG", "SET", "min-replicas-to-write", "1")
			tr.sale.vainSoon(t, 1)
			tr.do(rdb, "CONFIG", "SET", "min-replicas-to-write", "0")
			tr.sale.soldSoon(t, 50)
			tr.tally.Count("refusals", 1)
		}
		tr.end()
	})

	t.Run("disk failing", func(t *testing.T) {
		t.Parallel()
		tr := newTrial(t, "writes refused (MISCONF) under load", "--enable-protected-configs", "local")
		rdb := tr.client()
		tr.do(rdb, "CONFIG", "SET", "save", "3600 1")
		saved := func(want string) {
			t.Helper()
			eventually(t, soon, "a snapshot is "+want, func() error {
				if err := rdb.BgSave(context.Background()).Err(); err != nil && !strings.Contains(err.Error(), "in progress") {
					return err
				}
				info, err := rdb.Info(context.Background(), "persistence").Result()
				if err != nil || !strings.Contains(info, "rdb_last_bgsave_status:"+want) {
					return fmt.Errorf("not yet: %w", errors.Join(err, errors.New(info)))
				}
				return nil
			})
		}
		for range rounds {
			// A disk that takes nothing. While a snapshot is written, files come anew.
			eventually(t, soon, "the directory is gone", func() error { return os.RemoveAll(tr.server.Dir()) })
			saved("err")
			tr.sale.vainSoon(t, 1)
			if err := os.MkdirAll(tr.server.Dir(), 0o700); err != nil {
				t.Fatal(err)
			}
			// Its working directory is the one that is gone.
			tr.do(rdb, "CONFIG", "SET", "dir", tr.server.Dir())
			saved("ok")
			tr.sale.soldSoon(t, 50)
			tr.tally.Count("failures", 1)
		}
		tr.end()
	})

	t.Run("replica", func(t *testing.T) {
		t.Parallel()
		testReadOnlyReplica(t)
	})

	t.Run("emptied", func(t *testing.T) {
		t.Parallel()
		testEmptied(t, rounds)
	})

	t.Run("older copy", func(t *testing.T) {
		t.Parallel()
		testOlderCopy(t, rounds)
	})

	t.Run("log deleted", func(t *testing.T) {
		t.Parallel()
		testLogDeleted(t)
	})
}

// saleRequest is what the stubborn checkout published for an order.
func saleRequest(ref domain.OrderRef) domain.Request {
	return domain.Request{
		Type: domain.RequestPurchase, EventID: ref.EventID, OrderID: ref.OrderID,
		CustomerID: strings.Replace(ref.OrderID, "-", "-customer-", 1), Quantity: 1, PaymentToken: "tok_again",
	}
}

// resubmit publishes all these orders again, under the same ids, and waits for what becomes of them.
func (tr *trial) resubmit(refs []domain.OrderRef) {
	tr.t.Helper()
	requests := make([]domain.Request, len(refs))
	receipts := make(chan producer.Receipt, len(refs))
	for i, ref := range refs {
		requests[i] = saleRequest(ref)
		receipts <- producer.Receipt{EventID: ref.EventID, OrderID: ref.OrderID}
	}
	close(receipts)
	publish(tr.t, tr.producer(), requests...)
	tr.tally.Count("published again", len(refs))
	tr.drained(soon * 3)
	tr.sale.receipts = receipts // for end
}

// noticed waits until each worker has said so many times that the data was replaced,
// and works on what is there: it would say only once what happens twice before that.
func (tr *trial) noticed(times int) {
	tr.t.Helper()
	for _, p := range tr.pool {
		p.Says(times, replacedLine)
		p.Says(times+1, `"worker started"`)
	}
}

// workedOff waits until no group has anything to do; holds may still run.
func (tr *trial) workedOff() {
	tr.t.Helper()
	eventually(tr.t, soon*3, "all is worked off", func() error { return noBacklog(tr.store()) })
}

// Memory is full, and nothing may be evicted: a publisher is told definitely that
// nothing was published, and what is held is paid, confirmed, posted and captured.
func testMemoryFull(t *testing.T, rounds int) {
	tally := torture.Begin(t, 7, "memory full (noeviction) under load")
	s := newSystem(t, "--maxmemory-policy", "noeviction", "--stream-node-max-entries", "4")
	gateway := startGateway(t, "--latency", "400ms")
	w := s.worker("worker", append(s.archived(), "--gateway", gateway, "--reclaim-after", "1s")...)
	s.trimAll(tally)
	quiet := quietly(t, w)
	rdb := s.client()
	p := s.producer()
	var all []domain.OrderRef
	for round := range rounds {
		requests, refs := s.purchases(fmt.Sprintf("full%d", round), 4, 150)
		publish(t, p, requests...)
		eventually(t, soon, "every order is held, or further", func() error {
			for i, o := range s.orders(refs) {
				if o.State == domain.OrderNone {
					return fmt.Errorf("%s is not", refs[i])
				}
			}
			return nil
		})
		if err := rdb.ConfigSet(context.Background(), "maxmemory", "1").Err(); err != nil {
			t.Fatal(err)
		}
		tally.Count("orders under way", s.held(refs))
		refused := domain.Request{
			Type: domain.RequestPurchase, EventID: refs[0].EventID, OrderID: fmt.Sprintf("refused-%d", round),
			CustomerID: "late", Quantity: 1, PaymentToken: "tok_1",
		}
		_, err := p.Publish(context.Background(), refused)
		if err == nil || errors.Is(err, domain.ErrUnknownOutcome) || !strings.Contains(err.Error(), "OOM") {
			t.Errorf("publishing with a full memory: %v, want a definite refusal", err)
		}
		s.drained(soon * 2) // posted and captured, too
		s.allIn(domain.OrderConfirmed, refs)
		if err := rdb.ConfigSet(context.Background(), "maxmemory", "0").Err(); err != nil {
			t.Fatal(err)
		}
		publish(t, p, refused)
		s.drained(soon)
		all = append(append(all, refs...), refused.Ref())
		s.allIn(domain.OrderConfirmed, all)
		paidOnce(t, gateway, all)
		s.allArchived()
		s.audit(gateway)
		tally.Judged(0)
		tally.Count("times full", 1)
	}
	more := 0
	eventually(t, 3*soon, "the log is trimmed", func() error {
		if s.gone.Load() > 0 {
			return nil
		}
		more++ // an entry that is full is dropped, and not before
		publish(t, p, domain.Request{Type: domain.RequestPurchase, EventID: all[0].EventID, OrderID: fmt.Sprintf("more-%d", more), CustomerID: fmt.Sprintf("more-%d", more), Quantity: 1, PaymentToken: "tok_1"})
		return fmt.Errorf("not yet, with %d more orders", more)
	})
	s.drained(soon * 2)
	s.trims()
	tally.Count("orders", len(all))
	quiet()
	program.StopAll(w)
}

// A worker is pointed at a replica that takes no writes. It waits, says so once,
// and works when the replica is made a master.
func testReadOnlyReplica(t *testing.T) {
	tally := torture.Begin(t, 7, "a worker at a read-only replica, which is then promoted")
	master := newSystem(t)
	requests, refs := master.purchases("replica", 4, 100)
	publish(t, master.producer(), requests...)
	master.ok("namespace", "set", "--gateway", "remote") // as the workers of the master have; a replica cannot note it
	replica := newSystem(t, "--replicaof", fmt.Sprintf("127.0.0.1 %d", master.server.Port()))
	rdb := replica.client()
	eventually(t, soon, "the replica is in sync", func() error {
		info, err := rdb.Info(context.Background(), "replication").Result()
		if err != nil || !strings.Contains(info, "master_link_status:up") {
			return fmt.Errorf("not yet: %w", errors.Join(err, errors.New(info)))
		}
		return nil
	})
	gateway := startGateway(t)
	w := replica.startWorker("worker", "--gateway", gateway)
	quiet := quietly(t, w)
	w.SaysSoon("READONLY")
	if err := rdb.Do(context.Background(), "REPLICAOF", "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	w.SaysSoon("redis works again")
	replica.drained(soon)
	replica.allIn(domain.OrderConfirmed, refs)
	paidOnce(t, gateway, refs)
	replica.audit(gateway)
	tally.Judged(0)
	tally.Count("orders", len(refs))
	quiet()
	program.StopAll(w)
}

// careless is a checkout of another program, which adds to a stream whether it is there or
// not: where Redis was emptied, it begins a namespace that nobody made. It cancels what
// nobody has bought, over and over, until it is told to stop.
func (tr *trial) careless() (stop func()) {
	tr.t.Helper()
	streamOf := make(map[string]string) // by event; in all partitions
	for n := 0; len(streamOf) < 32; n++ {
		event := fmt.Sprintf("careless-%d", n)
		streamOf[event] = requestsKey(tr.store().Partition(event))
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	stop = func() {
		cancel()
		<-ended
	}
	tr.t.Cleanup(stop)
	rdb := tr.client()
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			for event, stream := range streamOf {
				select {
				case <-tick.C:
					request := domain.Request{Type: domain.RequestCancel, EventID: event, OrderID: "nobody-s"}
					_ = rdb.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: wire.Fields(request)}).Err() // careless
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return stop
}

// Redis is emptied under load. The workers say so once, and serve what is new; the
// audit names each payment of the orders that are gone.
func testEmptied(t *testing.T, rounds int) {
	tr := newTrialWithoutArchive(t, "FLUSHALL under load") // with one: TestRestoredUnderLoad
	rdb := tr.client()
	for round := 1; round <= rounds; round++ {
		tr.sale.soldSoon(t, 100)
		stop := tr.careless()
		tr.do(rdb, "FLUSHALL")
		tr.noticed(round)
		stop()
		tr.sale.soldSoon(t, 20)
		tr.sale.all()
		prefix := fmt.Sprintf("new%d", round)
		requests, fresh := tr.purchases(prefix, 4, 50)
		publish(t, tr.producer(), requests...)
		tr.drained(soon * 2)
		tr.allIn(domain.OrderConfirmed, fresh)
		tr.named(tr.strays(tr.gateway), nothing)
		tr.tally.Count("times emptied", 1)
		tr.purchases("trial", trialEvents, 20_000)
		tr.sale = tr.sell(ticketFor("trial", trialEvents))
	}
	tr.sale.all()
	tr.drained(soon * 2)
	for _, p := range tr.pool {
		if n := strings.Count(p.Stderr.String(), replacedLine); n != rounds {
			t.Errorf("%s said %d times that the data was replaced, want %d", p.Name, n, rounds)
		}
	}
	tr.quiet()
	program.StopAll(tr.pool...)
}

// Redis comes back with an older copy of its data while workers run. They say so
// once; the audit names each payment that went beyond the copy; and publishing
// everything again repairs it all.
func testOlderCopy(t *testing.T, rounds int) {
	tr := newTrial(t, "an older copy restored under load", "--appendonly", "yes", "--appendfsync", "always")
	logs := filepath.Join(tr.server.Dir(), "appendonlydir")
	for round := 1; round <= rounds; round++ {
		tr.sale.soldSoon(t, 100)
		older := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(older, os.DirFS(logs)); err != nil {
			t.Fatal(err)
		}
		tr.sale.soldSoon(t, 200)
		tr.server.Kill()
		if err := errors.Join(os.RemoveAll(logs), os.CopyFS(logs, os.DirFS(older))); err != nil {
			t.Fatal(err)
		}
		tr.server.Restart()
		tr.noticed(round)
		tr.sale.soldSoon(t, 50)
		tr.tally.Count("copies restored", 1)
	}
	refs := tr.sale.all()
	tr.drained(soon * 3)
	tr.trims()
	tr.allArchived()
	strays := tr.strays(tr.gateway)
	tr.named(strays, nothing)
	gone := 0
	for _, o := range tr.orders(refs) {
		if o.State == domain.OrderNone {
			gone++
		}
	}
	tr.tally.Count("receipts of what is gone", gone)
	if gone == 0 || len(strays) == 0 {
		t.Errorf("%d orders gone, %d stray payments: that was no test", gone, len(strays))
	}
	tr.resubmit(refs)
	tr.end()
	for _, p := range tr.pool {
		if n := strings.Count(p.Stderr.String(), replacedLine); n != rounds {
			t.Errorf("%s said %d times that the data was replaced, want %d", p.Name, n, rounds)
		}
	}
}

// A log is deleted, the source of truth. The workers say so once and serve on; the
// audit says that state has no facts any more.
func testLogDeleted(t *testing.T) {
	tr := newTrialWithoutArchive(t, "a log deleted under load")
	tr.do(tr.client(), "DEL", keyOf(0, "log"))
	for _, p := range tr.pool {
		p.SaysSoon(replacedLine)
	}
	tr.sale.soldSoon(t, 50)
	refs := tr.sale.all()
	tr.workedOff()
	named := 0
	for _, v := range tr.violations("") {
		if v.Invariant == "I7" {
			named++
		}
	}
	if named == 0 {
		t.Error("the audit does not miss the log")
	}
	tr.tally.Count("orders", len(refs))
	tr.quiet()
	program.StopAll(tr.pool...)
}
