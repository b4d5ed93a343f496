package streams

import (
	"slices"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/streamstest"
)

func FuzzReadNotices(f *testing.F) {
	const record = "h|purchase|fp|fred|general|2|1000|EUR|5|1|0|0|||"
	for _, message := range []string{"", "e1/o1 " + record, "e1/o1 " + record + "\ne1/o2 " + record, "e1/o1", "e1 " + record, "e1/o1  " + record, "\n\n"} {
		f.Add(message)
	}
	f.Fuzz(func(t *testing.T, message string) {
		read := func(message string) (lines []string) {
			readNotices(message, func(ref domain.OrderRef, o domain.Order) {
				if !domain.ValidID(ref.EventID) || !domain.ValidID(ref.OrderID) {
					t.Errorf("a notice about %q", ref)
				}
				lines = append(lines, ref.String()+" "+streamstest.EncodeOrder(o))
			})
			return lines
		}
		lines := read(message)
		written := strings.Join(lines, "\n")
		if again := read(written); !slices.Equal(again, lines) {
			t.Errorf("%q comes back as %q", lines, again)
		}
	})
}
