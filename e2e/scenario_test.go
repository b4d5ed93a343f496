package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/e2e/program"
	"holdfast/streams"
	"holdfast/streams/redistest"
)

// The reference scenario: the examples of an article on selling the tickets of
// the Olympic Games with Redis. Every checkout must lead to the same tables.

// checkout is a system that sells, in some language. It publishes requests, all
// before it waits, and returns their orders once each is held or has an outcome.
type checkout interface {
	send(requests ...domain.Request) []orderView
}

func TestScenario(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*system) checkout{
		"GoProducer":  func(s *system) checkout { return goCheckout{s} },
		"CommandLine": func(s *system) checkout { return commandLineCheckout{s} },
		"RawXADD": func(s *system) checkout {
			s.ok("init", "--partitions", "3")
			return rawCheckout{s, 3}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t)
			scenario(s, open(s))
		})
		t.Run(name+"InProgress", func(t *testing.T) {
			t.Parallel()
			s := newSystem(t)
			scenarioInProgress(s, open(s))
		})
	}
}

// The same on a Redis Cluster: partitions and customers are on three masters.
func TestScenarioOnCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	for name, open := range map[string]func(*system) checkout{
		"GoProducer":  func(s *system) checkout { return goCheckout{s} },
		"CommandLine": func(s *system) checkout { return commandLineCheckout{s} },
		"RawXADD":     func(s *system) checkout { return rawCheckout{s, streams.DefaultPartitions} },
	} {
		for _, part := range []struct {
			name string
			run  func(*system, checkout)
		}{{name, scenario}, {name + "InProgress", scenarioInProgress}} {
			t.Run(part.name, func(t *testing.T) {
				cluster.Flush()
				s := &system{t: t, url: cluster.URL(), server: cluster.Any()}
				part.run(s, open(s))
			})
		}
	}
}

// scenario is all of it but one part, which needs a slow gateway.
func scenario(s *system, c checkout) {
	gateway := startGateway(s.t, "--latency", "1ms")
	workers := []*program.Process{s.worker("w1", "--gateway", gateway), s.worker("w2", "--gateway", gateway)}
	scenarioTables(s, c, gateway)
	scenarioSoldOut(s, c, gateway)
	scenarioDeclined(s, c, gateway)
	scenarioExpiring(s, c, gateway)
	program.StopAll(workers...)
}

func purchase(event, customer string, quantity int64) domain.Request {
	return domain.Request{
		Type: domain.RequestPurchase, EventID: event, OrderID: fmt.Sprintf("%s-%s-%d", event, customer, quantity),
		CustomerID: customer, Quantity: quantity, PaymentToken: "tok_1",
	}
}

func hold(event, customer string, quantity, seconds int64) domain.Request {
	r := purchase(event, customer, quantity)
	r.Type, r.PaymentToken, r.HoldSeconds = domain.RequestHold, "", seconds
	return r
}

// stands checks the inventory of an event with one section, by both commands that tell of it.
func (s *system) stands(event string, available, held, sold, revenue int64) {
	s.t.Helper()
	s.drained(soon) // the sales are written after the outcome
	sections := one[eventView](s, "events", "show", event).Sections
	if len(sections) != 1 || sections[0].Available != available || sections[0].Held != held || sections[0].Sold != sold {
		s.t.Errorf("%s: %+v, want available %d, held %d, sold %d", event, sections, available, held, sold)
	}
	got := one[salesView](s, "sales", event)
	if got.Currency != "EUR" || got.Available != available || got.Held != held || got.TicketsSold != sold || got.Revenue != revenue {
		s.t.Errorf("sales %s: %+v, want available %d, held %d, sold %d, revenue %d", event, got, available, held, sold, revenue)
	}
}

// invoiced checks a customer's invoices.
func (s *system) invoiced(customer string, want ...invoiceView) {
	s.t.Helper()
	got := list[invoiceView](s, "invoices", customer)
	byEvent := func(a, b invoiceView) int { return strings.Compare(a.EventID, b.EventID) }
	slices.SortFunc(got, byEvent)
	slices.SortFunc(want, byEvent)
	if !slices.Equal(got, want) {
		s.t.Errorf("invoices of %s: %+v, want %+v", customer, got, want)
	}
}

