package main

import (
	"context"
	"fmt"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

type salesCommand struct {
	EventID string `arg:"" optional:"" name:"event" help:"The event. Default: all."`
}

type salesView struct {
	EventID     string `json:"event_id"`
	Currency    string `json:"currency"`
	Orders      int64  `json:"orders"`
	TicketsSold int64  `json:"tickets_sold"`
	Revenue     int64  `json:"revenue"` // minor units
	Available   int64  `json:"available"`
	Held        int64  `json:"held"`
	Refused     int64  `json:"refused"` // places that were asked for in vain

	RefusedPlaces []inspect.RefusedPlaces `json:"refused_places"`
}

func (c *salesCommand) Run(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		if !e.json {
			warnReplaced(ctx, e, store)
		}
		out := e.printer("event_id", "name", "orders", "tickets_sold", "revenue", "available", "held", "refused")
		var refusals []inspect.RefusedPlaces // of the last event
		show := func(id string, event domain.Event) error {
			totals, err := inspect.New(store).Sales(ctx, id)
			if err != nil {
				return err
			}
			v := salesView{
				EventID: id, Currency: event.Currency,
				Orders: totals.Orders, TicketsSold: totals.TicketsSold, Revenue: totals.Revenue,
			}
			for _, s := range event.Sections {
				v.Available += s.Available
				v.Held += s.Held
			}
			if v.RefusedPlaces, err = inspect.New(store).RefusedDemand(ctx, id, event); err != nil {
				return err
			}
			for _, r := range v.RefusedPlaces {
				v.Refused += r.Places
			}
			refusals = v.RefusedPlaces
			out.row(v, id, event.Name, count(v.Orders), count(v.TicketsSold), money(v.Revenue, v.Currency), count(v.Available), count(v.Held), count(v.Refused))
			return nil
		}
		if c.EventID == "" {
			return out.end(eachEvent(ctx, store, show))
		}
		event, err := store.Events().Get(ctx, c.EventID)
		if err != nil {
			return aboutEvent(c.EventID, err)
		}
		err = show(c.EventID, event)
		if err == nil && len(refusals) > 0 && out.section("section", "reason", "places") {
			for _, r := range refusals {
				out.row(r, domain.PoolOf(r.Section, r.Allocation), r.Reason, count(r.Places))
			}
		}
		return out.end(aboutEvent(c.EventID, err))
	})
}

// warnReplaced says on standard error what whoever reads totals must know.
func warnReplaced(ctx context.Context, e *environment, store *streams.Store) {
	text := ""
	switch replaced, err := inspect.New(store).Replaced(ctx); {
	case err != nil:
		text = "not known whether the data was replaced: " + oneLine(err)
	case replaced != nil:
		text = replacedText(replaced)
	default:
		return
	}
	e.notice(text)
}

type invoicesCommand struct {
	CustomerIDs []string `arg:"" optional:"" name:"customer" help:"The customers."`
	All         bool     `help:"Those of every customer who has any, in no order of the customers."`
}

type invoiceView struct {
	CustomerID string `json:"customer_id"`
	inspect.InvoiceLine
	Items []itemView `json:"items"`
}

func (c *invoicesCommand) Run(ctx context.Context, e *environment) error {
	if c.All == (len(c.CustomerIDs) > 0) {
		return badUsage("name customers, or say --all")
	}
	for _, id := range c.CustomerIDs {
		if !domain.ValidID(id) {
			return badUsage("customer: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", domain.MaxIDLength)
		}
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		out := e.printer("customer_id", "order_id", "event_id", "section", "quantity", "amount", "confirmed_at", "status")
		rows := e.limited(out, &progress{}, limitFlag{given: true})
		checkout := store.Checkout()
		show := func(customerID string, lines []inspect.InvoiceLine) error {
			for _, l := range lines {
				named, err := checkout.SeatNames(ctx, l.EventID, l.Items)
				if err != nil {
					return fmt.Errorf("order %s/%s: %w", l.EventID, l.OrderID, err)
				}
				items := viewItems(l.Items, named)
				err = rows.row(invoiceView{customerID, l, items}, customerID, l.OrderID, l.EventID, sectionsText(items), count(l.Quantity),
					money(l.Amount, l.Currency), when(l.ConfirmedAtMillis), l.Status)
				if err != nil {
					return err
				}
			}
			return nil
		}
		if c.All {
			return rows.end(inspect.New(store).EachInvoices(ctx, show))
		}
		for _, id := range c.CustomerIDs {
			lines, err := inspect.New(store).Invoices(ctx, id)
			if err == nil {
				err = show(id, lines)
			}
			if err != nil {
				return rows.end(err)
			}
		}
		return rows.end(nil)
	})
}
