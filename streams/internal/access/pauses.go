package access

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"holdfast/domain"
)

// Pauses reads what is paused, and what was of late, the oldest first.
func (ns Namespace) Pauses(ctx context.Context) (domain.Pauses, error) {
	stored, err := ns.Client.HVals(ctx, ns.Keys.Pauses()).Result()
	if err != nil {
		return nil, fmt.Errorf("reading what is paused: %w", Classify(err))
	}
	all := make(domain.Pauses, 0, len(stored))
	for _, value := range stored {
		p, err := DecodePause(value)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b domain.Pause) int {
		return cmp.Or(cmp.Compare(a.AtMillis, b.AtMillis), cmp.Compare(a.EventID, b.EventID))
	})
	return all, nil
}

// DecodePause reads one as the scripts pause and resume write it.
func DecodePause(value string) (p domain.Pause, err error) {
	if err := json.Unmarshal([]byte(value), &p); err != nil {
		return p, domain.WithClass(domain.ClassPoison, fmt.Errorf("what is paused is damaged: %q", value))
	}
	return p, nil
}
