package audit_test

import (
	"context"
	"fmt"
	"reflect"
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
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
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
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	enough := time.After(time.Minute)
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
		select {
		case <-look.C:
		case <-enough:
			t.Fatalf("waited in vain: %d entries are left", backlog)
		}
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
	keys := layout.NewKeys("holdfast", 1)
	events, orders, inProgress := keys.Events(0), keys.Orders(0, keys.SharedHash("e")), keys.InProgress(0)
	do := func(args ...any) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			if n, err := rdb.Do(ctx, args...).Result(); err != nil || n == "" {
				t.Fatalf("%v: %v, %v", args, n, err)
			}
		}
	}
	gone := func(args ...any) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			if n, err := rdb.Do(ctx, args...).Int(); err != nil || n != 1 {
				t.Fatalf("%v: %d, %v", args, n, err)
			}
		}
	}
	// order changes the record of an order, section that of a section, and so on.
	order := func(id string, change func(*domain.Order)) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			o, err := layout.DecodeOrder(rdb.HGet(ctx, orders, "e/"+id).Val())
			if err != nil || o.State == domain.OrderNone {
				t.Fatalf("%s is %+v, %v", id, o, err)
			}
			change(&o)
			do("HSET", orders, "e/"+id, streamstest.EncodeOrder(o))(t)
		}
	}
	section := func(change func(*domain.Section)) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			field := layout.SectionField("e", "general")
			of, err := layout.DecodeSection(domain.Section{Name: "general"}, domain.Event{}, rdb.HGet(ctx, events, field).Val())
			if err != nil {
				t.Fatal(err)
			}
			change(&of)
			do("HSET", events, field, layout.EncodeSection(of, domain.Event{}))(t)
		}
	}
	terms := func(change func(*layout.EventTerms)) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			of, err := layout.DecodeEventTerms(rdb.HGet(ctx, events, "e").Val())
			if err != nil {
				t.Fatal(err)
			}
			change(&of)
			do("HSET", events, "e", of.String())(t)
		}
	}
	about := func(change func(*layout.EventAbout)) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			field := layout.AboutField("e")
			of, err := layout.DecodeEventAbout(rdb.HGet(ctx, events, field).Val())
			if err != nil {
				t.Fatal(err)
			}
			change(&of)
			do("HSET", events, field, of.String())(t)
		}
	}
	clock := func(by int64) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			if err := rdb.HIncrBy(ctx, events, layout.ClockField, by).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	fact := func(kind, says string) func(*testing.T) { return do("XADD", keys.Log(0), "*", kind, says) }
	damages := map[string]struct {
		do        func(*testing.T)
		invariant string
		says      string
	}{
		"a ticket appears":                            {section(func(s *domain.Section) { s.Available++ }), "I1", "general"},
		"a ticket is lost":                            {section(func(s *domain.Section) { s.Sold-- }), "I1", "general"},
		"a held ticket is sold":                       {section(func(s *domain.Section) { s.Held, s.Sold = s.Held-1, s.Sold+1 }), "I7", "the log says"},
		"a price changes":                             {section(func(s *domain.Section) { s.Price++ }), "I7", "the log says"},
		"a counter cannot be read":                    {do("HSET", events, layout.SectionField("e", "general"), "1000|100|94|4|two"), "I7", "is damaged"},
		"a section is lost":                           {gone("HDEL", events, layout.SectionField("e", "general")), "I7", "is damaged"},
		"a section is made up":                        {do("HSET", events, layout.SectionField("e", "balcony"), "1000|1|1|0|0"), "I7", "no such event or section"},
		"a section is not named":                      {about(func(a *layout.EventAbout) { a.Sections = []string{"balcony"} }), "I7", "has the sections [balcony]"},
		"an event is lost":                            {gone("HDEL", events, "e"), "I7", "it is not there"},
		"an event is damaged":                         {do("HSET", events, "e", "1|o|EUR"), "I7", "is damaged"},
		"an event is made up":                         {do("HSET", events, "f", "1|o|EUR|0|0|0|0"), "I7", "no such event or section"},
		"an event is closed":                          {terms(func(e *layout.EventTerms) { e.Closed = true }), "I7", "the log says"},
		"an event has a limit":                        {terms(func(e *layout.EventTerms) { e.MaxPerOrder = 2 }), "I7", "the log says"},
		"places of a customer are made up":            {do("HSET", keys.Customers(0, keys.SharedHash("e")), "e/fred", "2"), "I2", "their orders add up to"},
		"refused places are made up":                  {do("HSET", events, layout.RefusedField(domain.RefusedDemand{EventID: "e", Section: "general", Reason: "sold_out"}), "2"), "I7", "its rejections in the log add up to"},
		"refused places of no section":                {do("HSET", events, "e/nowhere#sold_out", "2"), "I7", "no such event or section"},
		"an event has a limit per customer":           {terms(func(e *layout.EventTerms) { e.MaxPerCustomer = 2 }), "I7", "the log says"},
		"an event's version":                          {terms(func(e *layout.EventTerms) { e.Version++ }), "I7", "the log says"},
		"an event has another name":                   {about(func(a *layout.EventAbout) { a.Name = "f" }), "I7", "the log says"},
		"what is about an event":                      {gone("HDEL", events, layout.AboutField("e")), "I7", "is damaged"},
		"an event's orders are taken to be elsewhere": {terms(func(e *layout.EventTerms) { e.OrderHashes = 2 }), "I7", "and belongs in"},

		"the clock goes back":         {clock(-1), "I7", "its clock says"},
		"the clock goes ahead":        {clock(1), "I7", "its clock says"},
		"the branch is lost":          {gone("HDEL", events, layout.BranchField), "I7", "has no branch"},
		"a branch that is not listed": {do("HSET", events, layout.BranchField, "another"), "I7", "not the newest that is listed"},
		"branches are lost":           {gone("HDEL", events, layout.BranchesField), "I7", "not the newest that is listed"},
		"branches cannot be read":     {do("HSET", events, layout.BranchesField, "b|c"), "I7", "is damaged"},
		"the parent of a branch is lost": {func(t *testing.T) {
			is := rdb.HGet(ctx, events, layout.BranchField).Val()
			do("HSET", events, layout.BranchesField, is+"|lost||||1|w1")(t)
		}, "I7", "the parent lost, which is not listed"},

		"the clock is lost": {gone("HDEL", events, layout.ClockField), "I7", "its clock says"},

		"a payment that no order owes": {func(t *testing.T) {
			do("ZADD", keys.Owed(0), 1, "e/unheard")(t)
			do("HSET", keys.OwedNotes(0), "e/unheard", "1|0|1-1|busy")(t)
		}, "I8", "there is no such order"},
		"what is owed says nothing":     {do("ZADD", keys.Owed(0), 1, "e/o1"), "I8", "is damaged"},
		"a note of what is not owed":    {do("HSET", keys.OwedNotes(0), "e/o1", "1|0|1-1|busy"), "I8", "is not on the list"},
		"an order changes":              {order("o1", func(o *domain.Order) { o.State = domain.OrderDeclined }), "I7", "the log says"},
		"an order is of another place":  {order("o1", func(o *domain.Order) { o.Items = "vip:2:1000" }), "I7", "the log says"},
		"an order has another version":  {order("o1", func(o *domain.Order) { o.Version += "1" }), "I7", "the log says"},
		"an order has another deadline": {order("o3", func(o *domain.Order) { o.DeadlineMillis++ }), "I7", "the log says"},
		"a cancelled order is paid for": {order("o2", func(o *domain.Order) { o.ConfirmedAtMillis++ }), "I7", "the log says"},
		"an order cannot be read":       {do("HSET", orders, "e/o1", "1-1|c2|p"), "I7", "is damaged"},
		"an order is lost":              {gone("HDEL", orders, "e/o1"), "I7", "the log says"},
		"all orders are lost":           {gone("DEL", orders), "I7", "the log says"},
		"an order is made up":           {do("HSET", orders, "e/o9", "1-1|r2|p|f|fred|general:1:0|||||||sold_out||"), "I7", "the log says"},
		"an order is made up elsewhere": {do("HSET", keys.Orders(0, layout.OrderHash{EventID: "f", Index: 3}), "f/o9", "1-1|r2|p|f|fred|general:1:0|||||||sold_out||"), "I7", "and belongs in"},
		"an order is twice": {func(t *testing.T) {
			do("HSET", keys.Orders(0, keys.HashOf(domain.OrderRef{EventID: "e", OrderID: "o1"}, 2)), "e/o1", rdb.HGet(ctx, orders, "e/o1").Val())(t)
		}, "I7", "has a record in"},
		"an order goes elsewhere": {func(t *testing.T) {
			do("HSET", keys.Orders(0, keys.HashOf(domain.OrderRef{EventID: "e", OrderID: "o1"}, 2)), "e/o1", rdb.HGet(ctx, orders, "e/o1").Val())(t)
			gone("HDEL", orders, "e/o1")(t)
		}, "I7", "the log says"},
		"an order of no name": {do("HSET", orders, "e", "1-1|r2|p|f|fred|general:1:0|||||||sold_out||"), "I7", "is no name of an order"},

		"a hold is lost":           {gone("DEL", keys.Holds(0)), "I7", "the holds say"},
		"a hold is longer":         {do("ZINCRBY", keys.Holds(0), 1, "e/o3"), "I7", "the holds say"},
		"a hold is made up":        {do("ZADD", keys.Holds(0), 1, "e/o1"), "I2", "is among the holds"},
		"a slot is lost":           {gone("HDEL", inProgress, "e/jim"), "I7", "the customer's order in progress"},
		"a slot is made up":        {do("HSET", inProgress, "e/fred", "o1"), "I7", "the customer's order in progress"},
		"a slot is another's":      {do("HSET", inProgress, "e/jim", "o1"), "I7", "the customer's order in progress"},
		"a slot of no name":        {do("HSET", inProgress, "#", "o1"), "I7", "the customer's order in progress"},
		"revenue grows":            {do("HSET", events, layout.SalesField("e"), layout.Totals{Orders: 1, TicketsSold: 2, Revenue: 9000}.String()), "I3", "sales are"},
		"a sale is lost":           {do("HSET", events, layout.SalesField("e"), layout.Totals{}.String()), "I3", "sales are"},
		"a cancelled sale is back": {do("HSET", events, layout.SalesField("e"), layout.Totals{Orders: 2, TicketsSold: 5, Revenue: 5000}.String()), "I3", "sales are"},
		"sales are damaged":        {do("HSET", events, layout.SalesField("e"), "many"), "I3", "is damaged"},
		"sales are lost":           {gone("HDEL", events, layout.SalesField("e")), "I3", "is damaged"},

		"a customer's invoices are lost": {gone("DEL", keys.Invoices("fred")), "I3", "is not on the invoices of fred"},
		"an invoice line is lost":        {gone("HDEL", keys.Invoices("fred"), "e/o1"), "I3", "is not on the invoices of fred"},
		"a cancelled line is lost":       {gone("HDEL", keys.Invoices("amy"), "e/o2"), "I3", "is not on the invoices of amy"},
		"an invoice line goes to another": {func(t *testing.T) {
			gone("HDEL", keys.Invoices("fred"), "e/o1")(t)
			do("HSET", keys.Invoices("eve"), "e/o1", "")(t)
		}, "I3", "is not on the invoices of fred"},
		"an invoice line of no order": {do("HSET", keys.Invoices("fred"), "o1", ""), "I3", "names no order"},

		"a fact comes twice":          {fact("confirmed", "e/o1|fred|general:2:1000|EUR|auth"), "I6", "confirmed cannot follow confirmed"},
		"a fact cannot be read":       {fact("rumour", "e/o1"), "I7", "no such fact"},
		"more facts than fit":         {fact("expired", strings.Repeat("e/o1\n", 64)+"e/o1"), "I7", "want at most 64"},
		"two facts in one entry":      {do("XADD", keys.Log(0), "*", "expired", "e/o1", "declined", "e/o1"), "I7", "want one"},
		"a fact too early":            {fact("expired", "e/o3"), "I6", "before its deadline"},
		"a fact about another's sale": {fact("confirmed", "e/o3|eve|general:4:1000|EUR|auth"), "I6", "customerID:eve"},
		"the second of two facts":     {fact("declined", "e/o3\ne/o3"), "I6", "declined cannot follow declined"},
		"a sale out of nothing":       {fact("held", "e/o8|p|f|zoe|general:1000:1000|EUR|1"), "I1", ""},
		"a dead letter without a why": {do("XADD", keys.Dead(0), "*", "stream", "requests", "group", "purchase", "entry_id", "1-1", "reason", "", "deliveries", "1", "at", "1", "fields", ""), "I8", ""},
		"a note is lost": {func(t *testing.T) {
			deadLetter(t, rdb, "1-1", "e/o9")
		}, "I8", ""},
		"a note of another letter": {func(t *testing.T) {
			id := deadLetter(t, rdb, "1-1", "e/o9")
			do("HSET", keys.SetAside(0), "e/o9", "0:"+id+" 2-2 pay r")(t)
		}, "I8", ""},
		"a note beside another order": {func(t *testing.T) {
			id := deadLetter(t, rdb, "1-1", "")
			do("HSET", keys.SetAside(0), "e/o9", "0:"+id+" 1-1 pay r")(t)
		}, "I8", ""},
		"a note is lost, not displaced": {func(t *testing.T) {
			deadLetter(t, rdb, "1-1", "e/o9")
			id := deadLetter(t, rdb, "2-2", "e/o9")
			deadLetter(t, rdb, "3-3", "e/o9")
			do("HSET", keys.SetAside(0), "e/o9", "displaced 1\n0:"+id+" 2-2 pay r")(t)
		}, "I8", ""},
		"a note is left over":   {do("HSET", keys.SetAside(0), "e/o9", "0:5-5 1-1 pay r"), "I8", ""},
		"a note of no letter":   {do("HSET", keys.SetAside(0), "e/o9", "1:5-5 1-1 pay r"), "I8", ""},
		"a note cannot be read": {do("HSET", keys.SetAside(0), "e/o9", "rumour"), "I8", ""},
		"a pending payload is gone": {func(t *testing.T) {
			id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: keys.Requests(0), Values: []string{"v", "1"}}).Result()
			if err != nil {
				t.Fatal(err)
			}
			do("XREADGROUP", "GROUP", "purchase", "somebody", "STREAMS", keys.Requests(0), ">")(t)
			do("XDEL", keys.Requests(0), id)(t)
		}, "I8", ""},
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
				if v.Invariant == damage.invariant && strings.Contains(v.Detail, damage.says) {
					return
				}
			}
			t.Errorf("violations are %+v, want one of %s that says %q", report.Violations, damage.invariant, damage.says)
		})
	}
}

