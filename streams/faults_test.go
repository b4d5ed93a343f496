package streams

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/redistest"
)

// TestWrongTypes puts a value of another type where each of the keys is that an
// operation writes. It must fail as poison, before it has changed anything.
//
// An order's record is not among them: MGET takes another type for no record.
func TestWrongTypes(t *testing.T) {
	const (
		requests = "holdfast:{0}:requests"
		log      = "holdfast:{0}:log"
		dead     = "holdfast:{0}:dead"
		holds    = "holdfast:{0}:holds"
		event    = "holdfast:{0}:event:e1"
		slots    = "holdfast:{0}:in_progress:e1"
		sales    = "holdfast:{0}:sales:e1"
		summary  = "holdfast:{0}:sales_summary"
		alive    = "holdfast:{0}:consumers"
		invoices = "holdfast:invoices:{fred}"
	)
	held := func(f *fixture) domain.Incoming {
		f.list("e1", terms(10))
		return f.held("e1", "o1", "fred", 1, holdMillis)
	}
	posted := func(f *fixture) domain.Fact {
		f.list("e1", terms(10))
		f.confirmed("e1", "o1", "fred", 1)
		f.deliver(domain.GroupPosting, "w1")
		return f.factOf("confirmed", "e1", "o1")
	}
	for _, test := range []struct {
		name    string
		keys    []string
		prepare func(f *fixture) (run func() error)
	}{
		{"hold for a purchase", []string{requests, log, holds, event, slots}, func(f *fixture) func() error {
			f.list("e1", terms(10))
			a := f.arrive(purchase("e1", "o1", "fred", 1))
			return func() error { _, _, err := f.store.Hold(f.ctx, 0, a); return err }
		}},
		{"reject a purchase", []string{requests, log, holds, event, slots}, func(f *fixture) func() error {
			f.list("e1", terms(0))
			a := f.arrive(purchase("e1", "o1", "fred", 1))
			return func() error { _, _, err := f.store.Hold(f.ctx, 0, a); return err }
		}},
		{"hold what is known", []string{requests}, func(f *fixture) func() error {
			f.list("e1", terms(10))
			a := f.arrive(hold("e1", "o1", "fred", 1))
			f.holdBatch(a...)
			return func() error { _, _, err := f.store.Hold(f.ctx, 0, a); return err }
		}},
		{"confirm", []string{requests, log, holds, event, slots}, func(f *fixture) func() error {
			a := held(f)
			return func() error {
				_, _, err := f.store.Resolve(f.ctx, 0, []domain.Resolution{approve(a.EntryID, "e1", "o1")})
				return err
			}
		}},
		{"decline", []string{requests, log, holds, event, slots}, func(f *fixture) func() error {
			a := held(f)
			return func() error {
				_, _, err := f.store.Resolve(f.ctx, 0, []domain.Resolution{{EntryID: a.EntryID, Ref: ref("e1", "o1"), Outcome: domain.PaymentDeclined}})
				return err
			}
		}},
		{"expire", []string{log, holds, event, slots}, func(f *fixture) func() error {
			f.list("e1", terms(10))
			f.held("e1", "o1", "fred", 1, 0)
			return func() error { _, err := f.store.Expire(f.ctx, 0, 10); return err }
		}},
		{"cancel a held order", []string{requests, log, holds, event, slots}, func(f *fixture) func() error {
			a := held(f)
			return func() error {
				return f.store.Cancel(f.ctx, 0, []domain.Cancellation{{EntryID: a.EntryID, Ref: ref("e1", "o1")}})
			}
		}},
		{"cancel a confirmed order", []string{requests, log, holds, event}, func(f *fixture) func() error {
			posted(f)
			return func() error { return f.store.Cancel(f.ctx, 0, []domain.Cancellation{{Ref: ref("e1", "o1")}}) }
		}},
		{"cancel an unseen order", []string{requests, log, holds}, func(f *fixture) func() error {
			return func() error { return f.store.Cancel(f.ctx, 0, []domain.Cancellation{{Ref: ref("e1", "o1")}}) }
		}},
		{"capture failed", []string{log, holds, event}, func(f *fixture) func() error {
			fact := posted(f)
			return func() error {
				return f.store.CaptureFailed(f.ctx, 0, []domain.Cancellation{{EntryID: fact.ID, Ref: ref("e1", "o1")}})
			}
		}},
		{"post", []string{log, sales, summary, invoices}, func(f *fixture) func() error {
			fact := posted(f)
			return func() error { return f.store.Post(f.ctx, 0, []domain.Fact{fact}) }
		}},
		{"reverse", []string{log, sales, summary, invoices}, func(f *fixture) func() error {
			f.post(posted(f))
			f.cancel("e1", "o1")
			fact := f.factOf("cancelled", "e1", "o1")
			return func() error { return f.store.Post(f.ctx, 0, []domain.Fact{fact}) }
		}},
		{"list an event", []string{log, event, summary, slots}, func(f *fixture) func() error {
			return func() error { _, err := f.store.CreateEvent(f.ctx, "e1", terms(10)); return err }
		}},
		{"adjust an event", []string{log, event}, func(f *fixture) func() error {
			f.list("e1", terms(10))
			return func() error {
				_, err := f.store.AdjustEvent(f.ctx, "e1", func(t domain.Terms) (domain.Terms, error) { t.Name = "X"; return t, nil })
				return err
			}
		}},
		{"close an event", []string{log, event}, func(f *fixture) func() error {
			f.list("e1", terms(10))
			return func() error { return f.store.CloseEvent(f.ctx, "e1") }
		}},
		{"dead letter", []string{requests, dead}, func(f *fixture) func() error {
			id := f.give("w1", 1)[0]
			q := f.queue(domain.GroupWorkers, "w1")
			return func() error { return q.DeadLetter(f.ctx, []domain.DeadEntry{{ID: id, Reason: "r"}}) }
		}},
		{"redrive a request", []string{requests, dead}, func(f *fixture) func() error {
			f.must(f.queue(domain.GroupWorkers, "w1").DeadLetter(f.ctx, []domain.DeadEntry{{ID: f.give("w1", 1)[0], Reason: "r"}}))
			id := f.deadLetters()[0].ID
			return func() error { _, err := f.store.Redrive(f.ctx, id); return err }
		}},
		{"redrive a fact", []string{log, dead}, func(f *fixture) func() error {
			fact := posted(f)
			f.must(f.queue(domain.GroupPosting, "w1").DeadLetter(f.ctx, []domain.DeadEntry{{ID: fact.ID, Reason: "r"}}))
			id := f.deadLetters()[0].ID
			return func() error { _, err := f.store.Redrive(f.ctx, id); return err }
		}},
		{"keep alive", []string{requests, alive}, func(f *fixture) func() error {
			mine := f.give("w1", 2)
			q := f.queue(domain.GroupWorkers, "w1")
			return func() error { _, err := q.KeepAlive(f.ctx, mine, time.Hour); return err }
		}},
		{"hand back", []string{requests}, func(f *fixture) func() error {
			mine := f.give("w1", 2)
			q := f.queue(domain.GroupWorkers, "w1")
			return func() error { return q.HandBack(f.ctx, mine) }
		}},
		{"leave", []string{requests, alive}, func(f *fixture) func() error {
			q := f.queue(domain.GroupWorkers, "w1")
			f.must(q.Ack(f.ctx, f.give("w1", 1)))
			return func() error { return q.Leave(f.ctx) }
		}},
		{"leave with an entry", []string{requests, alive}, func(f *fixture) func() error {
			f.give("w1", 1)
			q := f.queue(domain.GroupWorkers, "w1")
			return func() error { return q.Leave(f.ctx) }
		}},
		{"trim", []string{requests}, func(f *fixture) func() error {
			return func() error { _, err := f.store.Trim(f.ctx, 0); return err }
		}},
		{"read", []string{requests}, func(f *fixture) func() error {
			q := f.queue(domain.GroupWorkers, "w1")
			return func() error { _, err := q.Read(f.ctx, 1); return err }
		}},
		{"acknowledge", []string{requests}, func(f *fixture) func() error {
			mine := f.give("w1", 2)
			q := f.queue(domain.GroupWorkers, "w1")
			return func() error { return q.Ack(f.ctx, mine) }
		}},
	} {
		for _, key := range test.keys {
			t.Run(test.name+"/"+strings.TrimPrefix(key, "holdfast:"), func(t *testing.T) {
				f := newFixture(t)
				run := test.prepare(f)
				f.breakKey(key)
				before := f.dump()
				f.wantClass(run(), domain.ClassPoison)
				if key == invoices {
					f.wantSame(before)
				} else {
					f.wantSame(before, "holdfast:invoices:") // lines are written before the partition's part
				}
			})
		}
	}
}

