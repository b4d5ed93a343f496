package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/seats"
)

func TestSeatFlags(t *testing.T) {
	files := map[string]string{"gallery.csv": "row,seat,blocked\n1,1,\n1,2,yes\n", "a@b=c.csv": "row,seat\nA,1\n"}
	read := func(name string) ([]byte, error) {
		text, there := files[name]
		if !there {
			return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("no such file or directory")}
		}
		return []byte(text), nil
	}
	sections := func(rows, seats []string) ([]domain.SectionTerms, error) {
		var flags seatedFlags
		for _, text := range rows {
			var f rowsFlag
			if err := f.UnmarshalText([]byte(text)); err != nil {
				return nil, err
			}
			flags.Rows = append(flags.Rows, f)
		}
		for _, text := range seats {
			var f seatsFileFlag
			if err := f.UnmarshalText([]byte(text)); err != nil {
				return nil, err
			}
			flags.Seats = append(flags.Seats, f)
		}
		return flags.terms("EUR", read)
	}
	list, err := sections([]string{"stalls=A:1-24,B:1-26@45.00", "boxes=fan.club@x;L:1-4a@0"}, []string{"gallery=gallery.csv@12.5", "x=a@b=c.csv@1"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []domain.SectionTerms{
		{Name: "stalls", Price: 4500, Capacity: 50, Layout: "A:1-24,B:1-26"},
		{Name: "boxes", Price: 0, Capacity: 4, Layout: "fan.club@x;L:1-4a"},
		{Name: "gallery", Price: 1250, Capacity: 2, Layout: "1:1.2!"},
		{Name: "x", Price: 100, Capacity: 1, Layout: "A:1"},
	}; !slices.Equal(list, want) {
		t.Errorf("%+v, want %+v", list, want)
	}

	files["big.csv"] = "row,seat\n" + strings.Repeat("A,1\n", 2)
	for _, test := range []struct {
		rows, seats []string
		want        string
	}{
		{[]string{"stalls"}, nil, "want NAME=ROW:FROM-TO[,ROW:FROM-TO…]@PRICE, such as stalls=A:1-24,B:1-26@45.00, but got \"stalls\""},
		{[]string{"stalls=A:1-24"}, nil, "want NAME=ROW:FROM-TO"},
		{[]string{"stalls=A:1-24@"}, nil, "want NAME=ROW:FROM-TO"},
		{[]string{"=A:1-24@5"}, nil, "want NAME=ROW:FROM-TO"},
		{[]string{"stalls=@5"}, nil, "want NAME=ROW:FROM-TO"},
		{[]string{"stalls=A:1-24,B@5", "circle=A:1-24,A:1@5"}, nil, "section circle: row 2: A was named before"},
		{[]string{"stalls=A:1-24@5.001"}, nil, "--rows stalls: amount \"5.001\": EUR has 2 digits"},
		{[]string{"one=A:1-60000@1", "two=A:1-40001@1"}, nil, "--rows two: with it all seats are 100001, want at most 100000"},
		{nil, []string{"stalls=stalls.csv"}, "want NAME=FILE@PRICE, such as stalls=stalls.csv@45.00"},
		{nil, []string{"stalls=stalls.csv@5"}, "--seats stalls: open stalls.csv: no such file"},
		{nil, []string{"stalls=gallery.csv@x"}, "--seats stalls: amount \"x\""},
		{nil, []string{"stalls=big.csv@1"}, "--seats stalls: big.csv: line 3, column 2 (seat): A-1 was there before"},
	} {
		if list, err := sections(test.rows, test.seats); err == nil || !strings.Contains(err.Error(), test.want) || list != nil {
			t.Errorf("%q %q: %v, want %q", test.rows, test.seats, err, test.want)
		}
	}
}

func TestDrawSeats(t *testing.T) {
	l, err := seats.Parse("presale,house;A:1-4/5-8,B:9-1!,AA:101-104a.105B")
	if err != nil {
		t.Fatal(err)
	}
	got, err := drawSeats(l, len(l.Allocations()), "++-- ..../!!!!!!.++/aa-aB")
	want := []string{
		" A    1 ++-- .... 8",
		" B    9 !!!!!!.++ 1",
		"AA  101 aa-aB     105",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got, want := explainSeats(l.Allocations()), ". free   - held   + sold   ! blocked   a presale (A blocked)   b house (B blocked)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if _, err := drawSeats(l, len(l.Allocations()), "++--"); err == nil {
		t.Error("drawn with other places")
	}
}

func TestViewSeats(t *testing.T) {
	l, err := seats.Parse("presale;A:1/2,B:7a.8A.9!")
	if err != nil {
		t.Fatal(err)
	}
	got, err := viewSeats("stalls", l, l.Allocations(), "- +/aA!", map[int]seatHolder{1: {"o1", "presale"}, 3: {"o2", "public"}})
	want := []seatView{
		{"stalls", "A", 1, "held", "presale", "o1"},
		{"stalls", "A", 2, "sold", "public", "o2"},
		{"stalls", "B", 7, "free", "presale", ""},
		{"stalls", "B", 8, "blocked", "presale", ""},
		{"stalls", "B", 9, "blocked", "public", ""},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%+v\nwant\n%+v", err, got, want)
	}
	if _, err := viewSeats("stalls", l, l.Allocations(), "- +/", nil); err == nil {
		t.Error("viewed with other places")
	}
}

// csvFile is a file in a folder of the test.
func csvFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "seats.csv")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestSeatedEvent: a hall is listed with its seats, by rows and from a file, and shown.
func TestSeatedEvent(t *testing.T) {
	t.Parallel()
	h := start(t)
	circle := csvFile(t, "\ufeffRow,Seat,Blocked,Aisle_After,Allocation\r\n1,3,,yes,\r\n1,1,yes,,house\r\n2,1,,,house\r\n")
	create := []string{
		"events", "create", "ballet", "--name", "The Ballet", "--currency", "EUR", "--no-orphans",
		"--section", "standing=50@10", "--rows", "stalls=A:1-4/5-8,B:1-8@45.00", "--seats", "circle=" + circle + "@30",
	}
	expect(t, h.one(create...), object{"created": true})
	expect(t, h.one(create...), object{"created": false})
	h.fails(exitFailed, []string{"it exists with other terms"}, append(slices.Clone(create), "--section", "more=1@1")...)
	expect(t, h.one("events", "show", "ballet"), object{"no_orphans": true, "sections": []object{
		{"section": "standing", "allocation": "public", "kind": "counted", "price": 1000, "capacity": 50, "available": 50, "held": 0, "sold": 0, "blocked": 0},
		{"section": "stalls", "allocation": "public", "kind": "seated", "price": 4500, "capacity": 16, "available": 16, "held": 0, "sold": 0, "blocked": 0},
		{"section": "circle", "allocation": "public", "kind": "seated", "price": 3000, "capacity": 1, "available": 1, "held": 0, "sold": 0, "blocked": 0},
		{"section": "circle", "allocation": "house", "kind": "seated", "price": 3000, "capacity": 2, "available": 1, "held": 0, "sold": 0, "blocked": 1},
	}})
	table(t, h.ok("events", "show", "ballet"), "no_orphans true", "SECTION PRICE CAPACITY AVAILABLE HELD SOLD BLOCKED", "circle 30.00 EUR 1 1 0 0 0", "circle~house 30.00 EUR 2 1 0 0 1", "(the seats: holdfast events seats ballet)")

	const picture = `section stalls, 45.00 EUR: 16 free, 0 held, 0 sold, 0 blocked

A  1 .... .... 8
B  1 ........  8

. free   - held   + sold   ! blocked

section circle, 30.00 EUR: 2 free, 0 held, 0 sold, 1 blocked

1  3 . A 1
2  1 a   1

. free   - held   + sold   ! blocked   a house (A blocked)
`
	if got := h.ok("events", "seats", "ballet"); got != picture {
		t.Errorf("drawn as\n%s\nwant\n%s", got, picture)
	}
	var circleSeats []string
	for _, seat := range h.json("events", "seats", "ballet", "--section", "circle") {
		circleSeats = append(circleSeats, asJSON(t, seat))
	}
	if want := []string{
		`{"allocation":"public","order_id":"","row":"1","seat":3,"section":"circle","state":"free"}`,
		`{"allocation":"house","order_id":"","row":"1","seat":1,"section":"circle","state":"blocked"}`,
		`{"allocation":"house","order_id":"","row":"2","seat":1,"section":"circle","state":"free"}`,
	}; !slices.Equal(circleSeats, want) {
		t.Errorf("%s\nwant\n%s", circleSeats, want)
	}
	for _, test := range []struct{ said, flag string }{
		{"section pit: not found", "--section=pit"}, {"section standing: has places, and no seats", "--section=standing"},
	} {
		h.fails(exitFailed, []string{test.said}, "events", "seats", "ballet", test.flag)
	}
	h.fails(exitFailed, []string{`event "opera": not found`}, "events", "seats", "opera")
	h.event("counted")
	h.fails(exitFailed, []string{"event counted: no section has seats"}, "events", "seats", "counted")

	h.ok("events", "adjust", "ballet", "--rows", "boxes=L:1-2,R@99.50", "--section", "stalls=16@40", "--no-orphans=false")
	expect(t, h.one("events", "show", "ballet"), object{"no_orphans": false, "sections": []object{
		{"section": "standing", "allocation": "public", "kind": "counted", "price": 1000, "capacity": 50, "available": 50, "held": 0, "sold": 0, "blocked": 0},
		{"section": "stalls", "allocation": "public", "kind": "seated", "price": 4000, "capacity": 16, "available": 16, "held": 0, "sold": 0, "blocked": 0},
		{"section": "circle", "allocation": "public", "kind": "seated", "price": 3000, "capacity": 1, "available": 1, "held": 0, "sold": 0, "blocked": 0},
		{"section": "circle", "allocation": "house", "kind": "seated", "price": 3000, "capacity": 2, "available": 1, "held": 0, "sold": 0, "blocked": 1},
		{"section": "boxes", "allocation": "public", "kind": "seated", "price": 9950, "capacity": 4, "available": 4, "held": 0, "sold": 0, "blocked": 0},
	}})
	h.fails(exitFailed, []string{"section stalls: its layout cannot be changed"}, "events", "adjust", "ballet", "--rows", "stalls=A:1-16@40")
	h.fails(exitUsage, []string{`section "stalls": capacity: want 16, the seats of its layout`}, "events", "adjust", "ballet", "--section", "stalls=17")
	h.fails(exitUsage, []string{"section boxes: named twice"}, "events", "adjust", "ballet", "--rows", "boxes=L:1@1", "--section", "boxes=1@1")
	h.ok("audit")
}

