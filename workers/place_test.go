package workers_test

import (
	"errors"
	"fmt"
	"testing"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/producer"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// Places are told from when a worker does maintenance: exactly enough while requests wait, none when they are in
// hand, and that they are finished when they are.
func TestPlaceInLine(t *testing.T) {
	t.Parallel()
	const burst, bursts = 700, 4
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 0, 10_000)
	w.start(workers.Config{Roles: []workers.Role{workers.RoleMaintenance}}, nil, nil)
	samples := func() int64 { return w.rdb().LLen(w.ctx, w.ns+":{0}:2:pace").Val() }
	var receipts []producer.Receipt
	for b := range bursts {
		var batch []domain.Request
		for i := range burst {
			batch = append(batch, request(domain.RequestPurchase, fmt.Sprintf("o%d-%d", b, i), fmt.Sprintf("c%d-%d", b, i), 1))
		}
		before := samples()
		for _, r := range w.producer.PublishBatch(w.ctx, batch) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			receipts = append(receipts, r.Receipt)
		}
		w.eventually("the pace is noted", func() bool { return samples() > before })
	}
	for i := burst; i < len(receipts); i += 100 { // before, nobody had looked when they came
		place, err := w.producer.Place(w.ctx, receipts[i])
		if off := place.Ahead - int64(i); err != nil || place.State != producer.PlaceWaiting || off < -burst || off > burst || place.Wait != producer.Unknown {
			t.Errorf("%d is %+v, %v", i, place, err)
		}
	}

	w.start(workers.Config{}, w.gateway, nil)
	for _, i := range []int{0, len(receipts) - 1} {
		if _, err := w.producer.WaitFor(w.ctx, receipts[i]); err != nil {
			t.Fatal(err)
		}
		if place, err := w.producer.Place(w.ctx, receipts[i]); err != nil || place != (producer.Place{State: producer.PlaceFinished}) {
			t.Errorf("%d is %+v, %v", i, place, err)
		}
	}
	lost := receipts[0]
	lost.OrderID = "lost"
	w.eventually("a request that is nowhere has no place", func() bool { // a look may be half a second old
		_, err := w.producer.Place(w.ctx, lost)
		return errors.Is(err, domain.ErrNotFound)
	})
	w.waitDrained()
	w.eventually("nothing is kept of it", func() bool { return samples() == 0 })
}
