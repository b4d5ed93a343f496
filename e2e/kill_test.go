package e2e

import (
	"fmt"
	"testing"
	"time"

	"holdfast/e2e/program"
	"holdfast/e2e/torture"
)

// TestTortureKilledWorkers is a sale with three times more demand than tickets,
// payments that are declined, lost or hang, requests that come twice, wrong or to
// be cancelled, and workers that are killed all the time, sometimes two at once. In
// the end every ticket is sold, none twice, and there is one outcome for each request.
func TestTortureKilledWorkers(t *testing.T) {
	tally := torture.Begin(t, 4, "kill -9 of workers, under load")
	var (
		wantKills  = torture.Size(6, 500)
		wantOrders = torture.Size(5_000, 100_000)
		workers    = torture.Size(3, 4)
		speed      = pace{
			entries: torture.Size(10, 5), every: 20 * time.Millisecond,
			auditEvery: time.Duration(torture.Size(5, 30)) * time.Second,
		}
	)
	s := newSale(t, tally, torture.Seed(t), torture.Size(6_000, 115_000), 200*time.Millisecond)
	started := 0
	startWorker := func() *program.Process {
		started++
		return s.startWorker(fmt.Sprintf("worker-%d", started), "--gateway", s.gateway, "--reclaim-after", "2s",
			"--call-timeout", "500ms", "--pay-wait", "30s", "--max-deliveries", neverTooOften)
	}
	orders := len(s.w.orders)
	var pool []*program.Process
	for range workers {
		pool = append(pool, startWorker())
	}

	kills, inHand := 0, int64(0)
	s.sellWhile(speed, func(published int) (int, bool) {
		all := len(s.w.entries)
		// Spread over the whole sale, at whatever speed it goes.
		if due := published * wantKills / all; kills < due {
			victims := s.rng.Perm(len(pool))[:1+s.rng.IntN(2)]
			for _, v := range victims {
				pool[v].Alive() // or it died of something else
				pool[v].Kill()
			}
			for _, v := range victims {
				inHand += s.inHand(pool[v].Name)
				pool[v] = startWorker()
			}
			kills += len(victims)
		}
		return all, kills >= wantKills
	})
	s.endSoldOut(pool...)
	program.StopAll(pool...)

	tally.Count("kills", kills)
	tally.Count("orders", orders)
	tally.Count("entries in hand when killed", int(inHand))
	if kills < wantKills || orders < wantOrders || inHand < int64(kills) {
		t.Errorf("%d kills, %d orders, %d entries in hand when killed: that was no test", kills, orders, inHand)
	}
}
