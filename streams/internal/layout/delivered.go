package layout

import (
	"strconv"
	"strings"
)

// DeliveredBy is by when an entry had been given to a worker, in milliseconds, by the notes
// that scripts/keep_alive.lua keeps: "millis id millis id …", the oldest first, each of which
// says that everything up to that id had been. No later than nowMillis, also if no note says.
func DeliveredBy(notes, entryID string, nowMillis int64) int64 {
	words := strings.Fields(notes)
	entry := ParseLogID(entryID)
	for i := 0; i+1 < len(words); i += 2 {
		at, err := strconv.ParseInt(words[i], 10, 64)
		if err == nil && !entry.After(ParseLogID(words[i+1])) {
			return min(at, nowMillis)
		}
	}
	return nowMillis
}
