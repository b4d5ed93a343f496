package seats

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func parse(t testing.TB, text string) *Layout {
	t.Helper()
	l, err := Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return l
}

// names are the seats of a section in the order of their places, as its places tell them.
func names(l *Layout) (list []string) {
	for place := range len(l.Places()) {
		if name, ok := l.Name(place + 1); ok {
			list = append(list, name)
		}
	}
	return list
}

func TestParse(t *testing.T) {
	for _, test := range []struct{ text, places, names string }{
		{"A:1-4,B:1-3", "..../...", "A-1 A-2 A-3 A-4 B-1 B-2 B-3"},
		{"A:7", ".", "A-7"},
		{"R1:3-1", "...", "R1-3 R1-2 R1-1"},
		{"A:1-2/3-4,b,12", ".. ../.. ../.. ..", "A-1 A-2 A-3 A-4 b-1 b-2 b-3 b-4 12-1 12-2 12-3 12-4"},
		{"A:5-1+2.2-6+2", "......", "A-5 A-3 A-1 A-2 A-4 A-6"},
		{"A:1-2!.3.9", "!!..", "A-1 A-2 A-3 A-9"},
		{"presale,house;A:1-2a.3B.4A", "aaBA", "A-1 A-2 A-3 A-4"},
		{"A:99998-99999", "..", "A-99998 A-99999"},
	} {
		l := parse(t, test.text)
		if got := l.Places(); got != test.places {
			t.Errorf("%s: places %q, want %q", test.text, got, test.places)
		}
		if got := strings.Join(names(l), " "); got != test.names {
			t.Errorf("%s: %s, want %s", test.text, got, test.names)
		}
		if l.Seats() != len(names(l)) {
			t.Errorf("%s: %d seats", test.text, l.Seats())
		}
		if got := l.String(); got != test.text {
			t.Errorf("%s is written as %s", test.text, got)
		}
	}
}