func outcome(t testing.TB, o orderView, state, reason string) {
	t.Helper()
	if o.State != state || o.Reason != reason {
		t.Errorf("order %s is %s (%s), want %s (%s)", o.OrderID, o.State, o.Reason, state, reason)
	}
}

func scenarioTables(s *system, c checkout, gateway string) {
	s.event("mens-discus", "Mens Discus", 200, "10.00")
	s.event("womens-discus", "Womens Discus", 500, "15.00")
	for _, o := range c.send(
		purchase("mens-discus", "fred", 5), purchase("mens-discus", "amy", 2),
		purchase("womens-discus", "jim", 20), purchase("womens-discus", "amy", 17),
	) {
		outcome(s.t, o, "confirmed", "")
	}
	s.stands("mens-discus", 193, 0, 7, 70_00)
	s.stands("womens-discus", 463, 0, 37, 555_00)
	s.invoiced("fred", invoiceView{"mens-discus", 50_00, "confirmed"})
	s.invoiced("amy", invoiceView{"mens-discus", 20_00, "confirmed"}, invoiceView{"womens-discus", 255_00, "confirmed"})
	s.invoiced("jim", invoiceView{"womens-discus", 300_00, "confirmed"})
	s.audit(gateway)
}

func scenarioSoldOut(s *system, c checkout, gateway string) {
	s.event("womens-4x400m", "Womens 4x400m Final", 10, "9")
	outcome(s.t, c.send(purchase("womens-4x400m", "fred", 5))[0], "confirmed", "")
	s.stands("womens-4x400m", 5, 0, 5, 45_00)
	before := list[invoiceView](s, "invoices", "fred")
	refused := purchase("womens-4x400m", "fred", 6)
	outcome(s.t, c.send(refused)[0], "rejected", "sold_out")
	s.stands("womens-4x400m", 5, 0, 5, 45_00)
	s.invoiced("fred", before...)
	if l, known := ledger(s.t, gateway)[refused.Ref()]; known {
		s.t.Errorf("the gateway was asked about a rejected order: %+v", l)
	}
	s.audit(gateway)
}

func scenarioDeclined(s *system, c checkout, gateway string) {
	s.event("womens-marathon", "Womens Marathon Final", 500, "12.34")
	declined := purchase("womens-marathon", "gwen", 5)
	declined.PaymentToken = "decline-this-card"
	outcome(s.t, c.send(declined)[0], "declined", "")
	s.stands("womens-marathon", 500, 0, 0, 0)
	s.invoiced("gwen")
	if l := ledger(s.t, gateway)[declined.Ref()]; l.Status != domain.PaymentStatusDeclined || l.Authorizations != 0 || l.Captures != 0 {
		s.t.Errorf("the gateway's books says %+v", l)
	}
	s.audit(gateway)
}

