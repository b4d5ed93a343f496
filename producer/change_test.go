package producer_test

import (
	"testing"

	"holdfast/domain"
	"holdfast/producer"
)

// TestChangeByReceipt: a partial cancel and a change end their waits when they are decided, whatever the order is.
func TestChangeByReceipt(t *testing.T) {
	with := func(state domain.OrderState, number int64, fingerprint, refusal, detail string) domain.Order {
		o := orderIn(state, "fred")
		o.Fingerprint, o.Change, o.ChangeFingerprint, o.ChangeRefusal, o.ChangeDetail = "the order's", number, fingerprint, refusal, detail
		return o
	}
	for _, kind := range []domain.RequestType{domain.RequestCancel, domain.RequestChange} {
		receipt := producer.Receipt{EventID: "p0", OrderID: "o", EntryID: "1-0", Type: kind, Fingerprint: "mine", Change: 2}
		ask := func(b *bench) *wait {
			w := b.waitFor(receipt)
			w.waiting()
			// What was before is no answer.
			b.outcomes.change(ref("p0", "o"), with(domain.OrderConfirmed, 0, "", "", ""))
			w.waiting()
			b.outcomes.change(ref("p0", "o"), with(domain.OrderConfirmed, 1, "another", domain.ReasonSoldOut, "stalls"))
			w.waiting()
			return w
		}
		inBubble(t, never, func(b *bench) {
			w := ask(b)
			b.outcomes.change(ref("p0", "o"), with(domain.OrderConfirmed, 2, "mine", "", ""))
			w.got(with(domain.OrderConfirmed, 2, "mine", "", ""))
			// Also one that is held stays so.
			b.outcomes.set(ref("p0", "o"), with(domain.OrderHeld, 2, "mine", "", ""))
			b.waitFor(receipt).got(with(domain.OrderHeld, 2, "mine", "", ""))
		})
		inBubble(t, never, func(b *bench) {
			w := ask(b)
			b.outcomes.change(ref("p0", "o"), with(domain.OrderConfirmed, 2, "mine", domain.ReasonSeatTaken, "A-3"))
			w.ends()
			if w.err != nil || w.outcome.Refused != domain.ReasonSeatTaken || w.outcome.Detail != "A-3" || w.outcome.Order.State != domain.OrderConfirmed {
				t.Errorf("%s: %+v, %v", kind, w.outcome, w.err)
			}
		})
		inBubble(t, never, func(b *bench) {
			w := ask(b)
			b.outcomes.change(ref("p0", "o"), with(domain.OrderConfirmed, 2, "another's", domain.ReasonSeatTaken, "A-3"))
			w.refused(domain.ErrConflict, domain.CodeConflict)
		})
		inBubble(t, never, func(b *bench) {
			w := ask(b)
			b.outcomes.change(ref("p0", "o"), with(domain.OrderConfirmed, 3, "another's", "", ""))
			w.refused(domain.ErrNotFound, domain.CodeNotFound)
		})
		inBubble(t, never, func(b *bench) {
			w := ask(b)
			b.outcomes.change(ref("p0", "o"), with(domain.OrderCancelled, 1, "another", domain.ReasonSoldOut, "stalls"))
			w.ends()
			if w.err != nil || w.outcome.Refused != "" || w.outcome.Order.State != domain.OrderCancelled {
				t.Errorf("%s: %+v, %v", kind, w.outcome, w.err)
			}
		})
		inBubble(t, never, func(b *bench) {
			w := ask(b)
			b.outcomes.setAside(ref("p0", "o"), letter(1, kind))
			b.outcomes.tell(ref("p0", "o"))
			w.refused(domain.ErrSetAside, domain.CodeSetAside)
		})
	}
}