// TestTextIsShort: what people write in many ways has one text.
func TestTextIsShort(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"A:1.2.3,B:1-3", "A:1-3,B"},
		{"A:1-3+2", "A:1.3"},
		{"A:1.3.5", "A:1-5+2"},
		{"A:5-5", "A:5"},
		{"A:1-9+1", "A:1-9"},
		{"A:1.2/3.4,B:1-4", "A:1-2/3-4,B:1-4"},
	} {
		if got := parse(t, test.text).String(); got != test.want {
			t.Errorf("%s is written as %s, want %s", test.text, got, test.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", `row 1 "": want a name of 1 to 16 letters and digits, a colon and seats, such as A:1-24`},
		{"A", "row 1 (A): want seats, such as A:1-24"},
		{"A:1-24,", `row 2 "": want a name`},
		{"A:1-24,A:1-3", "row 2: A was named before"},
		{"A-1:1-24", `row 1 "A-1": want a name`},
		{"Ä:1-24", `row 1 "Ä": want a name`},
		{strings.Repeat("A", 17) + ":1", "row 1"},
		{"A:", `row 1 (A): seats "": want FROM-TO`},
		{"A:1-24,B:x", `row 2 (B): seats "x": want FROM-TO`},
		{"A:0-4", `row 1 (A): seats "0-4": want FROM-TO`},
		{"A:01", `seats "01": want FROM-TO`},
		{"A:1-", `seats "1-": want FROM-TO`},
		{"A:1-100000", `seats "1-100000": want FROM-TO`},
		{"A:-3", `seats "-3": want FROM-TO`},
		{"A: 1-3", `seats " 1-3": want FROM-TO`},
		{"A:1-4+2", `seats "1-4+2": want a step that leads from 1 to 4`},
		{"A:1-4+0", `seats "1-4+0": want a step`},
		{"A:1-4.3", "row 1 (A): seat 3: named twice"},
		{"A:1-4/", `row 1 (A): seats end with "1-4/"`},
		{"A:1-4./5", `seats "": want FROM-TO`},
		{"A:1-4a", `row 1 (A): seats "1-4a": 'a' is of an allocation that is not named before the rows`},
		{"presale;A:1-4B", `'B' is of an allocation`},
		{";A:1", `allocation "": want 1 to 128 characters`},
		{"a b;A:1", `allocation "a b": want`},
		{"public;A:1", `allocation "public": is what all seats are`},
		{"x,x;A:1", `allocation "x": named twice`},
		{strings.Repeat("x,", 26) + "y;A:1", "want at most 26 allocations"},
		{"A:1-99999,B:1-2", "row 2 (B): more than 100000 seats"},
		{"A:1-99999,B", "row 2 (B): more than 100000 seats"},
	} {
		if l, err := Parse(test.text); err == nil || !strings.Contains(err.Error(), test.want) || l != nil {
			t.Errorf("%q: %v, want %q", test.text, err, test.want)
		}
	}
}

func TestFind(t *testing.T) {
	l := parse(t, "A:1-2/3-4,B,C:1")
	places, unknown := l.Find([]string{"B-4", "A-3", "C-1", "C-2", "D-1", "A-03", "A", "B-1"})
	if want := []int{4, 7, 11, 13}; !slices.Equal(places, want) {
		t.Errorf("places %v, want %v", places, want)
	}
	if want := []string{"C-2", "D-1", "A-03", "A"}; !slices.Equal(unknown, want) {
		t.Errorf("unknown %v, want %v", unknown, want)
	}
	for i, name := range names(l) {
		places, unknown := l.Find([]string{name})
		if len(places) != 1 || len(unknown) != 0 {
			t.Fatalf("%s: %v %v", name, places, unknown)
		}
		if back, ok := l.Name(places[0]); back != name || !ok {
			t.Errorf("seat %d, %s, is at %v, where %s is", i, name, places, back)
		}
	}
	for _, nowhere := range []int{-1, 0, 3, 6, 14, 1000} {
		if name, ok := l.Name(nowhere); ok {
			t.Errorf("at %d is %s", nowhere, name)
		}
	}
}

func TestCheckNames(t *testing.T) {
	for _, test := range []struct {
		names []string
		want  string
	}{
		{[]string{"A-1"}, ""},
		{[]string{"A-1", "A-2", "AA-1"}, ""},
		{nil, "want 1 to 3, not 0"},
		{[]string{"A-1", "A-2", "A-3", "A-4"}, "want 1 to 3, not 4"},
		{[]string{"A-1", "A-2", "A-1"}, "number 3: named twice"},
		{[]string{"A-1", "A-01"}, "number 2: want ROW-NUMBER"},
		{[]string{"A-1-2"}, "number 1: want ROW-NUMBER"},
		{[]string{"A1"}, "number 1: want ROW-NUMBER"},
		{[]string{"-1"}, "number 1: want ROW-NUMBER"},
		{[]string{"A-"}, "number 1: want ROW-NUMBER"},
	} {
		err := CheckNames(test.names, 3)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %q", test.names, err, test.want)
		}
	}
}

func TestCheckPlaces(t *testing.T) {
	l := parse(t, "presale;A:1-2/3a,B:1")
	for _, test := range []struct{ places, want string }{
		{".. a/.", ""},
		{"-+ A/!", ""},
		{".. a/", "5 places, want 6"},
		{".. a/..", "7 places, want 6"},
		{".... .", `place 3 is '.'`},
		{"..  /.", `place 4 is ' '`},
		{"../a/.", `place 3 is '/'`},
		{".. b/.", "place 4 is 'b', of an allocation that the section does not have"},
		{".. #/.", `place 4 is '#'`},
	} {
		err := l.CheckPlaces(test.places, len(l.Allocations()))
		if (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%q: %v, want %q", test.places, err, test.want)
		}
	}
}

