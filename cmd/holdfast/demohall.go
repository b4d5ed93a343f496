package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"holdfast/domain"
	"holdfast/domain/seats"
	"holdfast/payments/simulator"
)

// The hall of the demo: six rows with two aisles, of which the house keeps four seats, and eight are for fans who have a code.
const (
	hallEvent   = "ballet"
	hallSection = "stalls"
	hallRows    = "fans;A:1-6/7-10.11-14!.15-18/19-24,B:1-6/7-18/19-24,C,D:1-6/7-8.9-16a.17-18/19-24,E:1-6/7-18/19-24,F"
	hallFans    = "fans"
	hallCode    = "early-bird"
	hallRush    = 80 // customers
	hallPresale = 1500 * time.Millisecond
)

// hallKeys are what the demo's workers hash access codes with.
var hallKeys = domain.CodeKeys{"a key for this demo alone"}

// hall is a rush for the seats of a small hall.
func (d *demo) hall(ctx context.Context, c *demoCommand) error {
	layout, err := seats.Parse(hallRows)
	if err != nil {
		return err
	}
	d.say("\n4. A hall of %d seats, of which the house keeps four and eight are for fans: a presale for whoever has a code,\n   then some customers choose theirs, and %d want the best that are left, side by side\n", layout.Seats(), hallRush)
	now, err := d.store.Now(ctx)
	if err != nil {
		return err
	}
	opens := now.Add(hallPresale)
	terms := domain.Terms{Name: "The Ballet", Currency: "EUR", OnSaleMillis: opens.UnixMilli(), Sections: []domain.SectionTerms{
		{Name: hallSection, Price: 4500, Capacity: int64(layout.Seats()), Layout: layout.String()},
	}}.WithAllocations(hallSection, layout)
	terms.Allocations[0].OnSaleMillis = now.UnixMilli()
	if terms, err = terms.OpenedBy(hallFans, 1, hallKeys.Hashes(hallEvent, hallCode)...); err != nil {
		return err
	}
	if _, err := d.store.Events().Create(ctx, hallEvent, terms); err != nil {
		return err
	}
	before, err := d.drawHall(ctx, layout)
	if err != nil {
		return err
	}
	if err := d.presale(ctx, opens); err != nil {
		return err
	}
	if err := d.chooseSeats(ctx); err != nil {
		return err
	}
	if err := d.rushHall(ctx, c); err != nil {
		return err
	}
	if err := d.changeMinds(ctx, layout); err != nil {
		return err
	}
	after, err := d.drawHall(ctx, layout)
	if err != nil {
		return err
	}
	for i := range before {
		d.say("  %s     %s", before[i], after[i])
	}
	d.say("\n  %s", explainSeats(layout.Allocations()))
	counts, err := d.countOrders(ctx, []string{hallEvent})
	if err != nil {
		return err
	}
	d.say("  confirmed %d, declined %d, not so many left side by side %d, taken %d, sold out %d", counts.states[domain.OrderConfirmed], counts.states[domain.OrderDeclined],
		counts.reasons[domain.ReasonNoAdjacent], counts.reasons[domain.ReasonSeatTaken], counts.reasons[domain.ReasonSoldOut])
	return nil
}

// drawHall is a picture of the hall as it is now.
func (d *demo) drawHall(ctx context.Context, layout *seats.Layout) ([]string, error) {
	event, err := d.store.Events().Get(ctx, hallEvent)
	if err != nil {
		return nil, err
	}
	section, _ := event.Section(hallSection)
	return drawSeats(layout, len(event.SeatAllocations(hallSection)), section.Places)
}

// presale is three fans before all others may buy: one without a code, one with it, and one with the same, which is good for one order. It
// waits until all may.
func (d *demo) presale(ctx context.Context, opens time.Time) error {
	for i, code := range []domain.Secret{"", hallCode, hallCode} {
		r := domain.Request{
			Type: domain.RequestHold, EventID: hallEvent, CustomerID: []string{"jane", "mary", "bob"}[i], Section: hallSection, Quantity: 2, Allocation: hallFans, AccessCode: code,
		}
		if err := d.want(ctx, r, fmt.Sprintf("two seats for fans, %s", []string{"without a code", "with a code", "with the code that mary has used"}[i])); err != nil {
			return err
		}
	}
	d.say("")
	return until(ctx, 20*time.Millisecond, func() (bool, error) {
		now, err := d.store.Now(ctx)
		return now.After(opens), err
	})
}