// deadLetter writes one, as a worker does.
func deadLetter(t *testing.T, rdb *redis.Client, entry, order string) (id string) {
	t.Helper()
	values := []string{"stream", "requests", "group", "purchase", "entry_id", entry, "reason", "r", "deliveries", "1", "at", "1", "fields", ""}
	if order != "" {
		values = append(values, "order", order)
	}
	id, err := rdb.XAdd(context.Background(), &redis.XAddArgs{Stream: layout.NewKeys("holdfast", 1).Dead(0), Values: values}).Result()
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
			id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: layout.NewKeys("holdfast", 1).Requests(0), Values: []string{"v", "1", "type", "pay", "event_id", "e", "order_id", "many"}}).Result()
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
	newest, err := rdb.XRevRangeN(ctx, layout.NewKeys("holdfast", 1).Dead(0), "+", "-", 32).Result()
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
			id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: layout.NewKeys("holdfast", 1).Requests(0), Values: []string{
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
			dead, err := rdb.XRevRangeN(ctx, layout.NewKeys("holdfast", 1).Dead(0), "+", "-", 1).Result()
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
	if n, err := rdb.HLen(ctx, layout.NewKeys("holdfast", 1).SetAside(0)).Result(); err != nil || n < 600 {
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
		"refunded, a bit":         {with("o2", func(l *domain.BooksLine) { l.Status, l.Refunded = "captured", 1 }), "I4"},
		"refunded, and confirmed": {with("o1", func(l *domain.BooksLine) { l.Refunded, l.Refunds = 1, 1 }), "I4"},
		"confirmed, and asked":    {with("o1", func(l *domain.BooksLine) { l.Status, l.Authorized, l.Captured = "action_required", 0, 0 }), "I4"},
		"cancelled, and asked":    {with("o2", func(l *domain.BooksLine) { l.Status, l.Authorized, l.Captured, l.Refunded = "action_required", 0, 0, 0 }), "I5"},
		"another attempt":         {append([]domain.BooksLine{{Namespace: "holdfast", EventID: "e", OrderID: "o1", Attempt: 2, Status: "captured", Authorized: 5, Captured: 5}}, good...), "I4"},
		"another attempt, open":   {append([]domain.BooksLine{{Namespace: "holdfast", EventID: "e", OrderID: "o1", Attempt: 2, Status: "authorized", Authorized: 5}}, good...), "I5"},
		"of a cancelled order":    {append([]domain.BooksLine{{Namespace: "holdfast", EventID: "e", OrderID: "o2", Attempt: 2, Status: "action_required"}}, good...), "I5"},
		"of nothing":              {append([]domain.BooksLine{{Namespace: "holdfast", EventID: "e", OrderID: "o7", Attempt: 3, Status: "authorized", Authorized: 5}}, good...), "I5"},
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
				if v.Do == "" {
					t.Errorf("nobody is told what to do: %+v", v)
				}
				if v.Invariant == c.invariant {
					return
				}
			}
			t.Errorf("violations are %+v, want one of %s", report.Violations, c.invariant)
		})
	}
}

