package wire

import "strings"

// FieldParkedFrom is a field that no checkout writes: it is added to a request that was parked while its event was paused, and is the
// id of the entry that it came in.
const FieldParkedFrom = "parked_from"

// ParkedFrom is the id of the entry that a request came in first; empty if it was not parked since.
func ParkedFrom(fields []string) string {
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == FieldParkedFrom && strings.Trim(fields[i+1], "0123456789-") == "" {
			return fields[i+1]
		}
	}
	return ""
}