// TestInitWrongType: a namespace's meta key that is something else is an error, and is left alone.
func TestInitWrongType(t *testing.T) {
	f := newFixture(t)
	f.breakKey("holdfast:meta")
	before := f.dump()
	_, err := f.store.Namespace(f.ctx)
	f.wantClass(err, domain.ClassPoison)
	f.wantSame(before)
}

// TestForbidden: what a user of Redis may not do will not work until somebody changes it.
func TestForbidden(t *testing.T) {
	f := newFixture(t)
	url := strings.Replace(f.store.url, "redis://", "redis://limited:secret@", 1)
	for _, rules := range [][]any{
		{"+info", "-evalsha", "-eval"}, {"+info", "+evalsha", "+eval", "+hmget", "+hset", "-xgroup"}, {"-info"},
	} {
		f.do(append([]any{"ACL", "SETUSER", "limited", "reset", "on", ">secret", "~*"}, rules...)...)
		s, err := Open(f.ctx, url, Options{})
		if err == nil {
			f.must(s.Close())
		}
		f.wantClass(err, domain.ClassFatal)
	}
	f.do("ACL", "DELUSER", "limited")
	_, err := Open(f.ctx, url, Options{})
	f.wantClass(err, domain.ClassFatal)
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error repeats the password: %v", err)
	}
}

