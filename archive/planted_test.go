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
	{"the mark moves before the segment was read back", "archiver.go", "		failed = w.put(ctx, body)\n		found, err = w.get(ctx)\n", "		failed = w.put(ctx, body)\n		found, err = decode(w.key, body)\n"},
	{"a segment that somebody else has written is taken for ours", "archiver.go", "	if !ours {\n", "	if false && !ours {\n"},
	{"what the log has lost begins no branch", "archiver.go", "return false, w.elsewhere(ctx, found)", "return false, nil"},
	{"a segment is overwritten", "folder.go", "switch err := os.Link(file.Name(), path); {", "switch err := os.Rename(file.Name(), path); {"},
	{"a branch goes on behind what the log has lost", "archiver.go", "w.header.After, w.header.Previous, w.header.PreviousHash = s.Entries[n-1].ID,", "w.header.After, w.header.Previous, w.header.PreviousHash = s.Header.Last,"},
	{"what is abandoned of a branch is read", "chain.go", "				entries = entries[:end]\n", "				_ = end\n"},
	{"hashes of the chain are not compared", "chain.go", "s.Header.PreviousHash != before.Hash:", "false:"},
	{"gaps are not seen", "chain.go", "case after.Compare(last) > 0:", "case false:"},
	{"a restore does not end where it is cut", "restore.go", "		if !s.within(e.ID) {", "		if e.ID == \"\" {"},
	{"a restore takes positions of the newest segment", "restore.go", "		if l.key.Before.Compare(lastAt(s.o.UntilMillis)) >= 0 {", "		if within, _ := s.upTo(nil); within != nil {"},
	{"a restore leaves out of the log what a snapshot has, and somebody has left to do", "restore.go", "	case d.last.Compare(d.needed) <= 0:", "	case d.before != nil:"},
	{"a restore leaves out of the log what somebody has left to do", "restore.go", "position(e.ID).Compare(d.needed) <= 0 {", "position(e.ID).Compare(maxPosition) <= 0 {"},
	{"a restore drops the entry before", "restore.go", "		if err := d.log(*d.held); err != nil {\n			return err\n		}\n		d.held = nil\n", "		d.held = nil\n"},
	{"customers of orders that are touched are forgotten", "state.go", "		more = t.customer(ref.EventID, o.CustomerID) || more\n", ""},
	{"a segment goes on behind another entry of the mark's id", "archiver.go", "	if err != nil || !in {\n		return false, err\n	}\n	w.note(known)\n", "	if err != nil {\n		return false, err\n	}\n	_ = in\n	w.note(known)\n"},
	{"what customers have is read before it is known whose orders are touched", "state.go", "			early = len(customers)\n", "			early = 0\n"},
	{"what is touched stays in the snapshot, too", "state.go", "		st.touched.leaveOut(part)\n", ""},
	{"a worker takes a snapshot behind the mark", "take.go", "r.takeSnapshotOf(ctx, archived, &is", "r.takeSnapshotOf(ctx, append(archived[:0:0], chain...), &is"},
	{"a worker takes a snapshot of another segment than the mark's", "take.go", "if last.Hash != state.Mark.Hash {", "if last.Hash == \"\" {"},
	{"a restore takes the namespace of another partition's older segment", "restore.go", "if h.AtMillis >= written {", "if h.AtMillis <= written || written == 0 {"},
	{"a restore goes on behind what is damaged", "restore.go", "		return broken(f, d.last)\n", "		return nil\n"},
	{"a restore forgets the branches before", "restore.go", "		found = append(found, is)\n	}\n	return found, nil", "		return append(found, is), nil\n	}\n	return found, nil"},
	{"the log is trimmed behind what no snapshot has", "trim.go", "	if before == \"\" {\n", "	if before = state.Mark.Position; before == \"\" {\n"},
	{"a branch of a trimmed log begins without its parent", "archiver.go", "if w.header.After == \"0-0\" && w.state.Trimmed", "if false && w.state.Trimmed"},
	{"a snapshot of another position is believed", "snapshot.go", "case s.segment.Hash != s.head.SegmentHash || s.segment.Header.Last != s.head.Last:", "case false:"},
	{"a snapshot of what is abandoned is begun with", "snapshot.go", "			most = upTo // what", "			_ = upTo // what"},
	{"a snapshot behind which something waits is begun with", "snapshot.go", "			if key.At.Compare(most) > 0 {", "			if false {"},
	{"a damaged piece is believed", "snapshot.go", "	if hashOf(body) != hash {", "	if false {"},
	{"a snapshot is not compared with what was folded", "snapshot.go", "	if stored != folded || found.head.Facts", "	if stored.values != folded.values || found.head.Facts"},
	{"a snapshot that has less is not seen", "snapshot.go", "	if stored != folded || found.head.Facts", "	if found.head.Facts"},
	{"the head of a snapshot is written before its pieces", "snapshot.go", "		return r.put(ctx, key.piece(hashOf(body)), body)\n	}\n", "		defer func() { _ = r.put(ctx, key.piece(hashOf(body)), body) }()\n		whole, err := h.encode()\n		if err != nil {\n			return err\n		}\n		return r.put(ctx, key.String(), whole)\n	}\n"},
	{"what is archived is told beyond the mark", "snapshot.go", "				if position(e.ID).Compare(end) > 0 {", "				if false {"},
	{"an archiver goes on in another archive", "archiver.go", "		if errors.Is(err, ErrMissing) { // in", "		if errors.Is(err, ErrMissing) {\n			return true, nil\n		}\n		if false { // in"},
	{"what is lost of a branch that only the workers knew is passed over", "lost.go", "		if err := f.others(ctx, branch); err != nil {", "		if err := error(nil); branch == \"\" {"},
	{"what was trimmed is taken for what the log has", "lost.go", "err != nil || !isTrimmed(common, f.state.Trimmed) {", "err != nil || !isTrimmed(common, \"\") {"},
	{"what is lost of one branch is told of another one, too", "lost.go", "later(position(l.Common), f.told[l.Branch])", "position(l.Common)"},
	{"a snapshot of another version is in the way for ever", "snapshot.go", "	case errors.Is(err, errOtherFormat) && len(next) < len(rest):", "	case false:"},
	{"what cannot be read is left out", "segment.go", "		return []row{{EntryID: e.ID, Raw: netstrings(e.Fields), At: domain.EntryMillis(e.ID)}}\n", "		return nil\n"},
	{"a reduced order is sold whole", "segment.go", "f.Was == domain.OrderConfirmed:", "f.Was == domain.OrderConfirmed && f.Type == domain.FactCancelled:"},
	{"what was replaced is read beside what replaces it", "large.go", "\t\tif l.key.Before.Compare(end) < 0 && l.key.Last.Compare(end) <= 0 {", "\t\tif false && end == l.key.Last {"},
	{"what large segments have twice is told twice", "chain.go", "\t\t\tif l.key.large() && s.Last().Compare(last) <= 0 {", "\t\t\tif false {"},
	{"what was replaced goes at once", "compact.go", "if len(l.replaced) == 0 || c.o.now.Sub(l.written) < c.o.KeepReplaced {", "if len(l.replaced) == 0 {"},
	{"what was replaced is not compared before it goes", "large.go", "has == nil || !sameSegment(has, s)", "has == nil"},
	{"a segment is replaced without the word of the one behind it", "compact.go", "return c.replace(ctx, run[:max(len(run)-1, 0)])", "return c.replace(ctx, run)"},
	{"an old mark is not looked behind", "archiver.go", "\tif !w.first() && w.state.NowMillis", "\tif false && w.state.NowMillis"},
	{"what is behind a snapshot in a large segment is passed over", "large.go", "\tif l := chain[i]; s.Last().Compare(l.key.Last) < 0 {", "\tif l := chain[i]; false {"},
	{"a snapshot that is going to be removed is begun with", "snapshot.go", "\t\tcase ok && o.Key == key.piece(removed):", "\t\tcase false:"},
	{"a damaged snapshot stands for a good one", "prune.go", "kept >= c.o.KeepSnapshots && good >= LeastSnapshots", "kept >= c.o.KeepSnapshots"},
	{"snapshots of what is abandoned stand for those before", "prune.go", "append(slices.Clone(left[c.is.Branch]), maxPosition)", "[]Position{maxPosition}"},
}
