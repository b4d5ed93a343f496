package streams

import (
	"slices"
	"strings"
	"testing"

	"holdfast/domain"
)

func FuzzReadNotices(f *testing.F) {
	for _, message := range []string{"", "e1/o1", "e1/o1\ne1/o2", "e1/o1 c|purchase", "e1", "e1/o1/x", "\n\n"} {
		f.Add(message)
	}
	f.Fuzz(func(t *testing.T, message string) {
		read := func(message string) (lines []string) {
			for _, ref := range readNotice(message) {
				if !domain.ValidID(ref.EventID) || !domain.ValidID(ref.OrderID) {
					t.Errorf("a notice about %q", ref)
				}
				lines = append(lines, ref.String())
			}
			return lines
		}
		lines := read(message)
		written := strings.Join(lines, "\n")
		if again := read(written); !slices.Equal(again, lines) {
			t.Errorf("%q comes back as %q", lines, again)
		}
	})
}