// TestOutOfMemory: with a full memory that evicts nothing, what takes on work is
// refused whole; what finishes, gives back or compensates works.
func TestOutOfMemory(t *testing.T) {
	server := redistest.Start(t, "--maxmemory-policy", "noeviction")
	f := openFixture(t, server)
	f.list("e1", terms(100))
	approved := f.held("e1", "approved", "c1", 1, holdMillis)
	declined := f.held("e1", "declined", "c2", 1, holdMillis)
	late := f.held("e1", "late", "c3", 1, 0)
	f.held("e1", "due", "c4", 1, 0)
	waiting := f.held("e1", "waiting", "c5", 1, holdMillis)
	f.held("e1", "held", "c6", 1, holdMillis)
	f.confirmed("e1", "confirmed", "c7", 1)
	f.confirmed("e1", "uncaptured", "c8", 1)
	f.confirmed("e1", "posted", "c9", 1)
	f.post(f.factOf("confirmed", "e1", "posted"))
	f.cancel("e1", "posted")
	f.confirmed("e1", "unposted", "c10", 1)
	for _, group := range []domain.Group{domain.GroupPosting, domain.GroupSettlement} {
		f.deliver(group, "w1")
	}
	fresh := f.arrive(purchase("e1", "fresh", "c11", 1), hold("e1", "fresh-hold", "c12", 1), purchase("e9", "fresh-rejected", "c13", 1))
	known := f.arrive(purchase("e1", "confirmed", "c7", 1))[0]
	poison, stuck := f.give("w1", 1)[0], f.give("w1", 2)
	q := f.queue(domain.GroupWorkers, "w1")
	facts := map[string]domain.Fact{"confirmed": f.factOf("confirmed", "e1", "unposted"), "cancelled": f.factOf("cancelled", "e1", "posted")}
	uncaptured := f.factOf("confirmed", "e1", "uncaptured")

	f.do("SCRIPT", "FLUSH") // texts of scripts can be loaded, too
	f.do("CONFIG", "SET", "maxmemory", "1")
	before := f.dump()

	t.Run("refused", func(t *testing.T) {
		f := f.in(t)
		for i := range fresh {
			_, _, err := f.store.Hold(f.ctx, 0, fresh[i:i+1])
			f.wantClass(err, domain.ClassRetry)
		}
		_, _, err := f.store.Hold(f.ctx, 0, append(slices.Clone(fresh), known))
		f.wantClass(err, domain.ClassRetry)
		results := f.store.Append(f.ctx, []domain.Request{fresh[0].Request, fresh[1].Request}, domain.Confirmation{})
		for _, r := range results {
			f.wantClass(r.Err, domain.ClassRetry)
			if errors.Is(r.Err, domain.ErrUnknownOutcome) {
				t.Errorf("it is known not to be published: %v", r.Err)
			}
		}
		_, err = f.store.CreateEvent(f.ctx, "e2", terms(1))
		f.wantClass(err, domain.ClassRetry)
		f.wantClass(f.store.CloseEvent(f.ctx, "e1"), domain.ClassRetry)
		_, err = f.store.AdjustEvent(f.ctx, "e1", func(t domain.Terms) (domain.Terms, error) { t.Name = "X"; return t, nil })
		f.wantClass(err, domain.ClassRetry)
		// A cancel of orders that are all unseen frees nothing, and is refused whole.
		f.wantClass(f.store.Cancel(f.ctx, 0, []domain.Cancellation{{Ref: ref("e1", "unseen")}}), domain.ClassRetry)
		f.wantSame(before)
	})
	t.Run("resolve", func(t *testing.T) {
		f := f.in(t)
		replies, _ := f.resolve(
			approve(approved.EntryID, "e1", "approved"), approve(late.EntryID, "e1", "late"),
			domain.Resolution{EntryID: declined.EntryID, Ref: ref("e1", "declined"), Outcome: domain.PaymentDeclined},
			domain.Resolution{EntryID: waiting.EntryID, Ref: ref("e1", "waiting")})
		for i, want := range []string{"done confirmed", "void expired", "done declined", "wait held"} {
			if got := replies[i].Verdict.String() + " " + replies[i].Order.State.String(); got != want {
				t.Errorf("item %d: %s, want %s", i, got, want)
			}
		}
		if replies, _ := f.resolve(domain.Resolution{EntryID: waiting.EntryID, Ref: ref("e1", "waiting")}); replies[0].Verdict != domain.VerdictWait {
			t.Errorf("an unknown outcome alone: %s", replies[0].Verdict)
		}
	})
	t.Run("expire", func(t *testing.T) {
		f := f.in(t)
		if n, err := f.store.Expire(f.ctx, 0, 10); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		f := f.in(t)
		f.must(f.store.Cancel(f.ctx, 0, []domain.Cancellation{{Ref: ref("e1", "confirmed")}})) // nothing but a confirmed one
		f.must(f.store.Cancel(f.ctx, 0, []domain.Cancellation{{Ref: ref("e1", "unseen")}, {Ref: ref("e1", "held")}}))
		f.must(f.store.Cancel(f.ctx, 0, []domain.Cancellation{{Ref: ref("e1", "held")}}))
		f.must(f.store.CaptureFailed(f.ctx, 0, []domain.Cancellation{{EntryID: uncaptured.ID, Ref: ref("e1", "uncaptured")}}))
		for _, order := range []string{"confirmed", "unseen", "held", "uncaptured"} {
			if o := f.order("e1", order); o.State != domain.OrderCancelled {
				t.Errorf("%s is %s", order, o.State)
			}
		}
	})
	t.Run("hold what is known", func(t *testing.T) {
		f := f.in(t)
		if replies, _ := f.holdBatch(known); replies[0].Verdict != domain.VerdictConflict && replies[0].Verdict != domain.VerdictDone && replies[0].Verdict != domain.VerdictVoid {
			t.Errorf("got %+v", replies[0])
		}
	})
	t.Run("post and reverse", func(t *testing.T) {
		f := f.in(t)
		f.post(facts["confirmed"])
		f.wantSales("e1", Totals{2, 2, 2000}, "posted", "unposted")
		f.post(facts["confirmed"], facts["cancelled"])
		f.wantSales("e1", Totals{1, 1, 1000}, "unposted")
		for customer, status := range map[string]string{"c9": invoiceCancelled, "c10": invoiceConfirmed} {
			if lines, err := f.store.Invoices(f.ctx, customer); err != nil || len(lines) != 1 || lines[0].Status != status {
				t.Errorf("invoices of %s: %+v, %v, want one %s", customer, lines, err, status)
			}
		}
		for _, fact := range facts {
			if slices.Contains(f.pending(domain.GroupPosting), fact.ID) {
				t.Errorf("%s is not acknowledged", fact.ID)
			}
		}
	})
	t.Run("queue", func(t *testing.T) {
		f := f.in(t)
		f.must(q.DeadLetter(f.ctx, []domain.DeadEntry{{ID: poison, Reason: "r"}}))
		if n := len(f.deadLetters()); n != 1 {
			t.Errorf("%d dead letters", n)
		}
		if lost, err := q.KeepAlive(f.ctx, stuck, time.Hour); err != nil || len(lost) != 0 {
			t.Errorf("keep alive: %v, %v", lost, err)
		}
		f.must(q.HandBack(f.ctx, stuck))
		f.must(q.Ack(f.ctx, []string{waiting.EntryID}))
		f.must(q.Leave(f.ctx))
		got, err := f.queue(domain.GroupWorkers, "w2").Reclaim(f.ctx, longIdle, 10)
		if err != nil || !slices.Equal(ids(got), stuck) {
			t.Errorf("reclaimed %v, %v", ids(got), err)
		}
		// The jobs that free memory need a turn.
		if mine, err := f.store.TakeTurn(f.ctx, 0, "trim", "w1", time.Second); err != nil || !mine {
			t.Errorf("a turn to trim: %v, %v", mine, err)
		}
		if n, err := f.store.Trim(f.ctx, 0); err != nil || n == 0 {
			t.Errorf("trimmed %d, %v", n, err)
		}
	})
	f.must(f.store.Discard(f.ctx, f.deadLetters()[0].ID))
	f.wantLogFolds()

	// And when there is room again, what was refused goes through.
	f.do("CONFIG", "SET", "maxmemory", "0")
	replies, _ := f.holdBatch(fresh...)
	for i, want := range []domain.OrderState{domain.OrderHeld, domain.OrderHeld, domain.OrderRejected} {
		if replies[i].Order.State != want {
			t.Errorf("item %d: %+v", i, replies[i])
		}
	}
	f.post(facts["confirmed"], facts["cancelled"])
	f.wantSales("e1", Totals{1, 1, 1000}, "unposted")
	f.wantLogFolds()
}

