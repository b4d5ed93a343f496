package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
)

// Demand is where it is counted what was asked for in vain.
type Demand interface {
	// TurnAway adds places that were asked for at the door. It returns those that are not known to have been added.
	TurnAway(ctx context.Context, places map[domain.RefusedDemand]int64) (left map[domain.RefusedDemand]int64, err error)
}

// At the door. What is known of an event may be so old; beyond that nobody is turned away, for it may not be sold out any more.
const (
	doorTrusts = time.Second
	doorCounts = time.Second
	doorLook   = 2 * time.Second
)

// door turns away who asks for what is sold out, so that an on-sale that is over does not fill the line with requests that come to nothing.
// It decides nothing: what it refuses is recorded nowhere but as demand.
type door struct {
	events *glances
	beside *background
	demand Demand
	log    *zap.Logger

	mu   sync.Mutex
	away map[domain.RefusedDemand]int64 // not added yet
	due  bool                           // a timer will add it
}

// newDoor has looks of its own: whoever has bought, and then looks what is left, shall not be told of before.
func newDoor(events Events, demand Demand, beside *background, log *zap.Logger) *door {
	return &door{events: newGlances(events, beside), beside: beside, demand: demand, log: log, away: make(map[domain.RefusedDemand]int64)}
}

// soldOut reports whether a request that would open an order asks for places of which none is left, as far as is known without waiting. It must be asked
// before the order is looked up: then an order that is not there had no places when there were none.
func (d *door) soldOut(r *domain.Request) bool {
	event, known := d.events.latest(r.EventID, doorTrusts)
	return known && event.SoldOut(r, time.Now().UnixMilli())
}

var errSoldOutNow = problemOf(http.StatusConflict, domain.CodeSoldOutNow, "sold out now: this request was not published, and may be sent again: places may come back. If it was sent before, and the answer was lost or 202, that one may still be in line")

// turnAway counts what a request asked for: all its places, in their sections, as where an order is rejected.
func (d *door) turnAway(r *domain.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for line := range r.Lines() {
		d.away[domain.RefusedDemand{EventID: r.EventID, Section: line.Section, Reason: string(domain.CodeSoldOutNow)}] += max(line.Quantity, int64(len(line.Seats)))
	}
	d.addLater()
}

// addLater sees to it that what was counted is added. The caller has the lock.
func (d *door) addLater() {
	if !d.due {
		d.due = true
		d.beside.after(doorCounts, d.add)
	}
}

// add adds what was counted.
func (d *door) add(ctx context.Context) {
	d.mu.Lock()
	away := d.away
	d.away, d.due = make(map[domain.RefusedDemand]int64), false
	d.mu.Unlock()
	if len(away) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, doorLook)
	defer cancel()
	left, err := d.demand.TurnAway(ctx, away)
	if err == nil {
		return
	}
	d.log.Warn("who was turned away could not be counted", zap.Error(err))
	d.mu.Lock()
	defer d.mu.Unlock()
	for what, places := range left {
		d.away[what] += places
	}
	d.addLater()
}
