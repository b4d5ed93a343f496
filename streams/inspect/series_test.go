package inspect

import (
	"reflect"
	"testing"
	"time"

	"holdfast/domain"
)

func TestSeriesTakesFacts(t *testing.T) {
	const minute = int64(time.Minute / time.Millisecond)
	items := func(quantity int64) domain.Items {
		return domain.ItemsOf(domain.Item{Section: "general", Quantity: quantity, UnitPrice: 10})
	}
	var of seriesPartition
	for _, f := range []domain.Fact{
		{Type: domain.FactHeld, AtMillis: minute, Items: items(9)},
		{Type: domain.FactConfirmed, AtMillis: minute + 1, Items: items(2)},
		{Type: domain.FactConfirmed, AtMillis: 2*minute - 1, Items: items(3)},
		{Type: domain.FactRejected, AtMillis: 2*minute - 1, Items: items(4), Reason: domain.ReasonSoldOut},
		{Type: domain.FactRejected, AtMillis: 2*minute - 1, Items: items(5), Reason: domain.ReasonInvalid},
		{Type: domain.FactCancelled, AtMillis: 3 * minute, Items: items(2), Was: domain.OrderHeld},
		{Type: domain.FactChanged, AtMillis: 3 * minute, Items: items(1), Taken: items(2), Was: domain.OrderConfirmed},
		{Type: domain.FactReduced, AtMillis: 3*minute + 5, Items: items(1), Was: domain.OrderConfirmed},
		{Type: domain.FactReduced, AtMillis: 3*minute + 5, Items: items(1), Was: domain.OrderHeld},
		{Type: domain.FactCancelled, AtMillis: 9 * minute, Items: items(3), Was: domain.OrderConfirmed},
	} {
		f.EventID = "e"
		of.take(&f)
	}
	want := []Minute{
		{AtMillis: minute, Orders: 2, TicketsSold: 5, Revenue: 50, Refused: 4},
		{AtMillis: 3 * minute, TicketsSold: 2, Revenue: 20, TicketsReturned: 2, RevenueReturned: 20},
		{AtMillis: 9 * minute, OrdersCancelled: 1, TicketsReturned: 3, RevenueReturned: 30},
	}
	if !reflect.DeepEqual(of.of["e"], want) || of.minutes != 3 {
		t.Errorf("%d minutes, %+v", of.minutes, of.of["e"])
	}
	of.take(&domain.Fact{Type: domain.FactConfirmed, EventID: "before", AtMillis: minute, Items: items(1)})
	of.forget()
	if !reflect.DeepEqual(of.of, map[string][]Minute{"e": want[2:]}) || of.minutes != 1 || of.since <= 3*minute || of.since > 9*minute {
		t.Errorf("%d minutes since %d, %+v", of.minutes, of.since, of.of)
	}
	of.take(&domain.Fact{Type: domain.FactConfirmed, EventID: "late", AtMillis: minute, Items: items(1)})
	if of.of["late"] != nil {
		t.Error("what was before is known again")
	}
}
