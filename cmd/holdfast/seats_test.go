package main

import (
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

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
	sections := func(rows, seats []string) ([]seatedSection, error) {
		var r []rowsFlag
		var s []seatsFileFlag
		for _, text := range rows {
			var f rowsFlag
			if err := f.UnmarshalText([]byte(text)); err != nil {
				return nil, err
			}
			r = append(r, f)
		}
		for _, text := range seats {
			var f seatsFileFlag
			if err := f.UnmarshalText([]byte(text)); err != nil {
				return nil, err
			}
			s = append(s, f)
		}
		return seatedSections(r, s, "EUR", read)
	}
	list, err := sections([]string{"stalls=A:1-24,B:1-26@45.00", "boxes=fan.club@x;L:1-4a@0"}, []string{"gallery=gallery.csv@12.5", "x=a@b=c.csv@1"})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		terms  domain.SectionTerms
		layout string
	}{
		{domain.SectionTerms{Name: "stalls", Price: 4500, Capacity: 50}, "A:1-24,B:1-26"},
		{domain.SectionTerms{Name: "boxes", Price: 0, Capacity: 4}, "fan.club@x;L:1-4a"},
		{domain.SectionTerms{Name: "gallery", Price: 1250, Capacity: 2}, "1:1.2!"},
		{domain.SectionTerms{Name: "x", Price: 100, Capacity: 1}, "A:1"},
	} {
		if got := list[i]; !reflect.DeepEqual(got.SectionTerms, want.terms) || got.layout.String() != want.layout {
			t.Errorf("%+v %s, want %+v %s", got.SectionTerms, got.layout, want.terms, want.layout)
		}
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
		{[]string{"one=A:1-60000@1", "two=A:1-40001@1"}, nil, "--rows two: with it there are 100001 seats, want at most 100000"},
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
	got, err := drawSeats(l, "++-- ..../!!!!!!.++/aa-aB")
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
	if _, err := drawSeats(l, "++--"); err == nil {
		t.Error("drawn with other places")
	}
}

func TestViewSeats(t *testing.T) {
	l, err := seats.Parse("presale;A:1/2,B:7a.8A.9!")
	if err != nil {
		t.Fatal(err)
	}
	got, err := viewSeats("stalls", l, "- +/aA!", map[int]seatHolder{1: {"o1", "presale"}, 3: {"o2", "public"}})
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
	if _, err := viewSeats("stalls", l, "- +/", nil); err == nil {
		t.Error("viewed with other places")
	}
}