func scenarioExpiring(s *system, c checkout, gateway string) {
	const javelin = "womens-javelin"
	s.event(javelin, "Womens Javelin", 500, "20")
	// How the inventory looks from outside while the holds run out.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	seen := make(chan []int64, 1)
	go func() {
		var values []int64
		look := time.NewTicker(10 * time.Millisecond)
		defer look.Stop()
		for ctx.Err() == nil {
			event, err := s.store().Events().Get(ctx, javelin)
			if err == nil && (len(values) == 0 || values[len(values)-1] != event.Sections[0].Available) {
				values = append(values, event.Sections[0].Available)
			}
			<-look.C
		}
		seen <- values
	}()
	held := c.send(hold(javelin, "fred", 3, 4), hold(javelin, "jim", 5, 3), hold(javelin, "amy", 7, 2))
	for _, o := range held {
		if o.State != "expired" { // it may be looked at late
			outcome(s.t, o, "held", "")
		}
	}
	orders := make([]orderView, len(held))
	eventually(s.t, soon, "all holds expire", func() error {
		for i, o := range held {
			orders[i] = one[orderView](s, "orders", "show", o.OrderID, "--event", javelin)
			if orders[i].State != "expired" {
				return errors.New(orders[i].OrderID + " is " + orders[i].State)
			}
		}
		return nil
	})
	for _, o := range orders {
		last := o.History[len(o.History)-1]
		if late := last.At - o.Deadline; last.Type != "expired" || late < 0 {
			s.t.Errorf("%s: deadline %d, %s %d ms after it, want none before", o.OrderID, o.Deadline, last.Type, late)
		}
	}
	s.stands(javelin, 500, 0, 0, 0)
	cancel()

	// The log has every step; whoever looks now and then sees some of them, in that order.
	var steps []int64
	book := domain.NewSnapshot()
	s.facts(func(f domain.Fact) {
		if err := book.Fold(f); err != nil {
			s.t.Errorf("folding the log: %v", err)
		}
		if f.EventID == javelin {
			steps = append(steps, book.Events[javelin].Sections[0].Available)
		}
	})
	want := []int64{485} // and what they had, in the order of their deadlines: 492 497 500, unless one was held late
	slices.SortFunc(orders, func(a, b orderView) int { return cmp.Compare(a.Deadline, b.Deadline) })
	for _, o := range orders {
		want = append(want, want[len(want)-1]+o.Quantity)
	}
	if len(steps) != 7 || !slices.Equal(steps[3:], want) {
		s.t.Errorf("available went %v, want 500 … %v", steps, want)
	}
	if got := <-seen; !subsequence(got, steps) {
		s.t.Errorf("available was seen to go %v, the log says %v", got, steps)
	}
	s.audit(gateway)
}

func subsequence(part, whole []int64) bool {
	for _, v := range whole {
		if len(part) > 0 && part[0] == v {
			part = part[1:]
		}
	}
	return len(part) == 0
}

func scenarioInProgress(s *system, c checkout) {
	gateway := startGateway(s.t, "--latency", "600ms")
	worker := s.worker("w1", "--gateway", gateway)
	s.event("mens-shot-put", "Mens Shot Put", 100, "8")
	got := c.send(purchase("mens-shot-put", "fred", 1), purchase("mens-shot-put", "fred", 2))
	slices.SortFunc(got, func(a, b orderView) int { return strings.Compare(a.State, b.State) })
	outcome(s.t, got[0], "confirmed", "")
	outcome(s.t, got[1], "rejected", "in_progress")
	outcome(s.t, c.send(purchase("mens-shot-put", "fred", 3))[0], "confirmed", "")
	sold := got[0].Quantity + 3
	s.stands("mens-shot-put", 100-sold, 0, sold, sold*8_00)
	s.audit(gateway)
	program.StopAll(worker)
}

// goCheckout is written in Go: it imports the producer.
type goCheckout struct{ s *system }

func (c goCheckout) send(requests ...domain.Request) []orderView {
	c.s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	p := c.s.producer()
	publish(c.s.t, p, requests...)
	views := make([]orderView, len(requests))
	for i, r := range requests {
		wait := p.Wait
		if r.Type == domain.RequestHold {
			wait = p.WaitHeld
		}
		got, err := wait(ctx, r.EventID, r.OrderID)
		if err != nil {
			c.s.t.Fatal(err)
		}
		views[i] = orderView{
			OrderID: got.OrderID, EventID: got.EventID, Quantity: got.Order.Items.Quantity(),
			State: got.Order.State.String(), Reason: got.Order.Reason, Deadline: got.Order.DeadlineMillis,
		}
	}
	return views
}

// commandLineCheckout is a script around holdfast publish.
type commandLineCheckout struct{ s *system }

