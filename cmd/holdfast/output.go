package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"holdfast/domain"
)

// printer writes results: as JSON, one object a line, or the same as a table.
// The first error of writing stays until flush returns it.
type printer struct {
	buffered *bufio.Writer
	json     *json.Encoder     // nil for a table
	table    *tabwriter.Writer // nil for JSON
	columns  []string          // of a list to which nothing has been written: beside an error, they would say that it is empty
	err      error
}

// cellWidth is what columns are wide at least, so that tables that are written
// bit by bit hang together.
const cellWidth = 12

// printer begins a list with these columns, or, without any, a sheet.
func (e *environment) printer(columns ...string) *printer {
	p := &printer{buffered: bufio.NewWriter(e.stdout)}
	if e.json {
		p.json = json.NewEncoder(p.buffered)
		p.json.SetEscapeHTML(false)
		return p
	}
	p.table = tabwriter.NewWriter(p.buffered, cellWidth, 8, 2, ' ', 0)
	p.columns = columns
	return p
}

// header writes the columns, unless they have been.
func (p *printer) header() {
	if columns := p.columns; len(columns) > 0 {
		p.columns = nil
		p.line(strings.ToUpper(strings.Join(columns, "\t")))
	}
}

func (p *printer) line(text string) {
	p.header()
	if p.err == nil {
		_, p.err = io.WriteString(p.table, text+"\n")
	}
}

// row writes object, or its cells.
func (p *printer) row(object any, cells ...string) {
	if p.json != nil {
		if p.err == nil {
			p.err = p.json.Encode(object)
		}
		return
	}
	shown := make([]string, len(cells))
	for i, cell := range cells {
		shown[i] = printable(cell)
	}
	p.line(strings.Join(shown, "\t"))
}

// sheet writes one object, or its names and values, a pair a line.
func (p *printer) sheet(object any, pairs ...string) {
	if p.json != nil {
		p.row(object)
		return
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		p.row(nil, pairs[i], pairs[i+1])
	}
}

// section begins another table below, of details that JSON has inside its
// object. It reports whether there is a table at all.
func (p *printer) section(columns ...string) bool {
	if p.table == nil {
		return false
	}
	p.line("")
	p.columns = columns
	p.header()
	return true
}

// note writes a line for people, below a table.
func (p *printer) note(text string) {
	if p.table != nil {
		p.line(text)
	}
}

// flush hands on everything so far.
func (p *printer) flush() error {
	if p.table != nil && p.err == nil {
		p.err = p.table.Flush()
	}
	if p.err == nil {
		p.err = p.buffered.Flush()
	}
	if p.err != nil {
		return fmt.Errorf("writing the output: %w", p.err)
	}
	return nil
}

// end is flush after a list that ended with err. If it is empty, its header says so.
func (p *printer) end(err error) error {
	if err == nil && p.table != nil {
		p.header()
	}
	flushErr := p.flush()
	if err == nil || p.err != nil && errors.Is(err, p.err) {
		return flushErr
	}
	return err
}

// printable is a table cell that moves no cursor and breaks no line.
func printable(cell string) string {
	if cell == "" {
		return "-"
	}
	if !utf8.ValidString(cell) || strings.ContainsFunc(cell, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(cell)
	}
	return cell
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

// money is an amount with its currency; an order that never had a price has none.
func money(minorUnits int64, currency string) string {
	if currency == "" {
		return ""
	}
	return domain.FormatAmount(minorUnits, currency) + " " + currency
}

// when is a time, empty if it is not set.
func when(millis int64) string { return formatTime(millis, time.RFC3339) }

// whenExactly has milliseconds.
func whenExactly(millis int64) string { return formatTime(millis, "2006-01-02T15:04:05.000Z07:00") }

func formatTime(millis int64, layout string) string {
	if millis == 0 {
		return ""
	}
	return time.UnixMilli(millis).Local().Format(layout)
}

func duration(millis int64) string {
	return (time.Duration(millis) * time.Millisecond).String()
}
