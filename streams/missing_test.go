package streams

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/redistest"
)

// lost has things happen that Redis then loses, and returns what of each order, and what both logs have in common.
func (f *fixture) lost(happens func()) func(event, order string) domain.Restore {
	f.Helper()
	common := f.lastEntry().ID
	before := make(map[string]string)
	for _, key := range f.Client.Keys(f.Ctx, "*").Val() {
		before[key] = f.Client.Dump(f.Ctx, key).Val()
	}
	known, _ := f.facts()
	happens()
	all, _ := f.facts()
	_, err := f.Client.TxPipelined(f.Ctx, func(pipe redis.Pipeliner) error {
		pipe.FlushAll(f.Ctx)
		for key, value := range before {
			pipe.Restore(f.Ctx, key, 0, value)
		}
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	// What is added from now on comes after what was lost: by no means always, but so it is after a failover.
	f.WaitUntil(domain.EntryMillis(all[len(all)-1].ID) + 1)
	return func(event, order string) domain.Restore {
		c := domain.Restore{Common: common}
		for _, fact := range all[len(known):] {
			if fact.Ref() == ref(event, order) {
				c.Lost = append(c.Lost, fact)
			}
		}
		return c
	}
}

// wantMissing looks at an order, changes nothing, and then gives it back; once more finds nothing.
func (f *fixture) wantMissing(c domain.Restore, event, order string, kind domain.MissingKind, becomes domain.OrderState) domain.Missing {
	f.Helper()
	f.wantFound(c, false, event, order, kind, becomes)
	found := f.wantFound(c, true, event, order, kind, becomes)
	if becomes == domain.OrderNone {
		return found
	}
	if is := f.order(event, order); is.State != becomes {
		f.Errorf("%s is %+v, want it %s", order, is, becomes)
	}
	f.wantFound(c, true, event, order, domain.MissingWentOn, domain.OrderNone)
	f.wantLogFolds()
	f.audited()
	return found
}

func (f *fixture) wantFound(c domain.Restore, apply bool, event, order string, kind domain.MissingKind, becomes domain.OrderState) domain.Missing {
	f.Helper()
	before := f.Dump()
	found, err := f.ledger.missing(f.Ctx, ref(event, order), c, apply)
	if err != nil || found.Kind != kind || found.Becomes != becomes {
		f.Errorf("%s: %+v, %v; want %q, and that it becomes %s", order, found, err, kind, becomes)
	}
	if !apply || becomes == domain.OrderNone {
		f.WantSame(before)
	}
	return found
}

func lossFixture(t *testing.T) *fixture {
	f := openFixture(t, redistest.Start(t)) // of its own: it is emptied
	f.list("e1", terms(5, func(t *domain.Terms) { t.MaxPerCustomer = 4 }))
	f.list("hall", hall())
	return f
}

func TestMissingComesBack(t *testing.T) {
	f := lossFixture(t)
	f.confirmed("e1", "before", "fred", 1)
	f.held("e1", "paid", "mary", 1, 60_000)
	var was domain.Order
	c := f.lost(func() {
		f.confirmed("e1", "o1", "amy", 2)
		was = f.order("e1", "o1")
		f.held("e1", "o2", "jim", 1, 60_000)
		f.resolve(approve("", "e1", "paid"))
		f.cancel("e1", "before")
	})
	f.wantMissing(c("e1", "o1"), "e1", "o1", domain.MissingComesBack, domain.OrderConfirmed)
	f.wantMissing(c("e1", "o2"), "e1", "o2", domain.MissingComesBack, domain.OrderHeld)
	f.wantMissing(c("e1", "paid"), "e1", "paid", domain.MissingComesBack, domain.OrderConfirmed)
	f.wantMissing(c("e1", "before"), "e1", "before", domain.MissingEnds, domain.OrderCancelled)
	is := f.order("e1", "o1")
	if is.ConfirmedAtMillis != was.ConfirmedAtMillis || is.AuthorizationID != was.AuthorizationID || is.Fingerprint != was.Fingerprint || is.HeldAtMillis != was.HeldAtMillis {
		t.Errorf("it was %+v, and is %+v", was, is)
	}
	if got := f.section("e1", "general"); got != [3]int64{1, 1, 3} {
		t.Errorf("available, held and sold are %v", got)
	}
	// What is held again is, like any other: for its customer, who may not have two, until its deadline, and can be paid.
	replies, _ := f.holdBatch(f.arrive(purchase("e1", "o3", "jim", 1))...)
	if replies[0].Order.Reason != domain.ReasonInProgress {
		t.Errorf("another order of the same customer is %+v", replies[0].Order)
	}
	if _, held, err := f.ledger.UntilDue(f.Ctx, 0); err != nil || !held {
		t.Errorf("it is not among the holds, %v", err)
	}
	f.resolve(approve("", "e1", "o2"))
	f.wantLogFolds()
	f.audited()
}

func TestMissingWhosePlacesAreGone(t *testing.T) {
	f := lossFixture(t)
	c := f.lost(func() {
		f.confirmed("e1", "o1", "amy", 2)
		f.held("e1", "o2", "jim", 1, 60_000)
		f.confirmed("e1", "o3", "bob", 1)
		f.confirmed("e1", "again", "kim", 1)
	})
	f.confirmed("e1", "other", "fred", 4)
	f.held("e1", "again", "kim", 1, 60_000)
	if found := f.wantMissing(c("e1", "o1"), "e1", "o1", domain.MissingPlace, domain.OrderNone); found.Reason != domain.ReasonSoldOut {
		t.Errorf("found %+v", found)
	}
	f.wantMissing(c("e1", "o2"), "e1", "o2", domain.MissingEnds, domain.OrderExpired)
	f.wantMissing(c("e1", "again"), "e1", "again", domain.MissingWentOn, domain.OrderNone)
	before := f.section("e1", "general")
	refund := c("e1", "o1")
	refund.Refund = true
	f.wantMissing(refund, "e1", "o1", domain.MissingPlace, domain.OrderCancelled)
	if is := f.order("e1", "o1"); is.Reason != domain.ReasonPlacesGone || is.RefundTotal() != is.PaidAmount() || is.PaidAmount() == 0 {
		t.Errorf("it is %+v, of which %d come back", is, is.RefundTotal())
	}
	if got := f.section("e1", "general"); got != before {
		t.Errorf("available, held and sold are %v, they were %v", got, before)
	}
	// It was published again, and has ended: paid before, and there is nothing for it.
	f.cancel("e1", "again")
	f.wantMissing(c("e1", "again"), "e1", "again", domain.MissingPlace, domain.OrderNone)
	other := c("e1", "again")
	other.Refund = true
	other.Lost[0].Fingerprint = "of another body"
	if found := f.wantMissing(other, "e1", "again", domain.MissingUnclear, domain.OrderNone); !strings.HasPrefix(found.Detail, "it was paid for, and another body was published") {
		t.Errorf("it is unclear for another reason: %+v", found)
	}
	refund = c("e1", "again")
	refund.Refund = true
	f.wantMissing(refund, "e1", "again", domain.MissingPlace, domain.OrderCancelled)
}

// Others take the last place, a seat, or all that a customer may have, between the look and the step.
func TestMissingLooksAgain(t *testing.T) {
	f := lossFixture(t)
	other, sending := f.another(t)
	c := f.lost(func() {
		f.confirmed("e1", "o1", "amy", 4)
		f.holdBatch(f.ask("hall", "seats", named("A-1", "A-2")))
		f.resolve(approve("", "hall", "seats"))
	})
	sending.once("move", func() { f.confirmed("e1", "quick", "fred", 2) })
	found, err := other.ledger.missing(f.Ctx, ref("e1", "o1"), c("e1", "o1"), true)
	if err != nil || found.Kind != domain.MissingPlace {
		t.Errorf("found %+v, %v", found, err)
	}
	sending.once("move", func() { f.holdBatch(f.ask("hall", "quick", named("A-2"))) })
	found, err = other.ledger.missing(f.Ctx, ref("hall", "seats"), c("hall", "seats"), true)
	if err != nil || found.Kind != domain.MissingPlace || found.Reason != domain.ReasonSeatTaken {
		t.Errorf("found %+v, %v", found, err)
	}
	f.cancel("hall", "quick")
	f.wantMissing(c("hall", "seats"), "hall", "seats", domain.MissingComesBack, domain.OrderConfirmed)
	// The customer begins another order.
	reserved := f.lost(func() { f.held("e1", "reserved", "jim", 1, 60_000) })
	sending.once("move", func() { f.held("e1", "another", "jim", 1, 60_000) })
	found, err = other.ledger.missing(f.Ctx, ref("e1", "reserved"), reserved("e1", "reserved"), true)
	if err != nil || found.Kind != domain.MissingEnds || found.Reason != domain.ReasonInProgress {
		t.Errorf("found %+v, %v", found, err)
	}
	// And somebody publishes it again.
	f.cancel("e1", "quick")
	sending.once("move", func() { f.confirmed("e1", "o1", "amy", 4) })
	found, err = other.ledger.missing(f.Ctx, ref("e1", "o1"), c("e1", "o1"), true)
	if err != nil || found.Kind != domain.MissingWentOn {
		t.Errorf("found %+v, %v", found, err)
	}
	f.wantLogFolds()
	f.audited()
}

// A customer who has bought others meanwhile gets no more than they may.
func TestMissingOverCustomerLimit(t *testing.T) {
	f := lossFixture(t)
	c := f.lost(func() { f.confirmed("e1", "o1", "amy", 2) })
	f.confirmed("e1", "o2", "amy", 3)
	if found := f.wantMissing(c("e1", "o1"), "e1", "o1", domain.MissingPlace, domain.OrderNone); found.Reason != domain.ReasonOverCustomer {
		t.Errorf("found %+v", found)
	}
}

// Two at once, or one whose reply was lost and that is run again: the order comes back once.
func TestMissingTwice(t *testing.T) {
	f := lossFixture(t)
	other, sending := f.another(t)
	c := f.lost(func() { f.confirmed("e1", "o1", "amy", 2) })
	sending.once("move", func() {
		if _, err := f.ledger.missing(f.Ctx, ref("e1", "o1"), c("e1", "o1"), true); err != nil {
			t.Error(err)
		}
	})
	found, err := other.ledger.missing(f.Ctx, ref("e1", "o1"), c("e1", "o1"), true)
	if err != nil || found.Kind != domain.MissingWentOn {
		t.Errorf("found %+v, %v", found, err)
	}
	if got := f.section("e1", "general"); got != [3]int64{3, 0, 2} {
		t.Errorf("available, held and sold are %v", got)
	}
}
