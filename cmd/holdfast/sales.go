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
	atFlags
}

// Help is shown by --help.
func (c *salesCommand) Help() string {
	return `
What they were at a time, as the archive tells it; Redis is not needed for that. Who was turned away at the door of the API is not archived:

  holdfast sales --at "2026-12-01 10:00" --archive s3://books/holdfast?region=eu-central-1
`
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

// salesOf is what is sold of an event, and was asked for in vain.
func salesOf(id string, event domain.Event, totals inspect.Totals, refused []inspect.RefusedPlaces) salesView {
	v := salesView{EventID: id, Currency: event.Currency, Orders: totals.Orders, TicketsSold: totals.TicketsSold, Revenue: totals.Revenue, RefusedPlaces: append([]inspect.RefusedPlaces{}, refused...)}
	for _, s := range event.Sections {
		v.Available += s.Available
		v.Held += s.Held
	}
	for _, r := range refused {
		v.Refused += r.Places
	}
	return v
}

// salesTable is what sales prints.
type salesTable struct {
	out  *printer
	last salesView
}

func (e *environment) salesTable() *salesTable {
	return &salesTable{out: e.printer("event_id", "name", "orders", "tickets_sold", "revenue", "available", "held", "refused")}
}

func (t *salesTable) row(v salesView, name string) {
	t.last = v
	t.out.row(v, v.EventID, name, count(v.Orders), count(v.TicketsSold), money(v.Revenue, v.Currency), count(v.Available), count(v.Held), count(v.Refused))
}

// details are why places of the only event of the table were refused.
func (t *salesTable) details() {
	if refused := t.last.RefusedPlaces; len(refused) > 0 && t.out.section("section", "reason", "places") {
		for _, r := range refused {
			t.out.row(r, domain.PoolOf(r.Section, r.Allocation), r.Reason, count(r.Places))
		}
	}
}

func (c *salesCommand) Run(ctx context.Context, e *environment) error {
	if c.asked() {
		return c.showThen(ctx, e)
	}
	err := c.showNow(ctx, e)
	if c.isArchived(err) {
		return c.showThen(ctx, e)
	}
	return err
}

// showNow shows the sales as they are.
func (c *salesCommand) showNow(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		if !e.json {
			warnReplaced(ctx, e, store)
		}
		table := e.salesTable()
		show := func(id string, event domain.Event) error {
			totals, err := inspect.New(store).Sales(ctx, id)
			if err != nil {
				return err
			}
			refused, err := inspect.New(store).RefusedDemand(ctx, id, event)
			if err != nil {
				return err
			}
			table.row(salesOf(id, event, totals, refused), event.Name)
			return nil
		}
		if c.EventID == "" {
			return table.out.end(eachEvent(ctx, store, show))
		}
		event, err := store.Events().Get(ctx, c.EventID)
		if err != nil {
			return aboutEvent(c.EventID, err)
		}
		if err = show(c.EventID, event); err == nil {
			table.details()
		}
		return table.out.end(aboutEvent(c.EventID, err))
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
				items, section := []itemView{}, "(archived)"
				if !l.Archived {
					named, err := checkout.SeatNames(ctx, l.EventID, l.Items)
					if err != nil {
						return fmt.Errorf("order %s/%s: %w", l.EventID, l.OrderID, err)
					}
					items = viewItems(l.Items, named)
					section = sectionsText(items)
				}
				err := rows.row(invoiceView{customerID, l, items}, customerID, l.OrderID, l.EventID, section, count(l.Quantity),
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
