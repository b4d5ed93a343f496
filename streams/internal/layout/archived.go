package layout

import (
	"strings"

	"holdfast/domain"
)

// EncodeArchived is an archive's mark as it is stored; empty for none.
func EncodeArchived(m domain.ArchiveMark) string {
	if m == (domain.ArchiveMark{}) {
		return ""
	}
	return strings.Join([]string{m.Branch, m.Position, m.Hash, m.Segment}, "|")
}

// DecodeArchived reads it.
func DecodeArchived(value string) (domain.ArchiveMark, error) {
	if value == "" {
		return domain.ArchiveMark{}, nil
	}
	values := strings.SplitN(value, "|", 4)
	if len(values) != 4 || values[0] == "" || domain.EntryMillis(values[1]) == 0 || values[2] == "" || values[3] == "" {
		return domain.ArchiveMark{}, damaged("archived", value)
	}
	return domain.ArchiveMark{Branch: values[0], Position: values[1], Hash: values[2], Segment: values[3]}, nil
}
