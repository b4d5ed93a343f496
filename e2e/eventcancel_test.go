package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/e2e/program"
	"holdfast/e2e/torture"
)

// cancelArgs cancels an event.
func cancelArgs(event string, more ...string) []string {
	return append([]string{"events", "cancel", event, "--reason", "the singer is ill", "--by", "ann", "--yes"}, more...)
}

// cancelReport is what events cancel prints.
type cancelReport struct {
	Changed   bool `json:"changed"`
	Held      int  `json:"orders_held"`
	Confirmed int  `json:"orders_confirmed"`
	UnderWay  int  `json:"payments_under_way"`
	SetAside  int  `json:"payments_set_aside"`
}

// TestTortureKilledEventCancel cancels events under load. The command is killed as soon
// as it has begun to cancel orders, and run again, twice at once. Everything that
// was bought is given back once, and what others sold is not touched.
func TestTortureKilledEventCancel(t *testing.T) {
	t.Parallel()
	tally := torture.Begin(t, 4, "kill -9 of whoever cancels an event, under load")
	s := newSystem(t)
	gateway := startGateway(t, "--latency", "5ms")
	for i := range 2 {
		s.worker(fmt.Sprintf("worker-%d", i), "--gateway", gateway)
	}
	p := s.producer()
	orders, rounds, each := 0, torture.Size(3, 30), torture.Size(3_000, 8_000)
	inTheMiddle := 0
	round := 0
	for ; round < rounds || inTheMiddle == 0 && round < 5*rounds; round++ {
		requests, refs := s.purchases(fmt.Sprintf("round-%d", round), 2, each)
		orders += len(refs)
		event, other := requests[0].EventID, requests[1].EventID
		publish(t, p, requests[:each*9/10]...)
		s.drained(time.Minute)
		publish(t, p, requests[each*9/10:]...) // is bought meanwhile

		sold := s.sold(event)
		first := start(t, "killed", cancelArgs(event, "--redis", s.url)...)
		eventually(t, soon, "it has begun", func() error {
			if e := s.get(event); !e.Cancelled {
				return errors.New("the event is not cancelled")
			}
			if now := s.sold(event); now >= sold {
				return fmt.Errorf("%d are sold", now)
			}
			return nil
		})
		first.Kill()
		if s.sold(event) > 0 {
			inTheMiddle++
		}
		var both []*program.Process
		for i := range 2 {
			both = append(both, start(t, fmt.Sprintf("again-%d", i), cancelArgs(event, "--wait", "-o", "json", "--redis", s.url)...))
		}
		var reports []cancelReport
		for _, p := range both {
			if code := p.Wait(time.Minute); code != 0 {
				t.Fatalf("%s: exit %d\n%s", p.Name, code, p.Stderr.String())
			}
			var r cancelReport
			if err := json.Unmarshal([]byte(p.Stdout.String()), &r); err != nil {
				t.Fatal(err)
			}
			reports = append(reports, r)
		}
		s.drained(time.Minute)
		wentWith := 0
		for i, o := range s.orders(refs) {
			switch {
			case refs[i].EventID == other && o.State != domain.OrderConfirmed:
				t.Errorf("%s of another event is %s (%s)", refs[i], o.State, o.Reason)
			case refs[i].EventID == event && o.State == domain.OrderCancelled && o.Reason == domain.ReasonEventCancelled:
				wentWith++
			case refs[i].EventID == event && (o.State != domain.OrderRejected || o.Reason != domain.ReasonNotOnSale):
				t.Errorf("%s of the cancelled event is %s (%s)", refs[i], o.State, o.Reason)
			}
		}
		for _, r := range reports {
			if want := (cancelReport{Held: r.Held, Confirmed: wentWith - r.Held}); r != want {
				t.Errorf("round %d: it says %+v, want %+v", round, r, want)
			}
		}
		if e := s.get(event); e.Sections[0].Available != e.Sections[0].Capacity {
			t.Errorf("round %d: the event is %+v", round, e)
		}
	}
	for ref, l := range ledger(t, gateway) {
		if l.Captures > 1 || l.Refunds > 1 || l.Voids > 1 || l.Authorizations > 1 {
			t.Errorf("%s: %+v", ref, l)
		}
	}
	report := s.audit(gateway)
	tally.Judged(len(report.Violations))
	tally.Count("events cancelled", round)
	tally.Count("killed in the middle", inTheMiddle)
	tally.Count("orders", orders)
	if inTheMiddle == 0 {
		t.Error("it was never killed in the middle: that was no test")
	}
}

