package domain

import "testing"

// disputedOrder is a confirmed order of 1800 whose payment is so disputed.
func disputedOrder(d Dispute) Order {
	o := confirmedOrder()
	o.AuthorizationID, o.Version, o.Dispute = "pi_1", "5-0", d
	return o
}

func TestDecideDisputed(t *testing.T) {
	open := Dispute{State: DisputeOpen, Amount: 1800, DueMillis: 7}
	changed := func(o Order, change func(*Order)) Order {
		change(&o)
		return o
	}
	paid := disputedOrder(Dispute{}).PaidAmount()
	for name, row := range map[string]struct {
		order   Order
		dispute Dispute
		version string
		verdict Verdict
		kept    Dispute // zero: no fact
	}{
		"heard first":             {disputedOrder(Dispute{}), open, "5-0", VerdictDone, open},
		"heard twice":             {disputedOrder(open), open, "4-0", VerdictDone, Dispute{}},
		"asked before":            {disputedOrder(open), Dispute{State: DisputeInquiry, Amount: 1800}, "4-0", VerdictAsk, Dispute{}},
		"answered":                {disputedOrder(open), Dispute{State: DisputeOpen, Amount: 1800}, "5-0", VerdictDone, Dispute{State: DisputeOpen, Amount: 1800}},
		"won after it was lost":   {disputedOrder(Dispute{State: DisputeLost, Amount: 1800}), Dispute{State: DisputeWon, Amount: 1800}, "5-0", VerdictDone, Dispute{State: DisputeWon, Amount: 1800}},
		"more than was paid":      {disputedOrder(Dispute{}), Dispute{State: DisputeLost, Amount: 1 << 60}, "5-0", VerdictDone, Dispute{State: DisputeLost, Amount: paid}},
		"nothing":                 {disputedOrder(open), Dispute{}, "5-0", VerdictDone, Dispute{}},
		"no state that there is":  {disputedOrder(open), Dispute{State: "appealed", Amount: 1}, "5-0", VerdictDone, Dispute{}},
		"a negative amount":       {disputedOrder(open), Dispute{State: DisputeLost, Amount: -1}, "5-0", VerdictDone, Dispute{}},
		"held":                    {changed(heldOrder(RequestHold, aliveUntil), func(o *Order) { o.Version = "5-0" }), open, "5-0", VerdictDone, Dispute{}},
		"never heard of":          {Order{}, open, "", VerdictDone, Dispute{}},
		"free":                    {changed(disputedOrder(Dispute{}), func(o *Order) { o.Items, o.AuthorizationID = "general:2:0", "" }), open, "5-0", VerdictDone, Dispute{}},
		"cancelled":               {changed(disputedOrder(Dispute{}), func(o *Order) { o.State = OrderCancelled }), open, "5-0", VerdictDone, open},
		"cancelled before it was": {changed(heldOrder(RequestHold, aliveUntil), func(o *Order) { o.State = OrderCancelled }), open, "", VerdictDone, Dispute{}},
	} {
		fact, verdict := Decide(View{Event: testEvent(), Order: row.order}, testRef, now, Disputed{Dispute: row.dispute, Version: row.version})
		if verdict != row.verdict || (fact != nil) != (row.kept != Dispute{}) {
			t.Errorf("%s: %+v, %s", name, fact, verdict)
			continue
		}
		if fact == nil {
			continue
		}
		fact.ID, fact.AtMillis = "10000-0", now
		after, effect, err := row.order.After(*fact)
		want := row.order
		want.Version, want.Dispute, want.DisputedAtMillis = "10000-0", row.kept, now
		if err != nil || after != want || effect != (Effect{}) {
			t.Errorf("%s: %+v, %+v, %v, want %+v", name, after, effect, err, want)
		}
		if _, _, err := after.After(*fact); err == nil {
			t.Errorf("%s: it happens twice", name)
		}
	}
}

// A fact about a dispute is checked against its order, whoever wrote it.
func TestDisputedFacts(t *testing.T) {
	lost := Dispute{State: DisputeLost, Amount: 1}
	good := Fact{ID: "6-0", AtMillis: 6, Type: FactPaymentDisputed, EventID: testRef.EventID, OrderID: testRef.OrderID, Version: "5-0", Dispute: lost}
	if _, _, err := disputedOrder(Dispute{}).After(good); err != nil {
		t.Fatal(err)
	}
	older, much, none, odd := good, good, good, good
	older.Version, much.Dispute.Amount, none.Dispute, odd.Dispute.State = "4-0", disputedOrder(lost).PaidAmount()+1, Dispute{}, "appealed"
	for name, f := range map[string]Fact{"of another version": older, "of more than was paid": much, "of nothing": none, "of no state": odd} {
		if after, _, err := disputedOrder(Dispute{}).After(f); err == nil || after != disputedOrder(Dispute{}) {
			t.Errorf("%s: %+v, %v", name, after, err)
		}
	}
	for name, o := range map[string]Order{"the same again": disputedOrder(lost), "held": heldOrder(RequestHold, aliveUntil)} {
		o.Version = "5-0"
		if _, _, err := o.After(good); err == nil {
			t.Errorf("%s: it may follow", name)
		}
	}
}

// What is given back of a disputed payment is what the customer does not have from their bank.
func TestRefundDue(t *testing.T) {
	for _, row := range []struct {
		dispute        Dispute
		cancelled      bool
		granted        int64
		want, wantOwed int64
	}{
		{Dispute{}, true, 0, 1800, 1800},
		{Dispute{State: DisputeInquiry, Amount: 1800}, true, 0, 1800, 1800},
		{Dispute{State: DisputeOpen, Amount: 1}, true, 0, 0, 1800},
		{Dispute{State: DisputeWon, Amount: 1800}, true, 0, 1800, 1800},
		{Dispute{State: DisputeLost, Amount: 1800}, true, 0, 0, 1800},
		{Dispute{State: DisputeLost, Amount: 500}, true, 0, 1300, 1800},
		{Dispute{State: DisputeLost, Amount: 500}, false, 400, 0, 400},
		{Dispute{State: DisputeLost, Amount: 500}, false, 600, 100, 600},
		{Dispute{State: DisputeOpen, Amount: 500}, false, 600, 0, 600},
	} {
		o := disputedOrder(row.dispute)
		o.Kept = -row.granted
		if row.cancelled {
			o.State = OrderCancelled
		}
		if got, owed := o.RefundDue(), o.RefundTotal(); got != row.want || owed != row.wantOwed {
			t.Errorf("%+v, cancelled %v, %d granted: %d of %d, want %d of %d", row.dispute, row.cancelled, row.granted, got, owed, row.want, row.wantOwed)
		}
	}
}
