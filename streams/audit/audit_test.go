package audit_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/streams/audit"
	"holdfast/streams/inspect"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

const auditPatience = 30 * time.Second

// sold is a store in which a few things were sold, one was cancelled, one is held, and all is settled.
func sold(t *testing.T, server *redistest.Server) (*streams.Store, *simulator.Simulator) {
	t.Helper()
	return soldIn(t, server, streams.PaymentNamesNamespaced)
}

func soldIn(t *testing.T, server *redistest.Server, names streams.PaymentNames) (*streams.Store, *simulator.Simulator) {
	t.Helper()
	server.Flush()
	ctx, cancel := context.WithTimeout(context.Background(), auditPatience)
	defer cancel()
	store, err := streams.Open(ctx, server.URL(), streams.Options{Create: true, Partitions: 1, PaymentNames: names})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	list(t, store, "e", 100)
	gateway, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	stop := work(t, store, gateway)
	p := producer.New(store.Checkout(), store.Checkout(), producer.Options{})
	defer p.Close()
	for _, r := range []domain.Request{
		{Type: domain.RequestPurchase, OrderID: "o1", CustomerID: "fred", Quantity: 2, PaymentToken: "tok"},
		{Type: domain.RequestPurchase, OrderID: "o2", CustomerID: "amy", Quantity: 3, PaymentToken: "tok"},
		{Type: domain.RequestCancel, OrderID: "o2"},
		{Type: domain.RequestHold, OrderID: "o3", CustomerID: "jim", Quantity: 4},
	} {
		r.EventID = "e"
		if _, err := p.Publish(ctx, r); err != nil {
			t.Fatal(err)
		}
		wait := map[domain.RequestType]func(context.Context, string, string) (producer.Outcome, error){
			domain.RequestPurchase: p.Wait, domain.RequestCancel: p.WaitCancelled, domain.RequestHold: p.WaitHeld,
		}[r.Type]
		if _, err := wait(ctx, "e", r.OrderID); err != nil {
			t.Fatal(err)
		}
	}
	drained(ctx, t, store)
	stop()
	return store, gateway
}

