package layout_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

func texts(list ...string) string {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(s), s)
	}
	return b.String()
}

func TestParseRead(t *testing.T) {
	two := "*2\r\n*2\r\n" + texts("1-1") + "*4\r\n" + texts("a", "b\r\n$1\r\n", "", "d") + "*2\r\n" + texts("1-2") + "*2\r\n" + texts("é", "f")
	want := []domain.Entry{{ID: "1-1", Fields: []string{"a", "b\r\n$1\r\n", "", "d"}}, {ID: "1-2", Fields: []string{"é", "f"}}}
	for name, test := range map[string]struct {
		reply string
		want  []domain.Entry
	}{
		"nothing":         {"*-1\r\n", nil},
		"two":             {"*1\r\n*2\r\n" + texts("key") + two, want},
		"payload gone":    {"*1\r\n*2\r\n" + texts("key") + "*1\r\n*2\r\n" + texts("1-1") + "*-1\r\n", []domain.Entry{{ID: "1-1"}}},
		"an empty stream": {"*1\r\n*2\r\n" + texts("key") + "*0\r\n", []domain.Entry{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := layout.ParseRead([]byte(test.reply))
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
			for cut := range len(test.reply) {
				if got, err := layout.ParseRead([]byte(test.reply[:cut])); err == nil {
					t.Fatalf("cut after %d bytes: %+v, and no error", cut, got)
				}
			}
			if _, err := layout.ParseRead([]byte(test.reply + "+")); err == nil && test.want != nil {
				t.Error("more than a reply, and no error")
			}
		})
	}
	if _, err := layout.ParseRead([]byte("-NOGROUP No such key\r\n")); err == nil || err.Error() != "NOGROUP No such key" {
		t.Errorf("an error reply is %v", err)
	}
}

func FuzzParseRead(f *testing.F) {
	for _, reply := range []string{"", "*-1\r\n", "-ERR\r\n", "*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*1\r\n*2\r\n$1\r\nk\r\n*999999999\r\n"} {
		f.Add([]byte(reply))
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		entries, err := layout.ParseRead(reply)
		size := 0
		for _, e := range entries {
			size += len(e.ID)
			for _, s := range e.Fields {
				size += len(s)
			}
		}
		if err != nil && entries != nil || size > len(reply) {
			t.Errorf("%d bytes out of %d, %v", size, len(reply), err)
		}
	})
}
