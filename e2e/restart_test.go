package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/e2e/program"
	"holdfast/e2e/torture"
	"holdfast/payments/simulator"
	"holdfast/streams/inspect"
)

// fates are what customers of a mixed sale do, by how their orders are called, and
// what must become of those, whatever happens to Redis meanwhile.
var fates = map[string]domain.OrderState{
	"buys": domain.OrderConfirmed, "pays-later": domain.OrderConfirmed, "is-declined": domain.OrderDeclined,
	"forgets": domain.OrderExpired, "changes-mind": domain.OrderCancelled,
}

// mixedSale is a sale for some events in which half of the customers buy, and the others do not just that.
func mixedSale(prefix string, events int) func(number int) []domain.Request {
	others := slices.Sorted(maps.Keys(fates))
	return func(number int) []domain.Request {
		does := "buys"
		if number%2 == 1 {
			does = others[number/2%len(others)]
		}
		first := ticketFor(prefix, events)(number)[0]
		first.OrderID = fmt.Sprintf("%s-%d", does, number)
		second := domain.Request{EventID: first.EventID, OrderID: first.OrderID}
		switch does {
		case "pays-later":
			second.Type, second.PaymentToken = domain.RequestPay, first.PaymentToken
			first.Type = domain.RequestHold
			return []domain.Request{first, second}
		case "changes-mind":
			second.Type = domain.RequestCancel
			return []domain.Request{first, second}
		case "is-declined":
			first.PaymentToken = simulator.DeclineTokenPrefix
		case "forgets":
			first.Type, first.HoldSeconds = domain.RequestHold, 1
		}
		return []domain.Request{first}
	}
}

// requestsInHand waits until workers have requests in hand.
func (s *system) requestsInHand() {
	s.t.Helper()
	eventually(s.t, soon, "requests are in hand", func() error {
		groups, err := inspect.New(s.store()).Pending(context.Background(), 0)
		if err != nil {
			return err
		}
		for _, g := range groups {
			if g.Group == string(domain.GroupWorkers) && g.Pending > 0 {
				return nil
			}
		}
		return errors.New("none")
	})
}

// Redis dies in the middle of a sale, with an append-only file that is synced before
// every reply, comes back, and dies again, over and over. It forgets its scripts
// each time. The workers go on without a fuss, and every request that there is a
// receipt for has its one outcome.
func TestTortureRedisRestarts(t *testing.T) {
	t.Parallel()
	tally := torture.Begin(t, 5, "kill -9 of Redis under load")
	rng := rand.New(rand.NewPCG(torture.Seed(t), 6))
	restarts := torture.Size(3, 100)
	s := newSystem(t, "--appendonly", "yes", "--appendfsync", "always")
	s.purchases("outage", 8, 10_000) // makes the events
	gateway := startGateway(t, "--latency", "50ms")
	var pool []*program.Process
	for i := range 3 {
		pool = append(pool, s.worker(fmt.Sprintf("worker-%d", i), "--gateway", gateway, "--reclaim-after", "2s", "--pay-wait", "60s"))
	}
	check := quietly(t, pool...)
	sale := s.sell(mixedSale("outage", 8))
	sale.soldSoon(t, 200)
	rdb := s.client()
	for range 5 {
		if err := rdb.ScriptFlush(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		sale.soldSoon(t, 50)
	}
	for n := 1; n <= restarts; n++ {
		s.requestsInHand()
		atAnyMoment := time.NewTimer(time.Duration(rng.Int64N(int64(60 * time.Millisecond))))
		<-atAnyMoment.C
		s.server.Kill()
		// Two outages last until every worker has told of it. The second time, too,
		// although it is right after the first and would not be worth a line if it
		// were over at once. Of the others, some are over before a checkout notices.
		lasting := n <= 2
		switch {
		case lasting:
			for _, p := range pool {
				p.Says(n, "redis does not work")
			}
			sale.vainSoon(t, 1)
		case rng.IntN(2) == 0:
			sale.vainSoon(t, 1)
		}
		s.server.Restart()
		if lasting {
			for _, p := range pool {
				p.Says(n, "redis works again")
			}
		}
		sale.soldSoon(t, 20+rng.IntN(100))
		check()
		check = quietly(t, pool...)
		tally.Count("restarts", 1)
	}
	receipts := sale.all()
	s.drained(2 * time.Minute)
	check()
	for _, p := range pool {
		if strings.Contains(p.Stderr.String(), replacedLine) {
			t.Errorf("%s believes that data was lost", p.Name)
		}
	}
	found := s.foundAgain(receipts)
	tally.Count("receipts found again", found)
	if found != len(receipts) || found < 20*restarts {
		t.Errorf("%d of %d receipts were found again", found, len(receipts))
	}
	if letters := list[deadView](s, "dead", "list"); len(letters) > 0 {
		t.Errorf("%d dead letters, the first: %+v", len(letters), letters[0])
	}
	s.paidAsFated(gateway, receipts)
	s.audit(gateway)
	tally.Judged(0)
	program.StopAll(pool...)
}

func fateOf(ref domain.OrderRef) domain.OrderState {
	return fates[ref.OrderID[:strings.LastIndexByte(ref.OrderID, '-')]]
}

// foundAgain returns how many receipts of a mixed sale lead to an order that has
// the outcome it must have, and exactly one life in the log.
func (s *system) foundAgain(receipts []domain.OrderRef) (found int) {
	s.t.Helper()
	history := make(map[domain.OrderRef][]domain.FactType)
	s.facts(func(f domain.Fact) {
		if f.OrderID != "" {
			history[f.Ref()] = append(history[f.Ref()], f.Type)
		}
	})
	outcomes := make(map[domain.OrderState]int)
	for i, o := range s.orders(receipts) {
		ref := receipts[i]
		life := history[ref]
		known := slices.ContainsFunc(histories, func(allowed []domain.FactType) bool { return slices.Equal(life, allowed) })
		if want := fateOf(ref); o.State != want || !known {
			s.t.Errorf("%s is %s (%s %s) after %v, want %s", ref, o.State, o.Reason, o.Detail, life, want)
			continue
		}
		outcomes[o.State]++
		found++
	}
	s.t.Logf("%d receipts of %d orders: %v", len(receipts), len(history), outcomes)
	if len(outcomes) != 4 {
		s.t.Error("that was no mixed sale")
	}
	return found
}

// paidAsFated checks that the gateway took money once for each order that was to be
// confirmed, and kept none of the others'.
func (s *system) paidAsFated(gateway string, receipts []domain.OrderRef) {
	s.t.Helper()
	lines := ledger(s.t, gateway)
	for _, ref := range receipts {
		l := lines[ref]
		taken := l.Status == domain.PaymentStatusCaptured && l.Authorizations == 1 && l.Captures == 1
		kept := l.Status == domain.PaymentStatusAuthorized || l.Captures > l.Refunds
		if confirmed := fateOf(ref) == domain.OrderConfirmed; confirmed && !taken || !confirmed && kept {
			s.t.Errorf("%s, which must be %s: %+v", ref, fateOf(ref), l)
		}
	}
}