// randomLayout is one as a file can say it.
func randomLayout(random *rand.Rand) (rows []Row, allocations []string) {
	for i := range random.IntN(4) {
		allocations = append(allocations, fmt.Sprintf("allocation_%d", i))
	}
	for r := range 1 + random.IntN(5) {
		if r > 0 && random.IntN(3) == 0 {
			rows = append(rows, Row{Name: fmt.Sprintf("R%d", r), Seats: rows[r-1].Seats})
			continue
		}
		row := Row{Name: fmt.Sprintf("R%d", r)}
		number, step, mark := int32(20), int32(1), Free
		used := map[int32]bool{}
		for range 1 + random.IntN(12) {
			if random.IntN(5) == 0 {
				step = int32(random.IntN(7) - 3)
			}
			if random.IntN(5) == 0 {
				mark = FreeMark(random.IntN(len(allocations) + 1))
				if random.IntN(2) == 0 {
					mark = BlockedMark(random.IntN(len(allocations) + 1))
				}
			}
			for number += step; number < 1 || used[number]; {
				number = 1 + random.Int32N(200)
			}
			used[number] = true
			row.Seats = append(row.Seats, Seat{number, mark, random.IntN(8) == 0})
		}
		row.Seats[len(row.Seats)-1].AisleAfter = false
		rows = append(rows, row)
	}
	return rows, allocations
}

// TestTextSaysAll: whatever the layout is, its text says it, and CSV does.
func TestTextSaysAll(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	for range 2000 {
		rows, allocations := randomLayout(random)
		l := newLayout(rows, allocations)
		again := parse(t, l.String())
		if !reflect.DeepEqual(again, l) {
			t.Fatalf("%s is read as\n%+v\nwant\n%+v", l, again, l)
		}
		var csv strings.Builder
		csv.WriteString("row,seat,allocation,blocked,aisle after\n")
		for _, row := range rows {
			for _, seat := range row.Seats {
				allocation := Public
				if n := AllocationOf(seat.Mark); n > 0 {
					allocation = allocations[n-1]
				}
				state, _ := StateOf(seat.Mark)
				fmt.Fprintf(&csv, "%s,%d,%s,%t,%t\n", row.Name, seat.Number, allocation, state == StateBlocked, seat.AisleAfter)
			}
		}
		read, err := ReadCSV([]byte(csv.String()))
		if err != nil {
			t.Fatal(err)
		}
		// In a file allocations are numbered as they come.
		same := func(l *Layout) string {
			said := []string{}
			for _, row := range l.Rows() {
				for _, seat := range row.Seats {
					allocation := Public
					if n := AllocationOf(seat.Mark); n > 0 {
						allocation = l.Allocations()[n-1]
					}
					state, _ := StateOf(seat.Mark)
					said = append(said, fmt.Sprint(row.Name, seat.Number, allocation, state, seat.AisleAfter))
				}
			}
			return strings.Join(said, "\n")
		}
		if same(read) != same(l) {
			t.Fatalf("%s\nis read as %s, want %s", csv.String(), read, l)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "A:1-24,B:1-26", "A:1-12/13-24,B,C:1-26", "A:23-1+2.2-24+2", "presale;A:1-4a.5-24,B:1!", "A:1-99999,B", "A:1-4.3", ";A:1", "A:1-4+3", "A:1./2",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := Parse(text)
		if err != nil {
			return
		}
		if l.Seats() == 0 || l.Seats() > MaxSeats {
			t.Fatalf("%q has %d seats", text, l.Seats())
		}
		said := l.String()
		if len(said) > len(text) {
			t.Errorf("%q is written as %q, which is longer", text, said)
		}
		again, err := Parse(said)
		if err != nil || !reflect.DeepEqual(again, l) {
			t.Errorf("%q is written as %q and read as %+v, %v", text, said, again, err)
		}
		if err := l.CheckPlaces(l.Places(), len(l.Allocations())); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
