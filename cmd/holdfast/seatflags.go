package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"holdfast/domain"
	"holdfast/domain/seats"
)

// seatsFlag is NAME=WHAT@PRICE: a seated section, its seats (rows, or a file that lists them) and what one costs. The
// price is read when the currency is known.
type seatsFlag struct{ name, what, price string }

// cut reads the flag. There may be an @ in what, but none in a price.
func (f *seatsFlag) cut(text, like string) error {
	name, value, _ := strings.Cut(text, "=")
	at := max(0, strings.LastIndexByte(value, '@'))
	what, price := value[:at], strings.TrimPrefix(value[at:], "@")
	if name == "" || what == "" || price == "" {
		return fmt.Errorf("want %s, but got %q", like, text)
	}
	*f = seatsFlag{name, what, price}
	return nil
}

// rowsFlag is a section of which the flag itself says the rows.
type rowsFlag struct {
	seatsFlag
	layout *seats.Layout
}

// UnmarshalText reads the flag.
func (f *rowsFlag) UnmarshalText(text []byte) error {
	err := f.cut(string(text), "NAME=ROW:FROM-TO[,ROW:FROM-TO…]@PRICE, such as stalls=A:1-24,B:1-26@45.00")
	if err != nil {
		return err
	}
	if f.layout, err = seats.Parse(f.what); err != nil {
		return fmt.Errorf("section %s: %w", f.name, err)
	}
	return nil
}

// seatsFileFlag is a section of which a file says the rows.
type seatsFileFlag struct{ seatsFlag }

// UnmarshalText reads the flag, and not the file.
func (f *seatsFileFlag) UnmarshalText(text []byte) error {
	return f.cut(string(text), "NAME=FILE@PRICE, such as stalls=stalls.csv@45.00")
}

// seatedFlags are the seated sections of an event.
type seatedFlags struct {
	Rows  []rowsFlag      `sep:"none" placeholder:"NAME=ROW:FROM-TO,…@PRICE" help:"A section with seats, by its rows from the best to the worst: stalls=A:1-24,B:1-12/13-26@45.00, where a slash is an aisle. Give the flag once for each."`
	Seats []seatsFileFlag `sep:"none" placeholder:"NAME=FILE@PRICE" help:"A section with seats, by a CSV file of them. Give the flag once for each."`
}

// terms are the sections that the flags say, in the currency of the event. read is what is in a file.
func (c seatedFlags) terms(currency string, read func(name string) ([]byte, error)) ([]domain.SectionTerms, error) {
	var list []domain.SectionTerms
	there := 0
	add := func(flag string, f seatsFlag, layout *seats.Layout) error {
		price, err := domain.ParseAmount(f.price, currency)
		if err != nil {
			return badUsage("--%s %s: %w", flag, f.name, err)
		}
		if there += layout.Seats(); there > seats.MaxSeats {
			return badUsage("--%s %s: with it all seats are %d, want at most %d", flag, f.name, there, seats.MaxSeats)
		}
		list = append(list, domain.SectionTerms{Name: f.name, Price: price, Capacity: int64(layout.Seats()), Layout: layout.String()})
		return nil
	}
	for _, f := range c.Rows {
		if err := add("rows", f.seatsFlag, f.layout); err != nil {
			return nil, err
		}
	}
	for _, f := range c.Seats {
		text, err := read(f.what)
		if err != nil {
			return nil, badUsage("--seats %s: %w", f.name, err)
		}
		layout, err := seats.ReadCSV(text)
		if err != nil {
			return nil, badUsage("--seats %s: %s: %w", f.name, f.what, err)
		}
		if err := add("seats", f.seatsFlag, layout); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// maxSeatsFile is how large a file of seats may be: many times what the most seats of an event take.
const maxSeatsFile = 32 << 20

// readSeatsFile returns what is in a file of seats.
func readSeatsFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(file, maxSeatsFile+1))
	if err == nil && len(text) > maxSeatsFile {
		err = fmt.Errorf("%s: is larger than %d MB", name, maxSeatsFile>>20)
	}
	return text, err
}
