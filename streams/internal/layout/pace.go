package layout

import "strings"

// Sample is what was noted of a partition's requests at one moment: an element of the list Pace, as scripts/trim.lua
// writes it.
type Sample struct {
	ID       LogID // of the newest entry
	Added    int64 // entries ever added
	AtMillis int64 // when
	Given    int64 // entries that the workers had been given; -1 if Redis does not know
	// Off is by how many entries a place between the sample before and this one may be off, as far as is known; -1 if that
	// is not known, because there was none of shortly before.
	Off int64
}

// DecodeSample reads one; ok is false if trim.lua did not write it.
func DecodeSample(value string) (s Sample, ok bool) {
	v := strings.Split(value, " ")
	if len(v) != 5 {
		return Sample{}, false
	}
	n := numbers{}
	s = Sample{ID: ParseLogID(v[0]), Added: n.parse(v[1]), AtMillis: n.parse(v[2]), Given: -1, Off: -1}
	if v[3] != "-" {
		s.Given = n.parse(v[3])
	}
	if v[4] != "-" {
		s.Off = n.parse(v[4])
	}
	return s, n.err == nil
}
