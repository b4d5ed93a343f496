package archive

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"holdfast/domain"
	"holdfast/domain/wire"
)

// Header is what a segment says of itself.
type Header struct {
	Format int `json:"format"`
	domain.ArchivedNamespace
	Partition int    `json:"partition"`
	Branch    string `json:"branch"`
	// Parent, in the first segment of a branch, is the branch that it goes on from, behind After; empty: none.
	Parent string `json:"parent,omitempty"`
	// After is the entry that comes before the first one: that of the segment before ends there, or, in the first segment of a branch, it is the
	// last that the branch has in common with its parent. "0-0": the log begins here.
	After   string `json:"after"`
	First   string `json:"first"`
	Last    string `json:"last"`
	Entries int    `json:"entries"`
	Facts   int    `json:"facts"`
	// Previous is the key of the segment that has After, and PreviousHash the SHA-256 of its bytes, hex. Empty where there is none.
	Previous     string `json:"previous,omitempty"`
	PreviousHash string `json:"previous_hash,omitempty"`
	// Acknowledged is up to where each group had acknowledged all entries when the segment was written.
	Acknowledged map[domain.Group]string `json:"acknowledged"`
	AtMillis     int64                   `json:"at_ms"` // when, on Redis's clock
	By           string                  `json:"by"`    // the worker
}

// format is that of segments that this program writes.
const format = 1

// headerName is the name under which a segment has its header, as JSON.
const headerName = "holdfast"

// Segment is one that was read, and is what it says.
type Segment struct {
	Key     Key
	Header  Header
	Entries []domain.Entry
	Hash    string // SHA-256 of its bytes, hex
	Size    int    // of the object that it was read of; 0: the same one as that of the segment before

	replaces []*Segment // of a large one: those that it was made of, as they were
}

// Last is the position of its last entry.
func (s *Segment) Last() Position { return position(s.Header.Last) }

// After is the position before its first entry.
func (s *Segment) After() Position { return position(s.Header.After) }

// position reads one that was checked when the segment was read.
func position(id string) Position {
	p, err := ParsePosition(id)
	if err != nil {
		panic(err)
	}
	return p
}

// row is a fact of a segment. The names of its columns are a contract with whoever queries an archive; fields that a fact of this
// type does not have are null.
type row struct {
	EntryID string `parquet:"entry_id"`
	Line    int64  `parquet:"line"`         // of the entry, from 1; 0: the entry is no facts, and stands whole in raw
	Type    string `parquet:"type,dict"`    // of the fact
	Fact    string `parquet:"fact"`         // its line, byte for byte
	Raw     []byte `parquet:"raw,optional"` // names and values of the entry in turn, as netstrings
	At      int64  `parquet:"occurred_at,timestamp(millisecond)"`
	EventID string `parquet:"event_id,dict"` // "" if there is none

	OrderID         *string `parquet:"order_id,optional"`
	CustomerID      *string `parquet:"customer_id,optional"`
	Section         *string `parquet:"section,optional,dict"` // if all of it is of one
	Items           []item  `parquet:"items,list"`
	Quantity        *int64  `parquet:"quantity,optional"` // of its items
	Amount          *int64  `parquet:"amount,optional"`   // likewise, minor units
	Currency        *string `parquet:"currency,optional,dict"`
	Reason          *string `parquet:"reason,optional,dict"`
	AuthorizationID *string `parquet:"authorization_id,optional"`
	Attempt         *int64  `parquet:"attempt,optional"`
	Change          *int64  `parquet:"change,optional"`
	// By how much the event's sales are more, or less, because of it.
	SoldTickets int64 `parquet:"sold_tickets"`
	SoldAmount  int64 `parquet:"sold_amount"` // minor units
}

type item struct {
	Section    string `parquet:"section,dict"`
	Allocation string `parquet:"allocation,dict"` // of the section's, whose places they are: public, or a named one
	Quantity   int64  `parquet:"quantity"`
	UnitPrice  int64  `parquet:"unit_price"` // minor units
	Places     string `parquet:"places"`     // of seats, where they stand in the section's layout
}

