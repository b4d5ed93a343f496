package layout

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"holdfast/domain"
)

// ParseNetstrings reads the fields of a dead letter: length ':' bytes ','.
// Its error does not repeat them: there may be a payment token among them.
func ParseNetstrings(s string) ([]string, error) {
	var fields []string
	for rest := s; rest != ""; {
		digits, after, found := strings.Cut(rest, ":")
		n, err := strconv.Atoi(digits)
		if !found || err != nil || n < 0 || n >= len(after) || after[n] != ',' {
			return nil, domain.WithClass(domain.ClassPoison, errors.New("fields of a dead letter are damaged"))
		}
		fields = append(fields, after[:n])
		rest = after[n+1:]
	}
	return fields, nil
}

// DeadLetter is an entry that was set aside, as scripts/dead_letter.lua writes it.
type DeadLetter struct {
	Partition  int
	LetterID   string // in the stream of dead letters
	Stream     string
	Group      string
	EntryID    string
	Reason     string
	Deliveries int64
	AtMillis   int64
	Fields     []string // as they were, the payment token and all
	Order      string   // event_id/order_id: beside that order stands a note of it, unless newer ones displaced it; empty if it never had one
}

// ID names a dead letter to people: partition:entry id.
func (l DeadLetter) ID() string { return strconv.Itoa(l.Partition) + ":" + l.LetterID }

// DecodeDeadLetter reads an entry of a partition's stream of dead letters.
func DecodeDeadLetter(p int, e domain.Entry) (DeadLetter, error) {
	letter := DeadLetter{Partition: p, LetterID: e.ID}
	n := numbers{}
	for i := 0; i+1 < len(e.Fields); i += 2 {
		value := e.Fields[i+1]
		switch e.Fields[i] {
		case "stream":
			letter.Stream = value
		case "group":
			letter.Group = value
		case "entry_id":
			letter.EntryID = value
		case "reason":
			letter.Reason = value
		case "deliveries":
			letter.Deliveries = n.parse(value)
		case "at":
			letter.AtMillis = n.parse(value)
		case "order":
			letter.Order = value
		case "fields":
			var err error
			if letter.Fields, err = ParseNetstrings(value); err != nil {
				return letter, err
			}
		}
	}
	if n.err != nil {
		return letter, domain.WithClass(domain.ClassPoison, fmt.Errorf("dead letter %s is damaged: %w", letter.ID(), n.err))
	}
	return letter, nil
}

// DecodeNotes reads what stands beside an order about its requests that are set aside,
// as scripts/dead_letter.lua writes it: a line for each, the oldest first. displaced is how
// many older letters have no line any more.
func DecodeNotes(value string) (notes []domain.SetAside, displaced int64, err error) {
	if value == "" {
		return nil, 0, nil
	}
	damaged := domain.WithClass(domain.ClassPoison, errors.New("a note of what is set aside is damaged"))
	lines := strings.Split(value, "\n")
	if n, is := strings.CutPrefix(lines[0], "displaced "); is {
		if displaced, err = strconv.ParseInt(n, 10, 64); err != nil || displaced <= 0 || strconv.FormatInt(displaced, 10) != n {
			return nil, 0, damaged
		}
		if lines = lines[1:]; len(lines) == 0 {
			return nil, displaced, nil
		}
	}
	notes = make([]domain.SetAside, len(lines))
	for i, line := range lines {
		parts := strings.SplitN(line, " ", 4)
		if len(parts) != 4 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
			return nil, 0, damaged
		}
		notes[i] = domain.SetAside{DeadID: parts[0], EntryID: parts[1], Type: domain.RequestType(parts[2]), Reason: parts[3]}
		if parts[2] == "-" {
			notes[i].Type = ""
		}
	}
	return notes, displaced, nil
}