// in is the fixture for a subtest.
func (f *fixture) in(t *testing.T) *fixture {
	sub := *f
	sub.tester = t
	return &sub
}

// TestScriptFlush: scripts are forgotten by a restart or a failover; each call finds that out by itself.
func TestScriptFlush(t *testing.T) {
	f := newFixture(t)
	forget := func() { f.do("SCRIPT", "FLUSH") }
	for _, step := range []func(){
		func() { f.list("e1", terms(10)) },
		func() {
			_, err := f.store.AdjustEvent(f.ctx, "e1", func(t domain.Terms) (domain.Terms, error) { t.Name = "X"; return t, nil })
			f.must(err)
		},
		func() { f.holdBatch(f.arrive(purchase("e1", "o1", "fred", 1), hold("e1", "o2", "mary", 1))...) },
		func() { f.resolve(approve("", "e1", "o1")) },
		func() { f.post(f.factOf("confirmed", "e1", "o1")) },
		func() { f.cancel("e1", "o1") },
		func() { f.post(f.factOf("cancelled", "e1", "o1")) },
		func() { f.must(f.store.CaptureFailed(f.ctx, 0, []domain.Cancellation{{Ref: ref("e1", "o2")}})) },
		func() { _, err := f.store.Expire(f.ctx, 0, 1); f.must(err) },
		func() { f.must(f.store.CloseEvent(f.ctx, "e1")) },
		func() { _, err := f.store.Namespace(f.ctx); f.must(err) },
		func() { _, err := f.queue(domain.GroupWorkers, "w1").KeepAlive(f.ctx, nil, time.Second); f.must(err) },
		func() { f.must(f.queue(domain.GroupWorkers, "w1").HandBack(f.ctx, f.pending(domain.GroupWorkers))) },
		func() {
			f.must(f.queue(domain.GroupWorkers, "w1").DeadLetter(f.ctx, []domain.DeadEntry{{ID: f.pending(domain.GroupWorkers)[0], Reason: "r"}}))
		},
		func() { _, err := f.store.Redrive(f.ctx, f.deadLetters()[0].ID); f.must(err) },
		func() { f.must(f.queue(domain.GroupWorkers, "w1").Leave(f.ctx)) },
		func() { _, err := f.store.Trim(f.ctx, 0); f.must(err) },
	} {
		forget()
		step()
	}
	f.wantSales("e1", Totals{})
	f.wantLogFolds()
	if got := f.section("e1", "general"); got != [3]int64{9, 1, 0} {
		t.Errorf("available, held, sold: %v", got)
	}
}

