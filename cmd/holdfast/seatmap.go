package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/domain"
	"holdfast/domain/seats"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

type eventsSeatsCommand struct {
	EventID string   `arg:"" name:"event_id" help:"The event."`
	Section []string `placeholder:"NAME" help:"Only this section. Several are said with commas, or with the flag again."`
	Orders  bool     `help:"List also which order holds or has which seats; JSON says that of each seat."`
}

// Help is shown by --help.
func (c *eventsSeatsCommand) Help() string {
	return `
A picture of each section, a line for each row, from the best to the worst; and who has what:

  holdfast events seats ballet
  holdfast events seats ballet --section stalls --orders
  holdfast events seats ballet -o json

JSON is an object for each seat: section, row, seat, state (free, held, sold or blocked), allocation, order_id. What the
seats are is of one moment. Which orders they are of is read after that, from the log: where an order has ended meanwhile,
its seats have no order_id, or that of an order that has taken them since.
`
}

func (c *eventsSeatsCommand) Run(ctx context.Context, e *environment) error {
	return aboutEvent(c.EventID, e.withStore(ctx, func(store *streams.Store) error {
		event, err := store.Events().Get(ctx, c.EventID)
		if err != nil {
			return err
		}
		sections, err := c.sections(event)
		if err != nil {
			return err
		}
		var holders map[string]map[int]seatHolder
		if c.Orders || e.json {
			if holders, err = e.seatHolders(ctx, store, c.EventID); err != nil {
				return err
			}
		}
		out := e.printer()
		for i, s := range sections {
			layout, err := seats.Parse(s.Layout)
			if err != nil {
				return fmt.Errorf("section %s: %w", s.Name, err)
			}
			views, err := viewSeats(s.Name, layout, event.SeatAllocations(s.Name), s.Places, holders[s.Name])
			if err != nil {
				return fmt.Errorf("section %s: %w", s.Name, err)
			}
			if e.json {
				for _, v := range views {
					out.row(v)
				}
				continue
			}
			lines, err := drawSeats(layout, len(event.SeatAllocations(s.Name)), s.Places)
			if err != nil {
				return fmt.Errorf("section %s: %w", s.Name, err)
			}
			if i > 0 {
				out.note("")
			}
			n := seats.Count(s.Places)
			out.note(fmt.Sprintf("section %s, %s: %d free, %d held, %d sold, %d blocked", s.Name, money(s.Price, event.Currency),
				n[seats.StateFree], n[seats.StateHeld], n[seats.StateSold], n[seats.StateBlocked]))
			out.note("")
			for _, line := range lines {
				out.note(line)
			}
			out.note("")
			out.note(explainSeats(event.SeatAllocations(s.Name)))
			if c.Orders && out.section("seats", "state", "order_id") {
				for _, cells := range seatsByOrder(views) {
					out.row(nil, cells...)
				}
			}
		}
		return out.flush()
	}))
}