// rowsOf is an entry as rows: a row a fact, or one for what cannot be read, or would not come back as it was.
func rowsOf(e domain.Entry) []row {
	facts, err := wire.ParseFacts(e.ID, e.Fields)
	if err != nil || !utf8.ValidString(e.Fields[1]) {
		return []row{{EntryID: e.ID, Raw: netstrings(e.Fields), At: domain.EntryMillis(e.ID)}}
	}
	rows, lines := make([]row, len(facts)), strings.Split(e.Fields[1], "\n")
	for i, f := range facts {
		r := row{
			EntryID: e.ID, Line: int64(f.Line), Type: e.Fields[0], Fact: lines[i], At: f.AtMillis, EventID: f.EventID,
			OrderID: some(f.OrderID), CustomerID: some(f.CustomerID), Currency: some(f.Currency), Reason: some(f.Reason),
			AuthorizationID: some(f.AuthorizationID), Attempt: some(int64(f.Attempt)), Change: some(f.Change),
		}
		for one := range f.Items.All() {
			section, allocation := domain.SplitPool(one.Section)
			r.Items = append(r.Items, item{section, allocation, one.Quantity, one.UnitPrice, one.Places})
		}
		if len(r.Items) > 0 {
			quantity, amount := f.Items.Quantity(), f.Items.Amount()
			r.Quantity, r.Amount = &quantity, &amount
		}
		if len(r.Items) == 1 {
			r.Section = &r.Items[0].Section
		}
		switch {
		case f.Type == domain.FactConfirmed:
			r.SoldTickets, r.SoldAmount = f.Items.Quantity(), f.Items.Amount()
		case f.Type == domain.FactRestored:
			more, fewer := f.Sales()
			r.SoldTickets, r.SoldAmount = more.Quantity()-fewer.Quantity(), more.Amount()-fewer.Amount()
		case f.Was == domain.OrderConfirmed: // cancelled, reduced, changed
			r.SoldTickets, r.SoldAmount = f.Taken.Quantity()-f.Items.Quantity(), f.Taken.Amount()-f.Items.Amount()
		}
		rows[i] = r
	}
	return rows
}

// some is a value that may be missing.
func some[T comparable](v T) *T {
	var none T
	if v == none {
		return nil
	}
	return &v
}

// said is what of a row the entries are made of again; the other columns are for those who query an archive, and are not read.
type said struct {
	EntryID string `parquet:"entry_id"`
	Line    int64  `parquet:"line"`
	Type    string `parquet:"type,dict"`
	Fact    string `parquet:"fact"`
	Raw     []byte `parquet:"raw,optional"`
}

// entriesOf is what rowsOf made rows of, and how many facts that are.
func entriesOf(rows []said) (entries []domain.Entry, facts int, err error) {
	for i := 0; i < len(rows); {
		first := rows[i]
		if first.Line == 0 {
			fields, err := fromNetstrings(first.Raw)
			if err != nil {
				return nil, 0, fmt.Errorf("entry %s: %w", first.EntryID, err)
			}
			entries = append(entries, domain.Entry{ID: first.EntryID, Fields: fields})
			i++
			continue
		}
		lines := []string{}
		for ; i < len(rows) && rows[i].EntryID == first.EntryID; i++ {
			if rows[i].Line != int64(len(lines)+1) || rows[i].Type != first.Type {
				return nil, 0, fmt.Errorf("entry %s: has the line %d of %q where its line %d of %q belongs", first.EntryID, rows[i].Line, rows[i].Type, len(lines)+1, first.Type)
			}
			lines = append(lines, rows[i].Fact)
		}
		facts += len(lines)
		entries = append(entries, domain.Entry{ID: first.EntryID, Fields: []string{first.Type, strings.Join(lines, "\n")}})
	}
	return entries, facts, nil
}