// TestFlushAll: after Redis lost everything, whoever touches the groups is told so, and
// what is missing is made again once that is accepted; nobody needs to be started again.
func TestFlushAll(t *testing.T) {
	for name, touch := range map[string]func(context.Context, domain.Queue) error{
		"read":    func(ctx context.Context, q domain.Queue) error { _, err := q.Read(ctx, 1); return err },
		"own":     func(ctx context.Context, q domain.Queue) error { _, err := q.Own(ctx, "0-0", 1, true); return err },
		"reclaim": func(ctx context.Context, q domain.Queue) error { _, err := q.Reclaim(ctx, longIdle, 1); return err },
		"keep alive": func(ctx context.Context, q domain.Queue) error {
			_, err := q.KeepAlive(ctx, []string{"5-5"}, time.Second)
			return err
		},
		"dead letter": func(ctx context.Context, q domain.Queue) error {
			return q.DeadLetter(ctx, []domain.DeadEntry{{ID: "5-5"}})
		},
	} {
		for _, group := range groups {
			t.Run(name+"/"+string(group), func(t *testing.T) {
				f := newFixture(t)
				f.list("e1", terms(1))
				q := f.queue(group, "w1")
				f.must(f.store.Verify(f.ctx))
				epoch := f.store.history.epoch
				f.do("FLUSHALL")
				// What comes before anybody noticed is work as well.
				f.publish(purchase("e1", "o1", "fred", 1))
				f.list("e1", terms(1))
				err := touch(f.ctx, q)
				f.wantClass(err, domain.ClassRetry)
				f.wantReplaced(err)
				f.wantReplaced(f.store.Verify(f.ctx))
				f.must(f.store.Accept(f.ctx))
				f.must(f.store.Verify(f.ctx))
				got, err := q.Read(f.ctx, 10)
				if err != nil || len(got) != 1 {
					t.Fatalf("the next read: %v, %v", got, err)
				}
				for _, other := range groups {
					stream, _ := f.keys.streamOf(0, other)
					if infos, err := f.rdb.XInfoGroups(f.ctx, stream).Result(); err != nil || !slices.ContainsFunc(infos, func(g redis.XInfoGroup) bool { return g.Name == string(other) }) {
						t.Errorf("group %s: %v, %v", other, infos, err)
					}
				}
				if now, err := f.store.Namespace(f.ctx); err != nil || now.Epoch == epoch || now.Epoch != f.store.history.epoch || now.Partitions != 1 {
					t.Errorf("namespace %+v, %v; the epoch was %s", now, err, epoch)
				}
			})
		}
	}
}

