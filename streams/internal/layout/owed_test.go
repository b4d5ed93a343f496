package layout_test

import (
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

// FuzzOwed: what is read of a note is what it says, and comes back as it was.
func FuzzOwed(f *testing.F) {
	for _, note := range []string{"", "1|0|1-1|", "2|250|1795387623220-0|busy|or not\nhere", "1|0|1-1", "-1|0|1-1|", "x|0|1-1|", "01|0|1-1|", "1||1-1|"} {
		f.Add("e/o", note)
	}
	f.Add("e", "1|0|1-1|")
	f.Fuzz(func(t *testing.T, name, note string) {
		o, err := layout.DecodeOwed(name, note)
		if err != nil {
			if domain.ClassOf(err) != domain.ClassPoison || o != (domain.Owed{}) {
				t.Errorf("%+v, %v", o, err)
			}
			return
		}
		if again := layout.EncodeOwedNote(o); o.Ref.String() != name || again != note {
			t.Errorf("%q %q comes back as %q %q", name, note, o.Ref, again)
		}
	})
}