// sections are the seated ones that are asked for.
func (c *eventsSeatsCommand) sections(event domain.Event) (list []domain.Section, err error) {
	for _, name := range c.Section {
		switch s, there := event.Section(name); {
		case !there:
			return nil, domain.WithCode(domain.ClassReject, domain.CodeNotFound, fmt.Errorf("section %s: %w", name, domain.ErrNotFound))
		case s.Layout == "":
			return nil, domain.WithClass(domain.ClassReject, fmt.Errorf("section %s: has places, and no seats", name))
		}
	}
	for _, s := range event.Sections {
		if s.Layout != "" && (len(c.Section) == 0 || slices.Contains(c.Section, s.Name)) {
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		return nil, domain.WithClass(domain.ClassReject, fmt.Errorf("event %s: no section has seats", c.EventID))
	}
	return list, nil
}

// seatHolders are the orders of an event that hold or have seats, by section and place. Where two orders say the same seat, the
// first has given it back since it was read: the later one counts.
func (e *environment) seatHolders(ctx context.Context, store *streams.Store, eventID string) (map[string]map[int]seatHolder, error) {
	orders := inspect.New(store)
	filter := inspect.OrderFilter{EventID: eventID, States: []domain.OrderState{domain.OrderHeld, domain.OrderConfirmed}, OldestFirst: true}
	entries, err := orders.LogEntries(ctx, filter)
	if err != nil {
		return nil, err
	}
	read := e.progressOf("log entries read", entries)
	defer read.clear()
	filter.Progress = read.add
	holders := make(map[string]map[int]seatHolder)
	err = orders.EachOrder(ctx, filter, func(ref domain.OrderRef, o domain.Order) error {
		for item := range o.Items.All() {
			if item.Places == "" {
				continue
			}
			places, err := seats.ParsePlaces(item.Places)
			if err != nil {
				return fmt.Errorf("order %s: section %s: %w", ref, item.Section, err)
			}
			section, allocation := domain.SplitPool(item.Section)
			of := holders[section]
			if of == nil {
				of = make(map[int]seatHolder)
				holders[section] = of
			}
			for _, place := range places {
				of[place] = seatHolder{ref.OrderID, allocation}
			}
		}
		return nil
	})
	return holders, err
}

// seatsByOrder are rows of a table, one for each order, as its first seat stands.
func seatsByOrder(views []seatView) (rows [][]string) {
	at := make(map[string]int)
	for _, v := range views {
		if v.State != seats.StateHeld.String() && v.State != seats.StateSold.String() {
			continue
		}
		key := v.OrderID + " " + v.State
		i, there := at[key]
		if !there {
			i = len(rows)
			at[key] = i
			rows = append(rows, []string{"", v.State, v.OrderID})
		}
		rows[i][0] = strings.TrimPrefix(rows[i][0]+" "+v.Row+"-"+strconv.Itoa(int(v.Seat)), " ")
	}
	return rows
}

// drawSeats is a picture of a section: a line for each row, the best first, with its name, the number of its first seat, a
// character for each seat, and the number of its last.
func drawSeats(l *seats.Layout, allocations int, places string) ([]string, error) {
	if err := l.CheckPlaces(places, allocations); err != nil {
		return nil, err
	}
	name, first, picture := 0, 0, 0 // how wide they are
	rows := strings.Split(places, string(seats.RowEnd))
	for i, row := range l.Rows() {
		name, first, picture = max(name, len(row.Name)), max(first, len(number(row.Seats[0]))), max(picture, len(rows[i]))
	}
	lines := make([]string, len(rows))
	for i, row := range l.Rows() {
		lines[i] = fmt.Sprintf("%*s  %*s %-*s %s", name, row.Name, first, number(row.Seats[0]), picture, rows[i], number(row.Seats[len(row.Seats)-1]))
	}
	return lines, nil
}

func number(seat seats.Seat) string { return strconv.Itoa(int(seat.Number)) }

// explainSeats says what the characters of a picture mean.
func explainSeats(allocations []string) string {
	said := ". free   - held   + sold   ! blocked"
	for i, name := range allocations {
		said += fmt.Sprintf("   %c %s (%c blocked)", seats.FreeMark(i+1), name, seats.BlockedMark(i+1))
	}
	return said
}

// seatView is a seat of a map in JSON.
type seatView struct {
	Section    string `json:"section"`
	Row        string `json:"row"`
	Seat       int32  `json:"seat"`
	State      string `json:"state"`
	Allocation string `json:"allocation"`
	OrderID    string `json:"order_id"` // who holds or has it
}

// seatHolder is the order that holds or has a seat, and the allocation that the seat was taken of.
type seatHolder struct{ orderID, allocation string }

// viewSeats are all seats of a section, as they stand. Whose each place is that is held or sold is told by holders.
func viewSeats(section string, l *seats.Layout, allocations []string, places string, holders map[int]seatHolder) ([]seatView, error) {
	if err := l.CheckPlaces(places, len(allocations)); err != nil {
		return nil, err
	}
	list := make([]seatView, 0, l.Seats())
	place := 1
	for _, row := range l.Rows() {
		for _, seat := range row.Seats {
			state, _ := seats.StateOf(places[place-1])
			v := seatView{Section: section, Row: row.Name, Seat: seat.Number, State: state.String(), Allocation: seats.Public}
			if n := seats.AllocationOf(places[place-1]); n > 0 {
				v.Allocation = allocations[n-1]
			}
			if holder, ok := holders[place]; ok && (state == seats.StateHeld || state == seats.StateSold) {
				v.OrderID, v.Allocation = holder.orderID, holder.allocation
			}
			list = append(list, v)
			place++
			if seat.AisleAfter {
				place++
			}
		}
		place++
	}
	return list, nil
}
