package layout_test

import (
	"fmt"
	"testing"

	"holdfast/streams/internal/layout"
)

func FuzzParseLogID(f *testing.F) {
	for _, id := range []string{"", "0-0", "1-1", "18446744073709551615-18446744073709551615", "1", "-", "1--1", "+1-0"} {
		f.Add(id, "1-2")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := layout.ParseLogID(a), layout.ParseLogID(b)
		if again := layout.ParseLogID(fmt.Sprintf("%d-%d", x.Millis, x.Seq)); again != x {
			t.Errorf("%+v comes back as %+v", x, again)
		}
		if after, before := x.After(y), y.After(x); after && before || !after && !before && x != y {
			t.Errorf("%q and %q have no order", a, b)
		}
	})
}