// TestFlushAllWhileReading: a read that blocks on a stream that vanishes comes back, and heals.
func TestFlushAllWhileReading(t *testing.T) {
	f := newFixture(t)
	q := f.queue(domain.GroupWorkers, "w1")
	f.publish(request("cancel", "e1", "o0")) // a stream that is empty would not be missed
	f.deliver(domain.GroupWorkers, "w1")
	ended := make(chan error, 1)
	f.eventually("a read was interrupted", func() bool {
		go func() {
			_, err := q.Read(f.ctx, 1)
			ended <- err
		}()
		f.eventually("the read blocks, or is over", func() bool {
			info, err := f.rdb.Info(f.ctx, "clients").Result()
			f.must(err)
			return strings.Contains(info, "blocked_clients:1") || len(ended) > 0
		})
		f.do("FLUSHALL")
		err := <-ended
		if err == nil { // it had waited its second: once more
			f.must(f.store.Accept(f.ctx))
			return false
		}
		f.wantReplaced(err)
		f.must(f.store.Accept(f.ctx))
		return true
	})
	id := f.publish(request("cancel", "e1", "o1"))
	if got, err := q.Read(f.ctx, 1); err != nil || !slices.Equal(ids(got), []string{id}) {
		t.Errorf("the next read: %v, %v", got, err)
	}
}

