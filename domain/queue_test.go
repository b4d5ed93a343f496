package domain

import "testing"

func TestEntryMillis(t *testing.T) {
	for id, want := range map[string]int64{
		"1700000000123-4": 1700000000123, "1700000000123": 1700000000123, "0-1": 0, "": 0, "x-1": 0, "-1-1": 0, "-": 0,
		"9223372036854775807-18446744073709551615": 9223372036854775807, "9223372036854775808-0": 0,
	} {
		if got := EntryMillis(id); got != want {
			t.Errorf("%q: got %d, want %d", id, got, want)
		}
	}
}