func (c commandLineCheckout) send(requests ...domain.Request) []orderView {
	c.s.t.Helper()
	if len(requests) == 1 {
		r := requests[0]
		args := []string{
			"publish", "--type", string(r.Type), "--event", r.EventID, "--order", r.OrderID, "--customer", r.CustomerID,
			"--quantity", strconv.FormatInt(r.Quantity, 10), "--wait",
		}
		if r.PaymentToken != "" {
			args = append(args, "--token", string(r.PaymentToken))
		}
		return []orderView{one[orderView](c.s, args...)}
	}
	var file strings.Builder
	for _, r := range requests {
		fmt.Fprintf(&file, `{"type":%q,"event_id":%q,"order_id":%q,"customer_id":%q,"quantity":%d`,
			r.Type, r.EventID, r.OrderID, r.CustomerID, r.Quantity)
		if r.PaymentToken != "" {
			fmt.Fprintf(&file, `,"payment_token":%q`, string(r.PaymentToken))
		}
		if r.HoldSeconds != 0 {
			fmt.Fprintf(&file, `,"hold_seconds":%d`, r.HoldSeconds)
		}
		file.WriteString("}\n")
	}
	r := c.s.run(file.String(), "publish", "--file", "-", "--wait", "-o", "json")
	if r.code != 0 {
		c.s.t.Fatalf("publish --file: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	byOrder := make(map[string]orderView)
	for _, o := range decodeLines[orderView](c.s.t, r.stdout) {
		byOrder[o.OrderID] = o
	}
	views := make([]orderView, len(requests))
	for i, r := range requests {
		views[i] = byOrder[r.OrderID]
	}
	return views
}

// rawCheckout knows the wire contract and nothing of this program: what to add to
// which stream, with redis-cli in the place of any language's client.
type rawCheckout struct {
	s          *system
	partitions int
}

func (c rawCheckout) send(requests ...domain.Request) []orderView {
	c.s.t.Helper()
	var commands strings.Builder
	for _, r := range requests {
		fmt.Fprintf(&commands, "XADD holdfast:{%d}:requests * v 1 type %s order_id %s customer_id %s event_id %s section general quantity %d",
			int(crc16xmodem(r.EventID))%c.partitions, r.Type, r.OrderID, r.CustomerID, r.EventID, r.Quantity)
		if r.PaymentToken != "" {
			fmt.Fprintf(&commands, " payment_token %s", string(r.PaymentToken))
		}
		if r.HoldSeconds != 0 {
			fmt.Fprintf(&commands, " hold_seconds %d", r.HoldSeconds)
		}
		commands.WriteString("\n")
	}
	cmd := exec.Command("redis-cli", "-c", "-p", strconv.Itoa(c.s.server.Port()))
	cmd.Stdin = strings.NewReader(commands.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.s.t.Fatalf("redis-cli: %v\n%s", err, out)
	}
	for id := range strings.Lines(string(out)) {
		// Of a cluster, redis-cli also says where it is sent.
		if domain.EntryMillis(id) == 0 && !strings.HasPrefix(id, "-> Redirected") {
			c.s.t.Fatalf("XADD answers %s", out)
		}
	}
	views := make([]orderView, len(requests))
	for i, r := range requests {
		eventually(c.s.t, soon, "order "+r.OrderID+" has an outcome", func() error {
			o := c.s.run("", "orders", "show", r.OrderID, "--event", r.EventID, "-o", "json")
			if o.code != 0 {
				return errors.New(o.stderr)
			}
			views[i] = decodeLines[orderView](c.s.t, o.stdout)[0]
			if views[i].State == "held" && r.Type != domain.RequestHold {
				return errors.New("held")
			}
			return nil
		})
	}
	return views
}

// crc16xmodem is CRC-16/XMODEM, bit by bit, as anybody would write it down.
func crc16xmodem(s string) uint16 {
	var crc uint16
	for _, b := range []byte(s) {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

func TestPartitionsInEveryLanguage(t *testing.T) {
	t.Parallel()
	if got := crc16xmodem("123456789"); got != 0x31c3 {
		t.Fatalf("CRC-16/XMODEM of 123456789 is %#x, want 0x31c3", got)
	}
	s := newSystem(t)
	for _, event := range []string{"a", "mens-discus", "Z.9_@+-", strings.Repeat("x", 128)} {
		if got, want := s.store().Partition(event), int(crc16xmodem(event))%s.store().Partitions(); got != want {
			t.Errorf("event %s is in partition %d, want %d", event, got, want)
		}
	}
}