// netstrings are values one behind the other: length ':' bytes ','.
func netstrings(values []string) []byte {
	b := []byte{}
	for _, v := range values {
		b = fmt.Appendf(b, "%d:%s,", len(v), v)
	}
	return b
}

func fromNetstrings(b []byte) ([]string, error) {
	values := []string{}
	for len(b) > 0 {
		length, rest, found := bytes.Cut(b, []byte(":"))
		n := 0
		for _, digit := range length {
			if digit < '0' || digit > '9' || n > len(b) {
				return nil, errors.New("its values cannot be read")
			}
			n = 10*n + int(digit-'0')
		}
		if !found || len(length) == 0 || n >= len(rest) || rest[n] != ',' {
			return nil, errors.New("its values cannot be read")
		}
		values, b = append(values, string(rest[:n])), rest[n+1:]
	}
	return values, nil
}

// encode makes a segment's bytes. What the header says of the entries is filled in.
func encode(h Header, entries []domain.Entry, metadata ...parquet.WriterOption) ([]byte, error) {
	var rows []row
	for _, e := range entries {
		rows = append(rows, rowsOf(e)...)
	}
	h.Format, h.First, h.Last, h.Entries, h.Facts = cmp.Or(h.Format, format), entries[0].ID, entries[len(entries)-1].ID, len(entries), factsIn(rows)
	header, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("writing a segment: %w", err)
	}
	var b bytes.Buffer
	w := parquet.NewGenericWriter[row](&b, append(metadata, parquet.Compression(&parquet.Zstd), parquet.CreatedBy("holdfast", "", ""),
		parquet.KeyValueMetadata(headerName, string(header)))...)
	if _, err = w.Write(rows); err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("writing a segment: %w", err)
	}
	return seal(b.Bytes())
}

func factsIn(rows []row) int {
	n := 0
	for _, r := range rows {
		if r.Line > 0 {
			n++
		}
	}
	return n
}

// damagedError is a segment, or a snapshot, that is not what was written.
type damagedError struct {
	key  string
	what string
}

// Error names the object.
func (d *damagedError) Error() string {
	kind := "segment"
	if _, _, is := parseSnapshotKey(d.key); is {
		kind = "snapshot"
	}
	return fmt.Sprintf("%s %s is damaged: %s", kind, d.key, d.what)
}

// decode reads a segment, and checks all that it says of itself and of its entries. Every error is a *damagedError.
func decode(key Key, body []byte) (s *Segment, err error) {
	err = opened(key, body, func(file *parquet.File, h Header) error {
		rows, err := readRows(file)
		if err != nil {
			return fmt.Errorf("its rows cannot be read: %w", err)
		}
		entries, facts, err := entriesOf(rows)
		if err != nil {
			return err
		}
		before, err := ParsePosition(h.After)
		if err != nil {
			return err
		}
		for _, e := range entries {
			at, err := ParsePosition(e.ID)
			if err != nil || at.Compare(before) <= 0 {
				return fmt.Errorf("its entry %q comes behind %s", e.ID, before)
			}
			before = at
		}
		if n := len(entries); n == 0 || n != h.Entries || facts != h.Facts || entries[0].ID != h.First || entries[n-1].ID != h.Last {
			return fmt.Errorf("it says that it has %d entries, %d facts, %s to %s, and has %d and %d", h.Entries, h.Facts, h.First, h.Last, n, facts)
		}
		s = &Segment{Key: key, Header: h, Entries: entries, Hash: hashOf(body), Size: len(body)}
		if !key.large() {
			return nil
		}
		replaces, _ := file.Lookup(replacesName)
		if s.replaces, err = replacedBy(s, replaces); err != nil {
			return fmt.Errorf("what it says of those that it replaces: %w", err)
		}
		return nil
	})
	return s, err
}

// decodeHeader reads what a segment says of itself, and does not compare it with its entries. Every error is a *damagedError.
func decodeHeader(key Key, body []byte) (is Header, err error) {
	err = opened(key, body, func(_ *parquet.File, h Header) error {
		for _, id := range []string{h.After, h.First, h.Last} {
			if _, err := ParsePosition(id); err != nil {
				return err
			}
		}
		is = h
		return nil
	})
	return is, err
}