// TestSeatsMalformed: what is wrong with a hall is said with its row and column, and nothing is listed.
func TestSeatsMalformed(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("init")
	create := func(flags ...string) []string {
		return append([]string{"events", "create", "ballet", "--name", "The Ballet", "--currency", "EUR"}, flags...)
	}
	for text, want := range map[string]string{
		"":                                "line 1: want the names of the columns, such as row,seat",
		"row,seat\n":                      "line 2: want a seat a line",
		"A,1\nA,2\n":                      `line 1, column 1: "A" is none of row, seat, allocation, blocked, aisle after`,
		"row;seat\nA;1\n":                 "line 1, column 1: want columns parted by commas",
		"row,seat\nA,1\n\nA,2\n":          "line 3: is empty",
		"row,seat\nA,1\nA,\n":             "line 3, column 2 (seat): is empty",
		"row,seat\nA,1\n,2\n":             "line 3, column 1 (row): is empty",
		"row,seat\nA,1\nB,1\nA,2\n":       "line 4, column 1 (row): row A was there before, and ended with another row",
		"row,seat\nA,1\nA,1\n":            "line 3, column 2 (seat): A-1 was there before",
		"row,seat\nA,1\nA,2,x\n":          "line 3: want 2 columns, as in line 1",
		"row,seat\nA,1\nA,2b\n":           `line 3, column 2 (seat): "2b": want a number`,
		"row,seat,blocked\nA,1,perhaps\n": `line 2, column 3 (blocked): "perhaps": want yes or no`,
		"row,seat\nR\xe4ng,1\n":           "line 2, character 2: the text is in another encoding than UTF-8",
		"\xff\xfer\x00o\x00":              "line 1, column 1: the text is UTF-16 or binary: want UTF-8",
		"row,seat\nRäng,1\n":              `line 2, column 1 (row): "Räng": want 1 to 16 letters and digits`,
	} {
		h.fails(exitUsage, []string{"--seats stalls: ", want}, create("--seats", "stalls="+csvFile(t, text)+"@45")...)
	}
	for _, test := range []struct{ flag, want string }{
		{"--seats=stalls=nowhere.csv@45", "--seats stalls: open nowhere.csv: no such file"},
		{"--seats=stalls=" + t.TempDir() + "@45", "is a directory"},
		{"--rows=stalls=A:1-24,A:1@45", "section stalls: row 2: A was named before"},
		{"--rows=stalls=A:24-1,B:x@45", `section stalls: row 2 (B): seats "x": want FROM-TO`},
		{"--rows=stalls=A:1-24@x", `--rows stalls: amount "x"`},
		{"--rows=stalls=A:1-60000,B:1-60000@1", "section stalls: row 2 (B): more than 100000 seats"},
		{"--no-orphans", "want at least one section: --section, --rows or --seats"},
	} {
		h.fails(exitUsage, []string{test.want}, create(test.flag)...)
	}
	h.fails(exitUsage, []string{"named twice"}, create("--rows", "stalls=A:1@1", "--section", "stalls=1@1")...)
	h.fails(exitFailed, []string{"ballet"}, "events", "show", "ballet")
}

