package layout_test

import (
	"reflect"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

func TestDecodeEntries(t *testing.T) {
	got := layout.DecodeEntries([]any{
		[]any{"1-0", []any{"a", "1", "b", ""}},
		[]any{"2-0", nil}, // its payload is gone
		[]any{"3-0", []any{}},
		[]any{"4-0"},
		nil, "5-0",
	})
	want := []domain.Entry{{ID: "1-0", Fields: []string{"a", "1", "b", ""}}, {ID: "2-0"}, {ID: "3-0", Fields: []string{}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, want %#v", got, want)
	}
	for _, reply := range []any{nil, "x", int64(1), []any{}} {
		if got := layout.DecodeEntries(reply); len(got) != 0 {
			t.Errorf("%v: got %v", reply, got)
		}
	}
}
