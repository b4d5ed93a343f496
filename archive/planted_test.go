//go:build planted

package archive

import (
	"testing"

	"holdfast/e2e/torture"
)

func TestPlantedBugs(t *testing.T) {
	torture.PlantEach(t, "bugs planted in the archive", 3, plantedBugs, "-rapid.nofailfile")
}

var plantedBugs = []torture.Bug{
	{"the mark moves before the segment was read back", "archiver.go", "found, err := w.get(ctx)\n", "found, err := decode(w.key, body)\n"},
	{"a segment that somebody else has written is taken for ours", "archiver.go", "	if !ours {\n", "	if false && !ours {\n"},
	{"what the log has lost begins no branch", "archiver.go", "return false, w.elsewhere(ctx, found)", "return false, nil"},
	{"a segment is overwritten", "folder.go", "switch err := os.Link(file.Name(), path); {", "switch err := os.Rename(file.Name(), path); {"},
	{"a branch goes on behind what the log has lost", "archiver.go", "w.header.After, w.header.Previous, w.header.PreviousHash = s.Entries[n-1].ID,", "w.header.After, w.header.Previous, w.header.PreviousHash = s.Header.Last,"},
	{"what is abandoned of a branch is read", "chain.go", "				entries = entries[:end]\n", "				_ = end\n"},
	{"hashes of the chain are not compared", "chain.go", "s.Header.PreviousHash != before.Hash:", "false:"},
	{"gaps are not seen", "chain.go", "case after.Compare(last) > 0:", "case false:"},
	{"a restore does not end where it is cut", "restore.go", "if cut = cut || s.o.UntilMillis > 0 && at > s.o.UntilMillis; cut {", "if cut = s.o.UntilMillis < 0; cut {"},
	{"a restore takes positions of the newest segment", "restore.go", "			last, found.Acknowledged = at, segment.Header.Acknowledged\n", "			last = at\n"},
	{"a restore takes the namespace of another partition's older segment", "restore.go", "if h.AtMillis >= written {", "if h.AtMillis <= written || written == 0 {"},
	{"a restore goes on behind what is damaged", "restore.go", "		return domain.WithClass(domain.ClassPoison, err)\n	})\n	if errors.Is(err, errStop) {", "		return nil\n	})\n	if errors.Is(err, errStop) {"},
	{"a restore forgets the branches before", "restore.go", "		found = append(found, is)\n	}\n	return found, nil", "		return append(found, is), nil\n	}\n	return found, nil"},
	{"what cannot be read is left out", "segment.go", "		return []row{{EntryID: e.ID, Raw: netstrings(e.Fields), At: domain.EntryMillis(e.ID)}}\n", "		return nil\n"},
	{"a reduced order is sold whole", "segment.go", "f.Was == domain.OrderConfirmed:", "f.Was == domain.OrderConfirmed && f.Type == domain.FactCancelled:"},
}