// TestPublishSeats: what flags and lines say of seats is the request.
func TestPublishSeats(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	lines := `{"type":"hold","event_id":"e1","order_id":"o4","customer_id":"c","section":"stalls","seats":["A-2","A-1"]}
{"type":"hold","event_id":"e1","order_id":"o5","customer_id":"c","section":"stalls","seats":"A-2,A-1"}
{"type":"hold","event_id":"e1","order_id":"o6","customer_id":"c","section":"stalls","quantity":2,"adjacent":false}
{"type":"hold","event_id":"e1","order_id":"o7","customer_id":"c","section":"stalls","quantity":2,"adjacent":true}
`
	hold := []string{"publish", "--type", "hold", "--event", "e1", "--customer", "c"}
	h.ok(append(hold, "--order", "o1", "--section", "stalls", "--seats", "A-1,A-2")...)
	h.ok(append(hold, "--order", "o2", "--section", "stalls", "--quantity", "2", "--adjacent=false")...)
	h.ok(append(hold, "--order", "o3", "--item", "section=stalls,seats=A-2/A-1", "--item", "section=balcony,quantity=2,adjacent=false,unit_price=5")...)
	if r := execute(strings.NewReader(lines), "publish", "--file", "-", "--redis", h.url()); r.code != exitDone {
		t.Fatalf("exit %d: %s", r.code, r.stderr)
	}
	rdb := redis.NewClient(&redis.Options{Addr: h.server.Addr(), Protocol: 2})
	t.Cleanup(func() { _ = rdb.Close() })
	entries, err := rdb.XRange(t.Context(), partitionOf(t, rdb, "e1")+"requests", "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]object{
		"o1": {"v": "2", "section": "stalls", "seats": "A-1,A-2"},
		"o2": {"v": "2", "section": "stalls", "quantity": "2", "adjacent": "false"},
		"o3": {"v": "2", "items": `[{"section":"balcony","quantity":2,"adjacent":false,"unit_price":5},{"section":"stalls","seats":["A-1","A-2"]}]`},
		"o4": {"v": "2", "section": "stalls", "seats": "A-1,A-2"},
		"o5": {"v": "2", "section": "stalls", "seats": "A-1,A-2"},
		"o6": {"v": "2", "section": "stalls", "quantity": "2", "adjacent": "false"},
		"o7": {"v": "1", "section": "stalls", "quantity": "2"},
	}
	for _, entry := range entries {
		order, _ := entry.Values["order_id"].(string)
		for field, value := range map[string]string{"type": "hold", "event_id": "e1", "customer_id": "c", "order_id": order} {
			want[order][field] = value
		}
		if !reflect.DeepEqual(entry.Values, want[order]) {
			t.Errorf("%s: %v, want %v", order, entry.Values, want[order])
		}
	}
	if len(entries) != len(want) {
		t.Errorf("%d requests, want %d", len(entries), len(want))
	}
	r := execute(strings.NewReader(`{"type":"hold","event_id":"e1","order_id":"o","customer_id":"c","seats":["A-1,A-2"]}`+"\n"), "publish", "--file", "-", "--redis", h.url())
	if r.code != exitFailed || !strings.Contains(r.stderr, "line 1: seats: want an array of strings, such as A-12") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
}