func list(t *testing.T, store *streams.Store, eventID string, capacity int64) {
	t.Helper()
	_, err := store.Events().Create(context.Background(), eventID, domain.Terms{
		Name: eventID, Currency: "EUR", Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: capacity}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func work(t *testing.T, store *streams.Store, gateway domain.PaymentGateway) (stop func()) {
	t.Helper()
	pool, err := workers.New(workers.Config{}, workers.Deps{
		Ledger: store.Ledger(), Queues: store.Queue, Gateway: gateway, Partitions: store.Partitions(),
		GatewayKind: domain.GatewaySimulator, PaymentNamespace: store.PaymentNamespace(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pool.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func drained(ctx context.Context, t *testing.T, store *streams.Store) {
	t.Helper()
	for {
		all, err := inspect.New(store).Pending(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		backlog := int64(0)
		for _, g := range all {
			backlog += g.Backlog
		}
		if backlog == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// snapshot copies everything; what it returns puts it back as it was.
func snapshot(t *testing.T, rdb *redis.Client) (restore func(*testing.T)) {
	t.Helper()
	ctx := context.Background()
	names, err := rdb.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]string, len(names))
	for _, name := range names {
		if values[name], err = rdb.Dump(ctx, name).Result(); err != nil {
			t.Fatal(err)
		}
	}
	return func(t *testing.T) {
		t.Helper()
		if err := rdb.FlushAll(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		for name, value := range values {
			if err := rdb.Restore(ctx, name, 0, value).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func audited(t *testing.T, store *streams.Store, gateway *simulator.Simulator) audit.Report {
	t.Helper()
	report, err := audit.Run(context.Background(), store, audit.Options{
		Gateway: func(context.Context) ([]domain.BooksLine, error) { return gateway.Books(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// Whatever is changed behind holdfast's back, the audit says so, and what it breaks.
func TestAuditFindsDamage(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	defer func() { _ = rdb.Close() }()
	ctx := context.Background()
	do := func(args ...any) func(*testing.T) {
		return func(t *testing.T) {
			if err := rdb.Do(ctx, args...).Err(); err != nil {
				t.Fatalf("%v: %v", args, err)
			}
		}
	}
	damages := map[string]struct {
		do        func(*testing.T)
		invariant string
	}{
		"a ticket appears":            {do("HINCRBY", "holdfast:{0}:event:e", "available:general", 1), "I1"},
		"a held ticket is sold":       {do("HSET", "holdfast:{0}:event:e", "held:general", 0, "sold:general", 6), "I7"},
		"an order changes":            {do("SETRANGE", "holdfast:{0}:order:e/o1", 0, "d"), "I7"},
		"an order is lost":            {do("DEL", "holdfast:{0}:order:e/o1"), "I7"},
		"an order is made up":         {do("SET", "holdfast:{0}:order:e/o9", "r|purchase|f|fred|general|1|0||0|0|0|1||sold_out|"), "I7"},
		"an event is lost":            {do("DEL", "holdfast:{0}:event:e"), "I7"},
		"a hold is lost":              {do("DEL", "holdfast:{0}:holds"), "I7"},
		"a hold is made up":           {do("ZADD", "holdfast:{0}:holds", 1, "e/o1"), "I2"},
		"a slot is lost":              {do("HDEL", "holdfast:{0}:in_progress:e", "jim"), "I7"},
		"a slot is made up":           {do("HSET", "holdfast:{0}:in_progress:e", "fred", "o1"), "I7"},
		"a sale is lost":              {do("SREM", "holdfast:{0}:sales:e", "o1"), "I3"},
		"a cancelled sale is back":    {do("SADD", "holdfast:{0}:sales:e", "o2"), "I3"},
		"revenue grows":               {do("HSET", "holdfast:{0}:sales_summary", "e", "1,2,9000"), "I3"},
		"totals are damaged":          {do("HSET", "holdfast:{0}:sales_summary", "e", "many"), "I3"},
		"an invoice is lost":          {do("DEL", "holdfast:invoices:{fred}"), "I3"},
		"an invoice goes to another":  {do("HSET", "holdfast:invoices:{eve}", "e/o1", `{"section":"general","quantity":2,"amount":2000,"currency":"EUR","confirmed_at":1,"status":"confirmed"}`), "I3"},
		"a held order is invoiced":    {do("HSET", "holdfast:invoices:{jim}", "e/o3", `{"section":"general","quantity":4,"amount":4000,"currency":"EUR","confirmed_at":1,"status":"confirmed"}`), "I3"},
		"a cancelled line is live":    {do("HSET", "holdfast:invoices:{amy}", "e/o2", `{"section":"general","quantity":3,"amount":3000,"currency":"EUR","confirmed_at":1,"status":"confirmed"}`), "I3"},
		"a fact comes twice":          {do("XADD", "holdfast:{0}:log", "*", "confirmed", "e/o1|fred|general|2|1000|EUR|auth"), "I6"},
		"a fact cannot be read":       {do("XADD", "holdfast:{0}:log", "*", "rumour", "e/o1"), "I7"},
		"a sale out of nothing":       {do("XADD", "holdfast:{0}:log", "*", "held", "e/o8|purchase|f|zoe|general|1000|1000|EUR|1"), "I1"},
		"a dead letter without a why": {do("XADD", "holdfast:{0}:dead", "*", "stream", "requests", "group", "workers", "entry_id", "1-1", "reason", "", "deliveries", "1", "at", "1", "fields", ""), "I8"},
		"a note is lost": {func(t *testing.T) {
			deadLetter(t, rdb, "1-1", "e/o9")
		}, "I8"},
		"a note of another letter": {func(t *testing.T) {
			id := deadLetter(t, rdb, "1-1", "e/o9")
			do("HSET", "holdfast:{0}:set_aside", "e/o9", "0:"+id+" 2-2 pay r")(t)
		}, "I8"},
		"a note beside another order": {func(t *testing.T) {
			id := deadLetter(t, rdb, "1-1", "")
			do("HSET", "holdfast:{0}:set_aside", "e/o9", "0:"+id+" 1-1 pay r")(t)
		}, "I8"},
		"a note is lost, not displaced": {func(t *testing.T) {
			deadLetter(t, rdb, "1-1", "e/o9")
			id := deadLetter(t, rdb, "2-2", "e/o9")
			deadLetter(t, rdb, "3-3", "e/o9")
			do("HSET", "holdfast:{0}:set_aside", "e/o9", "displaced 1\n0:"+id+" 2-2 pay r")(t)
		}, "I8"},
		"a note is left over":   {do("HSET", "holdfast:{0}:set_aside", "e/o9", "0:5-5 1-1 pay r"), "I8"},
		"a note of no letter":   {do("HSET", "holdfast:{0}:set_aside", "e/o9", "1:5-5 1-1 pay r"), "I8"},
		"a note cannot be read": {do("HSET", "holdfast:{0}:set_aside", "e/o9", "rumour"), "I8"},
		"a pending payload is gone": {func(t *testing.T) {
			id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: "holdfast:{0}:requests", Values: []string{"v", "1"}}).Result()
			if err != nil {
				t.Fatal(err)
			}
			do("XREADGROUP", "GROUP", "workers", "somebody", "STREAMS", "holdfast:{0}:requests", ">")(t)
			do("XDEL", "holdfast:{0}:requests", id)(t)
		}, "I8"},
	}
	store, gateway := sold(t, server)
	restore := snapshot(t, rdb)
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			restore(t)
			if report := audited(t, store, gateway); !report.OK || report.Checked.Orders != 3 || report.Checked.Events != 1 || report.Checked.Facts != 7 {
				t.Fatalf("before the damage: %+v", report)
			}
			damage.do(t)
			report := audited(t, store, gateway)
			if report.OK {
				t.Fatal("the audit did not notice")
			}
			for _, v := range report.Violations {
				if v.Invariant == damage.invariant {
					return
				}
			}
			t.Errorf("violations are %+v, want one of %s", report.Violations, damage.invariant)
		})
	}
}

// deadLetter writes one, as a worker does.
func deadLetter(t *testing.T, rdb *redis.Client, entry, order string) (id string) {
	t.Helper()
	values := []string{"stream", "requests", "group", "workers", "entry_id", entry, "reason", "r", "deliveries", "1", "at", "1", "fields", ""}
	if order != "" {
		values = append(values, "order", order)
	}
	id, err := rdb.XAdd(context.Background(), &redis.XAddArgs{Stream: "holdfast:{0}:dead", Values: values}).Result()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Letters with a note, one by an older program without, and those whose notes newer ones
// displaced: all is well with them, and stays so while they come and go.
func TestAuditOfNotes(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	defer func() { _ = rdb.Close() }()
	store, gateway := sold(t, server)
	deadLetter(t, rdb, "1-1", "")
	if report := audited(t, store, gateway); !report.OK {
		t.Fatalf("a letter without a note: %+v", report.Violations)
	}
	ctx, cancel := context.WithTimeout(context.Background(), auditPatience)
	defer cancel()
	q, err := store.Queue(0, domain.GroupWorkers, "w1")
	if err != nil {
		t.Fatal(err)
	}
	many := func(n int) (dead []domain.DeadEntry) {
		t.Helper()
		for range n {
			id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: "holdfast:{0}:requests", Values: []string{"v", "1", "type", "pay", "event_id", "e", "order_id", "many"}}).Result()
			if err != nil {
				t.Fatal(err)
			}
			dead = append(dead, domain.DeadEntry{ID: id, Reason: "r"})
		}
		if _, err := q.Read(ctx, n, 0); err != nil {
			t.Fatal(err)
		}
		return dead
	}
	if err := q.DeadLetter(ctx, many(40)); err != nil {
		t.Fatal(err)
	}
	if report := audited(t, store, gateway); !report.OK {
		t.Fatalf("more letters than notes: %+v", report.Violations)
	}
	newest, err := rdb.XRevRangeN(ctx, "holdfast:{0}:dead", "+", "-", 32).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, letter := range newest {
		if err := inspect.New(store).Discard(ctx, "0:"+letter.ID)[0].Err; err != nil {
			t.Fatal(err)
		}
	}
	if report := audited(t, store, gateway); !report.OK {
		t.Fatalf("letters whose notes were displaced: %+v", report.Violations)
	}
	const letters = 1500
	done := make(chan struct{})
	go func() {
		defer close(done)
		inspector := inspect.New(store)
		for i := range letters {
			id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: "holdfast:{0}:requests", Values: []string{
				"v", "1", "type", "pay", "event_id", "e", "order_id", fmt.Sprint("o", i%700),
			}}).Result()
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := q.Read(ctx, 10, 0); err != nil {
				t.Error(err)
				return
			}
			if err := q.DeadLetter(ctx, []domain.DeadEntry{{ID: id, Reason: "r"}}); err != nil {
				t.Error(err)
				return
			}
			if i%3 > 0 {
				continue
			}
			dead, err := rdb.XRevRangeN(ctx, "holdfast:{0}:dead", "+", "-", 1).Result()
			if err != nil {
				t.Error(err)
				return
			}
			if err := inspector.Discard(ctx, "0:"+dead[0].ID)[0].Err; err != nil {
				t.Error(err)
				return
			}
		}
	}()
	audits := 0
	for running := true; running; audits++ {
		select {
		case <-done:
			running = false
		default:
		}
		if report := audited(t, store, gateway); !report.OK {
			t.Fatalf("audit %d: %+v", audits, report.Violations)
		}
	}
	if n, err := rdb.HLen(ctx, "holdfast:{0}:set_aside").Result(); err != nil || n < 600 {
		t.Errorf("%d orders have notes, %v: this tests less than it says", n, err)
	}
	t.Logf("%d audits while %d letters came and went", audits, letters)
}

func TestAuditFindsPaymentsThatDoNotFit(t *testing.T) {
	server := redistest.Start(t)
	store, gateway := sold(t, server)
	good := gateway.Books()
	line := func(order string) domain.BooksLine {
		for _, l := range good {
			if l.OrderID == order {
				return l
			}
		}
		t.Fatalf("no line for %s", order)
		return domain.BooksLine{}
	}
	with := func(order string, change func(*domain.BooksLine)) []domain.BooksLine {
		changed := line(order)
		change(&changed)
		var ledger []domain.BooksLine
		for _, l := range good {
			if l.OrderID != order {
				ledger = append(ledger, l)
			}
		}
		return append(ledger, changed)
	}
	for name, c := range map[string]struct {
		ledger    []domain.BooksLine
		invariant string
	}{
		"captured twice":          {with("o1", func(l *domain.BooksLine) { l.Captures = 2 }), "I4"},
		"more than authorized":    {with("o1", func(l *domain.BooksLine) { l.Captured++ }), "I4"},
		"another amount":          {with("o1", func(l *domain.BooksLine) { l.Authorized, l.Captured = 1, 1 }), "I4"},
		"another currency":        {with("o1", func(l *domain.BooksLine) { l.Currency = "JPY" }), "I4"},
		"another customer":        {with("o1", func(l *domain.BooksLine) { l.CustomerID = "eve" }), "I4"},
		"another request":         {with("o1", func(l *domain.BooksLine) { l.Fingerprint = "0123456789abcdef" }), "I4"},
		"captured in part":        {with("o1", func(l *domain.BooksLine) { l.Captured-- }), "I4"},
		"refunded in part":        {with("o2", func(l *domain.BooksLine) { l.Status, l.Captured, l.Refunded = "refunded", 3000, 2999 }), "I4"},
		"never captured":          {with("o1", func(l *domain.BooksLine) { l.Status, l.Captured, l.Captures = "authorized", 0, 0 }), "I4"},
		"confirmed, but voided":   {with("o1", func(l *domain.BooksLine) { l.Status = "voided" }), "I4"},
		"not known":               {good[1:], "I4"},
		"another namespace's":     {with("o1", func(l *domain.BooksLine) { l.Namespace = "other" }), "I4"},
		"without its namespace":   {with("o1", func(l *domain.BooksLine) { l.Namespace = "" }), "I4"},
		"cancelled, not refunded": {with("o2", func(l *domain.BooksLine) { l.Status, l.Refunded, l.Refunds = "captured", 0, 0 }), "I4"},
		"cancelled, not voided":   {with("o2", func(l *domain.BooksLine) { l.Status = "authorized" }), "I5"},
		"a stray authorization":   {append([]domain.BooksLine{{Namespace: "holdfast", EventID: "e", OrderID: "o7", Status: "authorized", Authorized: 5, Authorizations: 1}}, good...), "I5"},
		"a held order is taken":   {append([]domain.BooksLine{{Namespace: "holdfast", EventID: "e", OrderID: "o3", Status: "captured", Currency: "EUR", Authorized: 4000, Captured: 4000}}, good...), "I4"},
	} {
		t.Run(name, func(t *testing.T) {
			report, err := audit.Run(context.Background(), store, audit.Options{
				Gateway: func(context.Context) ([]domain.BooksLine, error) { return c.ledger, nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range report.Violations {
				if v.Invariant == c.invariant {
					return
				}
			}
			t.Errorf("violations are %+v, want one of %s", report.Violations, c.invariant)
		})
	}
}

// A payment that is not its order's, and was left alone, is named once, as what it is; one
// that was voided is nothing to name. Nor is what may have been voided since the books were read.
func TestAuditNamesPaymentsThatWereLeftAlone(t *testing.T) {
	server := redistest.Start(t)
	store, gateway := sold(t, server)
	ctx := context.Background()
	ledger := store.Ledger()
	decline := func(order string, outcome domain.PaymentOutcome) {
		t.Helper()
		r := domain.Request{Type: domain.RequestPurchase, EventID: "e", OrderID: order, CustomerID: "cust-" + order, Section: "general", Quantity: 1, Fingerprint: "fp"}
		now, err := store.Now(ctx)
		if err != nil {
			t.Fatal(err)
		}
		entry := fmt.Sprintf("%d-0", now.UnixMilli())
		if _, _, err := ledger.Hold(ctx, 0, []domain.Incoming{{EntryID: entry, Request: r, HoldMillis: 60_000, ValidMillis: 60_000}}); err != nil {
			t.Fatal(err)
		}
		replies, _, err := ledger.Resolve(ctx, 0, []domain.Resolution{{Ref: r.Ref(), Outcome: outcome, Detail: "amount 500 instead of 1000"}})
		if err != nil || replies[0].Order.Reason != domain.ReasonPaymentMismatch {
			t.Fatalf("declining: %+v, %v", replies, err)
		}
	}
	decline("alone", domain.PaymentLeftAlone)
	decline("voided", domain.PaymentMismatched)
	decline("cleared", domain.PaymentLeftAlone) // by a person
	books := append(gateway.Books(),
		domain.BooksLine{Namespace: store.PaymentNamespace(), EventID: "e", OrderID: "alone", CustomerID: "eve", Status: "captured", Currency: "EUR", Authorized: 500, Captured: 500},
		domain.BooksLine{Namespace: store.PaymentNamespace(), EventID: "e", OrderID: "voided", CustomerID: "cust-voided", Status: "voided", Currency: "EUR", Authorized: 500, Voided: 500},
		domain.BooksLine{Namespace: store.PaymentNamespace(), EventID: "e", OrderID: "cleared", CustomerID: "cust-cleared", Status: "refunded", Currency: "EUR", Authorized: 500, Captured: 500, Refunded: 500},
		domain.BooksLine{Namespace: store.PaymentNamespace(), EventID: "e", OrderID: "since", CustomerID: "cust-since", Status: "authorized", Currency: "EUR", Authorized: 500},
	)
	report, err := audit.Run(ctx, store, audit.Options{Gateway: func(context.Context) ([]domain.BooksLine, error) {
		decline("since", domain.PaymentMismatched)
		return books, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []audit.Violation{{
		Invariant: "I5", Subject: "e/alone",
		Detail: "was declined because its payment is not what it asks for; that is captured, and was left alone (amount 500 instead of 1000, customer_id eve instead of cust-alone)",
	}}
	if !slices.Equal(report.Violations, want) {
		t.Errorf("violations\n%+v\nwant\n%+v", report.Violations, want)
	}
}

// What is free has no payment; one that there is all the same is named.
func TestAuditOfFreeOrders(t *testing.T) {
	server := redistest.Start(t)
	store, gateway := sold(t, server)
	ctx := context.Background()
	if _, err := store.Events().Create(ctx, "free", domain.Terms{Name: "free", Currency: "EUR", Sections: []domain.SectionTerms{{Name: "general", Capacity: 10}}}); err != nil {
		t.Fatal(err)
	}
	now, err := store.Now(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ref := domain.OrderRef{EventID: "free", OrderID: "o"}
	_, _, err = store.Ledger().Hold(ctx, 0, []domain.Incoming{{
		EntryID: fmt.Sprintf("%d-0", now.UnixMilli()), HoldMillis: 60_000, ValidMillis: 60_000, NoToken: true,
		Request: domain.Request{Type: domain.RequestPurchase, EventID: ref.EventID, OrderID: ref.OrderID, CustomerID: "gus", Section: "general", Quantity: 1, Fingerprint: "fp"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	replies, _, err := store.Ledger().Resolve(ctx, 0, []domain.Resolution{{Ref: ref, Outcome: domain.PaymentApproved}})
	if err != nil || replies[0].Order.State != domain.OrderConfirmed {
		t.Fatalf("confirming: %+v, %v", replies, err)
	}
	for status, want := range map[domain.PaymentStatus]string{
		"": "", domain.PaymentStatusVoided: "",
		domain.PaymentStatusAuthorized: "is free, but there is a payment, which is authorized",
		domain.PaymentStatusCaptured:   "is free, but there is a payment, which is captured (amount 5 instead of 0)",
	} {
		books := gateway.Books()
		if status != "" {
			line := domain.BooksLine{Namespace: store.PaymentNamespace(), EventID: "free", OrderID: "o", Status: status}
			if status == domain.PaymentStatusCaptured {
				line.Authorized, line.Captured = 5, 5
			}
			books = append(books, line)
		}
		report, err := audit.Run(ctx, store, audit.Options{Gateway: func(context.Context) ([]domain.BooksLine, error) { return books, nil }})
		if err != nil {
			t.Fatal(err)
		}
		var got string
		for _, v := range report.Violations {
			got += v.Detail
		}
		if got != want {
			t.Errorf("its payment is %q: %q, want %q", status, got, want)
		}
	}
}

// others are the violations but for the payments of other customers, of which the gateway has some.
func others(report audit.Report) []audit.Violation {
	return slices.DeleteFunc(slices.Clone(report.Violations), func(v audit.Violation) bool {
		return v.Invariant == "I5" && strings.Contains(v.Detail, "(customer_id another.c")
	})
}

// Other namespaces may have payments of the same events and orders at the same gateway,
// whatever became of them there: they are passed over, and it is said how many.
func TestAuditPassesOverPaymentsOfOtherNamespaces(t *testing.T) {
	server := redistest.Start(t)
	for names, others := range map[streams.PaymentNames][]string{
		streams.PaymentNamesNamespaced: {"", "other", "holdfast2"},
		streams.PaymentNamesPlain:      {"other", "holdfast"},
	} {
		t.Run(string(names), func(t *testing.T) {
			store, gateway := soldIn(t, server, names)
			books := gateway.Books()
			own := len(books)
			for _, other := range others {
				for _, status := range []domain.PaymentStatus{"declined", "captured"} {
					books = append(books, domain.BooksLine{
						Namespace: other, EventID: "e", OrderID: map[domain.PaymentStatus]string{"declined": "o1", "captured": "o3"}[status],
						CustomerID: "somebody", Currency: "JPY", Status: status, Captures: 2,
					})
				}
			}
			report, err := audit.Run(context.Background(), store, audit.Options{
				Gateway: func(context.Context) ([]domain.BooksLine, error) { return books, nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			if want := (audit.PaymentCounts{Checked: own, PassedOver: 2 * len(others)}); !report.OK || *report.Payments != want {
				t.Errorf("%+v, want %+v: %+v", *report.Payments, want, report)
			}
		})
	}
}

// The audit mends nothing: where streams or groups are gone, it says what that means.
func TestAuditWithoutGroups(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	defer func() { _ = rdb.Close() }()
	ctx := context.Background()
	store, gateway := sold(t, server)
	for _, gone := range [][]any{
		{"XGROUP", "DESTROY", "holdfast:{0}:log", "posting"}, {"XGROUP", "DESTROY", "holdfast:{0}:log", "settlement"}, {"DEL", "holdfast:{0}:requests"},
	} {
		if err := rdb.Do(ctx, gone...).Err(); err != nil {
			t.Fatal(err)
		}
		if report := audited(t, store, gateway); !report.OK || report.Checked.Facts != 7 {
			t.Errorf("after %v: %+v", gone, report)
		}
	}
	if err := rdb.Del(ctx, "holdfast:{0}:log").Err(); err != nil {
		t.Fatal(err)
	}
	report := audited(t, store, gateway)
	if report.OK || report.Checked.Facts != 0 {
		t.Errorf("the log is gone: %+v", report)
	}
	for _, v := range report.Violations {
		if v.Invariant == "I7" {
			return
		}
	}
	t.Errorf("nothing says that the log is gone: %+v", report.Violations)
}

// While traffic runs the audit must neither miss its place nor cry wolf.
func TestAuditUnderTraffic(t *testing.T) {
	server := redistest.Start(t)
	ctx, cancel := context.WithTimeout(context.Background(), auditPatience)
	defer cancel()
	store, err := streams.Open(ctx, server.URL(), streams.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	const orders = 6000
	for e := range 5 {
		list(t, store, fmt.Sprint("event-", e), orders/10)
	}
	gateway, err := simulator.New(simulator.Options{DeclineRate: 0.1, MismatchRate: 0.1, Latency: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer work(t, store, gateway)()
	p := producer.New(store.Checkout(), store.Checkout(), producer.Options{})
	defer p.Close()
	published := make(chan struct{})
	go func() {
		defer close(published)
		for i := range orders {
			r := domain.Request{
				Type: domain.RequestPurchase, EventID: fmt.Sprint("event-", i%5), OrderID: fmt.Sprint("o", i),
				CustomerID: fmt.Sprint("c", i), Quantity: 1, PaymentToken: "tok",
			}
			batch := []domain.Request{r}
			if i%7 == 0 {
				r.Type = domain.RequestCancel
				batch = append(batch, r)
			}
			for _, result := range p.PublishBatch(ctx, batch) {
				if result.Err != nil {
					t.Errorf("publishing: %v", result.Err)
				}
			}
		}
	}()
	audits, running := 0, true
	for running {
		select {
		case <-published:
			running = false
		default:
		}
		if report := audited(t, store, gateway); len(others(report)) > 0 {
			t.Fatalf("under traffic, audit %d: %+v", audits, others(report))
		}
		audits++
	}
	drained(ctx, t, store)
	if report := audited(t, store, gateway); len(others(report)) > 0 || len(report.Violations) < orders/100 || report.Checked.Orders != orders {
		t.Fatalf("in the end %d orders, %d violations, among them %+v", report.Checked.Orders, len(report.Violations), others(report))
	}
	t.Logf("%d audits while %d orders came in", audits, orders)
}
