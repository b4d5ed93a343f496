package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"holdfast/domain"
	"holdfast/domain/seats"
)

// The hall of the demo: six rows with two aisles, of which the house keeps four seats.
const (
	hallEvent   = "ballet"
	hallSection = "stalls"
	hallRows    = "A:1-6/7-10.11-14!.15-18/19-24,B:1-6/7-18/19-24,C,D,E,F"
	hallRush    = 80 // customers
)

// hall is a rush for the seats of a small hall.
func (d *demo) hall(ctx context.Context, c *demoCommand) error {
	layout, err := seats.Parse(hallRows)
	if err != nil {
		return err
	}
	d.say("\n4. A hall of %d seats, of which the house keeps four: some customers choose theirs, %d want the best\n   that are left, side by side\n", layout.Seats(), hallRush)
	_, err = d.store.Events().Create(ctx, hallEvent, domain.Terms{Name: "The Ballet", Currency: "EUR", Sections: []domain.SectionTerms{
		{Name: hallSection, Price: 4500, Capacity: int64(layout.Seats()), Layout: layout.String()},
	}})
	if err != nil {
		return err
	}
	before, err := d.drawHall(ctx, layout)
	if err != nil {
		return err
	}
	if err := d.chooseSeats(ctx); err != nil {
		return err
	}
	if err := d.rushHall(ctx, c); err != nil {
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

// chooseSeats is three customers who want certain seats, the last of them some that are gone. It waits until the payments are approved.
func (d *demo) chooseSeats(ctx context.Context) error {
	for i, names := range [][]string{{"C-11", "C-12", "C-13", "C-14"}, {"B-12", "B-13"}, {"B-13", "B-14"}} {
		r := domain.Request{
			Type: domain.RequestHold, EventID: hallEvent, CustomerID: []string{"fred", "amy", "jim"}[i], Section: hallSection, Seats: names,
		}
		receipt, err := d.publish.Publish(ctx, r)
		if err != nil {
			return err
		}
		outcome, err := d.publish.WaitFor(ctx, receipt)
		if err != nil {
			return err
		}
		said := outcome.Order.State.String()
		if outcome.Order.Reason != "" {
			said += fmt.Sprintf(" (%s: %s)", outcome.Order.Reason, outcome.Order.Detail)
		}
		d.say("  %s wants %s: %s", r.CustomerID, strings.Join(names, " "), said)
	}
	d.say("")
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
		return counts.states[domain.OrderHeld] == 2 && counts.done == hallRush+1, err // two hold seats, one was refused
	})
}
