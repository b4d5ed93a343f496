package seats

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestReadCSV(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"row,seat\nA,1\nA,2\nB,1\n", "A:1-2,B:1"},
		{"row,seat\r\nA,1\r\nA,2\r\n", "A:1-2"},
		{"row,seat\nA,1\nA,2", "A:1-2"},
		{"\ufeffrow,seat\nA,1\n", "A:1"},
		{"\"Row\", Seat \n\"A\", 1\n", "A:1"},
		{"seat,row\n1,A\n", "A:1"},
		{"row,seat,allocation,blocked,aisle after\nA,1,,,\nA,2,,,yes\nA,3,,yes,\nA,4,presale,no,\nA,5,house,true,no\nA,6,presale,,1\n", "presale,house;A:1-2/3!.4a.5B.6a"},
		{"Row,Seat,Aisle_After,Allocation\nA,3,YES,public\nA,1,,\n", "A:3/1"},
		{"row,seat\n1,5\n1,3\n1,1\n1,2\n1,4\n2,1\n", "1:5-1+2.2.4,2:1"},
	} {
		l, err := ReadCSV([]byte(test.text))
		if err != nil || l.String() != test.want {
			t.Errorf("%q: %v, %v, want %s", test.text, l, err, test.want)
		}
	}
}

// TestReadCSVRefuses: what is wrong is named by line and column.
func TestReadCSVRefuses(t *testing.T) {
	var tooMany strings.Builder
	tooMany.WriteString("row,seat\n")
	for i := range MaxSeats + 1 {
		fmt.Fprintf(&tooMany, "R%d,%d\n", i/100, i%100+1)
	}
	var allocations strings.Builder
	allocations.WriteString("row,seat,allocation\n")
	for i := range MaxAllocations + 1 {
		fmt.Fprintf(&allocations, "A,%d,a%d\n", i+1, i)
	}
	for _, test := range []struct{ text, want string }{
		{"", "line 1: want the names of the columns"},
		{"row,seat\n", "line 2: want a seat a line"},
		{"A,1\nA,2\n", `line 1, column 1: "A" is none of row, seat, allocation, blocked, aisle after`},
		{"row;seat\nA;1\n", "line 1, column 1: want columns parted by commas"},
		{"row,number\nA,1\n", `line 1, column 2: "number" is none of`},
		{"row,row\nA,A\n", `line 1, column 2: "row" was named before`},
		{"row,allocation\nA,x\n", `line 1: the column "seat" is missing`},
		{"row,seat\nA,1\n\nA,2\n", "line 3: is empty"},
		{"row,seat\nA,1\n \n", "line 3: is empty"},
		{"row,seat\nA,1\n\n", "line 3: is empty"},
		{"row,seat\rA,1\r", "line 1, character 9: a carriage return alone: want lines that end with a line feed"},
		{"row,seat\nA,1\nA\n", "line 3: want 2 columns, as in line 1"},
		{"row,seat\nA,1\nA,2,\n", "line 3: want 2 columns, as in line 1"},
		{"row,seat\nA,1\n,2\n", "line 3, column 1 (row): is empty"},
		{"row,seat\nA,1\nA,\n", "line 3, column 2 (seat): is empty"},
		{"row,seat\nA,x\n", `line 2, column 2 (seat): "x": want a number from 1 to 99999, without leading zeros`},
		{"row,seat\nA,01\n", `line 2, column 2 (seat): "01": want a number`},
		{"row,seat\nA,1.0\n", `line 2, column 2 (seat): "1.0": want a number`},
		{"row,seat\nA-1,1\n", `line 2, column 1 (row): "A-1": want 1 to 16 letters and digits`},
		{"row,seat\nÄ,1\n", `line 2, column 1 (row): "Ä": want`},
		{"row,seat\nA,1\nA,2\nA,1\n", "line 4, column 2 (seat): A-1 was there before"},
		{"row,seat\nA,1\nB,1\nA,2\n", "line 4, column 1 (row): row A was there before, and ended with another row"},
		{"row,seat\nA,1\nB,1\nA,1\n", "line 4, column 2 (seat): A-1 was there before"},
		{"row,seat,blocked\nA,1,maybe\n", `line 2, column 3 (blocked): "maybe": want yes or no`},
		{"row,aisle after,seat\nA,?,1\n", `line 2, column 2 (aisle after): "?": want yes or no`},
		{"row,seat,allocation\nA,1,pre sale\n", `line 2, column 3 (allocation): "pre sale": want 1 to 128 characters`},
		{allocations.String(), `line 28, column 3 (allocation): "a26": want at most 26 allocations`},
		{tooMany.String(), "line 100002, column 2 (seat): more than 100000 seats"},
		{"row,seat\nA,1\n\xc4,1\n", "line 3, character 1: the text is in another encoding than UTF-8"},
		{"row,seat\nA,1\nB,\xfc\n", "line 3, character 3: the text is in another encoding than UTF-8"},
		{"\xff\xfer\x00o\x00w\x00", "line 1, column 1: the text is UTF-16 or binary: want UTF-8"},
		{"row,seat\nA,1\x00\n", "the text is UTF-16 or binary"},
		{"row,seat\nA,\"1\n", "line 2, character"},
	} {
		shown := test.text
		if len(shown) > 60 {
			shown = shown[:60]
		}
		if l, err := ReadCSV([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) || l != nil {
			t.Errorf("%q: %v, want %q", shown, err, test.want)
		}
	}
}

func FuzzReadCSV(f *testing.F) {
	for _, text := range []string{
		"", "row,seat\nA,1\n", "\ufeffrow,seat,allocation,blocked,aisle after\r\nA,1,,yes,\r\nA,2,presale,,1\r\n", "row;seat\n", "row,seat\nA,1\n\nB,1", "row,seat\n\"A\n\",1\n", "\xff\xfe",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := ReadCSV(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") {
				t.Errorf("%q: the error names no line: %v", text, err)
			}
			return
		}
		again, err := Parse(l.String())
		if err != nil || !reflect.DeepEqual(again, l) {
			t.Errorf("%q is written as %s and read as %+v, %v", text, l, again, err)
		}
	})
}
