package workers

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
)

// Stats counts what a pool has done since it started. A request that two workers
// had in hand is counted by both, so sums over workers may exceed what the ledger
// says: these are for watching, the ledger is for counting.
type Stats struct {
	Read             atomic.Int64 // entries read for the first time, all groups
	Reclaimed        atomic.Int64 // entries taken over from other workers
	Recovered        atomic.Int64 // entries found in the own list after a lost reply or a restart
	Lost             atomic.Int64 // entries that others took over from this worker
	Redelivered      atomic.Int64 // entries that had been given to a worker before, however they came
	HandedBack       atomic.Int64 // entries given back at the end
	Confirmed        atomic.Int64
	Declined         atomic.Int64
	Expired          atomic.Int64
	Rejected         atomic.Int64
	Held             atomic.Int64 // by hold requests
	Awaited          atomic.Int64 // orders that the gateway may have to be asked about from time to time
	ActionsRequired  atomic.Int64 // requests that ended with something for their customers to do
	AttemptsDeclined atomic.Int64 // attempts to pay that were declined, while their orders stay held
	Cancels          atomic.Int64 // cancel requests handled
	Posted           atomic.Int64 // facts handled by posting
	Settled          atomic.Int64 // facts handled by settlement, and orders of those that were owed
	Owed             atomic.Int64 // orders whose money has to wait: as often as they were put on the list
	Voided           atomic.Int64 // payments voided before their entry was acknowledged
	DeadLettered     atomic.Int64
	Trimmed          atomic.Int64
	LogTrimmed       atomic.Int64 // entries of the log
	Parked           atomic.Int64 // requests, because their event is paused
	Forgotten        atomic.Int64 // orders that were rejected because there was no such event
	ForgottenEvents  atomic.Int64 // events that were over
	ForgottenOrders  atomic.Int64 // orders of such events
	ArchiveFailed    atomic.Int64 // tries to archive in vain
	Snapshots        atomic.Int64 // of the archive, that were taken
	SnapshotFailed   atomic.Int64 // tries to take one in vain
	GatewayUnknowns  atomic.Int64 // calls of the gateway without an answer
	InFlight         atomic.Int64 // entries in hand now, all groups

	measures
}

// countOutcome notes what came of a request, which is an entry.
func (s *Stats) countOutcome(entryID string, o domain.Order) {
	if o.Awaited() {
		s.Awaited.Add(1)
	}
	if o.Open() && o.PayState != domain.PayOpen {
		switch {
		case o.AwaitsAction():
			s.ActionsRequired.Add(1)
		case o.PayState == domain.PayDeclined && domain.EntryMillis(o.Version) >= domain.EntryMillis(entryID): // else it was so before
			s.AttemptsDeclined.Add(1)
		}
		return // the hold goes on
	}
	// What was so before the request came is no outcome of it.
	if max(o.HeldAtMillis, o.ResolvedAtMillis) >= domain.EntryMillis(entryID) {
		switch o.State {
		case domain.OrderHeld, domain.OrderConfirmed, domain.OrderDeclined, domain.OrderRejected:
			s.order(o.State, o.Reason, 1)
		case domain.OrderNone, domain.OrderExpired, domain.OrderCancelled, domain.OrderLapsed:
		}
	}
	switch o.State {
	case domain.OrderConfirmed:
		s.Confirmed.Add(1)
	case domain.OrderDeclined:
		s.Declined.Add(1)
	case domain.OrderRejected:
		s.Rejected.Add(1)
	case domain.OrderHeld:
		s.Held.Add(1)
	case domain.OrderNone, domain.OrderExpired, domain.OrderCancelled, domain.OrderLapsed:
		// Counted where they happen: by maintenance and by cancels.
	}
}

// health says in one line that something stopped working, and in one that it
// works again, however often it fails in between.
type health struct {
	what string
	log  *zap.Logger

	mu      sync.Mutex
	failing bool
	told    bool // that it is failing
	since   time.Time
	fails   int
	quiet   time.Time // no line before, so that flapping does not fill the log
}

const healthQuiet = 10 * time.Second

func (h *health) failed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if !h.failing {
		h.failing, h.since, h.fails = true, now, 0
	}
	h.fails++
	// What fails again soon after it worked is told as soon as that has lasted.
	if h.told || now.Before(h.quiet) {
		return
	}
	h.told = true
	h.log.Warn(h.what+" does not work, trying on", zap.Error(err))
}

func (h *health) worked() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.failing {
		return
	}
	h.failing = false
	if h.told {
		now := time.Now()
		h.log.Info(h.what+" works again", zap.Duration("after", now.Sub(h.since)), zap.Int("failures", h.fails))
		h.told, h.quiet = false, now.Add(healthQuiet)
	}
}
