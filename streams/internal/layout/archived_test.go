package layout

import (
	"testing"

	"holdfast/domain"
)

func TestArchived(t *testing.T) {
	for _, m := range []domain.ArchiveMark{{}, {Branch: "b1", Position: "1795387623220-0", Segment: "namespace=x/1.parquet", Hash: "ab12"}} {
		if is, err := DecodeArchived(EncodeArchived(m)); err != nil || is != m {
			t.Errorf("%+v became %+v, %v", m, is, err)
		}
	}
	for _, value := range []string{"b1", "b1|1-0|ab", "b1|x|ab|key", "|1-0|ab|key", "b1|1-0||key", "b1|1-0|ab|"} {
		if m, err := DecodeArchived(value); err == nil {
			t.Errorf("%q was read as %+v", value, m)
		}
	}
}
