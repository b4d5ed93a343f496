package layout

import (
	"fmt"
	"strconv"
	"strings"

	"holdfast/domain"
)

// EncodeOwedNote is what stands beside an order whose money is owed: attempts|delay|fact|reason.
func EncodeOwedNote(o domain.Owed) string {
	return strconv.FormatInt(o.Attempts, 10) + "|" + strconv.FormatInt(o.DelayMillis, 10) + "|" + o.FactID + "|" + o.Reason
}

// DecodeOwed is the inverse, of an order's name and its note.
func DecodeOwed(name, note string) (domain.Owed, error) {
	ref, ok := domain.ParseOrderRef(name)
	parts := strings.SplitN(note, "|", 4)
	if !ok || len(parts) != 4 {
		return domain.Owed{}, domain.WithClass(domain.ClassPoison, fmt.Errorf("what is owed for %q is damaged: %q", name, note))
	}
	n := numbers{}
	o := domain.Owed{Ref: ref, Attempts: n.parse(parts[0]), DelayMillis: n.parse(parts[1]), FactID: parts[2], Reason: parts[3]}
	if n.err == nil && EncodeOwedNote(o) != note {
		n.err = fmt.Errorf("not as it was written: %q", note)
	}
	if n.err != nil {
		return domain.Owed{}, domain.WithClass(domain.ClassPoison, fmt.Errorf("what is owed for %s is damaged: %w", name, n.err))
	}
	return o, nil
}