// opened has a segment read of which it is sure that nothing was cut or changed of it, and that it is the one of its key. Every error is a *damagedError.
func opened(key Key, body []byte, read func(*parquet.File, Header) error) (err error) {
	damaged := func(format string, args ...any) error {
		return &damagedError{key.String(), fmt.Sprintf(format, args...)}
	}
	if !sealed(body) {
		return damaged("it is not what was written: cut, or changed")
	}
	// What somebody else has sealed may be no segment all the same, and shall not end the program.
	defer func() {
		if broken := recover(); broken != nil {
			err = damaged("it cannot be read: %v", broken)
		}
	}()
	file, err := parquet.OpenFile(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return damaged("it cannot be read: %v", err)
	}
	header, found := file.Lookup(headerName)
	if !found {
		return damaged("it has no header")
	}
	var h Header
	if err := json.Unmarshal([]byte(header), &h); err != nil {
		return damaged("its header cannot be read: %v", err)
	}
	if want := key.format(); h.Format != want {
		return damaged("it has format %d, this program reads %d", h.Format, want)
	}
	if h.Namespace != key.Namespace || h.Partition != key.Partition || h.Branch != key.Branch {
		return damaged("it says that it is of namespace %s, partition %d, branch %s", h.Namespace, h.Partition, h.Branch)
	}
	if key.large() && h.Last != key.Last.String() {
		return damaged("it says that it ends with %s", h.Last)
	}
	if key.Before != (Position{}) && h.After != key.Before.String() || key.Before == (Position{}) && h.Parent == "" && h.After != "0-0" {
		return damaged("it says that it begins behind %s", h.After)
	}
	if err := read(file, h); err != nil {
		return damaged("%v", err)
	}
	return nil
}

func readRows(file *parquet.File) ([]said, error) {
	r := parquet.NewGenericReader[said](file)
	rows := make([]said, file.NumRows())
	for n := 0; n < len(rows); {
		read, err := r.Read(rows[n:])
		if n += read; err != nil && (!errors.Is(err, io.EOF) || n < len(rows)) {
			return nil, errors.Join(err, r.Close())
		}
	}
	return rows, r.Close()
}

// A segment has, before the footer of the Parquet file, where readers of Parquet never look, the SHA-256 of all its other bytes: what was cut or
// changed on the way is found before anything of it is believed, such as how much memory it takes to read it.
const sumLength = sha256.Size

// footerOf is where the footer of a Parquet file begins, as its end says; ok is false for what is none.
func footerOf(body []byte) (at int, ok bool) {
	const end = 8 // length of the footer, PAR1
	if len(body) < sumLength+2*end || string(body[len(body)-4:]) != "PAR1" {
		return 0, false
	}
	at = len(body) - end - int(binary.LittleEndian.Uint32(body[len(body)-end:]))
	return at, at >= 4
}

// seal puts the sum into a Parquet file.
func seal(body []byte) ([]byte, error) {
	at, ok := footerOf(body)
	if !ok {
		return nil, errors.New("the Parquet file that was written has no footer")
	}
	sum := sha256.Sum256(body)
	return slices.Insert(body, at, sum[:]...), nil
}

// sealed reports whether a segment has the sum of its bytes.
func sealed(body []byte) bool {
	at, ok := footerOf(body)
	if !ok || at < sumLength {
		return false
	}
	sum := sha256.New()
	_, _ = sum.Write(body[:at-sumLength]) // never fails
	_, _ = sum.Write(body[at:])
	return bytes.Equal(sum.Sum(nil), body[at-sumLength:at])
}

// sameEntry reports whether two entries are the same, byte for byte.
func sameEntry(a, b domain.Entry) bool { return a.ID == b.ID && slices.Equal(a.Fields, b.Fields) }