// Where the gateway tells of some time only, the payments of other orders are not missed. What is wrong then is kept as the verdict; that
// nothing was, says nothing about the others.
func TestAuditOfSomePayments(t *testing.T) {
	store, gateway := sold(t, redistest.Start(t))
	const day = 24 * 60 * 60 * 1000
	now := time.Now().UnixMilli()
	for name, c := range map[string]struct {
		from, until int64
		ok          bool
	}{
		"all":            {0, 0, false},
		"before":         {0, now - day, true},
		"after":          {now + day, 0, true},
		"just then":      {now - day, now + day, false},
		"partly perhaps": {now - 1000, 0, true},
	} {
		run := func(books []domain.BooksLine) audit.Report {
			t.Helper()
			report, err := audit.Run(context.Background(), store, audit.Options{
				FromMillis: c.from, UntilMillis: c.until, Gateway: func(context.Context) ([]domain.BooksLine, error) { return books, nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			return report
		}
		missing := run(nil)
		if _, kept := missing.Verdicts(false)[audit.OfPayments]; missing.OK != c.ok || kept != (!c.ok || name == "all") {
			t.Errorf("%s: %+v, kept: %v", name, missing, kept)
		}
		whole := run(gateway.Books())
		if _, kept := whole.Verdicts(false)[audit.OfPayments]; !whole.OK || kept != (name == "all") {
			t.Errorf("%s: %+v, kept: %v", name, whole, kept)
		}
	}
}

// A dispute is a person's to see to, and no violation.
func TestAuditNamesDisputes(t *testing.T) {
	store, gateway := sold(t, redistest.Start(t))
	books := gateway.Books()
	for i := range books {
		books[i].Disputed = books[i].OrderID == "o1"
	}
	report, err := audit.Run(context.Background(), store, audit.Options{Gateway: func(context.Context) ([]domain.BooksLine, error) { return books, nil }})
	if err != nil || !report.OK || len(report.Payments.Disputed) != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	if d := report.Payments.Disputed[0]; d.OrderID != "o1" || d.State != domain.OrderConfirmed || d.PaymentID == "" || d.Recorded || !strings.Contains(d.Do, "orders cancel frees the places") {
		t.Errorf("%+v", d)
	}
}

// A payment that is not its order's, and was left alone, is named once, as what it is; one
// that was voided is nothing to name. Nor is what may have been voided since the books were read.
func TestAuditNamesPaymentsThatWereLeftAlone(t *testing.T) {
	server := redistest.Start(t)
	store, gateway := sold(t, server)
	ctx := context.Background()
	ledger := store.Ledger()
	decline := func(order string) {
		t.Helper()
		r := domain.Request{Type: domain.RequestPurchase, EventID: "e", OrderID: order, CustomerID: "cust-" + order, Section: "general", Quantity: 1, Fingerprint: "fp"}
		now, err := store.Now(ctx)
		if err != nil {
			t.Fatal(err)
		}
		entry := fmt.Sprintf("%d-0", now.UnixMilli())
		held, _, err := ledger.Hold(ctx, 0, []domain.Incoming{{EntryID: entry, Request: r, HoldMillis: 60_000, ValidMillis: 60_000}})
		if err != nil {
			t.Fatal(err)
		}
		replies, _, err := ledger.Resolve(ctx, 0, []domain.Resolution{{Attempt: 1, Ref: r.Ref(), Order: held[0].Order, Outcome: domain.PaymentMismatched, Detail: "amount 500 instead of 1000"}})
		if err != nil || replies[0].Order.Reason != domain.ReasonPaymentMismatch {
			t.Fatalf("declining: %+v, %v", replies, err)
		}
	}
	decline("alone")
	decline("voided")
	decline("cleared") // by a person
	books := append(gateway.Books(),
		domain.BooksLine{Namespace: store.PaymentNamespace(), EventID: "e", OrderID: "alone", CustomerID: "eve", Status: "captured", Currency: "EUR", Authorized: 500, Captured: 500},
		domain.BooksLine{Namespace: store.PaymentNamespace(), EventID: "e", OrderID: "voided", CustomerID: "cust-voided", Status: "voided", Currency: "EUR", Authorized: 500, Voided: 500},
		domain.BooksLine{Namespace: store.PaymentNamespace(), EventID: "e", OrderID: "cleared", CustomerID: "cust-cleared", Status: "refunded", Currency: "EUR", Authorized: 500, Captured: 500, Refunded: 500},
		domain.BooksLine{Namespace: store.PaymentNamespace(), EventID: "e", OrderID: "since", CustomerID: "cust-since", Status: "authorized", Currency: "EUR", Authorized: 500},
	)
	report, err := audit.Run(ctx, store, audit.Options{Gateway: func(context.Context) ([]domain.BooksLine, error) {
		decline("since")
		return books, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []audit.Violation{{
		Invariant: "I5", Subject: "e/alone",
		Detail: "was declined because its payment is not what it asks for; that is captured, and was left alone (amount 500 instead of 1000, customer_id eve instead of cust-alone)",
		Do:     "clear up at the gateway whose payment that is; discard the dead letter",
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
	held, _, err := store.Ledger().Hold(ctx, 0, []domain.Incoming{{
		EntryID: fmt.Sprintf("%d-0", now.UnixMilli()), HoldMillis: 60_000, ValidMillis: 60_000, NoToken: true,
		Request: domain.Request{Type: domain.RequestPurchase, EventID: ref.EventID, OrderID: ref.OrderID, CustomerID: "gus", Section: "general", Quantity: 1, Fingerprint: "fp"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	replies, _, err := store.Ledger().Resolve(ctx, 0, []domain.Resolution{{Attempt: 1, Ref: ref, Order: held[0].Order, Outcome: domain.PaymentApproved}})
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
			if want := (audit.PaymentCounts{Checked: own, PassedOver: 2 * len(others)}); !report.OK || !reflect.DeepEqual(*report.Payments, want) {
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
		{"XGROUP", "DESTROY", layout.NewKeys("holdfast", 1).Log(0), "posting"}, {"XGROUP", "DESTROY", layout.NewKeys("holdfast", 1).Log(0), "settlement"}, {"DEL", layout.NewKeys("holdfast", 1).Requests(0)},
	} {
		if err := rdb.Do(ctx, gone...).Err(); err != nil {
			t.Fatal(err)
		}
		if report := audited(t, store, gateway); !report.OK || report.Checked.Facts != 7 {
			t.Errorf("after %v: %+v", gone, report)
		}
	}
	if err := rdb.Del(ctx, layout.NewKeys("holdfast", 1).Log(0)).Err(); err != nil {
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
