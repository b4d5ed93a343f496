package seats

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestBestAvailable(t *testing.T) {
	for _, test := range []struct {
		places   string
		quantity int
		adjacent bool
		want     string // places, or the reason
	}{
		{"...../.....", 2, true, "1-2"},
		{"++.../.....", 2, true, "7-8"},         // 3 are left in the first row
		{"++.../++...", 2, true, "3-4"},         // everywhere one would be alone: the best row, then
		{"++.../++..+", 2, true, "9-10"},        // exactly two
		{"...../.....", 4, true, "1-4"},         // one alone in either row
		{"...../....", 4, true, "7-10"},         // the second fits
		{"...../.....", 5, true, "1-5"},         //
		{"...../.....", 6, true, "no_adjacent"}, // a row ends
		{"...../.....", 6, false, "1-5.7"},
		{".. ../..", 3, true, "no_adjacent"}, // an aisle parts them
		{".. ../..", 3, false, "1-2.4"},
		{"-.+.!.", 2, false, "2.4"},
		{"..a../..", 4, true, "no_adjacent"}, // another allocation's does too
		{"..", 3, false, "sold_out"},
		{"..", 3, true, "sold_out"},
		{"../...", 1, true, "4"}, // one of two would leave the other alone
		{"../+.", 1, true, "5"},
		{"../..", 1, true, "1"},
		{"+-!A /", 1, true, "sold_out"},
		{"", 1, true, "sold_out"},
	} {
		taken, reason, because := Choose(test.places, Wish{Free: Free, Quantity: test.quantity, Adjacent: test.adjacent})
		got := FormatPlaces(taken) + reason
		if !strings.HasPrefix(got, test.want) || len(because) > 0 {
			t.Errorf("%d of %q (adjacent %t): %s, want %s", test.quantity, test.places, test.adjacent, got, test.want)
		}
	}
	if taken, _, _ := Choose("..aa.", Wish{Free: 'a', Quantity: 2}); !slices.Equal(taken, []int{3, 4}) {
		t.Errorf("of an allocation: %v", taken)
	}
}

func TestNamedSeats(t *testing.T) {
	for _, test := range []struct {
		places  string
		named   []int
		strict  bool
		reason  string
		because []int
	}{
		{".....", []int{2, 3}, false, "", nil},
		{".....", []int{2, 3}, true, ReasonWouldOrphan, []int{1}},
		{".....", []int{2, 4}, true, ReasonWouldOrphan, []int{1, 3, 5}},
		{".....", []int{1, 3}, true, ReasonWouldOrphan, []int{2}},
		{".....", []int{1, 2}, true, "", nil},
		{".....", []int{1, 2, 3, 4, 5}, true, "", nil},
		{"..+..", []int{1}, true, ReasonWouldOrphan, []int{2}},
		{".+...", []int{3, 4, 5}, true, "", nil}, // the first one was alone before
		{".. ..", []int{2}, true, ReasonWouldOrphan, []int{1}},
		{".a.", []int{1}, true, "", nil},
		{"..-+!", []int{1, 3, 4, 5}, true, ReasonSeatTaken, []int{3, 4, 5}},
		{".a.", []int{1, 2}, false, ReasonSeatTaken, []int{2}},
		{"../..", []int{3}, false, ReasonSeatTaken, []int{3}},
		{"..", []int{2, 3}, false, ReasonSeatTaken, []int{3}},
	} {
		taken, reason, because := Choose(test.places, Wish{Free: Free, Named: test.named, Strict: test.strict})
		if reason != test.reason || !slices.Equal(because, test.because) || (reason == "") != slices.Equal(taken, test.named) {
			t.Errorf("%v of %q (strict %t): %v %q %v, want %q %v", test.named, test.places, test.strict, taken, reason, because, test.reason, test.because)
		}
	}
}

func TestChange(t *testing.T) {
	got, err := Change("..-+", []int{1, 2}, Free, Held)
	if err != nil || got != "---+" {
		t.Errorf("%q, %v", got, err)
	}
	for _, at := range [][]int{{1, 3}, {4}} {
		if got, err := Change("..-+", at, Free, Held); got != "..-+" || !errors.Is(err, ErrPlace) {
			t.Errorf("%v: %q, %v", at, got, err)
		}
	}
	for _, at := range [][]int{{0}, {5}, {1, 5}} {
		if got, err := Change("..-+", at, Free, Held); got != "..-+" || err == nil {
			t.Errorf("%v: %q, %v", at, got, err)
		}
	}
}

