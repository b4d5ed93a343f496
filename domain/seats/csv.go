package seats

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The columns of a file of seats. Its first line names them, in any order; row and seat must be there.
const (
	columnRow        = "row"
	columnSeat       = "seat"
	columnAllocation = "allocation"
	columnBlocked    = "blocked"
	columnAisleAfter = "aisle after"
)

var columns = []string{columnRow, columnSeat, columnAllocation, columnBlocked, columnAisleAfter}

// ReadCSV reads a section's seats, a line each: rows from best to worst, and in a row the seats as they stand side
// by side, whatever their numbers. The text is UTF-8 with commas, with or without a byte order mark; lines may end
// as they do on Windows.
// An error names the line and the column.
func ReadCSV(text []byte) (*Layout, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if err := checkLines(text); err != nil {
		return nil, err
	}
	f := file{csv: csv.NewReader(bytes.NewReader(text)), seen: make(map[string]map[int32]bool)}
	header, err := f.csv.Read()
	if err != nil {
		return nil, f.said(err)
	}
	if err := f.header(header); err != nil {
		return nil, err
	}
	for {
		cells, err := f.csv.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, f.said(err)
		}
		if err := f.seat(cells); err != nil {
			return nil, err
		}
	}
	if len(f.rows) == 0 {
		return nil, errors.New("line 2: want a seat a line")
	}
	for _, row := range f.rows {
		row.Seats[len(row.Seats)-1].AisleAfter = false // there is nothing to be parted from
	}
	return newLayout(f.rows, f.allocations), nil
}

// checkLines finds what a reader of CSV would pass over, or take for something else.
func checkLines(text []byte) error {
	if bytes.HasPrefix(text, []byte{0xff, 0xfe}) || bytes.HasPrefix(text, []byte{0xfe, 0xff}) || bytes.IndexByte(text, 0) >= 0 {
		return errors.New("line 1, column 1: the text is UTF-16 or binary: want UTF-8")
	}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if !utf8.Valid(line) {
			column := 1
			for rest := line; ; column++ {
				r, size := utf8.DecodeRune(rest)
				if r == utf8.RuneError && size == 1 {
					return fmt.Errorf("line %d, character %d: the text is in another encoding than UTF-8", number, column)
				}
				rest = rest[size:]
			}
		}
		if i := bytes.IndexByte(bytes.TrimRight(line, "\r\n"), '\r'); i >= 0 {
			return fmt.Errorf("line %d, character %d: a carriage return alone: want lines that end with a line feed", number, utf8.RuneCount(line[:i])+1)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			return fmt.Errorf("line %d: is empty", number)
		}
	}
	if number == 0 {
		return errors.New("line 1: want the names of the columns, such as row,seat")
	}
	return nil
}

// file is what was read so far.
type file struct {
	csv         *csv.Reader
	at          [5]int // where each of columns is; -1: nowhere
	rows        []Row
	seen        map[string]map[int32]bool
	allocations []string
	seats       int
}

// said is an error of reading CSV, in our words.
func (f *file) said(err error) error {
	var parse *csv.ParseError
	switch {
	case errors.Is(err, csv.ErrFieldCount) && errors.As(err, &parse):
		return fmt.Errorf("line %d: want %d columns, as in line 1", parse.Line, f.csv.FieldsPerRecord)
	case errors.As(err, &parse):
		return fmt.Errorf("line %d, character %d: %w", parse.Line, parse.Column, parse.Err)
	}
	return err
}

func (f *file) header(names []string) error {
	for i := range f.at {
		f.at[i] = -1
	}
	for i, name := range names {
		known := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), "_", " ")
		n := slices.Index(columns, known)
		switch {
		case n < 0 && strings.ContainsAny(name, ";\t"):
			return fmt.Errorf("line 1, column %d: want columns parted by commas", i+1)
		case n < 0:
			return fmt.Errorf("line 1, column %d: %q is none of %s", i+1, name, strings.Join(columns, ", "))
		case f.at[n] >= 0:
			return fmt.Errorf("line 1, column %d: %q was named before", i+1, known)
		}
		f.at[n] = i
	}
	for n, name := range []string{columnRow, columnSeat} {
		if f.at[n] < 0 {
			return fmt.Errorf("line 1: the column %q is missing", name)
		}
	}
	return nil
}

// cell is what a line says in a column; empty where there is none.
func (f *file) cell(cells []string, column string) string {
	i := f.at[slices.Index(columns, column)]
	if i < 0 {
		return ""
	}
	return strings.TrimSpace(cells[i])
}

// wrong is an error about a column of the line that was read last.
func (f *file) wrong(column, format string, args ...any) error {
	i := f.at[slices.Index(columns, column)]
	line, _ := f.csv.FieldPos(i)
	return fmt.Errorf("line %d, column %d (%s): %w", line, i+1, column, fmt.Errorf(format, args...))
}

func (f *file) seat(cells []string) error {
	name, number := f.cell(cells, columnRow), f.cell(cells, columnSeat)
	n, ok := parseNumber(number)
	switch {
	case name == "":
		return f.wrong(columnRow, "is empty")
	case !validRow(name):
		return f.wrong(columnRow, "%q: want 1 to %d letters and digits", name, MaxRowName)
	case number == "":
		return f.wrong(columnSeat, "is empty")
	case !ok:
		return f.wrong(columnSeat, "%q: want a number from 1 to %d, without leading zeros", number, MaxSeatNumber)
	case f.seen[name][n]:
		return f.wrong(columnSeat, "%s-%d was there before", name, n)
	case f.seats == MaxSeats:
		return f.wrong(columnSeat, "%w", errTooMany)
	}
	if len(f.rows) == 0 || f.rows[len(f.rows)-1].Name != name {
		if f.seen[name] != nil {
			return f.wrong(columnRow, "row %s was there before, and ended with another row", name)
		}
		f.rows = append(f.rows, Row{Name: name})
		f.seen[name] = make(map[int32]bool)
	}
	mark, err := f.mark(cells)
	if err != nil {
		return err
	}
	aisle, err := f.yes(cells, columnAisleAfter)
	if err != nil {
		return err
	}
	f.seen[name][n] = true
	f.seats++
	row := &f.rows[len(f.rows)-1]
	row.Seats = append(row.Seats, Seat{Number: n, Mark: mark, AisleAfter: aisle})
	return nil
}

// mark is what the place of a line's seat begins with.
func (f *file) mark(cells []string) (byte, error) {
	blocked, err := f.yes(cells, columnBlocked)
	if err != nil {
		return 0, err
	}
	name, allocation := f.cell(cells, columnAllocation), 0
	if name != "" && name != Public {
		if allocation = slices.Index(f.allocations, name) + 1; allocation == 0 {
			switch {
			case !validAllocation(name):
				return 0, f.wrong(columnAllocation, "%q: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", name, maxAllocationName)
			case len(f.allocations) == MaxAllocations:
				return 0, f.wrong(columnAllocation, "%q: want at most %d allocations", name, MaxAllocations)
			}
			f.allocations = append(f.allocations, name)
			allocation = len(f.allocations)
		}
	}
	if blocked {
		return BlockedMark(allocation), nil
	}
	return FreeMark(allocation), nil
}

func (f *file) yes(cells []string, column string) (bool, error) {
	said := strings.ToLower(f.cell(cells, column))
	switch said {
	case "", "no":
		return false, nil
	case "yes":
		return true, nil
	}
	yes, err := strconv.ParseBool(said)
	if err != nil {
		return false, f.wrong(column, "%q: want yes or no", said)
	}
	return yes, nil
}