func (s *system) get(event string) domain.Event {
	s.t.Helper()
	e, err := s.store().Events().Get(context.Background(), event)
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

func (s *system) sold(event string) int64 {
	s.t.Helper()
	return s.get(event).Sections[0].Sold
}

// Whatever is done to an event, its facts are passed over by posting and settlement, and the orders end as they must.
func TestEventClosedReopenedCancelled(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	gateway := startGateway(t)
	worker := s.worker("worker", "--gateway", gateway)
	requests, refs := s.purchases("mixed", 1, 400)
	event := requests[0].EventID
	p := s.producer()
	sell := func(part []domain.Request, state domain.OrderState) {
		t.Helper()
		publish(t, p, part...)
		s.drained(soon)
		s.allIn(state, refsOf(part))
	}
	sell(requests[:100], domain.OrderConfirmed)
	s.ok("events", "close", event, "--by", "ann", "--reason", "the roof | leaks")
	sell(requests[100:200], domain.OrderRejected)
	s.ok("events", "reopen", event, "--by", "ann")
	sell(requests[200:300], domain.OrderConfirmed)
	publish(t, p, requests[300:]...) // is bought while the event is cancelled
	got := one[cancelReport](s, cancelArgs(event, "--wait")...)
	if got.Confirmed < 200 || got.UnderWay != 0 || got.SetAside != 0 {
		t.Errorf("it says %+v", got)
	}
	s.drained(soon)
	s.allIn(domain.OrderCancelled, slices.Concat(refs[:100], refs[200:300]))
	if letters := list[deadView](s, "dead", "list"); len(letters) != 0 {
		t.Errorf("dead letters: %+v", letters)
	}
	for ref, l := range ledger(t, gateway) {
		if l.Status != domain.PaymentStatusRefunded && l.Status != domain.PaymentStatusVoided {
			t.Errorf("%s: %+v", ref, l)
		}
	}
	s.audit(gateway)
	program.StopAll(worker)
}

func refsOf(requests []domain.Request) []domain.OrderRef {
	refs := make([]domain.OrderRef, len(requests))
	for i, r := range requests {
		refs[i] = r.Ref()
	}
	return refs
}

// BenchmarkEventCancel times the cancellation of an event of which 100,000 orders were
// sold: until all of them are cancelled, and until all their money is given back.
//
//	go test ./e2e -run '^$' -bench EventCancel -benchtime 1x -timeout 10m
func BenchmarkEventCancel(b *testing.B) {
	const orders = 100_000
	for range b.N {
		s := newSystem(b)
		s.store()
		s.event(takeoverEvent, "An event", takeoverCapacity, "10.00")
		s.worker("worker", "--gateway", startGateway(b, "--latency", "0s"))
		s.publishInPages(takeoverRequests("buyer", orders))
		eventually(b, 5*time.Minute, "all of them are sold", func() error {
			if n := s.sold(takeoverEvent); n < orders {
				return fmt.Errorf("%d are", n)
			}
			return noBacklog(s.store())
		})
		b.ResetTimer()
		began, cpu := time.Now(), s.redisCPU(b)
		if got := one[cancelReport](s, cancelArgs(takeoverEvent)...); got.Confirmed != orders {
			b.Fatalf("it says %+v", got)
		}
		cancelled := time.Since(began)
		if got := one[cancelReport](s, cancelArgs(takeoverEvent, "--wait")...); got.UnderWay != 0 || got.SetAside != 0 {
			b.Fatalf("it says %+v", got)
		}
		settled := time.Since(began)
		cpu = s.redisCPU(b) - cpu
		b.StopTimer()
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(orders, "orders")
		b.ReportMetric(cancelled.Seconds(), "s-until-cancelled")
		b.ReportMetric(settled.Seconds(), "s-until-refunded")
		b.ReportMetric(cpu*1e6/orders, "redis-µs/order")
	}
}

// redisCPU is how many seconds Redis's main thread has computed so far.
func (s *system) redisCPU(b *testing.B) (seconds float64) {
	b.Helper()
	return redisSeconds(b, s.client())
}

func redisSeconds(b *testing.B, client *redis.Client) (seconds float64) {
	b.Helper()
	text, err := client.Info(context.Background(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user_main_thread" || name == "used_cpu_sys_main_thread" {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			seconds += n
		}
	}
	return seconds
}