func TestMarks(t *testing.T) {
	known := 0
	for c := range 256 {
		state, ok := StateOf(byte(c))
		if !ok {
			continue
		}
		known++
		n := AllocationOf(byte(c))
		switch state {
		case StateFree:
			ok = FreeMark(n) == byte(c)
		case StateBlocked:
			ok = BlockedMark(n) == byte(c)
		case StateHeld, StateSold:
			ok = n == 0
		}
		if !ok || strings.ContainsRune(`|"\/ ,`, rune(c)) {
			t.Errorf("%q is %s of %d", rune(c), state, n)
		}
	}
	if known != 4+2*MaxAllocations {
		t.Errorf("%d characters", known)
	}
}

// TestSoldOutInPairs: a venue of 80,000 seats whose rows are even sells out in twos and fours, and nobody's seat is alone
// before the last hundredth is sold. What is asked for is drawn, so is the section.
func TestSoldOutInPairs(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	var sections []string
	there := 0
	for i := 0; there < 80_000; i++ {
		l := parse(t, "A:1-14/15-28,B,C,D:1-26,E,F,G,H,I,J:1-10/11-20/21-30,K,L,M,N,O,P,Q:1-24,R,S,T,U,V,W,X,Y,Z:1-8,AA:1-4/5-28,BB:1-30,CC,DD,EE,FF,GG,HH,II,JJ,KK,LL,MM,NN,OO,PP,QQ,RR,SS,TT")
		sections = append(sections, l.Places())
		there += l.Seats()
	}
	sold, refused := 0, make(map[string]int)
	for all := there; sold < all; {
		i, n := random.IntN(len(sections)), 2+2*random.IntN(2)
		taken, reason, _ := Choose(sections[i], Wish{Free: Free, Quantity: n, Adjacent: true})
		if reason != "" {
			refused[reason]++
			if sections = slices.DeleteFunc(sections, func(s string) bool { return strings.IndexByte(s, Free) < 0 }); refused[reason] > 1_000_000 {
				t.Fatalf("%d of %d are sold, and no end: %v", sold, all, refused)
			}
			continue
		}
		var err error
		if sections[i], err = Change(sections[i], taken, Free, Sold); err != nil {
			t.Fatal(err)
		}
		sold += n
		if sold%1000 < n && sold < all*99/100 {
			for _, s := range sections {
				if lonely(s) {
					t.Fatalf("%d of %d are sold, and one is alone: %q", sold, all, s)
				}
			}
		}
	}
}

// lonely reports whether a free seat has none beside it.
func lonely(places string) bool {
	for first, length := nextRun(places, Free, 0); length > 0; first, length = nextRun(places, Free, first+length) {
		if length == 1 {
			return true
		}
	}
	return false
}

// TestOddRows: where rows are odd, what would leave one alone comes last.
func TestOddRows(t *testing.T) {
	places := strings.Repeat(strings.Repeat(".", 25)+"/", 40)
	for strings.Count(places, ".") > 3*40 {
		if lonely(places) {
			t.Fatalf("one is alone: %q", places)
		}
		taken, reason, _ := Choose(places, Wish{Free: Free, Quantity: 2, Adjacent: true})
		if reason != "" {
			t.Fatal(reason)
		}
		places, _ = Change(places, taken, Free, Held)
	}
	taken, _, _ := Choose(places, Wish{Free: Free, Quantity: 2, Adjacent: true})
	if want := []int{23, 24}; !slices.Equal(taken, want) {
		t.Errorf("%v, want %v", taken, want)
	}
}

func FuzzParsePlaces(f *testing.F) {
	for _, text := range []string{"", "1", "17-19.25", "1-2.4-5", "1.2", "2-1", "3-3", "01", "-1", "+1", "1-200001", "1.1", "1-", "1-2-3"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		places, err := ParsePlaces(text)
		if err == nil && (FormatPlaces(places) != text || !slices.IsSorted(places) || len(places) == 0) {
			t.Errorf("%q is read as %v", text, places)
		}
	})
}

func TestFormatPlaces(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var places []int
		for place := 1; place < 60; place++ {
			if random.IntN(3) > 0 {
				places = append(places, place)
			}
		}
		again, err := ParsePlaces(FormatPlaces(places))
		if err != nil || !reflect.DeepEqual(again, places) {
			t.Fatalf("%v is written as %s and read as %v, %v", places, FormatPlaces(places), again, err)
		}
	}
}

func BenchmarkFind(b *testing.B) {
	var rows []string
	for i := range 80 {
		rows = append(rows, fmt.Sprintf("R%d:1-25", i))
	}
	l := parse(b, strings.Join(rows, ","))
	for b.Loop() {
		l.Find([]string{"R70-12", "R70-13"})
	}
}