// want says what becomes of a request.
func (d *demo) want(ctx context.Context, r domain.Request, what string) error {
	receipt, err := d.publish.Publish(ctx, r)
	if err != nil {
		return err
	}
	outcome, err := d.publish.WaitFor(ctx, receipt)
	if err != nil {
		return err
	}
	said := outcome.Order.State.String()
	if o := outcome.Order; o.Reason != "" {
		said += " (" + strings.TrimSuffix(o.Reason+": "+o.Detail, ": ") + ")"
	}
	d.say("  %s wants %s: %s", r.CustomerID, what, said)
	return nil
}

// chooseSeats is three customers who want certain seats, the last of them some that are gone.
func (d *demo) chooseSeats(ctx context.Context) error {
	for i, names := range [][]string{{"C-11", "C-12", "C-13", "C-14"}, {"B-12", "B-13"}, {"B-13", "B-14"}} {
		r := domain.Request{
			Type: domain.RequestHold, EventID: hallEvent, CustomerID: []string{"fred", "amy", "jim"}[i], Section: hallSection, Seats: names,
		}
		r.OrderID = r.CustomerID + "-1"
		if err := d.want(ctx, r, strings.Join(names, " ")); err != nil {
			return err
		}
	}
	return nil
}

// changeMinds is what is not the end with a sale: one customer pays when a first card was declined, and gives a seat back; another one takes
// other seats, if two side by side are left.
func (d *demo) changeMinds(ctx context.Context, layout *seats.Layout) error {
	ask := func(r domain.Request) (domain.Order, error) {
		r.EventID = hallEvent
		receipt, err := d.publish.Publish(ctx, r)
		if err != nil {
			return domain.Order{}, err
		}
		outcome, err := d.publish.WaitFor(ctx, receipt)
		if err == nil && outcome.Refused != "" {
			err = fmt.Errorf("%s of %s is refused: %s %s", r.Type, r.OrderID, outcome.Refused, outcome.Detail)
		}
		return outcome.Order, err
	}
	pay := domain.Request{Type: domain.RequestPay, OrderID: "fred-1", PaymentToken: simulator.DeclineTokenPrefix + "_fred", Attempt: 1}
	paid, err := ask(pay)
	if err != nil {
		return err
	}
	d.say("\n  fred pays with a card that is declined: %s", paid.State)
	// The gateway of the rush declines some, whoever they are.
	for err == nil && paid.State == domain.OrderHeld && pay.Attempt < domain.MaxAttempts {
		pay.PaymentToken = "tok_fred"
		pay.Attempt++
		paid, err = ask(pay)
	}
	if err != nil {
		return err
	}
	items := []domain.RequestItem{{Section: hallSection, Seats: []string{"C-14"}}}
	reduced, err := ask(domain.Request{Type: domain.RequestCancel, OrderID: "fred-1", Change: 1, Items: items})
	if err != nil {
		return err
	}
	d.say("  fred pays %s with another card: %s; then gives C-14 back, and gets %s back", money(paid.Amount(), paid.Currency), paid.State, money(reduced.RefundTotal(), reduced.Currency))

	event, err := d.store.Events().Get(ctx, hallEvent)
	if err != nil {
		return err
	}
	section, _ := event.Section(hallSection)
	left, reason, _ := seats.Choose(section.Places, seats.Wish{Free: seats.FreeMark(0), Quantity: 2, Adjacent: true})
	if reason != "" {
		d.say("  amy would like other seats, but no two are left side by side\n")
		return nil
	}
	names, err := layout.Names(seats.FormatPlaces(left))
	if err != nil {
		return err
	}
	moved, err := ask(domain.Request{Type: domain.RequestChange, OrderID: "amy-1", Change: 1, Items: []domain.RequestItem{{Section: hallSection, Seats: names}}})
	if err != nil {
		return err
	}
	d.say("  amy changes B-12 B-13 for %s: %s until the same deadline\n", strings.Join(names, " "), moved.State)
	return nil
}

// rushHall is many customers at once who take what they get, and waits until all of them know.
func (d *demo) rushHall(ctx context.Context, c *demoCommand) error {
	random := rand.New(rand.NewPCG(c.Seed, 4))
	var requests []domain.Request
	for i := range hallRush {
		r := purchaseOf(hallEvent, fmt.Sprintf("visitor-%02d", i), 1+random.Int64N(4))
		r.OrderID, r.Section = fmt.Sprintf("visit-%02d", i), hallSection
		requests = append(requests, r)
	}
	for _, result := range d.publish.PublishBatch(ctx, requests) {
		if result.Err != nil {
			return result.Err
		}
	}
	return until(ctx, 50*time.Millisecond, func() (bool, error) {
		counts, err := d.countOrders(ctx, []string{hallEvent})
		return counts.states[domain.OrderHeld] == 3 && counts.done == hallRush+3, err // three hold seats, three were refused
	})
}
