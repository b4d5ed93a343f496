package main

import (
	"errors"
	"fmt"
	"strconv"
)

// tableLimit is how many rows a table has at most if nobody says. JSON has no limit then.
const tableLimit = 100

// limitFlag is a number of rows.
type limitFlag struct {
	given bool
	most  int // 0: no limit
}

// UnmarshalText reads the flag.
func (f *limitFlag) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 0 {
		return fmt.Errorf("want a number, or 0 for no limit, but got %q", text)
	}
	*f = limitFlag{true, n}
	return nil
}

// limitedRows are those of a list of which there may be more. They are written as they come.
type limitedRows struct {
	out      *printer
	progress *progress // is cleared before rows are written
	most     int
	written  int
	more     bool // than were written
}

func (e *environment) limited(out *printer, progress *progress, limit limitFlag) *limitedRows {
	if !limit.given && !e.json {
		limit.most = tableLimit
	}
	return &limitedRows{out: out, progress: progress, most: limit.most}
}

// errEnough ends a list that has reached its limit.
var errEnough = errors.New("enough")

// rowsAtOnce is how many rows are kept back at most.
const rowsAtOnce = 500

func (r *limitedRows) row(object any, cells ...string) error {
	if r.most > 0 && r.written == r.most {
		r.more = true
		return errEnough
	}
	r.out.row(object, cells...)
	if r.written++; r.written%rowsAtOnce == 0 {
		r.progress.clear()
		return r.out.flush()
	}
	return r.out.err
}

// end is the printer's, with a word about what is not there.
func (r *limitedRows) end(err error) error {
	r.progress.clear()
	if errors.Is(err, errEnough) {
		err = nil
	}
	if r.more {
		r.out.note(fmt.Sprintf("(the first %d; there are more: --limit N, 0 for all)", r.most))
	}
	return r.out.end(err)
}