// TestFlushAllAndOrders: the scripts that change orders need no groups, and start from nothing.
func TestFlushAllAndOrders(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	a := f.held("e1", "o1", "fred", 1, holdMillis)
	f.do("FLUSHALL")
	if replies, _ := f.resolve(approve(a.EntryID, "e1", "o1")); replies[0] != (domain.Reply{Verdict: domain.VerdictVoid}) {
		t.Errorf("an approval of an order that is lost: %+v, want it voided", replies[0])
	}
	if replies, _ := f.holdBatch(a); replies[0].Order.Reason != domain.ReasonUnknownEvent {
		t.Errorf("got %+v", replies[0])
	}
	f.wantLogFolds()
}

// TestAcceptAnotherNamespace: a namespace of another shape in the old one's place is not for this process.
func TestAcceptAnotherNamespace(t *testing.T) {
	f := newFixture(t)
	f.do("FLUSHALL")
	f.do("HSET", "holdfast:meta", "partitions", 2, "schema", "1", "epoch", "x")
	_, err := f.queue(domain.GroupWorkers, "w1").Read(f.ctx, 1)
	f.wantReplaced(err)
	f.wantClass(f.store.Accept(f.ctx), domain.ClassFatal)
}

// TestRestart: with an append-only file, a killed server comes back as it was, scripts forgotten.
func TestRestart(t *testing.T) {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	f := openFixture(t, server)
	f.list("e1", terms(10))
	a := f.held("e1", "o1", "fred", 1, holdMillis)
	f.held("e1", "o2", "mary", 2, holdMillis)
	before := f.dump()
	server.Restart()
	f.eventually("the connection works again", func() bool { return f.rdb.Ping(f.ctx).Err() == nil })
	f.wantSame(before)
	if replies, _ := f.resolve(approve(a.EntryID, "e1", "o1")); replies[0].Order.State != domain.OrderConfirmed {
		t.Errorf("got %+v", replies[0])
	}
	f.wantLogFolds()
}
